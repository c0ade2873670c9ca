/* SPDX-License-Identifier: MIT */
#include "engine/kv/kv_folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/file.h"
#include "engine/kv/kv_file.h"

enum { ATTEMPTS = 16 };

static const char lock_name[] = "lock", new_prefix[] = "new-", device_prefix[] = "device-";

int kv_folder_open(const char *dir, struct err *e)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT && file_make_folders(dir))
        fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        err_set(e, ERR_IO, "%s: no folder for cached prefixes: %s", dir, strerror(errno));
    return fd;
}

static int lock_file(int fd, bool wait)
{
    int rc;
    do
        rc = flock(fd, wait ? LOCK_EX : LOCK_EX | LOCK_NB);
    while (rc != 0 && errno == EINTR);
    return rc;
}

int kv_folder_lock(int dir_fd, bool wait)
{
    int fd = openat(dir_fd, lock_name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd >= 0 && lock_file(fd, wait) != 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

/* A stream of the folder's names from its beginning, whoever else reads the descriptor. */
static DIR *open_stream(int dir_fd)
{
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    if (!d && fd >= 0)
        close(fd);
    return d;
}

static bool add_file(struct kv_folder_list *list, const char *name, const struct stat *st)
{
    if (list->n == list->cap) {
        int32_t cap = list->cap ? 2 * list->cap : 64;
        struct kv_folder_file *files = realloc(list->files, (size_t)cap * sizeof *files);
        if (!files)
            return false;
        list->files = files;
        list->cap = cap;
    }
    struct kv_folder_file *f = &list->files[list->n++];
    *f = (struct kv_folder_file){ .n_bytes = (uint64_t)st->st_size, .used_s = st->st_mtim.tv_sec,
                                  .used_ns = st->st_mtim.tv_nsec, .inode = st->st_ino,
                                  .changed_ns = st->st_ctim.tv_sec * 1000000000 + st->st_ctim.tv_nsec };
    snprintf(f->name, sizeof f->name, "%s", name);
    list->n_bytes += f->n_bytes;
    return true;
}

static int by_use(const void *a, const void *b)
{
    const struct kv_folder_file *x = a, *y = b;
    if (x->used_s != y->used_s)
        return x->used_s < y->used_s ? -1 : 1;
    if (x->used_ns != y->used_ns)
        return x->used_ns < y->used_ns ? -1 : 1;
    return strcmp(x->name, y->name);
}

enum err_code kv_folder_read(struct kv_folder_list *out, int dir_fd, struct err *e)
{
    memset(out, 0, sizeof *out);
    DIR *d = open_stream(dir_fd);
    if (!d)
        return err_set(e, ERR_IO, "the folder of cached prefixes cannot be read: %s", strerror(errno));
    bool ok = true;
    for (struct dirent *entry; ok && (entry = readdir(d));) {
        struct stat st;
        if (kv_file_is_name(entry->d_name, NULL) &&
            fstatat(dir_fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
            ok = add_file(out, entry->d_name, &st);
    }
    closedir(d);
    if (!ok) {
        kv_folder_list_finish(out);
        return err_set(e, ERR_NOMEM, "no memory for the list of cached prefixes");
    }
    if (out->n > 1)
        qsort(out->files, (size_t)out->n, sizeof *out->files, by_use);
    return ERR_OK;
}

void kv_folder_list_finish(struct kv_folder_list *list)
{
    free(list->files);
    memset(list, 0, sizeof *list);
}

int kv_folder_open_file(int dir_fd, const char *name)
{
    /* O_NONBLOCK: somebody may have put a pipe there; without meaning for files. */
    int flags = O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, fd = openat(dir_fd, name, O_RDWR | flags);
    if (fd < 0 && (errno == EACCES || errno == EROFS || errno == EPERM))
        fd = openat(dir_fd, name, O_RDONLY | flags);
    return fd;
}

int kv_folder_create(int dir_fd, char name[KV_STORE_NAME_BYTES], struct err *e)
{
    for (int i = 0; i < ATTEMPTS; i++) {
        uint64_t random;
        struct stat st;
        if (getrandom(&random, sizeof random, 0) != sizeof random)
            random = (uint64_t)i;
        snprintf(name, KV_STORE_NAME_BYTES, "%s%ld-%016" PRIx64, new_prefix, (long)getpid(), random);
        int fd = openat(dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
        if (fd < 0 && errno == EEXIST)
            continue;
        if (fd < 0 || lock_file(fd, true) != 0 || fstat(fd, &st) != 0) {
            err_set(e, ERR_IO, "%s", strerror(errno));
            if (fd >= 0) {
                unlinkat(dir_fd, name, 0);
                close(fd);
            }
            return -1;
        }
        if (st.st_nlink > 0)
            return fd;
        close(fd);    /* kv_folder_clean() came between making and locking it */
    }
    err_set(e, ERR_IO, "%d names were all taken", ATTEMPTS);
    return -1;
}

void kv_folder_forget_notes(int dir_fd)
{
    static const char *const endings[] = { ".types", ".passes" };
    DIR *d = open_stream(dir_fd);
    for (struct dirent *entry; d && (entry = readdir(d));) {
        size_t n_hash = 2 * KV_STORE_KEY_BYTES;
        if (strspn(entry->d_name, "0123456789abcdef") != n_hash)
            continue;
        for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
            if (strcmp(entry->d_name + n_hash, endings[i]) == 0)
                unlinkat(dir_fd, entry->d_name, 0);
    }
    if (d)
        closedir(d);
}

static bool is_device_file(int dir_fd, const char *name, struct stat *st)
{
    return strncmp(name, device_prefix, sizeof device_prefix - 1) == 0 &&
           fstatat(dir_fd, name, st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st->st_mode);
}

void kv_folder_devices(int dir_fd, bool remove_them, int32_t *n_files, uint64_t *n_bytes)
{
    DIR *d = open_stream(dir_fd);
    for (struct dirent *entry; d && (entry = readdir(d));) {
        struct stat st;
        if (!is_device_file(dir_fd, entry->d_name, &st) || (remove_them && unlinkat(dir_fd, entry->d_name, 0) != 0))
            continue;
        ++*n_files;
        *n_bytes += (uint64_t)st.st_size;
    }
    if (d)
        closedir(d);
}

void kv_folder_clean(int dir_fd)
{
    DIR *d = open_stream(dir_fd);
    for (struct dirent *entry; d && (entry = readdir(d));) {
        if (strncmp(entry->d_name, new_prefix, sizeof new_prefix - 1) != 0)
            continue;
        int fd = openat(dir_fd, entry->d_name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        if (fd >= 0 && lock_file(fd, false) == 0)
            unlinkat(dir_fd, entry->d_name, 0);
        if (fd >= 0)
            close(fd);
    }
    if (d)
        closedir(d);
}

void kv_folder_make_room(int dir_fd, uint64_t cap_bytes, uint64_t n_more_bytes, const char *keep)
{
    struct kv_folder_list list;
    struct err e;
    if (kv_folder_read(&list, dir_fd, &e) != ERR_OK)
        return;
    uint64_t total = list.n_bytes + n_more_bytes;
    for (int32_t i = 0; keep && i < list.n; i++)
        if (strcmp(list.files[i].name, keep) == 0)
            total -= list.files[i].n_bytes;
    for (int32_t i = 0; i < list.n && total > cap_bytes; i++)
        if ((!keep || strcmp(list.files[i].name, keep) != 0) && unlinkat(dir_fd, list.files[i].name, 0) == 0)
            total -= list.files[i].n_bytes;
    kv_folder_list_finish(&list);
}

bool kv_folder_remove(int dir_fd, const char *name, ino_t inode)
{
    struct stat st;
    int lock = kv_folder_lock(dir_fd, false);
    bool removed = lock >= 0 && fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_ino == inode &&
                   unlinkat(dir_fd, name, 0) == 0;
    if (lock >= 0)
        close(lock);
    return removed;
}
