/* SPDX-License-Identifier: MIT */
/* quip doctor: what this machine has, what quip makes of it, and why not more. */
#include "app/cmd/cmd.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "app/config/model_table.h"
#include "engine/base/cpuid.h"

struct doctor {
    const struct app *app;
    struct engine *eng;
    struct engine_info info;
    struct engine_device_list *list;
    struct engine_devices_info devices;
    int32_t n_models, n_kept;
    uint64_t models_bytes, kept_bytes;
    struct err models_err, kept_err;    /* text "": the folder could be read */
    struct winsize window;              /* ws_col 0: there is no terminal */
};

/* ---- looking -------------------------------------------------------------------------------------- */

static void look_at_models(struct doctor *d)
{
    struct model_table table;
    if (model_table_read(&table, d->app->paths, &d->models_err) != ERR_OK)
        return;
    for (int32_t i = 0; i < table.n; i++)
        if (table.rows[i].is_here) {
            d->n_models++;
            d->models_bytes += table.rows[i].n_bytes;
        }
    model_table_finish(&table);
}

static void look_at_cache(struct doctor *d)
{
    struct cache_list list;
    if (!d->app->paths->kv_cache[0]) {
        err_set(&d->kept_err, ERR_IO, "neither XDG_CACHE_HOME nor HOME says a place");
        return;
    }
    if (cache_list(&list, d->app->paths->kv_cache, &d->kept_err) != ERR_OK)
        return;
    d->n_kept = list.n_files;
    d->kept_bytes = list.n_bytes;
    cache_list_finish(&list);
}

static enum err_code look(struct doctor *d, struct err *e)
{
    const struct config *c = d->app->config;
    const struct engine_options o = { .device = c->device, .vulkan_loader = c->vulkan_loader,
                                      .vulkan_validate = c->vulkan_validate,
                                      .cache_dir = d->app->paths->kv_cache[0] ? d->app->paths->kv_cache : NULL };
    enum err_code rc = engine_create(&d->eng, &o, e);
    if (rc == ERR_OK)
        rc = engine_devices(&d->list, &o, e);
    if (rc != ERR_OK)
        return rc;
    engine_info(d->eng, &d->info);
    engine_devices_info(d->list, &d->devices);
    look_at_models(d);
    look_at_cache(d);
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &d->window) != 0)
        d->window.ws_col = 0;
    return ERR_OK;
}

static const char *chosen_id(const struct doctor *d)
{
    return d->devices.chosen < 0 ? "cpu" : engine_device_at(d->list, d->devices.chosen)->id;
}

/* ---- as JSON -------------------------------------------------------------------------------------- */

static json_t *text_of(const char *text)
{
    return cmd_json_text(text, strlen(text));
}

/* "a, b" as a list */
static json_t *json_words(const char *text)
{
    json_t *list = json_array();
    for (const char *p = text; *p; p += strspn(p, ", ")) {
        size_t n = strcspn(p, ",");
        json_array_append_new(list, cmd_json_text(p, n));
        p += n;
    }
    return list;
}

static json_t *json_heaps(const struct engine_device *device)
{
    json_t *heaps = json_array();
    for (int32_t i = 0; i < device->n_heaps; i++)
        json_array_append_new(heaps, json_pack("{sI so sb}", "bytes", (json_int_t)device->heaps[i].n_bytes, "free",
                                               device->knows_free
                                                   ? json_integer((json_int_t)device->heaps[i].free_bytes)
                                                   : json_null(),
                                               "local", (int)device->heaps[i].is_local));
    return heaps;
}

static json_t *json_devices(const struct doctor *d)
{
    json_t *list = json_array();
    for (int32_t i = 0; i < d->devices.n_devices; i++) {
        const struct engine_device *v = engine_device_at(d->list, i);
        json_array_append_new(
            list, json_pack("{ss so so ss ss so so so sb so ss}", "id", v->id, "name", text_of(v->name), "driver",
                            text_of(v->driver), "kind", v->kind, "vulkan", v->version, "has", json_words(v->has),
                            "lacks", json_words(v->lacks), "heaps", json_heaps(v), "usable", (int)!v->problem[0],
                            "problem", text_of(v->problem), "selftest", v->selftest));
    }
    return list;
}

