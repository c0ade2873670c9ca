/* SPDX-License-Identifier: MIT */
/* The files of kv/kv_store.h for those who see engine.h alone. */
#include <stdlib.h>
#include <string.h>

#include "engine/engine_impl.h"

enum err_code cache_list(struct cache_list *out, const char *dir, struct err *e)
{
    memset(out, 0, sizeof *out);
    struct kv_store_list *list = calloc(1, sizeof *list);
    if (!list)
        return err_set(e, ERR_NOMEM, "%s: no memory for its list", dir);
    enum err_code rc = kv_store_list(list, dir, false, e);
    if (rc == ERR_OK && !(out->files = calloc((size_t)list->n_files + 1, sizeof *out->files)))
        rc = err_set(e, ERR_NOMEM, "%s: no memory for its list", dir);
    if (rc != ERR_OK) {
        kv_store_list_finish(list);
        free(list);
        return rc;
    }
    out->n_files = list->n_files;
    out->n_bytes = list->n_bytes;
    out->n_device_files = list->n_device_files;
    out->device_bytes = list->device_bytes;
    out->held = list;
    for (int32_t i = 0; i < list->n_files; i++) {
        const struct kv_store_file *f = &list->files[i];
        out->files[i] = (struct cache_file){
            .name = f->name, .n_bytes = f->n_bytes, .used_s = f->used_s, .why = f->why, .n_tokens = f->n_tokens,
            .model = f->model, .file = f->file, .level = f->level,
            .type_k = f->why[0] ? "" : kv_type_name(f->type_k), .type_v = f->why[0] ? "" : kv_type_name(f->type_v),
        };
    }
    return ERR_OK;
}

void cache_list_finish(struct cache_list *list)
{
    if (list->held)
        kv_store_list_finish(list->held);
    free(list->held);
    free(list->files);
    memset(list, 0, sizeof *list);
}

enum err_code cache_clear(const char *dir, const char *model, int32_t *n_files, uint64_t *n_bytes, struct err *e)
{
    return kv_store_clear(dir, model, n_files, n_bytes, e);
}
