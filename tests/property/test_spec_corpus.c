/* SPDX-License-Identifier: MIT */
/* The corpus against a plain reading of all documents: for each tail every place is looked at, and what follows is
 * counted token by token. */
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/spec/spec_corpus.h"

/* ---- failing allocations, and those nobody gave back ------------------------------------------------ */

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void __real_free(void *p);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void __wrap_free(void *p);

static int32_t countdown;    /* 0: none fails */
static int64_t n_held;

static bool fails(void)
{
    return countdown > 0 && --countdown == 0;
}

void *__wrap_malloc(size_t size)
{
    void *p = fails() ? NULL : __real_malloc(size);
    n_held += p != NULL;
    return p;
}

void *__wrap_calloc(size_t n, size_t size)
{
    void *p = fails() ? NULL : __real_calloc(n, size);
    n_held += p != NULL;
    return p;
}

void __wrap_free(void *p)
{
    n_held -= p != NULL;
    __real_free(p);
}

/* ---- the plain reading ------------------------------------------------------------------------------ */

enum { MAX_TOKENS = 6000, MAX_DOCS = 8, MAX_TAIL = 80, MAX_NEXT = 40 };

struct texts {
    int32_t tokens[MAX_TOKENS], ends[MAX_DOCS], n_docs;
    int32_t docs[MAX_TOKENS];    /* of each token: its document */
};

struct tail {
    int32_t tokens[MAX_TAIL], n;
};

struct answer {
    int32_t n_match, n_places;
    int32_t live[MAX_TOKENS];    /* the tokens behind the places, rising */
};

static int32_t count_tokens(const struct texts *x)
{
    return x->n_docs > 0 ? x->ends[x->n_docs - 1] : 0;
}

static void add_document(struct texts *x, const int32_t *tokens, int32_t n)
{
    int32_t begin = count_tokens(x);
    for (int32_t i = 0; i < n; i++) {
        x->tokens[begin + i] = tokens[i];
        x->docs[begin + i] = x->n_docs;
    }
    x->ends[x->n_docs++] = begin + n;
}

static int32_t begin_of(const struct texts *x, int32_t doc)
{
    return doc > 0 ? x->ends[doc - 1] : 0;
}

static void read_all(const struct texts *x, const struct tail *tail, struct answer *a)
{
    a->n_match = a->n_places = 0;
    for (int32_t i = 0; i < count_tokens(x); i++) {
        int32_t begin = begin_of(x, x->docs[i]), n = 0;
        while (n < SPEC_CORPUS_REACH && n < tail->n && i - 1 - n >= begin &&
               x->tokens[i - 1 - n] == tail->tokens[tail->n - 1 - n])
            n++;
        if (n > a->n_match) {
            a->n_match = n;
            a->n_places = 0;
        }
        if (n > 0 && n == a->n_match)
            a->live[a->n_places++] = i;
    }
}

/* Of those places that have not ended: the token most have, the latest among equals. Places are left that
 * have it, one token further. False when all have ended. */
static bool read_next(const struct texts *x, struct answer *a, struct spec_corpus_next *out)
{
    int32_t n_live = 0;
    *out = (struct spec_corpus_next){ 0 };
    for (int32_t i = 0; i < a->n_places; i++) {
        int32_t n = 0;
        if (a->live[i] < 0)
            continue;
        out->n_places++;
        for (int32_t j = 0; j < a->n_places; j++)
            n += a->live[j] >= 0 && x->tokens[a->live[j]] == x->tokens[a->live[i]];
        if (n >= out->n_agree) {
            out->n_agree = n;
            out->token = x->tokens[a->live[i]];
        }
    }
    for (int32_t i = 0; i < a->n_places; i++) {
        int32_t at = a->live[i];
        if (at >= 0 && x->tokens[at] == out->token)
            a->live[n_live++] = at + 1 < x->ends[x->docs[at]] ? at + 1 : -1;
    }
    a->n_places = n_live;
    return out->n_places > 0;
}

/* How many of the places go on with these tokens. */
static int32_t count_path(const struct texts *x, const struct answer *a, const struct spec_corpus_next *path,
                          int32_t n)
{
    int32_t n_found = 0;
    for (int32_t i = 0; i < a->n_places; i++) {
        int32_t k = 0, at = a->live[i], end = x->ends[x->docs[at]];
        while (k < n && at + k < end && x->tokens[at + k] == path[k].token)
            k++;
        n_found += k == n;
    }
    return n_found;
}

