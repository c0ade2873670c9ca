/* SPDX-License-Identifier: MIT */
/* Trying quantised types before anybody relies on them. Some models have keys that few bits ruin: the answers
 * are fluent nonsense then, and nothing else would tell.
 *
 * A short text is evaluated with f16 and with the types, and the predictions near its end are compared. Its end
 * asks for what stands in its second page, so that the sealed page matters. Rows below position N_COMMON read open
 * pages alone, whatever the types (kv_page.h): they are evaluated once. A try after that seals the page anew, by
 * evaluating its last token again (which gives the bits it had), and evaluates the rows from N_COMMON on: a try
 * costs a quarter of the text.
 *
 *   page     0      1       2       3
 *          |open |sealed |open   |open  |        rows 192 to 255 read page 1 sealed; every second of them
 *          0     64      128     192    256      is compared
 *
 * The limit, mean KL divergence on this text: models that bear a type show 0.0004 to 0.004 (q8_0, kv4, kv3 on
 * SmolLM2-135M, Gemma-3-270m and Qwen2.5-Coder-1.5B; q4_0 on the first two), about what any small change of
 * rounding gives; q4_0 keys on the third, which they ruin, 2.8. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/session/session_impl.h"

enum { N_IDS = 256, N_COMMON = 192, N_LAST = 64, N_SCORED = N_LAST / 2, N_PAGES = N_IDS / KV_PAGE, PIECE = 64 };

static const double KL_LIMIT = 0.05;

static const char text[] =
    "The keeper of the island wrote down every evening what the day had brought, in a plain hand and without "
    "haste. The lamp was lit at ten past five; the glass stood at 1013 and was falling. Wind from the south-west, "
    "fresh, with rain towards night. Two ships passed: the barque Halcyon with timber for Bergen, and a small "
    "steamer, the Ondine, that carried salt and lamp oil. The relief boat, with Peter Varga at the helm, brought "
    "four sacks of flour, a side of bacon, eleven letters and a new wick. Stores in the cellar: flour 9 sacks, "
    "beans 3, oil 46 measures, candles 120, tea enough until May. The goat, called Marthe, has lamed her left "
    "foreleg; it was bathed and bound. Mended the hinge of the east door with two brass screws. The clock in the "
    "lantern room loses forty seconds a day and was set right at noon. A grey heron stood on the landing stone "
    "from eight until almost eleven and took no notice of the boat.\n\n"
    "The inspector came in spring and liked things short, so the keeper made him a table of the same day:\n\n"
    "item: pressure, value: 1013\nitem: wind, value: south-west\nitem: ship with timber, value: Halcyon\n"
    "item: ship with salt, value: Ondine\nitem: helmsman of the relief boat, value: Peter Varga\n"
    "item: sacks of flour brought, value: four\nitem: letters, value: eleven\nitem: sacks of flour in the cellar, "
    "value: 9\nitem: oil, value: 46 measures\nitem: candles, value: 120\nitem: name of the goat, value: Marthe\n"
    "item: screws in the hinge, value: two, brass\nitem: clock, value: loses forty seconds a day\n"
    "item: bird on the landing stone, value: a grey heron\n\n"
    "When the inspector had read it he asked what had become of the goat. She was well again, said the keeper, "
    "and Marthe came round the corner of the house on four sound legs to see who was there. The inspector "
    "counted the candles, found 120, looked at the brass screws in the hinge of the east door, wound the clock "
    "and waited until it had lost its forty seconds, and then signed the book of the island with a pen that the "
    "Ondine had brought together with the salt.";

/* ---- one text, twice ------------------------------------------------------------------------------ */

/* Pages of a form, one region for all layers of a memory. */
struct tried_pages {
    struct kv_memory *memory[KV_MEMORIES];
    void *region[KV_MEMORIES];
};

