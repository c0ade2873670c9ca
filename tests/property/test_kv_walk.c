/* SPDX-License-Identifier: MIT */
/* A random walk over the cache against plain arrays: each sequence's tokens, and for each token the seed of the
 * words a row of it writes. After each step all that the next row of any sequence would read is looked at, and
 * all counts are made again from the blocks themselves. */
#include "tests/support/kv_fake.h"
#include "tests/support/test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "engine/kv/kv_impl.h"

/* ---- failing allocations ---------------------------------------------------------------------------- */

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_aligned_alloc(size_t align, size_t size);
void *__real_mmap(void *at, size_t size, int protect, int flags, int fd, off_t offset);
int __real_mprotect(void *at, size_t size, int protect);
int __real_madvise(void *at, size_t size, int advice);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_aligned_alloc(size_t align, size_t size);
void *__wrap_mmap(void *at, size_t size, int protect, int flags, int fd, off_t offset);
int __wrap_mprotect(void *at, size_t size, int protect);
int __wrap_madvise(void *at, size_t size, int advice);

static int32_t countdown;    /* 0: none fails */
static bool failed;
static bool all_on_device;   /* nothing of the system's is asked about pages */

static bool fails(void)
{
    if (countdown == 0 || --countdown > 0)
        return false;
    failed = true;
    return true;
}

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_aligned_alloc(size_t align, size_t size)
{
    return fails() ? NULL : __real_aligned_alloc(align, size);
}

void *__wrap_mmap(void *at, size_t size, int protect, int flags, int fd, off_t offset)
{
    if (fails()) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    return __real_mmap(at, size, protect, flags, fd, offset);
}

/* Of these only what takes memory. */
int __wrap_mprotect(void *at, size_t size, int protect)
{
    if (all_on_device)
        abort();
    if (protect != PROT_NONE && fails()) {
        errno = ENOMEM;
        return -1;
    }
    return __real_mprotect(at, size, protect);
}

int __wrap_madvise(void *at, size_t size, int advice)
{
    if (all_on_device)
        abort();
    if (advice == MADV_POPULATE_WRITE && fails()) {
        errno = ENOMEM;
        return -1;
    }
    return __real_madvise(at, size, advice);
}

/* ---- the model -------------------------------------------------------------------------------------- */

enum { MAX_LAYERS = 6, N_STEPS = 10000, N_SEQS = 4, N_CTX = 700, N_FILES = 4, N_OLD = 12, N_KEPT = 64 };
static const uint64_t ROOT = 0x5EED;

struct history {
    int32_t n;
    int32_t tokens[N_CTX];
};

struct member {
    struct kv_seq *s;
    struct history h;
    uint64_t seeds[N_CTX];    /* what its rows wrote: of the tokens, unless it was rough */
    int32_t since;            /* all from here on was appended since it last moved */
};

struct file {
    struct history h;
    unsigned char *bytes;
    size_t n_bytes;
};

struct saving {
    struct kv_image *image;
    struct file copy;    /* as it was when the image was taken */
};

struct walk {
    struct test *t;
    const char *name;
    struct kv_layer layers[MAX_LAYERS];
    int32_t n_layers, step;
    char at[96];    /* the step, for messages */
    bool failures, lean;    /* lean: the budget is never large */
    struct kv_fake_memory device;
    enum kv_fake_place place;
    struct kv_cache *kv;
    struct member seqs[N_SEQS];
    struct history old[N_OLD];
    struct file files[N_FILES];
    struct saving saving;
    struct history kept[N_KEPT];    /* anchored since the budget was last too small */
    int32_t n_kept;
    uint64_t taints;
    int64_t n_rough, n_found, n_failed, n_loaded;
};

static uint32_t below(struct walk *w, uint32_t n)
{
    return test_below(w->t, n);
}

static uint64_t seed_at(const int32_t *tokens, int32_t pos)
{
    uint64_t seed = ROOT;
    for (int32_t i = 0; i <= pos; i++)
        seed = kv_fake_seed(seed, tokens[i]);
    return seed;
}

