/* SPDX-License-Identifier: MIT */
/* The levels of the model in use: what there are, switching to one, making one, measuring one. */
#include "app/chat/chat_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* ---- what there is --------------------------------------------------------------------------------- */

void chat_want_levels(struct chat *c)
{
    if (c->model && !c->port.want_levels(c->port.self))
        chat_no_memory(c);
}

static bool is_in_use(const struct chat *c, const struct port_level *row)
{
    return c->model && row->is_here && strcmp(row->path, c->model->path) == 0;
}

const struct port_level *chat_level_in_use(const struct chat *c)
{
    for (int32_t i = 0; c->levels && i < c->levels->n; i++)
        if (is_in_use(c, &c->levels->rows[i]))
            return &c->levels->rows[i];
    return NULL;
}

static bool is_parked(const struct chat *c, const struct port_level *row)
{
    for (int32_t i = 0; c->model && i < c->model->n_parked; i++)
        if (strcmp(c->model->parked[i], row->path) == 0)
            return true;
    return false;
}

static void write_figure(char *out, size_t n_bytes, enum port_figure how, int decimals, double value)
{
    if (how != PORT_UNKNOWN)
        snprintf(out, n_bytes, "%s%.*f", how == PORT_ESTIMATED ? "~" : "", decimals, value);
}

void chat_level_texts(const struct chat *c, const struct port_level *row, struct chat_level_texts *out)
{
    bool in_use = is_in_use(c, row);
    *out = (struct chat_level_texts){ .in_use = in_use };
    chat_size_text(row->file_bytes, out->size, sizeof out->size);
    snprintf(out->bits, sizeof out->bits, "%.2f", row->bits);
    if (row->is_priced) {
        char needed[24];
        chat_size_text(row->needed_bytes, needed, sizeof needed);
        snprintf(out->memory, sizeof out->memory, "%s%s", needed, row->fits ? "" : " no");
    }
    write_figure(out->speed, sizeof out->speed, row->speed, row->tokens_per_s < 10, row->tokens_per_s);
    if (row->is_best && row->quality == PORT_UNKNOWN)
        snprintf(out->quality, sizeof out->quality, "best");
    else
        write_figure(out->quality, sizeof out->quality, row->quality, row->kl < 0.1 ? 4 : 3, row->kl);
    snprintf(out->where, sizeof out->where, "%s",
             row->problem[0]                              ? "damaged"
             : in_use                                     ? "in use"
             : c->making[0] && strcmp(c->making, row->level) == 0 && !row->is_here ? "making"
             : row->is_here                               ? "here"
                                                          : "make");
}

/* What the context needs of memory, and what reading the chat again will take. */
void chat_level_detail(const struct chat *c, const struct port_level *row, char *out, size_t n_bytes)
{
    char room[24], memory[PORT_TEXT_BYTES + 64] = "", cost[96] = "", source[PORT_TEXT_BYTES] = "";
    if (row->problem[0]) {
        snprintf(out, n_bytes, "%s", row->problem);
        return;
    }
    chat_size_text((uint64_t)(row->spare_bytes < 0 ? -row->spare_bytes : row->spare_bytes), room, sizeof room);
    if (row->is_priced && row->fits)
        snprintf(memory, sizeof memory, "%s left · ", room);
    else if (row->is_priced)
        snprintf(memory, sizeof memory, "%s more than there is%s%s · ", room, row->instead[0] ? "; this fits: " : "",
                 row->instead);
    if (!row->is_here && c->making[0] && strcmp(row->path, c->making_path) == 0) {
        snprintf(source, sizeof source, "is being made; Del stops it");
    } else if (!row->is_here && c->levels) {
        const char *slash = strrchr(c->levels->source, '/');
        snprintf(source, sizeof source, "Enter makes it from %.80s", slash ? slash + 1 : c->levels->source);
    }
    if (is_in_use(c, row))
        snprintf(cost, sizeof cost, "answers now");
    else if (row->is_here && is_parked(c, row))
        snprintf(cost, sizeof cost, "still has the chat as it was: what was said since is read");
    else if (row->is_here && c->n_ctx_used > 0 && c->read_per_s > 0)
        snprintf(cost, sizeof cost, "the chat's %d tokens are read again: about %.1f s", c->n_ctx_used,
                 c->n_ctx_used / c->read_per_s);
    else if (row->is_here && c->n_ctx_used > 0)
        snprintf(cost, sizeof cost, "the chat's %d tokens are read again", c->n_ctx_used);
    else if (row->is_here)
        snprintf(cost, sizeof cost, "Enter switches");
    snprintf(out, n_bytes, "%s%s%s%s", memory, row->is_here ? cost : source, row->warning[0] ? " · " : "", row->warning);
}

