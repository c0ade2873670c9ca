/* SPDX-License-Identifier: MIT */
/* quip imatrix from a shell: what it writes, adds up, tells of, and keeps of an interrupted run. */
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/base/utf8.h"
#include "engine/level/imatrix.h"
#include "tests/support/home.h"
#include "tests/support/shell.h"

struct rig {
    struct home home;
    struct shell s;
    char text[HOME_PATH_BYTES], out[HOME_PATH_BYTES], other[HOME_PATH_BYTES];
};

static void write_text(struct test *t, struct rig *r, const char *name, size_t n_bytes)
{
    char *text = calloc(n_bytes + 1, 1);
    for (size_t i = 0; i < n_bytes; i++)
        text[i] = (char)('a' + test_below(t, 26));
    home_write(t, &r->home, name, text);
    free(text);
}

/* A model, and a text of some 30 chunks of 64 tokens. */
static void rig_make(struct test *t, struct rig *r, size_t n_bytes)
{
    struct tiny_model m;
    memset(r, 0, sizeof *r);
    home_make(t, &r->home, "xterm-256color");
    tiny_model_init(&m);
    home_add_model(t, &r->home, "small", &m);
    write_text(t, r, "text.txt", n_bytes);
    home_path(&r->home, "text.txt", r->text);
    home_path(&r->home, "out.gguf", r->out);
    home_path(&r->home, "other", r->other);
}

/* Runs `quip imatrix` with these arguments (NULL-ended). */
static void imatrix(struct test *t, struct rig *r, const char *signal_at, const char *const *arguments)
{
    const char *argv[24] = { QUIP_BINARY, "imatrix" };
    for (int i = 0; i < 21 && arguments[i]; i++)
        argv[i + 2] = arguments[i];
    shell_finish(&r->s);
    struct shell_options o = { .settings = r->home.settings, .signal_at = signal_at, .signal_number = SIGINT };
    shell_run(t, &r->s, argv, &o);
}

#define IMATRIX(t, r, ...) imatrix((t), (r), NULL, (const char *const[]){ __VA_ARGS__, NULL })

static struct imatrix *opened(struct test *t, const char *path)
{
    struct imatrix *m = NULL;
    struct err e = { 0 };
    CHECK_INT(t, imatrix_open(&m, path, &e), ERR_OK, "%s", e.text);
    return m;
}

/* factor: b's sums are so many times a's. */
static void check_alike(struct test *t, const struct imatrix *a, const struct imatrix *b, double factor)
{
    CHECK_INT(t, b->n_entries, a->n_entries);
    for (int32_t i = 0; i < a->n_entries; i++) {
        const struct imatrix_entry *x = &a->entries[i], *y = &b->entries[i];
        CHECK_TEXT(t, y->name, x->name);
        CHECK_INT(t, y->n_cols, x->n_cols);
        CHECK(t, (double)y->counts[0] == factor * (double)x->counts[0], "%s", x->name);
        for (int32_t c = 0; c < x->n_cols; c++)
            CHECK(t, fabs(y->sums[c] - factor * x->sums[c]) <= 1e-6 * factor * x->sums[c], "%s column %d: %g, %g wanted",
                  x->name, c, y->sums[c], factor * x->sums[c]);
    }
}

