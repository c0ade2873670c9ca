/* SPDX-License-Identifier: MIT */
/* The folder as a whole: whatever stores have put there, of any key. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/kv/kv_file.h"
#include "engine/kv/kv_folder.h"
#include "engine/kv/kv_store.h"

/* The type most layers have; the lower one of two. */
static enum kv_type most_common(const struct kv_file *f, bool keys)
{
    uint32_t n[KV_N_TYPES] = { 0 };
    enum kv_type best = 0;
    for (uint32_t i = 0; i < f->head.n_layers; i++)
        n[keys ? f->layers[i].type_k : f->layers[i].type_v]++;
    for (enum kv_type type = 1; type < KV_N_TYPES; type++)
        if (n[type] > n[best])
            best = type;
    return best;
}

static enum err_code read_file(struct kv_store_file *out, struct kv_file *f, int fd, bool whole, struct err *e)
{
    enum err_code rc = kv_file_read_head(f, fd, e);
    if (rc == ERR_OK && strcmp(f->name, out->name) != 0)
        rc = err_set(e, ERR_FORMAT, "the name of what is in it would be %s", f->name);
    if (rc == ERR_OK && whole)
        rc = kv_file_read_pieces(f, fd, NULL, 0, NULL, e);
    if (rc != ERR_OK)
        return rc;
    memcpy(out->model, f->head.model, sizeof out->model);
    memcpy(out->file, f->head.file, sizeof out->file);
    memcpy(out->level, f->head.level, sizeof out->level);
    out->type_k = most_common(f, true);
    out->type_v = most_common(f, false);
    out->n_tokens = (int32_t)f->head.n_tokens;
    return ERR_OK;
}

/* False when it is not there any more. */
static bool describe(struct kv_store_file *out, int dir_fd, const struct kv_folder_file *file, bool whole)
{
    struct kv_file f = { 0 };
    struct err e = { 0 };
    *out = (struct kv_store_file){ .n_bytes = file->n_bytes, .used_s = file->used_s };
    memcpy(out->name, file->name, sizeof out->name);
    int fd = kv_folder_open_file(dir_fd, file->name);
    if (fd < 0 && errno == ENOENT)
        return false;
    if (fd < 0)
        err_set(&e, ERR_IO, "cannot be opened: %s", strerror(errno));
    if (fd < 0 || read_file(out, &f, fd, whole, &e) != ERR_OK)
        snprintf(out->why, sizeof out->why, "%s", e.text);
    kv_file_finish(&f);
    if (fd >= 0)
        close(fd);
    return true;
}

/* A descriptor, or -1: with ERR_OK there is no such folder, which is one without files. */
static int open_existing(const char *dir, struct err *e)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        err_set(e, errno == ENOENT ? ERR_OK : ERR_IO, "%s: cannot be read: %s", dir, strerror(errno));
    return fd;
}

enum err_code kv_store_list(struct kv_store_list *out, const char *dir, bool whole, struct err *e)
{
    struct kv_folder_list list;
    struct err own = { 0 };
    memset(out, 0, sizeof *out);
    int dir_fd = open_existing(dir, &own);
    enum err_code rc = dir_fd < 0 ? own.code : kv_folder_read(&list, dir_fd, &own);
    if (rc == ERR_OK && dir_fd >= 0) {
        out->files = calloc((size_t)list.n + 1, sizeof *out->files);
        if (!out->files)
            rc = err_set(&own, ERR_NOMEM, "%s: no memory for %d files", dir, list.n);
        for (int32_t i = list.n - 1; out->files && i >= 0; i--)
            if (describe(&out->files[out->n_files], dir_fd, &list.files[i], whole))
                out->n_bytes += out->files[out->n_files++].n_bytes;
        kv_folder_list_finish(&list);
        kv_folder_devices(dir_fd, false, &out->n_device_files, &out->device_bytes);
    }
    if (dir_fd >= 0)
        close(dir_fd);
    return rc == ERR_OK ? ERR_OK : err_set(e, rc, "%s", own.text);
}

void kv_store_list_finish(struct kv_store_list *list)
{
    free(list->files);
    memset(list, 0, sizeof *list);
}

static bool is_of(const struct kv_store_file *f, const char *model)
{
    return !f->why[0] && (strcasecmp(f->model, model) == 0 || strcasecmp(f->file, model) == 0);
}

enum err_code kv_store_clear(const char *dir, const char *model, int32_t *n_files, uint64_t *n_bytes,
                             struct err *e)
{
    struct kv_store_list list;
    struct err own = { 0 };
    *n_files = 0;
    *n_bytes = 0;
    int dir_fd = open_existing(dir, &own);
    if (dir_fd < 0)
        return own.code == ERR_OK ? ERR_OK : err_set(e, own.code, "%s", own.text);
    int lock = kv_folder_lock(dir_fd, true);
    enum err_code rc = kv_store_list(&list, dir, false, &own);
    for (int32_t i = 0; rc == ERR_OK && i < list.n_files; i++) {
        const struct kv_store_file *f = &list.files[i];
        if (model && !is_of(f, model))
            continue;
        if (unlinkat(dir_fd, f->name, 0) == 0) {
            ++*n_files;
            *n_bytes += f->n_bytes;
        } else if (errno != ENOENT) {
            rc = err_set(&own, ERR_IO, "%s/%s: cannot be removed: %s", dir, f->name, strerror(errno));
        }
    }
    if (!model) {
        kv_folder_clean(dir_fd);
        kv_folder_forget_notes(dir_fd);
        kv_folder_devices(dir_fd, true, n_files, n_bytes);
    }
    kv_store_list_finish(&list);
    if (lock >= 0)
        close(lock);
    close(dir_fd);
    return rc == ERR_OK ? ERR_OK : err_set(e, rc, "%s", own.text);
}
