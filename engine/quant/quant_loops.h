/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_QUANT_QUANT_LOOPS_H
#define QUIP_ENGINE_QUANT_QUANT_LOOPS_H

#include <float.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "engine/quant/f16.h"
#include "engine/quant/iq4_nl.h"
#include "engine/quant/quant_kern.h"

/* The searches of quant_kern.h over a tier's vector words; only the tier's own file includes this.
 *
 * A group is LANES runs, turned round so that lane l is run l: sums run down the weights of a run in order and never
 * across lanes, choices are made per lane, and every tier gives the same bits. Multiplications and additions stay
 * apart (no fused ones), so the sums are also those of the field's reference, built plainly.
 *
 * Each run is scaled by the power of two that brings its largest magnitude to 1..2, and its weights likewise, and
 * the results are scaled back. That is exact, so it changes nothing but this: no product of eight small or large
 * numbers leaves f32's range. */

#define LOOPS static inline __attribute__((always_inline))
#if defined(__clang__)
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

enum { MAX_RUN = 32 };

#define LARGEST 0x1p40f     /* far beyond what any format with scales in f16 can hold */
#define SMALLEST 1e-15f     /* a scale in f16 is 0 long before */
#define NO_WEIGHT 0x1p-120f
#define MAGIC 12582912.0f   /* 1.5 * 2^23: adding it rounds to a whole number, ties to even */
#define HALF 0x1.fffffep-2f /* the float below: what lies below a half stays below after the sum is rounded */

struct group {
    float x[MAX_RUN * LANES];    /* [run][LANES], scaled */
    float w[MAX_RUN * LANES];
    vec power;                   /* what x was divided by, a power of two; 0 for a run of zeros */
    vec weight;                  /* sum of the weights before scaling */
};

LOOPS vec whole(vec x)
{
    return v_sub(v_add(x, v_set(MAGIC)), v_set(MAGIC));
}

LOOPS vec clamp(vec x, vec low, vec high)
{
    return v_min(v_max(x, low), high);
}

/* a, or 0. */
LOOPS vec keep_if(vec_mask m, vec a)
{
    return v_select(m, a, v_set(0.0f));
}

/* ---- groups --------------------------------------------------------------------------------------------------- */

LOOPS int32_t lanes_left(int32_t n_runs, int32_t first)
{
    return n_runs - first < LANES ? n_runs - first : LANES;
}

/* in: [n_lanes][run]; lanes from n_lanes on become zeros. */
LOOPS void turn(float *out, const float *in, int32_t run, int32_t n_lanes)
{
    if (n_lanes == LANES) {
        v_turn(out, in, run);
        return;
    }
    memset(out, 0, (size_t)run * LANES * sizeof *out);
    for (int32_t lane = 0; lane < n_lanes; lane++)
        for (int32_t i = 0; i < run; i++)
            out[i * LANES + lane] = in[lane * run + i];
}

LOOPS void lanes_load(vec *out, const float *in, int32_t n_lanes)
{
    float part[LANES] = { 0 };
    memcpy(part, in, (size_t)n_lanes * sizeof *part);
    *out = v_load(part);
}

LOOPS void lanes_store(float *out, vec a, int32_t n_lanes)
{
    float part[LANES];
    v_store(part, a);
    memcpy(out, part, (size_t)n_lanes * sizeof *part);
}

/* Loads a group's x and scales it. */
LOOPS void load_x(struct group *g, const float *x, int32_t run, int32_t n_lanes)
{
    vec most = v_set(0.0f);
    turn(g->x, x, run, n_lanes);
    for (int32_t i = 0; i < run; i++) {
        vec a = clamp(v_load(g->x + i * LANES), v_set(-LARGEST), v_set(LARGEST));
        v_store(g->x + i * LANES, a);
        most = v_max(most, v_abs(a));
    }
    vec_mask some = v_less(v_set(SMALLEST), most);
    vec inverse = keep_if(some, v_power_inverse(most));
    g->power = keep_if(some, v_power_inverse(inverse));
    for (int32_t i = 0; i < run; i++)
        v_store(g->x + i * LANES, v_mul(v_load(g->x + i * LANES), inverse));
}