TEST(imatrix_of_a_text)
{
    struct rig r;
    rig_make(t, &r, 2000);
    IMATRIX(t, &r, "-m", "small", "-f", r.text, "-c", "64", "--chunks", "3", "-o", r.out);
    CHECK_INT(t, r.s.code, 0, "%s", r.s.err);
    CHECK(t, strstr(r.s.out, "out.gguf: 14 tensors, 3 chunks of 64 tokens\n"), "%s", r.s.out);
    CHECK(t, strstr(r.s.err, "seconds per chunk, 3 chunks of 64, ") && strstr(r.s.err, "[1][2][3]\n"), "%s", r.s.err);
    struct imatrix *m = opened(t, r.out);
    CHECK_INT(t, m->n_entries, 14);
    CHECK_INT(t, m->n_chunks, 3);
    CHECK_INT(t, m->chunk_size, 64);
    CHECK_INT(t, m->n_datasets, 1);
    CHECK_TEXT(t, m->datasets[0], r.text);
    const struct imatrix_entry *down = imatrix_find(m, "blk.1.ffn_down.weight");
    CHECK(t, down && down->n_cols == 128 && down->counts[0] == 3 * 64 && down->sums[0] > 0);

    IMATRIX(t, &r, "-m", "small", "-f", r.text, "-c", "64", "--chunks", "3", "-t", "1", "--process-output", "-o",
            r.other);
    CHECK_INT(t, r.s.code, 0, "%s", r.s.err);
    struct imatrix *with_head = opened(t, r.other);
    CHECK_INT(t, with_head->n_entries, 15);
    const struct imatrix_entry *head = imatrix_find(with_head, "output.weight");
    CHECK(t, head && head->n_cols == 64 && head->counts[0] == 3 * 64 && head->sums[0] > 0);
    imatrix_destroy(m);
    imatrix_destroy(with_head);
    shell_finish(&r.s);
}

TEST(imatrix_without_a_text_reads_its_own)
{
    struct rig r;
    rig_make(t, &r, 10);
    IMATRIX(t, &r, "-m", "small", "-c", "64", "-o", r.out);
    CHECK_INT(t, r.s.code, 1);
    CHECK(t, strstr(r.s.err, "calibration.txt") != NULL, "%s", r.s.err);
    CHECK(t, access(r.out, F_OK) != 0);
    write_text(t, &r, "root/assets/calibration.txt", 300);
    IMATRIX(t, &r, "-m", "small", "-c", "64", "-o", r.out);
    CHECK_INT(t, r.s.code, 0, "%s", r.s.err);
    struct imatrix *m = opened(t, r.out);
    CHECK_TEXT(t, m->datasets[0], "quip/calibration.txt");
    CHECK(t, m->n_chunks >= 2);
    imatrix_destroy(m);
    shell_finish(&r.s);
}

/* Paragraphs of the text that comes with quip: none stands in it twice. */
TEST(imatrix_own_text_is_varied)
{
    enum { MOST = 2000, SHORT = 40 };
    size_t n_bytes, n = 0;
    char *text = test_read_file("assets/calibration.txt", &n_bytes), *at = text;
    const char *paragraphs[MOST];
    CHECK(t, text && n_bytes > 80000);
    CHECK(t, utf8_valid(text, n_bytes));
    for (char *end; at && n < MOST; at = end ? end + 2 : NULL) {
        end = strstr(at, "\n\n");
        if (end)
            *end = '\0';
        if (strlen(at) < SHORT)
            continue;
        for (size_t i = 0; i < n; i++)
            CHECK(t, strcmp(paragraphs[i], at) != 0, "twice: %s", at);
        paragraphs[n++] = at;
    }
    CHECK(t, n > 200 && n < MOST, "%zu paragraphs", n);
    free(text);
}

