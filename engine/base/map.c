/* SPDX-License-Identifier: MIT */
#include "engine/base/map.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum err_code map_open(struct map *m, const char *path, struct err *e)
{
    *m = (struct map){ .fd = -1 };
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);    /* O_NONBLOCK: a pipe must not hang us */
    if (fd < 0)
        return err_set(e, ERR_IO, "%s: %s", path, strerror(errno));
    struct stat st;
    enum err_code rc = ERR_OK;
    if (fstat(fd, &st) != 0)
        rc = err_set(e, ERR_IO, "%s: %s", path, strerror(errno));
    else if (S_ISDIR(st.st_mode))
        rc = err_set(e, ERR_FORMAT, "%s: a folder, not a file", path);
    else if (!S_ISREG(st.st_mode))
        rc = err_set(e, ERR_FORMAT, "%s: not a regular file", path);
    else if (st.st_size <= 0)
        rc = err_set(e, ERR_FORMAT, "%s: the file is empty", path);
    if (rc != ERR_OK) {
        close(fd);
        return rc;
    }
    void *bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (bytes == MAP_FAILED) {
        rc = err_set(e, ERR_IO, "%s: cannot map %lld bytes: %s", path, (long long)st.st_size,
                     strerror(errno));
        close(fd);
        return rc;
    }
    *m = (struct map){ .bytes = bytes, .n_bytes = (uint64_t)st.st_size, .fd = fd };
    return ERR_OK;
}

void map_close(struct map *m)
{
    if (!m || !m->bytes)
        return;
    munmap((void *)(uintptr_t)m->bytes, (size_t)m->n_bytes);
    close(m->fd);
    *m = (struct map){ .fd = -1 };
}

enum err_code map_changed(const struct map *m, struct err *e)
{
    struct stat st;
    if (fstat(m->fd, &st) != 0)
        return err_set(e, ERR_IO, "model file: %s", strerror(errno));
    if ((uint64_t)st.st_size < m->n_bytes)
        return err_set(e, ERR_IO, "model file: cut from %llu to %lld bytes while in use",
                       (unsigned long long)m->n_bytes, (long long)st.st_size);
    return ERR_OK;
}
