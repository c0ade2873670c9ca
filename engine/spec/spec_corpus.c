/* SPDX-License-Identifier: MIT */
/* A suffix array of the corpus read backwards. An entry is the index of a token, and entries are sorted by what
 * one reads from there towards the beginning, newest token first:
 *
 *     text     |  a  b  c  a  b  d  |  b  c  |        | is a BORDER, less than any token
 *     index    0  1  2  3  4  5  6  7  8  9  10
 *
 *     places   1: a|    4: acba|    8: b|    2: ba|    5: bacba|    3: cba|
 *
 * The entries that end in the same n tokens stand together. So the longest end of a text that occurs is found
 * beside where that whole text would stand: one binary search, a look at both neighbours, and two more searches
 * for where the entries of that length begin and stop. A tail has no border in it, so no match crosses one, and
 * the borders at both ends of the text stop every walk. Tokens that a border follows (6, 9) are left out.
 *
 * Sorting doubles the depth: entries sorted by h tokens, with the rank of each, give the order by 2h tokens in one
 * pass, since the second half of an entry is the entry h before it. Matches are no longer than REACH, so it stops
 * at that depth, after five doublings whatever the text is: the cost of periodic text, where complete suffix
 * sorting is slow, is that of any other. What is alike to that depth stays in the order of the text. Depth counts
 * borders as tokens and goes on behind them, which tears no group apart that a tail can ask for.
 *
 * Dropped: building to full depth (20 doublings for 2^20 tokens alike, and no match would be longer); hashes of
 * the last n tokens (one table for each n, or one n for all). */
#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "engine/spec/spec_corpus.h"

enum { BORDER = -1 };
enum { DIGIT_BITS = 8, N_DIGITS = 1 << DIGIT_BITS };

struct spec_corpus {
    int32_t *text;      /* [n_text] BORDER, a document, BORDER, the next, ... BORDER; no empty ones */
    int32_t *places;    /* [n_places], room for n_text */
    int32_t n_text, n_places;
};

/* ---- building --------------------------------------------------------------------------------------- */

struct sorting {
    const int32_t *text;
    int32_t n;
    int32_t *order;    /* [n] indices of text, sorted to some depth */
    int32_t *spare;    /* [n] the next order */
    int32_t *rank;     /* [n] of an index: where those that are alike to that depth begin in order */
    int32_t *slot;     /* [n] the next rank; before that, where the next index of a rank goes */
};

static void swap(int32_t **a, int32_t **b)
{
    int32_t *was = *a;
    *a = *b;
    *b = was;
}

static uint32_t digit(int32_t token, int shift)
{
    return ((uint32_t)token + 1) >> shift & (N_DIGITS - 1);    /* BORDER comes to 0 */
}

static void sort_by_token(struct sorting *s)
{
    for (int32_t i = 0; i < s->n; i++)
        s->order[i] = i;
    for (int shift = 0; shift < 32; shift += DIGIT_BITS) {
        int32_t begin[N_DIGITS] = { 0 }, sum = 0;
        for (int32_t i = 0; i < s->n; i++)
            begin[digit(s->text[i], shift)]++;
        if (begin[digit(s->text[0], shift)] == s->n)
            continue;    /* all alike */
        for (int d = 0; d < N_DIGITS; d++) {
            int32_t count = begin[d];
            begin[d] = sum;
            sum += count;
        }
        for (int32_t i = 0; i < s->n; i++)
            s->spare[begin[digit(s->text[s->order[i]], shift)]++] = s->order[i];
        swap(&s->order, &s->spare);
    }
}

/* From sorted by h to sorted by 2h tokens. Whoever comes first in the order of second halves comes first among
 * those whose first halves are alike. */
static void sort_deeper(struct sorting *s, int32_t h)
{
    for (int32_t i = 0; i < s->n; i++)
        s->slot[i] = i;
    for (int32_t i = 0; i < h && i < s->n; i++)    /* no second half: before all others */
        s->spare[s->slot[s->rank[i]]++] = i;
    for (int32_t i = 0; i < s->n; i++) {
        int32_t index = s->order[i] + h;
        if (index < s->n)
            s->spare[s->slot[s->rank[index]]++] = index;
    }
    swap(&s->order, &s->spare);
}

