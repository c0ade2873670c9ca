/* SPDX-License-Identifier: MIT */
/* quip imatrix: an importance matrix, by the conventions of llama-imatrix: the text is cut into chunks of n_ctx tokens,
 * each evaluated from an empty cache with its first token replaced by the beginning token where the vocabulary wants
 * one; every row of a chunk counts.
 *
 * What is written is always of whole chunks: the sums are taken out of the session after each, so that an interrupted
 * run can be continued with --in-file OUT --from-chunk N and comes to the same sums. */
#include "app/cmd/cmd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "app/cmd/interrupt.h"
#include "engine/base/clock.h"

enum { IMATRIX_BATCH = 512, IMATRIX_SLICE_BYTES = 64 << 20 };

/* The text that comes with quip, as the file names it: its path is no business of anybody who gets the file. */
static const char own_text[] = "quip/calibration.txt";

struct collecting {
    const struct config *config;
    struct session *s;
    struct interrupt interrupt;
    int32_t n_ctx, n_rows;         /* of a chunk, and of those evaluated together */
    int32_t bos;                   /* or -1 */
    int32_t first, end;            /* chunks */
    const int32_t *tokens;
    int32_t *chunk;                /* [n_ctx] */
    float *logits;                 /* [n_rows][n_vocab]; NULL unless the output matrix is wanted too */
    const char *dataset;
    struct imatrix *files;         /* the sum of --in-file */
    struct imatrix *done;          /* of the chunks evaluated so far */
    double start_ms;
    bool is_terminal, is_in_line;  /* stderr; something stands in its last line */
};

/* ---- files ---------------------------------------------------------------------------------------- */

static enum err_code add_files(struct imatrix *into, const struct config *c, struct err *e)
{
    for (int32_t i = 0; i < c->in_files.n; i++) {
        const char *path = c->in_files.values[i];
        struct imatrix *m = NULL;
        enum err_code rc = imatrix_open(&m, path, e);
        if (rc != ERR_OK)
            return rc;
        imatrix_set_chunk_size(m, (uint32_t)c->n_ctx);
        rc = imatrix_merge(into, m, e);
        imatrix_destroy(m);
        if (rc != ERR_OK)
            return err_prefix(e, "%s", path);
    }
    return ERR_OK;
}

/* What there is so far, files included, in the place of *out. */
static enum err_code sum_up(const struct collecting *p, struct imatrix **out, struct err *e)
{
    struct imatrix *sum = imatrix_create();
    enum err_code rc = sum ? ERR_OK : err_set(e, ERR_NOMEM, "no memory for an importance matrix");
    if (rc == ERR_OK)
        rc = imatrix_merge(sum, p->files, e);
    if (rc == ERR_OK)
        rc = imatrix_merge(sum, p->done, e);
    if (rc != ERR_OK) {
        imatrix_destroy(sum);
        return rc;
    }
    imatrix_destroy(*out);
    *out = sum;
    return ERR_OK;
}

static enum err_code save(const struct collecting *p, struct err *e)
{
    struct imatrix *sum = NULL;
    enum err_code rc = sum_up(p, &sum, e);
    if (rc == ERR_OK)
        rc = imatrix_save(sum, p->config->output, (enum imatrix_format)p->config->imatrix_format, e);
    imatrix_destroy(sum);
    return rc;
}

/* Before hours of work. That the file can be written then is not certain, only likelier. */
static enum err_code check_output(const char *path, struct err *e)
{
    const char *slash = strrchr(path, '/');
    char folder[PATHS_BYTES] = ".";
    if (slash)
        snprintf(folder, sizeof folder, "%.*s", slash > path ? (int)(slash - path) : 1, path);
    return access(folder, W_OK) == 0 ? ERR_OK : err_set(e, ERR_IO, "%s: %s", path, strerror(errno));
}

/* ---- progress ------------------------------------------------------------------------------------- */

