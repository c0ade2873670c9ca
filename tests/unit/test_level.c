/* SPDX-License-Identifier: MIT */
/* Making files of levels: what is in them, and what is left where one cannot be made. */
#include "engine/level/level.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/gguf/gguf_writer.h"
#include "engine/level/imatrix.h"
#include "engine/level/level_file.h"
#include "engine/quant/quant.h"
#include "tests/support/test.h"

enum { PATH_BYTES = 512 };

static char folder[PATH_BYTES];    /* of the case */

static void begin(struct test *t)
{
    static int n;
    snprintf(folder, sizeof folder, "%s/%d", test_folder(t), n++);
    CHECK(t, mkdir(folder, 0700) == 0);
}

static const char *path_in(const char *name)
{
    static char paths[4][2 * PATH_BYTES];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

/* ---- a source ------------------------------------------------------------------------------------- */

struct source_tensor {
    const char *name;
    uint64_t ne[3];
    uint32_t type;
};

static const struct source_tensor source_tensors[] = {
    { "token_embd.weight", { 256, 40, 1 }, QUANT_F16 },        { "output_norm.weight", { 256, 1, 1 }, QUANT_F32 },
    { "blk.0.attn_q.weight", { 256, 256, 1 }, QUANT_F16 },     { "blk.0.attn_v.weight", { 256, 128, 1 }, QUANT_F32 },
    { "blk.0.attn_output.weight", { 256, 256, 1 }, QUANT_BF16 }, { "blk.0.ffn_norm.weight", { 3, 1, 1 }, QUANT_F32 },
    { "blk.0.ffn_down.weight", { 96, 256, 1 }, QUANT_F16 },    { "blk.0.ffn_up_exps.weight", { 256, 24, 3 }, QUANT_F16 },
    { "blk.1.ffn_gate.weight", { 20, 5, 1 }, QUANT_F16 },
};

enum { N_TENSORS = sizeof source_tensors / sizeof *source_tensors };

/* spoil: a weight of blk.0.attn_v, of which this becomes the value; NULL: all are finite. */
static void write_source(struct test *t, const char *path, const float *spoil)
{
    struct gguf_writer *w = gguf_writer_create();
    struct gguf_text words[2] = { { "one", 3 }, { "t\0o", 3 } };
    void *data[N_TENSORS];
    struct err e = { 0 };
    CHECK(t, w);
    gguf_writer_text(w, "general.architecture", "llama");
    gguf_writer_u32(w, "general.file_type", 1);
    gguf_writer_alignment(w, 64);
    gguf_writer_u32(w, "llama.block_count", 2);
    gguf_writer_u32(w, "llama.attention.head_count", 4);
    gguf_writer_u32(w, "llama.attention.head_count_kv", 2);
    gguf_writer_texts(w, "tokenizer.ggml.tokens", words, 2);
    for (int i = 0; i < N_TENSORS; i++) {
        const struct source_tensor *s = &source_tensors[i];
        uint64_t n = s->ne[0] * s->ne[1] * s->ne[2];
        float *values = malloc(n * sizeof *values);
        data[i] = malloc(n * sizeof *values);
        CHECK(t, values && data[i]);
        for (uint64_t k = 0; k < n; k++)
            values[k] = test_normal(t);
        if (spoil && strcmp(s->name, "blk.0.attn_v.weight") == 0)
            values[7 * 256 + 130] = *spoil;
        quant_format(s->type)->from_f32(data[i], values, (int64_t)n, NULL);
        gguf_writer_tensor(w, s->name, s->type, s->ne[2] > 1 ? 3 : s->ne[1] > 1 ? 2 : 1, s->ne, data[i]);
        free(values);
    }
    CHECK(t, gguf_writer_save(w, path, &e) == ERR_OK, "%s", e.text);
    gguf_writer_destroy(w);
    for (int i = 0; i < N_TENSORS; i++)
        free(data[i]);
}

/* Tensors that take long enough to be stopped in the middle: 16 million weights. */
static void write_large(struct test *t, const char *path)
{
    struct gguf_writer *w = gguf_writer_create();
    const uint64_t ne[2] = { 1024, 4096 };
    uint64_t n = ne[0] * ne[1];
    float *values = malloc(n * sizeof *values);
    struct err e = { 0 };
    CHECK(t, w && values);
    for (uint64_t i = 0; i < n; i++)
        values[i] = test_uniform(t);
    gguf_writer_text(w, "general.architecture", "llama");
    gguf_writer_u32(w, "llama.block_count", 4);
    for (int i = 0; i < 4; i++) {
        char name[32];
        snprintf(name, sizeof name, "blk.%d.attn_q.weight", i);
        gguf_writer_tensor(w, name, QUANT_F32, 2, ne, values);
    }
    CHECK(t, gguf_writer_save(w, path, &e) == ERR_OK, "%s", e.text);
    gguf_writer_destroy(w);
    free(values);
}

/* ---- making --------------------------------------------------------------------------------------- */

static enum err_code make(const char *from, const char *to, const struct level_options *o, struct err *e)
{
    struct level_plan p;
    struct level_progress progress = { 0 };
    enum err_code rc = level_plan(&p, from, o, &progress, e);
    if (rc == ERR_OK)
        rc = level_make(&p, to, &progress, e);
    if (rc == ERR_OK && progress.done_bytes != progress.total_bytes)
        rc = err_set(e, ERR_FORMAT, "progress ends at %llu of %llu", (unsigned long long)progress.done_bytes,
                     (unsigned long long)progress.total_bytes);
    level_plan_finish(&p);
    return rc;
}

static int files_here(void)
{
    DIR *dir = opendir(folder);
    int n = 0;
    for (struct dirent *entry; dir && (entry = readdir(dir));)
        n += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    if (dir)
        closedir(dir);
    return n;
}

/* Every tensor is what its type's quantiser makes of the source's rows, one by one. */
static void check_made(struct test *t, const char *from_path, const char *to_path, const struct level_options *o,
                       const float *importance)
{
    struct gguf *from, *to;
    struct level_plan p;
    struct err e = { 0 };
    CHECK(t, gguf_open(&from, from_path, &e) == ERR_OK && gguf_open(&to, to_path, &e) == ERR_OK, "%s", e.text);
    CHECK(t, level_plan(&p, from_path, o, NULL, &e) == ERR_OK, "%s", e.text);
    struct gguf_info info;
    gguf_info(to, &info);
    CHECK_INT(t, info.file_bytes, p.file_bytes);
    CHECK_INT(t, info.tensor_bytes, p.n_bytes);
    CHECK_INT(t, info.alignment, 64);
    CHECK_INT(t, gguf_n_tensors(to), gguf_n_tensors(from));
    for (uint32_t i = 0; i < gguf_n_tensors(from); i++) {
        const struct gguf_tensor *a = gguf_tensor_at(from, i), *b = gguf_tensor_at(to, i);
        CHECK_TEXT(t, b->name, a->name);
        CHECK_TEXT(t, quant_format(b->type)->name, p.tensors[i].to, "%s", a->name);
        CHECK_BYTES(t, b->ne, a->ne, sizeof a->ne, "%s", a->name);
        if (a->type == b->type) {
            CHECK_BYTES(t, b->data, a->data, a->n_bytes, "%s", a->name);
            continue;
        }
        float *values = malloc(a->ne[0] * sizeof *values);
        uint8_t *row = malloc(b->row_bytes);
        for (uint64_t r = 0; r < a->n_weights / a->ne[0]; r++) {
            const float *weights = importance && strstr(a->name, "exps") ? importance + r / a->ne[1] * a->ne[0] : NULL;
            quant_format(a->type)->to_f32(values, a->data + r * a->row_bytes, (int64_t)a->ne[0]);
            quant_format(b->type)->from_f32(row, values, (int64_t)a->ne[0], weights);
            CHECK_BYTES(t, b->data + r * b->row_bytes, row, b->row_bytes, "%s row %llu", a->name, (unsigned long long)r);
        }
        free(values);
        free(row);
    }
    level_plan_finish(&p);
    gguf_close(from);
    gguf_close(to);
}

TEST(level_every_level_holds_what_its_types_make_of_the_source)
{
    begin(t);
    const char *from = path_in("source.gguf"), *to = path_in("made.gguf");
    write_source(t, from, NULL);
    for (int32_t i = 0; level_name(i); i++) {
        struct level_options o = { .level = level_name(i), .replace = true, .n_threads = 1 + i % 3 };
        struct err e = { 0 };
        if (strcmp(o.level, "Q2_K_S") == 0)
            continue;
        CHECK(t, make(from, to, &o, &e) == ERR_OK, "%s: %s", o.level, e.text);
        check_made(t, from, to, &o, NULL);
    }
    CHECK_INT(t, files_here(), 2);
}

TEST(level_says_what_it_is_and_keeps_what_else_was_said)
{
    begin(t);
    const char *from = path_in("source.gguf"), *to = path_in("made.gguf");
    struct level_options o = { .level = "q4_k" };
    struct gguf *g;
    struct err e = { 0 };
    uint32_t file_type = 0, version = 0, layers = 0;
    write_source(t, from, NULL);
    CHECK(t, make(from, to, &o, &e) == ERR_OK, "%s", e.text);
    CHECK(t, gguf_open(&g, to, &e) == ERR_OK, "%s", e.text);
    CHECK_INT(t, gguf_n_keys(g), 8);
    CHECK(t, gguf_need_u32(g, "general.file_type", 0, 99, &file_type, &e) == ERR_OK, "%s", e.text);
    CHECK(t, gguf_need_u32(g, "general.quantization_version", 0, 99, &version, &e) == ERR_OK, "%s", e.text);
    CHECK(t, gguf_need_u32(g, "llama.block_count", 0, 99, &layers, &e) == ERR_OK, "%s", e.text);
    CHECK_INT(t, file_type, 15);
    CHECK_INT(t, version, 2);
    CHECK_INT(t, layers, 2);
    struct gguf_text word = gguf_kv_text(gguf_kv_find(g, "tokenizer.ggml.tokens"), 1);
    CHECK(t, word.n_bytes == 3 && memcmp(word.bytes, "t\0o", 3) == 0);
    gguf_close(g);
}

TEST(level_importance_counts_and_each_expert_has_its_own)
{
    begin(t);
    const char *from = path_in("source.gguf"), *to = path_in("made.gguf"), *with = path_in("with.gguf"),
               *file = path_in("importance.gguf");
    struct imatrix *m = imatrix_create();
    struct imatrix_entry *entry;
    struct err e = { 0 };
    write_source(t, from, NULL);
    CHECK(t, m && imatrix_add(m, "blk.0.ffn_up_exps.weight", 256, 3, &entry, &e) == ERR_OK, "%s", e.text);
    float importance[3 * 256];
    for (int i = 0; i < 3 * 256; i++)
        entry->sums[i] = 1 + (double)test_below(t, 4000) * (i % 7 == 0 ? 100 : 1);
    for (int i = 0; i < 3; i++)
        entry->counts[i] = 16;
    CHECK(t, imatrix_importance(entry, 256, 3, importance, &e) == ERR_OK, "%s", e.text);
    CHECK(t, imatrix_add_dataset(m, "text.txt", &e) == ERR_OK && imatrix_save(m, file, IMATRIX_GGUF, &e) == ERR_OK, "%s",
          e.text);
    struct level_options o = { .level = "Q4_0", .replace = true, .n_threads = 2 };
    CHECK(t, make(from, to, &o, &e) == ERR_OK, "%s", e.text);
    o.imatrix = file;
    CHECK(t, make(from, with, &o, &e) == ERR_OK, "%s", e.text);
    check_made(t, from, with, &o, importance);

    struct gguf *a, *b;
    struct gguf_text text = { 0 };
    uint32_t n = 0;
    CHECK(t, gguf_open(&a, to, &e) == ERR_OK && gguf_open(&b, with, &e) == ERR_OK, "%s", e.text);
    const struct gguf_tensor *x = gguf_tensor_find(a, "blk.0.ffn_up_exps.weight"),
                             *y = gguf_tensor_find(b, "blk.0.ffn_up_exps.weight");
    CHECK(t, memcmp(x->data, y->data, x->n_bytes) != 0, "importance without effect");
    CHECK(t, gguf_need_text(b, "quantize.imatrix.dataset", &text, &e) == ERR_OK, "%s", e.text);
    CHECK(t, text.n_bytes == 8 && memcmp(text.bytes, "text.txt", 8) == 0);
    CHECK(t, gguf_need_u32(b, "quantize.imatrix.entries_count", 1, 1, &n, &e) == ERR_OK, "%s", e.text);
    CHECK(t, gguf_kv_find(b, "quantize.imatrix.file") && !gguf_kv_find(a, "quantize.imatrix.file"));
    gguf_close(a);
    gguf_close(b);

    CHECK(t, imatrix_add(m, "blk.0.attn_q.weight", 128, 1, &entry, &e) == ERR_OK, "%s", e.text);
    entry->counts[0] = 16;
    CHECK(t, imatrix_save(m, file, IMATRIX_GGUF, &e) == ERR_OK, "%s", e.text);
    CHECK_INT(t, make(from, with, &o, &e), ERR_UNSUPPORTED);
    CHECK(t, strstr(e.text, "blk.0.attn_q.weight") && strstr(e.text, "128 values, 256 columns"), "%s", e.text);
    imatrix_destroy(m);
}

/* ---- a size instead of a level -------------------------------------------------------------------- */

/* Matrices that take rounding differently: values of one size, few large ones among small. */
static const struct source_tensor targets[] = { { "blk.0.a.weight", { 256, 64, 1 }, QUANT_F32 },
                                                { "blk.0.b.weight", { 256, 16, 1 }, QUANT_F32 },
                                                { "blk.0.c.weight", { 96, 128, 1 }, QUANT_F32 } };
enum { N_TARGETS = 3, MAX_TYPES = 16 };

static float *write_targets(struct test *t, const char *path)
{
    struct gguf_writer *w = gguf_writer_create();
    float *values = malloc((256 * 64 + 256 * 16 + 96 * 128) * sizeof *values), *next = values;
    struct err e = { 0 };
    CHECK(t, w && values);
    gguf_writer_text(w, "general.architecture", "llama");
    for (int i = 0; i < N_TARGETS; i++) {
        uint64_t n = targets[i].ne[0] * targets[i].ne[1];
        for (uint64_t k = 0; k < n; k++)
            next[k] = i == 1 ? test_normal(t) * (test_below(t, 20) == 0 ? 8 : 0.3f) : test_uniform(t);
        gguf_writer_tensor(w, targets[i].name, QUANT_F32, 2, targets[i].ne, next);
        next += n;
    }
    CHECK(t, gguf_writer_save(w, path, &e) == ERR_OK, "%s", e.text);
    gguf_writer_destroy(w);
    return values;
}

static double error_of(const struct source_tensor *s, uint32_t type, const float *x)
{
    uint64_t n = s->ne[0];
    uint8_t *blocks = malloc(quant_row_bytes(type, n));
    float *back = malloc(n * sizeof *back);
    double error = 0, all = 0;
    for (uint64_t r = 0; r < s->ne[1]; r++, x += n) {
        quant_format(type)->from_f32(blocks, x, (int64_t)n, NULL);
        quant_format(type)->to_f32(back, blocks, (int64_t)n);
        for (uint64_t i = 0; i < n; i++) {
            error += pow((double)x[i] - back[i], 2);
            all += pow((double)x[i], 2);
        }
    }
    free(blocks);
    free(back);
    return error / all;
}

static uint64_t bytes_of(const struct source_tensor *s, uint32_t type)
{
    return quant_row_bytes(type, s->ne[0]) * s->ne[1];
}

static uint32_t type_named(const char *name)
{
    for (uint32_t type = 0; type < QUANT_N_TYPES; type++)
        if (quant_format(type) && strcmp(quant_format(type)->name, name) == 0)
            return type;
    return QUANT_N_TYPES;
}

TEST(level_of_a_size_has_about_the_least_error_that_fits)
{
    static const double bits[] = { 3.4, 3.7, 4.0, 4.6, 5.2, 6.0, 7.1, 9.0, 16.0 };
    static const uint32_t types[] = { QUANT_Q2_K, QUANT_Q3_K, QUANT_IQ4_XS, QUANT_IQ4_NL, QUANT_Q4_0, QUANT_Q4_K, QUANT_Q4_1,
                                      QUANT_Q5_0, QUANT_Q5_K, QUANT_Q5_1, QUANT_Q6_K, QUANT_Q8_0, QUANT_F16 };
    enum { N = sizeof types / sizeof *types };
    begin(t);
    const char *from = path_in("source.gguf");
    float *values = write_targets(t, from);
    double loss[N_TARGETS][N];
    const float *x = values;
    for (int i = 0; i < N_TARGETS; x += targets[i].ne[0] * targets[i].ne[1], i++)
        for (int k = 0; k < N; k++)
            loss[i][k] = quant_row_bytes(types[k], targets[i].ne[0]) ? error_of(&targets[i], types[k], x) : INFINITY;
    for (size_t b = 0; b < sizeof bits / sizeof *bits; b++) {
        struct level_options o = { .target_bits = bits[b], .n_threads = 2 };
        struct level_plan p;
        struct err e = { 0 };
        double got = 0, best = INFINITY;
        CHECK(t, level_plan(&p, from, &o, NULL, &e) == ERR_OK, "%g bits: %s", bits[b], e.text);
        CHECK(t, p.bits <= bits[b], "%g bits: %g", bits[b], p.bits);
        for (int i = 0; i < N_TARGETS; i++)
            for (int k = 0; k < N; k++)
                got += types[k] == type_named(p.tensors[i].to) ? loss[i][k] : 0;
        uint64_t budget = (uint64_t)(bits[b] / 8 * (double)p.n_weights);    /* three steps are coarse */
        for (int i = 0; i < N * N * N; i++) {
            int k[3] = { i % N, i / N % N, i / N / N };
            uint64_t n = 0;
            double sum = 0;
            for (int j = 0; j < 3; j++) {
                n += bytes_of(&targets[j], types[k[j]]);
                sum += loss[j][k[j]];
            }
            best = n <= budget && sum < best ? sum : best;
        }
        CHECK(t, got <= 1.5 * best, "%g bits: an error of %g, %g is to be had", bits[b], got, best);
        level_plan_finish(&p);
    }
    free(values);
}

TEST(level_of_a_size_is_no_larger_and_keeps_to_what_was_said)
{
    begin(t);
    const char *from = path_in("source.gguf"), *to = path_in("made.gguf");
    const char *said[] = { "a.weight=Q8_0" };
    struct level_options o = { .target_bytes = 30000, .tensor_types = said, .n_tensor_types = 1 };
    struct level_progress progress = { 0 };
    struct stat st;
    struct gguf *g;
    struct err e = { 0 };
    free(write_targets(t, from));
    CHECK(t, make(from, to, &o, &e) == ERR_OK, "%s", e.text);
    CHECK(t, stat(to, &st) == 0 && st.st_size <= 30000 && st.st_size > 28000, "%lld bytes", (long long)st.st_size);
    CHECK(t, gguf_open(&g, to, &e) == ERR_OK, "%s", e.text);
    CHECK_INT(t, gguf_tensor_find(g, "blk.0.a.weight")->type, QUANT_Q8_0);
    CHECK(t, !gguf_kv_find(g, "general.file_type"), "of no level");
    gguf_close(g);

    o.target_bytes = 20000;
    CHECK_INT(t, make(from, to, &o, &e), ERR_UNSUPPORTED);
    CHECK(t, strstr(e.text, "at least"), "%s", e.text);
    o.level = "Q4_0";
    CHECK_INT(t, make(from, to, &o, &e), ERR_FORMAT);
    o = (struct level_options){ .target_bits = 5 };
    atomic_store(&progress.cancel, true);
    struct level_plan p;
    CHECK_INT(t, level_plan(&p, from, &o, &progress, &e), ERR_CANCELLED);
}

/* ---- what is refused ------------------------------------------------------------------------------ */

static void check_refused(struct test *t, const char *from, const char *to, const struct level_options *o,
                          enum err_code want, const char *part)
{
    struct err e = { 0 };
    int n_files = files_here();
    CHECK_INT(t, make(from, to, o, &e), want, "%s", e.text);
    CHECK(t, strstr(e.text, part), "'%s' has no '%s'", e.text, part);
    CHECK_INT(t, files_here(), n_files, "%s", e.text);
}

TEST(level_refuses_with_the_thing_and_the_reason)
{
    begin(t);
    const char *from = path_in("source.gguf"), *to = path_in("made.gguf");
    const char *bad_words[] = { "attn_q", "attn_q=Q9_0" };
    write_source(t, from, NULL);
    check_refused(t, from, to, &(struct level_options){ .level = "Q9_K" }, ERR_UNSUPPORTED, "'Q9_K'");
    check_refused(t, from, to, &(struct level_options){ .level = "Q8_0", .output_type = "IQ1_S" }, ERR_UNSUPPORTED, "IQ1_S");
    check_refused(t, from, to, &(struct level_options){ .level = "Q8_0", .tensor_types = bad_words, .n_tensor_types = 1 },
                  ERR_FORMAT, "PATTERN=TYPE");
    check_refused(t, from, to, &(struct level_options){ .level = "Q8_0", .tensor_types = bad_words + 1,
                                                        .n_tensor_types = 1 }, ERR_UNSUPPORTED, "'Q9_0'");
    check_refused(t, from, to, &(struct level_options){ .level = "Q2_K_S" }, ERR_UNSUPPORTED, "importance matrix");
    check_refused(t, from, from, &(struct level_options){ .level = "Q8_0", .replace = true }, ERR_IO, "the source itself");
    check_refused(t, from, folder, &(struct level_options){ .level = "Q8_0", .replace = true }, ERR_IO,
                  "not a regular file");
    check_refused(t, from, "/nowhere/made.gguf", &(struct level_options){ .level = "Q8_0" }, ERR_IO, "/nowhere");
    check_refused(t, path_in("none.gguf"), to, &(struct level_options){ .level = "Q8_0" }, ERR_IO, "none.gguf");
}

TEST(level_puts_nothing_in_the_place_of_a_file_unless_told)
{
    begin(t);
    const char *from = path_in("source.gguf"), *to = path_in("made.gguf");
    struct level_options o = { .level = "Q8_0" };
    struct err e = { 0 };
    write_source(t, from, NULL);
    CHECK(t, make(from, to, &o, &e) == ERR_OK, "%s", e.text);
    o.level = "Q4_0";
    check_refused(t, from, to, &o, ERR_IO, "there already");
    check_made(t, from, to, &(struct level_options){ .level = "Q8_0" }, NULL);
    o.replace = true;
    CHECK(t, make(from, to, &o, &e) == ERR_OK, "%s", e.text);
    check_made(t, from, to, &o, NULL);
}

TEST(level_of_quantised_weights_has_to_be_allowed)
{
    begin(t);
    const char *from = path_in("source.gguf"), *middle = path_in("middle.gguf"), *to = path_in("made.gguf");
    struct level_options o = { .level = "Q8_0" };
    struct err e = { 0 };
    write_source(t, from, NULL);
    CHECK(t, make(from, middle, &o, &e) == ERR_OK, "%s", e.text);
    CHECK(t, make(middle, to, &o, &e) == ERR_OK, "nothing to do is allowed: %s", e.text);
    o = (struct level_options){ .level = "Q4_0", .replace = true };
    check_refused(t, middle, to, &o, ERR_UNSUPPORTED, "Q8_0 already");
    o.allow_requantize = true;
    CHECK(t, make(middle, to, &o, &e) == ERR_OK, "%s", e.text);
    check_made(t, middle, to, &o, NULL);
}

TEST(level_names_the_weight_that_is_not_finite)
{
    begin(t);
    const char *from = path_in("source.gguf"), *to = path_in("made.gguf");
    const float values[] = { NAN, INFINITY, -INFINITY };
    for (int i = 0; i < 3; i++) {
        write_source(t, from, &values[i]);
        check_refused(t, from, to, &(struct level_options){ .level = "Q4_K_M" }, ERR_FORMAT,
                      "tensor 'blk.0.attn_v.weight': row 7 column 130 is ");
        check_refused(t, from, to, &(struct level_options){ .level = "F32" }, ERR_FORMAT, "row 7 column 130");
    }
}

/* ---- the world in the way ------------------------------------------------------------------------- */

struct runner {
    struct level_plan plan;
    struct level_progress progress;
    const char *to;
    enum err_code rc;
    struct err err;
    atomic_bool is_over;
};

static void *run(void *argument)
{
    struct runner *r = argument;
    r->rc = level_make(&r->plan, r->to, &r->progress, &r->err);
    atomic_store(&r->is_over, true);
    return NULL;
}

/* Runs until something is done and gives the word then. */
static void interrupt_in_the_middle(struct test *t, struct runner *r, const char *from, void (*meddle)(struct runner *r))
{
    struct level_options o = { .level = "Q6_K", .n_threads = 1 };
    pthread_t thread;
    CHECK(t, level_plan(&r->plan, from, &o, NULL, &r->err) == ERR_OK, "%s", r->err.text);
    CHECK(t, pthread_create(&thread, NULL, run, r) == 0);
    while (atomic_load(&r->progress.done_bytes) == 0 && !atomic_load(&r->is_over))
        sched_yield();
    meddle(r);
    pthread_join(thread, NULL);
    CHECK(t, r->progress.done_bytes < r->progress.total_bytes, "it was over before");
    level_plan_finish(&r->plan);
}

static void cancel(struct runner *r)
{
    atomic_store(&r->progress.cancel, true);
}

TEST(level_cancelled_in_the_middle_leaves_nothing)
{
    begin(t);
    const char *from = path_in("large.gguf");
    struct runner r = { .to = path_in("made.gguf") };
    write_large(t, from);
    interrupt_in_the_middle(t, &r, from, cancel);
    CHECK_INT(t, r.rc, ERR_CANCELLED, "%s", r.err.text);
    CHECK_INT(t, files_here(), 1);
}

static const char *meddled;

static void cut(struct runner *r)
{
    (void)r;
    if (truncate(meddled, 4096) != 0)
        abort();
}

static void write_over(struct runner *r)
{
    (void)r;
    int fd = open(meddled, O_WRONLY);
    struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_sec = 1 } };    /* clocks of files are coarse */
    if (fd < 0 || pwrite(fd, "x", 1, 1 << 20) != 1 || futimens(fd, times) != 0)
        abort();
    close(fd);
}

