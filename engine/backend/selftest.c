/* SPDX-License-Identifier: MIT */
/* The piece of a program that is tested, and its rows.
 *
 * A KIND is all of a step that decides which code runs for it: types and shapes of its matrices, norms, biases, heads,
 * window. The layers taken are the fewest, found greedily, that have all kinds between them: two of a Q4_K_M file, two
 * or three of a Gemma.
 *
 * Rows cost time on the processor, so there are few, and the pages before them are filled with noise, the same on both
 * sides, instead of being evaluated:
 *
 *     page      0            1             2         3
 *            |noise  ======|==    noise  o|  noise  |oo     |      = rows 32 to 81, f16
 *            0      32     64             128       192            o rows 127, which seals page 1, and 192 and 193,
 *                                                                    which read it so: once for each sealed type
 *
 * On the device rows come in a piece of 40, as those of a prompt, in one of 8, as those of a short one, and one by one, as
 * those of an answer: that is different code there. Of the last of them it is asked for the best logits, too: those are
 * looked for, not computed, so they have to be right to the bit. So has a row that the device begins by itself, with what
 * it has found best (batch.ahead).
 *
 * The limits: a device with f32 arithmetic is at 1e-8 to 1e-6, most of it from keys that f16 rounds the other way; one
 * with int8 activations at 2e-4 to 1.3e-3, as the processor is with them; a product that is 5 % off gives 2.5e-3, 10 %
 * give 1e-2. */
#include "engine/backend/selftest.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/clock.h"
#include "engine/quant/f16.h"

static const double LIMIT = 1e-3, INT8_LIMIT = 1e-2;
/* The best of HEAD_ROWS logits are looked for in more than one block of them. */
enum { MAX_LAYERS = 4, HEAD_ROWS = 1100, N_PAGES = 4, SEALED_PAGE = 1, MAX_ROWS = 40, KIND_BYTES = 256 };

/* Rows pos0 .. pos0 + n_rows - 1, on the device in pieces. */
struct run {
    enum kv_type type;
    int32_t pos0, n_rows, piece;
};

/* The sealed types are those that "auto" may take. */
static const struct run runs[] = {
    { KV_F16, 32, 40, 40 },  { KV_F16, 72, 8, 8 },   { KV_F16, 80, 2, 1 },   { KV_Q8_0, 127, 1, 1 },
    { KV_Q8_0, 192, 2, 1 },  { KV_KV4, 127, 1, 1 },  { KV_KV4, 192, 2, 1 },
};
enum { N_RUNS = sizeof runs / sizeof *runs };

/* ---- kinds ---------------------------------------------------------------------------------------------- */

/* Everything about a step that decides which code runs, but its layer's number. */
static void write_kind(const struct program *p, const struct step *s, char out[KIND_BYTES])
{
    int n = snprintf(out, KIND_BYTES, "%d", s->kind);
    for (int i = 0; i < 3 && s->w[i]; i++)
        n += snprintf(out + n, (size_t)(KIND_BYTES - n), " %u:%dx%d%s", s->w[i]->type, s->w[i]->n_cols,
                      s->kind == STEP_EMBED || s->kind == STEP_HEAD ? 0 : s->w[i]->n_rows, s->bias[i] ? "+" : "");
    n += snprintf(out + n, (size_t)(KIND_BYTES - n), " n%d%d", s->norm != NULL, s->post_norm != NULL);
    if (s->kind == STEP_ATTN_IN || s->kind == STEP_ATTN)
        n += snprintf(out + n, (size_t)(KIND_BYTES - n), " h%d/%dx%d w%d g%d%d s%d", s->n_head, s->n_kv_head,
                      s->d_head, s->window, s->q_norm != NULL, s->k_norm != NULL, s->sinks != NULL);
    if (s->kind == STEP_ATTN_IN && s->rope >= 0)
        n += snprintf(out + n, (size_t)(KIND_BYTES - n), " r%d%d", p->ropes[s->rope].n_rot, p->ropes[s->rope].halves);
    snprintf(out + n, (size_t)(KIND_BYTES - n), " a%d c%d\n", s->act, s->cap != 0);
}

static bool of_layer(const struct step *s)
{
    return s->kind != STEP_EMBED && s->kind != STEP_HEAD;
}