/* Lets an allocation fail, or a call for the device. */
static void arm(struct walk *w)
{
    bool fail = w->failures && below(w, 3) == 0, device = fail && w->place != KV_FAKE_HOST && below(w, 2);
    failed = w->device.failed = false;
    countdown = fail && !device ? 1 + (int32_t)below(w, 6) : 0;
    w->device.fail_in = device ? 1 + (int32_t)below(w, 12) : 0;
}

static void disarm(struct walk *w)
{
    countdown = w->device.fail_in = 0;
}

/* Of the call since arm(). */
static enum err_code expected(const struct walk *w)
{
    return failed ? ERR_NOMEM : w->device.failed ? ERR_DEVICE : ERR_OK;
}

static struct kv_seq *new_seq(struct walk *w)
{
    struct kv_seq *s = NULL;
    struct err e;
    arm(w);
    enum err_code rc = kv_seq_create(&s, w->kv, N_CTX, &e);
    disarm(w);
    CHECK_INT(w->t, rc, expected(w), "%s", w->at);
    if (rc != ERR_OK)
        CHECK_INT(w->t, kv_seq_create(&s, w->kv, N_CTX, &e), ERR_OK);
    return s;
}

/* Three texts that all stem from; a token in a hundred is another. */
static int32_t next_token(struct walk *w, int32_t text, int32_t pos)
{
    if (below(w, 100) == 0)
        return (int32_t)below(w, 3);
    return (int32_t)(kv_fake_mix((uint64_t)text * 1000 + (uint64_t)pos) % 50);
}

static void remember(struct walk *w, const struct history *h)
{
    if (h->n > 0)
        w->old[below(w, N_OLD)] = *h;
}

static void keep(struct walk *w, const struct history *h)
{
    if (h->n > 0 && !w->failures)
        w->kept[w->n_kept < N_KEPT ? w->n_kept++ : (int32_t)below(w, N_KEPT)] = *h;
}

/* ---- what must hold after each step ----------------------------------------------------------------- */

static struct kv_block *after(const struct kv_block *root, struct kv_block *b)
{
    if (b->child)
        return b->child;
    while (b != root && !b->next)
        b = b->parent;
    return b == root ? NULL : b->next;
}

struct count {
    uint64_t used, cached;
    int32_t n_open, n_sealed, n_shared, n_cached;
};

static void count_block(struct walk *w, const struct kv_block *b, struct count *c)
{
    int32_t n_paths = 0, holds[KV_BUFS] = { 0 }, pins[KV_BUFS] = { 0 }, n_anchors = 0;
    bool open = false, sealed = false;
    for (const struct kv_path *p = w->kv->paths; p; p = p->next)
        if (b->page < p->n_pages && p->blocks[b->page] == b) {
            n_paths++;
            for (int k = 0; k < KV_BUFS; k++)
                holds[k] += p->masks[b->page] >> k & 1;
        }
    for (const struct kv_anchor *a = w->kv->oldest_anchor; a; a = a->newer) {
        const struct kv_block *up = a->block;
        struct kv_want want = kv_want_resume(a->n, KV_NOT_ROUGH);
        while (up->page > b->page)
            up = up->parent;
        if (up != b)
            continue;
        n_anchors++;
        if (b->page >= kv_want_low(&w->kv->shape, &want))
            for (int k = 0; k < KV_BUFS; k++)
                pins[k] += kv_mask(&w->kv->shape, &want, b->page) >> k & 1;
    }
    CHECK_INT(w->t, b->n_paths, n_paths, "%s, page %d", w->at, b->page);
    CHECK_INT(w->t, b->n_anchors, n_anchors, "%s, page %d", w->at, b->page);
    for (int k = 0; k < KV_BUFS; k++) {
        const struct kv_group *group = &w->kv->shape.groups[k / 2];
        size_t bytes = kv_cost(&w->kv->shape, k);
        CHECK_INT(w->t, b->n_holds[k], holds[k], "%s, page %d", w->at, b->page);
        CHECK_INT(w->t, b->n_pins[k], pins[k], "%s, page %d", w->at, b->page);
        CHECK(w->t, b->buf[k] || holds[k] + pins[k] == 0, "%s", w->at);
        if (!b->buf[k])
            continue;
        bool body = group->window == 0 && kv_body(group, b->page) == k % 2;
        body &= k % 2 == KV_OPEN || b->n_tokens == KV_PAGE;
        CHECK(w->t, holds[k] + pins[k] > 0 || body, "%s: nobody needs buffer %d of page %d", w->at, k,
              b->page);
        *(holds[k] > 0 ? &c->used : &c->cached) += bytes;
        open |= holds[k] > 0 && k % 2 == KV_OPEN;
        sealed |= holds[k] > 0 && k % 2 == KV_SEALED;
    }
    c->n_open += open;
    c->n_sealed += sealed;
    c->n_shared += n_paths > 0 && n_paths + n_anchors > 1;
    c->n_cached += n_paths == 0;
    CHECK(w->t, n_paths + n_anchors > 0 || b->child || b->spare, "%s: page %d is lost", w->at, b->page);
}