/* Sums the weights up as they are and scales them; all 1 where none is left. */
LOOPS void scale_weights(struct group *g, int32_t run)
{
    vec most = v_set(0.0f), sum = v_set(0.0f);
    for (int32_t i = 0; i < run; i++) {
        vec w = v_load(g->w + i * LANES);
        most = v_max(most, w);
        sum = v_add(sum, w);
    }
    vec_mask some = v_less(v_set(NO_WEIGHT), most);
    vec inverse = v_power_inverse(v_select(some, most, v_set(1.0f)));
    g->weight = keep_if(some, sum);
    for (int32_t i = 0; i < run; i++)
        v_store(g->w + i * LANES, v_select(some, v_mul(v_load(g->w + i * LANES), inverse), v_set(1.0f)));
}

/* Weights by what x holds, scaled: their own scale is that of x. */
LOOPS void weigh_by_x(struct group *g, int32_t run, enum quant_weigh kind)
{
    vec rms = v_set(0.0f);
    if (kind == QUANT_WEIGH_RMS_ABS) {
        for (int32_t i = 0; i < run; i++) {
            vec x = v_load(g->x + i * LANES);
            rms = v_add(rms, v_mul(x, x));
        }
        rms = v_sqrt(v_div(rms, v_set((float)run)));
    }
    for (int32_t i = 0; i < run; i++) {
        vec x = v_load(g->x + i * LANES);
        vec w = kind == QUANT_WEIGH_SQUARE ? v_mul(x, x) : v_add(rms, v_abs(x));
        v_store(g->w + i * LANES, w);
    }
    g->weight = v_set(0.0f);
}

LOOPS void weigh_by_importance(struct group *g, const struct quant_weights *weights, int32_t first, int32_t run,
                               int32_t n_lanes)
{
    vec mean = v_set(0.0f);
    turn(g->w, weights->importance + first * run, run, n_lanes);
    if (weights->kind == QUANT_WEIGH_IMPORTANCE)
        lanes_load(&mean, weights->mean_square + first, n_lanes);
    for (int32_t i = 0; i < run; i++) {
        vec w = v_min(v_load(g->w + i * LANES), v_set(LARGEST));
        if (weights->kind == QUANT_WEIGH_IMPORTANCE) {
            vec x = v_mul(v_load(g->x + i * LANES), g->power);
            w = v_mul(w, v_sqrt(v_add(mean, v_mul(x, x))));
        }
        v_store(g->w + i * LANES, w);
    }
    scale_weights(g, run);
}

LOOPS void load_group(struct group *g, const float *x, int32_t first, int32_t n_lanes,
                      const struct quant_weights *weights, int32_t run)
{
    load_x(g, x + first * run, run, n_lanes);
    if (weights->kind >= QUANT_WEIGH_IMPORTANCE)
        weigh_by_importance(g, weights, first, run, n_lanes);
    else
        weigh_by_x(g, run, weights->kind);
}

/* What a search found for a group, still scaled. */
struct found {
    vec scale, min;
    vec inverse, base;    /* codes: (x - base) * inverse */
};

LOOPS void store_found(struct quant_fit *fit, const struct group *g, const struct found *f, int32_t first,
                       int32_t n_lanes)
{
    vec inverse_power = keep_if(v_less(v_set(0.0f), g->power), v_power_inverse(g->power));
    lanes_store(fit->scale + first, v_mul(f->scale, g->power), n_lanes);
    lanes_store(fit->min + first, v_mul(v_sub(v_set(0.0f), f->min), g->power), n_lanes);
    lanes_store(fit->inverse + first, v_mul(f->inverse, inverse_power), n_lanes);
    lanes_store(fit->shift + first, v_mul(v_sub(v_set(0.0f), f->base), g->power), n_lanes);
    lanes_store(fit->weight + first, g->weight, n_lanes);
}

/* The weight of the largest magnitude, the first among equals. */
LOOPS vec extreme_of(const float *turned, int32_t run)
{
    vec most = v_set(0.0f), extreme = most;
    for (int32_t i = 0; i < run; i++) {
        vec x = v_load(turned + i * LANES), size = v_abs(x);
        extreme = v_select(v_less(most, size), x, extreme);
        most = v_max(most, size);
    }
    return extreme;
}