static int32_t count_new(const struct program *p, const bool *covered, int32_t layer)
{
    int32_t n = 0;
    for (int32_t i = 0; i < p->n_steps; i++)
        n += of_layer(&p->steps[i]) && p->steps[i].layer == layer && !covered[i];
    return n;
}

/* Marks all steps of the kinds that a layer has. */
static void cover(const struct program *p, char (*kinds)[KIND_BYTES], bool *covered, int32_t layer)
{
    for (int32_t i = 0; i < p->n_steps; i++)
        for (int32_t j = 0; p->steps[i].layer == layer && of_layer(&p->steps[i]) && j < p->n_steps; j++)
            if (of_layer(&p->steps[j]) && strcmp(kinds[i], kinds[j]) == 0)
                covered[j] = true;
}

/* The layers from n_first on that have all kinds, or as many as MAX_LAYERS have; how many. -1: no memory. */
static int32_t choose_layers(const struct program *p, int32_t n_first, int32_t layers[MAX_LAYERS])
{
    char (*kinds)[KIND_BYTES] = calloc((size_t)p->n_steps, sizeof *kinds);
    bool *covered = calloc((size_t)p->n_steps, sizeof *covered);
    int32_t n = kinds && covered ? 0 : -1;
    for (int32_t i = 0; n == 0 && i < p->n_steps; i++)
        write_kind(p, &p->steps[i], kinds[i]);
    while (n >= 0 && n < MAX_LAYERS) {
        int32_t best = -1, best_new = 0;
        for (int32_t layer = n_first; layer < p->n_layers; layer++) {
            int32_t n_new = count_new(p, covered, layer);
            if (n_new > best_new) {
                best = layer;
                best_new = n_new;
            }
        }
        if (best < 0)
            break;
        cover(p, kinds, covered, best);
        layers[n++] = best;
    }
    free(kinds);
    free(covered);
    return n;
}

/* ---- the piece ------------------------------------------------------------------------------------------ */

struct piece {
    struct program program;
    struct step *steps;
    struct tensor *tensors;
    struct kv_layer *kv;       /* in the types of the run */
    float *x;                  /* [MAX_ROWS][n_embd], what rows of a run begin with without an embedding; else NULL */
};

static const struct tensor *add_tensor(struct piece *x, const struct tensor *t, int32_t max_rows)
{
    struct tensor *copy = &x->tensors[x->program.n_tensors];
    *copy = *t;
    copy->index = x->program.n_tensors++;
    if (copy->n_rows > max_rows) {
        copy->n_rows = max_rows;
        copy->n_bytes = (uint64_t)max_rows * t->row_bytes;
    }
    return copy;
}

static void add_step(struct piece *x, const struct step *s, int32_t layer)
{
    struct step *copy = &x->steps[x->program.n_steps++];
    *copy = *s;
    copy->layer = layer;
    for (int i = 0; i < 3 && s->w[i]; i++)
        copy->w[i] = add_tensor(x, s->w[i], of_layer(s) ? s->w[i]->n_rows : HEAD_ROWS);
}

static void finish_piece(struct piece *x)
{
    free(x->steps);
    free(x->tensors);
    free(x->kv);
    free(x->x);
}

/* Uniform in -1 .. 1, from a state of its own: the same for both sides. */
static float noise(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (float)(*state >> 40) / 8388608.0f - 1.0f;
}

