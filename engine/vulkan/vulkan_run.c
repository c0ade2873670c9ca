/* SPDX-License-Identifier: MIT */
/* A batch on the device: in pieces, each of as many rows as take some 50 ms, so that a raised flag is seen in time and
 * no driver's watchdog thinks the device hangs. */
#include <assert.h>
#include <math.h>
#include <string.h>

#include "engine/base/clock.h"
#include "engine/quant/quant.h"
#include "engine/vulkan/vulkan_best.h"
#include "engine/vulkan/vulkan_cache.h"
#include "engine/vulkan/vulkan_placed.h"
#include "engine/vulkan/vulkan_product.h"
#include "engine/vulkan/vulkan_seal.h"

static const double PIECE_MS = 50;
enum { FIRST_ROWS = 8 };    /* of a piece as long as nobody knows how long they take */
enum { CALM_BATCHES = 16 };

/* Few numbers of rows are recorded: 1 to 8, and powers of two. */
static int32_t piece_rows(const struct placed *p, int32_t n_left)
{
    double fit = p->ms_per_row > 0 ? PIECE_MS / p->ms_per_row : FIRST_ROWS;
    int32_t most = fit < p->max_rows ? (int32_t)fit : p->max_rows, n = 8;
    if (most < FIRST_ROWS)
        most = FIRST_ROWS < p->max_rows ? FIRST_ROWS : p->max_rows;
    if (n_left < most)
        most = n_left;
    if (most <= n)
        return most;
    while (2 * n <= most)
        n *= 2;
    return n;
}

/* ---- what the host writes -------------------------------------------------------------------------------- */

static void embed(float *x, const struct step *s, int32_t token)
{
    const struct tensor *t = s->w[0];
    assert(s->kind == STEP_EMBED);
    quant_format(t->type)->to_f32(x, (const char *)t->data + (uint64_t)token * t->row_bytes, t->n_cols);
    for (int32_t c = 0; s->scale != 1.0f && c < t->n_cols; c++)
        x[c] *= s->scale;
}

static void write_in(struct placed *p, const struct batch *batch, int32_t row0, int32_t n, int32_t set)
{
    const struct program *g = p->program;
    const struct batch_row *rows = batch->rows + row0;
    float *in = p->scratch.in.mapped, *cos_sin = p->scratch.sets[set].cos_sin.mapped;
    if (batch->x_in)
        memcpy(in, batch->x_in + (int64_t)row0 * g->n_embd, (size_t)n * (size_t)g->n_embd * sizeof *in);
    for (int32_t r = 0; r < n && !batch->x_in && !p->embed; r++)
        embed(in + (int64_t)r * g->n_embd, &g->steps[0], rows[r].token);
    for (int32_t i = 0; i < g->n_ropes; i++)
        for (int32_t r = 0; r < n; r++) {
            const struct rope *rope = &g->ropes[i];
            float *cs = cos_sin + ((int64_t)i * p->max_rows + r) * p->max_rot;
            for (int32_t pair = 0; pair < rope->n_rot / 2; pair++) {
                double angle = rows[r].pos * rope->freq[pair];
                cs[2 * pair] = (float)(cos(angle) * (double)rope->magnitude);
                cs[2 * pair + 1] = (float)(sin(angle) * (double)rope->magnitude);
            }
        }
}

/* The slot of a sequence's pages in the table; the one unused longest is given away. */
static int32_t slot_of(struct placed *p, const struct kv_page *pages)
{
    int32_t oldest = 0;
    for (int32_t i = 0; i < p->n_slots; i++) {
        if (p->slots[i].pages == pages) {
            p->slots[i].last_use = p->use;
            return i;
        }
        if (p->slots[i].last_use < p->slots[oldest].last_use)
            oldest = i;
    }
    p->slots[oldest] = (struct vulkan_slot){ pages, p->use };
    return oldest;
}

static void put_address(uint32_t out[2], const struct vulkan_kv *kv, const void *page)
{
    VkDeviceAddress address = vulkan_kv_address(kv, page);
    out[0] = (uint32_t)address;
    out[1] = (uint32_t)(address >> 32);
}

/* Brings the table's pages [0, n_pages) of a slot up to date. */
static void write_pages(struct placed *p, int32_t slot, const struct kv_page *pages, int32_t table_stride,
                        int32_t n_pages)
{
    struct table_page *table = p->scratch.table.mapped;
    for (int32_t i = 0; i < p->program->n_layers; i++)
        for (int32_t j = 0; j < n_pages; j++) {
            int64_t at = ((int64_t)slot * p->program->n_layers + i) * p->stride + j;
            const struct kv_page *page = &pages[(int64_t)i * table_stride + j];
            if (p->shadow[at].open == page->open && p->shadow[at].sealed == page->sealed)
                continue;
            p->shadow[at] = *page;
            put_address(table[at].open, &p->b->kv, page->open);
            put_address(table[at].sealed, &p->b->kv, page->sealed);
        }
}

