/* SPDX-License-Identifier: MIT */
/* Importance matrices: what is written is read, what is damaged is refused, what is merged is a sum. */
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/buf.h"
#include "engine/gguf/gguf_writer.h"
#include "engine/level/imatrix.h"

static struct imatrix_entry *add(struct test *t, struct imatrix *m, const char *name, int32_t n_cols, int32_t n_mat)
{
    struct imatrix_entry *entry;
    struct err e;
    CHECK(t, imatrix_add(m, name, n_cols, n_mat, &entry, &e) == ERR_OK, "%s", e.text);
    return entry;
}

/* Two plain tensors and one of three experts, the second of which never had a row. */
static struct imatrix *sample(struct test *t)
{
    struct imatrix *m = imatrix_create();
    struct err e;
    struct imatrix_entry *o = add(t, m, "blk.0.ffn_up.weight", 4, 1);
    for (int i = 0; i < 4; i++)
        o->sums[i] = i + 0.5;
    o->counts[0] = 1024;
    struct imatrix_entry *x = add(t, m, "blk.0.ffn_down_exps.weight", 2, 3);
    for (int i = 0; i < 6; i++)
        x->sums[i] = i / 2 == 1 ? 0 : 10 * i;
    x->counts[0] = 1000, x->counts[2] = 24;
    struct imatrix_entry *q = add(t, m, "blk.0.attn_q.weight", 3, 1);
    for (int i = 0; i < 3; i++)
        q->sums[i] = 1e6 * i;
    q->counts[0] = 1024;
    m->n_chunks = 2;
    m->chunk_size = 512;
    CHECK(t, imatrix_add_dataset(m, "one.txt", &e) == ERR_OK && imatrix_add_dataset(m, "two.txt", &e) == ERR_OK);
    return m;
}

static void saved(struct test *t, const struct imatrix *m, enum imatrix_format format, struct buf *out)
{
    char path[] = "/tmp/test_imatrix.XXXXXX";
    struct err e = { 0 };
    int fd = mkstemp(path);
    CHECK(t, fd >= 0);
    close(fd);
    unlink(path);
    CHECK_INT(t, imatrix_save(m, path, format, &e), ERR_OK, "%s", e.text);
    CHECK_INT(t, imatrix_save(m, path, format, &e), ERR_OK, "in its own place: %s", e.text);
    struct stat st;
    mode_t mask = umask(0);
    umask(mask);
    CHECK(t, stat(path, &st) == 0 && (st.st_mode & 0777) == (0666 & ~mask), "as other files are made");
    FILE *f = fopen(path, "rb");
    CHECK(t, f);
    buf_clear(out);
    CHECK(t, buf_reserve(out, 1 << 20));
    out->n_bytes = fread(out->data, 1, 1 << 20, f);
    fclose(f);
    unlink(path);
}

static struct imatrix *opened(struct test *t, const struct buf *file)
{
    struct imatrix *m = NULL;
    struct err e = { 0 };
    CHECK(t, imatrix_open_memory(&m, file->data, file->n_bytes, &e) == ERR_OK, "%s", e.text);
    return m;
}

static void check_importance(struct test *t, const struct imatrix *m, const char *name, int32_t n_cols, int32_t n_mat,
                             const float *want)
{
    float got[16];
    struct err e = { 0 };
    const struct imatrix_entry *entry = imatrix_find(m, name);
    CHECK(t, entry && imatrix_importance(entry, n_cols, n_mat, got, &e) == ERR_OK, "%s %s", name, e.text);
    for (int32_t i = 0; i < n_cols * n_mat; i++)
        CHECK(t, fabsf(got[i] - want[i]) <= 1e-6f * fabsf(want[i]), "%s[%d]: %g for %g", name, i, (double)got[i],
              (double)want[i]);
}

static const float up[] = { 0.5f / 1024, 1.5f / 1024, 2.5f / 1024, 3.5f / 1024 };
static const float experts[] = { 0, 0.01f, 1, 1, 40.0f / 24, 50.0f / 24 };

