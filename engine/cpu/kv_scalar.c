/* SPDX-License-Identifier: MIT */
#include <math.h>

#include "engine/base/cpuid.h"
#include "engine/cpu/kern_tiers.h"
#include "engine/cpu/kv_tiers.h"
#include "engine/cpu/vec_tiers.h"
#include "engine/quant/f16.h"

/* Attention over sealed pages, the definition. The pages' codes are laid out plainly first, keys and values
 * alike as [component][key]; what follows is the arithmetic of cpu_kv.h in its order. */

static int32_t level_of(const uint8_t *low, const uint8_t *high, int32_t shift, int32_t bit)
{
    return kv3_level[(*low >> shift & 3) | (*high >> bit & 1) << 2];
}

/* Codes of 4 and 3 bits lie alike for keys and values: four of a column, one row after the other, to a dword, `n`
 * columns to a line of dwords; rows are components for keys, keys for values. */
static int32_t small_code(const uint8_t *codes, const uint8_t *high, enum kv_type type, int32_t n, int32_t row,
                          int32_t column)
{
    int32_t i = row % 4;
    if (type == KV_KV3)
        return level_of(&codes[(row / 16 * n + column) * 4 + i], &high[(row / 32 * n + column) * 4 + i],
                        row % 16 / 4 * 2, row % 32 / 4);
    return (codes[(row / 8 * n + column) * 4 + i] >> row % 8 / 4 * 4 & 15) - 8;
}

static int32_t key_code(const uint8_t *codes, const uint8_t *high, enum kv_type type, int32_t c, int32_t key)
{
    if (type == KV_Q8_0)
        return codes[(c / 4 * KV_PAGE + key) * 4 + c % 4] - 128;
    return small_code(codes, high, type, KV_PAGE, c, key);
}

static int32_t value_code(const uint8_t *codes, const uint8_t *high, enum kv_type type, int32_t d, int32_t c,
                          int32_t key)
{
    if (type == KV_Q8_0)
        return (int8_t)codes[(key / 2 * d + c) * 2 + key % 2];
    return small_code(codes, high, type, d, key, c);
}

/* One head's keys or values, laid out. */
struct side {
    enum kv_type type;
    int32_t d, block;
    const uint16_t *mean;     /* [d], or NULL */
    const uint16_t *scale;    /* [block][KV_PAGE]; NULL: f16, whose numbers are at f16 */
    const uint16_t *f16;
    int8_t code[KV_MAX_HEAD][KV_PAGE];
};

static void side_init(struct side *s, const void *at, enum kv_type type, int32_t d, bool keys)
{
    s->type = type;
    s->d = d;
    s->mean = s->scale = NULL;
    s->f16 = at;
    if (type == KV_F16)
        return;
    struct cpu_kv_parts parts = cpu_kv_parts(type, d, keys);
    s->block = parts.block;
    const uint8_t *bytes = at, *codes = bytes + parts.codes, *high = bytes + parts.high;
    if (keys && kv_type_rotated(type))
        s->mean = (const uint16_t *)(const void *)(bytes + parts.mean);
    s->scale = (const uint16_t *)(const void *)(bytes + parts.scale);
    for (int32_t c = 0; c < d; c++)
        for (int32_t k = 0; k < KV_PAGE; k++)
            s->code[c][k] = (int8_t)(keys ? key_code(codes, high, type, c, k)
                                          : value_code(codes, high, type, d, c, k));
}

static float scale_at(const struct side *s, int32_t block, int32_t key)
{
    return f16_to_f32(s->scale[block * KV_PAGE + key]);
}

/* ---- a query ---------------------------------------------------------------------------------------- */

static void hadamard(float *x, int32_t d)
{
    int32_t run = kv_rotation(d);
    for (int32_t half = 1; half < run; half *= 2)
        for (int32_t c = 0; c < d; c++)
            if (!(c & half)) {
                float a = x[c], b = x[c + half];
                x[c] = a + b;
                x[c + half] = a - b;
            }
    float norm = 1.0f / sqrtf((float)run);
    for (int32_t c = 0; c < d; c++)
        x[c] = x[c] * norm;
}

