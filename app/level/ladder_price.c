/* SPDX-License-Identifier: MIT */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "app/level/ladder.h"

enum { FEW_TOKENS = 128, SHORTEST = 512, PAGE = 64 };

/* A speed measured after some tokens is that after others too, where the model says that they take the same time, or
 * where it does not matter how many they are. */
static const double NEAR = 0.03;

void ladder_size(uint64_t n_bytes, char out[32])
{
    double mb = (double)n_bytes / 1e6;
    if (mb >= 999.5)
        snprintf(out, 32, "%.2f GB", mb / 1e3);
    else
        snprintf(out, 32, mb >= 99.95 ? "%.0f MB" : "%.1f MB", mb);
}

/* ---- speed ------------------------------------------------------------------------------------------ */

static double model_s(const struct ladder_row *row, const struct roofline *roof, int32_t n_held, uint64_t *bytes)
{
    struct fit_reads r;
    fit_reads(row->shape, &row->fit, n_held, &r);
    *bytes = roofline_bytes(&r);
    return roofline_token_s(roof, &r, row->fit.n_layers);
}

static void set_measured_speed(const struct ladder *l, struct ladder_row *row, const struct engine_info *info,
                               const struct roofline *roof, int32_t n_held, double *factor)
{
    char place[FIGURES_TEXT_BYTES], types[24];
    figures_place(info, row->fit.n_layers, row->fit.n_device_layers, place);
    figures_kv_types(row->fit.kv_type_k, row->fit.kv_type_v, types);
    const struct figures_speed *s = row->state != LADDER_HERE ? NULL
                                    : figures_find_speed(&l->figures, row->id.content, row->id.n_bytes, place, types);
    *factor = 0;
    if (!s)
        return;
    uint64_t bytes_then;
    double then_s = model_s(row, roof, s->n_held, &bytes_then);
    double now_s = model_s(row, roof, n_held ? n_held : FEW_TOKENS, &row->token_bytes);
    bool is_near = n_held == 0 || fabs(now_s - then_s) <= NEAR * then_s;
    row->speed = is_near ? LADDER_MEASURED : LADDER_ESTIMATED;
    row->tokens_per_s = s->tokens_per_s * (is_near ? 1 : then_s / now_s);
    if (then_s > 0)
        *factor = 1 / (s->tokens_per_s * then_s);
}

/* What the speed of levels that were measured says of this one: the nearer in size, the more. 1: none was. */
static double factor_for(const struct ladder *l, int32_t row, const double *factors)
{
    double sum = 0, weights = 0;
    for (int32_t i = 0; i < l->n_rows; i++) {
        if (factors[i] <= 0 || l->rows[i].fit.n_device_layers != l->rows[row].fit.n_device_layers)
            continue;
        double distance = fabs(log((double)l->rows[i].tensor_bytes / (double)l->rows[row].tensor_bytes));
        double weight = 1 / (distance + 0.05);
        sum += weight * log(factors[i]);
        weights += weight;
    }
    return weights > 0 ? exp(sum / weights) : l->rows[row].fit.n_device_layers > 0 ? 0 : 1;
}

static void set_speeds(struct ladder *l, const struct engine *eng, const struct roofline *roof, int32_t n_held)
{
    double factors[LADDER_MAX_ROWS] = { 0 };
    struct engine_info info;
    engine_info(eng, &info);
    for (int32_t i = 0; i < l->n_rows; i++)
        if (l->rows[i].fits_known)
            set_measured_speed(l, &l->rows[i], &info, roof, n_held, &factors[i]);
    for (int32_t i = 0; i < l->n_rows; i++) {
        struct ladder_row *row = &l->rows[i];
        if (!row->fits_known || row->speed != LADDER_UNKNOWN)
            continue;
        double s = model_s(row, roof, n_held ? n_held : FEW_TOKENS, &row->token_bytes) * factor_for(l, i, factors);
        if (s > 0) {
            row->speed = LADDER_ESTIMATED;
            row->tokens_per_s = 1 / s;
        }
    }
}

/* ---- quality ---------------------------------------------------------------------------------------- */

/* What measured levels say of the estimates of the others; 1: none was measured. */
static double quality_factor(const struct ladder *l)
{
    double sum = 0;
    int32_t n = 0;
    for (int32_t i = 0; i < l->n_rows; i++) {
        const struct ladder_row *row = &l->rows[i];
        if (row->quality == LADDER_MEASURED && row->kl > 0 && row->kl_estimate > 0) {
            sum += log(row->kl / row->kl_estimate);
            n++;
        }
    }
    return n > 0 ? exp(sum / n) : 1;
}

static void set_qualities(struct ladder *l)
{
    const struct ladder_row *best = l->best >= 0 ? &l->rows[l->best] : NULL;
    for (int32_t i = 0; best && i < l->n_rows; i++) {
        struct ladder_row *row = &l->rows[i];
        const struct figures_quality *q = row->state != LADDER_HERE || row == best ? NULL
            : figures_find_quality(&l->figures, row->id.content, row->id.n_bytes, best->id.content);
        if (!q)
            continue;
        row->quality = LADDER_MEASURED;
        row->kl = q->kl;
        row->kl_error = q->kl_error;
        row->same_top = q->same_top;
    }
    double factor = quality_factor(l);
    for (int32_t i = 0; best && i < l->n_rows; i++) {
        struct ladder_row *row = &l->rows[i];
        if (row == best || row->quality == LADDER_MEASURED || row->kl_estimate < 0)
            continue;
        row->quality = LADDER_ESTIMATED;
        row->kl = row->kl_estimate * factor;
    }
}