struct tried_text {
    const struct model *m;
    int32_t piece;
    struct tokenizer_ids ids;
    struct kv_layer *layers;    /* [n_layers] in the types of the moment */
    struct kv_page *table;      /* [n_layers][N_PAGES], in these: */
    struct tried_pages open, sealed;
    struct batch_row rows[PIECE];
    float *want, *got;          /* [N_SCORED][n_vocab] */
};

static void free_pages(struct tried_pages *pages)
{
    for (int i = 0; i < KV_MEMORIES; i++)
        kv_memory_destroy(pages->memory[i], pages->region[i]);
    *pages = (struct tried_pages){ 0 };
}

static void free_sealed(struct tried_text *x)
{
    for (int32_t i = 0; i < x->m->program->n_layers * N_PAGES; i++)
        x->table[i].sealed = NULL;
    free_pages(&x->sealed);
}

static void finish_text(struct tried_text *x)
{
    free_pages(&x->open);
    free(x->table);
    free(x->layers);
    free(x->want);
    free(x->got);
    tokenizer_ids_finish(&x->ids);
}

/* All open forms; of sealed ones that of page 1: no row reads another one sealed. */
static size_t layer_bytes(const struct kv_layer *layer, bool sealed)
{
    return sealed ? kv_sealed_bytes(layer) : N_PAGES * kv_open_bytes(layer);
}

static void show_layer(struct kv_page *table, const struct kv_layer *layer, bool sealed, char *at)
{
    if (sealed && kv_layer_seals(layer))
        table[1].sealed = at;
    for (int32_t j = 0; !sealed && j < N_PAGES; j++)
        table[j].open = at + (size_t)j * kv_open_bytes(layer);
}

static enum err_code take_pages(struct tried_text *x, bool sealed, struct err *e)
{
    struct tried_pages *pages = sealed ? &x->sealed : &x->open;
    int32_t n_layers = x->m->program->n_layers, first = 0, end = 0;
    for (int i = 0; i < KV_MEMORIES && first < n_layers; i++, first = end) {
        size_t n_bytes = 0;
        for (; end < n_layers && x->layers[end].memory == x->layers[first].memory; end++)
            n_bytes += layer_bytes(&x->layers[end], sealed);
        if (n_bytes == 0)
            continue;
        pages->memory[i] = x->layers[first].memory;
        enum err_code rc = kv_memory_create(pages->memory[i], n_bytes, &pages->region[i], e);
        if (rc != ERR_OK)
            return rc;
        char *at = pages->region[i];
        for (int32_t layer = first; layer < end; layer++) {
            show_layer(x->table + (size_t)layer * N_PAGES, &x->layers[layer], sealed, at);
            at += layer_bytes(&x->layers[layer], sealed);
        }
    }
    return ERR_OK;
}

static enum err_code start_text(struct tried_text *x, const struct session *s, struct err *e)
{
    const struct program *p = s->model->program;
    size_t n_scores = (size_t)N_SCORED * (size_t)p->n_vocab;
    x->m = s->model;
    x->piece = s->n_batch < PIECE ? s->n_batch : PIECE;
    x->layers = calloc((size_t)p->n_layers, sizeof *x->layers);
    x->table = calloc((size_t)p->n_layers * N_PAGES, sizeof *x->table);
    x->want = calloc(n_scores, sizeof *x->want);
    x->got = calloc(n_scores, sizeof *x->got);
    bool ok = x->layers && x->table && x->want && x->got;
    if (ok)
        session_layers(x->layers, s->model, (struct session_types){ KV_F16, KV_F16 });
    if (!ok)
        return err_set(e, ERR_NOMEM, "no memory to try KV cache types");
    enum err_code rc = take_pages(x, false, e);
    if (rc == ERR_OK)
        rc = tokenizer_encode(s->model->tokenizer, text, sizeof text - 1, TOKENIZER_ADD_BOS, &x->ids, e);
    if (rc == ERR_OK)
        rc = s->model->backend->ops->reserve(s->model->placed, x->piece, x->piece, N_IDS, e);
    return rc;
}

