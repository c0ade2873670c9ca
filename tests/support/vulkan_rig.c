/* SPDX-License-Identifier: MIT */
#include "tests/support/vulkan_rig.h"

#include <stdlib.h>

void vulkan_rig_open(struct vulkan_rig *rig, struct test *t)
{
    vulkan_rig_open_for(rig, t, VULKAN_TILES_BY_DEVICE);
}

void vulkan_rig_open_for(struct vulkan_rig *rig, struct test *t, enum vulkan_tiles tiles)
{
    struct err e;
    const char *name = getenv("QUIP_TEST_DEVICE");
    const struct vulkan_card *card;
    *rig = (struct vulkan_rig){ .t = t };
    struct vulkan_list_options o = { .validate = true, .tiles = tiles };
    enum err_code rc = vulkan_list_open(&rig->list, &o, &e);
    if (rc != ERR_OK) {    /* perhaps the layer is what is missing */
        o.validate = false;
        rc = vulkan_list_open(&rig->list, &o, &e);
    }
    if (rc != ERR_OK)
        SKIP(t, "%s", e.text);
    if (vulkan_list_find(rig->list, name ? name : "llvmpipe", &card, &e) != ERR_OK) {
        vulkan_list_close(rig->list);
        SKIP(t, "%s", e.text);
    }
    CHECK(t, vulkan_device_open(&rig->d, rig->list, card, &e) == ERR_OK, "%s", e.text);
}

void vulkan_rig_close(struct vulkan_rig *rig)
{
    struct test *t = rig->t;
    vulkan_device_close(rig->d);
    CHECK_INT(t, rig->list->n_messages, 0, "%s", rig->list->message);
    vulkan_list_close(rig->list);
}

struct vulkan_buf vulkan_rig_buf(struct vulkan_rig *rig, const void *bytes, size_t n_bytes)
{
    struct vulkan_buf b;
    struct err e;
    size_t n = n_bytes < 16 ? 16 : (n_bytes + 3) & ~(size_t)3;
    char *filled = malloc(n);
    CHECK(rig->t, filled != NULL);
    memset(filled, 0xff, n);
    if (bytes)
        memcpy(filled, bytes, n_bytes);
    CHECK(rig->t, vulkan_buf_create(rig->d, &b, n, VULKAN_LOCAL, &e) == ERR_OK, "%s", e.text);
    CHECK(rig->t, vulkan_write(rig->d, &b, 0, filled, n, &e) == ERR_OK, "%s", e.text);
    free(filled);
    return b;
}

void vulkan_rig_read(struct vulkan_rig *rig, void *bytes, const struct vulkan_buf *b, size_t n_bytes)
{
    struct err e;
    CHECK(rig->t, vulkan_read(rig->d, bytes, b, 0, n_bytes, &e) == ERR_OK, "%s", e.text);
}

void vulkan_rig_run(struct vulkan_rig *rig, const char *shader, const uint32_t *spec, int32_t n_spec,
                    const struct vulkan_part *parts, const void *push, uint32_t push_bytes, uint32_t x, uint32_t y,
                    uint32_t z)
{
    struct test *t = rig->t;
    struct err e = { 0 };
    const struct vulkan_pipeline *p;
    struct vulkan_recording r;
    uint64_t value;
    CHECK(t, vulkan_pipeline(rig->d, shader, spec, n_spec, &p, &e) == ERR_OK, "%s", e.text);
    CHECK(t, vulkan_record_begin(&r, rig->d, &e) == ERR_OK, "%s", e.text);
    vulkan_record(&r, p, parts, push, push_bytes, x, y, z);
    CHECK(t, vulkan_record_end(&r, &e) == ERR_OK, "%s", e.text);
    CHECK(t, vulkan_submit(rig->d, &r.cmd, 1, &value, &e) == ERR_OK, "%s", e.text);
    CHECK(t, vulkan_wait(rig->d, value, &e) == ERR_OK, "%s", e.text);
    vulkan_recording_destroy(&r);
}