static const char *duration(double seconds, char out[32])
{
    int s = seconds > 0 && seconds < 1e8 ? (int)(seconds + 0.5) : 0;
    if (s < 90)
        snprintf(out, 32, "%d s", s);
    else if (s < 5400)
        snprintf(out, 32, "%d min", (s + 30) / 60);
    else
        snprintf(out, 32, "%d h %d min", s / 3600, s % 3600 / 60);
    return out;
}

static void end_line(struct collecting *p)
{
    if (p->is_in_line)
        fputs(p->is_terminal ? "\r\033[K" : "\n", stderr);
    p->is_in_line = false;
}

static void say_progress(struct collecting *p, int32_t n_done)
{
    int32_t n = p->end - p->first;
    double seconds = (clock_ms() - p->start_ms) / 1e3;
    char left[32];
    duration(seconds / n_done * (n - n_done), left);
    if (p->is_terminal) {
        fprintf(stderr, "\r\033[K[%d/%d] %.2f seconds per chunk, %s left", n_done, n, seconds / n_done, left);
    } else {
        if (n_done == 1)
            fprintf(stderr, "%.2f seconds per chunk, %d chunks of %d, %s left\n", seconds, n, p->n_ctx, left);
        fprintf(stderr, "[%d]", n_done);
    }
    p->is_in_line = true;
    fflush(stderr);
}

/* ---- collecting ----------------------------------------------------------------------------------- */

static enum err_code run_chunk(struct collecting *p, int32_t index, struct err *e)
{
    memcpy(p->chunk, p->tokens + (size_t)index * (size_t)p->n_ctx, sizeof *p->chunk * (size_t)p->n_ctx);
    if (p->bos >= 0)
        p->chunk[0] = p->bos;
    session_truncate(p->s, 0, 0);
    enum err_code rc = ERR_OK;
    for (int32_t at = 0, n; rc == ERR_OK && at < p->n_ctx; at += n) {
        n = p->n_ctx - at < p->n_rows ? p->n_ctx - at : p->n_rows;
        rc = session_eval(p->s, 0, p->chunk + at, n, p->logits, p->logits ? n : 0, e);
    }
    return rc;
}

/* The sums of all chunks so far, in the place of those there were. */
static enum err_code take_sums(struct collecting *p, int32_t n_done, struct err *e)
{
    struct imatrix *m = imatrix_create();
    enum err_code rc = m ? session_collected(p->s, m, e) : err_set(e, ERR_NOMEM, "no memory for an importance matrix");
    if (rc == ERR_OK)
        rc = imatrix_add_dataset(m, p->dataset, e);
    if (rc != ERR_OK) {
        imatrix_destroy(m);
        return rc;
    }
    m->n_chunks = (uint32_t)n_done;
    m->chunk_size = (uint32_t)p->n_ctx;
    imatrix_destroy(p->done);
    p->done = m;
    return ERR_OK;
}

static enum err_code run_chunks(struct collecting *p, struct err *e)
{
    int32_t every = p->config->save_every;
    enum err_code rc = ERR_OK;
    p->start_ms = clock_ms();
    for (int32_t i = p->first; rc == ERR_OK && i < p->end; i++) {
        int32_t n_done = i - p->first + 1;
        rc = run_chunk(p, i, e);
        if (rc == ERR_OK)
            rc = take_sums(p, n_done, e);
        if (rc == ERR_OK)
            say_progress(p, n_done);
        if (rc == ERR_OK && every > 0 && n_done % every == 0 && i + 1 < p->end)
            rc = save(p, e);
    }
    end_line(p);
    return rc;
}