TEST(imatrix_a_gguf_file_holds_everything)
{
    struct imatrix *m = sample(t);
    struct buf file = { 0 };
    saved(t, m, IMATRIX_GGUF, &file);
    struct imatrix *back = opened(t, &file);
    CHECK_INT(t, back->n_entries, 3);
    CHECK_INT(t, back->n_chunks, 2);
    CHECK_INT(t, back->chunk_size, 512);
    CHECK_INT(t, back->n_datasets, 2);
    CHECK_TEXT(t, back->datasets[1], "two.txt");
    for (int i = 0; i < 3; i++) {
        const struct imatrix_entry *got = &back->entries[i], *want = &m->entries[i];
        CHECK_TEXT(t, got->name, want->name);
        CHECK_INT(t, got->n_cols, want->n_cols);
        CHECK_INT(t, got->n_mat, want->n_mat);
        CHECK_BYTES(t, got->sums, want->sums, sizeof(double) * (size_t)(want->n_cols * want->n_mat));
        CHECK_BYTES(t, got->counts, want->counts, sizeof(uint64_t) * (size_t)want->n_mat);
    }
    CHECK_TEXT(t, back->entries[0].name, "blk.0.attn_q.weight", "in the order of names");
    check_importance(t, back, "blk.0.ffn_up.weight", 4, 1, up);
    check_importance(t, back, "blk.0.ffn_down_exps.weight", 2, 3, experts);
    imatrix_destroy(back);
    imatrix_destroy(m);
    buf_finish(&file);
}

TEST(imatrix_a_dat_file_holds_the_means)
{
    struct imatrix *m = sample(t);
    struct buf file = { 0 };
    saved(t, m, IMATRIX_DAT, &file);
    struct imatrix *back = opened(t, &file);
    CHECK_INT(t, back->n_entries, 3);
    CHECK_INT(t, back->n_chunks, 2);
    CHECK_INT(t, back->chunk_size, 0);
    CHECK_INT(t, back->n_datasets, 1);
    CHECK_TEXT(t, back->datasets[0], "two.txt");
    CHECK_INT(t, imatrix_find(back, "blk.0.attn_q.weight")->counts[0], 2, "chunks");
    check_importance(t, back, "blk.0.ffn_up.weight", 4, 1, up);
    check_importance(t, back, "blk.0.ffn_down_exps.weight", 2, 3, experts);
    imatrix_destroy(back);
    imatrix_destroy(m);
    buf_finish(&file);
}

/* As llama.cpp wrote them before chunks and text were noted. */
TEST(imatrix_a_dat_file_may_end_behind_its_entries)
{
    static const char file[] = "\1\0\0\0" "\3\0\0\0" "a.w" "\4\0\0\0" "\2\0\0\0" "\0\0\200\100" "\0\0\0\101";
    struct buf bytes = { .data = (char *)file, .n_bytes = sizeof file - 1 };
    struct imatrix *m = opened(t, &bytes);
    CHECK_INT(t, m->n_chunks, 4);
    check_importance(t, m, "a.w", 2, 1, (const float[]){ 1, 2 });
    imatrix_destroy(m);
}

TEST(imatrix_sizes_must_agree)
{
    struct imatrix *m = sample(t);
    struct err e = { 0 };
    float out[16];
    const struct imatrix_entry *up_entry = imatrix_find(m, "blk.0.ffn_up.weight");
    CHECK(t, imatrix_importance(up_entry, 8, 1, out, &e) == ERR_FORMAT);
    CHECK(t, strstr(e.text, "'blk.0.ffn_up.weight': 8 columns of 1 matrices") && strstr(e.text, "has 4 columns of 1"),
          "%s", e.text);
    CHECK(t, imatrix_importance(up_entry, 4, 2, out, &e) == ERR_FORMAT);
    CHECK(t, !imatrix_find(m, "blk.0.ffn_u"));
    CHECK(t, !imatrix_find(m, "z"));
    struct imatrix_entry *entry;
    CHECK(t, imatrix_add(m, "blk.0.ffn_up.weight", 5, 1, &entry, &e) == ERR_FORMAT);
    CHECK(t, imatrix_add(m, "", 5, 1, &entry, &e) == ERR_FORMAT);
    CHECK(t, imatrix_add(m, "a\nb", 5, 1, &entry, &e) == ERR_FORMAT);
    CHECK(t, imatrix_add(m, "b", 0, 1, &entry, &e) == ERR_FORMAT);
    CHECK_INT(t, m->n_entries, 3);
    imatrix_destroy(m);
}