static void check_counts(struct walk *w)
{
    struct count c = { 0 };
    struct kv_stats stats;
    kv_cache_stats(w->kv, &stats);
    for (struct kv_block *b = after(&w->kv->root, &w->kv->root); b; b = after(&w->kv->root, b))
        count_block(w, b, &c);
    for (const struct kv_path *p = w->kv->paths; p; p = p->next)
        for (int32_t j = 0; j < p->n_pages; j++)
            if (!p->blocks[j]->linked)
                count_block(w, p->blocks[j], &c);
    CHECK_INT(w->t, stats.used_bytes, c.used, "%s", w->at);
    CHECK_INT(w->t, stats.cached_bytes, c.cached, "%s", w->at);
    CHECK_INT(w->t, stats.n_open, c.n_open, "%s", w->at);
    CHECK_INT(w->t, stats.n_sealed, c.n_sealed, "%s", w->at);
    CHECK_INT(w->t, stats.n_shared, c.n_shared, "%s", w->at);
    CHECK_INT(w->t, stats.n_cached, c.n_cached, "%s", w->at);
    CHECK(w->t, stats.cached_bytes <= stats.budget_bytes, "%s: %llu bytes of %llu", w->at,
          (unsigned long long)stats.cached_bytes, (unsigned long long)stats.budget_bytes);
}

static void check_seqs(struct walk *w)
{
    for (int32_t i = 0; i < N_SEQS; i++) {
        struct member *m = &w->seqs[i];
        CHECK_INT(w->t, kv_seq_held(m->s), m->h.n, "%s", w->at);
        CHECK_BYTES(w->t, kv_seq_tokens(m->s), m->h.tokens, (size_t)m->h.n * sizeof *m->h.tokens, "%s", w->at);
        CHECK_INT(w->t, kv_fake_check(m->s, w->layers, w->n_layers, m->h.n, m->h.n, m->seeds,
                                      kv_seq_rough(m->s)), -1,
                  "%s, sequence %d at %d", w->at, i, m->h.n);
    }
}

/* Places that were anchored are found, also by who knows more tokens than that. */
static void check_kept(struct walk *w)
{
    int32_t longer[N_SEQS];
    for (int32_t k = 0; k < N_SEQS; k++)
        longer[k] = kv_seq_find(w->seqs[0].s, w->seqs[k].h.tokens, w->seqs[k].h.n);
    for (int32_t i = 0; i < w->n_kept; i++) {
        const struct history *kept = &w->kept[i];
        CHECK_INT(w->t, kv_seq_find(w->seqs[0].s, kept->tokens, kept->n), kept->n, "%s", w->at);
        for (int32_t k = 0; k < N_SEQS; k++) {
            const struct history *h = &w->seqs[k].h;
            if (h->n >= kept->n && memcmp(h->tokens, kept->tokens, (size_t)kept->n * sizeof *h->tokens) == 0)
                CHECK(w->t, longer[k] >= kept->n, "%s: %d of %d found, an anchor at %d", w->at,
                      longer[k], h->n, kept->n);
        }
    }
}

