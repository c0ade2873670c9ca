/* SPDX-License-Identifier: MIT */
/* quip logits: ids in, a row of float32 per id out. What the engine computes, without anything around it. */
#include "app/cmd/cmd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { LOGITS_BATCH = 256, LOGITS_BYTES = 64 << 20 };

/* Numbers with blanks or commas between them. */
static enum err_code read_ids(struct token_list *ids, const char *path, int32_t n_vocab, struct err *e)
{
    struct buf text = { 0 };
    enum err_code rc = cmd_read(&text, path, e);
    const char *p = buf_text(&text);
    while (rc == ERR_OK) {
        p += strspn(p, " \t\r\n,[]");
        if (!*p)
            break;
        char *end;
        errno = 0;
        long id = strtol(p, &end, 10);
        if (end == p || errno || id < 0 || id >= n_vocab) {
            rc = err_set(e, ERR_FORMAT, "%s: '%.*s' after %d ids; ids from 0 to %d wanted", path,
                         (int)strcspn(p, " \t\r\n,"), p, ids->n, n_vocab - 1);
            break;
        }
        if (ids->n == ids->cap) {
            int32_t cap = ids->cap ? ids->cap * 2 : 512;
            int32_t *grown = cap <= 1 << 26 ? realloc(ids->ids, sizeof *grown * (size_t)cap) : NULL;
            if (!grown) {
                rc = err_set(e, ERR_NOMEM, "%s: no memory for more than %d ids", path, ids->n);
                break;
            }
            ids->ids = grown;
            ids->cap = cap;
        }
        ids->ids[ids->n++] = (int32_t)id;
        p = end;
    }
    if (rc == ERR_OK && ids->n == 0)
        rc = err_set(e, ERR_FORMAT, "%s: no ids in it", path);
    buf_finish(&text);
    return rc;
}

static enum err_code write_rows(struct session *s, const struct token_list *ids, int32_t n_vocab,
                                int32_t n_rows, float *rows, FILE *out, const char *name, struct err *e)
{
    enum err_code rc = ERR_OK;
    for (int32_t first = 0; rc == ERR_OK && first < ids->n; first += n_rows) {
        int32_t n = ids->n - first < n_rows ? ids->n - first : n_rows;
        rc = session_eval(s, 0, ids->ids + first, n, rows, n, e);
        if (rc == ERR_OK && fwrite(rows, sizeof *rows * (size_t)n_vocab, (size_t)n, out) != (size_t)n)
            rc = err_set(e, ERR_IO, "%s: %s", name, strerror(errno));
    }
    return rc;
}

enum exit_code cmd_logits(const struct app *app)
{
    const struct config *c = app->config;
    if (!c->model || !c->ids_file || !c->output) {
        cmd_complain("'quip logits' needs -m MODEL, --ids FILE and -o OUT");
        return EXIT_CODE_USAGE;
    }
    struct cmd_model cm;
    struct session *s = NULL;
    struct token_list ids = { 0 };
    float *rows = NULL;
    FILE *out = NULL;
    struct err e = { 0 };
    bool to_stdout = strcmp(c->output, "-") == 0;

    enum exit_code code = cmd_model_open(&cm, app, MODEL_RUN, c->n_threads);
    if (code != EXIT_CODE_OK)
        return code;
    cmd_note_device(cm.eng);
    int32_t n_vocab = model_info(cm.model)->n_vocab;
    int32_t n_rows = (int32_t)(LOGITS_BYTES / ((size_t)n_vocab * sizeof *rows));
    n_rows = n_rows < 1 ? 1 : n_rows > LOGITS_BATCH ? LOGITS_BATCH : n_rows;
    if (read_ids(&ids, c->ids_file, n_vocab, &e) != ERR_OK)
        goto fail;
    code = cmd_session(&s, app, cm.model, c->n_ctx, n_rows);
    if (code != EXIT_CODE_OK)
        goto end;
    rows = malloc(sizeof *rows * (size_t)n_vocab * (size_t)n_rows);
    out = to_stdout ? stdout : fopen(c->output, "wb");
    if (!rows)
        err_set(&e, ERR_NOMEM, "no memory for %d rows of %d logits", n_rows, n_vocab);
    else if (!out)
        err_set(&e, ERR_IO, "%s: %s", c->output, strerror(errno));
    else if (write_rows(s, &ids, n_vocab, n_rows, rows, out, c->output, &e) == ERR_OK && fflush(out) != 0)
        err_set(&e, ERR_IO, "%s: %s", c->output, strerror(errno));
fail:
    code = EXIT_CODE_OK;
    if (e.code != ERR_OK) {
        cmd_complain("%s", e.text);
        code = EXIT_CODE_FAILURE;
    }
end:
    if (out && !to_stdout)
        fclose(out);
    free(rows);
    token_list_finish(&ids);
    session_destroy(s);
    cmd_model_close(&cm);
    return code;
}