TEST(imatrix_merging_adds)
{
    struct imatrix *a = sample(t), *b = sample(t);
    struct err e = { 0 };
    struct imatrix_entry *extra = add(t, b, "output.weight", 1, 1);
    extra->sums[0] = 7;
    extra->counts[0] = 3;
    CHECK(t, imatrix_add_dataset(b, "three.txt", &e) == ERR_OK);
    CHECK(t, imatrix_merge(a, b, &e) == ERR_OK, "%s", e.text);
    CHECK_INT(t, a->n_entries, 4);
    CHECK_INT(t, a->n_chunks, 4);
    CHECK_INT(t, a->n_datasets, 3);
    const struct imatrix_entry *x = imatrix_find(a, "blk.0.ffn_down_exps.weight");
    CHECK(t, x->sums[5] == 100 && x->counts[0] == 2000 && x->counts[1] == 0 && x->counts[2] == 48);
    CHECK(t, imatrix_find(a, "output.weight")->sums[0] == 7 && imatrix_find(a, "output.weight")->counts[0] == 3);

    struct imatrix *other = imatrix_create();
    add(t, other, "blk.0.ffn_up.weight", 5, 1);
    CHECK(t, imatrix_merge(a, other, &e) == ERR_FORMAT && strstr(e.text, "'blk.0.ffn_up.weight'"), "%s", e.text);
    CHECK_INT(t, a->n_chunks, 4, "unchanged");
    imatrix_destroy(other);
    imatrix_destroy(a);
    imatrix_destroy(b);
}

/* Counts of chunks become counts of rows, and experts that stand as one matrix find their places. */
TEST(imatrix_merging_a_dat_file_weighs_it_by_its_rows)
{
    struct imatrix *m = sample(t);
    struct buf file = { 0 };
    struct err e = { 0 };
    saved(t, m, IMATRIX_DAT, &file);
    for (int order = 0; order < 2; order++) {
        struct imatrix *rows = sample(t), *chunks = opened(t, &file);
        for (int i = 0; i < 4; i++)
            ((struct imatrix_entry *)imatrix_find(rows, "blk.0.ffn_up.weight"))->sums[i] = 3 * (i + 0.5);
        struct imatrix *into = order ? rows : chunks, *from = order ? chunks : rows;
        CHECK(t, imatrix_merge(into, from, &e) == ERR_OK, "%s", e.text);
        CHECK_INT(t, into->chunk_size, 512);
        const struct imatrix_entry *u = imatrix_find(into, "blk.0.ffn_up.weight");
        CHECK_INT(t, u->counts[0], 2048);
        for (int i = 0; i < 4; i++)
            CHECK(t, fabs(u->sums[i] - 4 * (i + 0.5)) < 1e-5, "%g", u->sums[i]);
        const struct imatrix_entry *x = imatrix_find(into, "blk.0.ffn_down_exps.weight");
        CHECK(t, x->n_mat == 3 && x->n_cols == 2);
        CHECK(t, x->counts[0] == 1000 + 1024 && x->counts[1] == 1024 && x->counts[2] == 24 + 1024);
        imatrix_destroy(rows);
        imatrix_destroy(chunks);
    }
    struct imatrix *chunks = opened(t, &file);
    imatrix_set_chunk_size(chunks, 100);
    imatrix_set_chunk_size(chunks, 7);
    CHECK_INT(t, imatrix_find(chunks, "blk.0.attn_q.weight")->counts[0], 200);
    check_importance(t, chunks, "blk.0.ffn_up.weight", 4, 1, up);
    imatrix_destroy(chunks);
    imatrix_destroy(m);
    buf_finish(&file);
}

