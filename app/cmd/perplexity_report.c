/* SPDX-License-Identifier: MIT */
#include "app/cmd/perplexity_report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "app/cmd/cmd.h"

static const struct {
    const char *kl, *delta_p;    /* as llama.cpp calls it; "": it has none */
    const char *key;
    double fraction;
} places[] = {
    { "Maximum KLD", "Maximum Δp", "max", 1 },       { "99.9%   KLD", "99.9%   Δp", "p99.9", 0.999 },
    { "99.0%   KLD", "99.0%   Δp", "p99", 0.99 },    { "95.0%   KLD", "95.0%   Δp", "p95", 0.95 },
    { "90.0%   KLD", "90.0%   Δp", "p90", 0.9 },     { "", "75.0%   Δp", "p75", 0.75 },
    { "Median  KLD", "Median  Δp", "median", 0.5 },  { "", "25.0%   Δp", "p25", 0.25 },
    { "10.0%   KLD", "10.0%   Δp", "p10", 0.1 },     { " 5.0%   KLD", " 5.0%   Δp", "p5", 0.05 },
    { " 1.0%   KLD", " 1.0%   Δp", "p1", 0.01 },     { " 0.1%   KLD", " 0.1%   Δp", "p0.1", 0.001 },
    { "Minimum KLD", "Minimum Δp", "min", 0 },
};
enum { PLACES = sizeof places / sizeof places[0] };

/* Everything there is to say, computed once. */
struct figures {
    struct score_summary subject, rival;
    struct score_difference less;
    double kl[PLACES], delta_p[PLACES];
};

static enum err_code find_places(const struct scores *s, int64_t n, struct figures *f, struct err *e)
{
    double *sorted = n > 0 ? malloc((size_t)n * sizeof *sorted) : NULL;
    if (!sorted)
        return err_set(e, ERR_NOMEM, "no memory for the figures of %lld positions", (long long)n);
    scores_sorted(s, SCORE_KL, sorted);
    for (int i = 0; i < PLACES; i++)
        f->kl[i] = estimate_percentile(sorted, n, places[i].fraction);
    scores_sorted(s, SCORE_DELTA_P, sorted);
    for (int i = 0; i < PLACES; i++)
        f->delta_p[i] = estimate_percentile(sorted, n, places[i].fraction);
    free(sorted);
    return ERR_OK;
}

static enum err_code compute(const struct perplexity_report *r, struct figures *f, struct err *e)
{
    memset(f, 0, sizeof *f);
    enum err_code rc = scores_summary(&r->c->subject, &f->subject, e);
    if (rc == ERR_OK && r->base)
        rc = find_places(&r->c->subject, f->subject.n, f, e);
    if (rc == ERR_OK && r->versus)
        rc = scores_summary(&r->c->rival, &f->rival, e);
    if (rc == ERR_OK && r->versus)
        rc = scores_difference(&r->c->subject, &r->c->rival, &f->less, e);
    return rc;
}

/* ---- text ----------------------------------------------------------------------------------------- */

static void print_interval(const struct estimate *e, double factor, int n_digits)
{
    printf("   [95 %%: %.*f to %.*f]\n", n_digits, factor * e->low, n_digits, factor * e->high);
}

/* exp of the estimate: a perplexity, or a ratio of two. */
static void print_exp(const char *label, const struct estimate *e)
{
    struct estimate x = { .low = exp(e->low), .high = exp(e->high) };
    printf("%s: %10.6f +/- %10.6f", label, exp(e->mean), exp(e->mean) * e->error);
    print_interval(&x, 1, 6);
}

static void print_estimate(const char *label, const struct estimate *e, double factor, int n_digits, const char *unit)
{
    printf("%s: %10.*f +/- %10.*f%s", label, n_digits, factor * e->mean, n_digits, factor * e->error, unit);
    print_interval(e, factor, n_digits);
}

static void print_beside_base(const struct figures *f)
{
    const struct score_summary *s = &f->subject;
    double ppl = exp(s->nll.mean), base = exp(s->base_nll.mean);
    double error = ppl * s->nll.error, base_error = base * s->base_nll.error;
    double variance = error * error + base_error * base_error - 2 * error * base_error * s->correlation;
    printf("\n====== Perplexity statistics ======\n");
    print_exp("Mean PPL(Q)                   ", &s->nll);
    print_exp("Mean PPL(base)                ", &s->base_nll);
    printf("Cor(ln(PPL(Q)), ln(PPL(base))): %6.2f%%\n", 100 * s->correlation);
    print_estimate("Mean ln(PPL(Q)/PPL(base))     ", &s->log_ratio, 1, 6, "");
    print_exp("Mean PPL(Q)/PPL(base)         ", &s->log_ratio);
    printf("Mean PPL(Q)-PPL(base)         : %10.6f +/- %10.6f\n", ppl - base, variance > 0 ? sqrt(variance) : 0);
    printf("\n====== KL divergence statistics ======\n");
    print_estimate("Mean    KLD", &s->kl, 1, 7, "");
    for (int i = 0; i < PLACES; i++)
        if (places[i].kl[0])
            printf("%s: %10.6f\n", places[i].kl, f->kl[i]);
    printf("\n====== Token probability statistics ======\n");
    print_estimate("Mean    Δp", &s->delta_p, 100, 3, " %");
    for (int i = 0; i < PLACES; i++)
        printf("%s: %6.3f%%\n", places[i].delta_p, 100 * f->delta_p[i]);
    printf("RMS Δp    : %6.3f +/- %5.3f %%\n", 100 * s->delta_p_rms, 100 * s->delta_p_rms_error);
    print_estimate("Same top p", &s->same_top, 100, 3, " %");
}