TEST(imatrix_files_add_up_and_change_format)
{
    struct rig r;
    rig_make(t, &r, 2000);
    IMATRIX(t, &r, "-m", "small", "-f", r.text, "-c", "64", "--chunks", "4", "-o", r.out);
    CHECK_INT(t, r.s.code, 0, "%s", r.s.err);
    struct imatrix *once = opened(t, r.out);

    IMATRIX(t, &r, "--in-file", r.out, "--in-file", r.out, "-o", r.other);
    CHECK_INT(t, r.s.code, 0, "%s", r.s.err);
    struct imatrix *twice = opened(t, r.other);
    check_alike(t, once, twice, 2);
    CHECK_INT(t, twice->n_chunks, 8);
    CHECK_INT(t, twice->n_datasets, 1);
    imatrix_destroy(twice);

    IMATRIX(t, &r, "--in-file", r.out, "--output-format", "dat", "-o", r.other);
    CHECK_INT(t, r.s.code, 0, "%s", r.s.err);
    struct imatrix *dat = opened(t, r.other);
    CHECK_INT(t, dat->chunk_size, 0);
    imatrix_set_chunk_size(dat, 64);
    check_alike(t, once, dat, 1);
    imatrix_destroy(dat);

    /* Half of the text, then the other half with the first one's file. */
    IMATRIX(t, &r, "-m", "small", "-f", r.text, "-c", "64", "--chunks", "2", "-o", r.other);
    CHECK_INT(t, r.s.code, 0, "%s", r.s.err);
    IMATRIX(t, &r, "-m", "small", "-f", r.text, "-c", "64", "--from-chunk", "2", "--chunks", "2", "--in-file", r.other,
            "-o", r.other);
    CHECK_INT(t, r.s.code, 0, "%s", r.s.err);
    struct imatrix *halves = opened(t, r.other);
    check_alike(t, once, halves, 1);
    CHECK_INT(t, halves->n_chunks, 4);
    imatrix_destroy(halves);
    imatrix_destroy(once);
    shell_finish(&r.s);
}

TEST(imatrix_interrupted_keeps_whole_chunks_and_goes_on)
{
    struct rig r;
    rig_make(t, &r, 300000);    /* some seconds */
    imatrix(t, &r, "[3]", (const char *const[]){ "-m", "small", "-f", r.text, "-c", "64", "-ofreq", "0", "-o", r.out,
                                                 NULL });
    CHECK_INT(t, r.s.code, 130, "%s", r.s.err);
    CHECK(t, strstr(r.s.err, "interrupted after ") != NULL, "%s", r.s.err);
    struct imatrix *part = opened(t, r.out);
    CHECK(t, part->n_chunks >= 3 && part->n_chunks < 3000, "%u", part->n_chunks);
    for (int32_t i = 0; i < part->n_entries; i++)
        CHECK_INT(t, part->entries[i].counts[0], 64 * part->n_chunks);
    char from[16], all[16];
    snprintf(from, sizeof from, "%u", part->n_chunks);
    snprintf(all, sizeof all, "%u", part->n_chunks + 2);
    CHECK(t, strstr(r.s.err, from) != NULL, "%s", r.s.err);
    IMATRIX(t, &r, "-m", "small", "-f", r.text, "-c", "64", "--in-file", r.out, "--from-chunk", from, "--chunks", "2",
            "-o", r.out);
    CHECK_INT(t, r.s.code, 0, "%s", r.s.err);
    IMATRIX(t, &r, "-m", "small", "-f", r.text, "-c", "64", "--chunks", all, "-o", r.other);
    CHECK_INT(t, r.s.code, 0, "%s", r.s.err);
    struct imatrix *joined = opened(t, r.out), *whole = opened(t, r.other);
    check_alike(t, whole, joined, 1);
    imatrix_destroy(part);
    imatrix_destroy(joined);
    imatrix_destroy(whole);
    shell_finish(&r.s);
}

/* What is there before the end, for a run that is killed. */
TEST(imatrix_is_written_now_and_then)
{
    struct rig r;
    rig_make(t, &r, 300000);
    const char *argv[] = { QUIP_BINARY, "imatrix", "-m", "small", "-f", r.text, "-c", "64", "-ofreq", "2", "-o", r.out,
                           NULL };
    struct shell_options o = { .settings = r.home.settings, .signal_at = "[9]", .signal_number = SIGKILL };
    shell_run(t, &r.s, argv, &o);
    CHECK_INT(t, r.s.code, 256 + SIGKILL);
    struct imatrix *m = opened(t, r.out);
    CHECK(t, m->n_chunks >= 8 && m->n_chunks % 2 == 0, "%u", m->n_chunks);
    imatrix_destroy(m);
    shell_finish(&r.s);
}