/* ---- steps ------------------------------------------------------------------------------------------ */

static void step_append(struct walk *w, struct member *m, int32_t n)
{
    struct err e;
    struct kv_stats before, now;
    int32_t held = m->h.n, end, text = (int32_t)below(w, 3);
    end = held + n < N_CTX ? held + n : N_CTX;
    kv_cache_stats(w->kv, &before);
    arm(w);
    enum err_code rc = kv_seq_reserve(m->s, end, &e);
    disarm(w);
    CHECK_INT(w->t, rc, expected(w), "%s", w->at);
    if (rc != ERR_OK) {
        kv_cache_stats(w->kv, &now);
        CHECK_BYTES(w->t, &now, &before, sizeof now, "%s", w->at);
        w->n_failed++;
        return;
    }
    if (held > 0 && below(w, 4) > 0)
        text = m->h.tokens[0] % 3;
    for (int32_t pos = held; pos < end; pos++) {
        m->h.tokens[pos] = pos == 0 ? text : next_token(w, text, pos);
        m->seeds[pos] = kv_fake_seed(pos > 0 ? m->seeds[pos - 1] : ROOT, m->h.tokens[pos]);
        if (kv_seq_rough(m->s) && held == pos)
            m->seeds[pos] ^= ++w->taints << 20;
        kv_fake_row(m->s, w->layers, w->n_layers, pos, m->seeds[pos]);
    }
    if (end > held) {
        int32_t row = held + (int32_t)below(w, (uint32_t)(end - held));
        CHECK_INT(w->t, kv_fake_check(m->s, w->layers, w->n_layers, row, row + 1, m->seeds,
                                      kv_seq_rough(m->s)), -1,
                  "%s: row %d of a batch from %d to %d", w->at, row, held, end);
    }
    if (below(w, 10) == 0)
        return;    /* a batch that was cancelled */
    kv_seq_append(m->s, m->h.tokens + held, end - held);
    m->h.n = end;
}

/* After the sequence went to n of tokens: its seeds. */
static void moved(struct walk *w, struct member *m, const int32_t *tokens, int32_t n)
{
    CHECK_INT(w->t, kv_seq_held(m->s), n, "%s", w->at);
    for (int32_t j = 0; j < kv_pages(n); j++) {
        CHECK(w->t, m->s->path.blocks[j]->linked || kv_seq_rough(m->s), "%s", w->at);
        if (!m->s->path.blocks[j]->linked)
            continue;
        int32_t end = (j + 1) * KV_PAGE < n ? (j + 1) * KV_PAGE : n;
        uint64_t seed = j == 0 ? ROOT : seed_at(tokens, j * KV_PAGE - 1);
        for (int32_t pos = j * KV_PAGE; pos < end; pos++)
            m->seeds[pos] = seed = kv_fake_seed(seed, tokens[pos]);
    }
    memmove(m->h.tokens, tokens, (size_t)n * sizeof *tokens);
    m->h.n = n;
    m->since = n;
    w->n_rough += kv_seq_rough(m->s);
}

static void step_truncate(struct walk *w, struct member *m)
{
    int32_t held = m->h.n, since = m->since, last = held > 0 ? (held - 1) / KV_PAGE : 0;
    int32_t low = last > 0 ? (last - 1) * KV_PAGE : 0, least = below(w, 3) ? low : 0;
    int32_t n = least + (int32_t)below(w, (uint32_t)(held - least + 1));
    bool near = n >= low && n >= since && (!kv_seq_rough(m->s) || n > m->s->rough_at + KV_PAGE);
    remember(w, &m->h);
    int32_t got = kv_seq_truncate(m->s, n);
    CHECK(w->t, got <= n, "%s: %d of %d", w->at, got, n);
    if (near)
        CHECK_INT(w->t, got, n, "%s: held %d since %d", w->at, held, since);
    moved(w, m, m->h.tokens, got);
    if (near)
        m->since = since > low ? since : low;    /* what it had let go by then stays gone */
}

