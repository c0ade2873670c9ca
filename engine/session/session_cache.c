/* SPDX-License-Identifier: MIT */
/* The caches of a model and their files.
 *
 * A cache belongs to the model and its types, not to a session: sessions come and go (another context size,
 * another chat) and find what the ones before them have evaluated. It goes with the model, or when sessions
 * use other types and none uses these.
 *
 * A prefix is loaded from its file when that is expected to be faster than evaluating what memory lacks of it, and
 * written when evaluating it took long enough to be worth a file. Both sides of that are measured: loading by the
 * store, evaluating here, over the prompts of this process. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/session/session_impl.h"

enum { SHARED_LEAST = 128, CHAT_LEAST = 256, WORTH_MS = 100, CLOSE_WAIT_MS = 3000, REMEMBERED_ROWS = 8192 };

/* ---- files of a cache ----------------------------------------------------------------------------- */

static void tell_warnings(struct session *s)
{
    char text[ERR_TEXT_BYTES];
    while (s->cache->store && kv_store_warning(s->cache->store, text))
        model_warn(s->model, "%s", text);
}

/* When the disk does not take in time what was given to it, the writer goes on reading pages of the cache: then
 * both are left to it, rather than wait for it without end. */
static void close_files(struct session_cache *c)
{
    if (c->store && !kv_store_flush(c->store, CLOSE_WAIT_MS))
        c->abandoned = true;
    else
        kv_store_close(c->store);
    c->store = NULL;
    free(c->dir);
    c->dir = NULL;
}

static void destroy_cache(struct session_cache *c)
{
    assert(c->n_sessions == 0);
    close_files(c);
    if (!c->abandoned)
        kv_cache_destroy(c->kv);
    free(c);
}

static void open_files(struct session *s, const struct session_options *o)
{
    struct session_cache *c = s->cache;
    const struct model_info *info = &s->model->info;
    const char *slash = strrchr(info->path, '/');
    char file[KV_STORE_TEXT_BYTES];    /* without .gguf, as -m takes it */
    snprintf(file, sizeof file, "%s", slash ? slash + 1 : info->path);
    if (strlen(file) > 5 && strcmp(file + strlen(file) - 5, ".gguf") == 0)
        file[strlen(file) - 5] = '\0';
    if (c->store && strcmp(c->dir, o->cache_dir) == 0 && c->cap_bytes == o->cache_disk_bytes)
        return;
    close_files(c);
    struct kv_store_options so = { .dir = o->cache_dir, .cap_bytes = o->cache_disk_bytes, .layers = c->layers,
                                   .n_layers = c->n_layers, .model = info->name,
                                   .file = file, .level = info->level };
    struct err e;
    enum err_code rc = model_kv_key(s->model, c->layers, c->n_layers, &so.key, &e);
    if (rc == ERR_OK && !(c->dir = strdup(o->cache_dir)))
        rc = err_set(&e, ERR_NOMEM, "no memory for the folder's name");
    if (rc == ERR_OK)
        rc = kv_store_open(&c->store, &so, &e);
    c->cap_bytes = o->cache_disk_bytes;
    if (rc != ERR_OK) {
        c->store = NULL;
        free(c->dir);
        c->dir = NULL;
        model_warn(s->model, "cached prefixes are not kept in files: %s", e.text);
    }
}

/* ---- caches of a model ---------------------------------------------------------------------------- */

static bool has_layers(const struct session_cache *c, const struct kv_layer *layers)
{
    for (int32_t i = 0; i < c->n_layers; i++)
        if (c->layers[i].k != layers[i].k || c->layers[i].v != layers[i].v || c->layers[i].memory != layers[i].memory)
            return false;
    return true;
}

/* Goes when no session uses it and another cache is in use, or nobody can. */
static void drop_unused(struct session_caches *all)
{
    bool used = false;
    for (struct session_cache *c = all->first; c; c = c->next)
        used |= c->n_sessions > 0;
    for (struct session_cache **at = &all->first; *at;) {
        struct session_cache *c = *at;
        if (c->n_sessions == 0 && (used || c->dead)) {
            *at = c->next;
            destroy_cache(c);
        } else
            at = &c->next;
    }
}