static void replace(struct runner *r)
{
    (void)r;
    char other[PATH_BYTES];
    snprintf(other, sizeof other, "%s.other", meddled);
    int fd = open(other, O_WRONLY | O_CREAT | O_EXCL, 0600);
    if (fd < 0 || close(fd) != 0 || rename(other, meddled) != 0)
        abort();
}

TEST(level_notices_a_source_that_changes_meanwhile)
{
    begin(t);
    static const struct {
        void (*meddle)(struct runner *r);
        const char *part;
    } ways[] = { { cut, "large.gguf: c" }, { write_over, "changed while it was read" }, { replace, "taken its place" } };
    meddled = path_in("large.gguf");
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        struct runner r = { .to = path_in("made.gguf") };
        write_large(t, meddled);
        interrupt_in_the_middle(t, &r, meddled, ways[i].meddle);
        CHECK_INT(t, r.rc, ERR_IO, "way %zu", i);
        CHECK(t, strstr(r.err.text, ways[i].part), "%s", r.err.text);
        CHECK_INT(t, files_here(), 1);
    }
}

TEST(level_notices_a_source_that_changed_since_the_plan)
{
    begin(t);
    meddled = path_in("source.gguf");
    struct level_options o = { .level = "Q8_0" };
    struct level_plan p;
    struct level_progress progress = { 0 };
    struct err e = { 0 };
    write_source(t, meddled, NULL);
    CHECK(t, level_plan(&p, meddled, &o, NULL, &e) == ERR_OK, "%s", e.text);
    cut(NULL);
    CHECK_INT(t, level_make(&p, path_in("made.gguf"), &progress, &e), ERR_IO, "%s", e.text);
    CHECK_INT(t, files_here(), 1);
    level_plan_finish(&p);
}

