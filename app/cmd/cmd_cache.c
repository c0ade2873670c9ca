/* SPDX-License-Identifier: MIT */
/* quip cache: prefixes of prompts that were read before and kept in files, and figures that were measured of models. */
#include "app/cmd/cmd.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "app/level/figures.h"

/* What the files may have, unless a start says otherwise: the default of --cache-disk. */
static uint64_t usual_cap(const struct app *app)
{
    static const char name[] = "--cache-disk";
    const struct option *o = option_find(app->options, COMMAND_RUN, name, sizeof name - 1);
    return o ? strtoull(o->preset, NULL, 10) << 20 : 0;
}

static bool is_wanted(const struct cache_file *f, const char *model)
{
    return !model || (!f->why[0] && (strcasecmp(f->model, model) == 0 || strcasecmp(f->file, model) == 0));
}

static const char *age(int64_t used_s, char out[32])
{
    int64_t s = (int64_t)time(NULL) - used_s;
    if (s < 60)
        snprintf(out, 32, "now");
    else if (s < 3600)
        snprintf(out, 32, "%d min", (int)(s / 60));
    else if (s < 48 * 3600)
        snprintf(out, 32, "%d h", (int)(s / 3600));
    else
        snprintf(out, 32, "%lld d", (long long)(s / 86400));
    return out;
}

/* ---- as JSON ---------------------------------------------------------------------------------------- */

static json_t *text_of(const char *text)
{
    return cmd_json_text(text, strlen(text));
}

static json_t *to_json(const struct cache_file *f)
{
    if (f->why[0])
        return json_pack("{so sI sI so}", "name", text_of(f->name), "bytes", (json_int_t)f->n_bytes, "used",
                         (json_int_t)f->used_s, "problem", text_of(f->why));
    return json_pack("{so sI sI si so so so so so}", "name", text_of(f->name), "bytes", (json_int_t)f->n_bytes, "used",
                     (json_int_t)f->used_s, "tokens", (int)f->n_tokens, "model", text_of(f->model), "file",
                     text_of(f->file), "level", text_of(f->level), "type_k", text_of(f->type_k), "type_v",
                     text_of(f->type_v));
}