static enum err_code tokenize(struct collecting *p, const struct app *app, const struct model *m,
                              struct token_list *tokens, struct err *e)
{
    const struct config *c = app->config;
    struct buf text = { 0 };
    const char *file = c->file ? c->file : app->paths->calibration;
    p->dataset = !c->file ? own_text : strcmp(file, "-") == 0 ? "stdin" : file;
    if (!file[0])
        return err_set(e, ERR_IO, "quip's own text is not found; -f FILE gives another");
    enum err_code rc = cmd_read(&text, file, e);
    struct text_part part = { buf_text(&text), text.n_bytes, c->special };
    if (rc == ERR_OK)
        rc = model_tokenize(m, &part, 1, true, tokens, e);
    buf_finish(&text);
    if (rc != ERR_OK)
        return rc;
    int32_t n = tokens->n / p->n_ctx;
    if (p->first >= n)
        return err_set(e, ERR_FORMAT, "%s: %d tokens, at least %lld wanted for a chunk of %d%s", p->dataset, tokens->n,
                       ((long long)p->first + 1) * p->n_ctx, p->n_ctx, p->first > 0 ? " behind those left out" : "");
    p->tokens = tokens->ids;
    p->end = c->n_chunks >= 0 && c->n_chunks < n - p->first ? p->first + c->n_chunks : n;
    return p->end > p->first ? ERR_OK : err_set(e, ERR_FORMAT, "--chunks: 0 chunks are nothing to read");
}

static enum err_code reserve(struct collecting *p, const struct model *m, struct err *e)
{
    size_t row_bytes = (size_t)model_info(m)->n_vocab * sizeof *p->logits;
    p->n_rows = p->n_ctx < IMATRIX_BATCH ? p->n_ctx : IMATRIX_BATCH;
    if (p->config->process_output && (size_t)p->n_rows > IMATRIX_SLICE_BYTES / row_bytes)
        p->n_rows = row_bytes < IMATRIX_SLICE_BYTES ? (int32_t)(IMATRIX_SLICE_BYTES / row_bytes) : 1;
    p->chunk = malloc(sizeof *p->chunk * (size_t)p->n_ctx);
    p->logits = p->config->process_output ? malloc(row_bytes * (size_t)p->n_rows) : NULL;
    if (!p->chunk || (p->config->process_output && !p->logits))
        return err_set(e, ERR_NOMEM, "no memory for a chunk of %d tokens", p->n_ctx);
    return ERR_OK;
}

/* An interrupted run ends here too, with what it has in p->done. */
static enum exit_code collect(struct collecting *p, const struct app *app)
{
    struct cmd_model cm;
    struct err e = { 0 };
    struct token_list tokens = { 0 };
    enum exit_code code = cmd_model_open(&cm, app, MODEL_RUN, app->config->n_threads);
    if (code != EXIT_CODE_OK)
        return code;
    enum err_code rc = cmd_bos(cm.model, &p->bos, &e);
    if (rc == ERR_OK)
        rc = tokenize(p, app, cm.model, &tokens, &e);
    if (rc == ERR_OK)
        rc = reserve(p, cm.model, &e);
    if (rc == ERR_OK)
        code = cmd_session(&p->s, app, cm.model, p->n_ctx, p->n_rows);
    if (rc == ERR_OK && code == EXIT_CODE_OK)
        rc = session_collect(p->s, app->config->process_output, &e);
    if (rc == ERR_OK && code == EXIT_CODE_OK) {
        interrupt_watch(&p->interrupt, p->s);
        rc = run_chunks(p, &e);
        interrupt_watch(&p->interrupt, NULL);
    }
    if (rc == ERR_CANCELLED) {
        code = EXIT_CODE_INTERRUPTED;
    } else if (rc != ERR_OK) {
        cmd_complain("%s", e.text);
        code = EXIT_CODE_FAILURE;
    }
    free(p->chunk);
    free(p->logits);
    token_list_finish(&tokens);
    session_destroy(p->s);
    cmd_model_close(&cm);
    return code;
}

/* ---- statistics ----------------------------------------------------------------------------------- */

struct row {
    const struct imatrix_entry *entry;
    char kind[IMATRIX_MAX_NAME_BYTES + 1];    /* "ffn_up" of "blk.3.ffn_up.weight" */
    struct imatrix_stats stats;
    bool is_known;
};

