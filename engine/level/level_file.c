/* SPDX-License-Identifier: MIT */
#include "engine/level/level_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "engine/base/buf.h"
#include "engine/base/file.h"

#define PART_ENDING ".quip-part"

static enum err_code io_error(const char *path, int reason, struct err *e)
{
    return err_set(e, ERR_IO, "%s: %s", path, strerror(reason));
}

static const char *name_in(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* The folder that path lies in; NULL: no memory. */
static char *folder_of(const char *path)
{
    size_t n = (size_t)(name_in(path) - path);
    return n == 0 ? strdup(".") : n == 1 ? strdup("/") : strndup(path, n - 1);
}

/* ---- what dead processes left --------------------------------------------------------------------- */

static bool is_part_name(const char *name)
{
    size_t n = strlen(name), n_ending = strlen(PART_ENDING);
    return name[0] == '.' && n > n_ending && strcmp(name + n - n_ending, PART_ENDING) == 0;
}

static void remove_if_dead(int folder, const char *name)
{
    int fd = openat(folder, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    struct stat mine, named;
    if (fd < 0)
        return;
    if (fstat(fd, &mine) == 0 && S_ISREG(mine.st_mode) && flock(fd, LOCK_EX | LOCK_NB) == 0 &&
        fstatat(folder, name, &named, AT_SYMLINK_NOFOLLOW) == 0 && named.st_ino == mine.st_ino)
        unlinkat(folder, name, 0);
    close(fd);
}

static void remove_dead(const char *folder)
{
    DIR *dir = opendir(folder);
    if (!dir)
        return;
    for (struct dirent *entry; (entry = readdir(dir));)
        if (is_part_name(entry->d_name))
            remove_if_dead(dirfd(dir), entry->d_name);
    closedir(dir);
}

/* ---- a new one ------------------------------------------------------------------------------------ */

/* Between making and locking it, another process may have taken it for a dead one's and removed it: then the next. */
static int create_part(struct level_file *f)
{
    struct buf part = { 0 };
    for (int attempt = 0; attempt < 100; attempt++) {
        struct stat st;
        buf_clear(&part);
        if (!buf_printf(&part, "%.*s.%s.%ld-%d" PART_ENDING, (int)(name_in(f->path) - f->path), f->path,
                        name_in(f->path), (long)getpid(), attempt))
            return ENOMEM;
        f->fd = open(part.data, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (f->fd < 0 && errno == EEXIST)
            continue;
        if (f->fd < 0) {
            int reason = errno;
            buf_finish(&part);
            return reason;
        }
        if (flock(f->fd, LOCK_EX | LOCK_NB) == 0 && fstat(f->fd, &st) == 0 && st.st_nlink > 0) {
            f->part = buf_take(&part);
            return 0;
        }
        close(f->fd);
        f->fd = -1;
    }
    buf_finish(&part);
    return EEXIST;
}

/* The system's word on room is taken only where it says that there is too little: it may be shared or reserved. */
static enum err_code check_room(const char *folder, const char *path, uint64_t n_bytes, struct err *e)
{
    struct statvfs fs;
    if (statvfs(folder, &fs) != 0)
        return io_error(folder, errno, e);
    uint64_t room = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (room < n_bytes)
        return err_set(e, ERR_IO, "%s: needs %.1f MB, %.1f MB free in %s", path, (double)n_bytes / 1e6,
                       (double)room / 1e6, folder);
    return ERR_OK;
}

/* Also what nobody writes, the bytes between tensors, is zeros then. */
static enum err_code reserve(const struct level_file *f, uint64_t n_bytes, struct err *e)
{
    if (ftruncate(f->fd, (off_t)n_bytes) != 0)
        return io_error(f->path, errno, e);
    while (fallocate(f->fd, 0, 0, (off_t)n_bytes) != 0) {
        if (errno == EINTR)
            continue;
        if (errno == EOPNOTSUPP || errno == ENOSYS)    /* room is found, or not, on the way */
            return ERR_OK;
        return err_set(e, ERR_IO, "%s: no room for %.1f MB: %s", f->path, (double)n_bytes / 1e6, strerror(errno));
    }
    return ERR_OK;
}

enum err_code level_file_create(struct level_file *f, const char *path, uint64_t n_bytes, bool replace, struct err *e)
{
    struct stat st;
    *f = (struct level_file){ .fd = -1, .replace = replace };
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
        return err_set(e, ERR_IO, "%s: there, and not a regular file", path);
    if (!replace && lstat(path, &st) == 0)
        return err_set(e, ERR_IO, "%s: there already, and not to be replaced", path);
    char *folder = folder_of(path);
    f->path = strdup(path);
    enum err_code rc = folder && f->path ? ERR_OK : err_set(e, ERR_NOMEM, "%s: no memory", path);
    if (rc == ERR_OK) {
        remove_dead(folder);
        rc = check_room(folder, path, n_bytes, e);
    }
    if (rc == ERR_OK) {
        int reason = create_part(f);
        if (reason != 0)
            rc = io_error(path, reason, e);
    }
    if (rc == ERR_OK)
        rc = reserve(f, n_bytes, e);
    free(folder);
    if (rc != ERR_OK)
        level_file_close(f);
    return rc;
}

enum err_code level_file_write(const struct level_file *f, uint64_t offset, const void *bytes, uint64_t n_bytes,
                               struct err *e)
{
    const char *p = bytes;
    while (n_bytes > 0) {
        ssize_t n = pwrite(f->fd, p, n_bytes < 1u << 30 ? (size_t)n_bytes : 1u << 30, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return io_error(f->path, n < 0 ? errno : ENOSPC, e);
        p += n;
        offset += (uint64_t)n;
        n_bytes -= (uint64_t)n;
    }
    return ERR_OK;
}

enum err_code level_file_commit(struct level_file *f, struct err *e)
{
    if (fsync(f->fd) != 0)
        return io_error(f->path, errno, e);
    int failed = f->replace ? rename(f->part, f->path)
                            : renameat2(AT_FDCWD, f->part, AT_FDCWD, f->path, RENAME_NOREPLACE);
    if (failed && !f->replace && (errno == EINVAL || errno == ENOSYS)) {    /* a file system without that */
        struct stat st;
        failed = lstat(f->path, &st) == 0 ? (errno = EEXIST, -1) : rename(f->part, f->path);
    }
    if (failed)
        return io_error(f->path, errno, e);
    free(f->part);
    f->part = NULL;
    file_sync_folder(f->path);
    return ERR_OK;
}

void level_file_close(struct level_file *f)
{
    if (f->part)
        unlink(f->part);    /* before the lock ends */
    if (f->fd >= 0)
        close(f->fd);
    free(f->part);
    free(f->path);
    *f = (struct level_file){ .fd = -1 };
}