static enum err_code make_cache(struct session_caches *all, const struct kv_layer *layers, int32_t n_layers,
                                struct session_cache **out, struct err *e)
{
    struct session_cache *c = calloc(1, sizeof *c);
    if (!c)
        return err_set(e, ERR_NOMEM, "no memory for the KV cache");
    enum err_code rc = kv_cache_create(&c->kv, layers, n_layers, 0, e);
    if (rc != ERR_OK) {
        free(c);
        return rc;
    }
    c->layers = kv_cache_layers(c->kv, &c->n_layers);
    c->next = all->first;
    all->first = c;
    *out = c;
    return ERR_OK;
}

enum err_code session_cache_take(struct session *s, const struct session_options *o, struct err *e)
{
    struct session_caches *all = s->model->caches;
    const struct program *p = s->model->program;
    struct kv_layer *layers = calloc((size_t)p->n_layers, sizeof *layers);
    if (!layers)
        return err_set(e, ERR_NOMEM, "no memory for the KV cache");
    session_layers(layers, s->model, s->types);
    struct session_cache *c = all->first;
    while (c && (c->dead || !has_layers(c, layers)))
        c = c->next;
    enum err_code rc = c ? ERR_OK : make_cache(all, layers, p->n_layers, &c, e);
    free(layers);
    if (rc != ERR_OK)
        return rc;
    c->n_sessions++;
    s->cache = c;
    drop_unused(all);
    c->budget_bytes = o->cache_ram_bytes;
    kv_cache_set_budget(c->kv, session_cache_budget(s, o->cache_ram_bytes));
    if (o->cache_dir) {
        open_files(s, o);
        s->use_files = c->store != NULL;
    }
    return ERR_OK;
}

void session_cache_leave(struct session *s)
{
    struct session_cache *c = s->cache;
    if (!c)
        return;
    if (c->store)
        kv_store_poll(c->store);    /* what is still being written goes on without the session */
    c->n_sessions--;
    s->cache = NULL;
    drop_unused(s->model->caches);
    engine_close_left(s->model->engine);
}

void session_caches_retire(struct session_caches *all, bool measured_elsewhere)
{
    for (struct session_cache *c = all ? all->first : NULL; c; c = c->next) {
        c->dead = true;
        kv_cache_set_budget(c->kv, 0);
    }
    if (!all)
        return;
    drop_unused(all);
    if (measured_elsewhere) {
        all->eval_ms = all->n_evaluated = 0;
        all->costs = (struct spec_costs){ 0 };
        all->costs_failed = false;
        all->n_refused = all->n_refuse = 0;
    }
}

bool session_caches_lie_in(const struct session_caches *all, const struct kv_memory *memory)
{
    for (const struct session_cache *c = all && memory ? all->first : NULL; c; c = c->next)
        for (int32_t i = 0; i < c->n_layers; i++)
            if (c->layers[i].memory == memory)
                return true;
    return false;
}

void session_caches_destroy(struct session_caches *all)
{
    while (all && all->first) {
        struct session_cache *c = all->first;
        all->first = c->next;
        destroy_cache(c);
    }
    if (all)
        session_texts_finish(&all->texts);
    free(all);
}

/* ---- what evaluating takes ------------------------------------------------------------------------ */

void session_count_time(struct session *s, int32_t seq, int32_t n_rows, double ms)
{
    struct session_caches *all = s->model->caches;
    s->seqs[seq].eval_ms += ms;
    s->seqs[seq].n_evaluated += n_rows;
    all->eval_ms += ms;
    all->n_evaluated += n_rows;
    if (all->n_evaluated > REMEMBERED_ROWS) {
        all->eval_ms /= 2;
        all->n_evaluated /= 2;
    }
}

/* Of n_tokens of a prompt; 0 before anything was measured. */
static double compute_ms(const struct session *s, const struct seq *q, int32_t n_tokens)
{
    const struct session_caches *all = s->model->caches;
    if (q && q->n_evaluated >= KV_PAGE)
        return q->eval_ms / q->n_evaluated * n_tokens;
    return all->n_evaluated > 0 ? all->eval_ms / all->n_evaluated * n_tokens : 0;
}

/* ---- loading -------------------------------------------------------------------------------------- */