/* ---- making ---------------------------------------------------------------------------------------- */

static void make(struct chat *c, const struct port_level *row)
{
    char size[24];
    if (c->making[0]) {
        chat_card(c, MESSAGE_NOTICE, "One at a time", "F2, then Del, stops it", "%s is still being made.",
                  c->making);
        return;
    }
    if (!row->path[0] || !c->levels->source[0]) {
        chat_card(c, MESSAGE_ERROR, "Not made", NULL, "There is no place for %s.", row->level);
        return;
    }
    if (!c->port.make_level(c->port.self, c->levels->source, row->path, row->level, row->warning[0] != '\0')) {
        chat_no_memory(c);
        return;
    }
    snprintf(c->making, sizeof c->making, "%s", row->level);
    snprintf(c->making_path, sizeof c->making_path, "%s", row->path);
    c->make_done = c->make_total = 0;
    c->make_start_s = c->port.now_s(c->port.self);
    chat_size_text(row->file_bytes, size, sizeof size);
    chat_card(c, MESSAGE_NOTICE, "Making a level", "F2, then Del, stops it", "%s, %s.%s%s", row->level, size,
              row->warning[0] ? " " : "", row->warning);
}

void chat_make_progress(struct chat *c, uint64_t done, uint64_t total)
{
    c->make_done = done;
    c->make_total = total;
    c->version++;
}

void chat_made(struct chat *c, const char *error)
{
    char level[sizeof c->making];
    snprintf(level, sizeof level, "%s", c->making);
    c->making[0] = '\0';
    c->version++;
    if (!error) {
        char hint[64];
        snprintf(hint, sizeof hint, "F2 and Enter, or /level %.20s, switches to it", level);
        chat_card(c, MESSAGE_NOTICE, "Made", hint, "%s is here now, after %.1f s.", level,
                  c->port.now_s(c->port.self) - c->make_start_s);
    } else if (error[0]) {
        chat_card(c, MESSAGE_ERROR, "Not made", NULL, "%s: %s", level, error);
    } else
        chat_card(c, MESSAGE_NOTICE, "Stopped", NULL, "%s is not made, and nothing is left of it.", level);
    chat_want_levels(c);
}

/* ---- measuring ------------------------------------------------------------------------------------- */

void chat_measure_level(struct chat *c, const struct port_level *row)
{
    if (c->measuring[0]) {
        chat_card(c, MESSAGE_NOTICE, "One at a time", "F2, then Del, stops it", "%s is still being measured.",
                  c->measuring);
        return;
    }
    if (!row->is_here || row->problem[0]) {
        chat_card(c, MESSAGE_NOTICE, "Not measured", "F2 and Enter makes it", "%s is not here.", row->level);
        return;
    }
    if (!c->port.measure(c->port.self, ++c->last_id, row->path, row->is_best ? "" : c->levels->source)) {
        chat_no_memory(c);
        return;
    }
    c->measure_request = c->last_id;
    c->measure_share = 0;
    snprintf(c->measuring, sizeof c->measuring, "%s", row->level);
    snprintf(c->measuring_path, sizeof c->measuring_path, "%s", row->path);
    c->version++;
}

static void say_measured(struct chat *c, const struct mail *mail)
{
    char quality[128] = "";
    if (mail->measured.n_tokens > 0)
        snprintf(quality, sizeof quality, "; KL from the best level %.4f (%.4f to %.4f), same first choice %.1f %%, of "
                 "%d tokens", mail->measured.kl, mail->measured.kl_low, mail->measured.kl_high,
                 100 * mail->measured.same_top, mail->measured.n_tokens);
    chat_card(c, MESSAGE_NOTICE, "Measured", "F2 or /level shows it beside the others",
              "%s: %.1f tokens/s, %.0f of a prompt%s.", c->measuring, mail->measured.answer_per_s,
              mail->measured.prompt_per_s, quality);
}