static enum err_code cut(struct piece *x, const struct program *p, int32_t n_first, struct err *e)
{
    int32_t layers[MAX_LAYERS], n = choose_layers(p, n_first, layers);
    size_t n_x = MAX_ROWS * (size_t)p->n_embd;
    uint64_t state = 2;
    *x = (struct piece){ .program = *p };
    x->steps = calloc((size_t)p->n_steps, sizeof *x->steps);
    x->tensors = calloc(3 * (size_t)p->n_steps, sizeof *x->tensors);
    x->kv = calloc(MAX_LAYERS, sizeof *x->kv);
    x->x = n_first > 0 ? calloc(n_x, sizeof *x->x) : NULL;
    if (n < 0 || !x->steps || !x->tensors || !x->kv || (n_first > 0 && !x->x))
        return err_set(e, ERR_NOMEM, "no memory to test the device");
    for (size_t i = 0; i < n_x && x->x; i++)
        x->x[i] = noise(&state);
    struct program *g = &x->program;
    g->n_steps = g->n_tensors = 0;
    g->n_layers = n;
    g->embed_on_host = false;    /* what is right in the test may be used later, with more memory */
    g->steps = x->steps;
    g->tensors = x->tensors;
    g->kv = x->kv;
    for (int32_t i = 0; i < p->n_steps; i++)
        if (p->steps[i].kind == STEP_EMBED && n_first == 0)
            add_step(x, &p->steps[i], p->steps[i].layer);
    for (int32_t layer = 0; layer < n; layer++) {
        x->kv[layer] = p->kv[layers[layer]];
        for (int32_t i = 0; i < p->n_steps; i++)
            if (of_layer(&p->steps[i]) && p->steps[i].layer == layers[layer])
                add_step(x, &p->steps[i], layer);
    }
    for (int32_t i = 0; i < p->n_steps; i++)
        if (p->steps[i].kind == STEP_HEAD) {
            add_step(x, &p->steps[i], p->steps[i].layer);
            g->n_vocab = x->steps[g->n_steps - 1].w[0]->n_rows;
        }
    return ERR_OK;
}

static void set_types(struct piece *x, enum kv_type type)
{
    for (int32_t i = 0; i < x->program.n_layers; i++)
        x->kv[i].k = x->kv[i].v = kv_type_fits(type, x->kv[i].d_head) ? type : KV_F16;
}

bool selftest_kinds(const struct program *p, int32_t n_first, struct buf *out)
{
    struct piece x;
    char kind[KIND_BYTES];
    bool ok = cut(&x, p, n_first, NULL) == ERR_OK;
    buf_printf(out, "limits %g %g, %d runs, one row ahead\n", LIMIT, INT8_LIMIT, N_RUNS);
    for (int32_t i = 0; ok && i < x.program.n_steps; i++) {
        write_kind(&x.program, &x.steps[i], kind);
        buf_add_text(out, kind);
    }
    finish_piece(&x);
    return ok && buf_ok(out);
}

/* ---- a side --------------------------------------------------------------------------------------------- */

struct side {
    struct backend *b;
    struct placed *placed;
    void *open, *sealed;       /* regions: pages of all layers one after another; a sealed page for each layer */
    struct kv_page *table;     /* [n_layers][N_PAGES] */
    float *logits, *next;      /* [n rows of all runs][n_vocab]; where the next run's go */
};

static void finish_side(struct side *s)
{
    if (s->placed)
        s->b->ops->unplace(s->placed);
    kv_memory_destroy(s->b->kv_memory, s->open);
    kv_memory_destroy(s->b->kv_memory, s->sealed);
    free(s->table);
    free(s->logits);
}

static enum err_code make_pages(struct side *s, const struct piece *x, struct err *e)
{
    int32_t n_layers = x->program.n_layers;
    size_t open_bytes = 0, sealed_bytes = 0, page_bytes = 0;
    uint64_t state = 1;
    for (int32_t i = 0; i < n_layers; i++) {
        size_t n_bytes = kv_open_bytes(&x->kv[i]);
        page_bytes = n_bytes > page_bytes ? n_bytes : page_bytes;
        open_bytes += N_PAGES * n_bytes;
        sealed_bytes += n_bytes;    /* no sealed form has more */
    }
    uint16_t *page = malloc(page_bytes);
    enum err_code rc = page ? ERR_OK : err_set(e, ERR_NOMEM, "no memory to test the device");
    if (rc == ERR_OK)
        rc = kv_memory_create(s->b->kv_memory, open_bytes, &s->open, e);
    if (rc == ERR_OK)
        rc = kv_memory_create(s->b->kv_memory, sealed_bytes, &s->sealed, e);
    char *at = s->open;
    for (int32_t i = 0; i < n_layers * N_PAGES && rc == ERR_OK; i++) {
        size_t n_bytes = kv_open_bytes(&x->kv[i / N_PAGES]);
        s->table[i].open = at;
        for (size_t j = 0; j < n_bytes / sizeof *page; j++)
            page[j] = f16_from_f32(noise(&state));
        rc = kv_memory_write(s->b->kv_memory, at, page, n_bytes, e);
        at += n_bytes;
    }
    free(page);
    return rc;
}