/* Tokens somebody had, perhaps with others behind. */
static void pick(struct walk *w, struct history *out)
{
    switch (below(w, 4)) {
    case 0: *out = w->old[below(w, N_OLD)]; break;
    case 1: *out = w->files[below(w, N_FILES)].h; break;
    default: *out = w->seqs[below(w, N_SEQS)].h; break;
    }
    if (out->n > 0 && below(w, 2))
        out->n = 1 + (int32_t)below(w, (uint32_t)out->n);
    for (int32_t extra = below(w, 2) ? (int32_t)below(w, 100) : 0; extra > 0 && out->n < N_CTX; extra--)
        out->tokens[out->n++] = (int32_t)below(w, 3);
}

static void step_match(struct walk *w, struct member *m)
{
    struct history want;
    pick(w, &want);
    remember(w, &m->h);
    if (!kv_seq_rough(m->s))
        keep(w, &m->h);
    int32_t found = kv_seq_find(m->s, want.tokens, want.n);
    arm(w);
    int32_t n = kv_seq_match(m->s, want.tokens, want.n);
    disarm(w);
    CHECK_INT(w->t, n, found, "%s", w->at);
    CHECK(w->t, n <= want.n, "%s", w->at);
    w->n_found += n > 0;
    moved(w, m, want.tokens, n);
}

static void step_recreate(struct walk *w, struct member *m)
{
    remember(w, &m->h);
    if (!kv_seq_rough(m->s))
        keep(w, &m->h);
    arm(w);
    kv_seq_destroy(m->s);
    disarm(w);
    *m = (struct member){ .s = new_seq(w) };
}

static void step_anchor(struct walk *w, struct member *m)
{
    if (!kv_seq_rough(m->s))
        keep(w, &m->h);
    arm(w);
    kv_seq_anchor(m->s);
    disarm(w);
}

static void copy_pieces(struct file *f, const struct kv_image *image)
{
    f->n_bytes = 0;
    for (int32_t i = 0; i < image->n_pieces; i++)
        f->n_bytes += image->pieces[i].n_bytes;
    f->bytes = malloc(f->n_bytes);
    unsigned char *at = f->bytes;
    for (int32_t i = 0; i < image->n_pieces; at += image->pieces[i++].n_bytes)
        memcpy(at, image->pieces[i].bytes, image->pieces[i].n_bytes);
    f->h.n = image->n_tokens;
    memcpy(f->h.tokens, image->tokens, (size_t)image->n_tokens * sizeof *image->tokens);
}

/* Takes an image and lets it be for a while, or ends the one there is: as it was, it becomes a file. */
static void step_save(struct walk *w, struct member *m)
{
    struct err e;
    if (w->saving.image) {
        struct file f, *to = &w->files[below(w, N_FILES)];
        copy_pieces(&f, w->saving.image);
        CHECK_INT(w->t, f.n_bytes, w->saving.copy.n_bytes, "%s", w->at);
        CHECK(w->t, memcmp(f.bytes, w->saving.copy.bytes, f.n_bytes) == 0, "%s: the image changed", w->at);
        kv_image_drop(w->saving.image);
        free(w->saving.copy.bytes);
        w->saving.image = NULL;
        free(to->bytes);
        *to = f;
        return;
    }
    arm(w);
    enum err_code rc = kv_image_of(&w->saving.image, m->s, &e);
    disarm(w);
    enum err_code want = kv_seq_rough(m->s) || m->h.n == 0 ? ERR_UNSUPPORTED : expected(w);
    CHECK_INT(w->t, rc, want, "%s", w->at);
    if (rc == ERR_OK)
        copy_pieces(&w->saving.copy, w->saving.image);
    else
        w->saving.image = NULL;
}

