/* SPDX-License-Identifier: MIT */
/* What lies over the chat: help, models, settings, figures, the path of a system prompt, a full context. */
#include "app/loop/full_impl.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "app/chat/sampling.h"
#include "app/chat/slash.h"

/* ---- help ----------------------------------------------------------------------------------------- */

static void open_help(struct full *f)
{
    int32_t n = 0;
    while (slash_command(n))
        n++;
    f->slash_rows = calloc((size_t)n, sizeof *f->slash_rows);
    f->slash_names = calloc((size_t)n, sizeof *f->slash_names);
    if (!f->slash_rows || !f->slash_names)
        return;
    for (int32_t i = 0; i < n; i++) {
        const struct slash_command *s = slash_command(i);
        snprintf(f->slash_names[i], sizeof f->slash_names[i], "%s%s%s", s->name, s->argument[0] ? " " : "",
                 s->argument);
        f->slash_rows[i] = (struct view_text_row){ f->slash_names[i], s->help };
    }
    if (!view_help_make(&f->help, "Commands", f->slash_rows, n))
        return;
    f->text = (struct view_text){ .title = "Help", .rows = f->help.rows, .n_rows = f->help.n_rows };
    f->screen.overlay = &view_text;
    f->screen.overlay_self = &f->text;
}

/* ---- settings ------------------------------------------------------------------------------------- */

static void add_setting(struct full *f, int32_t *n, const char *name, const char *value, const char *help)
{
    if (*n == FULL_SETTING_ROWS)
        return;
    snprintf(f->setting_texts[*n], sizeof f->setting_texts[0], "%-6s  %s", value, help);
    f->setting_rows[*n] = (struct view_text_row){ name, f->setting_texts[*n] };
    (*n)++;
}

static void open_settings(struct full *f)
{
    struct sampler_params now;
    const struct sampler_field *field;
    const struct chat *c = &f->talk->chat;
    char place[PORT_TEXT_BYTES], help[PORT_TEXT_BYTES], layers[16];
    int32_t n = 0;
    chat_sampling(c, &now);
    chat_place_text(c, place, sizeof place);
    chat_gpu_layers_text(c, layers, sizeof layers);
    snprintf(help, sizeof help, "now on %.100s; /device lists what there is", place);
    add_setting(f, &n, "device", c->device.name, c->model ? help : "what computes; /device lists what there is");
    add_setting(f, &n, "gpu-layers", layers, "layers on the device, the last ones: 0, a number or auto");
    add_setting(f, &n, "kv-type-k", c->session.kv_type_k, "cached keys: f16, q8_0, q4_0, kv4, kv3 or auto");
    add_setting(f, &n, "kv-type-v", c->session.kv_type_v, "cached values; the chat stays and is read again");
    for (int32_t i = 0; (field = sampler_field(i)); i++) {
        char value[SAMPLING_PRESET_BYTES];
        sampling_text(&now, field, value);
        add_setting(f, &n, field->name, value, field->help);
    }
    f->text = (struct view_text){ .title = "Settings: /set NAME VALUE", .rows = f->setting_rows, .n_rows = n };
    f->screen.overlay = &view_text;
    f->screen.overlay_self = &f->text;
}

/* ---- figures -------------------------------------------------------------------------------------- */

static void update_figures(struct full *f)
{
    int32_t n = chat_figures(&f->talk->chat, f->figures);
    for (int32_t i = 0; i < n; i++)
        f->figure_rows[i] = (struct view_text_row){ f->figures[i].name, f->figures[i].text };
    f->text.rows = f->figure_rows;
    f->text.n_rows = n;
}

static void open_figures(struct full *f)
{
    f->text = (struct view_text){ .title = "Figures" };
    update_figures(f);
    f->talk->chat.port.want_stats(f->talk->chat.port.self);
    f->screen.overlay = &view_text;
    f->screen.overlay_self = &f->text;
}

/* ---- a full context ------------------------------------------------------------------------------- */

static void open_context(struct full *f)
{
    const struct chat_context *x = &f->talk->chat.context;
    if (x->state != CONTEXT_ASKING)
        return;
    f->choice = (struct view_choice){ .title = x->title, .text = x->text, .n_choices = CHAT_ROOMS,
                                      .chosen = CHAT_ROOMS - 1 };
    for (int32_t i = CHAT_ROOMS - 1; i >= 0; i--) {
        f->choice.choices[i].label = x->choices[i].label;
        f->choice.choices[i].text = x->choices[i].text;
        f->choice.choices[i].possible = x->choices[i].possible;
        if (x->choices[i].possible && x->cause != CONTEXT_WISH)
            f->choice.chosen = i;
    }
    f->screen.overlay = &view_choice;
    f->screen.overlay_self = &f->choice;
}