/* Lists the pages that the piece completes and layer i wants sealed; how many those are. */
static uint32_t list_seals(struct placed *p, const struct batch *batch, int32_t row0, int32_t n, int32_t i,
                           const struct vulkan_set *set)
{
    uint32_t *list = (uint32_t *)((char *)set->seals.mapped + (uint64_t)i * p->seals_bytes), n_pages = 0;
    const struct table_row *rows = set->rows.mapped;
    for (int32_t r = 0; r < n; r++) {
        const struct batch_row *br = &batch->rows[row0 + r];
        int32_t page = br->pos / KV_PAGE;
        if (br->pos % KV_PAGE == KV_PAGE - 1 && br->pages[(int64_t)i * batch->table_stride + page].sealed)
            list[n_pages++] = rows[r].table + (uint32_t)(i * p->stride + page);
    }
    return n_pages;
}

static void write_counts(struct placed *p, const struct batch *batch, int32_t row0, int32_t n, int32_t set)
{
    uint32_t *counts = p->scratch.sets[set].counts.mapped;
    for (int32_t i = 0; i < p->program->n_steps; i++) {
        const struct step *s = &p->program->steps[i];
        if (s->kind != STEP_ATTN)
            continue;
        const struct vulkan_attention a = vulkan_attention_of(p, s, &p->vectors[i], batch->kv,
                                                               (struct vulkan_rows){ .n = n, .set = set });
        int32_t n_parts = 1;
        for (int32_t r = row0; r < row0 + n; r++) {
            int32_t parts = vulkan_attend_parts(batch->rows[r].pos, s->window);
            n_parts = parts > n_parts ? parts : n_parts;
        }
        uint32_t *at = counts + s->layer * COUNT_WORDS;
        vulkan_attend_counts(at + COUNT_ATTEND, s, &a, n_parts);
        if (kv_layer_seals(a.kv))
            vulkan_seal_counts(at + COUNT_SEAL, a.kv,
                               list_seals(p, batch, row0, n, s->layer, &p->scratch.sets[set]));
    }
}

/* Addresses of regions that are gone may have come back as others'. */
static void forget_old_addresses(struct placed *p)
{
    size_t n = (size_t)(p->n_slots * p->program->n_layers) * (size_t)p->stride;
    if (p->kv_gone == p->b->kv.n_gone)
        return;
    memset(p->shadow, 0, n * sizeof *p->shadow);
    memset(p->scratch.table.mapped, 0, n * sizeof(struct table_page));
    p->kv_gone = p->b->kv.n_gone;
}

static void write_rows(struct placed *p, const struct batch *batch, int32_t row0, int32_t n, int32_t set)
{
    struct table_row *rows = p->scratch.sets[set].rows.mapped;
    p->use++;
    forget_old_addresses(p);
    for (int32_t r = 0; r < n; r++) {
        const struct batch_row *br = &batch->rows[row0 + r];
        int32_t slot = slot_of(p, br->pages);
        if (r + 1 == n || br[1].pages != br->pages)    /* the sequence's furthest position in this piece */
            write_pages(p, slot, br->pages, batch->table_stride, br->pos / KV_PAGE + 1);
        rows[r] = (struct table_row){ .pos = (uint32_t)br->pos,
                                      .table = (uint32_t)(slot * p->program->n_layers * p->stride),
                                      .token = (uint32_t)br->token };
    }
    write_counts(p, batch, row0, n, set);
}

void vulkan_write_step(struct placed *p, const struct batch *batch, int32_t row0, int32_t n, int32_t set)
{
    write_in(p, batch, row0, n, set);
    write_rows(p, batch, row0, n, set);
}

/* ---- running ----------------------------------------------------------------------------------------------- */

/* How many of these rows there are slots for in the table. */
static int32_t rows_in_slots(const struct placed *p, const struct batch_row *rows, int32_t n)
{
    int32_t n_slots = 0;
    for (int32_t r = 0; r < n; r++)    /* rows of a sequence stand together */
        if ((r == 0 || rows[r].pages != rows[r - 1].pages) && n_slots++ == p->n_slots)
            return r;
    return n;
}

/* Lists up to max_logits rows of the piece that want logits, from *row on; *row: the first not looked at. */
static int32_t list_wanted(struct placed *p, const struct batch *batch, int32_t row0, int32_t n, int32_t *row)
{
    uint32_t *wanted = p->scratch.sets[0].wanted.mapped;
    int32_t n_wanted = 0;
    for (; *row < n && n_wanted < p->max_logits; ++*row)
        if (batch->rows[row0 + *row].logits >= 0 && !batch->x_out)
            wanted[n_wanted++] = (uint32_t)*row;
    return n_wanted;
}

