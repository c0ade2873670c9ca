/* SPDX-License-Identifier: MIT */
/* Making the file. The threads take chunks of rows, one after the other through all tensors, and each reads its chunk,
 * converts it and writes it where it belongs; there is no order among them, since every row's place is known. What is in
 * memory is one chunk per thread.
 *
 * The source is read, not mapped, although it is mapped for its directory: a file that is cut while it is mapped kills
 * whoever looks at it, and pages of a mapping would have to be given back to keep the process small. */
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/pool.h"
#include "engine/level/level_file.h"
#include "engine/level/level_impl.h"
#include "engine/quant/f16.h"

/* The importance of a tensor's columns while chunks of it are at work: made by who takes the first, given back by who ends
 * the last. */
struct importance {
    float *values;      /* [n_mat][n_cols]; NULL: none */
    uint64_t n_left;    /* rows that are not done */
};

enum {
    CHUNK_WEIGHTS = 1 << 18,    /* some 50 ms of the slowest quantiser: how late a cancel may come */
    MAX_COLS = 1 << 26          /* a row has to fit in memory, as f32 */
};

struct chunk {
    int32_t tensor;
    uint64_t first_row, n_rows;
    const float *importance;    /* of the whole tensor */
};

struct making {
    struct level_plan *plan;
    struct level_job *job;
    struct level_progress *progress;
    struct level_file file;
    uint64_t source_bytes, weights, target_bytes;    /* of the largest chunk */
    pthread_mutex_t lock;
    struct chunk next;          /* under lock, with these: */
    struct importance *importance;    /* [n_tensors] */
    enum err_code rc;
    struct err err;
};

/* What a thread works with. */
struct bench {
    uint8_t *source, *target;
    float *weights;
};

static uint64_t rows_of(const struct gguf_tensor *t)
{
    return t->n_weights / t->ne[0];
}

static uint64_t chunk_rows(const struct gguf_tensor *t)
{
    uint64_t n = CHUNK_WEIGHTS / t->ne[0], n_rows = rows_of(t);
    n = n > 0 ? n : 1;
    return n < n_rows ? n : n_rows;
}

static void fail(struct making *k, enum err_code rc, const struct err *e)
{
    pthread_mutex_lock(&k->lock);
    if (k->rc == ERR_OK) {    /* the first counts */
        k->rc = rc;
        k->err = *e;
    }
    pthread_mutex_unlock(&k->lock);
}

/* Under lock, before the first chunk of a tensor. */
static enum err_code begin_tensor(struct making *k, int32_t i, struct err *e)
{
    const struct gguf_tensor *t = gguf_tensor_at(k->job->gguf, (uint32_t)i);
    const struct imatrix_entry *entry = level_importance(k->job, i);
    uint64_t n_mat = t->ne[2] * t->ne[3];
    k->importance[i].n_left = rows_of(t);
    enum err_code rc = level_source_changed(k->job, e);
    if (rc != ERR_OK || !entry || k->job->choices[i].type == t->type)
        return rc;
    k->importance[i].values = malloc(t->ne[0] * n_mat * sizeof(float));
    if (!k->importance[i].values)
        return err_set(e, ERR_NOMEM, "tensor '%s': no memory for its importance", t->name);
    return imatrix_importance(entry, (int32_t)t->ne[0], (int32_t)n_mat, k->importance[i].values, e);
}

static void end_chunk(struct making *k, const struct chunk *c)
{
    struct importance *importance = &k->importance[c->tensor];
    pthread_mutex_lock(&k->lock);
    importance->n_left -= c->n_rows;
    if (importance->n_left == 0) {
        free(importance->values);
        importance->values = NULL;
    }
    pthread_mutex_unlock(&k->lock);
}

