/* SPDX-License-Identifier: MIT */
/* A suffix automaton over tokens.
 *
 * A STATE stands for all pieces of the text that end at the same places. They are ends of one another: the longest
 * has n_longest tokens, and the ones too short to belong here belong to the state behind `shorter`, which occurs at
 * more places. An EDGE leads from a piece to the piece with one more token behind it. So the state of the whole text
 * has a `shorter` whose longest piece is the longest end of the text that occurs elsewhere too: the match needs no
 * search, it is kept by appending.
 *
 * Most states have one edge, which stands in the state; the others stand in a list of the state and are found
 * through a hash table of (state, token). A text of n tokens makes at most 2n states and n of these other edges, so
 * all room is taken at the start, and pages of it that are not needed are never touched.
 *
 * Per state there is also how often it occurred and where it ended last. Both would have to be told to all states
 * along `shorter` for each token, which is constant only nearly always; it is told to TOLD of them. A state further
 * up has a place and a count of before: true, if not the latest. */
#include "engine/spec/spec_index.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { TOLD = 32, ROOT = 0, NONE = -1 };

struct state {
    int32_t n_longest;
    int32_t shorter;
    int32_t end, n_ends;     /* last place, how many */
    int32_t token, to;       /* first edge; to NONE: no edge at all */
    int32_t more;            /* list of the other edges */
};

struct edge {
    int32_t from, token, to;
    int32_t next;            /* of the same state */
};

struct spec_index {
    int32_t n_max, n;
    int32_t *text;           /* [n_max] */
    struct state *states;    /* [2 * n_max + 1] */
    int32_t n_states, last;  /* last: of the whole text */
    struct edge *edges;      /* [n_max + 1] */
    int32_t n_edges;
    int32_t *slots;          /* [slot_mask + 1]: index of an edge + 1, 0: free */
    uint32_t slot_mask;
    int32_t match_end;       /* where the longest repeated end occurred before */
    struct spec_loop loop;
};

/* ---- life ----------------------------------------------------------------------------------------- */

static void clear(struct spec_index *x)
{
    if (x->n_edges > 0)
        memset(x->slots, 0, ((size_t)x->slot_mask + 1) * sizeof *x->slots);
    x->states[ROOT] = (struct state){ .shorter = NONE, .to = NONE, .more = NONE, .end = NONE };
    x->n_states = 1;
    x->last = ROOT;
    x->n_edges = x->n = 0;
    x->match_end = NONE;
    x->loop = (struct spec_loop){ 0, 0 };
}

enum err_code spec_index_create(struct spec_index **out, int32_t n_max, struct err *e)
{
    assert(n_max > 0 && n_max < 1 << 28);
    struct spec_index *x = calloc(1, sizeof *x);
    if (x) {
        size_t n = (size_t)n_max, n_slots = 16;
        while (n_slots < n + n / 2)
            n_slots *= 2;
        x->n_max = n_max;
        x->slot_mask = (uint32_t)(n_slots - 1);
        x->text = malloc(n * sizeof *x->text);
        x->states = malloc((2 * n + 1) * sizeof *x->states);
        x->edges = malloc((n + 1) * sizeof *x->edges);
        x->slots = calloc(n_slots, sizeof *x->slots);
    }
    if (!x || !x->text || !x->states || !x->edges || !x->slots) {
        spec_index_destroy(x);
        return err_set(e, ERR_NOMEM, "no memory for the index of a text of %d tokens", n_max);
    }
    clear(x);
    *out = x;
    return ERR_OK;
}

void spec_index_destroy(struct spec_index *x)
{
    if (!x)
        return;
    free(x->text);
    free(x->states);
    free(x->edges);
    free(x->slots);
    free(x);
}

/* ---- edges ---------------------------------------------------------------------------------------- */

static uint32_t slot_of(const struct spec_index *x, int32_t from, int32_t token)
{
    uint64_t h = ((uint64_t)(uint32_t)from << 32 | (uint32_t)token) * 0x9E3779B97F4A7C15ull;
    return (uint32_t)(h >> 32) & x->slot_mask;
}

/* Where an edge leads; NULL when there is none. */
static int32_t *find_edge(const struct spec_index *x, int32_t from, int32_t token)
{
    struct state *s = &x->states[from];
    if (s->to == NONE)
        return NULL;
    if (s->token == token)
        return &s->to;
    if (s->more == NONE)
        return NULL;
    for (uint32_t i = slot_of(x, from, token); x->slots[i]; i = (i + 1) & x->slot_mask) {
        struct edge *edge = &x->edges[x->slots[i] - 1];
        if (edge->from == from && edge->token == token)
            return &edge->to;
    }
    return NULL;
}

static void add_edge(struct spec_index *x, int32_t from, int32_t token, int32_t to)
{
    struct state *s = &x->states[from];
    if (s->to == NONE) {
        s->token = token;
        s->to = to;
        return;
    }
    assert(x->n_edges <= x->n_max);
    uint32_t i = slot_of(x, from, token);
    while (x->slots[i])
        i = (i + 1) & x->slot_mask;
    x->edges[x->n_edges] = (struct edge){ from, token, to, s->more };
    s->more = x->n_edges++;
    x->slots[i] = x->n_edges;
}

