/* SPDX-License-Identifier: MIT */
#include "tests/support/test.h"

#include <stdlib.h>

#include "engine/sampler/sampler.h"

/* What looks back: bias, penalties, DRY, and copying a sampler with its history. */

enum { N_VOCAB = 32 };

static struct sampler_params plain(void)
{
    struct sampler_params p;
    sampler_params_default(&p);
    p.temperature = 1;
    p.top_k = 0;
    p.top_p = 1;
    p.min_p = 0;
    return p;
}

static struct sampler *make(struct test *t, const struct sampler_params *p)
{
    struct sampler *s = NULL;
    struct err e = { 0 };
    CHECK(t, sampler_create(&s, p, N_VOCAB, &e) == ERR_OK, "%s", e.text);
    return s;
}

static void accept(struct sampler *s, const char *tokens)
{
    for (; *tokens; tokens++)
        sampler_accept(s, *tokens - 'a');
}

/* How far each logit was moved, told from the probabilities of draws: token 31 is never in a history, so
 * its ratio to another gives the difference of their logits. */
static void check_moved(struct test *t, struct sampler *s, const float *logits, const double *want,
                        const char *what)
{
    double p[N_VOCAB] = { 0 };
    for (int i = 0; i < 3000; i++) {
        struct sampler_result r;
        struct err e;
        CHECK(t, sampler_sample(s, logits, &r, &e) == ERR_OK, "%s", e.text);
        p[r.token] = r.probability;
    }
    CHECK(t, p[N_VOCAB - 1] > 0, "%s", what);
    for (int i = 0; i < N_VOCAB; i++) {
        double expected = logits[i] + want[i] - logits[N_VOCAB - 1];
        if (p[i] == 0)
            CHECK(t, expected < -2, "%s: token %d never came, wanted %g", what, i, expected);
        else
            CHECK(t, fabs(log(p[i] / p[N_VOCAB - 1]) - expected) < 1e-4, "%s: token %d by %g, wanted %g",
                  what, i, log(p[i] / p[N_VOCAB - 1]) - logits[i] + logits[N_VOCAB - 1], want[i]);
    }
}

TEST(sampler_bias_moves_and_forbids)
{
    float x[N_VOCAB] = { 0 };
    double want[N_VOCAB] = { 0 };
    struct sampler_params p = plain();
    p.bias[0] = (struct sampler_bias){ .token = 3, .bias = 1.5f };
    p.bias[1] = (struct sampler_bias){ .token = 4, .bias = -INFINITY };
    p.bias[2] = (struct sampler_bias){ .token = 5, .bias = -0.5f };
    p.n_bias = 3;
    want[3] = 1.5;
    want[4] = -INFINITY;
    want[5] = -0.5;
    struct sampler *s = make(t, &p);
    check_moved(t, s, x, want, "bias");
    sampler_destroy(s);
    p.temperature = 0;
    s = make(t, &p);
    struct sampler_result r;
    struct err e;
    CHECK(t, sampler_sample(s, x, &r, &e) == ERR_OK && r.token == 3, "greedy sees the bias");
    sampler_destroy(s);
}

TEST(sampler_penalties_by_count_and_sign)
{
    float x[N_VOCAB] = { 0 };
    double want[N_VOCAB] = { 0 };
    x[0] = 1.0f;     /* a, three times */
    x[1] = -0.5f;    /* b, once */
    x[2] = 0.8f;     /* c, once, but too long ago */
    struct sampler_params p = plain();
    p.repeat_last_n = 6;
    p.repeat_penalty = 1.25f;
    p.frequency_penalty = 0.25f;
    p.presence_penalty = 0.125f;
    want[0] = 1.0 / 1.25 - 3 * 0.25 - 0.125 - 1.0;
    want[1] = -0.5 * 1.25 - 0.25 - 0.125 + 0.5;
    want[3] = -2 * 0.25 - 0.125;    /* d, twice: 0 stays 0 before the rest */
    struct sampler *s = make(t, &p);
    check_moved(t, s, x, (double[N_VOCAB]){ 0 }, "nothing accepted yet");
    accept(s, "ccadabda");
    check_moved(t, s, x, want, "penalties");
    sampler_destroy(s);
}