static uint64_t both_ranks(const struct sorting *s, int32_t index, int32_t h)
{
    uint32_t second = index < h ? UINT32_MAX : (uint32_t)s->rank[index - h];
    return (uint64_t)(uint32_t)s->rank[index] << 32 | second;
}

/* Ranks for the order in force, from those of half its depth; returns how many there are. */
static int32_t assign_ranks(struct sorting *s, int32_t h)
{
    uint64_t last = both_ranks(s, s->order[0], h);
    int32_t rank = 0, n_ranks = 1;
    for (int32_t i = 0; i < s->n; i++) {
        uint64_t now = both_ranks(s, s->order[i], h);
        if (now != last) {
            rank = i;
            n_ranks++;
            last = now;
        }
        s->slot[s->order[i]] = rank;
    }
    swap(&s->rank, &s->slot);
    return n_ranks;
}

static void sort_text(struct sorting *s)
{
    sort_by_token(s);
    memcpy(s->rank, s->text, (size_t)s->n * sizeof *s->text);
    int32_t n_ranks = assign_ranks(s, s->n);    /* nothing lies that far back: by the token alone */
    for (int32_t h = 1; h < SPEC_CORPUS_REACH && n_ranks < s->n; h *= 2) {
        sort_deeper(s, h);
        n_ranks = assign_ranks(s, h);
    }
}

static int32_t count_text(const int32_t *ends, int32_t n_docs)
{
    int32_t n = 1, begin = 0;
    for (int32_t doc = 0; doc < n_docs; begin = ends[doc++]) {
        assert(ends[doc] >= begin);
        n += ends[doc] > begin ? ends[doc] - begin + 1 : 0;
    }
    return n;
}

static void write_text(int32_t *text, const int32_t *tokens, const int32_t *ends, int32_t n_docs)
{
    int32_t i = 0;
    *text++ = BORDER;
    for (int32_t doc = 0; doc < n_docs; doc++) {
        if (i == ends[doc])
            continue;
        for (; i < ends[doc]; i++) {
            assert(tokens[i] >= 0);
            *text++ = tokens[i];
        }
        *text++ = BORDER;
    }
}

enum err_code spec_corpus_create(struct spec_corpus **out, const int32_t *tokens, const int32_t *ends,
                                 int32_t n_docs, struct err *e)
{
    int32_t n_tokens = n_docs > 0 ? ends[n_docs - 1] : 0;
    *out = NULL;
    if (n_tokens > SPEC_CORPUS_MAX_TOKENS)
        return err_set(e, ERR_UNSUPPORTED, "corpus: %d tokens, at most %d can be searched", n_tokens,
                       SPEC_CORPUS_MAX_TOKENS);

    int32_t n = count_text(ends, n_docs);
    size_t n_bytes = (size_t)n * sizeof(int32_t);
    struct spec_corpus *c = calloc(1, sizeof *c);
    int32_t *work = malloc(3 * n_bytes);
    if (c) {
        c->text = malloc(n_bytes);
        c->places = malloc(n_bytes);
    }
    if (!c || !work || !c->text || !c->places) {
        free(work);
        spec_corpus_destroy(c);
        return err_set(e, ERR_NOMEM, "corpus of %d tokens: no memory for %zu bytes", n_tokens, 5 * n_bytes);
    }

    write_text(c->text, tokens, ends, n_docs);
    c->n_text = n;
    struct sorting s = { .text = c->text, .n = n, .order = c->places, .spare = work, .rank = work + n,
                         .slot = work + 2 * (size_t)n };
    sort_text(&s);
    for (int32_t i = 0; i < n; i++) {    /* s.order may be c->places itself: writing stays behind reading */
        int32_t index = s.order[i];
        if (c->text[index] != BORDER && c->text[index + 1] != BORDER)
            c->places[c->n_places++] = index;
    }
    free(work);
    *out = c;
    return ERR_OK;
}

void spec_corpus_destroy(struct spec_corpus *c)
{
    if (!c)
        return;
    free(c->text);
    free(c->places);
    free(c);
}

