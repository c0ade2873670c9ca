/* SPDX-License-Identifier: MIT */
#include <stdlib.h>

#include "engine/cpu/cpu_kv.h"
#include "engine/quant/f16.h"
#include "engine/vulkan/vulkan_seal.h"
#include "shaders/include/table.h"
#include "tests/support/vulkan_rig.h"

/* Sealing on the device against the scalar kernel of the CPU, byte for byte: no scale and no code may differ. Pages lie
 * in one buffer with gaps between them, all of which is compared, so that nothing else may be written. */

enum { GAP = 192, UNLISTED = 2 };

/* What the pages of a case hold, one kind a page. */
enum kind {
    NORMAL, NORMAL_AGAIN, CONSTANT, CONSTANT_AND_NOISE, ZEROS, HUGE_VALUE, HUGE_COMPONENT, SUBNORMAL, ONE_ROTATED,
    ANY_FINITE, TINY, ZERO_TOKENS, EQUAL_SIZES, TIES, NOT_FINITE, ONLY_NOT_FINITE, N_KINDS
};

static uint16_t value_of(struct test *t, enum kind kind, int32_t c, int32_t token)
{
    static const uint16_t bad[] = { 0x7C00, 0xFC00, 0x7E00, 0xFFFF, 0x7C01 };
    float x = test_normal(t);
    switch (kind) {
    case CONSTANT: return 0x4900;
    case CONSTANT_AND_NOISE: return f16_from_f32(100.0f + x);
    case ZEROS: return token % 3 ? 0 : 0x8000;
    case HUGE_VALUE: return c == 5 && token == 9 ? 0x7BFF : 0;
    case HUGE_COMPONENT: return f16_from_f32(c == 5 ? x * 1e4f : x);
    case SUBNORMAL: return (uint16_t)(test_random(t) & 0x83FF);
    case ONE_ROTATED: return kv_sign(c) < 0 ? 0xFBFF : 0x7BFF;
    case ANY_FINITE: return (uint16_t)(test_random(t) & 0xFBFF);
    case TINY: return f16_from_f32(x * 1e-6f);
    case ZERO_TOKENS: return f16_from_f32(token % 4 ? x : 0.0f);
    case EQUAL_SIZES: return test_below(t, 2) ? 0x3C00 : 0xBC00;
    case TIES: return f16_from_f32(0.5f * (float)test_below(t, 17) - 4.0f);
    case NOT_FINITE: return test_below(t, 37) ? f16_from_f32(x) : bad[test_below(t, 5)];
    case ONLY_NOT_FINITE: return bad[test_below(t, 5)];
    case NORMAL:
    case NORMAL_AGAIN:
    case N_KINDS: break;
    }
    return f16_from_f32(x);
}

/* A buffer of pages, of which the last UNLISTED are in the table and not in the list. */
struct pages {
    struct kv_layer layer;
    int32_t n;
    size_t open_bytes, sealed_bytes, n_bytes;
    unsigned char *before, *want, *got;
};

static size_t open_at(const struct pages *p, int32_t page)
{
    return GAP + (size_t)page * (p->open_bytes + p->sealed_bytes + 2 * GAP);
}

static size_t sealed_at(const struct pages *p, int32_t page)
{
    return open_at(p, page) + p->open_bytes + GAP;
}

static void *need(size_t n_bytes)
{
    void *p = aligned_alloc(64, (n_bytes + 63) / 64 * 64);
    if (!p)
        abort();
    return p;
}

static void fill(struct test *t, const struct pages *p, int32_t page)
{
    uint16_t *keys = (uint16_t *)(void *)(p->before + open_at(p, page));
    int32_t n = p->layer.n_head * p->layer.d_head, d = p->layer.d_head;
    uint16_t *values = keys + n * KV_PAGE;
    for (int32_t c = 0; c < n; c++)
        for (int32_t token = 0; token < KV_PAGE; token++) {
            keys[c * KV_PAGE + token] = value_of(t, (enum kind)(page % N_KINDS), c % d, token);
            values[(c / d * KV_PAGE + token) * d + c % d] = value_of(t, (enum kind)(page % N_KINDS), c % d, token);
        }
}