/* Rows [first, end); the logits of those that count to scores. */
static enum err_code eval_text(struct tried_text *x, int32_t first, int32_t end, float *scores, struct err *e)
{
    const struct backend *b = x->m->backend;
    enum err_code rc = gguf_changed(x->m->gguf, e);
    while (rc == ERR_OK && first < end) {
        struct batch batch = { .rows = x->rows, .table_stride = N_PAGES, .kv = x->layers, .logits = scores };
        for (; first < end && batch.n_rows < x->piece; first++) {
            bool scored = scores && first >= N_IDS - N_LAST && first % 2;
            x->rows[batch.n_rows++] = (struct batch_row){ .token = x->ids.ids[first], .pos = first,
                                                          .pages = x->table,
                                                          .logits = scored ? batch.n_logits++ : -1 };
        }
        rc = b->ops->run(x->m->placed, &batch, e);
        if (scores)
            scores += (int64_t)batch.n_logits * x->m->program->n_vocab;
    }
    return rc;
}

/* Mean over the rows; infinite when something is not a number. */
static double divergence(const struct tried_text *x)
{
    int32_t n = x->m->program->n_vocab;
    double total = 0;
    for (int32_t row = 0; row < N_SCORED; row++) {
        const float *p = x->want + (int64_t)row * n, *q = x->got + (int64_t)row * n;
        double max_p = -INFINITY, max_q = -INFINITY, sum_p = 0, sum_q = 0, dot = 0;
        for (int32_t i = 0; i < n; i++) {
            max_p = fmax(max_p, (double)p[i]);
            max_q = fmax(max_q, (double)q[i]);
        }
        for (int32_t i = 0; i < n; i++) {
            double w = exp((double)p[i] - max_p);
            sum_p += w;
            sum_q += exp((double)q[i] - max_q);
            dot += w * (((double)p[i] - max_p) - ((double)q[i] - max_q));
        }
        total += dot / sum_p - log(sum_p) + log(sum_q);
    }
    return isfinite(total) ? total / N_SCORED : INFINITY;
}

static enum err_code try_types(struct tried_text *x, struct session_types types, double *kl, struct err *e)
{
    session_layers(x->layers, x->m, types);
    enum err_code rc = take_pages(x, true, e);
    if (rc == ERR_OK)
        rc = eval_text(x, 2 * KV_PAGE - 1, 2 * KV_PAGE, NULL, e);    /* seals the page */
    if (rc == ERR_OK)
        rc = eval_text(x, N_COMMON, N_IDS, x->got, e);
    if (rc == ERR_OK)
        *kl = divergence(x);
    free_sealed(x);
    return rc;
}

/* The f16 side. *enough: the text has enough tokens in this vocabulary. */
static enum err_code eval_reference(struct tried_text *x, const struct session *s, bool *enough, struct err *e)
{
    enum err_code rc = start_text(x, s, e);
    *enough = rc == ERR_OK && x->ids.n >= N_IDS;
    if (*enough)
        rc = eval_text(x, 0, N_COMMON, NULL, e);
    if (*enough && rc == ERR_OK)
        rc = eval_text(x, N_COMMON, N_IDS, x->want, e);
    return rc;
}

enum err_code session_trial_measure(const struct session *s, const struct session_types *types, int32_t n_types,
                                    double *kl, struct err *e)
{
    struct tried_text x = { 0 };
    bool enough;
    enum err_code rc = eval_reference(&x, s, &enough, e);
    for (int32_t i = 0; rc == ERR_OK && i < n_types; i++) {
        kl[i] = 0;
        if (enough)
            rc = try_types(&x, types[i], &kl[i], e);
    }
    finish_text(&x);
    return rc;
}

/* ---- what is remembered --------------------------------------------------------------------------- */

static bool same_types(struct session_types a, struct session_types b)
{
    return a.k == b.k && a.v == b.v;
}