TEST(level_says_that_a_file_may_not_be_so_large_and_leaves_what_was_there)
{
    begin(t);
    const char *from = path_in("source.gguf"), *to = path_in("made.gguf");
    struct level_options o = { .level = "Q8_0" };
    struct err e = { 0 };
    struct rlimit before, small;
    write_source(t, from, NULL);
    CHECK(t, make(from, to, &o, &e) == ERR_OK, "%s", e.text);
    signal(SIGXFSZ, SIG_IGN);
    CHECK(t, getrlimit(RLIMIT_FSIZE, &before) == 0);
    small = (struct rlimit){ 10000, before.rlim_max };
    CHECK(t, setrlimit(RLIMIT_FSIZE, &small) == 0);
    o.replace = true;
    enum err_code rc = make(from, to, &(struct level_options){ .level = "F32", .replace = true }, &e);
    CHECK(t, setrlimit(RLIMIT_FSIZE, &before) == 0);
    CHECK_INT(t, rc, ERR_IO);
    CHECK(t, strstr(e.text, "made.gguf") && strstr(e.text, strerror(EFBIG)), "%s", e.text);
    CHECK_INT(t, files_here(), 2);
    check_made(t, from, to, &o, NULL);
}

TEST(level_file_says_how_much_room_is_wanted_and_how_much_there_is)
{
    begin(t);
    struct level_file f;
    struct err e = { 0 };
    CHECK_INT(t, level_file_create(&f, path_in("made.gguf"), (uint64_t)1 << 60, false, &e), ERR_IO);
    CHECK(t, strstr(e.text, "needs 1152921504606.8 MB, ") && strstr(e.text, " MB free in "), "%s", e.text);
    CHECK_INT(t, files_here(), 0);
}

