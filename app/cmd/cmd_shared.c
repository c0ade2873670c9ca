/* SPDX-License-Identifier: MIT */
#include "app/cmd/cmd.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "app/config/model_table.h"
#include "app/ui/neutral.h"
#include "engine/base/utf8.h"

enum { READ_PIECE = 1 << 16 };
static const size_t READ_LIMIT = (size_t)1 << 30;

static void put(FILE *out, const char *text, size_t n_bytes, bool one_line)
{
    if (!isatty(fileno(out))) {
        fwrite(text, 1, n_bytes, out);
        return;
    }
    struct buf shown = { 0 };
    struct neutral_filter filter = { .one_line = one_line };
    neutral_filter_feed(&filter, &shown, text, n_bytes);
    neutral_filter_end(&filter, &shown);
    fwrite(buf_text(&shown), 1, shown.n_bytes, out);
    buf_finish(&shown);
}

void cmd_put(FILE *out, const char *text, size_t n_bytes)
{
    put(out, text, n_bytes, false);
}

void cmd_put_line(FILE *out, const char *text)
{
    put(out, text, strlen(text), true);
}

json_t *cmd_json_text(const char *bytes, size_t n_bytes)
{
    if (utf8_valid(bytes, n_bytes))
        return json_stringn_nocheck(bytes, n_bytes);
    struct buf text = { 0 };
    for (size_t at = 0; at < n_bytes;) {
        uint32_t code_point;
        at += (size_t)utf8_decode(bytes + at, n_bytes - at, &code_point);
        buf_add_utf8(&text, code_point);
    }
    json_t *value = json_stringn_nocheck(buf_text(&text), text.n_bytes);
    buf_finish(&text);
    return value;
}

