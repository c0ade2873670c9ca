/* SPDX-License-Identifier: MIT */
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/sampler/sampler.h"
#include "engine/sampler/sampler_math.h"

/* The chain of samplers against one written as plainly as possible: everything sorted, libm, double. */

enum { MAX_VOCAB = 2000 };

struct candidate {
    int token;
    double logit, p, key;
};

struct reference {
    struct candidate c[MAX_VOCAB];
    int n;
};

static int by_logit(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    if (x->logit != y->logit)
        return x->logit < y->logit ? 1 : -1;
    return x->token - y->token;
}

static int by_key(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    if (x->key != y->key)
        return x->key > y->key ? 1 : -1;
    return x->token - y->token;
}

static void softmax(struct reference *r, double temperature)
{
    qsort(r->c, (size_t)r->n, sizeof *r->c, by_logit);
    double total = 0;
    for (int i = 0; i < r->n; i++)
        total += r->c[i].p = exp((r->c[i].logit - r->c[0].logit) / temperature);
    for (int i = 0; i < r->n; i++)
        r->c[i].p /= total;
}

static int at_least(int n, int min_keep)
{
    return n > min_keep ? n : min_keep;
}

static double entropy(const struct reference *r)
{
    double h = 0;
    for (int i = 0; i < r->n; i++)
        if (r->c[i].p > 0)
            h -= r->c[i].p * log(r->c[i].p);
    return h;
}

static void reference_typical(struct reference *r, double mass, int min_keep)
{
    softmax(r, 1);
    double h = entropy(r), sum = 0;
    for (int i = 0; i < r->n; i++)
        r->c[i].key = fabs(-log(r->c[i].p) - h);
    qsort(r->c, (size_t)r->n, sizeof *r->c, by_key);
    for (int i = 0; i < r->n; i++) {
        sum += r->c[i].p;
        if (sum > mass && i + 1 >= min_keep) {
            r->n = i + 1;
            return;
        }
    }
}

static void reference_top_p(struct reference *r, double mass, int min_keep)
{
    softmax(r, 1);
    double sum = 0;
    for (int i = 0; i < r->n; i++) {
        sum += r->c[i].p;
        if (sum >= mass && i + 1 >= min_keep) {
            r->n = i + 1;
            return;
        }
    }
}

static void reference_min_p(struct reference *r, double share, int min_keep)
{
    softmax(r, 1);
    int n = 0;
    while (n < r->n && r->c[n].p >= share * r->c[0].p)
        n++;
    n = at_least(n, min_keep);
    r->n = n < r->n ? n : r->n;
}

static void reference_xtc(struct reference *r, double threshold, int min_keep)
{
    softmax(r, 1);
    int n_top = 0;
    while (n_top < r->n && r->c[n_top].p >= threshold)
        n_top++;
    if (n_top < 2 || r->n - (n_top - 1) < min_keep)
        return;
    r->n -= n_top - 1;
    memmove(r->c, r->c + n_top - 1, (size_t)r->n * sizeof *r->c);
}

static void reference_sigma(struct reference *r, double n_sigma)
{
    double mean = 0, squares = 0;
    for (int i = 0; i < r->n; i++)
        mean += r->c[i].logit / r->n;
    for (int i = 0; i < r->n; i++)
        squares += (r->c[i].logit - mean) * (r->c[i].logit - mean);
    softmax(r, 1);
    double floor = r->c[0].logit - n_sigma * sqrt(squares / r->n);
    int n = 0;
    while (n < r->n && r->c[n].logit >= floor)
        n++;
    r->n = n;
}