static void unrotate(float *x, int32_t d)
{
    hadamard(x, d);
    for (int32_t c = 0; c < d; c++)
        x[c] = x[c] * kv_sign(c);
}

/* The bounds keep a NaN or an infinity from becoming a code that products do not expect. */
static int32_t round_to_code(float x, int32_t max)
{
    float rounded = rintf(x);
    return rounded > (float)max ? max : rounded >= (float)-max ? (int32_t)rounded : -max;
}

static float largest(const float *x, int32_t n)
{
    float a = 0;
    for (int32_t i = 0; i < n; i++)
        a = fabsf(x[i]) > a ? fabsf(x[i]) : a;
    return a < CPU_BLOCK_FLOOR ? 0 : a;
}

static void prepare_exact(struct cpu_kv_query *out, float *rotated, int8_t *codes, float *scale, int32_t *sum,
                          const float *q, const struct cpu_kv_shape *shape)
{
    *out = (struct cpu_kv_query){ .q = q, .codes = codes, .scale = scale, .sum = sum };
    if (!kv_type_rotated(shape->k))
        return;
    for (int32_t c = 0; c < shape->d; c++)
        rotated[c] = q[c] * kv_sign(c);
    hadamard(rotated, shape->d);
    out->q = rotated;
}

static void prepare(struct cpu_kv_query *out, float *rotated, int8_t *codes, float *scale, int32_t *sum,
                    const float *q, const struct cpu_kv_shape *shape)
{
    prepare_exact(out, rotated, codes, scale, sum, q, shape);
    if (shape->k == KV_F16)
        return;
    for (int32_t b = 0; b < cpu_kv_blocks(shape->d); b++) {
        const float *x = out->q + b * KV_BLOCK;
        int32_t n = shape->d - b * KV_BLOCK < KV_BLOCK ? shape->d - b * KV_BLOCK : KV_BLOCK;
        float a = largest(x, n), inverse = a > 0 ? 127.0f / a : 0;
        scale[b] = a / 127.0f;
        sum[b] = 0;
        for (int32_t i = 0; i < KV_BLOCK; i++) {
            int32_t code = i < n ? round_to_code(x[i] * inverse, 127) : 0;
            codes[b * KV_BLOCK + i] = (int8_t)code;
            sum[b] += code;
        }
    }
}

/* ---- a page ----------------------------------------------------------------------------------------- */

static float mean_part(const struct side *keys, const float *q)
{
    float lane[16] = { 0 };
    if (!keys->mean)
        return 0;
    for (int32_t c = 0; c < keys->d; c++)
        lane[c & 15] = fmaf(q[c], f16_to_f32(keys->mean[c]), lane[c & 15]);
    for (int32_t half = 8; half >= 1; half /= 2)
        for (int32_t i = 0; i < half; i++)
            lane[i] = lane[i] + lane[i + half];
    return lane[0];
}

static void scores(float s[KV_PAGE], const struct side *keys, const struct cpu_kv_query *query, int32_t key0,
                   int32_t key1)
{
    float mean = mean_part(keys, query->q);
    for (int32_t k = key0; k < key1; k++) {
        s[k] = mean;
        for (int32_t b = 0; b < cpu_kv_blocks(keys->d); b++) {
            int32_t t = 0;
            for (int32_t c = b * KV_BLOCK; c < keys->d && c < (b + 1) * KV_BLOCK; c++)
                t += query->codes[c] * keys->code[c][k];
            s[k] = fmaf((float)t, query->scale[b] * scale_at(keys, b, k), s[k]);
        }
    }
}

