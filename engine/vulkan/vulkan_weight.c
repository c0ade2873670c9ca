/* SPDX-License-Identifier: MIT */
#include "engine/vulkan/vulkan_weight.h"

#include <assert.h>
#include <stdlib.h>

#include "engine/quant/quant.h"

/* Rows of about this many bytes are packed at a time, plane by plane: the later planes find them in the cache. */
enum { PIECE_BYTES = 2 << 20, PIECE_ROWS = 4 };

const char *vulkan_weight_suffix(uint32_t type)
{
    static const char *const suffixes[QUANT_N_TYPES] = {
        [QUANT_F32] = "f32",   [QUANT_F16] = "f16",   [QUANT_BF16] = "bf16", [QUANT_Q4_0] = "q4_0",
        [QUANT_Q4_1] = "q4_1", [QUANT_Q5_0] = "q5_0", [QUANT_Q5_1] = "q5_1", [QUANT_Q8_0] = "q8_0",
        [QUANT_Q2_K] = "q2k",  [QUANT_Q3_K] = "q3k",  [QUANT_Q4_K] = "q4k",  [QUANT_Q5_K] = "q5k",
        [QUANT_Q6_K] = "q6k",  [QUANT_IQ4_NL] = "iq4_nl", [QUANT_IQ4_XS] = "iq4_xs", [QUANT_MXFP4] = "mxfp4"
    };
    return suffixes[type];
}

bool vulkan_weight_supported(uint32_t type)
{
    return vulkan_pack_block(type) > 0;
}

static uint64_t plane_row_bytes(const struct tensor *t, int plane)
{
    return (uint64_t)(t->n_cols / vulkan_pack_block(t->type)) * (uint64_t)vulkan_pack_bytes(t->type, plane);
}

/* Places the planes of n_rows; returns their bytes. */
static uint64_t place(const struct tensor *t, int32_t n_rows, uint32_t plane[VULKAN_N_PLANES])
{
    uint64_t at = 0;
    for (int i = 0; i < VULKAN_N_PLANES; i++) {
        plane[i] = (uint32_t)(at / 16);
        at += ((uint64_t)n_rows * plane_row_bytes(t, i) + 15) & ~(uint64_t)15;
    }
    return at;
}

static bool has_layout(const struct tensor *t)
{
    return vulkan_weight_supported(t->type) && t->n_cols > 0 && t->n_cols % vulkan_pack_block(t->type) == 0;
}

uint64_t vulkan_weight_bytes(const struct tensor *t)
{
    uint32_t plane[VULKAN_N_PLANES];
    return has_layout(t) ? place(t, t->n_rows, plane) : 0;
}

static enum err_code refuse(const struct tensor *t, struct err *e)
{
    const struct quant_format *f = quant_format(t->type);
    if (!vulkan_weight_supported(t->type))
        return err_set(e, ERR_UNSUPPORTED, "tensor '%s': type %s has no layout for Vulkan", t->name,
                       f ? f->name : "unknown");
    return err_set(e, ERR_UNSUPPORTED,
                   "tensor '%s': rows of %d weights of type %s, a multiple of %d wanted for Vulkan", t->name, t->n_cols,
                   f->name, vulkan_pack_block(t->type));
}

/* Pieces begin at multiples of PIECE_ROWS, so that the shortest plane, of one byte per row, is copied in whole words;
 * behind its last row there is room to do so. */
static enum err_code upload(struct vulkan_device *d, const struct tensor *t, const struct vulkan_chunk *c,
                            struct err *e)
{
    uint64_t n_steps = PIECE_BYTES / (PIECE_ROWS * t->row_bytes);
    int32_t step = n_steps > 0 ? (int32_t)n_steps * PIECE_ROWS : PIECE_ROWS;
    int64_t row_blocks = t->n_cols / vulkan_pack_block(t->type);
    enum err_code rc = ERR_OK;
    for (int32_t row = 0; row < c->n_rows; row += step) {
        int32_t n = c->n_rows - row < step ? c->n_rows - row : step;
        const uint8_t *from = (const uint8_t *)t->data + (uint64_t)(c->row0 + row) * t->row_bytes;
        for (int i = 0; i < VULKAN_N_PLANES && rc == ERR_OK; i++) {
            uint64_t row_bytes = plane_row_bytes(t, i), n_bytes = ((uint64_t)n * row_bytes + 3) & ~(uint64_t)3;
            uint64_t at = (uint64_t)c->plane[i] * 16 + (uint64_t)row * row_bytes;
            void *to;
            if (n_bytes == 0)
                continue;
            assert(at % 4 == 0);
            rc = vulkan_stage(d, &c->buf, at, n_bytes, &to, e);
            if (rc == ERR_OK)
                vulkan_pack(t->type, i, to, from, n * row_blocks);
        }
    }
    return rc;
}

