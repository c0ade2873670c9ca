/* SPDX-License-Identifier: MIT */
/* What the engine thread computes on: moving there, and what there is. */
#include "app/loop/worker_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the session held goes to a file, where that pays, and is found there by who comes back. Types of the cache
 * that are left open are decided anew, by another memory; without memory for a session the old one follows. */
void worker_do_device(struct worker *w, const struct job *j)
{
    const struct engine_options o = { .device = j->device.name, .n_gpu_layers = j->device.n_gpu_layers,
                                      .n_ctx = w->options.session.n_ctx };
    double start_s = worker_now_s();
    struct session_stats before = { 0 };
    struct session *s;
    struct err e, ignored;
    int32_t n_moved = 0;
    enum err_code rc = w->here.model ? ERR_OK : err_set(&e, ERR_UNSUPPORTED, "no model yet");
    if (rc == ERR_OK)
        session_stats(w->here.session, &before);
    worker_end_aside(w, "the model moves");
    if (rc == ERR_OK)
        rc = engine_move(w->eng, &o, &n_moved, &e);
    if (rc != ERR_OK) {
        worker_post_stats(w);
        worker_post_failure(w, MAIL_MODEL_FAILED, j->id, &e);
        return;
    }
    if (n_moved > 0)
        worker_forget_parked(w);
    if (n_moved > 0 && worker_create_session(w, w->here.model, &w->options.session, &s, &ignored) == ERR_OK) {
        session_close_chat(w->here.session, 0);
        worker_change_session(w, s);
    }
    worker_post_model(w, j->id, worker_now_s() - start_s, n_moved > 0 ? before.n_held : -1);
}

/* ---- what there is -------------------------------------------------------------------------------- */

static void add_processor(const struct worker *w, struct port_devices *out)
{
    struct port_device_row *row = &out->rows[out->n++];
    struct engine_info info;
    engine_info(w->eng, &info);
    snprintf(row->id, sizeof row->id, "cpu");
    snprintf(row->name, sizeof row->name, "%s%s%s", info.cpu, info.cpu[0] ? ", " : "", info.cpu_tier);
    row->n_bytes = info.memory_total_bytes;
    row->free_bytes = info.memory_available_bytes;
    row->in_use = w->here.model && model_info(w->here.model)->n_device_layers == 0;
}

static void add_device(const struct worker *w, const struct engine_device *d, struct port_devices *out)
{
    struct port_device_row *row = &out->rows[out->n++];
    struct engine_info info;
    engine_info(w->eng, &info);
    snprintf(row->id, sizeof row->id, "%s", d->id);
    snprintf(row->name, sizeof row->name, "%s", d->name);
    snprintf(row->kind, sizeof row->kind, "%s", d->kind);
    snprintf(row->problem, sizeof row->problem, "%s", d->problem);
    for (int32_t i = 0; i < d->n_heaps; i++)
        if (d->heaps[i].is_local && d->heaps[i].n_bytes > row->n_bytes) {
            row->n_bytes = d->heaps[i].n_bytes;
            row->free_bytes = d->knows_free ? d->heaps[i].free_bytes : 0;
        }
    row->in_use = w->here.model && model_info(w->here.model)->n_device_layers > 0 && strcmp(d->id, info.device_id) == 0;
}

void worker_do_devices(struct worker *w)
{
    const struct engine_options o = { .vulkan_loader = w->options.engine.vulkan_loader };
    struct engine_device_list *list = NULL;
    struct engine_devices_info info = { 0 };
    struct err e;
    struct mail mail = { .kind = MAIL_DEVICES, .devices = calloc(1, sizeof *mail.devices) };
    if (!mail.devices)
        return;
    add_processor(w, mail.devices);
    if (engine_devices(&list, &o, &e) == ERR_OK) {
        engine_devices_info(list, &info);
        snprintf(mail.devices->problem, sizeof mail.devices->problem, "%s", info.problem);
    } else
        snprintf(mail.devices->problem, sizeof mail.devices->problem, "%s", e.text);
    for (int32_t i = 0; i < info.n_devices && mail.devices->n < PORT_DEVICES; i++)
        add_device(w, engine_device_at(list, i), mail.devices);
    engine_devices_destroy(list);
    if (!mailbox_post(w->box, &mail))
        free(mail.devices);
}
