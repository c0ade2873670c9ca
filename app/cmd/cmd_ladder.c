/* SPDX-License-Identifier: MIT */
#include "app/cmd/cmd_ladder.h"

#include <string.h>

#include "app/config/model_table.h"

/* The given file is priced, unless it cannot be run: then nothing is to be had but the list. */
static const struct fit *given_fit(const struct cmd_ladder *c)
{
    const struct ladder_row *row = &c->ladder->rows[c->ladder->given];
    return row->fits_known ? &row->fit : NULL;
}

static void set_place(struct cmd_ladder *c)
{
    struct engine_info info;
    const struct fit *f = given_fit(c);
    engine_info(c->eng, &info);
    figures_place(&info, f ? f->n_layers : 0, f ? f->n_device_layers : 0, c->place);
}

enum exit_code cmd_ladder_open(struct cmd_ladder *out, const struct app *app)
{
    const struct config *config = app->config;
    const struct paths *paths = app->paths;
    char path[PATHS_BYTES];
    struct err e;
    memset(out, 0, sizeof *out);
    if (model_table_choose(paths, config->model, path, &e) != ERR_OK) {
        cmd_complain("%s", e.text);
        return EXIT_CODE_MODEL;
    }
    enum exit_code code = cmd_engine_create(&out->eng, app, true, config->n_threads);
    if (code != EXIT_CODE_OK)
        return code;
    cmd_note_device(out->eng);
    if (ladder_open(&out->ladder, path, paths->models, paths->figures, &e) != ERR_OK) {
        cmd_complain("%s", e.text);
        return EXIT_CODE_MODEL;
    }
    out->want = (struct fit_want){ .n_ctx = config->n_ctx, .kv_type_k = config->kv_type_k,
                                   .kv_type_v = config->kv_type_v };
    out->n_held = config->held;
    struct engine_info info;
    engine_info(out->eng, &info);
    out->roof = (struct roofline){ .bytes_per_s = figures_memory_bandwidth(paths->figures, out->eng, false),
                                   .n_threads = info.n_threads };
    if (ladder_price(out->ladder, out->eng, &out->want, &out->roof, out->n_held, &e) != ERR_OK) {
        cmd_complain("%s", e.text);
        return e.code == ERR_NOMEM ? EXIT_CODE_FAILURE : EXIT_CODE_USAGE;
    }
    set_place(out);
    return EXIT_CODE_OK;
}

void cmd_ladder_close(struct cmd_ladder *c)
{
    ladder_close(c->ladder);
    engine_destroy(c->eng);
}

void cmd_ladder_heading(const struct cmd_ladder *c, char *out, size_t out_bytes)
{
    const struct fit *f = given_fit(c);
    if (!f) {
        snprintf(out, out_bytes, "%s", c->ladder->name);
        return;
    }
    bool same = strcmp(f->kv_type_k, f->kv_type_v) == 0;
    snprintf(out, out_bytes, "%s at a context of %d tokens, %s %s%s%s, on %s", c->ladder->name, f->n_ctx,
             same ? "keys and values" : "keys", f->kv_type_k, same ? "" : ", values ", same ? "" : f->kv_type_v,
             c->place);
}

static int64_t spare_bytes(const struct fit_part *part)
{
    return (int64_t)part->room_bytes - (int64_t)part->needed_bytes;
}

void cmd_spare(const struct fit *f, char out[32])
{
    char size[32];
    int64_t spare = spare_bytes(&f->host);
    if (f->device.needed_bytes > 0 && spare_bytes(&f->device) < spare)
        spare = spare_bytes(&f->device);
    cmd_size((uint64_t)(spare < 0 ? -spare : spare), size);
    snprintf(out, 32, "%.16s %s", size, spare < 0 ? "short" : "left");
}

static json_t *part_json(const struct fit_part *p)
{
    return json_pack("{sI sI sI sI sI sI sI sI}", "weights", (json_int_t)p->weight_bytes,
                     "cache", (json_int_t)p->kv_bytes,
                     "scratch", (json_int_t)p->scratch_bytes, "lookups", (json_int_t)p->lookup_bytes, "vocabulary",
                     (json_int_t)p->vocabulary_bytes, "program", (json_int_t)p->program_bytes, "needed",
                     (json_int_t)p->needed_bytes, "room", (json_int_t)p->room_bytes);
}

json_t *cmd_fit_json(const struct fit *f)
{
    json_t *o = json_pack("{si ss ss si si sI sb so}", "context", (int)f->n_ctx, "type_k", f->kv_type_k, "type_v",
                          f->kv_type_v, "layers", (int)f->n_layers, "device_layers", (int)f->n_device_layers, "needed",
                          (json_int_t)f->needed_bytes, "fits", f->fits, "processor", part_json(&f->host));
    if (f->device.needed_bytes > 0)
        json_object_set_new(o, "device", part_json(&f->device));
    return o;
}