static enum err_code make_side(struct side *s, const struct piece *x, int32_t n_rows, struct err *e)
{
    s->table = calloc((size_t)x->program.n_layers * N_PAGES + 1, sizeof *s->table);
    s->logits = s->next = calloc((size_t)n_rows * (size_t)x->program.n_vocab, sizeof *s->logits);
    if (!s->table || !s->logits)
        return err_set(e, ERR_NOMEM, "no memory to test the device");
    enum err_code rc = make_pages(s, x, e);
    if (rc == ERR_OK)
        rc = s->b->ops->place(s->b, &x->program, &s->placed, e);
    if (rc == ERR_OK)
        rc = s->b->ops->reserve(s->placed, MAX_ROWS, MAX_ROWS, N_PAGES * KV_PAGE, e);
    return rc;
}

/* best NULL: all logits. */
static enum err_code evaluate(struct side *s, const struct piece *x, const struct run *run, int32_t piece,
                              struct logit *best, int32_t n_best, struct err *e)
{
    const struct program *g = &x->program;
    struct batch_row rows[MAX_ROWS];
    int32_t n_tokens = x->x ? 1 : x->steps[0].w[0]->n_rows;
    enum err_code rc = ERR_OK;
    char *sealed = s->sealed;
    for (int32_t i = 0; i < g->n_layers; i++) {
        s->table[i * N_PAGES + SEALED_PAGE].sealed = kv_layer_seals(&x->kv[i]) ? sealed : NULL;
        sealed += kv_sealed_bytes(&x->kv[i]);
    }
    for (int32_t row = 0; row < run->n_rows && rc == ERR_OK; row += piece) {
        struct batch batch = { .rows = rows, .table_stride = N_PAGES, .kv = x->kv, .logits = best ? NULL : s->next,
                               .best = best, .n_best = n_best,
                               .x_in = x->x ? x->x + (int64_t)row * g->n_embd : NULL };
        for (int32_t pos = run->pos0 + row; batch.n_rows < piece && pos < run->pos0 + run->n_rows; pos++)
            rows[batch.n_rows++] = (struct batch_row){ .token = pos * 7919 % n_tokens, .pos = pos, .pages = s->table,
                                                       .logits = batch.n_logits++ };
        rc = s->b->ops->run(s->placed, &batch, e);
        if (best)
            best += batch.n_logits * n_best;
        else
            s->next += (int64_t)batch.n_logits * g->n_vocab;
    }
    return rc;
}

/* Whether these are the best of n logits, in order. */
static bool are_best(const struct logit *best, int32_t n_best, const float *logits, int32_t n)
{
    for (int32_t i = 0; i < n_best && i < n; i++) {
        int32_t n_before = 0;
        if (best[i].token < 0 || best[i].token >= n ||
            memcmp(&best[i].value, &logits[best[i].token], sizeof best[i].value) != 0)
            return false;
        for (int32_t c = 0; c < n; c++)
            n_before += logit_before((struct logit){ c, logits[c] }, best[i]);
        if (n_before != i)
            return false;
    }
    return true;
}

/* Evaluates the rows of a run again, whose logits came last. *right: the best are those of them. */
static enum err_code try_best(struct side *s, const struct piece *x, const struct run *run, int32_t n_best, bool *right,
                              struct err *e)
{
    struct logit best[MAX_ROWS * BACKEND_MAX_BEST];
    const float *logits = s->next - (int64_t)run->n_rows * x->program.n_vocab;
    enum err_code rc = evaluate(s, x, run, run->piece, best, n_best, e);
    for (int32_t i = 0; rc == ERR_OK && i < run->n_rows; i++)
        *right &= are_best(best + i * n_best, n_best, logits + (int64_t)i * x->program.n_vocab, x->program.n_vocab);
    return rc;
}

/* The second row of a run, begun before it is asked for, and when it is. *right: both give the same. */
static enum err_code try_ahead(struct side *s, const struct piece *x, const struct run *run, bool *right, struct err *e)
{
    struct batch_row row = { .pos = run->pos0, .pages = s->table };
    struct logit first = { 0 }, best[2] = { { 0 } };
    struct batch batch = { .rows = &row, .n_rows = 1, .table_stride = N_PAGES, .kv = x->kv, .n_logits = 1, .n_best = 1,
                           .best = &first, .ahead = true };
    enum err_code rc = s->b->ops->run(s->placed, &batch, e);
    if (rc != ERR_OK || first.token < 0 || first.token >= x->program.n_vocab) {
        *right = false;
        return rc;
    }
    row.token = first.token;
    row.pos++;
    batch.ahead = false;
    for (int i = 0; i < 2 && rc == ERR_OK; i++) {
        batch.best = &best[i];
        rc = s->b->ops->run(s->placed, &batch, e);
    }
    *right &= best[0].token == best[1].token && memcmp(&best[0].value, &best[1].value, sizeof best[0].value) == 0;
    return rc;
}