static void row_init(struct row *r, const struct imatrix *m, const struct imatrix_entry *entry)
{
    static const char ending[] = ".weight";
    const char *dot = strncmp(entry->name, "blk.", 4) == 0 ? strchr(entry->name + 4, '.') : NULL;
    r->entry = entry;
    snprintf(r->kind, sizeof r->kind, "%s", dot ? dot + 1 : entry->name);
    size_t n = strlen(r->kind), n_ending = sizeof ending - 1;
    if (n > n_ending && strcmp(r->kind + n - n_ending, ending) == 0)
        r->kind[n - n_ending] = '\0';
    r->is_known = imatrix_stats(m, entry, &r->stats);
}

/* By kind, then by layer. */
static int before(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    int order = strcmp(x->kind, y->kind);
    if (order == 0)
        order = (x->stats.layer > y->stats.layer) - (x->stats.layer < y->stats.layer);
    return order != 0 ? order : strcmp(x->entry->name, y->entry->name);
}

static json_t *row_to_json(const struct row *r)
{
    const struct imatrix_stats *s = &r->stats;
    json_t *row = json_pack("{ss si si}", "name", r->entry->name, "columns", (int)r->entry->n_cols, "matrices",
                            (int)r->entry->n_mat);
    json_int_t count = 0;
    for (int32_t i = 0; i < r->entry->n_mat; i++)
        count += (json_int_t)r->entry->counts[i];
    json_object_set_new(row, "count", json_integer(count));
    if (!r->is_known)
        return row;
    json_t *figures = json_pack("{sf sf sf sf sf sf sf sf sf so}", "sum", s->sum, "min", s->min, "max", s->max, "mean",
                                s->mean, "deviation", s->deviation, "active", s->active, "entropy", s->entropy,
                                "evenness", s->evenness, "above", s->above, "cosine",
                                s->has_previous ? json_real(s->cosine) : json_null());
    json_object_update(row, figures);
    json_decref(figures);
    return row;
}

static void print_row(const struct row *r)
{
    const struct imatrix_stats *s = &r->stats;
    char layer[16] = "-", cosine[16] = "-";
    if (s->layer >= 0)
        snprintf(layer, sizeof layer, "%d", s->layer);
    if (s->has_previous)
        snprintf(cosine, sizeof cosine, "%.4f", s->cosine);
    printf("%5s  %-20s ", layer, r->kind);
    if (!r->is_known)
        printf("no rows\n");
    else
        printf("%12.2f %10.4f %11.4f %9.4f %9.4f %7.2f%% %8lld %9.4f %7.2f%% %6.2f%% %8s\n", s->sum, s->min, s->max,
               s->mean, s->deviation, 100 * s->active, (long long)s->n, s->entropy, 100 * s->evenness, 100 * s->above,
               cosine);
}

static void print_text(const struct imatrix *m, const struct row *rows)
{
    printf("%d tensors, %u chunks of %u tokens\n", m->n_entries, m->n_chunks, m->chunk_size);
    for (int32_t i = 0; i < m->n_datasets; i++) {
        cmd_put_line(stdout, m->datasets[i]);
        putchar('\n');
    }
    printf("\nmeans of the squares of what came into each column:\n%5s  %-20s %12s %10s %11s %9s %9s %8s %8s %9s %8s %7s "
           "%8s\n", "layer", "tensor", "sum", "min", "max", "mean", "sd", "active", "columns", "entropy", "even", "above",
           "cosine");
    for (int32_t i = 0; i < m->n_entries; i++)
        print_row(&rows[i]);
}