TEST(sampler_penalties_over_the_whole_context)
{
    float x[N_VOCAB] = { 0 };
    double want[N_VOCAB] = { 0 };
    struct sampler_params p = plain();
    p.repeat_last_n = -1;
    p.frequency_penalty = 0.001f;
    struct sampler *s = make(t, &p);
    for (int i = 0; i < 1000; i++)
        sampler_accept(s, i % 10);
    for (int i = 0; i < 10; i++)
        want[i] = -0.1;
    check_moved(t, s, x, want, "100 times each");
    sampler_destroy(s);
}

/* ---- DRY: letters are tokens; '.' below stands for the token whose text is a breaker ---------------- */

static const char *piece(const void *context, int32_t token, size_t *n_bytes)
{
    const char *const *table = context;
    *n_bytes = strlen(table[token]);
    return table[token];
}

/* Penalties DRY must give by its definition, every pair of places compared. */
static void plain_dry(const struct sampler_params *p, const int *history, int n, const uint8_t *stop,
                      const uint8_t *is_breaker, double *want)
{
    int window = p->dry_last_n < 0 || p->dry_last_n > n ? n : p->dry_last_n, limit = window;
    int longest[N_VOCAB] = { 0 };
    const int *h = history + n - window;
    for (int i = window - 1; i >= 0; i--)
        if (stop[n - window + i]) {
            limit = window - 1 - i;
            break;
        }
    for (int end = 0; end < window - 1; end++) {    /* a match may end here; h[end + 1] followed it */
        int length = 0;
        while (length <= end && h[end - length] == h[window - 1 - length])
            length++;
        length = length < limit ? length : limit;
        if (length > longest[h[end + 1]])
            longest[h[end + 1]] = length;
    }
    for (int i = 0; i < N_VOCAB; i++)
        want[i] = longest[i] >= p->dry_allowed_length && window > p->dry_allowed_length && !is_breaker[i]
                      ? -(double)p->dry_multiplier * pow(p->dry_base, longest[i] - p->dry_allowed_length) : 0;
}

static void dry_case(struct test *t, const char *history, int last_n, int token, double penalty)
{
    static const char *table[N_VOCAB];
    for (int i = 0; i < N_VOCAB; i++)
        table[i] = i == 25 ? "\n" : "x";    /* z is a line's end */
    float x[N_VOCAB] = { 0 };
    double want[N_VOCAB] = { 0 };
    struct sampler_params p = plain();
    p.dry_multiplier = 0.5f;
    p.dry_base = 2;
    p.dry_allowed_length = 2;
    p.dry_last_n = last_n;
    struct sampler *s = make(t, &p);
    sampler_set_pieces(s, piece, table);
    accept(s, history);
    if (token >= 0)
        want[token] = -penalty;
    check_moved(t, s, x, want, history);
    sampler_destroy(s);
}

TEST(sampler_dry_by_hand)
{
    dry_case(t, "abcdab", 64, 'c' - 'a', 0.5);        /* ab repeated: c would go on, 0.5 * 2^0 */
    dry_case(t, "abcdeabcd", 64, 'e' - 'a', 2.0);     /* abcd: 0.5 * 2^2 */
    dry_case(t, "abcda", 64, -1, 0);                  /* a alone is allowed */
    dry_case(t, "aaaa", 64, 0, 1.0);                  /* aaa then a: 0.5 * 2^1 */
    dry_case(t, "abcdeabzab", 64, 'c' - 'a', 0.5);    /* since the line's end: ab */
    dry_case(t, "abcdeabzb", 64, -1, 0);              /* since the line's end: only b */
    dry_case(t, "zabzab", 64, -1, 0);                 /* what would follow is the breaker itself: spared */
    dry_case(t, "abcdeabcd", 6, -1, 0);               /* the first abcd is out of sight: dea bcd */
}