/* ---- without a search ----------------------------------------------------------------------------------------- */

/* Scales that a half can hold, so that codes are right for them. */
LOOPS void store_plain(struct quant_fit *fit, vec scale, vec min, int32_t first, int32_t n_lanes)
{
    vec limit = v_set(QUANT_F16_MAX);
    scale = clamp(scale, v_sub(v_set(0.0f), limit), limit);
    min = clamp(min, v_sub(v_set(0.0f), limit), limit);
    vec_mask some = v_less(v_set(SMALLEST), v_abs(scale));
    lanes_store(fit->scale + first, scale, n_lanes);
    lanes_store(fit->min + first, v_sub(v_set(0.0f), min), n_lanes);
    lanes_store(fit->inverse + first, keep_if(some, v_div(v_set(1.0f), v_select(some, scale, v_set(1.0f)))),
                n_lanes);
    lanes_store(fit->shift + first, v_sub(v_set(0.0f), min), n_lanes);
}

static void search_extreme(struct quant_fit *fit, const float *x, int32_t n_runs, const struct quant_weights *weights,
                           const struct quant_rule *rule)
{
    (void)weights;
    for (int32_t first = 0; first < n_runs; first += LANES) {
        float turned[MAX_RUN * LANES];
        int32_t n_lanes = lanes_left(n_runs, first);
        turn(turned, x + first * rule->run, rule->run, n_lanes);
        vec scale = v_div(extreme_of(turned, rule->run), v_set((float)-rule->top));
        store_plain(fit, scale, v_set(0.0f), first, n_lanes);
    }
}

static void search_range(struct quant_fit *fit, const float *x, int32_t n_runs, const struct quant_weights *weights,
                         const struct quant_rule *rule)
{
    (void)weights;
    for (int32_t first = 0; first < n_runs; first += LANES) {
        float turned[MAX_RUN * LANES];
        int32_t n_lanes = lanes_left(n_runs, first);
        turn(turned, x + first * rule->run, rule->run, n_lanes);
        vec min = v_set(FLT_MAX), max = v_set(-FLT_MAX);
        for (int32_t i = 0; i < rule->run; i++) {
            min = v_min(min, v_load(turned + i * LANES));
            max = v_max(max, v_load(turned + i * LANES));
        }
        store_plain(fit, v_div(v_sub(max, min), v_set((float)rule->top)), min, first, n_lanes);
    }
}

/* ---- affine --------------------------------------------------------------------------------------------------- */

LOOPS vec affine_code(vec x, vec base, vec inverse, vec top)
{
    return clamp(whole(v_mul(inverse, v_sub(x, base))), v_set(0.0f), top);
}

LOOPS vec affine_error(vec code, vec scale, vec min, vec x, vec w, const bool absolute)
{
    vec miss = v_sub(v_add(v_mul(scale, code), min), x);
    return v_mul(w, absolute ? v_abs(miss) : v_mul(miss, miss));
}

/* Each try cuts the range, from the best minimum so far, into another number of parts, codes the weights by that, and
 * solves for the scale and the minimum that suit these codes best; a minimum above 0 is no choice. */