static void step_load(struct walk *w)
{
    struct file *f = &w->files[below(w, N_FILES)];
    struct kv_image *image;
    struct kv_stats before, now;
    struct err e;
    if (f->h.n == 0)
        return;
    kv_cache_stats(w->kv, &before);
    arm(w);
    enum err_code rc = kv_image_new(&image, w->kv, f->h.tokens, f->h.n, &e);
    disarm(w);
    CHECK_INT(w->t, rc, expected(w), "%s", w->at);
    if (rc != ERR_OK)
        return;
    unsigned char *at = f->bytes;
    for (int32_t i = 0; i < image->n_pieces; at += image->pieces[i++].n_bytes)
        memcpy(image->pieces[i].bytes, at, image->pieces[i].n_bytes);
    CHECK_INT(w->t, at - f->bytes, f->n_bytes, "%s", w->at);
    if (below(w, 8) == 0) {
        kv_image_drop(image);
        return;
    }
    arm(w);
    rc = kv_image_commit_take(image, &e);
    disarm(w);
    CHECK_INT(w->t, rc, expected(w), "%s", w->at);
    if (rc != ERR_OK) {
        kv_cache_stats(w->kv, &now);
        CHECK_BYTES(w->t, &now, &before, sizeof now, "%s", w->at);
        w->n_failed++;
        return;
    }
    keep(w, &f->h);
    w->n_loaded++;
}

static void step_budget(struct walk *w)
{
    static const uint64_t budgets[4] = { 0, 100 << 10, 1 << 20, 1 << 30 };
    int32_t which = w->lean ? (int32_t)below(w, 3) : below(w, 3) ? 3 : (int32_t)below(w, 4);
    if (which < 3)
        w->n_kept = 0;
    kv_cache_set_budget(w->kv, budgets[which]);
}

static void one_step(struct walk *w)
{
    struct member *m = &w->seqs[below(w, N_SEQS)];
    struct kv_stats stats;
    switch (below(w, 20)) {
    case 0: case 1: case 2: case 3: step_append(w, m, 1 + (int32_t)below(w, 4)); break;
    case 4: case 5: case 6: step_append(w, m, 1 + (int32_t)below(w, 70)); break;
    case 7: case 8: step_append(w, m, 1 + (int32_t)below(w, 400)); break;
    case 9: case 10: step_truncate(w, m); break;
    case 11: case 12: case 13: step_match(w, m); break;
    case 14: step_recreate(w, m); break;
    case 15: case 16: step_anchor(w, m); break;
    case 17: step_save(w, m); break;
    case 18: step_load(w); break;
    case 19: step_budget(w); break;
    }
    kv_cache_stats(w->kv, &stats);
    if (stats.budget_bytes < 1 << 30)
        w->n_kept = 0;
}

static const char *const places[KV_FAKE_PLACES] = { "", ", of a device", ", split" };

static void run_walk(struct test *t, const char *name, const struct kv_layer *layers, int32_t n_layers,
                     bool failures, bool lean, enum kv_fake_place place)
{
    struct walk *w = calloc(1, sizeof *w);
    struct err e;
    *w = (struct walk){ .t = t, .name = name, .n_layers = n_layers, .failures = failures, .lean = lean,
                        .place = place };
    all_on_device = place == KV_FAKE_DEVICE;
    kv_fake_memory_init(&w->device, 1 << 18);
    kv_fake_layers(w->layers, layers, n_layers, &w->device, place);
    CHECK_INT(t, kv_cache_create(&w->kv, w->layers, n_layers, 1 << 30, &e), ERR_OK);
    for (int32_t i = 0; i < N_SEQS; i++)
        w->seqs[i].s = new_seq(w);
    for (w->step = 0; w->step < N_STEPS; w->step++) {
        snprintf(w->at, sizeof w->at, "step %d of %s", w->step, name);
        one_step(w);
        check_seqs(w);
        if (w->step % 16 == 0) {
            check_counts(w);
            check_kept(w);
        }
    }
    for (int32_t i = 0; i < N_SEQS; i++)
        kv_seq_destroy(w->seqs[i].s);
    kv_image_drop(w->saving.image);
    if (w->saving.image)
        free(w->saving.copy.bytes);
    for (int32_t i = 0; i < N_FILES; i++)
        free(w->files[i].bytes);
    check_counts(w);
    kv_cache_destroy(w->kv);
    kv_fake_memory_finish(&w->device);
    printf("%s%s, seed %llu: %d steps, %lld matches found something, %lld moves ended rough, %lld images loaded, "
           "%lld calls failed\n", name, places[place], (unsigned long long)t->seed, N_STEPS,
           (long long)w->n_found, (long long)w->n_rough, (long long)w->n_loaded, (long long)w->n_failed);
    CHECK(t, w->n_found > 100 && w->n_loaded > 100, "the walk went nowhere");
    free(w);
}