static void accept_context(struct full *f)
{
    enum chat_room choice = (enum chat_room)f->choice.chosen;
    full_panel_close(f);
    chat_make_room(&f->talk->chat, choice);
}

/* ---- models --------------------------------------------------------------------------------------- */

/* Rows are replaced with each frame; the id must find the same model again. FNV-1a, never 0. */
static uint64_t id_of(const char *name)
{
    uint64_t hash = 14695981039346656037u;
    for (; *name; name++)
        hash = (hash ^ (unsigned char)*name) * 1099511628211u;
    return hash | 1;
}

static void fill_progress(struct full *f, const struct model_row *row, struct full_model_text *t,
                          struct view_row *out)
{
    const struct chat *c = &f->talk->chat;
    if (strcmp(c->fetching, row->name) != 0)
        return;
    uint64_t now_ms = uv_now(&f->talk->loop);
    if (f->fetch_start_ms == 0 || c->fetch_done < f->fetch_start_bytes) {
        f->fetch_start_ms = now_ms;
        f->fetch_start_bytes = c->fetch_done;
    }
    double passed_s = (double)(now_ms - f->fetch_start_ms) / 1e3;
    double speed = passed_s > 0.5 ? (double)(c->fetch_done - f->fetch_start_bytes) / passed_s : 0;
    char done[24], total[24];
    chat_size_text(c->fetch_done, done, sizeof done);
    chat_size_text(c->fetch_total, total, sizeof total);
    int n = snprintf(t->progress, sizeof t->progress, "%s of %s", done, total);
    if (speed > 0)
        snprintf(t->progress + n, sizeof t->progress - (size_t)n, ", %.1f MB/s", speed / 1e6);
    snprintf(t->where, sizeof t->where, "fetching");
    out->progress = c->fetch_total ? (double)c->fetch_done / (double)c->fetch_total : 0;
    out->progress_text = t->progress;
}

static void fill_model_row(struct full *f, int32_t i, struct full_model_text *t, struct view_row *out)
{
    const struct chat *c = &f->talk->chat;
    const struct model_row *row = &f->table.rows[i];
    bool in_use = c->model && strcmp(c->model->path, row->path) == 0;
    *t = (struct full_model_text){ .level = -1, .model = i };
    snprintf(t->name, sizeof t->name, "%s", row->name);
    chat_size_text(row->n_bytes, t->size, sizeof t->size);
    snprintf(t->where, sizeof t->where, "%s",
             in_use ? "in use" : row->is_here ? "here" : row->can_fetch ? "fetch" : "not here");
    *out = (struct view_row){ .id = id_of(row->name), .cells = { t->name, "", t->size, "", "", "", "", t->where },
                              .style = row->is_here ? UI_TEXT : UI_DIM, .current = in_use, .progress = -1 };
    fill_progress(f, row, t, out);
}

/* The model's name stands before its first level alone. */
static void fill_level_row(struct full *f, int32_t i, struct full_model_text *t, struct view_row *out)
{
    const struct chat *c = &f->talk->chat;
    const struct port_level *row = &c->levels->rows[i];
    char label[PORT_TEXT_BYTES] = "", id[PORT_PATH_BYTES + 32], done[24], total[24];
    *t = (struct full_model_text){ .level = i, .model = -1 };
    chat_model_label(c, label, sizeof label);
    if (i == 0)
        snprintf(t->name, sizeof t->name, "%s", label);
    chat_level_texts(c, row, &t->figures);
    snprintf(id, sizeof id, "%s %s", row->level, row->path);
    *out = (struct view_row){ .id = id_of(id),
                              .cells = { t->name, row->level, t->figures.size, t->figures.bits, t->figures.memory,
                                         t->figures.speed, t->figures.quality, t->figures.where },
                              .style = row->problem[0] ? UI_ERROR : row->is_here ? UI_TEXT : UI_DIM,
                              .current = t->figures.in_use, .progress = -1 };
    if (c->measuring[0] && strcmp(row->path, c->measuring_path) == 0) {
        out->progress = c->measure_share;
        out->progress_text = "measured while nobody asks";
    }
    if (!c->making[0] || row->is_here || strcmp(row->path, c->making_path) != 0)
        return;
    chat_size_text(c->make_done, done, sizeof done);
    chat_size_text(c->make_total, total, sizeof total);
    snprintf(t->progress, sizeof t->progress, "%s of %s", done, total);
    out->progress = c->make_total ? (double)c->make_done / (double)c->make_total : 0;
    out->progress_text = t->progress;
}