LOOPS void affine_tries(struct found *f, const struct group *g, const struct quant_rule *rule, vec max, vec sum_w,
                        vec sum_wx, vec error, const bool absolute)
{
    vec top = v_set((float)rule->top), none = v_set(0.0f), codes[MAX_RUN];
    for (int32_t k = 0; k < rule->n_tries; k++) {
        vec inverse = v_div(v_set(rule->first + rule->step * (float)k + (float)rule->top), v_sub(max, f->min));
        vec q = none, qq = none, xq = none;
        for (int32_t i = 0; i < rule->run; i++) {
            vec x = v_load(g->x + i * LANES), code = affine_code(x, f->min, inverse, top);
            vec wq = v_mul(v_load(g->w + i * LANES), code);
            q = v_add(q, wq);
            qq = v_add(qq, v_mul(wq, code));
            xq = v_add(xq, v_mul(wq, x));
            codes[i] = code;
        }
        vec det = v_sub(v_mul(sum_w, qq), v_mul(q, q));
        vec_mask solved = v_less(none, det);
        det = v_select(solved, det, v_set(1.0f));
        vec scale = v_div(v_sub(v_mul(sum_w, xq), v_mul(sum_wx, q)), det);
        vec min = v_div(v_sub(v_mul(qq, sum_wx), v_mul(q, xq)), det);
        vec_mask above = v_less(none, min);
        scale = v_select(above, v_div(xq, v_select(v_less(none, qq), qq, v_set(1.0f))), scale);
        min = v_select(above, none, min);

        vec sum = none;
        for (int32_t i = 0; i < rule->run; i++)
            sum = v_add(sum, affine_error(codes[i], scale, min, v_load(g->x + i * LANES), v_load(g->w + i * LANES),
                                          absolute));
        vec_mask better = v_both(solved, v_less(sum, error));
        error = v_select(better, sum, error);
        f->inverse = v_select(better, inverse, f->inverse);
        f->base = v_select(better, f->min, f->base);
        f->scale = v_select(better, scale, f->scale);
        f->min = v_select(better, min, f->min);
    }
}

LOOPS void affine_group(struct found *f, const struct group *g, const struct quant_rule *rule, const bool absolute)
{
    vec top = v_set((float)rule->top), none = v_set(0.0f);
    vec min = none, max = v_set(-LARGEST), sum_w = none, sum_wx = none;
    for (int32_t i = 0; i < rule->run; i++) {
        vec x = v_load(g->x + i * LANES), w = v_load(g->w + i * LANES);
        min = v_min(min, x);
        max = v_max(max, x);
        sum_w = v_add(sum_w, w);
        sum_wx = v_add(sum_wx, v_mul(w, x));
    }
    vec_mask some = v_less(min, max);
    max = v_select(some, max, v_set(2.0f));    /* so that nothing divides by 0 */
    f->inverse = v_div(top, v_sub(max, min));
    f->scale = v_div(v_set(1.0f), f->inverse);
    f->min = f->base = min;
    vec error = none;
    for (int32_t i = 0; i < rule->run; i++) {
        vec x = v_load(g->x + i * LANES), code = affine_code(x, min, f->inverse, top);
        error = v_add(error, affine_error(code, f->scale, min, x, v_load(g->w + i * LANES), absolute));
    }
    affine_tries(f, g, rule, max, sum_w, sum_wx, error, absolute);
    /* All alike and not above 0: the minimum says it all. */
    f->scale = keep_if(some, f->scale);
    f->inverse = keep_if(some, f->inverse);
    f->min = v_select(some, f->min, min);
    f->base = v_select(some, f->base, min);
}

static void search_affine(struct quant_fit *fit, const float *x, int32_t n_runs, const struct quant_weights *weights,
                          const struct quant_rule *rule)
{
    for (int32_t first = 0; first < n_runs; first += LANES) {
        struct group g;
        struct found f;
        int32_t n_lanes = lanes_left(n_runs, first);
        load_group(&g, x, first, n_lanes, weights, rule->run);
        if (rule->absolute)
            affine_group(&f, &g, rule, true);
        else
            affine_group(&f, &g, rule, false);
        store_found(fit, &g, &f, first, n_lanes);
    }
}

/* ---- symmetric ------------------------------------------------------------------------------------------------ */

/* With codes q the best scale is xq / qq, and what it gains over a scale of 0 is xq^2 / qq. */
struct gain {
    vec xq, qq;
};

LOOPS vec gain_scale(struct gain s)
{
    vec_mask some = v_less(v_set(0.0f), s.qq);
    return keep_if(some, v_div(s.xq, v_select(some, s.qq, v_set(1.0f))));
}

/* best: of the fit so far, scale * xq. */
LOOPS void take_better(struct found *f, vec *best, struct gain s, vec inverse)
{
    vec_mask better = v_both(v_less(v_set(0.0f), s.qq), v_less(v_mul(*best, s.qq), v_mul(s.xq, s.xq)));
    vec scale = gain_scale(s);
    f->scale = v_select(better, scale, f->scale);
    f->inverse = v_select(better, inverse, f->inverse);
    *best = v_select(better, v_mul(scale, s.xq), *best);
}

