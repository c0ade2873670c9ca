/* SPDX-License-Identifier: MIT */
/* One row ahead of the host. The token of a greedy answer's next row is known to the device before the host has seen it, so
 * that row can be sent off while the one before still runs, and the device does not wait for the host between them:
 *
 *     host      send t | send t+1 | wait for t | tell it | send t+2 | wait for t+1 | tell it ...
 *     device           |---------- t ----------|---------- t+1 ----------|---------- t+2 ...
 *
 * The row takes its token from what the one before has found best (embed.comp), and has the other set of what the host
 * writes. Its position, pages and attention are known without the token.
 *
 * Nobody relies on it. The next batch either asks for the very row that is on its way, token, position and pages, and gets
 * it; or it asks for something else, and then what is on its way is waited for and forgotten. It wrote a key and a value,
 * and perhaps a sealed page, behind the end of its sequence, as a draft does that was wrong; whoever puts other tokens
 * there writes them over. What may not happen is that those pages become something else meanwhile: so everything that
 * touches memory of pages (vulkan_kv.c), scratch or recordings waits first. */
#include <assert.h>

#include "engine/vulkan/vulkan_placed.h"

/* The row behind a batch's, in a batch of its own. */
static struct batch next_of(const struct batch *batch, struct batch_row *row)
{
    struct batch next = *batch;
    *row = batch->rows[0];
    row->pos++;
    row->token = (int32_t)TABLE_NO_TOKEN;
    next.rows = row;
    return next;
}

void vulkan_ahead_begin(struct placed *p, const struct batch *batch, int32_t set)
{
    struct batch_row row;
    VkCommandBuffer cmds[2];
    uint64_t value;
    if (!batch->ahead || !p->embed || batch->rows[0].pos + 1 >= p->n_ctx)
        return;
    assert(p->ahead.value == 0);
    const struct batch next = next_of(batch, &row);
    *(uint32_t *)p->scratch.sets[set].wanted.mapped = 0;
    vulkan_write_step(p, &next, 0, 1, set);
    if (vulkan_body_for(p, next.kv, (struct vulkan_rows){ .n = 1, .set = set }, &cmds[0], NULL) == ERR_OK &&
        vulkan_head_for(p, (struct vulkan_rows){ .n = 1, .set = set, .n_best = 1 }, &cmds[1], NULL) == ERR_OK &&
        vulkan_submit(p->b->d, cmds, 2, &value, NULL) == ERR_OK) {
        p->ahead.value = value;
        p->ahead.set = set;
        p->ahead.token = -1;
        p->ahead.pos = row.pos;
        p->ahead.pages = row.pages;
        p->ahead.kv_written = p->b->kv.n_written;
    }
}

/* Where a row at this position reads page j. */
static const void *read_at(const struct kv_page *page, int32_t pos, int32_t j)
{
    bool open = !page->sealed || (kv_reads_open(pos, j) && page->open);
    return open ? page->open : page->sealed;
}

/* The row reads and writes where the table on the device says. Other forms of the pages it sees may have come and gone. */
static bool same_pages(const struct placed *p, const struct batch *batch)
{
    const struct batch_row *row = &batch->rows[0];
    int32_t slot = 0, last = row->pos / KV_PAGE;
    while (slot < p->n_slots && p->slots[slot].pages != row->pages)
        slot++;
    if (slot == p->n_slots)
        return false;
    for (int32_t i = 0; i < p->program->n_layers; i++) {
        int32_t window = batch->kv[i].window, first = window > 0 && row->pos >= window ? row->pos - window + 1 : 0;
        const struct kv_page *now = &row->pages[(int64_t)i * batch->table_stride];
        const struct kv_page *then = &p->shadow[((int64_t)slot * p->program->n_layers + i) * p->stride];
        for (int32_t j = first / KV_PAGE; j <= last; j++)
            if (read_at(&now[j], row->pos, j) != read_at(&then[j], row->pos, j))
                return false;
        if (row->pos % KV_PAGE == KV_PAGE - 1 && now[last].sealed != then[last].sealed)
            return false;
    }
    return true;
}

bool vulkan_ahead_is(const struct placed *p, const struct batch *batch)
{
    const struct vulkan_ahead *a = &p->ahead;
    const struct batch_row *row = &batch->rows[0];
    return a->value > 0 && batch->n_rows == 1 && batch->n_logits == 1 && batch->n_best == 1 && !batch->x_out &&
           row->logits == 0 && row->pos == a->pos && row->token == a->token && row->pages == a->pages &&
           p->kv_gone == p->b->kv.n_gone && a->kv_written == p->b->kv.n_written && same_pages(p, batch);
}

enum err_code vulkan_ahead_take(struct placed *p, const struct batch *batch, struct err *e)
{
    const struct vulkan_ahead a = p->ahead;
    const struct logit *best = p->scratch.sets[a.set].best.mapped;
    if (batch->cancel && atomic_load(batch->cancel))
        return err_set(e, ERR_CANCELLED, "cancelled");
    p->ahead.value = 0;
    vulkan_ahead_begin(p, batch, 1 - a.set);
    enum err_code rc = vulkan_wait(p->b->d, a.value, e);
    if (rc != ERR_OK)
        return rc;
    batch->best[0] = best[0];
    p->ahead.token = best[0].token;
    p->ahead.n_taken++;
    return ERR_OK;
}

enum err_code vulkan_ahead_end(struct placed *p, struct err *e)
{
    uint64_t value = p->ahead.value;
    p->ahead.value = 0;
    return value > 0 ? vulkan_wait(p->b->d, value, e) : ERR_OK;
}