static void seal_on_cpu(const struct pages *p, int32_t page)
{
    const struct kv_layer *l = &p->layer;
    const struct cpu_kv_shape shape = { .k = l->k, .v = l->v, .d = l->d_head };
    size_t key_bytes = kv_sealed_key_bytes(l->k, l->d_head), value_bytes = kv_sealed_value_bytes(l->v, l->d_head);
    const uint16_t *keys = (const uint16_t *)(const void *)(p->want + open_at(p, page));
    float *scratch = need(cpu_kv_seal_floats(l->d_head) * sizeof(float));
    struct cpu_kv_kern kern;
    cpu_kv_init(&kern, 0, false);
    for (int32_t h = 0; h < l->n_head; h++)
        kern.seal(p->want + sealed_at(p, page) + (size_t)h * key_bytes,
                  p->want + sealed_at(p, page) + (size_t)l->n_head * key_bytes + (size_t)h * value_bytes,
                  keys + h * l->d_head * KV_PAGE, keys + (l->n_head + h) * l->d_head * KV_PAGE, &shape, scratch);
    free(scratch);
}

static void pages_init(struct pages *p, struct test *t, const struct kv_layer *layer, int32_t n)
{
    *p = (struct pages){ .layer = *layer, .n = n };
    p->open_bytes = kv_open_bytes(layer);
    p->sealed_bytes = kv_sealed_bytes(layer);
    p->n_bytes = open_at(p, n);
    p->before = need(p->n_bytes);
    p->want = need(p->n_bytes);
    p->got = need(p->n_bytes);
    for (size_t i = 0; i < p->n_bytes; i++)
        p->before[i] = (unsigned char)(0xA5 ^ i ^ i >> 8);
    for (int32_t i = 0; i < n; i++)
        fill(t, p, i);
    memcpy(p->want, p->before, p->n_bytes);
    for (int32_t i = 0; i < n - UNLISTED; i++)
        seal_on_cpu(p, i);
}

static void pages_finish(struct pages *p)
{
    free(p->before);
    free(p->want);
    free(p->got);
}

static void address(uint32_t out[2], uint64_t at)
{
    out[0] = (uint32_t)at;
    out[1] = (uint32_t)(at >> 32);
}

/* The table holds the pages from the last to the first, behind entries that nobody may follow; the list goes
 * through them from the first on. */
static void seal_on_device(struct vulkan_rig *rig, struct pages *p)
{
    enum { AHEAD = 3 };
    struct test *t = rig->t;
    struct err e = { 0 };
    struct table_page *table = need((size_t)(AHEAD + p->n) * sizeof *table);
    uint32_t *list = need((size_t)p->n * sizeof *list), counts[4] = { 77 };
    struct vulkan_buf memory = vulkan_rig_buf(rig, p->before, p->n_bytes);
    memset(table, 0, AHEAD * sizeof *table);
    for (int32_t i = 0; i < p->n; i++) {
        struct table_page *entry = &table[AHEAD + p->n - 1 - i];
        address(entry->open, memory.address + open_at(p, i));
        address(entry->sealed, memory.address + sealed_at(p, i));
        list[i] = (uint32_t)(AHEAD + p->n - 1 - i);
    }
    vulkan_seal_counts(counts + 1, &p->layer, (uint32_t)(p->n - UNLISTED));
    struct vulkan_buf b_table = vulkan_rig_buf(rig, table, (size_t)(AHEAD + p->n) * sizeof *table);
    struct vulkan_buf b_list = vulkan_rig_buf(rig, list, (size_t)p->n * sizeof *list);
    struct vulkan_buf b_counts = vulkan_rig_buf(rig, counts, sizeof counts);
    struct vulkan_recording r;
    uint64_t value;
    CHECK(t, vulkan_record_begin(&r, rig->d, &e) == ERR_OK, "%s", e.text);
    vulkan_record_seal(&r, &(struct vulkan_seal){ .layer = p->layer, .table = vulkan_all(&b_table),
                                                  .list = vulkan_all(&b_list), .counts = &b_counts,
                                                  .counts_offset = 4 });
    CHECK(t, vulkan_record_end(&r, &e) == ERR_OK, "%s", e.text);
    CHECK(t, vulkan_submit(rig->d, &r.cmd, 1, &value, &e) == ERR_OK, "%s", e.text);
    CHECK(t, vulkan_wait(rig->d, value, &e) == ERR_OK, "%s", e.text);
    vulkan_rig_read(rig, p->got, &memory, p->n_bytes);
    vulkan_recording_destroy(&r);
    vulkan_buf_destroy(rig->d, &memory);
    vulkan_buf_destroy(rig->d, &b_table);
    vulkan_buf_destroy(rig->d, &b_list);
    vulkan_buf_destroy(rig->d, &b_counts);
    free(table);
    free(list);
}