static const struct full_model_text *chosen_model(const struct full *f)
{
    const struct view_row *row = view_list_chosen(&f->models);
    return row ? &f->model_texts[row - f->model_rows] : NULL;
}

/* Of the machine, and of a device that has its own. */
static void fill_memory_free(struct full *f)
{
    const struct chat *c = &f->talk->chat;
    char text[24], used[24], all[24];
    if (c->stats.available_bytes == 0)
        return;
    chat_size_text(c->stats.available_bytes, text, sizeof text);
    int n = snprintf(f->models_summary, sizeof f->models_summary, "%s of memory free", text);
    if (chat_device_memory(c, used, all, sizeof used)) {
        chat_size_text(c->stats.device_free_bytes, text, sizeof text);
        snprintf(f->models_summary + n, sizeof f->models_summary - (size_t)n, ", %s of the device's", text);
    }
    f->models.summary = f->models_summary;
}

/* The model in use is somewhere; where another one would be is known when it is opened. */
static void fill_model_detail(struct full *f)
{
    const struct chat *c = &f->talk->chat;
    const struct full_model_text *chosen = chosen_model(f);
    char place[PORT_TEXT_BYTES] = "";
    f->models.detail = NULL;
    if (!chosen)
        return;
    f->models.detail = f->model_detail;
    if (chosen->level >= 0) {
        chat_level_detail(c, &c->levels->rows[chosen->level], f->model_detail, sizeof f->model_detail);
        return;
    }
    const struct model_row *row = &f->table.rows[chosen->model];
    bool good = row->good[0];
    if (c->model && strcmp(c->model->path, row->path) == 0)
        chat_place_text(c, place, sizeof place);
    snprintf(f->model_detail, sizeof f->model_detail, "%s%s%s%s%s%s%s%s", place[0] ? "on " : "", place,
             place[0] ? " · " : "", good ? row->good : row->path, good ? " · " : "", good ? row->title : "",
             row->licence[0] ? " · " : "", row->licence);
}

static bool is_level(const struct port_levels *levels, const char *path)
{
    for (int32_t i = 0; levels && i < levels->n; i++)
        if (strcmp(levels->rows[i].path, path) == 0)
            return true;
    return false;
}

/* Levels of the model in use, then all other models. */
static void update_models(struct full *f)
{
    const struct port_levels *levels = f->talk->chat.levels;
    struct err e;
    int32_t n = 0;
    model_table_finish(&f->table);
    if (model_table_read(&f->table, f->paths, &e) != ERR_OK)
        f->table.n = 0;
    for (int32_t i = 0; levels && i < levels->n; i++, n++)
        fill_level_row(f, i, &f->model_texts[n], &f->model_rows[n]);
    for (int32_t i = 0; i < f->table.n; i++)
        if (!is_level(levels, f->table.rows[i].path)) {
            fill_model_row(f, i, &f->model_texts[n], &f->model_rows[n]);
            n++;
        }
    if (!f->talk->chat.fetching[0])
        f->fetch_start_ms = 0;
    f->models.rows = f->model_rows;
    f->models.n_rows = n;

    fill_memory_free(f);
    fill_model_detail(f);
}

static void open_models(struct full *f)
{
    f->model_rows = calloc(FULL_MODEL_ROWS, sizeof *f->model_rows);
    f->model_texts = calloc(FULL_MODEL_ROWS, sizeof *f->model_texts);
    if (!f->model_rows || !f->model_texts)
        return;
    f->models = (struct view_list){
        .title = "Models",
        .columns = { { "Model", false, 0 }, { "Level", false, 0 }, { "Size", true, 0 }, { "Bits", true, 4 },
                     { "Memory", true, 2 }, { "Tok/s", true, 1 }, { "KL", true, 3 }, { "", false, 0 } },
        .n_columns = 8,
        .footer = "Enter switch, make or fetch · F3 measure · Del stop that · ~ estimated",
        .empty = "No models: quip -m FILE opens one.",
    };
    f->panel = FULL_MODELS;
    chat_want_levels(&f->talk->chat);
    update_models(f);
    f->screen.overlay = &view_list;
    f->screen.overlay_self = &f->models;
}