/* With xtc_probability 0 or 1 nothing here is left to chance. */
static void reference_run(struct reference *r, const struct sampler_params *p, const float *logits,
                          int n_vocab)
{
    r->n = 0;
    for (int i = 0; i < n_vocab; i++)
        if (logits[i] > -INFINITY)
            r->c[r->n++] = (struct candidate){ .token = i, .logit = logits[i] };
    if (p->top_n_sigma > 0)
        reference_sigma(r, p->top_n_sigma);
    softmax(r, 1);
    if (p->top_k > 0 && p->top_k < r->n)
        r->n = p->top_k;
    if (p->typical_p < 1)
        reference_typical(r, p->typical_p, p->min_keep);
    if (p->top_p < 1)
        reference_top_p(r, p->top_p, p->min_keep);
    if (p->min_p > 0)
        reference_min_p(r, p->min_p, p->min_keep);
    if (p->xtc_probability > 0 && p->xtc_threshold <= 0.5f)
        reference_xtc(r, p->xtc_threshold, p->min_keep);
    double temperature = p->temperature;
    if (p->dynatemp_range > 0 && r->n > 1) {
        softmax(r, 1);
        double low = fmax(0, (double)p->temperature - p->dynatemp_range);
        double high = (double)p->temperature + p->dynatemp_range;
        temperature = low + (high - low) * pow(entropy(r) / log(r->n), p->dynatemp_exponent);
    }
    softmax(r, temperature);
}

static double reference_p(const struct reference *r, int token)
{
    for (int i = 0; i < r->n; i++)
        if (r->c[i].token == token)
            return r->c[i].p;
    return 0;
}

/* Everything off but the draw. */
static struct sampler_params plain(void)
{
    struct sampler_params p;
    sampler_params_default(&p);
    p.temperature = 1;
    p.top_k = 0;
    p.top_p = 1;
    p.min_p = 0;
    p.repeat_last_n = 0;
    return p;
}

static struct sampler *make(struct test *t, const struct sampler_params *p, int n_vocab)
{
    struct sampler *s = NULL;
    struct err e = { 0 };
    CHECK(t, sampler_create(&s, p, n_vocab, &e) == ERR_OK, "%s", e.text);
    return s;
}

static struct sampler_result sample(struct test *t, struct sampler *s, const float *logits)
{
    struct sampler_result r = { .token = -1 };
    struct err e = { 0 };
    CHECK(t, sampler_sample(s, logits, &r, &e) == ERR_OK, "%s", e.text);
    return r;
}

static void random_logits(struct test *t, float *x, int n, double spread)
{
    for (int i = 0; i < n; i++)
        x[i] = (float)(test_normal(t) * spread);
}

/* Draws, and wants each token drawn to have the probability the reference gives it; and every token that
 * is likely to be met in so many draws to be met. */
static void check_chain(struct test *t, const struct sampler_params *p, const float *logits, int n_vocab,
                        const char *what)
{
    static struct reference r;
    static int seen[MAX_VOCAB];
    enum { DRAWS = 300 };
    reference_run(&r, p, logits, n_vocab);
    memset(seen, 0, sizeof seen);
    struct sampler *s = make(t, p, n_vocab);
    for (int i = 0; i < DRAWS; i++) {
        struct sampler_result got = sample(t, s, logits);
        double want = reference_p(&r, got.token);
        CHECK(t, want > 0, "%s: token %d is not among the %d left", what, got.token, r.n);
        CHECK(t, fabs(got.probability - want) < 1e-6, "%s: token %d has %g, wanted %g", what, got.token,
              (double)got.probability, want);
        seen[got.token]++;
    }
    for (int i = 0; i < r.n; i++)
        CHECK(t, r.c[i].p < 0.06 || seen[r.c[i].token] > 0, "%s: token %d of p %g never came", what,
              r.c[i].token, r.c[i].p);
    sampler_destroy(s);
}