/* Weights of one block of components: p times the scales, in whole steps of *step. */
static void weigh(int32_t w[KV_PAGE], float *step, const float p[KV_PAGE], const struct side *values,
                  int32_t block, int32_t key0, int32_t key1)
{
    float x[KV_PAGE] = { 0 };
    for (int32_t k = key0; k < key1; k++)
        x[k] = p[k] * scale_at(values, block, k);
    int32_t n = values->type == KV_Q8_0 ? 32767 : 127;
    float a = largest(x, KV_PAGE), inverse = a > 0 ? (float)n / a : 0;
    *step = a / (float)n;
    for (int32_t k = 0; k < KV_PAGE; k++)
        w[k] = round_to_code(x[k] * inverse, n);
}

static void add_values(struct cpu_attn *a, const float p[KV_PAGE], const struct side *values)
{
    int32_t w[KV_PAGE];
    float step = 0;
    for (int32_t c = 0; c < values->d; c++) {
        if (c % values->block == 0)
            weigh(w, &step, p, values, c / values->block, a->key0, a->key1);
        int32_t t = 0;
        for (int32_t k = 0; k < KV_PAGE; k++)
            t += w[k] * values->code[c][k];
        a->o[c] = fmaf((float)t, step, a->o[c]);
    }
}

/* The state of a query as seen from one page of several: its range there, empty perhaps. */
static struct cpu_attn in_page(const struct cpu_attn *a, int32_t page)
{
    struct cpu_attn own = *a;
    int32_t key0 = a->key0 - page * KV_PAGE, key1 = a->key1 - page * KV_PAGE;
    own.key0 = key0 < 0 ? 0 : key0 > KV_PAGE ? KV_PAGE : key0;
    own.key1 = key1 < 0 ? 0 : key1 > KV_PAGE ? KV_PAGE : key1;
    return own;
}

static void attend_one(struct cpu_attn *a, const struct cpu_kv_query *query, const struct side *k,
                       const struct side *v, int32_t n_pages, float cap)
{
    float p[CPU_KV_PAGES * KV_PAGE], f;
    for (int32_t i = 0; i < n_pages; i++) {
        struct cpu_attn own = in_page(a, i);
        if (k[i].scale)
            scores(p + i * KV_PAGE, &k[i], query, own.key0, own.key1);
        else
            cpu_attn_scores_f16(p + i * KV_PAGE, query->q, k[i].f16, k[i].d, own.key0, own.key1);
    }
    if (!cpu_attn_weights(a, p, n_pages * KV_PAGE, cap, &f))
        return;
    for (int32_t c = 0; c < v->d; c++)
        a->o[c] = a->o[c] * f;
    for (int32_t i = 0; i < n_pages; i++) {
        struct cpu_attn own = in_page(a, i);
        if (v[i].scale)
            add_values(&own, p + i * KV_PAGE, &v[i]);
        else
            cpu_attn_values_f16(&own, p + i * KV_PAGE, v[i].f16, v[i].d, 1);
    }
}

static void attend(struct cpu_attn *a, const struct cpu_kv_query *query, int32_t n_q,
                   const struct cpu_kv_pages *pages, const struct cpu_kv_shape *shape, float cap)
{
    struct side k[CPU_KV_PAGES], v[CPU_KV_PAGES];
    for (int32_t i = 0; i < pages->n; i++) {
        side_init(&k[i], pages->keys[i], shape->k, shape->d, true);
        side_init(&v[i], pages->values[i], shape->v, shape->d, false);
    }
    for (int32_t i = 0; i < n_q; i++)
        attend_one(&a[i], &query[i], k, v, pages->n, cap);
}

/* ---- exact ------------------------------------------------------------------------------------------ */

/* What a page stands for, in f32: keys [d][KV_PAGE], values [KV_PAGE][d]. A scale has 11 bits and a code 8: their
 * product is exact, so that adding the mean rounds as the fma does. */
static void side_to_f32(float *out, const struct side *s, bool keys)
{
    float scale[KV_PAGE] = { 0 };
    for (int32_t c = 0; c < s->d; c++) {
        float mean = s->mean ? f16_to_f32(s->mean[c]) : 0;
        for (int32_t k = 0; s->scale && c % s->block == 0 && k < KV_PAGE; k++)
            scale[k] = scale_at(s, c / s->block, k);
        for (int32_t k = 0; k < KV_PAGE; k++) {
            int32_t at = keys ? c * KV_PAGE + k : k * s->d + c;
            out[at] = s->scale ? scale[k] * (float)s->code[c][k] + mean : f16_to_f32(s->f16[at]);
        }
    }
}