void chat_take_measured(struct chat *c, const struct mail *mail)
{
    if (!c->measuring[0] || mail->request != c->measure_request)
        return;
    if (mail->kind == MAIL_MEASURED && !mail->measured.is_over) {
        c->measure_share = mail->measured.share;
        return;
    }
    if (mail->kind == MAIL_MEASURED)
        say_measured(c, mail);
    else
        chat_card(c, MESSAGE_NOTICE, "Not measured", NULL, "%s%s%s.", c->measuring,
                  mail->text[0] ? ": " : " was stopped", mail->text);
    c->measuring[0] = '\0';
    chat_want_levels(c);
}

/* ---- switching ------------------------------------------------------------------------------------- */

void chat_choose_level(struct chat *c, const struct port_level *row)
{
    if (row->problem[0])
        chat_card(c, MESSAGE_ERROR, "Not usable", NULL, "%s: %s", row->level, row->problem);
    else if (row->is_here)
        chat_open_model(c, row->path, false);
    else
        make(c, row);
}

static const struct port_level *find(const struct chat *c, const char *name)
{
    for (int32_t i = 0; i < c->levels->n; i++)
        if (strcasecmp(c->levels->rows[i].level, name) == 0)
            return &c->levels->rows[i];
    return NULL;
}

static void say_unknown(struct chat *c, const char *name)
{
    struct buf names = { 0 };
    for (int32_t i = 0; i < c->levels->n; i++)
        buf_printf(&names, "%s%s", i > 0 ? ", " : "", c->levels->rows[i].level);
    chat_card(c, MESSAGE_ERROR, "No such level", "F2 or /level lists them", "'%.40s' is none of %.300s.", name,
              buf_ok(&names) && names.n_bytes > 0 ? buf_text(&names) : "the levels of this model");
    buf_finish(&names);
}

static void list(struct chat *c)
{
    struct buf text = { 0 };
    buf_printf(&text, "%-8s %10s %6s %12s %8s %9s", "LEVEL", "SIZE", "BITS", "MEMORY", "TOK/S", "KL");
    for (int32_t i = 0; i < c->levels->n; i++) {
        struct chat_level_texts t;
        chat_level_texts(c, &c->levels->rows[i], &t);
        buf_printf(&text, "\n%-8s %10s %6s %12s %8s %9s  %s", c->levels->rows[i].level, t.size, t.bits, t.memory, t.speed,
                   t.quality, t.where);
    }
    if (buf_ok(&text))
        chat_card_text(c, MESSAGE_NOTICE, "Levels", "/level NAME switches, or makes it; ~ marks estimates",
                       buf_text(&text));
    else
        chat_no_memory(c);
    buf_finish(&text);
}

/* When they are known: files may have come and gone since. */
void chat_level_wish(struct chat *c, const char *name, enum level_wish wish)
{
    if (!c->model) {
        chat_card(c, MESSAGE_ERROR, "Level", "F2 or /model lists models",
                  "There is no model whose levels to choose from.");
        return;
    }
    snprintf(c->level_wanted, sizeof c->level_wanted, "%s", name);
    c->level_wish = wish;
    chat_want_levels(c);
}

void chat_level(struct chat *c, const char *name)
{
    chat_level_wish(c, name[0] ? name : "?", LEVEL_SWITCH);
}

void chat_measure(struct chat *c, const char *name)
{
    chat_level_wish(c, name[0] ? name : c->model ? c->model->level : "", LEVEL_MEASURE);
}

void chat_take_levels(struct chat *c, struct port_levels *levels)
{
    char wanted[sizeof c->level_wanted];
    free(c->levels);
    c->levels = levels;
    snprintf(wanted, sizeof wanted, "%s", c->level_wanted);
    c->level_wanted[0] = '\0';
    if (!wanted[0])
        return;
    const struct port_level *row = find(c, wanted);
    if (levels->problem[0])
        chat_card(c, MESSAGE_ERROR, "No levels", NULL, "%s", levels->problem);
    else if (strcmp(wanted, "?") == 0)
        list(c);
    else if (row && c->level_wish == LEVEL_MEASURE)
        chat_measure_level(c, row);
    else if (row && c->level_wish == LEVEL_COMPARE)
        chat_compare_named(c, row);
    else if (row)
        chat_choose_level(c, row);
    else
        say_unknown(c, wanted);
}