/* False: there is nothing left to do, or no use in it. */
static bool take(struct making *k, struct chunk *out)
{
    struct err e;
    enum err_code rc = ERR_OK;
    pthread_mutex_lock(&k->lock);
    bool more = k->rc == ERR_OK && k->next.tensor < k->plan->n_tensors;
    if (more && atomic_load(&k->progress->cancel))
        rc = err_set(&e, ERR_CANCELLED, "cancelled");
    else if (more && k->next.first_row == 0)
        rc = begin_tensor(k, k->next.tensor, &e);
    if (rc != ERR_OK) {
        k->rc = rc;
        k->err = e;
        more = false;
    }
    if (more) {
        const struct gguf_tensor *t = gguf_tensor_at(k->job->gguf, (uint32_t)k->next.tensor);
        uint64_t left = rows_of(t) - k->next.first_row, n = chunk_rows(t);
        k->next.n_rows = n < left ? n : left;
        k->next.importance = k->importance[k->next.tensor].values;
        *out = k->next;
        k->next.first_row += k->next.n_rows;
        if (k->next.first_row == rows_of(t))
            k->next = (struct chunk){ .tensor = k->next.tensor + 1 };
    }
    pthread_mutex_unlock(&k->lock);
    return more;
}

static bool all_finite(const float *x, uint64_t n)
{
    uint32_t n_bad = 0;
    for (uint64_t i = 0; i < n; i++)
        n_bad |= (f32_bits(x[i]) & 0x7F800000) == 0x7F800000;
    return n_bad == 0;
}

enum err_code level_check_finite(const struct gguf_tensor *t, uint64_t first_row, const float *x, uint64_t n,
                                 struct err *e)
{
    uint64_t i = 0;
    if (all_finite(x, n))
        return ERR_OK;
    while (isfinite(x[i]))
        i++;
    return err_set(e, ERR_FORMAT, "tensor '%s': row %llu column %llu is %g, a finite weight wanted", t->name,
                   (unsigned long long)(first_row + i / t->ne[0]), (unsigned long long)(i % t->ne[0]), (double)x[i]);
}

static enum err_code convert(const struct making *k, const struct bench *b, const struct chunk *c, struct err *e)
{
    const struct gguf_tensor *t = gguf_tensor_at(k->job->gguf, (uint32_t)c->tensor);
    uint32_t type = k->job->choices[c->tensor].type;
    const struct quant_format *from = quant_format(t->type), *to = quant_format(type);
    uint64_t n_bytes = c->n_rows * t->row_bytes, row_bytes = quant_row_bytes(type, t->ne[0]);
    enum err_code rc = level_read(k->job, t->offset + c->first_row * t->row_bytes, b->source, n_bytes, e);
    if (rc == ERR_OK && from->to_f32) {
        from->to_f32(b->weights, b->source, (int64_t)(c->n_rows * t->ne[0]));
        rc = level_check_finite(t, c->first_row, b->weights, c->n_rows * t->ne[0], e);
    }
    if (rc != ERR_OK)
        return rc;
    const uint8_t *bytes = b->source;
    if (type != t->type) {
        for (uint64_t row = 0; row < c->n_rows; row++) {
            const float *importance = c->importance ? c->importance + (c->first_row + row) / t->ne[1] * t->ne[0] : NULL;
            to->from_f32(b->target + row * row_bytes, b->weights + row * t->ne[0], (int64_t)t->ne[0], importance);
        }
        bytes = b->target;
    }
    rc = level_file_write(&k->file, k->job->offsets[c->tensor] + c->first_row * row_bytes, bytes, c->n_rows * row_bytes,
                          e);
    atomic_fetch_add(&k->progress->done_bytes, n_bytes);
    return rc;
}