TEST(sampler_each_cut_equals_the_plain_one)
{
    static const int vocab[] = { 1, 2, 7, 100, 1999 };
    static float x[MAX_VOCAB];
    for (int round = 0; round < 12; round++)
        for (int v = 0; v < 5; v++) {
            int n = vocab[v];
            random_logits(t, x, n, 0.5 + round % 4);
            if (round % 3 == 0)
                for (int i = 0; i < n; i++)    /* ties */
                    x[i] = roundf(x[i]);
            if (round % 5 == 4)
                for (int i = 1; i < n; i += 2)
                    x[i] = -INFINITY;
            struct sampler_params p = plain();
            check_chain(t, &p, x, n, "plain");
            p.temperature = 0.3f + 0.2f * (float)round;
            check_chain(t, &p, x, n, "temperature");
            for (int k = 1; k < 50; k = k * 3 + 1) {
                p.top_k = k;
                check_chain(t, &p, x, n, "top-k");
            }
            p = plain();
            p.min_keep = round % 3;
            p.top_p = 0.05f + 0.08f * (float)round;
            check_chain(t, &p, x, n, "top-p");
            p.top_p = 1;
            p.min_p = 0.01f + 0.05f * (float)round;
            check_chain(t, &p, x, n, "min-p");
            p.min_p = 0;
            p.typical_p = 0.1f + 0.07f * (float)round;
            if (round % 3)    /* nearness of ties hangs on the last bit */
                check_chain(t, &p, x, n, "typical");
            p.typical_p = 1;
            p.xtc_probability = 1;
            p.xtc_threshold = 0.02f * (float)(round + 1);
            check_chain(t, &p, x, n, "xtc");
            p.xtc_probability = 0;
            p.top_n_sigma = 0.3f * (float)(round + 1);
            check_chain(t, &p, x, n, "top-n-sigma");
            p.top_n_sigma = -1;
            p.dynatemp_range = 0.5f;
            p.dynatemp_exponent = 0.5f + 0.25f * (float)round;
            check_chain(t, &p, x, n, "dynamic temperature");
            p.temperature = 0.3f;
            check_chain(t, &p, x, n, "dynamic temperature from 0 on");
        }
}

/* Several at once: their order shows. */
TEST(sampler_chain_works_in_order)
{
    static float x[MAX_VOCAB];
    for (int round = 0; round < 60; round++) {
        int n = 50 + (int)test_below(t, 1900);
        random_logits(t, x, n, 1 + round % 3);
        struct sampler_params p = plain();
        p.top_n_sigma = round & 1 ? 3.0f : -1.0f;
        p.top_k = round & 2 ? 60 : 0;
        p.typical_p = round & 4 ? 0.9f : 1.0f;
        p.top_p = round & 8 ? 0.8f : 1.0f;
        p.min_p = round & 16 ? 0.02f : 0.0f;
        p.xtc_probability = round & 32 ? 1.0f : 0.0f;
        p.xtc_threshold = 0.05f;
        p.temperature = 0.7f;
        p.dynatemp_range = round % 5 == 0 ? 0.3f : 0.0f;
        p.min_keep = round % 7 == 0 ? 5 : 0;
        check_chain(t, &p, x, n, "chain");
    }
}

TEST(sampler_draws_follow_the_distribution)
{
    enum { N = 40, DRAWS = 200000 };
    float x[N];
    int seen[N] = { 0 };
    random_logits(t, x, N, 1.5);
    struct sampler_params p = plain();
    p.seed = 42;
    static struct reference r;
    reference_run(&r, &p, x, N);
    struct sampler *s = make(t, &p, N);
    for (int i = 0; i < DRAWS; i++)
        seen[sample(t, s, x).token]++;
    double chi = 0;
    for (int i = 0; i < N; i++) {
        double want = DRAWS * reference_p(&r, i);
        chi += (seen[i] - want) * (seen[i] - want) / want;
    }
    printf("chi-square of %d draws over %d tokens: %.1f\n", DRAWS, N, chi);
    CHECK(t, chi > 15 && chi < 73, "chi-square %g at 39 degrees of freedom", chi);    /* 1e-3 either side */
    sampler_destroy(s);
}

/* These numbers pin the generator and the draw: they are the same on every machine. */
TEST(sampler_same_seed_same_sequence)
{
    enum { N = 500, LENGTH = 200 };
    float x[N];
    for (int i = 0; i < N; i++)
        x[i] = (float)(i * 37 % 101) * 0.05f;
    struct sampler_params p = plain();
    p.top_k = 100;
    int first[LENGTH], same[3] = { 0 };
    for (int run = 0; run < 3; run++) {
        p.seed = run == 2 ? 8 : 7;
        struct sampler *s = make(t, &p, N);
        for (int i = 0; i < LENGTH; i++) {
            int token = sample(t, s, x).token;
            if (run == 0)
                first[i] = token;
            same[run] += token == first[i];
        }
        sampler_destroy(s);
    }
    CHECK_INT(t, same[1], LENGTH);
    CHECK(t, same[2] < LENGTH / 4);
    static const int known[] = { 330, 300, 292, 35, 464, 210, 393, 76 };
    for (int i = 0; i < 8; i++)
        CHECK_INT(t, first[i], known[i], "draw %d", i);
}

