/* SPDX-License-Identifier: MIT */
/* What a person sets: the model, the system prompt, sampling; and fetching and saving. */
#include "app/chat/chat_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/chat/sampling.h"
#include "app/chat/text_file.h"

/* ---- model ---------------------------------------------------------------------------------------- */

static void start_fetch(struct chat *c, const struct model_row *row)
{
    if (c->fetching[0]) {
        chat_card(c, MESSAGE_NOTICE, "One at a time", "F2, then Del on its row, stops it",
                  "%s is still being fetched.", c->fetching);
        return;
    }
    if (!c->port.fetch(c->port.self, row->name)) {
        chat_card(c, MESSAGE_ERROR, "Not fetched", NULL, "The fetch script could not be started.");
        return;
    }
    snprintf(c->fetching, sizeof c->fetching, "%s", row->name);
    c->fetch_done = 0;
    c->fetch_total = row->n_bytes;
    c->version++;
}

/* The answer of the model as it was ends here and is kept. */
static void wait_for_model(struct chat *c)
{
    chat_cancel(c);
    if (c->state != CHAT_ANSWERING)
        c->state = CHAT_LOADING;
    c->version++;
}

static void open_path(struct chat *c, const char *path)
{
    if (c->model && !c->opening[0] && strcmp(c->model->path, path) == 0) {
        chat_card(c, MESSAGE_NOTICE, "Model", NULL, "This model is in use already.");
        return;
    }
    if (!c->port.open_model(c->port.self, ++c->last_id, path)) {
        chat_no_memory(c);
        return;
    }
    c->model_request = c->last_id;
    snprintf(c->opening, sizeof c->opening, "%s", path);
    if (!c->model)
        wait_for_model(c);    /* else the one in use goes on until the other is there */
    c->version++;
}

void chat_model_back(struct chat *c)
{
    if (c->opening[0] && c->model) {    /* nothing has changed yet: so it is to stay */
        char here[PORT_PATH_BYTES];
        snprintf(here, sizeof here, "%s", c->model->path);
        open_path(c, here);
    } else if (c->model_before[0]) {
        open_path(c, c->model_before);
    } else
        chat_card(c, MESSAGE_NOTICE, "Model", "F2 or /model lists models", "There was none before this one.");
}

void chat_open_model(struct chat *c, const char *name, bool fetch)
{
    struct model_table table;
    struct err e;
    char path[PATHS_BYTES];
    if (model_table_read(&table, c->paths, &e) != ERR_OK) {
        chat_card(c, MESSAGE_ERROR, "No list of models", NULL, "%s", e.text);
        return;
    }
    const struct model_row *row = model_table_find(&table, name);
    if (fetch && row && !row->is_here && row->can_fetch)
        start_fetch(c, row);
    else if (model_table_resolve(&table, name, path, &e) == ERR_OK)
        open_path(c, path);
    else
        chat_card(c, MESSAGE_ERROR, "No such model", "F2 or /model lists models", "%s", e.text);
    model_table_finish(&table);
}

/* Another session for the model in use. False: there is none, or no memory. */
static bool ask_session(struct chat *c, const char *what)
{
    if (!c->model || !c->port.set_session(c->port.self, ++c->last_id, &c->session)) {
        chat_card(c, MESSAGE_ERROR, what, NULL, "There is no model to change this of.");
        c->session = c->session_before;
        return false;
    }
    c->model_request = c->last_id;
    chat_cancel(c);
    c->version++;
    return true;
}

void chat_set_context(struct chat *c, int32_t n_ctx)
{
    c->session.n_ctx = n_ctx;
    ask_session(c, "Context");
}