/* ----------------------------------------------------------------------------------------------------- */

enum err_code ladder_price(struct ladder *l, const struct engine *eng, const struct fit_want *want,
                           const struct roofline *roof, int32_t n_held, struct err *e)
{
    enum err_code rc = ERR_OK;
    for (int32_t i = 0; i < l->n_rows; i++) {
        struct ladder_row *row = &l->rows[i];
        row->fits_known = false;
        row->speed = row->quality = LADDER_UNKNOWN;
        row->tokens_per_s = row->kl = row->kl_error = row->same_top = 0;
        row->token_bytes = 0;
    }
    for (int32_t i = 0; rc == ERR_OK && i < l->n_rows; i++) {
        struct ladder_row *row = &l->rows[i];
        rc = row->shape ? fit_price(row->shape, eng, want, &row->fit, e) : ERR_OK;
        row->fits_known = row->shape && rc == ERR_OK;
    }
    if (rc != ERR_OK)
        return rc;
    set_speeds(l, eng, roof, n_held);
    set_qualities(l);
    return ERR_OK;
}

/* ---- what would fit --------------------------------------------------------------------------------- */

static bool try_fit(const struct ladder_row *row, const struct engine *eng, const struct fit_want *want, int32_t n_ctx,
                    const char *types, struct fit *out)
{
    struct fit_want w = *want;
    struct err ignored;
    w.n_ctx = n_ctx ? n_ctx : want->n_ctx;
    w.kv_type_k = types ? types : want->kv_type_k;
    w.kv_type_v = types ? types : want->kv_type_v;
    return fit_price(row->shape, eng, &w, out, &ignored) == ERR_OK && out->fits;
}

int32_t ladder_longest(const struct ladder_row *row, const struct engine *eng, const struct fit_want *want)
{
    struct fit_shape_info info;
    struct fit f;
    if (!row->shape)
        return 0;
    fit_shape_info(row->shape, &info);
    int32_t low = 0, high = info.n_ctx_train / PAGE;
    while (low < high) {
        int32_t middle = low + (high - low + 1) / 2;
        if (try_fit(row, eng, want, middle * PAGE, NULL, &f))
            low = middle;
        else
            high = middle - 1;
    }
    return low * PAGE;
}

struct advice {
    char (*texts)[LADDER_TEXT_BYTES];
    int32_t n;
};

static void advise(struct advice *a, const char *what, const struct fit *f)
{
    char size[32];
    if (a->n == LADDER_ADVICE)
        return;
    ladder_size(f->needed_bytes, size);
    snprintf(a->texts[a->n++], LADDER_TEXT_BYTES, "%.180s: %s", what, size);
}

static void advise_types(struct advice *a, const struct ladder_row *row, const struct engine *eng,
                         const struct fit_want *want)
{
    static const char *const smaller[] = { "q8_0", "kv4", "kv3" };
    char text[LADDER_TEXT_BYTES];
    struct fit f;
    for (size_t i = 0; i < sizeof smaller / sizeof *smaller; i++)
        if (try_fit(row, eng, want, 0, smaller[i], &f) && f.needed_bytes < row->fit.needed_bytes) {
            snprintf(text, sizeof text, "keys and values as %s (-ctk %s -ctv %s)", smaller[i], smaller[i], smaller[i]);
            advise(a, text, &f);
            return;
        }
}

static void advise_context(struct advice *a, const struct ladder_row *row, const struct engine *eng,
                           const struct fit_want *want)
{
    char text[LADDER_TEXT_BYTES];
    struct fit f;
    int32_t n_ctx = ladder_longest(row, eng, want);
    if (n_ctx < SHORTEST || n_ctx >= row->fit.n_ctx || !try_fit(row, eng, want, n_ctx, NULL, &f))
        return;
    snprintf(text, sizeof text, "a context of %d tokens (-c %d)", n_ctx, n_ctx);
    advise(a, text, &f);
}

/* The first smaller one of that state that fits. */
static void advise_level(struct advice *a, const struct ladder *l, int32_t row, enum ladder_state state)
{
    for (int32_t i = row + 1; i < l->n_rows; i++) {
        const struct ladder_row *other = &l->rows[i];
        char text[LADDER_TEXT_BYTES];
        if (other->state != state || !other->fits_known || !other->fit.fits || other->problem[0])
            continue;
        snprintf(text, sizeof text, "level %s, which %s", other->level,
                 state == LADDER_HERE ? "is here" : "can be made");
        advise(a, text, &other->fit);
        return;
    }
}

int32_t ladder_advise(const struct ladder *l, int32_t row, const struct engine *eng, const struct fit_want *want,
                      char out[LADDER_ADVICE][LADDER_TEXT_BYTES])
{
    struct advice a = { .texts = out };
    const struct ladder_row *r = &l->rows[row];
    if (!r->shape || !r->fits_known || r->fit.fits)
        return 0;
    advise_level(&a, l, row, LADDER_HERE);
    advise_types(&a, r, eng, want);
    advise_context(&a, r, eng, want);
    advise_level(&a, l, row, LADDER_MAKE);
    return a.n;
}