/* ---- corpus and plain reading side by side ----------------------------------------------------------- */

/* In memory of exactly this size, so that the sanitizers see a step beyond it. */
static int32_t *copy_exactly(const int32_t *tokens, int32_t n)
{
    int32_t *copy = malloc((size_t)n * sizeof *copy);
    if (n > 0)
        memcpy(copy, tokens, (size_t)n * sizeof *copy);
    return copy;
}

static struct spec_corpus *make(struct test *t, const struct texts *x)
{
    struct spec_corpus *c = NULL;
    struct err e = { 0 };
    int32_t *tokens = copy_exactly(x->tokens, count_tokens(x)), *ends = copy_exactly(x->ends, x->n_docs);
    CHECK(t, spec_corpus_create(&c, tokens, ends, x->n_docs, &e) == ERR_OK, "%s", e.text);
    free(tokens);
    free(ends);
    return c;
}

static struct spec_corpus_match find(const struct spec_corpus *c, const struct tail *tail)
{
    int32_t *tokens = copy_exactly(tail->tokens, tail->n);
    struct spec_corpus_match m = spec_corpus_find(c, tokens, tail->n);
    free(tokens);
    return m;
}

/* Returns how many places there were. */
static int32_t check_tail(struct test *t, const struct texts *x, const struct spec_corpus *c,
                          const struct tail *tail, int32_t cap, const char *what)
{
    struct answer a;
    struct spec_corpus_next next[MAX_NEXT];
    read_all(x, tail, &a);
    struct spec_corpus_match m = find(c, tail);
    CHECK_INT(t, m.n, a.n_match, "%s", what);
    CHECK_INT(t, m.n_places, a.n_places, "%s", what);

    int32_t n_places = a.n_places, n = spec_corpus_follow(c, &m, next, cap);
    CHECK(t, n <= cap && (n > 0 || n_places == 0 || cap == 0), "%s: %d", what, n);
    if (n_places > SPEC_CORPUS_SAMPLE) {    /* which ones are looked at is not said: no more than there are */
        for (int32_t k = 0; k < n; k++) {
            CHECK(t, k > 0 || next[k].n_places == SPEC_CORPUS_SAMPLE, "%s: %d", what, next[k].n_places);
            CHECK(t, k == 0 || next[k].n_places <= next[k - 1].n_agree, "%s", what);
            CHECK(t, next[k].n_agree > 0 && next[k].n_agree <= next[k].n_places, "%s", what);
            CHECK(t, count_path(x, &a, next, k + 1) >= next[k].n_agree, "%s: token %d", what, k);
        }
        return n_places;
    }
    for (int32_t k = 0; k < cap; k++) {
        struct spec_corpus_next want;
        if (!read_next(x, &a, &want)) {
            CHECK_INT(t, n, k, "%s: it ends there", what);
            break;
        }
        CHECK(t, k < n, "%s: %d came, at least %d wanted", what, n, k + 1);
        CHECK_INT(t, next[k].token, want.token, "%s: token %d", what, k);
        CHECK_INT(t, next[k].n_agree, want.n_agree, "%s: token %d", what, k);
        CHECK_INT(t, next[k].n_places, want.n_places, "%s: token %d", what, k);
    }
    return n_places;
}

/* ---- random texts ------------------------------------------------------------------------------------ */

/* Letters of an alphabet, far apart when it is wide. */
static int32_t letter(struct test *t, int32_t n_letters, bool wide)
{
    int32_t i = (int32_t)test_below(t, (uint32_t)n_letters);
    return wide ? INT32_MAX - i * (INT32_MAX / n_letters) : i;
}

static int32_t document_length(struct test *t)
{
    switch (test_below(t, 6)) {
    case 0: return 0;
    case 1: return 1;
    case 2: return (int32_t)test_below(t, 5);
    default: return (int32_t)test_below(t, 120);
    }
}