TEST(sampler_dry_equals_its_definition)
{
    static const char *table[N_VOCAB];
    uint8_t is_breaker[N_VOCAB] = { 0 };
    for (int i = 0; i < N_VOCAB; i++)
        table[i] = i == 3 ? "a:b" : "x";
    is_breaker[3] = 1;
    for (int round = 0; round < 60; round++) {
        struct sampler_params p = plain();
        p.dry_multiplier = 0.2f;
        p.dry_base = 1.2f;
        p.dry_allowed_length = 1 + round % 3;
        p.dry_last_n = round % 4 == 0 ? -1 : round % 4 == 1 ? 20 : 200;
        struct sampler *s = make(t, &p);
        sampler_set_pieces(s, piece, table);
        int n = 2 + (int)test_below(t, 150), history[200];
        uint8_t stop[200];
        for (int i = 0; i < n; i++) {
            history[i] = test_below(t, 40) == 0 ? 3 : (int)test_below(t, 3);
            stop[i] = history[i] == 3;
            sampler_accept(s, history[i]);
        }
        float x[N_VOCAB] = { 0 };
        double want[N_VOCAB];
        plain_dry(&p, history, n, stop, is_breaker, want);
        check_moved(t, s, x, want, "random history");
        sampler_destroy(s);
    }
}

/* The breaker "===" comes to be of a token "=" and one "==end". Where it does, what stands before counts no
 * more: "bd" would go on with e, but only d is left to match. */
TEST(sampler_dry_breakers_may_span_tokens)
{
    static const char *table[N_VOCAB];
    for (int i = 0; i < N_VOCAB; i++)
        table[i] = "x";
    table[0] = "=";
    table[1] = "==end";
    struct sampler_params p = plain();
    p.dry_multiplier = 0.5f;
    strcpy(p.dry_breakers[0], "===");
    p.n_dry_breakers = 1;
    for (int apart = 0; apart < 2; apart++) {
        float x[N_VOCAB] = { 0 };
        double want[N_VOCAB] = { 0 };
        want[4] = apart ? -0.5 : 0;
        struct sampler *s = make(t, &p);
        sampler_set_pieces(s, piece, table);
        accept(s, apart ? "cbdecmbd" : "cbdecabd");    /* m: "=" is missing */
        check_moved(t, s, x, want, apart ? "no breaker" : "a breaker inside the repeat");
        accept(s, "ecbde");    /* since the breaker "decbde"; "cbde" was at the start, and c went on */
        want[4] = 0;
        want[2] = -0.5 * 1.75 * 1.75;
        check_moved(t, s, x, want, "after it");
        sampler_destroy(s);
    }
}

TEST(sampler_copy_goes_on_the_same)
{
    struct sampler_params p = plain();
    p.repeat_last_n = 5;
    p.repeat_penalty = 1.5f;
    p.dry_multiplier = 1;
    p.dry_last_n = 12;
    p.mirostat = 2;
    float x[N_VOCAB];
    for (int i = 0; i < N_VOCAB; i++)
        x[i] = test_normal(t) * 2;
    for (int before = 0; before < 40; before += 3) {
        struct sampler *a = make(t, &p), *b = make(t, &p);
        struct sampler_result ra, rb;
        struct err e;
        for (int i = 0; i < 7; i++)    /* b was somewhere else */
            sampler_accept(b, i);
        for (int i = 0; i < before; i++) {
            CHECK(t, sampler_sample(a, x, &ra, &e) == ERR_OK);
            sampler_accept(a, ra.token);
        }
        sampler_copy(b, a);
        for (int i = 0; i < 50; i++) {
            CHECK(t, sampler_sample(a, x, &ra, &e) == ERR_OK);
            CHECK(t, sampler_sample(b, x, &rb, &e) == ERR_OK);
            CHECK(t, ra.token == rb.token && ra.probability == rb.probability, "step %d after %d", i, before);
            sampler_accept(a, ra.token);
            sampler_accept(b, rb.token);
        }
        sampler_destroy(a);
        sampler_destroy(b);
    }
}