/* ---- both ----------------------------------------------------------------------------------------------- */

static double worst_row(const float *got, const float *want, int32_t n_rows, int32_t n)
{
    double worst = 0;
    for (int32_t row = 0; row < n_rows; row++) {
        double difference = 0, size = 0;
        for (int32_t i = 0; i < n; i++, got++, want++) {
            double d = (double)*got - (double)*want;
            difference += d * d;
            size += (double)*want * (double)*want;
        }
        double nmse = difference == 0 ? 0 : difference / size;
        if (!isfinite(nmse))
            return INFINITY;
        worst = nmse > worst ? nmse : worst;
    }
    return worst;
}

enum err_code selftest_run(struct backend *device, struct backend *exact, const struct program *p, int32_t n_first,
                           struct selftest_result *out, struct err *e)
{
    struct piece x;
    struct side got = { .b = device }, want = { .b = exact };
    bool best_are_right = true;
    enum err_code rc = cut(&x, p, n_first, e);
    *out = (struct selftest_result){ .limit = device->int8 ? INT8_LIMIT : LIMIT, .n_layers = x.program.n_layers };
    for (int i = 0; i < N_RUNS; i++)
        out->n_rows += runs[i].n_rows;
    if (rc == ERR_OK)
        rc = make_side(&got, &x, out->n_rows, e);
    if (rc == ERR_OK)
        rc = make_side(&want, &x, out->n_rows, e);
    for (int i = 0; i < N_RUNS && rc == ERR_OK; i++) {
        set_types(&x, runs[i].type);
        rc = evaluate(&got, &x, &runs[i], runs[i].piece, NULL, 0, e);
        if (rc == ERR_OK)
            rc = evaluate(&want, &x, &runs[i], MAX_ROWS, NULL, 0, e);
    }
    for (int i = 0; i < 2 && device->max_best > 0 && rc == ERR_OK; i++)
        rc = try_best(&got, &x, &runs[N_RUNS - 1], i == 0 ? 1 : device->max_best, &best_are_right, e);
    if (rc == ERR_OK && device->max_best > 0 && !x.x)
        rc = try_ahead(&got, &x, &runs[N_RUNS - 1], &best_are_right, e);
    if (rc == ERR_OK)
        out->nmse = best_are_right ? worst_row(got.logits, want.logits, out->n_rows, x.program.n_vocab) : INFINITY;
    finish_side(&got);
    finish_side(&want);
    finish_piece(&x);
    return rc;
}

enum err_code selftest_time(struct backend *b, const struct program *p, int32_t n_first, double *turn_ms,
                            struct err *e)
{
    enum { N_ROUNDS = 6, N_PROMPT = 40, N_ANSWER = 8, TURN = 256 };
    static const struct run prompt = { KV_F16, 32, N_PROMPT, N_PROMPT }, answer = { KV_F16, 72, N_ANSWER, 1 };
    struct piece x;
    struct side s = { .b = b };
    enum err_code rc = cut(&x, p, n_first, e);
    set_types(&x, KV_F16);
    if (rc == ERR_OK)
        rc = make_side(&s, &x, N_PROMPT + N_ANSWER, e);
    *turn_ms = INFINITY;
    for (int i = 0; i < N_ROUNDS && rc == ERR_OK; i++) {    /* the best: the first ones make things ready */
        double begin = clock_ms();
        s.next = s.logits;
        rc = evaluate(&s, &x, &prompt, prompt.piece, NULL, 0, e);
        double middle = clock_ms();
        if (rc == ERR_OK)
            rc = evaluate(&s, &x, &answer, answer.piece, NULL, 0, e);
        double ms = (middle - begin) * TURN / N_PROMPT + (clock_ms() - middle) * TURN / N_ANSWER;
        *turn_ms = ms < *turn_ms ? ms : *turn_ms;
    }
    finish_side(&s);
    finish_piece(&x);
    return rc;
}
