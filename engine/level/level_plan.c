/* SPDX-License-Identifier: MIT */
#include "engine/level/level.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "engine/base/cpuid.h"
#include "engine/base/pool.h"
#include "engine/base/size.h"
#include "engine/gguf/gguf_writer.h"
#include "engine/level/allocate.h"
#include "engine/level/level_impl.h"

enum { MAX_TENSOR_TYPES = 64, QUANTIZATION_VERSION = 2 };

const char *level_name(int32_t i)
{
    return i >= 0 && i < RECIPE_N_LEVELS ? recipe_at((enum recipe_level)i)->name : NULL;
}

/* ---- options -------------------------------------------------------------------------------------- */

/* "Q8_0, Q6_K ...": what can be made. */
static void list_types(char *out, size_t n_bytes)
{
    size_t used = 0;
    out[0] = '\0';
    for (uint32_t type = 0; type < QUANT_N_TYPES; type++) {
        const struct quant_format *f = quant_format(type);
        if (f && f->from_f32 && used < n_bytes)
            used += (size_t)snprintf(out + used, n_bytes - used, "%s%s", used ? " " : "", f->name);
    }
}

static enum err_code find_type(const char *name, uint32_t *out, struct err *e)
{
    char types[256];
    for (uint32_t type = 0; type < QUANT_N_TYPES; type++) {
        const struct quant_format *f = quant_format(type);
        if (f && f->from_f32 && strcasecmp(f->name, name) == 0) {
            *out = type;
            return ERR_OK;
        }
    }
    list_types(types, sizeof types);
    return err_set(e, ERR_UNSUPPORTED, "'%s': not a type that can be made, one of these wanted: %s", name, types);
}

static enum err_code find_level(const char *name, const struct recipe **out, struct err *e)
{
    *out = recipe_find(name);
    if (*out)
        return ERR_OK;
    char names[256];
    size_t used = 0;
    for (int32_t i = 0; level_name(i) && used < sizeof names; i++)
        used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", i ? " " : "", level_name(i));
    return err_set(e, ERR_UNSUPPORTED, "'%s': not a level that can be made, one of these wanted: %s", name, names);
}

static enum err_code parse_override(struct level_job *job, const char *text, struct recipe_override *out, struct err *e)
{
    const char *equals = strrchr(text, '=');
    if (!equals || equals == text)
        return err_set(e, ERR_FORMAT, "'%s': PATTERN=TYPE wanted", text);
    out->pattern = arena_copy(&job->arena, text, (size_t)(equals - text));
    if (!out->pattern)
        return err_set(e, ERR_NOMEM, "no memory for the pattern '%s'", text);
    return find_type(equals + 1, &out->type, e);
}

static enum err_code open_imatrix(struct level_job *job, const char *path, struct err *e)
{
    job->imatrix_path = arena_copy(&job->arena, path, strlen(path));
    if (!job->imatrix_path)
        return err_set(e, ERR_NOMEM, "%s: no memory", path);
    return imatrix_open(&job->imatrix, path, e);
}