static bool is_kv_type(const char *name)
{
    static const char *const names[] = { "f16", "q8_0", "q4_0", "kv4", "kv3", "auto" };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

bool chat_set_kv_types(struct chat *c, const char *keys, const char *values)
{
    const char *wrong = keys && !is_kv_type(keys) ? keys : values && !is_kv_type(values) ? values : NULL;
    if (wrong) {
        chat_card(c, MESSAGE_ERROR, "Not set", NULL,
                  "'%s' is no type of the KV cache: f16, q8_0, q4_0, kv4, kv3 or auto wanted.", wrong);
        return false;
    }
    if (keys)
        snprintf(c->session.kv_type_k, PORT_TYPE_BYTES, "%s", keys);
    if (values)
        snprintf(c->session.kv_type_v, PORT_TYPE_BYTES, "%s", values);
    return ask_session(c, "KV cache");
}

/* ---- device --------------------------------------------------------------------------------------- */

static bool ask_device(struct chat *c, const struct port_device *device)
{
    if (!c->model && !c->opening[0]) {
        chat_card(c, MESSAGE_ERROR, "Device", "F2 or /model lists models", "There is no model to move.");
        return false;
    }
    if (!c->port.set_device(c->port.self, ++c->last_id, device)) {
        chat_no_memory(c);
        return false;
    }
    c->device = *device;
    c->device_request = c->last_id;
    c->moving = true;
    wait_for_model(c);
    return true;
}

bool chat_set_device(struct chat *c, const char *name)
{
    struct port_device device = c->device;
    if (strlen(name) >= sizeof device.name) {
        chat_card(c, MESSAGE_ERROR, "Not set", "/device lists the devices", "No device has so long a name.");
        return false;
    }
    snprintf(device.name, sizeof device.name, "%s", name);
    return ask_device(c, &device);
}

bool chat_set_gpu_layers(struct chat *c, const char *value)
{
    struct port_device device = c->device;
    char *end;
    long n = strtol(value, &end, 10);
    if (strcmp(value, "auto") == 0 || strcmp(value, "-1") == 0) {
        device.n_gpu_layers = 0;
    } else if (end == value || *end || n < 0 || n > 1 << 20) {
        chat_card(c, MESSAGE_ERROR, "Not set", NULL, "'%s' is no number of layers: 0 (none) to 1048576, or auto for as "
                  "many as fit, wanted.", value);
        return false;
    } else if (n == 0) {
        snprintf(device.name, sizeof device.name, "cpu");
    } else
        device.n_gpu_layers = (int32_t)n;
    if (n > 0 && strcmp(device.name, "cpu") == 0) {
        chat_card(c, MESSAGE_ERROR, "Not set", "/device lists the devices", "No device is in use that layers could be "
                  "on: /device NAME first.");
        return false;
    }
    return ask_device(c, &device);
}

void chat_list_devices(struct chat *c)
{
    if (!c->port.list_devices(c->port.self))
        chat_no_memory(c);
    else if (c->state == CHAT_ANSWERING)
        chat_card(c, MESSAGE_NOTICE, "Devices", NULL, "They are listed when the answer has ended.");
}

/* ---- fetching ------------------------------------------------------------------------------------- */

void chat_fetch_progress(struct chat *c, uint64_t done, uint64_t total)
{
    c->fetch_done = done;
    c->fetch_total = total;
    c->version++;
}

void chat_fetched(struct chat *c, const char *error)
{
    char name[MODEL_ROW_NAME_BYTES];
    snprintf(name, sizeof name, "%s", c->fetching);
    c->fetching[0] = '\0';
    c->version++;
    if (!error && !c->model && !c->opening[0])
        chat_open_model(c, name, false);
    else if (!error)
        chat_card(c, MESSAGE_NOTICE, "Fetched", "F2 and Enter, or /model with its name, switches to it",
                  "%s is here now.", name);
    else if (error[0])
        chat_card(c, MESSAGE_ERROR, "Not fetched", "F2 and Enter tries again and goes on where it stopped", "%s: %s",
                  name, error);
    else
        chat_card(c, MESSAGE_NOTICE, "Stopped", "F2 and Enter goes on where it stopped", "%s is not whole yet.", name);
}

void chat_model_label(const struct chat *c, char *out, size_t n_bytes)
{
    const char *path = c->opening[0] && !c->model ? c->opening : c->model ? c->model->path : "";
    paths_model_name(path, out, n_bytes);
}

void chat_advice(const struct chat *c, const char *how, char *out, size_t n_bytes)
{
    struct model_table table;
    struct err e;
    out[0] = '\0';
    if (!c->model || model_table_read(&table, c->paths, &e) != ERR_OK)
        return;
    const struct model_row *better = model_table_recommended(&table);
    for (int32_t i = 0; i < table.n; i++) {
        const struct model_row *row = &table.rows[i];
        if (strcmp(row->path, c->model->path) != 0)
            continue;
        if (row->is_default && better)
            snprintf(out, n_bytes, "A small model: quick, and often wrong. %s is better: %s", better->name, how);
        else if (row->is_base)
            snprintf(out, n_bytes, "A base model: it continues texts and was not made for chat.");
    }
    model_table_finish(&table);
}

/* ---- system prompt -------------------------------------------------------------------------------- */

/* "~/" is what a shell would have replaced. */
static void expand_home(const char *path, char out[PATHS_BYTES], const char *home)
{
    if (path[0] == '~' && path[1] == '/' && home[0])
        snprintf(out, PATHS_BYTES, "%s%s", home, path + 1);
    else
        snprintf(out, PATHS_BYTES, "%s", path);
}

enum err_code chat_system_file(struct chat *c, const char *path, struct err *e)
{
    struct buf text = { 0 };
    int64_t when_ns;
    char real[PATHS_BYTES];
    expand_home(path, real, c->paths->home);
    enum err_code rc = text_file_read(&text, real, CHAT_SYSTEM_MAX_BYTES, &when_ns, e);
    if (rc != ERR_OK) {
        buf_finish(&text);
        return rc;
    }
    buf_finish(&c->system);
    c->system = text;
    snprintf(c->system_file, sizeof c->system_file, "%s", real);
    c->system_changed_ns = when_ns;
    chat_card(c, MESSAGE_NOTICE, "System prompt", NULL, "%s (%zu bytes) holds from the next message on.", real,
              text.n_bytes);
    chat_prepare(c);
    return ERR_OK;
}

void chat_system_refresh(struct chat *c)
{
    if (!c->system_file[0] || text_file_changed_ns(c->system_file) == c->system_changed_ns)
        return;
    struct buf text = { 0 };
    struct err e;
    if (text_file_read(&text, c->system_file, CHAT_SYSTEM_MAX_BYTES, &c->system_changed_ns, &e) == ERR_OK) {
        buf_finish(&c->system);
        c->system = text;
    } else {
        buf_finish(&text);
        chat_card(c, MESSAGE_WARNING, "System prompt", NULL, "%s; what was read before still holds.", e.text);
    }
}

void chat_system_text(struct chat *c, const char *text)
{
    buf_clear(&c->system);
    buf_add_text(&c->system, text);
    c->system_file[0] = '\0';
    chat_card(c, MESSAGE_NOTICE, "System prompt", NULL, "%s",
              text[0] ? "It holds from the next message on." : "There is none from the next message on.");
    chat_prepare(c);
}

/* ---- sampling and thinking ------------------------------------------------------------------------ */

void chat_sampling(const struct chat *c, struct sampler_params *out)
{
    struct err e;
    if (c->model)
        *out = c->model->sampling;
    else
        sampler_params_default(out);
    struct sampler_params given = *out;
    if (sampling_apply(&given, c->config, &e) == ERR_OK)
        *out = given;
    for (int32_t i = 0; i < c->n_settings; i++)
        sampling_set(out, c->settings[i].name, c->settings[i].value, &e);
}

bool chat_set(struct chat *c, const char *name, const char *value)
{
    struct sampler_params p;
    struct err e;
    if (strcmp(name, "kv-type-k") == 0 || strcmp(name, "kv-type-v") == 0) {
        bool keys = name[strlen(name) - 1] == 'k';
        return chat_set_kv_types(c, keys ? value : NULL, keys ? NULL : value);
    }
    if (strcmp(name, "device") == 0)
        return chat_set_device(c, value);
    if (strcmp(name, "gpu-layers") == 0)
        return chat_set_gpu_layers(c, value);
    chat_sampling(c, &p);
    if (sampling_set(&p, name, value, &e) != ERR_OK) {
        chat_card(c, MESSAGE_ERROR, "Not set", "/set alone lists the settings", "%s", e.text);
        return false;
    }
    const struct sampler_field *field = sampling_field(name);
    int32_t i = 0;
    while (i < c->n_settings && strcmp(c->settings[i].name, field->name) != 0)
        i++;
    if (i == CHAT_MAX_SETTINGS)
        return false;
    snprintf(c->settings[i].name, sizeof c->settings[i].name, "%s", field->name);
    snprintf(c->settings[i].value, sizeof c->settings[i].value, "%s", value);
    if (i == c->n_settings)
        c->n_settings++;
    char text[SAMPLING_PRESET_BYTES];
    sampling_text(&p, field, text);
    chat_card(c, MESSAGE_NOTICE, "Set", NULL, "%s is %s from the next answer on.", field->name, text);
    return true;
}

void chat_set_think(struct chat *c, enum think_mode mode)
{
    c->think_mode = mode;
    c->version++;
}

/* ---- drafts --------------------------------------------------------------------------------------- */

void chat_set_spec(struct chat *c, int32_t spec)
{
    c->spec = spec;
    if (spec == SPEC_AUTO)
        chat_card(c, MESSAGE_NOTICE, "Drafts", NULL, "From the next answer on as many as pay.");
    else if (spec == SPEC_OFF)
        chat_card(c, MESSAGE_NOTICE, "Drafts", "/spec auto switches them on again", "None from the next answer on.");
    else
        chat_card(c, MESSAGE_NOTICE, "Drafts", "/spec auto makes as many as pay",
                  "From the next answer on up to %d token%s at a time, whether they pay or not.", spec,
                  spec == 1 ? "" : "s");
}

void chat_show_drafts(struct chat *c, bool show)
{
    c->show_drafts = show;
    c->version++;
}

/* ---- saving --------------------------------------------------------------------------------------- */

bool chat_save(struct chat *c, const char *path)
{
    char real[PATHS_BYTES];
    expand_home(path, real, c->paths->home);
    struct buf text = { 0 };
    transcript_export(&c->transcript, buf_text(&c->system), &text);
    /* A file that is there already stays: a slip must not cost a document. */
    int fd = open(real, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    FILE *f = fd >= 0 ? fdopen(fd, "w") : NULL;
    bool ok = f && buf_ok(&text) && fwrite(buf_text(&text), 1, text.n_bytes, f) == text.n_bytes;
    int error = errno;
    if (f && fclose(f) != 0 && ok) {
        error = errno;
        ok = false;
    }
    if (ok)
        chat_card(c, MESSAGE_NOTICE, "Saved", NULL, "%s (%zu bytes)", real, text.n_bytes);
    else
        chat_card(c, MESSAGE_ERROR, "Not saved", NULL, "%s: %s", real, strerror(error));
    buf_finish(&text);
    return ok;
}
