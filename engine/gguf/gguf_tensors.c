/* SPDX-License-Identifier: MIT */
/* The tensor directory: what a tensor is called, its shape and type, and where its bytes are. All that a
 * kernel will later rely on (whole blocks in a row, bytes within the file, no two tensors sharing bytes)
 * is settled here. Tensors may stand in any order and with gaps between them. */
#include "engine/gguf/gguf_file.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/size.h"

static enum err_code tensor_error(const struct gguf_tensor *t, struct err *e, enum err_code code,
                                  const char *format, ...) __attribute__((format(printf, 4, 5)));

static enum err_code tensor_error(const struct gguf_tensor *t, struct err *e, enum err_code code,
                                  const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    struct gguf_shown shown;
    return err_set(e, code, "tensor '%s': %s", gguf_shown(&shown, t->name, strlen(t->name)), text);
}

static enum err_code read_shape(struct gguf_cursor *c, struct gguf_tensor *t, struct err *e)
{
    uint32_t n_dims;
    if (!gguf_read_u32(c, &n_dims))
        return tensor_error(t, e, ERR_FORMAT, "the file ends in its entry");
    if (n_dims < 1 || n_dims > GGUF_MAX_DIMS)
        return tensor_error(t, e, ERR_FORMAT, "%u dimensions, 1 to %d allowed", n_dims, GGUF_MAX_DIMS);
    t->n_dims = (int32_t)n_dims;
    t->n_weights = 1;
    for (uint32_t i = 0; i < GGUF_MAX_DIMS; i++) {
        t->ne[i] = 1;
        if (i >= n_dims)
            continue;
        if (!gguf_read_u64(c, &t->ne[i]))
            return tensor_error(t, e, ERR_FORMAT, "the file ends in its entry");
        if (t->ne[i] < 1 || t->ne[i] > INT32_MAX)
            return tensor_error(t, e, ERR_FORMAT, "dimension %u is %" PRIu64 ", 1 to %d allowed", i + 1,
                                t->ne[i], INT32_MAX);
        if (!size_mul(t->n_weights, t->ne[i], &t->n_weights) || t->n_weights > INT64_MAX)
            return tensor_error(t, e, ERR_FORMAT, "more weights than 2^63 - 1");
    }
    return ERR_OK;
}

static enum err_code check_type(struct gguf_tensor *t, struct err *e)
{
    const struct gguf_tensor_type *type = gguf_tensor_type(t->type);
    if (!type) {
        const char *foreign = gguf_foreign_type(t->type);
        if (foreign)
            return tensor_error(t, e, ERR_UNSUPPORTED, "type %u (%s), a type of GGUF wanted", t->type, foreign);
        return tensor_error(t, e, ERR_FORMAT, "type %u, which GGUF does not define", t->type);
    }
    if (t->ne[0] % type->block_weights != 0)
        return tensor_error(t, e, ERR_FORMAT, "rows of %" PRIu64 " weights, a multiple of %u wanted for %s",
                            t->ne[0], type->block_weights, type->name);
    t->row_bytes = t->ne[0] / type->block_weights * type->block_bytes;    /* ne[0] < 2^31 */
    if (!size_mul(t->n_weights / t->ne[0], t->row_bytes, &t->n_bytes))
        return tensor_error(t, e, ERR_FORMAT, "more bytes than 2^64 - 1");
    return ERR_OK;
}

/* Leaves t->offset as the file has it: from the start of the data. */
static enum err_code read_entry(struct gguf *g, struct gguf_cursor *c, uint32_t i, struct err *e)
{
    struct gguf_tensor *t = &g->tensors[i];
    char what[48];
    snprintf(what, sizeof what, "tensor %u of %u", i + 1, g->n_tensors);
    enum err_code rc = gguf_read_name(g, c, GGUF_MAX_TENSOR_NAME_BYTES, what, &t->name, e);
    if (rc != ERR_OK)
        return rc;
    switch (gguf_names_add(&g->tensor_names, t->name, i)) {
    case GGUF_NAMES_ADDED: break;
    case GGUF_NAMES_DUPLICATE:
        return tensor_error(t, e, ERR_FORMAT, "stands in the file twice, once allowed");
    case GGUF_NAMES_CROWDED:
        return tensor_error(t, e, ERR_FORMAT, "one of too many names made to collide");
    }
    rc = read_shape(c, t, e);
    if (rc != ERR_OK)
        return rc;
    if (!gguf_read_u32(c, &t->type) || !gguf_read_u64(c, &t->offset))
        return tensor_error(t, e, ERR_FORMAT, "the file ends in its entry");
    return check_type(t, e);
}