static void take_logits(const struct placed *p, const struct batch *batch, int32_t row0, int32_t n_wanted)
{
    const uint32_t *wanted = p->scratch.sets[0].wanted.mapped;
    const float *logits = p->scratch.all_logits.mapped;
    const struct logit *best = p->scratch.sets[0].best.mapped;
    size_t n_vocab = (size_t)p->program->n_vocab, n_best = (size_t)batch->n_best;
    for (int32_t i = 0; i < n_wanted; i++) {
        size_t to = (size_t)batch->rows[row0 + (int32_t)wanted[i]].logits;
        if (n_best > 0)
            memcpy(batch->best + to * n_best, best + i * vulkan_best_round(batch->n_best), n_best * sizeof *best);
        else
            memcpy(batch->logits + to * n_vocab, logits + (size_t)i * n_vocab, n_vocab * sizeof *logits);
    }
}

static enum err_code run_piece(struct placed *p, const struct batch *batch, int32_t row0, int32_t n, struct err *e)
{
    VkCommandBuffer cmds[2];
    const struct vulkan_device *d = p->b->d;
    int32_t row = 0, n_wanted = list_wanted(p, batch, row0, n, &row);
    const struct vulkan_rows body = { .n = n, .many = vulkan_product_many(d, batch->n_rows) };
    struct vulkan_rows head = { .many = vulkan_product_many(d, batch->n_logits),
                                .n_best = batch->n_best > 0 ? vulkan_best_round(batch->n_best) : 0 };
    size_t n_embd = (size_t)p->program->n_embd;
    vulkan_write_step(p, batch, row0, n, 0);
    enum err_code rc = vulkan_body_for(p, batch->kv, body, &cmds[0], e);
    for (bool first = true; rc == ERR_OK && (first || n_wanted > 0); first = false) {
        uint32_t n_cmds = first;
        uint64_t value;
        head.n = n_wanted;
        if (n_wanted > 0)
            rc = vulkan_head_for(p, head, &cmds[n_cmds++], e);
        double begin = clock_ms();
        if (rc == ERR_OK)
            rc = vulkan_submit(p->b->d, cmds, n_cmds, &value, e);
        if (rc == ERR_OK) {
            vulkan_ahead_begin(p, batch, 1);
            rc = vulkan_wait(p->b->d, value, e);
        }
        if (rc != ERR_OK)
            return rc;
        if (first && n >= FIRST_ROWS)    /* of fewer, reading weights is all, and says nothing about many */
            p->ms_per_row = (clock_ms() - begin) / n;
        take_logits(p, batch, row0, n_wanted);
        if (p->ahead.value > 0)
            p->ahead.token = batch->best[0].token;
        n_wanted = list_wanted(p, batch, row0, n, &row);
    }
    if (rc == ERR_OK && batch->x_out)
        rc = vulkan_read(p->b->d, batch->x_out + (size_t)row0 * n_embd, &p->scratch.x, 0, (uint64_t)n * n_embd * 4, e);
    return rc;
}

/* Pipelines are saved when some batches have needed no new ones, and not only at the end, which may be a sudden one. */
static void save_pipelines(struct vulkan_backend *b, int32_t n_before)
{
    b->n_batches = b->d->n_pipelines == n_before ? b->n_batches + 1 : 0;
    if (b->n_batches != CALM_BATCHES || b->d->n_pipelines == b->n_saved)
        return;
    b->n_saved = b->d->n_pipelines;
    vulkan_cache_save(b->d, b->dir);
}

static enum err_code run_pieces(struct placed *p, const struct batch *batch, struct err *e)
{
    enum err_code rc = vulkan_ahead_end(p, e);
    int32_t n;
    for (int32_t row0 = 0; row0 < batch->n_rows && rc == ERR_OK; row0 += n) {
        n = rows_in_slots(p, batch->rows + row0, piece_rows(p, batch->n_rows - row0));
        if (batch->cancel && atomic_load(batch->cancel))
            return err_set(e, ERR_CANCELLED, "cancelled");
        rc = run_piece(p, batch, row0, n, e);
    }
    return rc;
}

enum err_code vulkan_run(struct placed *p, const struct batch *batch, struct err *e)
{
    int32_t n_pipelines = p->b->d->n_pipelines;
    assert(batch->n_rows <= p->reserved_rows && batch->n_logits <= p->reserved_logits);
    assert(batch->n_best >= 0 && batch->n_best <= BACKEND_MAX_BEST);
    assert(!batch->ahead || (batch->n_rows == 1 && batch->n_logits == 1 && batch->n_best == 1));
    enum err_code rc = vulkan_ahead_is(p, batch) ? vulkan_ahead_take(p, batch, e) : run_pieces(p, batch, e);
    save_pipelines(p->b, n_pipelines);
    return rc;
}