static bool read_note(const struct session *s, const char *dir, struct session_trial *trial)
{
    struct buf note = { 0 };
    struct session_types types;
    char k[16], v[16];
    double kl;
    bool ok = session_note_read(s, dir, trial->asked, ".types", &note) &&
              sscanf(buf_text(&note), "quip kv types 1 %15s %15s %lf", k, v, &kl) == 3 && kv_type_find(&types.k, k) &&
              kv_type_find(&types.v, v) && types.k != KV_F32 && types.v != KV_F32;
    if (ok) {
        trial->taken = types;
        trial->kl = kl;
    }
    buf_finish(&note);
    return ok;
}

void session_trial_keep(const struct session *s, const char *dir, const struct session_trial *trial)
{
    struct buf note = { 0 };
    if (buf_printf(&note, "quip kv types 1 %s %s %.6f\n", kv_type_name(trial->taken.k), kv_type_name(trial->taken.v),
                   fmin(trial->kl, 1e6)))
        session_note_write(s, dir, trial->asked, ".types", buf_text(&note));
    buf_finish(&note);
}

static bool recall(const struct session *s, const char *dir, struct session_trial *trial)
{
    const struct session_caches *c = s->model->caches;
    for (int32_t i = 0; i < c->n_trials; i++)
        if (same_types(c->trials[i].asked, trial->asked)) {
            *trial = c->trials[i];
            trial->fresh = false;
            return true;
        }
    return dir && read_note(s, dir, trial);
}

/* ---- raising -------------------------------------------------------------------------------------- */

static enum kv_type better(enum kv_type type)
{
    switch (type) {
    case KV_KV3:
    case KV_Q4_0: return KV_KV4;
    case KV_KV4: return KV_Q8_0;
    default: return KV_F16;
    }
}

/* One step up, for keys when they alone are too much already, else for values. */
static enum err_code raise_types(struct tried_text *x, struct session_types *types, struct err *e)
{
    bool keys = kv_type_sealed(types->k);
    if (keys && kv_type_sealed(types->v)) {
        double kl = 0;
        enum err_code rc = try_types(x, (struct session_types){ types->k, KV_F16 }, &kl, e);
        if (rc != ERR_OK)
            return rc;
        keys = kl > KL_LIMIT;
    }
    if (keys)
        types->k = better(types->k);
    else
        types->v = better(types->v);
    return ERR_OK;
}

static enum err_code run_trial(const struct session *s, struct session_trial *trial, struct err *e)
{
    struct tried_text x = { 0 };
    struct session_types types = trial->asked;
    bool enough, first = true;
    enum err_code rc = eval_reference(&x, s, &enough, e);
    while (rc == ERR_OK && enough && (kv_type_sealed(types.k) || kv_type_sealed(types.v))) {
        double kl = 0;
        rc = try_types(&x, types, &kl, e);
        if (first)
            trial->kl = kl;
        first = false;
        if (rc != ERR_OK || kl <= KL_LIMIT)
            break;
        rc = raise_types(&x, &types, e);
    }
    trial->taken = types;
    trial->fresh = true;
    finish_text(&x);
    return rc;
}

enum err_code session_trial_run(struct session *s, const char *dir, struct session_trial *out, struct err *e)
{
    struct session_caches *c = s->model->caches;
    *out = (struct session_trial){ .asked = s->types, .taken = s->types };
    if (!recall(s, dir, out)) {
        enum err_code rc = run_trial(s, out, e);
        if (rc != ERR_OK)
            return rc;
        if (c->n_trials < SESSION_MAX_TRIALS)
            c->trials[c->n_trials++] = *out;
    }
    if (!same_types(out->asked, out->taken))
        snprintf(s->note, sizeof s->note,
                 "%s keys with %s values change what this model says (KL %.2f from f16, at most %.2f wanted): %s and %s "
                 "taken", kv_type_name(out->asked.k), kv_type_name(out->asked.v), out->kl, KL_LIMIT,
                 kv_type_name(out->taken.k), kv_type_name(out->taken.v));
    s->types = out->taken;
    return ERR_OK;
}
