/* SPDX-License-Identifier: MIT */
/* The suffix automaton against a search through the whole text, on random texts that grow and go back. */
#include <stdlib.h>

#include "engine/spec/spec_index.h"
#include "tests/support/test.h"

enum { N_TEXTS = 1000, N_MAX = 400, N_GUESSES = 24 };

/* Length of the longest end of the text that also ends at an earlier place; the number of such places, and of those
 * that go on with `token`. */
static int32_t longest(const int32_t *text, int32_t n)
{
    int32_t best = 0;
    for (int32_t end = 0; end < n - 1; end++) {
        int32_t m = 0;
        while (m <= end && text[end - m] == text[n - 1 - m])
            m++;
        best = m > best ? m : best;
    }
    return best;
}

static int32_t places(const int32_t *text, int32_t n, const int32_t *piece, int32_t n_piece)
{
    int32_t found = 0;
    for (int32_t at = 0; at + n_piece <= n; at++)
        found += memcmp(text + at, piece, (size_t)n_piece * sizeof *text) == 0;
    return found;
}

static enum spec_kind kind(int32_t n_places, int32_t n_same)
{
    if (n_same == n_places)
        return n_places == 1 ? SPEC_ONCE : SPEC_AGREE;
    return 2 * n_same >= n_places ? SPEC_MOSTLY : SPEC_SPLIT;
}

static void check_match(struct test *t, const struct spec_index *x, const int32_t *text, int32_t n, bool exact)
{
    struct spec_guess g[N_GUESSES];
    int32_t end = -1, n_match = spec_index_match(x, &end);
    CHECK_INT(t, n_match, longest(text, n));
    CHECK_INT(t, spec_index_guess(x, g, N_GUESSES), n_match > 0 ? N_GUESSES : 0);
    if (n_match == 0)
        return;
    CHECK(t, end >= n_match - 1 && end < n - 1, "end %d of %d", end, n);
    CHECK_BYTES(t, text + end + 1 - n_match, text + n - n_match, (size_t)n_match * sizeof *text);
    int32_t said[N_MAX + N_GUESSES];    /* the text as the guesses have it go on */
    memcpy(said, text, (size_t)n * sizeof *text);
    for (int32_t i = 0; i < N_GUESSES; i++) {
        CHECK_INT(t, g[i].n_match, n_match + i);
        CHECK_INT(t, g[i].token, said[end + 1 + i]);
        said[n + i] = g[i].token;
        /* Without the places at the text's very end, from where nothing goes on yet. */
        int32_t n_before = places(text, n - 1, text + n - n_match, n_match);
        const int32_t *piece = said + n - n_match;
        int32_t n_piece = n_match + i + 1;
        if (i > 0)
            n_before = places(text, n, piece, n_piece - 1);
        int32_t n_same = places(text, n, piece, n_piece);
        if (exact && n_same > 0 && end + 1 + i < n - 1)
            CHECK_INT(t, g[i].kind, kind(n_before, n_same), "guess %d of a match of %d", i, n_match);
    }
}

static void check_loop(struct test *t, const struct spec_index *x, const int32_t *text, int32_t n)
{
    struct spec_loop loop = spec_index_loop(x);
    CHECK(t, loop.n == 0 || (loop.period > 0 && loop.n >= 2 * loop.period && loop.n <= n));
    for (int32_t i = n - loop.n + loop.period; i < n; i++)
        CHECK_INT(t, text[i], text[i - loop.period]);
    for (int32_t period = 1; 4 * period <= n; period++) {
        int32_t m = period;
        while (m < n && text[n - 1 - m] == text[n - 1 - m + period])
            m++;
        CHECK(t, m < 4 * period || loop.n >= 4 * loop.period, "%d tokens of period %d not found", m, period);
    }
}

/* Random tokens, or a copy of what was said before, or the same over and over. */
static int32_t grow(struct test *t, int32_t *text, int32_t n, uint32_t n_symbols, uint32_t n_most)
{
    int32_t n_new = 1 + (int32_t)test_below(t, n_most), from = -1;
    if (n > 0 && test_below(t, 2))
        from = (int32_t)test_below(t, (uint32_t)n);
    for (int32_t i = 0; i < n_new && n < N_MAX; i++, n++)
        text[n] = from >= 0 ? text[from++] : (int32_t)test_below(t, n_symbols);
    return n;
}

TEST(spec_index_finds_what_a_search_finds)
{
    static const uint32_t symbols[] = { 1, 2, 3, 4, 10, 1000 };
    for (int32_t round = 0; round < N_TEXTS; round++) {
        struct spec_index *x;
        struct err e;
        uint32_t n_symbols = symbols[round % 6];
        bool exact = n_symbols == 1000;    /* short matches: all states hear of all places */
        int32_t text[N_MAX], n = 0;
        CHECK_INT(t, spec_index_create(&x, N_MAX, &e), ERR_OK);
        for (int32_t step = 0; step < 24; step++) {
            if (test_below(t, 4) == 0)
                n = (int32_t)test_below(t, (uint32_t)n + 1);
            int32_t n_before = n;
            n = grow(t, text, n, n_symbols, exact ? 12 : 40);
            if (test_below(t, 2)) {
                spec_index_set(x, text, n_before);
                for (int32_t i = n_before; i < n; i++)
                    spec_index_push(x, text[i]);
            } else {
                spec_index_set(x, text, n);
            }
            CHECK_INT(t, spec_index_n(x), n);
            CHECK_BYTES(t, spec_index_tokens(x), text, (size_t)n * sizeof *text);
            check_match(t, x, text, n, exact);
            check_loop(t, x, text, n);
        }
        spec_index_destroy(x);
    }
}

TEST(spec_index_holds_the_longest_text_it_was_made_for)
{
    enum { N = 5000 };
    for (uint32_t n_symbols = 1; n_symbols < 5; n_symbols++) {
        struct spec_index *x;
        struct err e;
        CHECK_INT(t, spec_index_create(&x, N, &e), ERR_OK);
        for (int32_t i = 0; i < N; i++)    /* the last one: most states per token */
            spec_index_push(x, n_symbols < 4 ? (int32_t)test_below(t, n_symbols) : i == 0 ? 0 : 1 + (i & 1));
        CHECK_INT(t, spec_index_n(x), N);
        CHECK(t, spec_index_bytes(x) < 110ull * N, "%llu bytes", (unsigned long long)spec_index_bytes(x));
        spec_index_set(x, NULL, 0);
        CHECK_INT(t, spec_index_n(x), 0);
        CHECK_INT(t, spec_index_guess(x, NULL, 0), 0);
        spec_index_destroy(x);
    }
}

TEST(spec_index_guesses_go_on_at_the_end_of_the_text)
{
    struct spec_index *x;
    struct spec_guess g[7];
    struct err e;
    CHECK_INT(t, spec_index_create(&x, 16, &e), ERR_OK);
    const int32_t text[] = { 5, 6, 7, 5, 6, 7, 5 };
    spec_index_set(x, text, 7);
    CHECK_INT(t, spec_index_guess(x, g, 7), 7);
    for (int32_t i = 0; i < 7; i++)
        CHECK_INT(t, g[i].token, 5 + (i + 1) % 3);
    CHECK_INT(t, spec_index_loop(x).period, 3);
    CHECK_INT(t, spec_index_loop(x).n, 7);
    spec_index_destroy(x);
}