TEST(sampler_greedy_is_exact)
{
    static float x[MAX_VOCAB];
    struct sampler_params p = plain();
    p.temperature = 0;
    p.xtc_probability = 1;    /* does not touch the greedy choice */
    for (int round = 0; round < 50; round++) {
        int n = 1 + (int)test_below(t, MAX_VOCAB - 1), best = 0;
        for (int i = 0; i < n; i++)
            x[i] = (float)test_below(t, 50) - 25.0f;    /* many ties */
        for (int i = 1; i < n; i++)
            best = x[i] > x[best] ? i : best;
        struct sampler *s = make(t, &p, n);
        struct sampler_result r = sample(t, s, x);
        CHECK_INT(t, r.token, best);
        CHECK(t, r.probability == 1);
        sampler_destroy(s);
    }
}

TEST(sampler_edges)
{
    float x[8] = { 1, 5, 2, 5, 0, -3, 4, 4.5f };
    struct sampler_params p = plain();
    p.top_k = 1;
    struct sampler *s = make(t, &p, 8);
    CHECK_INT(t, sample(t, s, x).token, 1, "the lower id of equals");
    sampler_destroy(s);

    p = plain();
    p.min_p = 1;    /* only what equals the best */
    s = make(t, &p, 8);
    for (int i = 0; i < 20; i++) {
        struct sampler_result r = sample(t, s, x);
        CHECK(t, (r.token == 1 || r.token == 3) && r.probability == 0.5f);
    }
    sampler_destroy(s);

    p = plain();
    p.top_p = 0;
    s = make(t, &p, 8);
    CHECK_INT(t, sample(t, s, x).token, 1);
    sampler_destroy(s);

    p = plain();
    s = make(t, &p, 1);
    CHECK_INT(t, sample(t, s, x).token, 0);
    sampler_destroy(s);

    float lone[8];
    for (int i = 0; i < 8; i++)
        lone[i] = i == 6 ? -1e30f : -INFINITY;
    sampler_params_default(&p);
    p.typical_p = 0.5f;
    p.top_n_sigma = 1;
    p.xtc_probability = 1;
    s = make(t, &p, 8);
    struct sampler_result r = sample(t, s, lone);
    CHECK(t, r.token == 6 && r.probability == 1);
    float far[8] = { 3.4e38f, -3.4e38f, -3.4e38f, 0, 0, 0, 0, 0 };
    CHECK_INT(t, sample(t, s, far).token, 0);
    sampler_destroy(s);
}

TEST(sampler_dynamic_temperature_may_fall_to_greedy)
{
    float x[4] = { 0, 12, 0, 0 };    /* entropy 1.7e-4 of the largest: to the power of 100 nothing is left */
    struct sampler_params p = plain();
    p.dynatemp_range = 1;
    p.dynatemp_exponent = 100;
    struct sampler *s = make(t, &p, 4);
    struct sampler_result r = sample(t, s, x);
    CHECK(t, r.token == 1 && r.probability == 1);
    sampler_destroy(s);
}

TEST(sampler_names_a_bad_logit)
{
    float x[5] = { 0, 1, 2, 3, 4 };
    struct sampler_params p = plain();
    for (int greedy = 0; greedy < 2; greedy++) {
        p.temperature = greedy ? 0 : 1;
        struct sampler *s = make(t, &p, 5);
        struct sampler_result r;
        struct err e;
        x[3] = NAN;
        CHECK(t, sampler_sample(s, x, &r, &e) == ERR_FORMAT);
        CHECK_TEXT(t, e.text, "logits: token 3 has NaN");
        x[3] = INFINITY;
        CHECK(t, sampler_sample(s, x, &r, &e) == ERR_FORMAT);
        CHECK_TEXT(t, e.text, "logits: token 3 has +infinity");
        for (int i = 0; i < 5; i++)
            x[i] = -INFINITY;
        CHECK(t, sampler_sample(s, x, &r, &e) == ERR_FORMAT);
        CHECK_TEXT(t, e.text, "logits: all 5 tokens are at -infinity, none can be chosen");
        for (int i = 0; i < 5; i++)
            x[i] = (float)i;
        CHECK(t, sampler_sample(s, x, &r, &e) == ERR_OK, "it goes on afterwards");
        sampler_destroy(s);
    }
}