static enum err_code place(struct gguf *g, struct gguf_tensor *t, struct err *e)
{
    if (t->offset % g->info.alignment != 0)
        return tensor_error(t, e, ERR_FORMAT, "offset %" PRIu64 ", a multiple of %u wanted", t->offset,
                            g->info.alignment);
    uint64_t start, end;
    if (!size_add(g->info.data_offset, t->offset, &start) || !size_add(start, t->n_bytes, &end) ||
        end > g->n_bytes)
        return tensor_error(t, e, ERR_FORMAT, "%" PRIu64 " bytes at %" PRIu64 " + %" PRIu64
                            " reach beyond the file's %" PRIu64 " bytes", t->n_bytes,
                            g->info.data_offset, t->offset, g->n_bytes);
    t->offset = start;
    t->data = g->bytes + start;
    g->info.tensor_bytes += t->n_bytes;    /* no overlap, checked next: at most the file's size */
    g->info.n_weights += t->n_weights;
    return ERR_OK;
}

static int by_offset(const void *a, const void *b)
{
    const struct gguf_tensor *x = *(const struct gguf_tensor *const *)a;
    const struct gguf_tensor *y = *(const struct gguf_tensor *const *)b;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

static enum err_code check_overlap(struct gguf *g, struct err *e)
{
    const struct gguf_tensor **sorted = calloc(g->n_tensors, sizeof *sorted);
    if (!sorted)
        return err_set(e, ERR_NOMEM, "no memory to order %u tensors", g->n_tensors);
    bool in_order = true;
    for (uint32_t i = 0; i < g->n_tensors; i++) {
        sorted[i] = &g->tensors[i];
        in_order &= i == 0 || sorted[i - 1]->offset <= sorted[i]->offset;
    }
    if (!in_order)
        qsort(sorted, g->n_tensors, sizeof *sorted, by_offset);
    enum err_code rc = ERR_OK;
    for (uint32_t i = 1; i < g->n_tensors && rc == ERR_OK; i++) {
        const struct gguf_tensor *before = sorted[i - 1], *t = sorted[i];
        struct gguf_shown shown;
        if (t->offset - before->offset < before->n_bytes)
            rc = tensor_error(t, e, ERR_FORMAT, "shares bytes with tensor '%s', own bytes wanted",
                              gguf_shown(&shown, before->name, strlen(before->name)));
    }
    free(sorted);
    return rc;
}

enum err_code gguf_read_tensors(struct gguf *g, struct gguf_cursor *c, struct err *e)
{
    g->tensors = arena_alloc(&g->arena, g->n_tensors, sizeof *g->tensors);
    if (!g->tensors || !gguf_names_init(&g->tensor_names, &g->arena, g->n_tensors))
        return err_set(e, ERR_NOMEM, "no memory for %u tensors", g->n_tensors);
    for (uint32_t i = 0; i < g->n_tensors; i++) {
        enum err_code rc = read_entry(g, c, i, e);
        if (rc != ERR_OK)
            return rc;
    }
    if (!size_round_up(c->at, g->info.alignment, &g->info.data_offset))
        return err_set(e, ERR_FORMAT, "tensor data would begin beyond 2^64");
    if (g->n_tensors == 0)
        return ERR_OK;    /* a vocabulary or an empty shell: what follows the metadata is of no interest */
    for (uint32_t i = 0; i < g->n_tensors; i++) {
        enum err_code rc = place(g, &g->tensors[i], e);
        if (rc != ERR_OK)
            return rc;
    }
    return check_overlap(g, e);
}

uint32_t gguf_n_tensors(const struct gguf *g)
{
    return g->n_tensors;
}

const struct gguf_tensor *gguf_tensor_at(const struct gguf *g, uint32_t i)
{
    return &g->tensors[i];
}

const struct gguf_tensor *gguf_tensor_find(const struct gguf *g, const char *name)
{
    int64_t i = gguf_names_find(&g->tensor_names, name);
    return i < 0 ? NULL : &g->tensors[i];
}