/* Which byte differs says little: the kind of the page and the part of it say more. */
static void check_pages(struct test *t, const struct pages *p)
{
    const struct kv_layer *l = &p->layer;
    size_t key_bytes = kv_sealed_key_bytes(l->k, l->d_head), n_wrong = 0, at = 0;
    for (size_t i = p->n_bytes; i-- > 0;)
        if (p->got[i] != p->want[i]) {
            n_wrong++;
            at = i;
        }
    int32_t page = at < GAP ? 0 : (int32_t)((at - GAP) / (open_at(p, 1) - open_at(p, 0)));
    long in_sealed = (long)at - (long)sealed_at(p, page), first_value = (long)key_bytes * l->n_head;
    CHECK(t, n_wrong == 0, "%s %s d %d heads %d: %zu bytes differ, first in page %d at %ld of %s: %02x, %02x wanted",
          kv_type_name(l->k), kv_type_name(l->v), l->d_head, l->n_head, n_wrong, page,
          in_sealed < first_value ? in_sealed : in_sealed - first_value, in_sealed < first_value ? "keys" : "values",
          p->got[at], p->want[at]);
}

static void check_seal(struct vulkan_rig *rig, enum kv_type k, enum kv_type v, int32_t d, int32_t n_head)
{
    const struct kv_layer layer = { .k = k, .v = v, .n_head = n_head, .d_head = d };
    struct pages p;
    pages_init(&p, rig->t, &layer, N_KINDS + UNLISTED);
    seal_on_device(rig, &p);
    check_pages(rig->t, &p);
    pages_finish(&p);
}

TEST(vulkan_seal_writes_the_bytes_of_the_cpu)
{
    static const enum kv_type types[] = { KV_Q8_0, KV_Q4_0, KV_KV4, KV_KV3 };
    static const int32_t sizes[] = { 64, 80, 96, 128, 256 };
    struct vulkan_rig rig;
    vulkan_rig_open(&rig, t);
    for (int i = 0; i < 4; i++)
        for (int s = 0; s < 5; s++)
            check_seal(&rig, types[i], types[i], sizes[s], 1 + (i + s) % 3);
    vulkan_rig_close(&rig);
}

TEST(vulkan_seal_types_of_keys_and_values_are_chosen_apart)
{
    static const enum kv_type types[] = { KV_F16, KV_Q8_0, KV_Q4_0, KV_KV4, KV_KV3 };
    static const int32_t sizes[] = { 64, 80, 128 };
    struct vulkan_rig rig;
    vulkan_rig_open(&rig, t);
    for (int k = 0; k < 5; k++)
        for (int apart = 1; apart < 3; apart++)    /* each type with two others on either side */
            check_seal(&rig, types[k], types[(k + apart) % 5], sizes[(k + apart) % 3], 1 + (k + apart) % 2);
    vulkan_rig_close(&rig);
}

/* Sizes at which something changes: tiles of 64 and of 4 tokens, several components to a lane, halves of a block. */
TEST(vulkan_seal_sizes_of_the_edge)
{
    static const int32_t sizes[] = { 16, 32, 48, 112, 176, 272, 512 };
    struct vulkan_rig rig;
    vulkan_rig_open(&rig, t);
    for (int s = 0; s < 7; s++) {
        check_seal(&rig, KV_KV4, KV_KV3, sizes[s], 2);
        check_seal(&rig, KV_KV3, s % 2 ? KV_KV4 : KV_Q8_0, sizes[s], 1);
    }
    vulkan_rig_close(&rig);
}

TEST(vulkan_seal_of_no_pages_writes_nothing)
{
    const struct kv_layer layer = { .k = KV_KV4, .v = KV_KV4, .n_head = 2, .d_head = 64 };
    struct vulkan_rig rig;
    struct pages p;
    vulkan_rig_open(&rig, t);
    pages_init(&p, t, &layer, UNLISTED);
    seal_on_device(&rig, &p);
    check_pages(t, &p);
    pages_finish(&p);
    vulkan_rig_close(&rig);
}

TEST(vulkan_seal_failure_sticks_in_the_recording)
{
    struct vulkan_rig rig;
    struct vulkan_recording r;
    struct err e;
    vulkan_rig_open(&rig, t);
    CHECK(t, vulkan_record_begin(&r, rig.d, &e) == ERR_OK, "%s", e.text);
    r.failed = err_set(&r.err, ERR_NOMEM, "before");
    struct vulkan_seal s = { .layer = { .k = KV_KV4, .v = KV_KV4, .n_head = 1, .d_head = 64 } };
    vulkan_record_seal(&r, &s);
    CHECK_INT(t, r.n_dispatches, 0);
    CHECK(t, vulkan_record_end(&r, &e) == ERR_NOMEM);
    CHECK_TEXT(t, e.text, "before");
    vulkan_rig_close(&rig);
}