TEST(level_file_that_cannot_be_written_is_gone)
{
    begin(t);
    struct level_file f;
    struct err e = { 0 };
    CHECK(t, level_file_create(&f, path_in("made.gguf"), 1 << 20, false, &e) == ERR_OK, "%s", e.text);
    CHECK_INT(t, files_here(), 1);
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    CHECK(t, full >= 0 && dup2(full, f.fd) == f.fd && close(full) == 0);    /* from now on there is no room */
    CHECK_INT(t, level_file_write(&f, 0, "bytes", 5, &e), ERR_IO);
    CHECK(t, strstr(e.text, "made.gguf: ") && strstr(e.text, strerror(ENOSPC)), "%s", e.text);
    level_file_close(&f);
    CHECK_INT(t, files_here(), 0);
}

TEST(level_file_appears_whole_or_not_at_all_and_never_over_another_unasked)
{
    begin(t);
    const char *path = path_in("made.gguf");
    struct level_file first, second;
    struct err e = { 0 };
    CHECK(t, level_file_create(&first, path, 5, false, &e) == ERR_OK, "%s", e.text);
    CHECK(t, level_file_create(&second, path, 6, false, &e) == ERR_OK, "the first is at work, and stays: %s", e.text);
    CHECK_INT(t, files_here(), 2);
    CHECK(t, access(path, F_OK) != 0);
    CHECK(t, level_file_write(&first, 0, "first", 5, &e) == ERR_OK && level_file_commit(&first, &e) == ERR_OK, "%s", e.text);
    level_file_close(&first);
    CHECK(t, level_file_write(&second, 0, "second", 6, &e) == ERR_OK);
    CHECK_INT(t, level_file_commit(&second, &e), ERR_IO, "both would be one");
    level_file_close(&second);
    size_t n;
    char *text = test_read_file(path, &n);
    CHECK(t, n == 5 && memcmp(text, "first", 5) == 0);
    free(text);
    CHECK_INT(t, files_here(), 1);
}