TEST(imatrix_an_empty_one_or_one_beyond_f32_is_not_written)
{
    struct imatrix *m = imatrix_create();
    struct err e = { 0 };
    CHECK(t, imatrix_save(m, "/nonexistent/file", IMATRIX_GGUF, &e) == ERR_FORMAT);
    struct imatrix_entry *entry = add(t, m, "a", 1, 1);
    entry->sums[0] = 1e39;
    CHECK(t, imatrix_save(m, "/nonexistent/file", IMATRIX_DAT, &e) == ERR_FORMAT && strstr(e.text, "'a'"), "%s", e.text);
    entry->sums[0] = 1;
    CHECK(t, imatrix_save(m, "/proc/nowhere/file", IMATRIX_GGUF, &e) == ERR_IO, "%s", e.text);
    CHECK(t, imatrix_save(m, "/proc/nowhere/file", IMATRIX_DAT, &e) == ERR_IO, "%s", e.text);
    imatrix_destroy(m);
}

/* ---- malformed ------------------------------------------------------------------------------------ */

/* In memory of its own size, so that a read behind the end is seen. */
static void refused(struct test *t, const void *bytes, size_t n_bytes, const char *want)
{
    void *copy = malloc(n_bytes ? n_bytes : 1);
    struct imatrix *m = NULL;
    struct err e = { 0 };
    memcpy(copy, bytes, n_bytes);
    CHECK(t, imatrix_open_memory(&m, copy, n_bytes, &e) == ERR_FORMAT && !m, "%s", want);
    CHECK(t, strstr(e.text, want) && !strpbrk(e.text, "\n\r"), "'%s' for '%s'", e.text, want);
    free(copy);
}

#define REFUSED(literal, want) refused(t, literal, sizeof(literal) - 1, want)
#define F32_1 "\0\0\200\77"
#define F32_NAN "\0\0\300\177"
#define F32_MINUS "\0\0\200\277"

TEST(imatrix_damaged_dat_files_are_refused)
{
    REFUSED("", "neither GGUF");
    REFUSED("\1\0\0", "neither GGUF");
    REFUSED("\0\0\0\0", "neither GGUF");
    REFUSED("\377\377\377\377" "aaaaaaaaaaaaaaaaaaaaaaaa", "neither GGUF");
    REFUSED("\2\0\0\0" "\1\0\0\0" "a" "\1\0\0\0" "\1\0\0\0" F32_1, "neither GGUF");
    REFUSED("\1\0\0\0" "\0\0\0\0" "\1\0\0\0" "\1\0\0\0" F32_1 "....", "name of 0 bytes");
    REFUSED("\1\0\0\0" "\70\0\0\0" "\1\0\0\0" "\1\0\0\0" F32_1 "....", "name of 56 bytes");
    REFUSED("\1\0\0\0" "\20\0\0\0" "a" "\1\0\0\0" "\1\0\0\0" F32_1, "ends in entry 1 of 1");
    REFUSED("\1\0\0\0" "\1\0\0\0" "\n" "\1\0\0\0" "\1\0\0\0" F32_1, "byte 0x0a");
    REFUSED("\1\0\0\0" "\1\0\0\0" "a" "\377\377\377\377" "\1\0\0\0" F32_1, "1 values of -1 calls");
    REFUSED("\1\0\0\0" "\1\0\0\0" "a" "\1\0\0\0" "\0\0\0\0" F32_1, "0 values of 1 calls");
    REFUSED("\1\0\0\0" "\1\0\0\0" "a" "\1\0\0\0" "\377\377\377\177" F32_1, "ends in entry 1 of 1");
    REFUSED("\1\0\0\0" "\1\0\0\0" "a" "\1\0\0\0" "\1\0\0\0" F32_NAN, "nan as a sum");
    REFUSED("\1\0\0\0" "\1\0\0\0" "a" "\1\0\0\0" "\1\0\0\0" F32_MINUS, "-1 as a sum");
    REFUSED("\1\0\0\0" "\1\0\0\0" "a" "\1\0\0\0" "\1\0\0\0" F32_1 "\1\0", "what follows its 1 entries");
    REFUSED("\1\0\0\0" "\1\0\0\0" "a" "\1\0\0\0" "\1\0\0\0" F32_1 "\1\0\0\0" "\2\0\0\0" "x", "what follows");
    REFUSED("\1\0\0\0" "\1\0\0\0" "a" "\1\0\0\0" "\1\0\0\0" F32_1 "\1\0\0\0" "\377\377\377\377", "what follows");
    REFUSED("\2\0\0\0" "\1\0\0\0" "a" "\1\0\0\0" "\1\0\0\0" F32_1 "\1\0\0\0" "a" "\1\0\0\0" "\1\0\0\0" F32_1,
            "'a' stands in the file twice");
}