static enum err_code reserve(struct vulkan_device *d, const struct tensor *t, uint64_t chunk_bytes,
                             struct vulkan_weight *out, struct err *e)
{
    *out = (struct vulkan_weight){ .type = t->type, .n_rows = t->n_rows, .n_cols = t->n_cols };
    if (!has_layout(t))
        return refuse(t, e);
    uint64_t padding = 16 * VULKAN_N_PLANES;
    uint64_t max_rows = chunk_bytes > padding ? (chunk_bytes - padding) / t->row_bytes : 0;
    if (max_rows == 0 || PIECE_ROWS * t->row_bytes > VULKAN_STAGE_BYTES)
        return err_set(e, ERR_UNSUPPORTED, "tensor '%s': rows of %llu bytes, at most %llu on this device", t->name,
                       (unsigned long long)t->row_bytes,
                       (unsigned long long)(max_rows == 0 ? chunk_bytes : VULKAN_STAGE_BYTES / PIECE_ROWS));

    int32_t n_chunks = (int32_t)(((uint64_t)t->n_rows + max_rows - 1) / max_rows);
    int32_t chunk_rows = (t->n_rows + n_chunks - 1) / n_chunks;    /* chunks of a size, rather than a small last one */
    enum err_code rc = ERR_OK;
    out->chunks = calloc((size_t)n_chunks, sizeof *out->chunks);
    if (!out->chunks)
        return err_set(e, ERR_NOMEM, "tensor '%s': no memory for %d chunks", t->name, n_chunks);
    for (int32_t row = 0; row < t->n_rows && rc == ERR_OK; row += chunk_rows) {
        struct vulkan_chunk *c = &out->chunks[out->n_chunks++];
        c->row0 = row;
        c->n_rows = t->n_rows - row < chunk_rows ? t->n_rows - row : chunk_rows;
        rc = vulkan_buf_create(d, &c->buf, place(t, c->n_rows, c->plane), VULKAN_LOCAL, e);
    }
    if (rc == ERR_OK)
        return ERR_OK;
    err_prefix(e, "tensor '%s'", t->name);
    vulkan_weight_destroy(d, out);
    return rc;
}

static uint64_t most_chunk_bytes(const struct vulkan_card *c)
{
    return c->binding_bytes < c->allocation_bytes ? c->binding_bytes : c->allocation_bytes;
}

enum err_code vulkan_weight_reserve(struct vulkan_device *d, const struct tensor *t, struct vulkan_weight *out,
                                    struct err *e)
{
    return reserve(d, t, most_chunk_bytes(d->card), out, e);
}

enum err_code vulkan_weight_fill(struct vulkan_device *d, const struct tensor *t, const struct vulkan_weight *w,
                                 struct err *e)
{
    for (int32_t i = 0; i < w->n_chunks; i++) {
        enum err_code rc = upload(d, t, &w->chunks[i], e);
        if (rc != ERR_OK) {
            err_prefix(e, "tensor '%s'", t->name);
            return rc;
        }
    }
    return ERR_OK;
}

enum err_code vulkan_weight_create_chunked(struct vulkan_device *d, const struct tensor *t, uint64_t chunk_bytes,
                                           struct vulkan_weight *out, struct err *e)
{
    enum err_code rc = reserve(d, t, chunk_bytes, out, e);
    if (rc == ERR_OK)
        rc = vulkan_weight_fill(d, t, out, e);
    if (rc != ERR_OK) {
        vulkan_flush(d, NULL);    /* what was sent off must have arrived */
        vulkan_weight_destroy(d, out);
    }
    return rc;
}

enum err_code vulkan_weight_create(struct vulkan_device *d, const struct tensor *t, struct vulkan_weight *out,
                                   struct err *e)
{
    return vulkan_weight_create_chunked(d, t, most_chunk_bytes(d->card), out, e);
}

void vulkan_weight_destroy(struct vulkan_device *d, struct vulkan_weight *w)
{
    for (int32_t i = 0; i < w->n_chunks; i++)
        vulkan_buf_destroy(d, &w->chunks[i].buf);
    free(w->chunks);
    *w = (struct vulkan_weight){ 0 };
}