static enum err_code parse_options(struct level_job *job, const struct level_options *o, struct recipe_options *out,
                                   struct recipe_override *overrides, struct err *e)
{
    *out = (struct recipe_options){ .pure = o->pure, .output_type = RECIPE_NO_TYPE, .embedding_type = RECIPE_NO_TYPE,
                                    .overrides = overrides, .n_overrides = o->n_tensor_types };
    if (o->n_tensor_types > MAX_TENSOR_TYPES)
        return err_set(e, ERR_UNSUPPORTED, "%d types by pattern, at most %d allowed", o->n_tensor_types, MAX_TENSOR_TYPES);
    if (o->n_threads < 0 || o->n_threads > POOL_MAX_THREADS)
        return err_set(e, ERR_UNSUPPORTED, "%d threads, at most %d allowed", o->n_threads, POOL_MAX_THREADS);
    int32_t cores = cpuid_cores() < POOL_MAX_THREADS ? cpuid_cores() : POOL_MAX_THREADS;
    job->n_threads = o->n_threads > 0 ? o->n_threads : cores;
    job->replace = o->replace;
    job->is_mixed = o->target_bytes > 0 || o->target_bits > 0;
    if (job->is_mixed == (o->level != NULL))
        return err_set(e, ERR_FORMAT, "%s, one of the two wanted",
                       job->is_mixed ? "a level and a target" : "neither a level nor a target");
    enum err_code rc = find_level(job->is_mixed ? "Q8_0" : o->level, &job->recipe, e);
    if (rc == ERR_OK && o->output_type)
        rc = find_type(o->output_type, &out->output_type, e);
    if (rc == ERR_OK && o->embedding_type)
        rc = find_type(o->embedding_type, &out->embedding_type, e);
    for (int32_t i = 0; rc == ERR_OK && i < o->n_tensor_types; i++)
        rc = parse_override(job, o->tensor_types[i], &overrides[i], e);
    if (rc == ERR_OK && o->imatrix)
        rc = open_imatrix(job, o->imatrix, e);
    out->has_imatrix = job->imatrix;
    out->recipe = job->recipe;
    return rc;
}

/* ---- the source ----------------------------------------------------------------------------------- */