static const float floats[] = { 1, 2, 3, 4, NAN, -1, 1e30f };

struct gguf_case {
    const char *want;
    const char *type;
    const char *sums, *counts;    /* names */
    uint64_t sums_ne[3], counts_ne;
    const float *sums_data, *counts_data;
};

TEST(imatrix_gguf_files_that_are_none_are_refused)
{
    const struct gguf_case cases[] = {
        { "general.type is not 'imatrix'", "model", "a.in_sum2", "a.counts", { 2, 1, 1 }, 1, floats, floats },
        { "sums of 0 tensors", "imatrix", "a.sum", "a.counts", { 2, 1, 1 }, 1, floats, floats },
        { "sums of 0 tensors", "imatrix", ".in_sum2", "a.counts", { 2, 1, 1 }, 1, floats, floats },
        { "no 1 counts", "imatrix", "a.in_sum2", "b.counts", { 2, 1, 1 }, 1, floats, floats },
        { "no 2 counts", "imatrix", "a.in_sum2", "a.counts", { 2, 2, 1 }, 1, floats, floats },
        { "one or two dimensions", "imatrix", "a.in_sum2", "a.counts", { 1, 1, 2 }, 1, floats, floats },
        { "nan as a sum", "imatrix", "a.in_sum2", "a.counts", { 2, 1, 1 }, 1, floats + 3, floats },
        { "a count of nan", "imatrix", "a.in_sum2", "a.counts", { 2, 1, 1 }, 1, floats, floats + 4 },
        { "a count of -1", "imatrix", "a.in_sum2", "a.counts", { 2, 1, 1 }, 1, floats, floats + 5 },
        { "a count of 1e+30", "imatrix", "a.in_sum2", "a.counts", { 2, 1, 1 }, 1, floats, floats + 6 },
        { "byte 0xc3 in the name", "imatrix", "\xc3\xa9.in_sum2", "a.counts", { 2, 1, 1 }, 1, floats, floats },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct gguf_case *c = &cases[i];
        struct gguf_writer *w = gguf_writer_create();
        struct buf file = { 0 };
        struct err e = { 0 };
        gguf_writer_text(w, "general.type", c->type);
        gguf_writer_tensor(w, c->sums, 0, 3, c->sums_ne, c->sums_data);
        gguf_writer_tensor(w, c->counts, 0, 1, &c->counts_ne, c->counts_data);
        CHECK(t, gguf_writer_save_memory(w, &file, &e) == ERR_OK, "%s", e.text);
        refused(t, file.data, file.n_bytes, c->want);
        buf_finish(&file);
        gguf_writer_destroy(w);
    }
}