static void work(void *arg, int32_t thread, int32_t n_threads)
{
    (void)thread;
    (void)n_threads;
    struct making *k = arg;
    struct err e;
    struct chunk c;
    struct bench b = { malloc(k->source_bytes), malloc(k->target_bytes), malloc(k->weights * sizeof *b.weights) };
    enum err_code rc = b.source && b.target && b.weights
                           ? ERR_OK : err_set(&e, ERR_NOMEM, "no memory for rows of %llu weights",
                                              (unsigned long long)k->weights);
    while (rc == ERR_OK && take(k, &c)) {
        rc = convert(k, &b, &c, &e);
        end_chunk(k, &c);
    }
    if (rc != ERR_OK)
        fail(k, rc, &e);
    free(b.source);
    free(b.target);
    free(b.weights);
}

/* Of the largest chunk. */
static enum err_code size_chunks(struct making *k, struct err *e)
{
    for (int32_t i = 0; i < k->plan->n_tensors; i++) {
        const struct gguf_tensor *t = gguf_tensor_at(k->job->gguf, (uint32_t)i);
        uint64_t n = chunk_rows(t), n_bytes = n * quant_row_bytes(k->job->choices[i].type, t->ne[0]);
        if (t->ne[0] > MAX_COLS)
            return err_set(e, ERR_UNSUPPORTED, "tensor '%s': rows of %llu weights, at most %d allowed", t->name,
                           (unsigned long long)t->ne[0], MAX_COLS);
        k->weights = n * t->ne[0] > k->weights ? n * t->ne[0] : k->weights;
        k->source_bytes = n * t->row_bytes > k->source_bytes ? n * t->row_bytes : k->source_bytes;
        k->target_bytes = n_bytes > k->target_bytes ? n_bytes : k->target_bytes;
    }
    return ERR_OK;
}

static enum err_code run(struct making *k, struct err *e)
{
    struct pool *pool = NULL;
    k->importance = calloc((size_t)k->plan->n_tensors + 1, sizeof *k->importance);
    enum err_code rc = k->importance ? pool_create(&pool, k->job->n_threads, e)
                                     : err_set(e, ERR_NOMEM, "no memory for %d tensors", k->plan->n_tensors);
    if (rc == ERR_OK) {
        pool_run(pool, work, k);
        pool_destroy(pool);
        rc = k->rc;
        if (rc != ERR_OK)
            *e = k->err;
        for (int32_t i = 0; i < k->plan->n_tensors; i++)
            free(k->importance[i].values);
    }
    free(k->importance);
    return rc;
}

static bool is_source(const struct level_job *job, const char *target)
{
    struct stat st;
    return stat(target, &st) == 0 && st.st_dev == job->st.st_dev && st.st_ino == job->st.st_ino;
}

enum err_code level_make(struct level_plan *p, const char *target, struct level_progress *progress, struct err *e)
{
    struct making k = { .plan = p, .job = p->job, .progress = progress, .file.fd = -1 };
    if (p->problem[0])
        return err_set(e, ERR_UNSUPPORTED, "%s: %s", p->job->path, p->problem);
    if (is_source(p->job, target))
        return err_set(e, ERR_IO, "%s: the source itself, another file wanted", target);
    atomic_store(&progress->done_bytes, 0);
    atomic_store(&progress->total_bytes, p->from_bytes);
    atomic_store(&progress->stage, LEVEL_WRITING);
    enum err_code rc = size_chunks(&k, e);
    if (rc == ERR_OK)
        rc = level_file_create(&k.file, target, p->file_bytes, p->job->replace, e);
    if (rc != ERR_OK)
        return rc;
    pthread_mutex_init(&k.lock, NULL);
    rc = level_file_write(&k.file, 0, p->job->head.data, p->job->head.n_bytes, e);
    if (rc == ERR_OK)
        rc = run(&k, e);
    if (rc == ERR_OK)
        rc = level_source_changed(p->job, e);
    atomic_store(&progress->stage, LEVEL_SYNCING);
    if (rc == ERR_OK)
        rc = level_file_commit(&k.file, e);
    level_file_close(&k.file);
    pthread_mutex_destroy(&k.lock);
    return rc;
}