LOOPS struct gain symmetric_gain(const struct group *g, int32_t run, vec inverse, float top)
{
    struct gain s = { v_set(0.0f), v_set(0.0f) };
    for (int32_t i = 0; i < run; i++) {
        vec x = v_load(g->x + i * LANES), w = v_load(g->w + i * LANES);
        vec q = clamp(whole(v_mul(inverse, x)), v_set(-top), v_set(top - 1.0f));
        s.xq = v_add(s.xq, v_mul(v_mul(w, x), q));
        s.qq = v_add(s.qq, v_mul(v_mul(w, q), q));
    }
    return s;
}

LOOPS void symmetric_group(struct found *f, const struct group *g, int32_t run, float top)
{
    vec_mask some = v_less(v_set(0.0f), g->power);
    vec extreme = v_select(some, extreme_of(g->x, run), v_set(1.0f));
    f->min = f->base = v_set(0.0f);
    f->inverse = v_div(v_set(-top), extreme);
    struct gain s = symmetric_gain(g, run, f->inverse, top);
    f->scale = gain_scale(s);
    vec best = v_mul(f->scale, s.xq);
    for (int32_t k = -9; k <= 9; k++) {
        if (k == 0)
            continue;
        vec inverse = v_div(v_set(-(top + 0.1f * (float)k)), extreme);
        take_better(f, &best, symmetric_gain(g, run, inverse, top), inverse);
    }
    f->inverse = keep_if(some, f->inverse);
}

static void search_symmetric(struct quant_fit *fit, const float *x, int32_t n_runs,
                             const struct quant_weights *weights, const struct quant_rule *rule)
{
    for (int32_t first = 0; first < n_runs; first += LANES) {
        struct group g;
        struct found f;
        int32_t n_lanes = lanes_left(n_runs, first);
        load_group(&g, x, first, n_lanes, weights, rule->run);
        symmetric_group(&f, &g, rule->run, (float)rule->top);
        store_found(fit, &g, &f, first, n_lanes);
    }
}

/* ---- single codes, one after the other ------------------------------------------------------------------------- */

enum { GREEDY_PASSES = 5 };

/* The code is taken out and put back as what suits the scale of the others, where that gains. Returns which lanes
 * changed. */
LOOPS vec_mask greedy_step(vec *code, struct gain *s, vec x, vec w, vec low, vec high)
{
    vec none = v_set(0.0f), wx = v_mul(w, x);
    struct gain others = { v_sub(s->xq, v_mul(wx, *code)), v_sub(s->qq, v_mul(v_mul(w, *code), *code)) };
    vec_mask sound = v_less(none, others.xq);
    vec q = v_div(v_mul(x, others.qq), v_select(sound, others.xq, v_set(1.0f)));
    q = clamp(whole(q), low, high);
    struct gain with = { v_add(others.xq, v_mul(wx, q)), v_add(others.qq, v_mul(v_mul(w, q), q)) };
    vec_mask better = v_less(v_mul(v_mul(s->xq, s->xq), with.qq), v_mul(v_mul(with.xq, with.xq), s->qq));
    vec_mask change = v_both(v_both(sound, v_differ(q, *code)), v_both(v_less(none, with.qq), better));
    *code = v_select(change, q, *code);
    s->xq = v_select(change, with.xq, s->xq);
    s->qq = v_select(change, with.qq, s->qq);
    return change;
}

/* One group's codes, and what they gain. */
struct codes {
    vec q[MAX_RUN];
    struct gain gain;
};

/* n_groups at once: the steps of one wait for each other. */
LOOPS void greedy_passes(struct codes *c, const struct group *g, const int n_groups, int32_t run, float low, float high)
{
    for (int32_t pass = 0; pass < GREEDY_PASSES; pass++) {
        bool changed = false;
        for (int32_t i = 0; i < run; i++)
            for (int k = 0; k < n_groups; k++)
                changed |= v_any(greedy_step(&c[k].q[i], &c[k].gain, v_load(g[k].x + i * LANES),
                                             v_load(g[k].w + i * LANES), v_set(low), v_set(high)));
        if (!changed)
            return;
    }
}