static bool worth_loading(const struct session *s, const struct kv_store_entry *entry, int32_t n_held)
{
    double ms = compute_ms(s, NULL, entry->n_tokens - n_held);
    if (ms <= 0)
        ms = entry->compute_ms * (entry->n_tokens - n_held) / entry->n_tokens;
    return entry->n_tokens > n_held && (s->any_file || entry->load_ms < ms);
}

/* False when memory has no more of the prompt than before. */
static bool load(struct session *s, const struct seq *q, const struct kv_store_entry *entry)
{
    struct kv_image *image;
    struct err e;
    if (kv_image_new(&image, s->cache->kv, q->prompt, entry->n_tokens, &e) != ERR_OK)
        return false;
    if (kv_store_load(s->cache->store, entry, image, &s->cancel, &e) != ERR_OK) {
        kv_image_drop(image);
        return false;
    }
    return kv_image_commit_take(image, &e) == ERR_OK;
}

void session_find_prompt(struct session *s, int32_t seq)
{
    struct seq *q = &s->seqs[seq];
    struct kv_store *store = s->use_files ? s->cache->store : NULL;
    struct kv_store_entry entry;
    int32_t last = q->n_prompt - 1;    /* its logits are wanted: it is evaluated in any case */
    int32_t in_memory = kv_seq_find(q->kv, q->prompt, last);
    struct kv_stats stats;
    bool loaded = false;
    kv_cache_stats(s->cache->kv, &stats);
    if (store && kv_store_find(store, q->prompt, last, &entry) && worth_loading(s, &entry, in_memory)) {
        kv_cache_set_budget(s->cache->kv, UINT64_MAX);    /* until the sequence has it, nobody does */
        loaded = load(s, q, &entry);
        tell_warnings(s);
    }
    q->n_fed = kv_seq_match(q->kv, q->prompt, last);
    if (store)
        kv_cache_set_budget(s->cache->kv, stats.budget_bytes);
    if (q->timings.n_generated > 0)    /* goes on with an answer: the figures are those of its own prompt */
        return;
    q->timings.n_reused = q->n_fed;
    if (loaded && q->n_fed > in_memory)
        q->timings.n_loaded = q->n_fed - in_memory;
}

/* ---- saving --------------------------------------------------------------------------------------- */

/* How many tokens of the beginning are in a file. */
static int32_t n_in_file(const struct session *s, const int32_t *tokens, int32_t n_tokens)
{
    struct kv_store_entry entry;
    return kv_store_find(s->cache->store, tokens, n_tokens, &entry) ? entry.n_tokens : 0;
}

static void save(struct session *s, const struct seq *q)
{
    struct kv_image *image;
    struct err e;
    double ms = compute_ms(s, q, kv_seq_held(q->kv));
    if (!s->any_file && ms < WORTH_MS)
        return;
    if (kv_image_of(&image, q->kv, &e) == ERR_OK)    /* else there is just no file */
        kv_store_save_take(s->cache->store, image, ms);
}

void session_keep_shared(struct session *s, int32_t seq)
{
    const struct seq *q = &s->seqs[seq];
    assert(kv_seq_held(q->kv) == q->n_shared);
    if (s->use_files && s->cache->store && q->n_shared >= SHARED_LEAST && !kv_seq_rough(q->kv) &&
        n_in_file(s, q->prompt, q->n_shared) < q->n_shared)
        save(s, q);
}

void session_close_chat(struct session *s, int32_t seq)
{
    struct seq *q = &s->seqs[seq];
    int32_t held = kv_seq_held(q->kv);
    assert(q->state == SEQ_IDLE);
    if (s->use_files && s->cache->store && held >= CHAT_LEAST && !kv_seq_rough(q->kv)) {
        int32_t known = n_in_file(s, kv_seq_tokens(q->kv), held);
        if (held - known >= held / 4)    /* else the file there is brings back nearly all */
            save(s, q);
    }
    if (s->drafts_from_chats)
        session_texts_add_chat(s, held > 0 ? kv_seq_tokens(q->kv) : q->prompt, held > 0 ? held : q->n_lost);
    if (held > 0)
        kv_seq_anchor(q->kv);
    kv_seq_truncate(q->kv, 0);
    q->n_lost = 0;
}

bool session_flush(struct session *s, int32_t timeout_ms)
{
    bool all = !s->cache->store || kv_store_flush(s->cache->store, timeout_ms);
    tell_warnings(s);
    return all;
}