static void random_texts(struct test *t, struct texts *x, int32_t n_letters, bool wide)
{
    int32_t n_docs = (int32_t)test_below(t, MAX_DOCS + 1);
    *x = (struct texts){ 0 };
    for (int32_t doc = 0; doc < n_docs; doc++) {
        int32_t tokens[120], n = document_length(t), n_before = count_tokens(x);
        /* One in three repeats a piece of what came before. */
        int32_t from = n_before > 0 && test_below(t, 3) == 0 ? (int32_t)test_below(t, (uint32_t)n_before) : n_before;
        for (int32_t i = 0; i < n; i++)
            tokens[i] = from + i < n_before ? x->tokens[from + i] : letter(t, n_letters, wide);
        add_document(x, tokens, n);
    }
}

/* Letters, and behind them mostly a piece of the texts, which may well go over a border. */
static void random_tail(struct test *t, const struct texts *x, struct tail *tail, int32_t n_letters, bool wide)
{
    int32_t n_tokens = count_tokens(x);
    int32_t n_piece = test_below(t, 3) > 0 && n_tokens > 0 ? (int32_t)test_below(t, 45) : 0;
    n_piece = n_piece < n_tokens ? n_piece : n_tokens;
    tail->n = (int32_t)test_below(t, 30);
    for (int32_t i = 0; i < tail->n; i++)
        tail->tokens[i] = letter(t, n_letters, wide);
    int32_t from = (int32_t)test_below(t, (uint32_t)(n_tokens - n_piece + 1));
    for (int32_t i = 0; i < n_piece; i++)
        tail->tokens[tail->n++] = x->tokens[from + i];
}

TEST(spec_corpus_agrees_with_a_plain_reading)
{
    static const int32_t alphabets[] = { 1, 2, 3, 4, 20, 1000 };
    enum { N_ALPHABETS = sizeof alphabets / sizeof *alphabets };
    struct texts x;
    int32_t n_none = 0, n_few = 0, n_many = 0, n_whole = 0;
    for (int32_t round = 0; round < 1200; round++) {
        int32_t n_letters = alphabets[round % N_ALPHABETS];
        bool wide = test_below(t, 2) > 0;
        random_texts(t, &x, n_letters, wide);
        struct spec_corpus *c = make(t, &x);
        for (int32_t i = 0; i < 12; i++) {
            struct tail tail;
            char what[64];
            snprintf(what, sizeof what, "round %d, tail %d, %d letters", round, i, n_letters);
            random_tail(t, &x, &tail, n_letters, wide);
            int32_t n = check_tail(t, &x, c, &tail, (int32_t)test_below(t, MAX_NEXT + 1), what);
            n_none += n == 0;
            n_few += n > 1 && n <= SPEC_CORPUS_SAMPLE;
            n_many += n > SPEC_CORPUS_SAMPLE;
            n_whole += find(c, &tail).n == SPEC_CORPUS_REACH;
        }
        spec_corpus_destroy(c);
    }
    CHECK(t, n_none > 100 && n_few > 100 && n_many > 100 && n_whole > 100, "%d, %d, %d, %d tails of each kind", n_none,
          n_few, n_many, n_whole);
}

TEST(spec_corpus_agrees_on_periodic_text)
{
    static const int32_t periods[] = { 1, 2, 3, 7, 31, 32, 33, 64 };
    struct texts x;
    for (size_t p = 0; p < sizeof periods / sizeof *periods; p++) {
        int32_t period = periods[p], tokens[2500];
        for (int32_t i = 0; i < 2500; i++)
            tokens[i] = i % period;
        x = (struct texts){ 0 };
        add_document(&x, tokens, 2500);
        add_document(&x, tokens, 40);
        add_document(&x, tokens + 3, 1000);
        struct spec_corpus *c = make(t, &x);
        for (int32_t n = 0; n < 70; n += 1 + (int32_t)test_below(t, 3)) {
            struct tail tail = { .n = n };
            int32_t from = (int32_t)test_below(t, 100);
            char what[64];
            snprintf(what, sizeof what, "period %d, tail of %d from %d", period, n, from);
            for (int32_t i = 0; i < n; i++)
                tail.tokens[i] = (from + i) % period;
            if (n > 10 && test_below(t, 2))
                tail.tokens[n - 1 - test_below(t, 8)] = period;    /* matches up to there */
            check_tail(t, &x, c, &tail, MAX_NEXT, what);
        }
        spec_corpus_destroy(c);
    }
}

/* ---- single properties ------------------------------------------------------------------------------- */

