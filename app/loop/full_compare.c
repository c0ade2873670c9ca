/* SPDX-License-Identifier: MIT */
/* Two levels side by side: which other one, their answers, and the next question for both. */
#include "app/loop/full_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/chat/slash.h"

/* ---- which ----------------------------------------------------------------------------------------- */

static void update_choice(struct full *f)
{
    struct chat *c = &f->talk->chat;
    int32_t n = 0;
    if (c->model && strcmp(f->levels_asked, c->model->path) != 0) {    /* it came since */
        snprintf(f->levels_asked, sizeof f->levels_asked, "%s", c->model->path);
        snprintf(f->models_summary, sizeof f->models_summary, "with %s, which is in use", c->model->level);
        f->models.summary = f->models_summary;
        chat_want_levels(c);
    }
    for (int32_t i = 0; c->levels && i < c->levels->n; i++) {
        const struct port_level *row = &c->levels->rows[i];
        struct full_model_text *t = &f->model_texts[n];
        if (!row->is_here || row->problem[0])
            continue;
        chat_level_texts(c, row, &t->figures);
        if (t->figures.in_use)
            continue;
        t->level = i;
        f->model_rows[n++] = (struct view_row){
            .id = (uint64_t)i + 1, .progress = -1,
            .cells = { row->level, t->figures.size, t->figures.bits, t->figures.memory, t->figures.speed,
                       t->figures.quality } };
    }
    f->models.rows = f->model_rows;
    f->models.n_rows = n;
    f->models.empty = c->levels ? "No other level of this model is here: F2 lists what can be made."
                                : "Levels are being looked for.";
}

void full_compare_open_choice(struct full *f)
{
    f->model_rows = calloc(PORT_LEVELS, sizeof *f->model_rows);
    f->model_texts = calloc(PORT_LEVELS, sizeof *f->model_texts);
    if (!f->model_rows || !f->model_texts)
        return;
    f->levels_asked[0] = '\0';
    f->models = (struct view_list){
        .title = "Compare",
        .columns = { { "Level", false, 0 }, { "Size", true, 0 }, { "Bits", true, 4 }, { "Memory", true, 2 },
                     { "Tok/s", true, 1 }, { "KL", true, 3 } },
        .n_columns = 6,
        .footer = "Enter answers with both · F6 the same, blind",
    };
    update_choice(f);
    f->screen.overlay = &view_list;
    f->screen.overlay_self = &f->models;
}

/* What stands in the draft is the question, else what was asked last. */
void full_compare_accept_choice(struct full *f, bool blind)
{
    struct chat *c = &f->talk->chat;
    const struct view_row *row = view_list_chosen(&f->models);
    const char *draft = editor_text(f->editor);
    if (!row)
        return;
    int32_t level = f->model_texts[row - f->model_rows].level;
    bool begun = chat_compare_begin(c, &c->levels->rows[level], slash_is_command(draft) ? "" : draft, blind);
    if (begun)
        full_panel_open(f, FULL_COMPARE);
    else
        full_panel_close(f);    /* a card says why */
}

/* ---- the answers ----------------------------------------------------------------------------------- */

static void update_answers(struct full *f)
{
    const struct chat *c = &f->talk->chat;
    struct view_compare *v = &f->compare;
    struct chat_compare_texts *t = &f->compare_texts;
    chat_compare_texts(c, t);
    v->prompt = buf_text(&c->compare.prompt);
    for (int i = 0; i < 2; i++) {
        v->sides[i].label = t->labels[i];
        v->sides[i].status = t->status[i];
        v->sides[i].text = buf_text(t->texts[i]);
        v->sides[i].n_text = t->texts[i]->n_bytes;
        v->sides[i].n_quiet = t->n_quiet[i];
        v->sides[i].n_thoughts = t->n_thoughts[i];
    }
    _Static_assert((int)VIEW_COMPARE_LINES == (int)COMPARE_LINES, "lines");
    for (int i = 0; i < VIEW_COMPARE_LINES; i++)
        v->lines[i] = t->lines[i];
}

void full_compare_open(struct full *f)
{
    f->compare = (struct view_compare){ 0 };
    update_answers(f);
    f->screen.overlay = &view_compare;
    f->screen.overlay_self = &f->compare;
}

static void keep(struct full *f, bool right)
{
    struct chat *c = &f->talk->chat;
    if (c->compare.state != COMPARE_DONE || chat_compare_is_hidden(c))
        return;
    full_panel_close(f);
    chat_compare_keep(c, right);
}

void full_compare_action(struct full *f, enum ui_action action)
{
    struct chat *c = &f->talk->chat;
    switch (action) {
    case UI_ACT_FIRST: chat_compare_say(c, COMPARE_LEFT); break;
    case UI_ACT_SECOND: chat_compare_say(c, COMPARE_RIGHT); break;
    case UI_ACT_THIRD: chat_compare_say(c, COMPARE_NEITHER); break;
    case UI_ACT_KEEP_LEFT: keep(f, false); break;
    case UI_ACT_KEEP_RIGHT: keep(f, true); break;
    case UI_ACT_ACCEPT: chat_compare_enough(c); break;
    case UI_ACT_NEXT:
        if (!chat_compare_is_busy(c))
            full_panel_open(f, FULL_COMPARE_NEXT);
        break;
    default: break;
    }
}

/* ---- the next question ----------------------------------------------------------------------------- */

void full_compare_open_next(struct full *f)
{
    f->prompt_editor = editor_create();
    if (!f->prompt_editor)
        return;
    editor_set_single_line(f->prompt_editor, true);
    snprintf(f->prompt_message, sizeof f->prompt_message, "%s and %s answer it.", f->talk->chat.compare.sides[0].level,
             f->talk->chat.compare.sides[1].level);
    f->prompt = (struct view_prompt){ .title = "Compare", .label = "Next question", .message = f->prompt_message,
                                      .editor = f->prompt_editor };
    f->screen.overlay = &view_prompt;
    f->screen.overlay_self = &f->prompt;
}

void full_compare_accept_next(struct full *f)
{
    char *question = strdup(editor_text(f->prompt_editor));
    if (question && question[strspn(question, " \t")] == '\0') {
        free(question);
        return;
    }
    bool begun = question && chat_compare_again(&f->talk->chat, question);
    if (begun)
        full_panel_open(f, FULL_COMPARE);
    else
        full_panel_close(f);
    free(question);
}

void full_compare_update(struct full *f)
{
    if (f->panel == FULL_COMPARE_WITH)
        update_choice(f);
    else
        update_answers(f);
}