TEST(level_file_removes_what_the_dead_left_and_nothing_else)
{
    begin(t);
    static const char *const names[] = { ".a.gguf.1-0.quip-part", ".b.gguf.77777-3.quip-part", "c.gguf.quip-part",
                                         ".d.gguf.part", ".alive.gguf.1-0.quip-part" };
    int alive = -1;
    struct level_file f;
    struct err e = { 0 };
    for (int i = 0; i < 5; i++) {
        alive = open(path_in(names[i]), O_RDWR | O_CREAT | O_EXCL, 0600);
        CHECK(t, alive >= 0);
        if (i < 4)
            close(alive);
    }
    CHECK(t, flock(alive, LOCK_EX | LOCK_NB) == 0);
    CHECK(t, mkfifo(path_in(".pipe.quip-part"), 0600) == 0);
    CHECK(t, symlink("c.gguf.quip-part", path_in(".link.quip-part")) == 0);
    CHECK(t, level_file_create(&f, path_in("new.gguf"), 1, false, &e) == ERR_OK, "%s", e.text);
    level_file_close(&f);
    CHECK(t, access(path_in(names[0]), F_OK) != 0 && access(path_in(names[1]), F_OK) != 0);
    CHECK(t, access(path_in(names[2]), F_OK) == 0 && access(path_in(names[3]), F_OK) == 0);
    CHECK(t, access(path_in(names[4]), F_OK) == 0, "of one who is at work");
    CHECK_INT(t, files_here(), 5);
    close(alive);
}