static void accept_model(struct full *f)
{
    struct chat *c = &f->talk->chat;
    const struct full_model_text *chosen = chosen_model(f);
    if (!chosen)
        return;
    if (chosen->level >= 0) {
        const struct port_level *row = &c->levels->rows[chosen->level];
        bool stays = !row->is_here;    /* to watch the bar */
        chat_choose_level(c, row);
        if (!stays)
            full_panel_close(f);
        return;
    }
    const struct model_row *row = &f->table.rows[chosen->model];
    bool here = row->is_here;
    chat_open_model(c, here ? row->path : row->name, !here);
    if (here)
        full_panel_close(f);
}

static void measure_model(struct full *f)
{
    const struct full_model_text *chosen = chosen_model(f);
    if (chosen && chosen->level >= 0)
        chat_measure_level(&f->talk->chat, &f->talk->chat.levels->rows[chosen->level]);
}

/* Whichever row is chosen: one thing of each kind is on its way at most. */
static void stop_model(struct full *f)
{
    struct chat *c = &f->talk->chat;
    if (c->making[0])
        c->port.stop_making(c->port.self);
    else if (c->measuring[0])
        c->port.stop_aside(c->port.self, c->measure_request);
    else
        c->port.stop_fetch(c->port.self);
}

/* ---- system prompt's file ------------------------------------------------------------------------- */

static void open_system(struct full *f)
{
    f->prompt_editor = editor_create();
    if (!f->prompt_editor)
        return;
    editor_set_single_line(f->prompt_editor, true);
    editor_set_text(f->prompt_editor, f->talk->chat.system_file);
    snprintf(f->prompt_message, sizeof f->prompt_message, "Empty: no system prompt. Tab completes.");
    f->prompt = (struct view_prompt){ .title = "System prompt", .label = "File to load it from",
                                      .message = f->prompt_message, .editor = f->prompt_editor };
    f->screen.overlay = &view_prompt;
    f->screen.overlay_self = &f->prompt;
}

static void accept_system(struct full *f)
{
    struct err e;
    char path[PATHS_BYTES];
    snprintf(path, sizeof path, "%s", editor_text(f->prompt_editor));
    if (!path[0]) {
        chat_system_text(&f->talk->chat, "");
        full_panel_close(f);
    } else if (chat_system_file(&f->talk->chat, path, &e) == ERR_OK) {
        full_panel_close(f);
    } else {
        snprintf(f->prompt_message, sizeof f->prompt_message, "%s", e.text);
        f->prompt.message_is_error = true;
    }
}

/* Completes the last part of the path as far as all names in its folder agree. */
static void complete_path(struct full *f)
{
    char typed[PATHS_BYTES], folder[PATHS_BYTES], common[PATHS_BYTES] = "", real[2 * PATHS_BYTES];
    snprintf(typed, sizeof typed, "%s", editor_text(f->prompt_editor));
    char *slash = strrchr(typed, '/');
    const char *stem = slash ? slash + 1 : typed;
    size_t n_stem = strlen(stem);
    snprintf(folder, sizeof folder, "%.*s", (int)(stem - typed), typed);
    bool from_home = folder[0] == '~' && folder[1] == '/';
    snprintf(real, sizeof real, "%s%s", from_home ? f->paths->home : "", folder[0] ? folder + from_home : "./");

    int n_found = 0;
    DIR *d = opendir(real);
    for (struct dirent *entry; d && (entry = readdir(d));) {
        if (strncmp(entry->d_name, stem, n_stem) != 0 || (entry->d_name[0] == '.' && n_stem == 0))
            continue;
        if (n_found++ == 0) {
            snprintf(common, sizeof common, "%s", entry->d_name);
            continue;
        }
        size_t same = 0;
        while (common[same] && common[same] == entry->d_name[same])
            same++;
        while (same > n_stem && ((unsigned char)common[same] & 0xc0) == 0x80)    /* not inside a character */
            same--;
        common[same] = '\0';
    }
    if (d)
        closedir(d);
    f->prompt.message_is_error = false;
    snprintf(f->prompt_message, sizeof f->prompt_message, "%d names begin so", n_found);
    if (n_found == 0)
        return;
    char whole[2 * PATHS_BYTES], path[4 * PATHS_BYTES];
    struct stat st;
    snprintf(path, sizeof path, "%s%s", real, common);
    bool is_folder = n_found == 1 && stat(path, &st) == 0 && S_ISDIR(st.st_mode);
    snprintf(whole, sizeof whole, "%s%s%s", folder, common, is_folder ? "/" : "");
    editor_set_text(f->prompt_editor, whole);
}