static void print_json(json_t *value)
{
    json_dumpf(value, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(value);
}

static bool is_of(const struct figures_file *f, const char *model)
{
    return !model || strcasecmp(f->name, model) == 0;
}

static json_t *figures_list(const struct figures *f, const char *model)
{
    json_t *list = json_array();
    for (int32_t i = 0; i < f->n_speeds; i++) {
        const struct figures_speed *s = &f->speeds[i];
        if (is_of(&s->file, model))
            json_array_append_new(list, json_pack("{ss so sf si so so sI}", "kind", "speed", "model",
                                                  text_of(s->file.name), "tokens_per_s", s->tokens_per_s, "held",
                                                  (int)s->n_held, "types", text_of(s->kv_types), "place",
                                                  text_of(s->place), "time", (json_int_t)s->time_s));
    }
    for (int32_t i = 0; i < f->n_qualities; i++) {
        const struct figures_quality *q = &f->qualities[i];
        if (is_of(&q->file, model))
            json_array_append_new(list, json_pack("{ss so sf sf sf so si sI}", "kind", "quality", "model",
                                                  text_of(q->file.name), "kl", q->kl, "kl_error", q->kl_error,
                                                  "same_top", q->same_top, "base", text_of(q->base_level), "tokens",
                                                  (int)q->n_tokens, "time", (json_int_t)q->time_s));
    }
    for (int32_t i = 0; !model && i < f->n_bandwidths; i++) {
        const struct figures_bandwidth *b = &f->bandwidths[i];
        json_array_append_new(list, json_pack("{ss sf so sI}", "kind", "memory", "bytes_per_s", b->bytes_per_s, "place",
                                              text_of(b->place), "time", (json_int_t)b->time_s));
    }
    return list;
}

static json_t *figures_json(const struct app *app, const struct figures *f)
{
    return json_pack("{so sI si si si sb so}", "file", text_of(app->paths->figures), "bytes", (json_int_t)f->file_bytes,
                     "speeds", (int)f->n_speeds, "qualities", (int)f->n_qualities, "memory", (int)f->n_bandwidths,
                     "damaged", f->damaged, "figures", figures_list(f, app->config->model));
}

static void list_json(const struct app *app, const struct cache_list *list, const struct figures *f)
{
    json_t *files = json_array();
    for (int32_t i = 0; i < list->n_files; i++)
        if (is_wanted(&list->files[i], app->config->model))
            json_array_append_new(files, to_json(&list->files[i]));
    print_json(json_pack("{so sI sI so si sI so}", "folder", text_of(app->paths->kv_cache), "bytes",
                         (json_int_t)list->n_bytes, "cap", (json_int_t)usual_cap(app), "files", files, "device_files",
                         (int)list->n_device_files, "device_bytes", (json_int_t)list->device_bytes, "figures",
                         figures_json(app, f)));
}

/* ---- as text ---------------------------------------------------------------------------------------- */

static void print_file(const struct cache_file *f)
{
    char line[512], used[32], size[32], types[32], tokens[16];
    snprintf(types, sizeof types, "%s%s%s", f->type_k, strcmp(f->type_k, f->type_v) ? "/" : "",
             strcmp(f->type_k, f->type_v) ? f->type_v : "");
    snprintf(tokens, sizeof tokens, "%d", f->n_tokens);
    snprintf(line, sizeof line, "%8s  %7s  %8s  %-9s  %-8s  %s%s", age(f->used_s, used), f->why[0] ? "-" : tokens,
             cmd_size(f->n_bytes, size), f->why[0] ? "-" : types, f->why[0] ? "-" : f->level,
             f->why[0] ? "of no use: " : f->file, f->why);
    cmd_put_line(stdout, line);
    putchar('\n');
}

static void print_figure(int64_t time_s, const char *what, const char *model)
{
    char line[FIGURES_TEXT_BYTES * 3 + 128], when[32];
    snprintf(line, sizeof line, "%8s  %-58s  %s", age(time_s, when), what, model);
    cmd_put_line(stdout, line);
    putchar('\n');
}

static void list_figures(const struct figures *f, const char *model)
{
    char what[FIGURES_TEXT_BYTES * 2 + 64];
    if (f->n_speeds + f->n_qualities + f->n_bandwidths > 0)
        printf("\n%8s  %-58s  %s\n", "MEASURED", "FIGURE", "MODEL");
    for (int32_t i = 0; i < f->n_speeds; i++) {
        const struct figures_speed *s = &f->speeds[i];
        snprintf(what, sizeof what, "%.1f tok/s after %d tokens, %s, %s", s->tokens_per_s, s->n_held, s->kv_types, s->place);
        if (is_of(&s->file, model))
            print_figure(s->time_s, what, s->file.name);
    }
    for (int32_t i = 0; i < f->n_qualities; i++) {
        const struct figures_quality *q = &f->qualities[i];
        snprintf(what, sizeof what, "KL %.4f from %s, same first choice %.1f %%, %d tokens", q->kl, q->base_level,
                 100 * q->same_top, q->n_tokens);
        if (is_of(&q->file, model))
            print_figure(q->time_s, what, q->file.name);
    }
    for (int32_t i = 0; !model && i < f->n_bandwidths; i++) {
        const struct figures_bandwidth *b = &f->bandwidths[i];
        snprintf(what, sizeof what, "%.1f GB/s of memory, %s", b->bytes_per_s / 1e9, b->place);
        print_figure(b->time_s, what, "");
    }
}

static void print_figures(const struct app *app, const struct figures *f)
{
    char line[PATHS_BYTES + 128];
    if (f->file_bytes == 0)
        return;
    if (!f->damaged)
        list_figures(f, app->config->model);
    if (f->damaged)
        snprintf(line, sizeof line, "figures of models are damaged and of no use, in %s", app->paths->figures);
    else
        snprintf(line, sizeof line, "%d speed%s of models, %d of their quality, %d of memory, as measured, in %s",
                 f->n_speeds, f->n_speeds == 1 ? "" : "s", f->n_qualities, f->n_bandwidths, app->paths->figures);
    cmd_put_line(stdout, line);
    putchar('\n');
}

static void list_text(const struct app *app, const struct cache_list *list, const struct figures *f)
{
    char size[32], cap[32], line[PATHS_BYTES + 128];
    int32_t n = 0;
    for (int32_t i = 0; i < list->n_files; i++) {
        if (!is_wanted(&list->files[i], app->config->model))
            continue;
        if (n++ == 0)
            printf("%8s  %7s  %8s  %-9s  %-8s  %s\n", "USED", "TOKENS", "SIZE", "TYPES", "LEVEL", "MODEL");
        print_file(&list->files[i]);
    }
    if (n > 0)
        putchar('\n');
    snprintf(line, sizeof line, "%d file%s, %s of %s (--cache-disk), in %s", list->n_files,
             list->n_files == 1 ? "" : "s", cmd_size(list->n_bytes, size), cmd_size(usual_cap(app), cap),
             app->paths->kv_cache);
    cmd_put_line(stdout, line);
    putchar('\n');
    if (list->n_device_files > 0)
        printf("%d file%s of devices, %s: shaders as they were compiled, and how self-tests came out\n",
               list->n_device_files, list->n_device_files == 1 ? "" : "s", cmd_size(list->device_bytes, size));
    print_figures(app, f);
}

/* ----------------------------------------------------------------------------------------------------- */

static enum exit_code clear(const struct app *app)
{
    int32_t n_files, n_figures = 0;
    uint64_t n_bytes;
    struct err e;
    char size[32], figures[32] = "";
    const char *model = app->config->model;
    enum err_code rc = cache_clear(app->paths->kv_cache, model, &n_files, &n_bytes, &e);
    if (rc == ERR_OK)
        rc = figures_clear(app->paths->figures, model, &n_figures, &e);
    if (rc == ERR_OK && model && n_files == 0 && n_figures == 0) {
        cmd_complain("nothing is kept for a model '%s'; `quip cache` shows the names", model);
        return EXIT_CODE_FAILURE;
    }
    if (app->config->json)
        print_json(json_pack("{si sI si}", "removed", (int)n_files, "bytes", (json_int_t)n_bytes, "figures",
                             (int)n_figures));
    else {
        if (n_figures > 0)
            snprintf(figures, sizeof figures, ", %d figure%s", n_figures, n_figures == 1 ? "" : "s");
        printf("Removed %d file%s, %s%s\n", n_files, n_files == 1 ? "" : "s", cmd_size(n_bytes, size), figures);
    }
    if (rc != ERR_OK)
        cmd_complain("%s", e.text);
    return rc == ERR_OK ? EXIT_CODE_OK : EXIT_CODE_FAILURE;
}

enum exit_code cmd_cache(const struct app *app)
{
    const struct config *c = app->config;
    struct cache_list list;
    struct err e;
    if (c->n_args > 0 && strcmp(c->args[0], "clear") != 0) {
        cmd_complain("'%s' is nothing `quip cache` can do; wanted: clear, or nothing for a list", c->args[0]);
        return EXIT_CODE_USAGE;
    }
    if (!app->paths->kv_cache[0]) {
        cmd_complain("there is no place for cached prefixes: neither XDG_CACHE_HOME nor HOME says one");
        return EXIT_CODE_FAILURE;
    }
    if (c->n_args > 0)
        return clear(app);
    if (cache_list(&list, app->paths->kv_cache, &e) != ERR_OK) {
        cmd_complain("%s", e.text);
        return EXIT_CODE_FAILURE;
    }
    struct figures *figures = malloc(sizeof *figures);
    if (figures) {
        figures_read(figures, app->paths->figures);
        if (c->json)
            list_json(app, &list, figures);
        else
            list_text(app, &list, figures);
    }
    free(figures);
    cache_list_finish(&list);
    return figures ? EXIT_CODE_OK : EXIT_CODE_FAILURE;
}
