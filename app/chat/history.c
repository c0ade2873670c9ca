/* SPDX-License-Identifier: MIT */
#include "app/chat/history.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "app/config/paths.h"

enum err_code history_read(const char *path, struct buf *out, struct err *e)
{
    FILE *f = fopen(path, "re");
    if (!f)
        return errno == ENOENT ? ERR_OK : err_set(e, ERR_IO, "%s: %s", path, strerror(errno));
    struct stat st;
    if (fstat(fileno(f), &st) == 0 && st.st_size > HISTORY_MAX_BYTES) {
        fseek(f, -(long)HISTORY_MAX_BYTES, SEEK_END);
        for (int c = getc(f); c != EOF && c != '\n';)    /* the line that was cut */
            c = getc(f);
    }
    char piece[4096];
    size_t n, total = 0;
    while (total < HISTORY_MAX_BYTES && (n = fread(piece, 1, sizeof piece, f)) > 0) {
        buf_add(out, piece, n);
        total += n;
    }
    fclose(f);
    return buf_ok(out) ? ERR_OK : err_set(e, ERR_NOMEM, "%s: no memory for it", path);
}

enum err_code history_write(const char *path, const struct buf *content, struct err *e)
{
    char fresh[PATHS_BYTES + 16];
    enum err_code rc = paths_make_parents(path, e);
    if (rc != ERR_OK)
        return rc;
    snprintf(fresh, sizeof fresh, "%s.%ld", path, (long)getpid());
    int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_set(e, ERR_IO, "%s: %s", fresh, strerror(errno));
    FILE *f = fdopen(fd, "w");
    bool ok = f && fwrite(buf_text(content), 1, content->n_bytes, f) == content->n_bytes;
    if (f ? fclose(f) != 0 : close(fd) != 0)
        ok = false;
    if (ok && rename(fresh, path) == 0)
        return ERR_OK;
    rc = err_set(e, ERR_IO, "%s: %s", path, strerror(errno));
    unlink(fresh);
    return rc;
}
