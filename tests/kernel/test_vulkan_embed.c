/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <stdlib.h>

#include "engine/base/logit.h"
#include "engine/quant/quant.h"
#include "engine/vulkan/vulkan_embed.h"
#include "shaders/include/table.h"
#include "tests/support/vulkan_rig.h"

/* Rows of the embedding looked up on the device against what the formats decode to, bit by bit; every third has the token
 * that was found best. */

enum { N_TOKENS = 37, N_ROWS = 23 };

/* Any bytes are blocks of codes and scales, subnormal ones and such of both signs among them; but of numbers that are not
 * finite nobody says what they give. */
static void random_rows(struct test *t, struct tensor *w, uint32_t type, int32_t n_cols)
{
    const struct quant_format *f = quant_format(type);
    *w = (struct tensor){ .name = "w", .type = type, .n_rows = N_TOKENS, .n_cols = n_cols };
    w->row_bytes = quant_row_bytes(type, (uint64_t)n_cols);
    w->n_bytes = w->row_bytes * N_TOKENS;
    uint8_t *data = malloc(w->n_bytes);
    float *block = malloc((size_t)f->block_weights * sizeof *block);
    CHECK(t, data && block);
    for (size_t at = 0; at < w->n_bytes; at += (size_t)f->block_bytes)
        for (bool finite = false; !finite;) {
            for (size_t i = 0; i < (size_t)f->block_bytes; i++)
                data[at + i] = (uint8_t)test_random(t);
            f->to_f32(block, data + at, f->block_weights);
            finite = true;
            for (int32_t i = 0; i < f->block_weights; i++)
                finite &= isfinite(block[i]);
        }
    free(block);
    w->data = data;
}

static void check_embed(struct vulkan_rig *rig, uint32_t type, int32_t n_cols, float scale, uint64_t chunk_bytes)
{
    struct test *t = rig->t;
    struct tensor w;
    struct vulkan_weight on_device;
    struct vulkan_recording r;
    struct table_row rows[N_ROWS];
    struct logit best[N_ROWS];
    struct err e = { 0 };
    uint64_t value;
    size_t n_bytes = N_ROWS * (size_t)n_cols * sizeof(float);
    float *got = malloc(n_bytes), *want = malloc(n_bytes);
    CHECK(t, got && want);
    random_rows(t, &w, type, n_cols);
    for (int32_t i = 0; i < N_ROWS; i++) {
        uint32_t token = i == 0 ? N_TOKENS - 1 : i == 1 ? 0 : test_below(t, N_TOKENS);
        rows[i] = (struct table_row){ .pos = 7, .table = 9, .token = i % 3 == 2 ? TABLE_NO_TOKEN : token };
        best[i] = (struct logit){ .token = (int32_t)(i % 3 == 2 ? token : test_below(t, N_TOKENS)), .value = 1 };
        quant_format(type)->to_f32(want + i * n_cols, (const char *)w.data + token * w.row_bytes, n_cols);
    }
    for (int32_t i = 0; i < N_ROWS * n_cols && scale != 1; i++)
        want[i] *= scale;
    CHECK(t, vulkan_weight_create_chunked(rig->d, &w, chunk_bytes, &on_device, &e) == ERR_OK, "%s", e.text);
    CHECK(t, vulkan_flush(rig->d, &e) == ERR_OK, "%s", e.text);
    CHECK(t, chunk_bytes > 1 << 20 || on_device.n_chunks > 1);
    struct vulkan_buf list = vulkan_rig_buf(rig, rows, sizeof rows), x = vulkan_rig_buf(rig, NULL, n_bytes);
    struct vulkan_buf found = vulkan_rig_buf(rig, best, sizeof best);
    CHECK(t, vulkan_record_begin(&r, rig->d, &e) == ERR_OK, "%s", e.text);
    vulkan_record_embed(&r, &(struct vulkan_embed){ .w = &on_device, .rows = &list, .best = &found, .x = &x,
                                                    .n = N_ROWS, .scale = scale });
    CHECK(t, vulkan_record_end(&r, &e) == ERR_OK, "%s", e.text);
    CHECK(t, vulkan_submit(rig->d, &r.cmd, 1, &value, &e) == ERR_OK, "%s", e.text);
    CHECK(t, vulkan_wait(rig->d, value, &e) == ERR_OK, "%s", e.text);
    vulkan_rig_read(rig, got, &x, n_bytes);
    CHECK_BYTES(t, got, want, n_bytes, "%s of %d columns, scale %g", quant_format(type)->name, n_cols, (double)scale);
    vulkan_recording_destroy(&r);
    vulkan_weight_destroy(rig->d, &on_device);
    vulkan_buf_destroy(rig->d, &list);
    vulkan_buf_destroy(rig->d, &found);
    vulkan_buf_destroy(rig->d, &x);
    free((void *)w.data);
    free(got);
    free(want);
}

TEST(vulkan_embed_decodes_every_type_as_the_processor_does)
{
    struct vulkan_rig rig;
    int n_types = 0;
    vulkan_rig_open(&rig, t);
    for (uint32_t type = 0; type < QUANT_N_TYPES; type++) {
        if (!vulkan_weight_supported(type))
            continue;
        int32_t block = vulkan_pack_block(type), cols[] = { block, 3 * block, 2560 };
        n_types++;
        for (int i = 0; i < 3; i++) {
            check_embed(&rig, type, cols[i], 1, 8 << 20);
            check_embed(&rig, type, cols[i], 50.596443f, 8 << 20);    /* sqrt(2560), as Gemma has it */
            check_embed(&rig, type, cols[i], 1, 5 * quant_row_bytes(type, (uint64_t)cols[i]) + 64);
        }
    }
    CHECK(t, n_types >= 16, "%d", n_types);
    vulkan_rig_close(&rig);
}