LOOPS void greedy_begin(struct codes *c, const struct group *g, int32_t run, float top)
{
    vec_mask some = v_less(v_set(0.0f), g->power);
    vec inverse = v_div(v_set(-top), v_select(some, extreme_of(g->x, run), v_set(1.0f)));
    for (int32_t i = 0; i < run; i++)
        c->q[i] = clamp(whole(v_mul(inverse, v_load(g->x + i * LANES))), v_set(-top), v_set(top - 1.0f));
    c->gain = symmetric_gain(g, run, inverse, top);
}

static void search_greedy(struct quant_fit *fit, const float *x, int32_t n_runs, const struct quant_weights *weights,
                          const struct quant_rule *rule)
{
    enum { PAIR = 2 };
    float top = (float)rule->top;
    for (int32_t first = 0; first < n_runs; first += PAIR * LANES) {
        struct group g[PAIR];
        struct codes c[PAIR];
        int n_groups = n_runs - first > LANES ? PAIR : 1;
        for (int k = 0; k < n_groups; k++) {
            int32_t begin = first + k * LANES;
            load_group(&g[k], x, begin, lanes_left(n_runs, begin), weights, rule->run);
            greedy_begin(&c[k], &g[k], rule->run, top);
        }
        if (n_groups == PAIR)
            greedy_passes(c, g, PAIR, rule->run, -top, top - 1.0f);
        else
            greedy_passes(c, g, 1, rule->run, -top, top - 1.0f);
        for (int k = 0; k < n_groups; k++) {
            struct found f = { .scale = gain_scale(c[k].gain), .min = v_set(0.0f) };
            f.inverse = f.base = v_set(0.0f);
            store_found(fit, &g[k], &f, first + k * LANES, lanes_left(n_runs, first + k * LANES));
        }
    }
}

/* ---- positive ------------------------------------------------------------------------------------------------- */

LOOPS vec positive_code(vec x, vec inverse, vec top)
{
    return v_min(whole(v_mul(inverse, x)), top);
}

LOOPS vec positive_error(const struct group *g, int32_t run, vec inverse, vec top)
{
    vec scale = v_div(v_set(1.0f), inverse), sum = v_set(0.0f);
    for (int32_t i = 0; i < run; i++) {
        vec x = v_load(g->x + i * LANES);
        vec miss = v_sub(x, v_mul(scale, positive_code(x, inverse, top)));
        sum = v_add(sum, v_mul(v_mul(v_load(g->w + i * LANES), miss), miss));
    }
    return sum;
}

/* Codes and the refitted scale. */
LOOPS vec positive_group(struct codes *c, const struct group *g, int32_t run, float highest)
{
    vec_mask some = v_less(v_set(0.0f), g->power);
    vec top = v_set(highest), max = v_select(some, extreme_of(g->x, run), v_set(1.0f)), inverse = v_div(top, max);
    vec error = positive_error(g, run, inverse, top);
    for (int32_t k = -4; k <= 4; k++) {
        if (k == 0)
            continue;
        vec other = v_div(v_set(0.1f * (float)k + highest), max), sum = positive_error(g, run, other, top);
        inverse = v_select(v_less(sum, error), other, inverse);
        error = v_min(error, sum);
    }
    c->gain.xq = c->gain.qq = v_set(0.0f);
    for (int32_t i = 0; i < run; i++) {
        vec x = v_load(g->x + i * LANES), w = v_load(g->w + i * LANES), q = positive_code(x, inverse, top);
        c->gain.xq = v_add(c->gain.xq, v_mul(v_mul(w, x), q));
        c->gain.qq = v_add(c->gain.qq, v_mul(v_mul(w, q), q));
        c->q[i] = q;
    }
    greedy_passes(c, g, 1, run, 0.0f, highest);
    return v_mul(gain_scale(c->gain), g->power);
}

/* Codes of a group, whole numbers 0 to 255, to their runs. */
LOOPS void store_codes(uint8_t *out, const vec *codes, int32_t run, int32_t n_lanes)
{
    uint8_t turned[MAX_RUN * LANES];
    for (int32_t i = 0; i < run; i++)
        v_store_u8(turned + i * LANES, codes[i]);
    for (int32_t lane = 0; lane < n_lanes; lane++)
        for (int32_t i = 0; i < run; i++)
            out[lane * run + i] = turned[i * LANES + lane];
}