#define PLAIN(type) { .k = type, .v = type, .n_head = 1, .d_head = 16 }
#define WINDOW(type, n) { .k = type, .v = type, .n_head = 1, .d_head = 16, .window = n }

static const struct kv_layer layers_f16[] = { PLAIN(KV_F16), PLAIN(KV_F16) };
static const struct kv_layer layers_kv4[] = { PLAIN(KV_KV4), PLAIN(KV_KV4) };
static const struct kv_layer layers_mixed[] = {
    WINDOW(KV_KV4, 128), WINDOW(KV_KV4, 128), WINDOW(KV_KV4, 128), WINDOW(KV_KV4, 128), WINDOW(KV_KV4, 128),
    PLAIN(KV_KV4),
};
static const struct kv_layer layers_mixed_f16[] = { WINDOW(KV_F16, 128), PLAIN(KV_F16), WINDOW(KV_F16, 100) };
static const struct kv_layer layers_narrow[] = { WINDOW(KV_Q8_0, 40), PLAIN(KV_Q8_0) };
static const struct kv_layer layers_window[] = { WINDOW(KV_KV3, 150), WINDOW(KV_KV4, 90) };
static const struct kv_layer layers_all[] = {
    PLAIN(KV_F16), PLAIN(KV_KV4), WINDOW(KV_F16, 130), WINDOW(KV_Q8_0, 70),
};

TEST_PLACES(kv_walk_f16)
{
    run_walk(t, "f16", layers_f16, 2, false, false, place);
}

TEST_PLACES(kv_walk_kv4)
{
    run_walk(t, "kv4", layers_kv4, 2, false, false, place);
}

TEST_PLACES(kv_walk_mixed_windows)
{
    run_walk(t, "kv4, 5 of 6 layers with a window", layers_mixed, 6, false, false, place);
}

TEST_PLACES(kv_walk_mixed_windows_f16)
{
    run_walk(t, "f16, 2 of 3 layers with a window", layers_mixed_f16, 3, false, false, place);
}

TEST_PLACES(kv_walk_window_smaller_than_a_page)
{
    run_walk(t, "q8_0, window 40", layers_narrow, 2, false, false, place);
}

TEST_PLACES(kv_walk_windows_alone)
{
    run_walk(t, "windows alone", layers_window, 2, false, false, place);
}

TEST_PLACES(kv_walk_every_kind_of_layer)
{
    run_walk(t, "every kind of layer", layers_all, 4, false, false, place);
}

TEST_PLACES(kv_walk_kv4_little_budget)
{
    run_walk(t, "kv4, little budget", layers_kv4, 2, false, true, place);
}

TEST_PLACES(kv_walk_mixed_windows_little_budget)
{
    run_walk(t, "kv4, 5 of 6 layers with a window, little budget", layers_mixed, 6, true, true, place);
}

TEST_PLACES(kv_walk_kv4_allocations_fail)
{
    run_walk(t, "kv4, allocations fail", layers_kv4, 2, true, false, place);
}

TEST_PLACES(kv_walk_every_kind_of_layer_allocations_fail)
{
    run_walk(t, "every kind of layer, allocations fail", layers_all, 4, true, false, place);
}