/* Queries that see nothing of a page are left out of it. */
static void attend_f32(const struct cpu_vec *tier, struct cpu_attn *a, const struct cpu_kv_query *query, int32_t n_q,
                       const struct cpu_kv_pages *pages, const struct cpu_kv_shape *shape, float cap)
{
    float k[KV_MAX_HEAD * KV_PAGE], v[KV_MAX_HEAD * KV_PAGE];
    struct side side;
    for (int32_t page = 0; page < pages->n; page++) {
        struct cpu_attn own[CPU_PAGE];
        int32_t who[CPU_PAGE], n = 0;
        side_init(&side, pages->keys[page], shape->k, shape->d, true);
        side_to_f32(k, &side, true);
        side_init(&side, pages->values[page], shape->v, shape->d, false);
        side_to_f32(v, &side, false);
        for (int32_t i = 0; i < n_q; i++) {
            own[n] = in_page(&a[i], page);
            own[n].q = query[i].q;
            who[n] = i;
            n += own[n].key0 < own[n].key1;
        }
        if (n > 0)
            tier->attn_page_f32(own, n, k, v, NULL, shape->d, shape->d, cap);
        for (int32_t i = 0; i < n; i++) {
            a[who[i]].m = own[i].m;
            a[who[i]].l = own[i].l;
        }
    }
}

static void attend_exact(struct cpu_attn *a, const struct cpu_kv_query *query, int32_t n_q,
                         const struct cpu_kv_pages *pages, const struct cpu_kv_shape *shape, float cap)
{
    struct cpu_vec tier;
    cpu_attn_init_scalar(&tier);
    attend_f32(&tier, a, query, n_q, pages, shape, cap);
}

#if CPU_X86_64
static void attend_exact_avx2(struct cpu_attn *a, const struct cpu_kv_query *query, int32_t n_q,
                              const struct cpu_kv_pages *pages, const struct cpu_kv_shape *shape, float cap)
{
    struct cpu_vec tier;
    cpu_attn_init_avx2(&tier);
    attend_f32(&tier, a, query, n_q, pages, shape, cap);
}

static void attend_exact_avx512(struct cpu_attn *a, const struct cpu_kv_query *query, int32_t n_q,
                                const struct cpu_kv_pages *pages, const struct cpu_kv_shape *shape, float cap)
{
    struct cpu_vec tier;
    cpu_attn_init_avx512(&tier);
    attend_f32(&tier, a, query, n_q, pages, shape, cap);
}
#endif

/* ---- tables ----------------------------------------------------------------------------------------- */

static void init_exact(struct cpu_kv_kern *k, uint32_t features)
{
    k->name = "exact";
    k->prepare = prepare_exact;
    k->unrotate = unrotate;
    k->attend = attend_exact;
#if CPU_X86_64
    if (features & CPUID_AVX2)
        k->attend = attend_exact_avx2;
    if (features & CPUID_AVX512)
        k->attend = attend_exact_avx512;
#else
    (void)features;
#endif
}

void cpu_kv_init(struct cpu_kv_kern *k, uint32_t features, bool exact)
{
    k->name = "scalar";
    k->prepare = prepare;
    k->unrotate = unrotate;
    k->attend = attend;
    cpu_kv_seal_init_scalar(k);
#if CPU_X86_64
    if (features & CPUID_AVX2) {
        cpu_kv_init_avx2(k);
        cpu_kv_seal_init_avx2(k);
    }
    if (features & CPUID_AVX512) {
        cpu_kv_init_avx512(k);
        cpu_kv_seal_init_avx512(k);
    }
#endif
    if (exact)
        init_exact(k, features);
}