static void search_positive(uint8_t *codes, float *scale, const float *x, const float *w, int32_t n_runs, int32_t run,
                            int32_t top)
{
    struct quant_weights weights = { .kind = QUANT_WEIGH_GIVEN, .importance = w };
    for (int32_t first = 0; first < n_runs; first += LANES) {
        struct group g;
        struct codes found;
        int32_t n_lanes = lanes_left(n_runs, first);
        load_group(&g, x, first, n_lanes, &weights, run);
        lanes_store(scale + first, positive_group(&found, &g, run, (float)top), n_lanes);
        store_codes(codes + first * run, found.q, run, n_lanes);
    }
}

/* ---- codebook ------------------------------------------------------------------------------------------------- */

/* sum, and the steps from the first value to the one nearest to x: half way between two counts as the upper one. */
LOOPS vec codebook_steps(vec x, vec sum, const bool index)
{
    UNROLL
    for (int32_t k = 0; k < 15; k++) {
        float low = quant_iq4_values[k], high = quant_iq4_values[k + 1];
        vec step = v_set(index ? 1.0f : high - low);
        sum = v_add(sum, v_select(v_less(x, v_set((low + high) * 0.5f)), v_set(0.0f), step));
    }
    return sum;
}

LOOPS struct gain codebook_gain(const struct group *g, int32_t run, vec inverse)
{
    struct gain s = { v_set(0.0f), v_set(0.0f) };
    for (int32_t i = 0; i < run; i++) {
        vec x = v_load(g->x + i * LANES);
        vec q = codebook_steps(v_mul(inverse, x), v_set(quant_iq4_values[0]), false);
        vec wq = v_mul(v_load(g->w + i * LANES), q);
        s.xq = v_add(s.xq, v_mul(wq, x));
        s.qq = v_add(s.qq, v_mul(wq, q));
    }
    return s;
}

/* The extreme at +127, which the codebook does not reach, then at -120 to -134 of its -127. */
LOOPS void codebook_group(struct found *f, const struct group *g, int32_t run)
{
    vec_mask some = v_less(v_set(0.0f), g->power);
    vec extreme = v_select(some, extreme_of(g->x, run), v_set(1.0f));
    f->min = f->base = v_set(0.0f);
    f->inverse = v_div(v_set(1.0f), v_div(extreme, v_set(127.0f)));
    struct gain s = codebook_gain(g, run, f->inverse);
    f->scale = gain_scale(s);
    vec best = v_mul(f->scale, s.xq);
    for (int32_t k = -7; k <= 7; k++) {
        vec inverse = v_div(v_set((float)(k - 127)), extreme);
        take_better(f, &best, codebook_gain(g, run, inverse), inverse);
    }
    f->scale = keep_if(some, f->scale);
}

static void search_codebook(struct quant_fit *fit, const float *x, int32_t n_runs, const struct quant_weights *weights,
                            const struct quant_rule *rule)
{
    for (int32_t first = 0; first < n_runs; first += LANES) {
        struct group g;
        struct found f;
        int32_t n_lanes = lanes_left(n_runs, first);
        load_group(&g, x, first, n_lanes, weights, rule->run);
        codebook_group(&f, &g, rule->run);
        store_found(fit, &g, &f, first, n_lanes);
    }
}

/* ---- codes ---------------------------------------------------------------------------------------------------- */

/* Not turned round: a run is a multiple of LANES. */
LOOPS void encode_runs(uint8_t *codes, const float *x, const struct quant_fit *fit, int32_t n_runs, int32_t run,
                       int32_t low, int32_t high, const enum quant_round how)
{
    vec lowest = v_set((float)low), highest = v_set((float)high);
    for (int32_t r = 0; r < n_runs; r++) {
        float scale = fit->scale[r] != 0 ? fit->scale[r] : 1.0f;
        vec factor = v_set(how == QUANT_DIVIDE_EVEN ? scale : fit->inverse[r]), shift = v_set(fit->shift[r]);
        for (int32_t i = 0; i < run; i += LANES, x += LANES, codes += LANES) {
            vec q = v_add(v_load(x), shift);
            q = clamp(how == QUANT_DIVIDE_EVEN ? v_div(q, factor) : v_mul(q, factor), lowest, highest);
            if (how == QUANT_ROUND_UP)
                q = v_add(q, v_set(0.5f - (float)low));    /* storing cuts it to the whole part */
            else if (how == QUANT_ROUND_AWAY)
                q = v_sub(v_whole_part(v_add(q, v_select(v_less(q, v_set(0.0f)), v_set(-HALF), v_set(HALF)))), lowest);
            else
                q = v_sub(whole(q), lowest);
            v_store_u8(codes, q);
        }
    }
}