/* ---- all of them ---------------------------------------------------------------------------------- */

void full_panel_open(struct full *f, enum full_panel panel)
{
    full_panel_close(f);
    f->panel = panel;
    if (panel == FULL_HELP)
        open_help(f);
    else if (panel == FULL_MODELS)
        open_models(f);
    else if (panel == FULL_SETTINGS)
        open_settings(f);
    else if (panel == FULL_SYSTEM)
        open_system(f);
    else if (panel == FULL_FIGURES)
        open_figures(f);
    else if (panel == FULL_CONTEXT)
        open_context(f);
    else if (panel == FULL_COMPARE_WITH)
        full_compare_open_choice(f);
    else if (panel == FULL_COMPARE)
        full_compare_open(f);
    else if (panel == FULL_COMPARE_NEXT)
        full_compare_open_next(f);
    if (!f->screen.overlay)    /* no memory for it */
        full_panel_close(f);
}

void full_panel_close(struct full *f)
{
    f->screen.overlay = NULL;
    f->screen.overlay_self = NULL;
    if (f->panel == FULL_HELP) {
        view_help_finish(&f->help);
        free(f->slash_rows);
        free(f->slash_names);
        f->slash_rows = NULL;
        f->slash_names = NULL;
    } else if (f->panel == FULL_MODELS || f->panel == FULL_COMPARE_WITH) {
        model_table_finish(&f->table);
        free(f->model_rows);
        free(f->model_texts);
        f->model_rows = NULL;
        f->model_texts = NULL;
    } else if (f->panel == FULL_SYSTEM || f->panel == FULL_COMPARE_NEXT) {
        editor_destroy(f->prompt_editor);
        f->prompt_editor = NULL;
    }
    f->panel = FULL_NONE;
}

void full_panel_update(struct full *f)
{
    if (f->panel == FULL_MODELS)
        update_models(f);
    else if (f->panel == FULL_FIGURES)
        update_figures(f);
    else if (f->panel == FULL_COMPARE_WITH || f->panel == FULL_COMPARE)
        full_compare_update(f);
    else if (f->panel == FULL_CONTEXT && f->talk->chat.context.state != CONTEXT_ASKING)
        full_panel_close(f);    /* the question is answered otherwise: another model came */
}

void full_panel_action(struct full *f, enum ui_action action)
{
    if (action == UI_ACT_CLOSE && f->panel == FULL_CONTEXT) {
        full_panel_close(f);
        chat_make_room(&f->talk->chat, ROOM_STOP);
    } else if (action == UI_ACT_CLOSE && f->panel == FULL_COMPARE_NEXT) {
        full_panel_open(f, FULL_COMPARE);
    } else if (action == UI_ACT_CLOSE && f->panel == FULL_COMPARE) {
        full_panel_close(f);
        chat_compare_stop(&f->talk->chat);
    } else if (action == UI_ACT_CLOSE)
        full_panel_close(f);
    else if (f->panel == FULL_COMPARE)
        full_compare_action(f, action);
    else if (f->panel == FULL_COMPARE_WITH && (action == UI_ACT_ACCEPT || action == UI_ACT_COMPARE))
        full_compare_accept_choice(f, action == UI_ACT_COMPARE);
    else if (f->panel == FULL_COMPARE_NEXT && action == UI_ACT_ACCEPT)
        full_compare_accept_next(f);
    else if (f->panel == FULL_CONTEXT && action == UI_ACT_ACCEPT)
        accept_context(f);
    else if (f->panel == FULL_MODELS && action == UI_ACT_ACCEPT)
        accept_model(f);
    else if (f->panel == FULL_MODELS && action == UI_ACT_MEASURE)
        measure_model(f);
    else if (f->panel == FULL_MODELS && action == UI_ACT_REMOVE)
        stop_model(f);
    else if (f->panel == FULL_SYSTEM && action == UI_ACT_ACCEPT)
        accept_system(f);
    else if (f->panel == FULL_SYSTEM && action == UI_ACT_COMPLETE)
        complete_path(f);
}