TEST(sampler_xtc_works_as_often_as_asked)
{
    float x[4] = { 2, 2, 2, -2 };
    struct sampler_params p = plain();
    p.xtc_probability = 0.25f;
    p.xtc_threshold = 0.2f;    /* three tokens above: 0 and 1 go */
    struct sampler *s = make(t, &p, 4);
    int alone = 0;
    for (int i = 0; i < 4000; i++)
        alone += sample(t, s, x).probability > 0.9f;
    CHECK(t, alone > 880 && alone < 1110, "%d of 4000", alone);    /* token 2 left with token 3 */
    sampler_destroy(s);
    p.xtc_threshold = 0.51f;
    p.xtc_probability = 1;
    s = make(t, &p, 4);
    for (int i = 0; i < 50; i++)
        CHECK(t, sample(t, s, x).probability < 0.5f, "above 0.5 it is off");
    sampler_destroy(s);
}

TEST(sampler_mirostat_steers_the_surprise)
{
    enum { N = 1000, DRAWS = 4000 };
    static float x[N];
    for (int i = 0; i < N; i++)
        x[i] = -1.1f * logf((float)i + 1);    /* Zipf: entropy about 7 bits */
    for (int tau = 2; tau <= 5; tau++) {
        struct sampler_params p = plain();
        p.mirostat = 2;
        p.mirostat_tau = (float)tau;
        struct sampler *s = make(t, &p, N);
        double sum = 0;
        for (int i = 0; i < DRAWS; i++) {
            double surprise = -log2(sample(t, s, x).probability);
            if (i >= DRAWS / 2)
                sum += surprise;
        }
        double mean = sum / (DRAWS / 2);
        CHECK(t, fabs(mean - tau) < 0.25, "tau %d: mean surprise %g", tau, mean);
        sampler_destroy(s);
    }
}

TEST(sampler_alternatives_are_of_the_raw_logits)
{
    float x[6] = { 0, 3, 1, 3, -INFINITY, 2 };
    struct sampler_params p = plain();
    p.temperature = 0;
    p.bias[0] = (struct sampler_bias){ .token = 1, .bias = -INFINITY };
    p.n_bias = 1;
    struct sampler *s = make(t, &p, 6);
    sampler_want_top(s, 3);
    struct sampler_result r = sample(t, s, x);
    double total = 0;
    for (int i = 0; i < 6; i++)
        total += exp((double)x[i]);
    CHECK_INT(t, r.token, 3);
    CHECK_INT(t, r.n_top, 3);
    CHECK(t, r.top[0].token == 1 && r.top[1].token == 3 && r.top[2].token == 5);
    CHECK(t, fabs(r.top[0].probability - exp(3) / total) < 1e-6);
    CHECK(t, fabs(r.raw_probability - exp(3) / total) < 1e-6);
    sampler_want_top(s, 16);
    r = sample(t, s, x);
    CHECK_INT(t, r.n_top, 5, "what is at -infinity is no alternative");
    CHECK_INT(t, r.top[4].token, 0);
    sampler_destroy(s);
}

TEST(sampler_math_is_right)
{
    double worst_exp = 0, worst_log = 0;
    for (double x = -708; x < 709; x += 0.00731) {
        double want = exp(x);
        worst_exp = fmax(worst_exp, fabs(sampler_exp(x) - want) / want);
    }
    for (double x = 1e-300; x < 1e300; x *= 1.00637) {
        double want = log(x);
        worst_log = fmax(worst_log, fabs(sampler_log(x) - want) / fmax(fabs(want), 1e-3));
    }
    CHECK(t, worst_exp < 5e-16, "exp: relative error %g", worst_exp);
    CHECK(t, worst_log < 5e-16, "log: relative error %g", worst_log);
    CHECK(t, sampler_exp(0) == 1 && sampler_exp(-800) == 0 && isinf(sampler_exp(800)));
    CHECK(t, sampler_log(1) == 0);
    CHECK(t, sampler_power(1.5, 0) == 1 && sampler_power(1.5, 5) == 7.59375);
}
