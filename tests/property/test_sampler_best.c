/* SPDX-License-Identifier: MIT */
/* From the best logits alone a sampler chooses what it chooses from all of them: token, probability and errors are the
 * same to the last bit, and so is what it does afterwards. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/sampler/sampler.h"
#include "tests/support/test.h"

enum { MAX_VOCAB = 700, LENGTH = 12 };

/* In 0 .. 1. */
static float share(struct test *t)
{
    return 0.5f + 0.5f * test_uniform(t);
}

static int compare(const void *a, const void *b)
{
    const struct logit *x = a, *y = b;
    return logit_before(*x, *y) ? -1 : logit_before(*y, *x);
}

/* The n best; beyond the vocabulary there are no more. */
static void pick(struct logit *best, int32_t n, const float *logits, int32_t n_vocab)
{
    static struct logit all[MAX_VOCAB];
    for (int32_t i = 0; i < n_vocab; i++)
        all[i] = (struct logit){ .token = i, .value = logits[i] };
    qsort(all, (size_t)n_vocab, sizeof *all, compare);
    for (int32_t i = 0; i < n; i++)
        best[i] = i < n_vocab ? all[i] : (struct logit){ .token = -1, .value = -INFINITY };
}

/* Smooth, in steps (so that many are equal), or with large parts at -infinity; now and then something that no sampler
 * takes. */
static void make_logits(struct test *t, float *x, int32_t n)
{
    uint32_t kind = test_below(t, 4), bad = test_below(t, 12);
    float spread = 0.3f + 3 * share(t);
    for (int32_t i = 0; i < n; i++) {
        x[i] = test_normal(t) * spread;
        if (kind == 1)
            x[i] = roundf(x[i]);
        if (kind == 2)
            x[i] = test_below(t, 2) ? 0.0f : -0.0f;
        if (kind == 3 && test_below(t, 10) > 0)
            x[i] = -INFINITY;
    }
    for (uint32_t i = 0; bad < 3 && i <= bad; i++)
        x[test_below(t, (uint32_t)n)] = test_below(t, 2) ? NAN : INFINITY;
    for (int32_t i = 0; bad == 3 && i < n; i++)
        x[i] = -INFINITY;
}

static struct sampler_params make_params(struct test *t)
{
    static const int32_t ks[] = { 1, 2, 5, 40, 64, 300 };
    struct sampler_params p;
    sampler_params_default(&p);
    p.seed = test_random(t);
    p.temperature = test_below(t, 4) == 0 ? 0 : 0.2f + 1.5f * share(t);
    p.top_k = ks[test_below(t, 6)];
    p.typical_p = test_below(t, 4) == 0 ? 0.8f : 1;
    p.top_p = test_below(t, 2) ? share(t) : 1;
    p.min_p = test_below(t, 2) ? 0.2f * share(t) : 0;
    p.xtc_probability = test_below(t, 3) == 0 ? 0.5f : 0;
    p.dynatemp_range = test_below(t, 4) == 0 ? 0.5f : 0;
    p.min_keep = (int32_t)test_below(t, 3);
    return p;
}

static struct sampler *make(struct test *t, const struct sampler_params *p, int32_t n_vocab)
{
    struct sampler *s = NULL;
    struct err e = { 0 };
    CHECK(t, sampler_create(&s, p, n_vocab, &e) == ERR_OK, "%s", e.text);
    return s;
}

TEST(sampler_best_chooses_like_all_logits)
{
    static float x[MAX_VOCAB];
    static struct logit best[MAX_VOCAB];
    int32_t n_chosen = 0, n_refused = 0, n_greedy = 0;
    for (int round = 0; round < 4000; round++) {
        int32_t n_vocab = 1 + (int32_t)test_below(t, test_below(t, 3) ? MAX_VOCAB : 80);
        struct sampler_params p = make_params(t);
        struct sampler *a = make(t, &p, n_vocab), *b = make(t, &p, n_vocab);
        int32_t n_best = sampler_n_best(a), n = n_best + (int32_t)test_below(t, 3) * 20;
        CHECK(t, n_best == (p.temperature <= 0 ? 1 : p.top_k < n_vocab ? p.top_k : 0), "%d", n_best);
        if (n > MAX_VOCAB)
            n = MAX_VOCAB;
        for (int i = 0; n_best > 0 && i < LENGTH; i++) {
            struct sampler_result want, got;
            struct err e = { 0 }, f = { 0 };
            make_logits(t, x, n_vocab);
            pick(best, n, x, n_vocab);
            enum err_code rc = sampler_sample(a, x, &want, &e);
            CHECK_INT(t, sampler_sample_best(b, best, n, &got, &f), rc, "%s / %s", e.text, f.text);
            if (rc == ERR_OK) {
                CHECK_INT(t, got.token, want.token);
                CHECK(t, memcmp(&got.probability, &want.probability, sizeof got.probability) == 0, "%.9g, wanted %.9g",
                      (double)got.probability, (double)want.probability);
                sampler_accept(a, want.token);
                sampler_accept(b, got.token);
                n_greedy += p.temperature <= 0;
                n_chosen++;
            } else {
                CHECK_TEXT(t, f.text, e.text);
                n_refused++;
            }
        }
        sampler_destroy(a);
        sampler_destroy(b);
    }
    CHECK(t, n_chosen > 10000 && n_refused > 1000 && n_greedy > 1000, "%d chosen, %d refused, %d greedy", n_chosen,
          n_refused, n_greedy);
}

/* What looks at more than the best says so. */
TEST(sampler_best_is_not_enough_for_the_others)
{
    static const char *const others[][2] = {
        { "logit-bias", "3+1" },  { "repeat-penalty", "1.1" }, { "frequency-penalty", "0.1" }, { "presence-penalty", "-1" },
        { "dry-multiplier", "0.5" }, { "top-nsigma", "1" },    { "mirostat", "2" },            { "top-k", "0" },
        { "top-k", "100" },
    };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        for (int greedy = 0; greedy < 2; greedy++) {
            struct sampler_params p;
            struct err e = { 0 };
            sampler_params_default(&p);
            p.temperature = greedy ? 0 : 1;
            CHECK_INT(t, sampler_params_set(&p, others[i][0], others[i][1], &e), ERR_OK, "%s", e.text);
            struct sampler *s = make(t, &p, 100);
            CHECK_INT(t, sampler_n_best(s), greedy && i >= 5 ? 1 : 0, "%s", others[i][0]);
            sampler_destroy(s);
        }
    struct sampler_params p;
    sampler_params_default(&p);
    struct sampler *s = make(t, &p, 100);
    CHECK_INT(t, sampler_n_best(s), 40);
    sampler_want_top(s, 1);
    CHECK_INT(t, sampler_n_best(s), 0, "alternatives are shares of all");
    sampler_destroy(s);
}