TEST(imatrix_statistics)
{
    struct rig r;
    rig_make(t, &r, 2000);
    IMATRIX(t, &r, "-m", "small", "-f", r.text, "-c", "64", "--chunks", "2", "-o", r.out, "--show-statistics");
    CHECK_INT(t, r.s.code, 0, "%s", r.s.err);
    CHECK(t, strstr(r.s.out, "14 tensors, 2 chunks of 64 tokens") == r.s.out, "%s", r.s.out);
    CHECK(t, strstr(r.s.out, "\n    1  ffn_down ") != NULL, "%s", r.s.out);
    CHECK(t, access(r.out, F_OK) == 0);

    IMATRIX(t, &r, "--in-file", r.out, "--show-statistics", "--json", "-o", r.other);
    CHECK_INT(t, r.s.code, 0, "%s", r.s.err);
    CHECK(t, access(r.other, F_OK) != 0, "nothing is written");
    json_t *all = json_loads(r.s.out, 0, NULL), *tensors = json_object_get(all, "tensors");
    CHECK_INT(t, json_array_size(tensors), 14);
    CHECK_INT(t, json_integer_value(json_object_get(all, "chunk_count")), 2);
    json_t *first = json_array_get(tensors, 0), *second = json_array_get(tensors, 1);
    CHECK_TEXT(t, json_string_value(json_object_get(first, "name")), "blk.0.attn_k.weight");
    CHECK_TEXT(t, json_string_value(json_object_get(second, "name")), "blk.1.attn_k.weight");
    CHECK(t, json_is_null(json_object_get(first, "cosine")) && json_is_real(json_object_get(second, "cosine")));
    CHECK_INT(t, json_integer_value(json_object_get(second, "count")), 128);
    double mean = json_real_value(json_object_get(first, "mean")), sum = json_real_value(json_object_get(first, "sum"));
    CHECK(t, mean > 0 && fabs(mean * 64 - sum) < 1e-9 * sum);
    json_decref(all);
    shell_finish(&r.s);
}

TEST(imatrix_says_what_is_wrong)
{
    struct rig r;
    rig_make(t, &r, 2000);
    IMATRIX(t, &r, "-o", r.out);
    CHECK_INT(t, r.s.code, 2);
    CHECK(t, strstr(r.s.err, "needs -m MODEL, or --in-file FILE") != NULL, "%s", r.s.err);
    IMATRIX(t, &r, "-m", "small", "-f", r.text, "-c", "100000", "-o", r.out);
    CHECK_INT(t, r.s.code, 1);
    CHECK(t, strstr(r.s.err, "100000 wanted for a chunk") != NULL, "%s", r.s.err);
    IMATRIX(t, &r, "-m", "small", "-f", r.text, "-c", "64", "--from-chunk", "1000", "-o", r.out);
    CHECK_INT(t, r.s.code, 1);
    CHECK(t, strstr(r.s.err, "behind those left out") != NULL, "%s", r.s.err);
    IMATRIX(t, &r, "-m", "small", "-f", r.text, "-c", "64", "--chunks", "0", "-o", r.out);
    CHECK_INT(t, r.s.code, 1);
    IMATRIX(t, &r, "--in-file", r.text, "-o", r.out);
    CHECK_INT(t, r.s.code, 1);
    CHECK(t, strstr(r.s.err, "text.txt: no importance matrix") != NULL, "%s", r.s.err);
    char model[HOME_PATH_BYTES];
    home_path(&r.home, "data/quip/models/small.gguf", model);
    IMATRIX(t, &r, "--in-file", model, "--show-statistics");
    CHECK_INT(t, r.s.code, 1);
    CHECK(t, strstr(r.s.err, "small.gguf: no importance matrix") != NULL, "%s", r.s.err);
    CHECK(t, access(r.out, F_OK) != 0, "nothing was written by any of them");
    IMATRIX(t, &r, "-m", "small", "-f", r.text, "-c", "64", "--chunks", "1", "-o", "/proc/nowhere/x.gguf");
    CHECK_INT(t, r.s.code, 1);
    CHECK(t, strstr(r.s.err, "/proc/nowhere/x.gguf") != NULL, "%s", r.s.err);
    shell_finish(&r.s);
}