static void print_versus(const struct perplexity_report *r, const struct figures *f)
{
    printf("\n====== Beside ");
    cmd_put_line(stdout, r->versus);
    printf(" ======\n");
    print_exp("Mean PPL(V)                   ", &f->rival.nll);
    print_estimate("Mean ln(PPL(Q)/PPL(V))        ", &f->less.nll, 1, 6, "");
    if (!r->base)
        return;
    print_estimate("Mean KLD(V)                   ", &f->rival.kl, 1, 7, "");
    print_estimate("Mean KLD(Q) - KLD(V)          ", &f->less.kl, 1, 7, "");
    print_estimate("Same top p(V)                 ", &f->rival.same_top, 100, 3, " %");
    print_estimate("Same top p(Q) - same top p(V) ", &f->less.same_top, 100, 3, " %");
}

enum err_code perplexity_report_text(const struct perplexity_report *r, struct err *e)
{
    struct figures f;
    enum err_code rc = compute(r, &f, e);
    if (rc != ERR_OK)
        return rc;
    double ppl = exp(f.subject.nll.mean);
    printf("Final estimate: PPL = %.4f +/- %.5f\n", ppl, f.subject.nll.error * ppl);
    if (r->base)
        print_beside_base(&f);
    if (r->versus)
        print_versus(r, &f);
    if (r->base || r->versus)
        printf("\n%lld positions in %lld chunks; +/- as if positions were independent, [95 %%] from %d blocks\n",
               (long long)f.subject.n, (long long)f.subject.n_chunks, f.subject.n_blocks);
    return ERR_OK;
}

/* ---- JSON ----------------------------------------------------------------------------------------- */

static json_t *json_estimate(const struct estimate *e)
{
    return json_pack("{so so so so}", "mean", cmd_json_number(e->mean), "error", cmd_json_number(e->error), "low",
                     cmd_json_number(e->low), "high", cmd_json_number(e->high));
}

static void add_places(json_t *object, const double *values)
{
    for (int i = 0; i < PLACES; i++)
        json_object_set_new(object, places[i].key, cmd_json_number(values[i]));
}

static json_t *json_side(const char *name, const struct score_summary *s, bool has_base)
{
    json_t *side = json_pack("{so so so}", "model", cmd_json_text(name, strlen(name)), "ppl",
                             cmd_json_number(exp(s->nll.mean)), "nll", json_estimate(&s->nll));
    if (!has_base)
        return side;
    json_t *delta_p = json_estimate(&s->delta_p);
    json_object_set_new(delta_p, "rms", cmd_json_number(s->delta_p_rms));
    json_object_set_new(delta_p, "rms_error", cmd_json_number(s->delta_p_rms_error));
    json_object_set_new(side, "log_ppl_ratio", json_estimate(&s->log_ratio));
    json_object_set_new(side, "correlation", cmd_json_number(s->correlation));
    json_object_set_new(side, "kl", json_estimate(&s->kl));
    json_object_set_new(side, "delta_p", delta_p);
    json_object_set_new(side, "same_top", json_estimate(&s->same_top));
    return side;
}

enum err_code perplexity_report_json(const struct perplexity_report *r, struct err *e)
{
    struct figures f;
    enum err_code rc = compute(r, &f, e);
    if (rc != ERR_OK)
        return rc;
    const struct score_summary *s = &f.subject;
    json_t *all = json_side(r->model, s, r->base);
    json_object_set_new(all, "n_ctx", json_integer(r->c->o.n_ctx));
    json_object_set_new(all, "n_chunks", json_integer(s->n_chunks));
    json_object_set_new(all, "n_positions", json_integer(s->n));
    json_object_set_new(all, "n_blocks", json_integer(s->n_blocks));
    if (r->base) {
        add_places(json_object_get(all, "kl"), f.kl);
        add_places(json_object_get(all, "delta_p"), f.delta_p);
        json_t *base = json_pack("{so so so}", "model", cmd_json_text(r->base, strlen(r->base)), "ppl",
                                 cmd_json_number(exp(s->base_nll.mean)), "nll", json_estimate(&s->base_nll));
        json_object_set_new(all, "base", base);
    }
    if (r->versus) {
        json_t *less = json_pack("{so}", "nll", json_estimate(&f.less.nll));
        if (r->base) {
            json_object_set_new(less, "kl", json_estimate(&f.less.kl));
            json_object_set_new(less, "same_top", json_estimate(&f.less.same_top));
        }
        json_object_set_new(all, "versus", json_side(r->versus, &f.rival, r->base));
        json_object_set_new(all, "difference", less);
    }
    json_dumpf(all, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    putchar('\n');
    json_decref(all);
    return ERR_OK;
}
