/* SPDX-License-Identifier: MIT */
/* The levels of the model in use, priced for the session that there is. */
#include "app/level/ladder.h"
#include "app/loop/worker_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static enum port_figure kind_of(enum ladder_kind kind)
{
    return kind == LADDER_MEASURED ? PORT_MEASURED : kind == LADDER_ESTIMATED ? PORT_ESTIMATED : PORT_UNKNOWN;
}

static struct port_level *fill(const struct ladder_row *row, struct port_level *out)
{
    *out = (struct port_level){ .is_here = row->state == LADDER_HERE, .is_best = row->is_best,
                                .file_bytes = row->file_bytes, .bits = row->bits, .is_priced = row->fits_known,
                                .fits = row->fit.fits, .needed_bytes = row->fit.needed_bytes,
                                .speed = kind_of(row->speed), .quality = kind_of(row->quality),
                                .tokens_per_s = row->tokens_per_s, .kl = row->kl };
    int64_t host = (int64_t)row->fit.host.room_bytes - (int64_t)row->fit.host.needed_bytes;
    int64_t device = (int64_t)row->fit.device.room_bytes - (int64_t)row->fit.device.needed_bytes;
    out->spare_bytes = row->fit.n_device_layers > 0 && device < host ? device : host;
    snprintf(out->level, sizeof out->level, "%s", row->level);
    snprintf(out->path, sizeof out->path, "%s", row->path);
    snprintf(out->problem, sizeof out->problem, "%s", row->problem);
    snprintf(out->warning, sizeof out->warning, "%s", row->warning);
    return out;
}

/* The first of what would fit. */
static void fill_instead(const struct ladder *l, int32_t i, const struct engine *eng, const struct fit_want *want,
                         struct port_level *out)
{
    char advice[LADDER_ADVICE][LADDER_TEXT_BYTES];
    if (ladder_advise(l, i, eng, want, advice) > 0)
        snprintf(out->instead, sizeof out->instead, "%s", advice[0]);
}

static enum err_code find(struct worker *w, struct port_levels *out, struct err *e)
{
    const struct worker_options *o = &w->options;
    const struct fit_want want = { .n_ctx = o->session.n_ctx, .kv_type_k = o->session.kv_type_k,
                                   .kv_type_v = o->session.kv_type_v, .leaves = w->here.model };
    struct ladder *l;
    struct engine_info info;
    struct session_stats stats;
    enum err_code rc = ladder_open(&l, model_info(w->here.model)->path, o->models ? o->models : "",
                                   o->figures ? o->figures : "", e);
    if (rc != ERR_OK)
        return rc;
    engine_info(w->eng, &info);
    const struct roofline roof = { .bytes_per_s = w->memory_bytes_per_s, .n_threads = info.n_threads };
    session_stats(w->here.session, &stats);
    rc = ladder_price(l, w->eng, &want, &roof, stats.n_held, e);
    for (int32_t i = 0; rc == ERR_OK && i < l->n_rows && out->n < PORT_LEVELS; i++) {
        fill_instead(l, i, w->eng, &want, fill(&l->rows[i], &out->rows[out->n]));
        out->n++;
    }
    snprintf(out->source, sizeof out->source, "%s", l->rows[l->best].path);
    ladder_close(l);
    return rc;
}

void worker_do_levels(struct worker *w)
{
    struct mail mail = { .kind = MAIL_LEVELS, .levels = calloc(1, sizeof *mail.levels) };
    struct err e;
    if (!mail.levels)
        return;
    if (!w->here.model)
        snprintf(mail.levels->problem, sizeof mail.levels->problem, "no model yet");
    else if (find(w, mail.levels, &e) != ERR_OK)
        snprintf(mail.levels->problem, sizeof mail.levels->problem, "%s", e.text);
    if (!mailbox_post(w->box, &mail))
        free(mail.levels);
}