/* Documents are words between spaces; an empty one is between two spaces. */
static struct spec_corpus *of_words(struct test *t, const char *words)
{
    struct texts x = { 0 };
    for (const char *at = words;; at++) {
        int32_t tokens[64], n = 0;
        for (; *at && *at != ' '; at++)
            tokens[n++] = *at;
        add_document(&x, tokens, n);
        if (!*at)
            return make(t, &x);
    }
}

static struct spec_corpus_match find_word(const struct spec_corpus *c, const char *word)
{
    struct tail tail = { 0 };
    for (; *word; word++)
        tail.tokens[tail.n++] = *word;
    return find(c, &tail);
}

/* What follows, as text. */
static const char *follow(const struct spec_corpus *c, const char *word)
{
    static char text[MAX_NEXT + 1];
    struct spec_corpus_next next[MAX_NEXT];
    struct spec_corpus_match m = find_word(c, word);
    int32_t n = spec_corpus_follow(c, &m, next, MAX_NEXT);
    for (int32_t k = 0; k < n; k++)
        text[k] = (char)next[k].token;
    text[n] = 0;
    return text;
}

TEST(spec_corpus_crosses_no_border)
{
    struct spec_corpus *c = of_words(t, "abc  bde a");
    CHECK_TEXT(t, follow(c, "ab"), "c");
    CHECK_TEXT(t, follow(c, "abcb"), "de");
    CHECK_INT(t, find_word(c, "abcb").n, 1);
    CHECK_INT(t, find_word(c, "c").n, 0, "nothing follows it");
    CHECK_INT(t, find_word(c, "e").n, 0, "nothing follows it in its document");
    CHECK_INT(t, find_word(c, "a").n_places, 1, "the last one is at an end");
    spec_corpus_destroy(c);
}

TEST(spec_corpus_an_end_does_not_hide_a_shorter_match_that_goes_on)
{
    struct spec_corpus *c = of_words(t, "wxyz yzq");
    CHECK_INT(t, find_word(c, "wxyz").n, 2);
    CHECK_TEXT(t, follow(c, "wxyz"), "q");
    spec_corpus_destroy(c);
}

TEST(spec_corpus_takes_the_most_frequent_then_the_latest)
{
    struct spec_corpus *c = of_words(t, "kax kby kbz");
    CHECK_TEXT(t, follow(c, "k"), "bz");
    spec_corpus_destroy(c);
    c = of_words(t, "kb ka");
    CHECK_TEXT(t, follow(c, "k"), "a");
    spec_corpus_destroy(c);
    c = of_words(t, "pka1 qkb2 rkb3 ska4");
    CHECK_TEXT(t, follow(c, "k"), "a4", "latest in the text, not in the order of what stands before");
    spec_corpus_destroy(c);
}

/* 1500 places, mixed up in the text; what follows is told by where the token before the match stands among all:
 * the lowest 500 say 9, the others 8. The sample is 0, 1499/63, 2 * 1499/63 ... of that order. */
TEST(spec_corpus_a_sample_is_spread_evenly)
{
    enum { N = 1500 };
    struct texts x = { 0 };
    int32_t tokens[3 * N], n_nine = 0;
    for (int32_t i = 0; i < N; i++) {
        int32_t order = i * 7 % N;
        tokens[3 * i] = 1000 + order;
        tokens[3 * i + 1] = 7;
        tokens[3 * i + 2] = order < 500 ? 9 : 8;
    }
    for (int32_t i = 0; i < SPEC_CORPUS_SAMPLE; i++)
        n_nine += i * (N - 1) / (SPEC_CORPUS_SAMPLE - 1) < 500;
    add_document(&x, tokens, 3 * N);
    struct spec_corpus *c = make(t, &x);
    struct spec_corpus_next next[2];
    struct spec_corpus_match m = spec_corpus_find(c, tokens + 1, 1);
    CHECK_INT(t, m.n_places, N);
    CHECK_INT(t, spec_corpus_follow(c, &m, next, 2), 2);
    CHECK_INT(t, next[0].token, 8);
    CHECK_INT(t, next[0].n_places, SPEC_CORPUS_SAMPLE);
    CHECK_INT(t, next[0].n_agree, SPEC_CORPUS_SAMPLE - n_nine);
    spec_corpus_destroy(c);
}