static void encode(uint8_t *codes, const float *x, const struct quant_fit *fit, int32_t n_runs, int32_t run,
                   int32_t low, int32_t high, enum quant_round how)
{
    if (how == QUANT_ROUND_EVEN)
        encode_runs(codes, x, fit, n_runs, run, low, high, QUANT_ROUND_EVEN);
    else if (how == QUANT_ROUND_UP)
        encode_runs(codes, x, fit, n_runs, run, low, high, QUANT_ROUND_UP);
    else if (how == QUANT_ROUND_AWAY)
        encode_runs(codes, x, fit, n_runs, run, low, high, QUANT_ROUND_AWAY);
    else
        encode_runs(codes, x, fit, n_runs, run, low, high, QUANT_DIVIDE_EVEN);
}

static void encode_codebook(uint8_t *codes, const float *x, const struct quant_fit *fit, int32_t n_runs, int32_t run)
{
    for (int32_t r = 0; r < n_runs; r++) {
        vec inverse = v_set(fit->inverse[r]);
        for (int32_t i = 0; i < run; i += LANES, x += LANES, codes += LANES)
            v_store_u8(codes, codebook_steps(v_mul(v_load(x), inverse), v_set(0.0f), true));
    }
}

/* The level of the magnitude, the smaller of two that are equally near; then the sign, but for zero. */
static void encode_mxfp4(uint8_t *codes, const float *x, const struct quant_fit *fit, int32_t n_runs, int32_t run)
{
    static const float middles[7] = { 0.25f, 0.75f, 1.25f, 1.75f, 2.5f, 3.5f, 5.0f };
    vec none = v_set(0.0f), one = v_set(1.0f);
    for (int32_t r = 0; r < n_runs; r++) {
        vec inverse = v_set(fit->inverse[r]);
        for (int32_t i = 0; i < run; i += LANES, x += LANES, codes += LANES) {
            vec a = v_mul(v_load(x), inverse), level = none;
            UNROLL
            for (int32_t k = 0; k < 7; k++)
                level = v_add(level, keep_if(v_less(v_set(middles[k]), v_abs(a)), one));
            vec_mask minus = v_both(v_less(a, none), v_less(none, level));
            v_store_u8(codes, v_add(level, keep_if(minus, v_set(8.0f))));
        }
    }
}

/* ---- halves --------------------------------------------------------------------------------------------------- */

static void from_halves(float *out, const void *halves, int64_t n)
{
    const uint16_t *in = halves;
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        v_store(out + i, v_load_f16(in + i));
    for (; i < n; i++) {
        uint16_t half;
        memcpy(&half, in + i, sizeof half);
        out[i] = f16_to_f32(half);
    }
}

static void to_halves(void *halves, const float *x, int64_t n)
{
    uint16_t *out = halves;
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        v_store_f16(out + i, clamp(v_load(x + i), v_set(-QUANT_F16_MAX), v_set(QUANT_F16_MAX)));
    for (; i < n; i++) {
        uint16_t half = f16_from_finite(x[i]);
        memcpy(out + i, &half, sizeof half);
    }
}

/* What a tier's file makes its table of. */
#define QUANT_TABLE                                                                                          \
    {                                                                                                        \
        .extreme = search_extreme, .range = search_range, .affine = search_affine,                           \
        .symmetric = search_symmetric, .greedy = search_greedy, .codebook = search_codebook,                 \
        .positive = search_positive, .encode = encode, .encode_codebook = encode_codebook,                   \
        .encode_mxfp4 = encode_mxfp4, .from_halves = from_halves, .to_halves = to_halves                     \
    }

#endif