json_t *cmd_json_number(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

void cmd_complain(const char *format, ...)
{
    char text[ERR_TEXT_BYTES + 128];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    fputs("quip: ", stderr);
    cmd_put_line(stderr, text);
    fputc('\n', stderr);
}

int cmd_columns(FILE *out)
{
    struct winsize size;
    if (ioctl(fileno(out), TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
        return size.ws_col;
    return 100;
}

const char *cmd_size(uint64_t n_bytes, char out[32])
{
    static const char *const units[] = { "B", "kB", "MB", "GB", "TB" };
    double value = (double)n_bytes;
    int unit = 0;
    for (; value >= 999.5 && unit < 4; unit++)
        value /= 1000;
    snprintf(out, 32, unit == 0 || value >= 99.95 ? "%.0f %s" : value >= 9.995 ? "%.1f %s" : "%.2f %s", value,
             units[unit]);
    return out;
}

enum err_code cmd_read(struct buf *out, const char *path, struct err *e)
{
    bool is_stdin = strcmp(path, "-") == 0;
    const char *name = is_stdin ? "stdin" : path;
    FILE *f = is_stdin ? stdin : fopen(path, "rb");
    if (!f)
        return err_set(e, ERR_IO, "%s: %s", name, strerror(errno));
    enum err_code rc = ERR_OK;
    for (size_t total = 0;;) {
        if (!buf_reserve(out, READ_PIECE)) {
            rc = err_set(e, ERR_NOMEM, "%s: no memory for the text", name);
            break;
        }
        size_t n = fread(out->data + out->n_bytes, 1, READ_PIECE, f);
        if (n == 0) {
            if (ferror(f))
                rc = err_set(e, ERR_IO, "%s: %s", name, strerror(errno));
            break;
        }
        total += n;
        if (total > READ_LIMIT) {
            rc = err_set(e, ERR_NOMEM, "%s: longer than the 1 GiB that is read", name);
            break;
        }
        out->n_bytes += n;
    }
    if (rc == ERR_OK && !buf_add(out, "", 0))
        rc = err_set(e, ERR_NOMEM, "%s: no memory for the text", name);
    if (!is_stdin)
        fclose(f);
    return rc;
}

int32_t cmd_warn(const struct model *m, int32_t first)
{
    int32_t i = 0;
    for (const char *warning; (warning = model_warning(m, i)); i++)
        if (i >= first)
            cmd_complain("%s", warning);
    return i;
}

enum exit_code cmd_engine_create(struct engine **out, const struct app *app, bool with_device, int32_t n_threads)
{
    const struct config *config = app->config;
    struct err e;
    struct engine_options options = { .n_threads = n_threads, .cpu_tier = config->cpu_tier,
                                      .device = with_device && config->n_gpu_layers != 0 ? config->device : "cpu",
                                      .n_gpu_layers = config->n_gpu_layers > 0 ? config->n_gpu_layers : 0,
                                      .n_ctx = config->n_ctx,
                                      .vulkan_loader = config->vulkan_loader,
                                      .vulkan_validate = config->vulkan_validate,
                                      .cache_dir = app->paths->kv_cache[0] ? app->paths->kv_cache : NULL };
    if (engine_create(out, &options, &e) == ERR_OK)
        return EXIT_CODE_OK;
    cmd_complain("%s", e.text);
    return e.code == ERR_UNSUPPORTED ? EXIT_CODE_USAGE : EXIT_CODE_FAILURE;
}

enum exit_code cmd_model_open(struct cmd_model *out, const struct app *app, enum model_use use,
                              int32_t n_threads)
{
    memset(out, 0, sizeof *out);
    struct err e;
    const struct config *config = app->config;
    const char *name = config->model;
    if (!name && config->command == COMMAND_INSPECT && config->n_args > 0)
        name = config->args[0];
    if (model_table_choose(app->paths, name, out->path, &e) != ERR_OK) {
        cmd_complain("%s", e.text);
        return EXIT_CODE_MODEL;
    }
    /* What is only read needs no device. */
    enum exit_code code = cmd_engine_create(&out->eng, app, use == MODEL_RUN, n_threads);
    if (code != EXIT_CODE_OK)
        return code;
    if (model_open(&out->model, out->eng, out->path, use, &e) != ERR_OK) {
        cmd_complain("%s", e.text);
        cmd_model_close(out);
        return EXIT_CODE_MODEL;
    }
    enum command c = app->config->command;
    if (c == COMMAND_RUN || c == COMMAND_TEMPLATE || c == COMMAND_TOKENIZE)    /* figures need no advice */
        cmd_warn(out->model, 0);
    return EXIT_CODE_OK;
}

enum exit_code cmd_model_beside(struct model **out, const struct app *app, const struct cmd_model *first,
                                const char *name)
{
    char path[PATHS_BYTES], size[32], available[32];
    struct engine_info info;
    struct err e;
    *out = NULL;
    enum err_code rc = model_table_choose(app->paths, name, path, &e);
    if (rc == ERR_OK)
        rc = model_open(out, first->eng, path, MODEL_RUN, &e);
    if (rc != ERR_OK) {
        cmd_complain("%s", e.text);
        return EXIT_CODE_MODEL;
    }
    engine_info(first->eng, &info);
    uint64_t n_bytes = model_info(first->model)->file_bytes + model_info(*out)->file_bytes;
    uint64_t room = info.memory_available_bytes + info.memory_resident_bytes;
    if (n_bytes > room)
        cmd_complain("%s and %s are %s together, with %s of memory to be had: this will be slow", first->path, path,
                     cmd_size(n_bytes, size), cmd_size(room, available));
    return EXIT_CODE_OK;
}

void cmd_note_device(const struct engine *eng)
{
    struct engine_info info;
    engine_info(eng, &info);
    if (info.device_note[0])
        cmd_complain("%s", info.device_note);
}

void cmd_model_close(struct cmd_model *cm)
{
    struct engine_info info = { 0 };
    model_close(cm->model);
    if (cm->eng)
        engine_info(cm->eng, &info);
    if (info.n_validation > 0)
        cmd_complain("the validation layer has %d message%s, the first: %s", info.n_validation,
                     info.n_validation == 1 ? "" : "s", info.validation);
    engine_destroy(cm->eng);
    cm->model = NULL;
    cm->eng = NULL;
}

enum exit_code cmd_session(struct session **out, const struct app *app, struct model *m, int32_t n_ctx,
                           int32_t n_batch)
{
    const struct config *c = app->config;
    struct session_options options = { .n_ctx = n_ctx, .n_seqs = 1, .n_batch = n_batch, .kv_type_k = c->kv_type_k,
                                       .kv_type_v = c->kv_type_v, .keep_kv_type = true };
    if (c->command == COMMAND_RUN || c->command == COMMAND_CHAT) {
        options.keep_kv_type = c->keep_kv_type;
        options.cache_ram_bytes = (uint64_t)c->cache_ram_mib << 20;
        options.cache_disk_bytes = (uint64_t)c->cache_disk_mib << 20;
        options.cache_dir = c->cache_disk_mib > 0 && app->paths->kv_cache[0] ? app->paths->kv_cache : NULL;
    }
    struct err e;
    if (session_create(out, m, &options, &e) != ERR_OK) {
        cmd_complain("%s", e.text);
        return e.code == ERR_FORMAT || e.code == ERR_UNSUPPORTED ? EXIT_CODE_USAGE : EXIT_CODE_FAILURE;
    }
    return EXIT_CODE_OK;
}

enum err_code cmd_bos(const struct model *m, int32_t *bos, struct err *e)
{
    struct text_part nothing = { "", 0, false };
    struct token_list front = { 0 };
    enum err_code rc = model_tokenize(m, &nothing, 1, true, &front, e);
    *bos = front.n > 0 ? front.ids[0] : -1;
    token_list_finish(&front);
    return rc;
}
