/* SPDX-License-Identifier: MIT */
#include "app/chat/text_file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int64_t ns_of(const struct stat *st)
{
    return (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
}

int64_t text_file_changed_ns(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? ns_of(&st) : -1;
}

enum err_code text_file_read(struct buf *out, const char *path, size_t max_bytes, int64_t *changed_ns, struct err *e)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);    /* a fifo must not hang the screen */
    struct stat st = { 0 };
    size_t before = out->n_bytes;
    if (fd < 0)
        return err_set(e, ERR_IO, "%s: %s", path, strerror(errno));
    enum err_code rc = ERR_OK;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        rc = err_set(e, ERR_IO, "%s: not a file", path);
    else if (st.st_size < 0 || (uint64_t)st.st_size > max_bytes)
        rc = err_set(e, ERR_IO, "%s: %lld bytes, at most %zu wanted", path, (long long)st.st_size, max_bytes);
    char piece[4096];
    ssize_t n;
    while (rc == ERR_OK && (n = read(fd, piece, sizeof piece)) != 0)
        if (n < 0)
            rc = err_set(e, ERR_IO, "%s: %s", path, strerror(errno));
        else if (out->n_bytes - before + (size_t)n > max_bytes)    /* it grows */
            rc = err_set(e, ERR_IO, "%s: more than %zu bytes", path, max_bytes);
        else if (!buf_add(out, piece, (size_t)n))
            rc = err_set(e, ERR_NOMEM, "%s: no memory for it", path);
    if (rc == ERR_OK && out->n_bytes > before && memchr(out->data + before, 0, out->n_bytes - before))
        rc = err_set(e, ERR_FORMAT, "%s: a NUL byte in it, text wanted", path);
    close(fd);
    if (changed_ns)
        *changed_ns = ns_of(&st);
    return rc;
}