static json_t *json_folder(const char *folder, int32_t n_files, uint64_t n_bytes, const struct err *e)
{
    return json_pack("{so si sI so}", "folder", text_of(folder), "files", (int)n_files, "bytes", (json_int_t)n_bytes,
                     "problem", text_of(e->text));
}

static void print_json(const struct doctor *d)
{
    const struct engine_info *info = &d->info;
    const struct environment *env = d->app->env;
    json_t *tiers = json_array();
    const char *tier;
    for (int32_t i = 0; (tier = engine_tier(i)); i++)
        json_array_append_new(tiers, json_string(tier));
    json_t *processor = json_pack("{so so ss si si}", "name", text_of(info->cpu), "tiers", tiers, "tier",
                                  info->cpu_tier, "cores", (int)cpuid_cores(), "threads", (int)info->n_threads);
    json_t *memory = json_pack("{sI sI}", "bytes", (json_int_t)info->memory_total_bytes, "free",
                               (json_int_t)info->memory_available_bytes);
    json_t *vulkan = json_pack("{so ss so sb si so}", "loader", text_of(d->devices.loader), "version",
                               d->devices.version, "problem", text_of(d->devices.problem), "cooperative_matrices",
                               (int)d->devices.has_coop, "validation_messages", (int)d->devices.n_validation,
                               "validation", text_of(d->devices.validation));
    json_t *automatic = json_pack("{ss so}", "device", chosen_id(d), "why", text_of(d->devices.why));
    json_t *asked = json_pack("{so so so}", "device", text_of(d->app->config->device), "used",
                              text_of(info->device[0] ? info->device : "cpu"), "note", text_of(info->device_note));
    json_t *terminal = json_pack("{so sb si si sb sb}", "term", text_of(env->term), "is_terminal",
                                 (int)(d->window.ws_col > 0), "columns", (int)d->window.ws_col, "rows",
                                 (int)d->window.ws_row, "utf8", (int)environment_is_utf8(), "no_color",
                                 (int)env->no_color);
    json_t *all = json_pack("{ss so so so so so so so so so}", "version", QUIP_VERSION, "processor", processor,
                            "memory", memory, "vulkan", vulkan, "devices", json_devices(d), "auto", automatic, "asked",
                            asked, "models",
                            json_folder(d->app->paths->models, d->n_models, d->models_bytes, &d->models_err), "cache",
                            json_folder(d->app->paths->kv_cache, d->n_kept, d->kept_bytes, &d->kept_err), "terminal",
                            terminal);
    json_dumpf(all, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(all);
}

/* ---- as text -------------------------------------------------------------------------------------- */

enum { NAME_COLUMNS = 14, LEAST_COLUMNS = 50, ROW_BYTES = PATHS_BYTES + 256 };

/* A name, and its text cut at words into as many lines as it takes. */
static void row(const char *name, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void row(const char *name, const char *format, ...)
{
    char text[ROW_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    int n_columns = cmd_columns(stdout), used = 0;
    n_columns = (n_columns < LEAST_COLUMNS ? LEAST_COLUMNS : n_columns) - NAME_COLUMNS;
    printf("%-*s", NAME_COLUMNS, name);
    for (char *rest = text, *word; (word = strsep(&rest, " "));) {
        int n = (int)strlen(word);
        if (used > 0 && used + 1 + n > n_columns) {
            printf("\n%*s", NAME_COLUMNS, "");
            used = 0;
        }
        if (used > 0)
            putchar(' ');
        cmd_put_line(stdout, word);
        used += n + (used > 0);
    }
    putchar('\n');
}

static void print_processor(const struct doctor *d)
{
    const struct engine_info *info = &d->info;
    char tiers[64] = "", total[32], available[32];
    size_t used = 0;
    const char *tier;
    for (int32_t i = 0; (tier = engine_tier(i)) && used < sizeof tiers; i++)
        used += (size_t)snprintf(tiers + used, sizeof tiers - used, "%s%s", i > 0 ? ", " : "", tier);
    row("Processor", "%s", info->cpu[0] ? info->cpu : "its name is not told");
    row("  tiers", "%s; %s is used", tiers, info->cpu_tier);
    row("  cores", "%d that quip may use, %d thread%s", cpuid_cores(), info->n_threads,
        info->n_threads == 1 ? "" : "s");
    row("Memory", "%s, %s free", cmd_size(info->memory_total_bytes, total),
        cmd_size(info->memory_available_bytes, available));
}

static void print_heaps(const struct engine_device *v)
{
    for (int32_t i = 0; i < v->n_heaps; i++) {
        char size[32], left[32], free_text[64] = "free unknown";
        if (v->knows_free)
            snprintf(free_text, sizeof free_text, "%s free", cmd_size(v->heaps[i].free_bytes, left));
        row(i == 0 ? "  memory" : "", "%s %s, %s", cmd_size(v->heaps[i].n_bytes, size),
            v->heaps[i].is_local ? "of its own" : "of the machine's", free_text);
    }
}

static void print_devices(const struct doctor *d)
{
    const struct engine_devices_info *info = &d->devices;
    if (info->problem[0])
        row("Vulkan", "%s", info->problem);
    else
        row("Vulkan", "%s, loader %s%s", info->version, info->loader,
            info->n_devices == 0 ? "; it has no device" : "");
    row("Shaders", "%s", info->has_coop ? "with cooperative matrices, which tests alone use so far"
                                        : "without cooperative matrices, which the shader compiler of the build lacks");
    for (int32_t i = 0; i < info->n_devices; i++) {
        const struct engine_device *v = engine_device_at(d->list, i);
        row(v->id, "%s", v->name);
        row("  driver", "%s; %s, Vulkan %s", v->driver, v->kind, v->version);
        print_heaps(v);
        row("  has", "%s", v->has[0] ? v->has : "nothing beyond what is required");
        row("  lacks", "%s", v->lacks[0] ? v->lacks : "nothing");
        row("  usable", "%s%s", v->problem[0] ? "no: " : "yes", v->problem);
        if (v->selftest[0])
            row("  self-test", "%s", v->selftest);
    }
    if (d->app->config->vulkan_validate && !info->problem[0])
        row("Validation", "%d message%s%s%s", info->n_validation, info->n_validation == 1 ? "" : "s",
            info->n_validation > 0 ? "; the first: " : "", info->validation);
    row("Auto takes", "%s: %s", chosen_id(d), info->why);
    if (strcmp(d->app->config->device, "auto") != 0)
        row("--device", "%s: %s", d->app->config->device,
            d->info.device_note[0] ? d->info.device_note : d->info.device[0] ? d->info.device : "the processor");
}

static void print_folder(const char *name, const char *folder, int32_t n_files, uint64_t n_bytes, const struct err *e)
{
    char size[32];
    if (e->text[0])
        row(name, "%s", e->text);
    else
        row(name, "%s: %d file%s, %s", folder, n_files, n_files == 1 ? "" : "s", cmd_size(n_bytes, size));
}

static void print_terminal(const struct doctor *d)
{
    const struct environment *env = d->app->env;
    char size[48] = "stdout is no terminal";
    if (d->window.ws_col > 0)
        snprintf(size, sizeof size, "%d columns, %d rows", d->window.ws_col, d->window.ws_row);
    row("Terminal", "%s; %s; the locale is %sUTF-8%s", env->term[0] ? env->term : "TERM is not set", size,
        environment_is_utf8() ? "" : "not ", env->no_color ? "; NO_COLOR is set" : "");
}

static void print_text(const struct doctor *d)
{
    row("quip", "%s", QUIP_VERSION);
    print_processor(d);
    print_devices(d);
    print_folder("Models", d->app->paths->models, d->n_models, d->models_bytes, &d->models_err);
    print_folder("Cache", d->app->paths->kv_cache, d->n_kept, d->kept_bytes, &d->kept_err);
    print_terminal(d);
}

enum exit_code cmd_doctor(const struct app *app)
{
    struct doctor d = { .app = app };
    struct err e;
    enum err_code rc = look(&d, &e);
    if (rc != ERR_OK)
        cmd_complain("%s", e.text);
    else if (app->config->json)
        print_json(&d);
    else
        print_text(&d);
    engine_devices_destroy(d.list);
    engine_destroy(d.eng);
    return rc == ERR_OK ? EXIT_CODE_OK : EXIT_CODE_FAILURE;
}