static void print_json(const struct imatrix *m, const struct row *rows)
{
    json_t *datasets = json_array(), *tensors = json_array();
    for (int32_t i = 0; i < m->n_datasets; i++)
        json_array_append_new(datasets, cmd_json_text(m->datasets[i], strlen(m->datasets[i])));
    for (int32_t i = 0; i < m->n_entries; i++)
        json_array_append_new(tensors, row_to_json(&rows[i]));
    json_t *all = json_pack("{so sI sI so}", "datasets", datasets, "chunk_count", (json_int_t)m->n_chunks, "chunk_size",
                            (json_int_t)m->chunk_size, "tensors", tensors);
    json_dumpf(all, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(all);
}

static enum err_code print_statistics(const struct imatrix *m, bool json, struct err *e)
{
    struct row *rows = calloc((size_t)m->n_entries, sizeof *rows);
    if (!rows)
        return err_set(e, ERR_NOMEM, "no memory for the figures of %d tensors", m->n_entries);
    for (int32_t i = 0; i < m->n_entries; i++)
        row_init(&rows[i], m, &m->entries[i]);
    qsort(rows, (size_t)m->n_entries, sizeof *rows, before);
    if (json)
        print_json(m, rows);
    else
        print_text(m, rows);
    free(rows);
    return ERR_OK;
}

/* ---- the command ---------------------------------------------------------------------------------- */

static void say_written(const struct collecting *p, const struct imatrix *sum, bool was_interrupted)
{
    const char *out = p->config->output;
    FILE *to = p->config->show_statistics ? stderr : stdout;    /* that has the figures */
    cmd_put_line(to, out);
    fprintf(to, ": %d tensors, %u chunks of %u tokens\n", sum->n_entries, sum->n_chunks, sum->chunk_size);
    if (was_interrupted)
        cmd_complain("interrupted after %u chunks; with --in-file %s --from-chunk %u it goes on", p->done->n_chunks,
                     out, (uint32_t)p->first + p->done->n_chunks);
}

static enum exit_code finish(struct collecting *p, enum exit_code code)
{
    const struct config *c = p->config;
    struct err e = { 0 };
    struct imatrix *sum = NULL;
    bool was_interrupted = code == EXIT_CODE_INTERRUPTED;
    if (was_interrupted && p->done->n_chunks == 0) {
        cmd_complain("interrupted before the first chunk was through; nothing is written");
        return code;
    }
    enum err_code rc = sum_up(p, &sum, &e);
    if (rc == ERR_OK && (c->model || !c->show_statistics)) {
        rc = imatrix_save(sum, c->output, (enum imatrix_format)c->imatrix_format, &e);
        if (rc == ERR_OK)
            say_written(p, sum, was_interrupted);
    }
    if (rc == ERR_OK && c->show_statistics)
        rc = print_statistics(sum, c->json, &e);
    imatrix_destroy(sum);
    if (rc != ERR_OK)
        cmd_complain("%s", e.text);
    return rc != ERR_OK ? EXIT_CODE_FAILURE : code;
}

enum exit_code cmd_imatrix(const struct app *app)
{
    const struct config *c = app->config;
    struct err e = { 0 };
    struct collecting p = { .config = c, .n_ctx = c->n_ctx, .first = c->first_chunk,
                            .is_terminal = isatty(STDERR_FILENO), .files = imatrix_create(), .done = imatrix_create() };
    enum exit_code code = EXIT_CODE_OK;
    if (!c->model && c->in_files.n == 0) {
        cmd_complain("'quip imatrix' needs -m MODEL, or --in-file FILE to work with");
        code = EXIT_CODE_USAGE;
    } else if (!p.files || !p.done) {
        cmd_complain("no memory for an importance matrix");
        code = EXIT_CODE_FAILURE;
    } else if (add_files(p.files, c, &e) != ERR_OK) {
        cmd_complain("%s", e.text);
        code = EXIT_CODE_FAILURE;
    }
    if (code == EXIT_CODE_OK && c->model && check_output(c->output, &e) != ERR_OK) {
        cmd_complain("%s", e.text);
        code = EXIT_CODE_FAILURE;
    }
    if (code == EXIT_CODE_OK && c->model) {
        interrupt_start(&p.interrupt);
        code = collect(&p, app);
        interrupt_stop(&p.interrupt);
    }
    if (code == EXIT_CODE_OK || (code == EXIT_CODE_INTERRUPTED && p.done))
        code = finish(&p, code);
    imatrix_destroy(p.files);
    imatrix_destroy(p.done);
    return code;
}