static bool same_state(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

enum err_code level_source_changed(const struct level_job *job, struct err *e)
{
    struct stat here, there;
    if (fstat(job->fd, &here) != 0 || stat(job->path, &there) != 0)
        return err_set(e, ERR_IO, "%s: %s", job->path, strerror(errno));
    if (!same_state(&here, &job->st))
        return err_set(e, ERR_IO, "%s: changed while it was read: %lld bytes, %lld when it was opened", job->path,
                       (long long)here.st_size, (long long)job->st.st_size);
    if (!same_state(&there, &job->st))
        return err_set(e, ERR_IO, "%s: another file has taken its place while it was read", job->path);
    return ERR_OK;
}

enum err_code level_read(const struct level_job *job, uint64_t offset, void *out, uint64_t n_bytes, struct err *e)
{
    uint8_t *p = out;
    while (n_bytes > 0) {
        ssize_t n = pread(job->fd, p, n_bytes < 1u << 30 ? (size_t)n_bytes : 1u << 30, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set(e, ERR_IO, "%s: %s", job->path, strerror(errno));
        if (n == 0)
            return err_set(e, ERR_IO, "%s: cut while it was read: it ends at byte %llu", job->path,
                           (unsigned long long)offset);
        p += n;
        offset += (uint64_t)n;
        n_bytes -= (uint64_t)n;
    }
    return ERR_OK;
}

static enum err_code open_source(struct level_job *job, const char *path, struct err *e)
{
    job->path = arena_copy(&job->arena, path, strlen(path));
    if (!job->path)
        return err_set(e, ERR_NOMEM, "%s: no memory", path);
    job->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (job->fd < 0 || fstat(job->fd, &job->st) != 0)
        return err_set(e, ERR_IO, "%s: %s", path, strerror(errno));
    enum err_code rc = gguf_open(&job->gguf, path, e);
    return rc == ERR_OK ? level_source_changed(job, e) : rc;    /* one file by both ways */
}

/* ---- choosing ------------------------------------------------------------------------------------- */

static enum err_code choose(struct level_job *job, const struct recipe_options *o, struct err *e)
{
    struct recipe_model model;
    int32_t n = (int32_t)gguf_n_tensors(job->gguf);
    struct recipe_tensor *tensors = calloc((size_t)n + 1, sizeof *tensors);
    job->choices = arena_alloc(&job->arena, (size_t)n + 1, sizeof *job->choices);
    enum err_code rc = tensors && job->choices ? recipe_model_read(&model, job->gguf, e)
                                               : err_set(e, ERR_NOMEM, "no memory for %d tensors", n);
    for (int32_t i = 0; rc == ERR_OK && i < n; i++) {
        const struct gguf_tensor *t = gguf_tensor_at(job->gguf, (uint32_t)i);
        tensors[i] = (struct recipe_tensor){ .name = t->name, .n_dims = t->n_dims, .type = t->type };
        memcpy(tensors[i].ne, t->ne, sizeof t->ne);
    }
    if (rc == ERR_OK)
        rc = recipe_choose(&model, tensors, n, o, job->choices, e);
    free(tensors);
    return rc;
}

static bool is_quantised(uint32_t type)
{
    return type != QUANT_F32 && type != QUANT_F16 && type != QUANT_BF16;
}

const struct imatrix_entry *level_importance(const struct level_job *job, int32_t tensor)
{
    return job->imatrix ? imatrix_find(job->imatrix, gguf_tensor_at(job->gguf, (uint32_t)tensor)->name) : NULL;
}

/* Whether the importance matrix is of a model of another shape. Of an embedding it is of no use and lets that pass. */
static bool is_misfit(const struct level_job *job, int32_t i)
{
    const struct gguf_tensor *t = gguf_tensor_at(job->gguf, (uint32_t)i);
    const struct imatrix_entry *entry = level_importance(job, i);
    return entry && (uint64_t)entry->n_cols * (uint64_t)entry->n_mat != t->ne[0] * t->ne[2] * t->ne[3];
}

/* The first reason not to make the file; "": there is none. NULL: no memory. */
static const char *find_problem(struct level_job *job, bool allow_requantize)
{
    char text[256] = "";
    for (uint32_t i = 0; i < gguf_n_tensors(job->gguf) && !text[0]; i++) {
        const struct gguf_tensor *t = gguf_tensor_at(job->gguf, i);
        const struct recipe_choice *c = &job->choices[i];
        const struct quant_format *from = quant_format(t->type), *to = quant_format(c->type);
        if (c->type == t->type)
            continue;
        if (!from->to_f32)
            snprintf(text, sizeof text, "tensor '%s': %s, of which nothing can be made", t->name, from->name);
        else if (!to->from_f32)
            snprintf(text, sizeof text, "tensor '%s': %s wanted, which cannot be made", t->name, to->name);
        else if (is_quantised(t->type) && !allow_requantize)
            snprintf(text, sizeof text, "tensor '%s': %s already, F32, F16 or BF16 wanted: what that lost stays lost, and "
                     "%s of it has to be allowed", t->name, from->name, to->name);
        else if (is_misfit(job, (int32_t)i))
            snprintf(text, sizeof text, "tensor '%s': the importance matrix is of another model: %d values, %llu columns",
                     t->name, level_importance(job, (int32_t)i)->n_cols * level_importance(job, (int32_t)i)->n_mat,
                     (unsigned long long)(t->ne[0] * t->ne[2] * t->ne[3]));
        else if (c->needs_imatrix && !level_importance(job, (int32_t)i))
            snprintf(text, sizeof text, "tensor '%s': %s is too coarse at the level %s without an importance matrix",
                     t->name, to->name, job->recipe->name);
    }
    return arena_copy(&job->arena, text, strlen(text));
}

static enum err_code fill_tensor(struct level_plan *p, int32_t i, struct err *e)
{
    const struct gguf_tensor *t = gguf_tensor_at(p->job->gguf, (uint32_t)i);
    const struct recipe_choice *c = &p->job->choices[i];
    struct level_tensor *out = &p->tensors[i];
    *out = (struct level_tensor){ .name = t->name, .n_dims = t->n_dims, .from = quant_format(t->type)->name,
                                  .to = quant_format(c->type)->name, .from_bytes = t->n_bytes };
    memcpy(out->ne, t->ne, sizeof out->ne);
    p->is_requantised = p->is_requantised || (c->type != t->type && is_quantised(t->type));
    if (c->wanted != c->type) {
        out->wanted = quant_format(c->wanted)->name;
        p->n_fallback++;
    }
    if (!size_mul(quant_row_bytes(c->type, t->ne[0]), t->n_weights / t->ne[0], &out->n_bytes) ||
        !size_add(p->n_bytes, out->n_bytes, &p->n_bytes))
        return err_set(e, ERR_FORMAT, "tensor '%s': %s would have more than 2^64 bytes", t->name, out->to);
    p->from_bytes += t->n_bytes;
    p->n_weights += t->n_weights;
    return ERR_OK;
}

/* ---- the head of the target ----------------------------------------------------------------------- */

static void write_imatrix_keys(const struct level_job *job, struct gguf_writer *w)
{
    const struct imatrix *m = job->imatrix;
    gguf_writer_text(w, "quantize.imatrix.file", job->imatrix_path);
    if (m->n_datasets > 0)
        gguf_writer_text(w, "quantize.imatrix.dataset", m->datasets[0]);
    gguf_writer_u32(w, "quantize.imatrix.entries_count", (uint32_t)m->n_entries);
    if (m->n_chunks > 0)
        gguf_writer_u32(w, "quantize.imatrix.chunks_count", m->n_chunks);
}

/* Whether a key of the source is written anew. */
static bool is_replaced(const struct level_job *job, const char *key)
{
    return strcmp(key, "general.file_type") == 0 || strcmp(key, "general.quantization_version") == 0 ||
           (job->imatrix && strncmp(key, "quantize.imatrix.", 17) == 0);
}

/* The keys of the source in their order; those that say how it is quantised get what is true of the target. */
static void write_keys(const struct level_job *job, struct gguf_writer *w)
{
    struct gguf_info info;
    gguf_info(job->gguf, &info);
    for (uint32_t i = 0; i < gguf_n_keys(job->gguf); i++) {
        const struct gguf_kv *kv = gguf_kv_at(job->gguf, i);
        if (is_replaced(job, kv->key))
            continue;
        if (strcmp(kv->key, "general.alignment") == 0)
            gguf_writer_alignment(w, info.alignment);
        else
            gguf_writer_copy(w, kv);
    }
    gguf_writer_u32(w, "general.quantization_version", QUANTIZATION_VERSION);
    if (!job->is_mixed)
        gguf_writer_u32(w, "general.file_type", job->recipe->file_type);
    if (job->imatrix)
        write_imatrix_keys(job, w);
}

static enum err_code lay_out(struct level_plan *p, struct err *e)
{
    struct level_job *job = p->job;
    struct gguf_info info;
    gguf_info(job->gguf, &info);
    struct gguf_writer *w = gguf_writer_create();
    job->offsets = arena_alloc(&job->arena, (size_t)p->n_tensors + 1, sizeof *job->offsets);
    if (!w || !job->offsets) {
        gguf_writer_destroy(w);
        return err_set(e, ERR_NOMEM, "no memory for %d tensors", p->n_tensors);
    }
    write_keys(job, w);
    for (int32_t i = 0; i < p->n_tensors; i++) {
        const struct level_tensor *t = &p->tensors[i];
        gguf_writer_tensor(w, t->name, job->choices[i].type, t->n_dims, t->ne, NULL);
    }
    enum err_code rc = gguf_writer_head(w, &job->head, e);
    gguf_writer_destroy(w);
    uint64_t offset = job->head.n_bytes;
    for (int32_t i = 0; rc == ERR_OK && i < p->n_tensors; i++) {
        job->offsets[i] = offset;
        if (!size_add(offset, p->tensors[i].n_bytes, &offset) || !size_round_up(offset, info.alignment, &offset))
            rc = err_set(e, ERR_FORMAT, "a file of more than 2^64 bytes");
    }
    p->file_bytes = offset;
    return rc;
}

/* ---- the plan ------------------------------------------------------------------------------------- */

static enum err_code fill(struct level_plan *p, bool allow_requantize, struct err *e)
{
    struct level_job *job = p->job;
    enum err_code rc = ERR_OK;
    *p = (struct level_plan){ .job = job, .level = job->is_mixed ? "mixed" : job->recipe->name };
    p->n_tensors = (int32_t)gguf_n_tensors(job->gguf);
    p->tensors = arena_alloc(&job->arena, (size_t)p->n_tensors + 1, sizeof *p->tensors);
    p->problem = find_problem(job, allow_requantize);
    if (!p->tensors || !p->problem)
        return err_set(e, ERR_NOMEM, "no memory for %d tensors", p->n_tensors);
    for (int32_t i = 0; rc == ERR_OK && i < p->n_tensors; i++)
        rc = fill_tensor(p, i, e);
    if (rc != ERR_OK)
        return rc;
    p->from_bits = p->n_weights ? 8.0 * (double)p->from_bytes / (double)p->n_weights : 0;
    p->bits = p->n_weights ? 8.0 * (double)p->n_bytes / (double)p->n_weights : 0;
    return lay_out(p, e);
}

/* The types for a target, in place of those chosen before. The head, which takes part of it, is as long with any types. */
static enum err_code aim(struct level_plan *p, const struct level_options *o, struct level_progress *progress,
                         struct err *e)
{
    struct level_job *job = p->job;
    struct level_progress nobody = { 0 };
    uint64_t budget = o->target_bytes > job->head.n_bytes ? o->target_bytes - job->head.n_bytes : 0;
    if (o->target_bits > 0)
        budget = (uint64_t)(o->target_bits / 8 * (double)p->n_weights);
    bool *is_open = calloc((size_t)p->n_tensors + 1, sizeof *is_open);
    if (!is_open)
        return err_set(e, ERR_NOMEM, "no memory for %d tensors", p->n_tensors);
    for (int32_t i = 0; i < p->n_tensors; i++) {
        uint32_t type = gguf_tensor_at(job->gguf, (uint32_t)i)->type;
        is_open[i] = !job->choices[i].is_kept && !job->choices[i].is_said && quant_format(type)->to_f32;
    }
    enum err_code rc = allocate_types(job, is_open, budget, progress ? progress : &nobody, e);
    free(is_open);
    return rc == ERR_OK ? fill(p, o->allow_requantize, e) : rc;
}

enum err_code level_plan(struct level_plan *out, const char *source, const struct level_options *o,
                         struct level_progress *progress, struct err *e)
{
    memset(out, 0, sizeof *out);
    struct level_plan p = { .job = calloc(1, sizeof *p.job) };
    if (!p.job)
        return err_set(e, ERR_NOMEM, "%s: no memory", source);
    p.job->fd = -1;
    struct recipe_options options;
    struct recipe_override overrides[MAX_TENSOR_TYPES];
    enum err_code rc = parse_options(p.job, o, &options, overrides, e);
    if (rc == ERR_OK)
        rc = open_source(p.job, source, e);
    if (rc == ERR_OK) {
        rc = choose(p.job, &options, e);
        if (rc == ERR_OK)
            rc = fill(&p, o->allow_requantize, e);
        if (rc == ERR_OK && p.job->is_mixed)
            rc = aim(&p, o, progress, e);
        if (rc != ERR_OK)
            err_prefix(e, "%s", source);
    }
    if (rc != ERR_OK)
        level_plan_finish(&p);
    *out = p;
    return rc;
}

void level_plan_finish(struct level_plan *p)
{
    struct level_job *job = p->job;
    if (job) {
        gguf_close(job->gguf);
        imatrix_destroy(job->imatrix);
        if (job->fd >= 0)
            close(job->fd);
        buf_finish(&job->head);
        arena_finish(&job->arena);
        free(job);
    }
    memset(p, 0, sizeof *p);
}