/* Whatever is cut off or changed: refused, or a file that can be used. */
TEST(imatrix_any_cut_of_a_file_is_refused_or_whole)
{
    struct imatrix *m = sample(t);
    struct buf file = { 0 };
    for (int format = 0; format < 2; format++) {
        saved(t, m, (enum imatrix_format)format, &file);
        for (size_t n = 0; n < file.n_bytes; n++) {
            void *copy = malloc(n ? n : 1);
            struct imatrix *part = NULL;
            struct err e = { 0 };
            memcpy(copy, file.data, n);
            if (imatrix_open_memory(&part, copy, n, &e) == ERR_OK)
                CHECK(t, part->n_entries == 3 && (format == 1 || n + 32 > file.n_bytes), "%zu of %zu", n, file.n_bytes);
            else
                CHECK(t, e.code == ERR_FORMAT && e.text[0], "%s", e.text);
            imatrix_destroy(part);
            free(copy);
        }
    }
    imatrix_destroy(m);
    buf_finish(&file);
}

TEST(imatrix_open_names_the_file)
{
    struct imatrix *m = NULL;
    struct err e = { 0 };
    CHECK(t, imatrix_open(&m, "/nonexistent/a.gguf", &e) == ERR_IO && strstr(e.text, "/nonexistent/a.gguf"), "%s",
          e.text);
    CHECK(t, imatrix_open(&m, "/proc/self/exe", &e) != ERR_OK && strstr(e.text, "/proc/self/exe"), "%s", e.text);
    imatrix_destroy(NULL);
}

/* ---- statistics ----------------------------------------------------------------------------------- */

static bool near(double got, double want)
{
    return fabs(got - want) <= 1e-12 * (1 + fabs(want));
}

TEST(imatrix_statistics_of_a_tensor)
{
    struct imatrix *m = imatrix_create();
    struct imatrix_stats s;
    struct imatrix_entry *a = add(t, m, "blk.9.ffn_up.weight", 4, 1);
    memcpy(a->sums, (const double[]){ 20, 20, 0, 40 }, 4 * sizeof *a->sums);
    a->counts[0] = 10;
    struct imatrix_entry *b = add(t, m, "blk.10.ffn_up.weight", 4, 1);
    memcpy(b->sums, (const double[]){ 30, 0, 0, 40 }, 4 * sizeof *b->sums);
    b->counts[0] = 1;
    CHECK(t, imatrix_stats(m, imatrix_find(m, "blk.9.ffn_up.weight"), &s));
    CHECK_INT(t, s.layer, 9);
    CHECK_INT(t, s.n, 4);
    CHECK(t, near(s.sum, 8) && near(s.min, 0) && near(s.max, 4) && near(s.mean, 2));
    CHECK(t, near(s.deviation, sqrt(2)) && near(s.active, 0.75) && near(s.above, 0.25));
    CHECK(t, near(s.entropy, 1.5) && near(s.evenness, 0.75), "%g", s.entropy);
    CHECK(t, !s.has_previous && s.cosine == 0);
    CHECK(t, imatrix_stats(m, imatrix_find(m, "blk.10.ffn_up.weight"), &s));
    CHECK(t, s.has_previous && near(s.cosine, 2200 / (50 * sqrt(2400))), "%g", s.cosine);

    struct imatrix_entry *x = add(t, m, "blk.11.ffn_up_exps.weight", 2, 2);
    x->sums[2] = 6;
    CHECK(t, !imatrix_stats(m, imatrix_find(m, "blk.11.ffn_up_exps.weight"), &s), "no rows");
    imatrix_find(m, "blk.11.ffn_up_exps.weight")->counts[1] = 2;
    CHECK(t, imatrix_stats(m, imatrix_find(m, "blk.11.ffn_up_exps.weight"), &s));
    CHECK(t, s.n == 2 && near(s.sum, 3) && near(s.entropy, 0) && near(s.active, 0.5), "of the second matrix alone");
    struct imatrix_entry *other = add(t, m, "output.weight", 1, 1);
    other->counts[0] = 1;
    CHECK(t, imatrix_stats(m, imatrix_find(m, "output.weight"), &s));
    CHECK(t, s.layer == -1 && near(s.sum, 0) && near(s.entropy, 0) && near(s.evenness, 1));
    imatrix_destroy(m);
}
