/* SPDX-License-Identifier: MIT */
#include "engine/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool file_make_folders(const char *dir)
{
    char *path = strdup(dir);
    bool ok = path && path[0];
    for (char *p = path ? path + 1 : NULL; ok && *p; p++) {
        if (*p != '/')
            continue;
        *p = '\0';
        ok = mkdir(path, 0700) == 0 || errno == EEXIST;
        *p = '/';
    }
    ok = ok && (mkdir(path, 0700) == 0 || errno == EEXIST);
    int reason = errno;
    free(path);
    errno = reason;
    return ok;
}

bool file_read(const char *path, size_t most_bytes, struct buf *out)
{
    struct stat st;
    /* O_NONBLOCK: somebody may have put a pipe there; without meaning for files. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    bool ok = fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0 &&
              (uint64_t)st.st_size <= most_bytes && buf_reserve(out, (size_t)st.st_size);
    size_t left = ok ? (size_t)st.st_size : 0;
    while (ok && left > 0) {
        ssize_t n = read(fd, out->data + out->n_bytes, left);
        if (n < 0 && errno == EINTR)
            continue;
        ok = n > 0;
        if (ok) {
            out->n_bytes += (size_t)n;
            left -= (size_t)n;
        }
    }
    if (out->data)
        out->data[out->n_bytes] = '\0';
    if (fd >= 0)
        close(fd);
    return ok;
}

static bool write_all(int fd, const char *bytes, size_t n_bytes)
{
    while (n_bytes > 0) {
        ssize_t n = write(fd, bytes, n_bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        bytes += n;
        n_bytes -= (size_t)n;
    }
    return true;
}

bool file_replace(const char *path, const void *bytes, size_t n_bytes)
{
    struct buf fresh = { 0 };
    const char *slash = strrchr(path, '/');
    if (!buf_printf(&fresh, "%s.XXXXXX", path))
        return false;
    char *name = buf_take(&fresh), *dir = slash && slash > path ? strndup(path, (size_t)(slash - path)) : NULL;
    int fd = mkostemp(name, O_CLOEXEC);    /* with mode 0600 */
    if (fd < 0 && errno == ENOENT && dir && file_make_folders(dir)) {
        memcpy(name + strlen(name) - 6, "XXXXXX", 6);
        fd = mkostemp(name, O_CLOEXEC);
    }
    bool ok = fd >= 0 && write_all(fd, bytes, n_bytes);
    if (fd >= 0) {
        ok = close(fd) == 0 && ok && rename(name, path) == 0;
        if (!ok)
            unlink(name);
    }
    free(name);
    free(dir);
    return ok;
}

void file_sync_folder(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
    int fd = folder ? open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    free(folder);
    if (fd < 0)
        return;
    fsync(fd);
    close(fd);
}