TEST(spec_corpus_without_text)
{
    static const int32_t ends[3] = { 0, 0, 0 }, tail[2] = { 1, 2 };
    struct spec_corpus *c = NULL;
    struct err e;
    for (int32_t n_docs = 0; n_docs <= 3; n_docs++) {
        struct spec_corpus_next next[1];
        CHECK_INT(t, spec_corpus_create(&c, NULL, n_docs > 0 ? ends : NULL, n_docs, &e), ERR_OK);
        struct spec_corpus_match m = spec_corpus_find(c, tail, 2);
        CHECK_INT(t, m.n, 0);
        CHECK_INT(t, spec_corpus_follow(c, &m, next, 1), 0);
        CHECK_INT(t, spec_corpus_find(c, NULL, 0).n, 0);
        spec_corpus_destroy(c);
    }
    spec_corpus_destroy(NULL);
}

TEST(spec_corpus_refuses_more_than_the_limit)
{
    static const int32_t ends[2] = { 5, SPEC_CORPUS_MAX_TOKENS + 1 };
    int32_t n_before = 0;
    struct spec_corpus *c = (struct spec_corpus *)&n_before;
    struct err e = { 0 };
    CHECK_INT(t, spec_corpus_create(&c, NULL, ends, 2, &e), ERR_UNSUPPORTED);
    CHECK(t, !c, "nothing comes out");
    CHECK_TEXT(t, e.text, "corpus: 1048577 tokens, at most 1048576 can be searched");
}

TEST(spec_corpus_of_the_greatest_size)
{
    enum { N = SPEC_CORPUS_MAX_TOKENS, N_END = 20 };
    int32_t *tokens = malloc(N * sizeof *tokens), ends[2] = { N - N_END, N };
    for (int32_t period = 0; period < 4; period++) {    /* 0: random */
        struct spec_corpus *c = NULL;
        struct spec_corpus_next next[N_END];
        struct err e = { 0 };
        for (int32_t i = 0; i < N; i++)
            tokens[i] = period > 0 ? i % period : (int32_t)test_below(t, 100000);
        CHECK(t, spec_corpus_create(&c, tokens, ends, 2, &e) == ERR_OK, "%s", e.text);
        CHECK(t, spec_corpus_bytes(c) <= 8 * (N + 3) + 64, "%llu bytes", (unsigned long long)spec_corpus_bytes(c));
        for (int32_t i = 0; i < 1000; i++) {
            int32_t at = SPEC_CORPUS_REACH + (int32_t)test_below(t, N - 1000);
            struct spec_corpus_match m = spec_corpus_find(c, tokens, at);
            CHECK_INT(t, m.n, SPEC_CORPUS_REACH, "period %d", period);
            CHECK(t, period > 0 ? m.n_places > N / period - 100 : m.n_places == 1, "period %d: %d", period, m.n_places);
            CHECK_INT(t, spec_corpus_follow(c, &m, next, N_END), N_END, "period %d", period);
            for (int32_t k = 0; k < N_END; k++)
                CHECK_INT(t, next[k].token, tokens[at + k], "period %d", period);
        }
        spec_corpus_destroy(c);
    }
    free(tokens);
}

TEST(spec_corpus_gives_all_back_when_memory_ends)
{
    static const int32_t tokens[6] = { 1, 2, 3, 1, 2, 4 }, ends[2] = { 3, 6 };
    int64_t before = n_held;
    int32_t n_failed = 0;
    for (int32_t nth = 1;; nth++) {
        struct spec_corpus *c = (struct spec_corpus *)&before;
        struct err e = { 0 };
        countdown = nth;
        enum err_code rc = spec_corpus_create(&c, tokens, ends, 2, &e);
        bool failed = countdown == 0;
        countdown = 0;
        CHECK_INT(t, rc, failed ? ERR_NOMEM : ERR_OK, "allocation %d", nth);
        CHECK(t, failed == !c, "allocation %d", nth);
        if (!failed) {
            CHECK_INT(t, spec_corpus_find(c, tokens, 2).n, 2);
            spec_corpus_destroy(c);
            break;
        }
        n_failed++;
        CHECK_TEXT(t, e.text, "corpus of 6 tokens: no memory for 180 bytes", "allocation %d", nth);
        CHECK_INT(t, n_held, before, "allocation %d", nth);
    }
    CHECK(t, n_failed > 0, "none failed");
    CHECK_INT(t, n_held, before);
}