uint64_t spec_corpus_bytes(const struct spec_corpus *c)
{
    return sizeof *c + 2 * (uint64_t)c->n_text * sizeof(int32_t);
}

/* ---- finding ---------------------------------------------------------------------------------------- */

/* How many tokens agree, of n, going back from newest and from index. */
static int32_t count_common(const struct spec_corpus *c, int32_t index, const int32_t *newest, int32_t n)
{
    int32_t k = 0;
    while (k < n && c->text[index - k] == newest[-k])    /* text[0] is a border */
        k++;
    return k;
}

/* Where the places that end in the n tokens up to newest begin, or the first behind them; where they would stand
 * if there are none. */
static int32_t search(const struct spec_corpus *c, const int32_t *newest, int32_t n, bool behind)
{
    int32_t low = 0, high = c->n_places;
    while (low < high) {
        int32_t middle = low + (high - low) / 2, index = c->places[middle];
        int32_t k = count_common(c, index, newest, n);
        if (k < n ? c->text[index - k] < newest[-k] : behind)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct spec_corpus_match spec_corpus_find(const struct spec_corpus *c, const int32_t *tail, int32_t n_tail)
{
    struct spec_corpus_match m = { 0 };
    int32_t n = n_tail < SPEC_CORPUS_REACH ? n_tail : SPEC_CORPUS_REACH;
    if (n <= 0)
        return m;
    const int32_t *newest = tail + n_tail - 1;
    for (int32_t i = 0; i < n; i++)
        assert(newest[-i] >= 0);

    int32_t at = search(c, newest, n, false);
    for (int32_t i = at - 1; i <= at; i++) {
        int32_t k = i >= 0 && i < c->n_places ? count_common(c, c->places[i], newest, n) : 0;
        m.n = k > m.n ? k : m.n;
    }
    if (m.n == 0)
        return m;
    m.first = search(c, newest, m.n, false);
    m.n_places = search(c, newest, m.n, true) - m.first;
    return m;
}

/* ---- following -------------------------------------------------------------------------------------- */

/* The indices behind the places of the match, or behind a sample of them, latest first. */
static int32_t pick_places(const struct spec_corpus *c, const struct spec_corpus_match *m, int32_t *live)
{
    int32_t n = m->n_places < SPEC_CORPUS_SAMPLE ? m->n_places : SPEC_CORPUS_SAMPLE;
    for (int32_t i = 0; i < n; i++) {
        int64_t skip = n < m->n_places ? (int64_t)i * (m->n_places - 1) / (n - 1) : i;
        int32_t index = c->places[m->first + skip] + 1, at = i;
        for (; at > 0 && live[at - 1] < index; at--)
            live[at] = live[at - 1];
        live[at] = index;
    }
    return n;
}

/* The token at most of these indices and how many have it. They are latest first, and a token is counted from
 * its latest index on, so of equals that one stays. */
static int32_t most_frequent(const int32_t *text, const int32_t *live, int32_t n_live, int32_t *n_agree)
{
    int32_t token = BORDER;
    *n_agree = 0;
    for (int32_t i = 0; n_live - i > *n_agree; i++) {
        int32_t n = 0;
        for (int32_t j = i; j < n_live; j++)
            n += text[live[j]] == text[live[i]];
        if (n > *n_agree) {
            token = text[live[i]];
            *n_agree = n;
        }
    }
    return token;
}

int32_t spec_corpus_follow(const struct spec_corpus *c, const struct spec_corpus_match *m,
                           struct spec_corpus_next *out, int32_t cap)
{
    int32_t live[SPEC_CORPUS_SAMPLE], n_live = pick_places(c, m, live), n = 0;
    for (; n < cap; n++) {
        int32_t n_on = 0;
        for (int32_t i = 0; i < n_live; i++)
            if (c->text[live[i]] != BORDER)
                live[n_on++] = live[i];
        if (n_on == 0)
            break;
        out[n].token = most_frequent(c->text, live, n_on, &out[n].n_agree);
        out[n].n_places = n_on;
        n_live = 0;
        for (int32_t i = 0; i < n_on; i++)
            if (c->text[live[i]] == out[n].token)
                live[n_live++] = live[i] + 1;
    }
    return n;
}