/* ---- growing -------------------------------------------------------------------------------------- */

/* Splits a state: pieces of up to n_longest tokens get a state of their own, which has the same edges so far. */
static int32_t split(struct spec_index *x, int32_t state, int32_t n_longest)
{
    int32_t copy = x->n_states++;
    struct state *from = &x->states[state], *to = &x->states[copy];
    *to = *from;
    to->n_longest = n_longest;
    to->more = NONE;
    for (int32_t i = from->more; i != NONE; i = x->edges[i].next)
        add_edge(x, copy, x->edges[i].token, x->edges[i].to);
    from->shorter = copy;
    return copy;
}

/* Says to a state, and those it is an end of, that they occurred once more. Two places closer to each other than
 * what is said there is long are a repetition. */
static void tell(struct spec_index *x, int32_t state, int32_t at)
{
    struct spec_loop most = { 0, 0 };
    for (int32_t i = 0, s = state; i < TOLD && s != ROOT; i++, s = x->states[s].shorter) {
        int32_t period = at - x->states[s].end, n = x->states[s].n_longest + period;
        if (n >= 2 * period && (int64_t)n * most.period >= (int64_t)most.n * period)
            most = (struct spec_loop){ period, n };
        x->states[s].end = at;
        x->states[s].n_ends++;
    }
    x->loop = most;
}

void spec_index_push(struct spec_index *x, int32_t token)
{
    assert(x->n < x->n_max);
    int32_t at = x->n++, whole = x->n_states++, p = x->last, *to = NULL;
    x->text[at] = token;
    x->states[whole] = (struct state){ .n_longest = at + 1, .end = at, .n_ends = 1, .to = NONE, .more = NONE };
    for (; p != NONE && !(to = find_edge(x, p, token)); p = x->states[p].shorter)
        add_edge(x, p, token, whole);
    int32_t shorter = ROOT;
    if (p != NONE) {
        shorter = *to;
        if (x->states[shorter].n_longest > x->states[p].n_longest + 1) {
            int32_t longer = shorter;
            shorter = split(x, longer, x->states[p].n_longest + 1);
            for (; p != NONE && (to = find_edge(x, p, token)) && *to == longer; p = x->states[p].shorter)
                *to = shorter;
        }
    }
    x->states[whole].shorter = shorter;
    x->last = whole;
    x->match_end = x->states[shorter].end;
    tell(x, shorter, at);
}

void spec_index_set(struct spec_index *x, const int32_t *tokens, int32_t n_tokens)
{
    assert(n_tokens <= x->n_max);
    int32_t n = 0;
    while (n < n_tokens && n < x->n && tokens[n] == x->text[n])
        n++;
    if (n < x->n) {
        int32_t n_kept = n;
        clear(x);
        for (n = 0; n < n_kept; n++)
            spec_index_push(x, x->text[n]);
    }
    for (; n < n_tokens; n++)
        spec_index_push(x, tokens[n]);
}

int32_t spec_index_n(const struct spec_index *x)
{
    return x->n;
}

const int32_t *spec_index_tokens(const struct spec_index *x)
{
    return x->text;
}

uint64_t spec_index_bytes(const struct spec_index *x)
{
    return sizeof *x + (size_t)x->n * sizeof *x->text + (size_t)x->n_states * sizeof *x->states +
           (size_t)x->n_edges * sizeof *x->edges + ((size_t)x->slot_mask + 1) * sizeof *x->slots;
}

/* ---- asking --------------------------------------------------------------------------------------- */

int32_t spec_index_match(const struct spec_index *x, int32_t *end)
{
    if (x->n == 0)
        return 0;
    *end = x->match_end;
    return x->states[x->states[x->last].shorter].n_longest;
}

enum spec_kind spec_kind_of(int32_t n_places, int32_t n_same)
{
    if (n_same >= n_places)
        return n_places > 1 ? SPEC_AGREE : SPEC_ONCE;
    return 2 * n_same >= n_places ? SPEC_MOSTLY : SPEC_SPLIT;
}

int32_t spec_index_guess(const struct spec_index *x, struct spec_guess *out, int32_t cap)
{
    int32_t at, n_match = spec_index_match(x, &at), s = x->states[x->last].shorter;
    if (n_match == 0)
        return 0;
    int32_t n_places = x->states[s].n_ends - 1;    /* the end of the text is one of them */
    for (int32_t i = 0; i < cap; i++) {
        at++;
        out[i] = (struct spec_guess){ .token = at < x->n ? x->text[at] : out[at - x->n].token,
                                      .n_match = n_match + i,
                                      .kind = i > 0 ? out[i - 1].kind : SPEC_ONCE };
        const int32_t *to = s != NONE ? find_edge(x, s, out[i].token) : NULL;
        s = NONE;    /* beyond the end of the text: as before */
        if (to && *to != x->last) {
            const struct state *from = &x->states[s = *to];
            out[i].kind = spec_kind_of(n_places, from->n_ends);    /* counts may be a little low */
            n_places = from->n_ends;
        }
    }
    return cap;
}

struct spec_loop spec_index_loop(const struct spec_index *x)
{
    return x->loop;
}
