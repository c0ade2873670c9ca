/* SPDX-License-Identifier: MIT */
/* Reading and writing of well-formed files. What is malformed stands in test_gguf_malformed.c. */
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/gguf/gguf.h"
#include "engine/gguf/gguf_names.h"
#include "engine/gguf/gguf_writer.h"
#include "engine/quant/quant.h"

/* Two tensors and a key of every type, saved and opened again. */
struct sample {
    struct gguf_writer *w;
    struct gguf *g;
    struct buf file;
    float a[6];
    uint8_t b[2 * 34];
    struct err e;
};

static void add_keys(struct gguf_writer *w)
{
    gguf_writer_text(w, "general.architecture", "llama");
    gguf_writer_u8(w, "n.u8", 200);
    gguf_writer_i8(w, "n.i8", -100);
    gguf_writer_u16(w, "n.u16", 60000);
    gguf_writer_i16(w, "n.i16", -30000);
    gguf_writer_u32(w, "n.u32", 4000000000u);
    gguf_writer_i32(w, "n.i32", -2000000000);
    gguf_writer_u64(w, "n.u64", UINT64_MAX);
    gguf_writer_i64(w, "n.i64", INT64_MIN);
    gguf_writer_f32(w, "n.f32", 1e-5f);
    gguf_writer_f64(w, "n.f64", 0.1);
    gguf_writer_f32(w, "n.nan", NAN);
    gguf_writer_f64(w, "n.huge", 1e300);
    gguf_writer_bool(w, "n.yes", true);
    gguf_writer_bool(w, "n.no", false);
    gguf_writer_text_n(w, "text.nul", "a\0b", 3);
    gguf_writer_text(w, "text.empty", "");
    gguf_writer_text(w, "text.wild", "\x1b[31mred\n\t\"\\\xff\xe2\x80\xae\xc3\xa9");
    int32_t ints[] = { 1, -2, 300 };
    float floats[] = { 0.5f, -1.25f };
    float bad[] = { 0.5f, INFINITY };
    uint8_t bools[] = { 1, 0, 1 };
    struct gguf_text texts[] = { { "one", 3 }, { "", 0 }, { "drei", 4 } };
    gguf_writer_array(w, "a.ints", GGUF_I32, ints, 3);
    gguf_writer_array(w, "a.floats", GGUF_F32, floats, 2);
    gguf_writer_array(w, "a.inf", GGUF_F32, bad, 2);
    gguf_writer_array(w, "a.bools", GGUF_BOOL, bools, 3);
    gguf_writer_texts(w, "a.texts", texts, 3);
    gguf_writer_array(w, "a.empty", GGUF_U32, NULL, 0);
    gguf_writer_array(w, "a.u64", GGUF_U64, (uint64_t[]){ 1, UINT64_MAX }, 2);
}

static void sample_init(struct test *t, struct sample *s, uint32_t alignment)
{
    memset(s, 0, sizeof *s);
    s->w = gguf_writer_create();
    add_keys(s->w);
    if (alignment)
        gguf_writer_alignment(s->w, alignment);
    for (int i = 0; i < 6; i++)
        s->a[i] = (float)i;
    for (size_t i = 0; i < sizeof s->b; i++)
        s->b[i] = (uint8_t)i;
    gguf_writer_tensor(s->w, "a.weight", QUANT_F32, 2, (uint64_t[]){ 3, 2 }, s->a);
    gguf_writer_tensor(s->w, "b.weight", QUANT_Q8_0, 1, (uint64_t[]){ 64 }, s->b);
    enum err_code rc = gguf_writer_save_memory(s->w, &s->file, &s->e);
    CHECK(t, rc == ERR_OK, "%s", s->e.text);
    rc = gguf_open_memory(&s->g, s->file.data, s->file.n_bytes, &s->e);
    CHECK(t, rc == ERR_OK, "%s", s->e.text);
}

static void sample_finish(struct sample *s)
{
    gguf_close(s->g);
    gguf_writer_destroy(s->w);
    buf_finish(&s->file);
}

TEST(gguf_gives_back_every_value_type)
{
    struct sample s;
    sample_init(t, &s, 0);
    static const struct {
        const char *key, *type, *value;
    } want[] = {
        { "general.architecture", "string", "\"llama\"" },
        { "n.u8", "u8", "200" },
        { "n.i8", "i8", "-100" },
        { "n.u16", "u16", "60000" },
        { "n.i16", "i16", "-30000" },
        { "n.u32", "u32", "4000000000" },
        { "n.i32", "i32", "-2000000000" },
        { "n.u64", "u64", "18446744073709551615" },
        { "n.i64", "i64", "-9223372036854775808" },
        { "n.f32", "f32", "1e-05" },
        { "n.f64", "f64", "0.1" },
        { "n.nan", "f32", "nan" },
        { "n.huge", "f64", "1e+300" },
        { "n.yes", "bool", "true" },
        { "n.no", "bool", "false" },
        { "text.nul", "string", "\"a\\x00b\"" },
        { "text.empty", "string", "\"\"" },
        { "text.wild", "string", "\"\\x1b[31mred\\n\\t\\\"\\\\\\xff\\u{202e}\xc3\xa9\"" },
        { "a.ints", "i32[3]", "[1, -2, 300]" },
        { "a.floats", "f32[2]", "[0.5, -1.25]" },
        { "a.inf", "f32[2]", "[0.5, inf]" },
        { "a.bools", "bool[3]", "[true, false, true]" },
        { "a.texts", "string[3]", "[\"one\", \"\", \"drei\"]" },
        { "a.empty", "u32[0]", "[]" },
        { "a.u64", "u64[2]", "[1, 18446744073709551615]" },
    };
    enum { N = sizeof want / sizeof want[0] };
    CHECK_INT(t, gguf_n_keys(s.g), N);
    struct buf out = { 0 };
    for (uint32_t i = 0; i < N; i++) {
        const struct gguf_kv *kv = gguf_kv_at(s.g, i);
        CHECK_TEXT(t, kv->key, want[i].key);
        CHECK(t, gguf_kv_find(s.g, want[i].key) == kv, "%s", want[i].key);
        buf_clear(&out);
        gguf_kv_print_type(kv, &out);
        CHECK_TEXT(t, buf_text(&out), want[i].type, "%s", want[i].key);
        buf_clear(&out);
        gguf_kv_print_value(kv, 200, &out);
        CHECK_TEXT(t, buf_text(&out), want[i].value, "%s", want[i].key);
    }
    CHECK(t, !gguf_kv_find(s.g, "n.u7") && !gguf_kv_find(s.g, ""), "keys that are not there");
    buf_finish(&out);
    sample_finish(&s);
}

TEST(gguf_prints_the_beginning_of_long_values)
{
    struct gguf_writer *w = gguf_writer_create();
    struct buf file = { 0 }, out = { 0 };
    struct gguf *g = NULL;
    struct err e;
    int32_t ints[1000] = { 0 };
    gguf_writer_array(w, "ints", GGUF_I32, ints, 1000);
    gguf_writer_text(w, "text", "abcdefghijklmnopqrstuvwxyz");
    CHECK(t, gguf_writer_save_memory(w, &file, &e) == ERR_OK, "%s", e.text);
    CHECK(t, gguf_open_memory(&g, file.data, file.n_bytes, &e) == ERR_OK, "%s", e.text);
    gguf_kv_print_value(gguf_kv_at(g, 0), 10, &out);
    CHECK_TEXT(t, buf_text(&out), "[0, 0, 0, ...]");
    buf_clear(&out);
    gguf_kv_print_value(gguf_kv_at(g, 1), 10, &out);
    CHECK_TEXT(t, buf_text(&out), "\"abcdefghi\"...");
    gguf_close(g);
    gguf_writer_destroy(w);
    buf_finish(&file);
    buf_finish(&out);
}

TEST(gguf_typed_readers_take_what_fits)
{
    struct sample s;
    sample_init(t, &s, 0);
    uint32_t u = 0;
    int32_t i = 0;
    float f = 0;
    bool b = false;
    struct gguf_text text;
    const struct gguf_kv *array = NULL;
    struct err *e = &s.e;
    CHECK_INT(t, gguf_need_u32(s.g, "n.u8", 0, UINT32_MAX, &u, e), ERR_OK);
    CHECK_INT(t, u, 200);
    CHECK_INT(t, gguf_need_u32(s.g, "n.u32", 0, UINT32_MAX, &u, e), ERR_OK);
    CHECK_INT(t, u, 4000000000u);
    CHECK_INT(t, gguf_need_i32(s.g, "n.i16", INT32_MIN, INT32_MAX, &i, e), ERR_OK);
    CHECK_INT(t, i, -30000);
    CHECK_INT(t, gguf_need_f32(s.g, "n.f32", &f, e), ERR_OK);
    CHECK(t, f == 1e-5f, "%g", (double)f);
    CHECK_INT(t, gguf_need_f32(s.g, "n.f64", &f, e), ERR_OK);
    CHECK(t, f == 0.1f, "%g", (double)f);
    CHECK_INT(t, gguf_need_bool(s.g, "n.yes", &b, e), ERR_OK);
    CHECK(t, b);
    CHECK_INT(t, gguf_need_text(s.g, "text.nul", &text, e), ERR_OK);
    CHECK(t, text.n_bytes == 3 && memcmp(text.bytes, "a\0b", 3) == 0);
    CHECK_INT(t, gguf_need_ints(s.g, "a.ints", -2, 300, &array, e), ERR_OK);
    CHECK_INT(t, gguf_kv_int(array, 1), -2);
    CHECK_INT(t, gguf_need_floats(s.g, "a.floats", &array, e), ERR_OK);
    CHECK(t, gguf_kv_float(array, 1) == -1.25);
    CHECK_INT(t, gguf_need_bools(s.g, "a.bools", &array, e), ERR_OK);
    CHECK(t, gguf_kv_bool(array, 2) && !gguf_kv_bool(array, 1));
    CHECK_INT(t, gguf_need_texts(s.g, "a.texts", &array, e), ERR_OK);
    text = gguf_kv_text(array, 2);
    CHECK(t, text.n_bytes == 4 && memcmp(text.bytes, "drei", 4) == 0);
    CHECK_INT(t, gguf_need_texts(s.g, "a.empty", &array, e), ERR_OK, "an empty array has no item type");
    uint32_t each[3];
    CHECK_INT(t, gguf_need_u32_each(s.g, "n.u8", 3, 1, 255, each, e), ERR_OK);
    CHECK_INT(t, each[2], 200);
    sample_finish(&s);
}

/* Every refusal names the key, what was found and what was wanted. */
TEST(gguf_typed_readers_refuse_the_rest)
{
    struct sample s;
    sample_init(t, &s, 0);
    uint32_t u = 7;
    int32_t i = 7;
    float f = 7;
    bool b = false;
    struct gguf_text text = { 0 };
    const struct gguf_kv *array = NULL;
    uint32_t each[2];
    struct err *e = &s.e;
#define REFUSED(call, want)                          \
    do {                                             \
        CHECK_INT(t, call, ERR_FORMAT, "%s", #call); \
        CHECK_TEXT(t, e->text, want);                \
    } while (0)
    REFUSED(gguf_need_u32(s.g, "none", 1, 9, &u, e), "key 'none' is missing, an integer wanted");
    REFUSED(gguf_need_u32(s.g, "n.u8", 1, 9, &u, e), "key 'n.u8': 200, 1 to 9 wanted");
    REFUSED(gguf_opt_u32(s.g, "n.i8", 0, 9, &u, e), "key 'n.i8': -100, 0 to 9 wanted");
    REFUSED(gguf_need_u32(s.g, "n.u64", 0, UINT32_MAX, &u, e),
            "key 'n.u64': 18446744073709551615, 0 to 4294967295 wanted");
    REFUSED(gguf_need_u32(s.g, "n.f32", 0, 9, &u, e), "key 'n.f32': f32, an integer wanted");
    REFUSED(gguf_need_u32(s.g, "n.yes", 0, 9, &u, e), "key 'n.yes': bool, an integer wanted");
    REFUSED(gguf_need_u32(s.g, "a.ints", 0, 9, &u, e), "key 'a.ints': array of i32, an integer wanted");
    REFUSED(gguf_need_u32(s.g, "a.empty", 0, 9, &u, e), "key 'a.empty': array of u32, an integer wanted");
    REFUSED(gguf_opt_i32(s.g, "n.u32", -1, 9, &i, e), "key 'n.u32': 4000000000, -1 to 9 wanted");
    REFUSED(gguf_need_f32(s.g, "n.u8", &f, e), "key 'n.u8': u8, a float wanted");
    REFUSED(gguf_opt_f32(s.g, "n.nan", &f, e), "key 'n.nan': nan, a finite number wanted");
    REFUSED(gguf_need_f32(s.g, "n.huge", &f, e), "key 'n.huge': 1e+300, a finite number wanted");
    REFUSED(gguf_opt_bool(s.g, "n.u8", &b, e), "key 'n.u8': u8, a bool wanted");
    REFUSED(gguf_opt_text(s.g, "a.texts", &text, e), "key 'a.texts': array of string, a string wanted");
    REFUSED(gguf_need_ints(s.g, "a.ints", 0, 300, &array, e), "key 'a.ints', item 1: -2, 0 to 300 wanted");
    REFUSED(gguf_need_ints(s.g, "a.u64", 0, INT64_MAX, &array, e),
            "key 'a.u64', item 1: 18446744073709551615, 0 to 9223372036854775807 wanted");
    REFUSED(gguf_opt_ints(s.g, "n.u8", 0, 300, &array, e), "key 'n.u8': u8, an array of integers wanted");
    REFUSED(gguf_need_floats(s.g, "a.inf", &array, e),
            "key 'a.inf', item 1: inf, a finite number wanted");
    REFUSED(gguf_opt_bools(s.g, "a.ints", &array, e), "key 'a.ints': array of i32, an array of bools wanted");
    REFUSED(gguf_opt_texts(s.g, "a.ints", &array, e),
            "key 'a.ints': array of i32, an array of strings wanted");
    REFUSED(gguf_need_u32_each(s.g, "a.ints", 2, 0, 300, each, e),
            "key 'a.ints', item 1: -2, 0 to 300 wanted");
    REFUSED(gguf_need_u32_each(s.g, "a.empty", 2, 0, 300, each, e),
            "key 'a.empty': array of 0 items, 2 wanted");
    CHECK(t, u == 7 && i == 7 && f == 7 && !array, "outputs are left alone");
    CHECK_INT(t, gguf_opt_u32(s.g, "none", 1, 9, &u, e), ERR_OK);
    CHECK_INT(t, gguf_opt_texts(s.g, "none", &array, e), ERR_OK);
    CHECK(t, u == 7 && !array, "defaults are left alone");
    sample_finish(&s);
}

TEST(gguf_finds_tensors_and_their_bytes)
{
    static const uint32_t alignments[] = { 0, 8, 64, 4096, 1 << 20 };
    for (size_t k = 0; k < sizeof alignments / sizeof alignments[0]; k++) {
        struct sample s;
        sample_init(t, &s, alignments[k]);
        struct gguf_info info;
        gguf_info(s.g, &info);
        CHECK_INT(t, info.alignment, alignments[k] ? alignments[k] : 32);
        CHECK_INT(t, info.version, 3);
        CHECK_INT(t, info.file_bytes, s.file.n_bytes);
        CHECK_INT(t, info.n_weights, 6 + 64);
        CHECK_INT(t, info.tensor_bytes, sizeof s.a + sizeof s.b);
        CHECK_INT(t, gguf_n_tensors(s.g), 2);
        const struct gguf_tensor *a = gguf_tensor_find(s.g, "a.weight");
        const struct gguf_tensor *b = gguf_tensor_find(s.g, "b.weight");
        CHECK(t, a == gguf_tensor_at(s.g, 0) && b == gguf_tensor_at(s.g, 1));
        CHECK(t, !gguf_tensor_find(s.g, "c.weight"));
        CHECK(t, a->n_dims == 2 && a->ne[0] == 3 && a->ne[1] == 2 && a->ne[2] == 1 && a->ne[3] == 1);
        CHECK(t, a->row_bytes == 12 && b->row_bytes == 68 && b->n_weights == 64);
        CHECK_INT(t, a->n_bytes, sizeof s.a);
        CHECK_BYTES(t, a->data, s.a, sizeof s.a);
        CHECK_BYTES(t, b->data, s.b, sizeof s.b);
        CHECK_INT(t, b->offset % info.alignment, 0);
        sample_finish(&s);
    }
}

TEST(gguf_copies_keys_unchanged)
{
    struct sample s;
    sample_init(t, &s, 0);
    struct gguf_writer *w = gguf_writer_create();
    for (uint32_t i = 0; i < gguf_n_keys(s.g); i++)
        gguf_writer_copy(w, gguf_kv_at(s.g, i));
    gguf_writer_tensor(w, "a.weight", QUANT_F32, 2, (uint64_t[]){ 3, 2 }, s.a);
    gguf_writer_tensor(w, "b.weight", QUANT_Q8_0, 1, (uint64_t[]){ 64 }, s.b);
    struct buf again = { 0 };
    CHECK_INT(t, gguf_writer_save_memory(w, &again, &s.e), ERR_OK);
    CHECK_INT(t, again.n_bytes, s.file.n_bytes);
    CHECK_BYTES(t, again.data, s.file.data, again.n_bytes);
    buf_finish(&again);
    gguf_writer_destroy(w);
    sample_finish(&s);
}

TEST(gguf_saves_to_a_path_and_maps_it)
{
    struct sample s;
    sample_init(t, &s, 4096);
    char path[400];
    snprintf(path, sizeof path, "%s/model.gguf", test_folder(t));
    for (int round = 0; round < 2; round++)    /* the second replaces a file that is there */
        CHECK(t, gguf_writer_save(s.w, path, &s.e) == ERR_OK, "%s", s.e.text);
    size_t n;
    char *bytes = test_read_file(path, &n);
    CHECK_INT(t, n, s.file.n_bytes);
    CHECK_BYTES(t, bytes, s.file.data, n);
    free(bytes);
    struct gguf *g;
    CHECK(t, gguf_open(&g, path, &s.e) == ERR_OK, "%s", s.e.text);
    CHECK_INT(t, (uintptr_t)gguf_tensor_at(g, 1)->data % 4096, 0);
    CHECK_INT(t, gguf_changed(g, &s.e), ERR_OK);
    CHECK_INT(t, truncate(path, 100), 0);
    CHECK_INT(t, gguf_changed(g, &s.e), ERR_IO);
    gguf_close(g);
    sample_finish(&s);
}

TEST(gguf_writer_reports_its_first_failure)
{
    struct err e;
    struct buf out = { 0 };
    static const uint64_t odd[] = { 33 }, even[] = { 32 };
    for (int k = 0; k < 9; k++) {
        struct gguf_writer *w = gguf_writer_create();
        gguf_writer_u32(w, "k", 1);
        gguf_writer_tensor(w, "t", QUANT_Q8_0, 1, even, "");
        switch (k) {
        case 0: gguf_writer_u32(w, "k", 2); break;
        case 1: gguf_writer_tensor(w, "t", QUANT_Q8_0, 1, even, ""); break;
        case 2: gguf_writer_tensor(w, "u", QUANT_Q8_0, 1, odd, ""); break;
        case 3: gguf_writer_tensor(w, "u", 4, 1, even, ""); break;
        case 4: gguf_writer_tensor(w, "u", QUANT_Q8_0, 5, even, ""); break;
        case 5: gguf_writer_u32(w, "", 2); break;
        case 6: gguf_writer_u32(w, "a\nb", 2); break;
        case 7: gguf_writer_alignment(w, 24); break;
        case 8: gguf_writer_array(w, "s", GGUF_STRING, NULL, 0); break;
        }
        gguf_writer_u32(w, "later", 2);
        CHECK_INT(t, gguf_writer_save_memory(w, &out, &e), ERR_FORMAT, "case %d", k);
        CHECK(t, e.text[0] && !strchr(e.text, '\n'), "case %d: %s", k, e.text);
        CHECK_INT(t, gguf_writer_save(w, "/nonexistent/x.gguf", &e), ERR_FORMAT, "case %d", k);
        gguf_writer_destroy(w);
    }
    struct gguf_writer *w = gguf_writer_create();
    CHECK_INT(t, gguf_writer_save(w, "/nonexistent/x.gguf", &e), ERR_IO);
    CHECK(t, strstr(e.text, "/nonexistent/x.gguf"), "%s", e.text);
    gguf_writer_destroy(w);
    buf_finish(&out);
}

/* The container's own table against the one of the formats. */
TEST(gguf_tensor_types_are_those_of_quant)
{
    int n_known = 0;
    for (uint32_t type = 0; type < 1000; type++) {
        const struct gguf_tensor_type *a = gguf_tensor_type(type);
        const struct quant_format *b = quant_format(type);
        CHECK(t, !a == !b, "type %u", type);
        if (!a)
            continue;
        n_known++;
        CHECK_TEXT(t, a->name, b->name, "type %u", type);
        CHECK_INT(t, a->block_weights, b->block_weights, "type %u", type);
        CHECK_INT(t, a->block_bytes, b->block_bytes, "type %u", type);
    }
    CHECK_INT(t, n_known, 35);
    CHECK(t, !gguf_tensor_type(UINT32_MAX));
}

TEST(gguf_names_holds_a_million_and_refuses_a_crowd)
{
    enum { N = 1 << 20 };
    struct arena a;
    struct gguf_names names;
    arena_init(&a);
    CHECK(t, gguf_names_init(&names, &a, N));
    char *text = malloc((size_t)N * 12);
    for (int i = 0; i < N; i++) {
        snprintf(text + 12 * i, 12, "k%d", i);
        CHECK_INT(t, gguf_names_add(&names, text + 12 * i, (uint32_t)i), GGUF_NAMES_ADDED, "name %d", i);
    }
    for (int i = 0; i < N; i += 1000)
        CHECK_INT(t, gguf_names_find(&names, text + 12 * i), i);
    CHECK_INT(t, gguf_names_add(&names, "k77", 0), GGUF_NAMES_DUPLICATE);
    CHECK_INT(t, gguf_names_find(&names, "k-1"), -1);
    /* More names than the table has room for are a crowd sooner or later, never an endless search. */
    struct gguf_names small;
    CHECK(t, gguf_names_init(&small, &a, 100));
    bool crowded = false;
    for (int i = 0; i < 1000 && !crowded; i++)
        crowded = gguf_names_add(&small, text + 12 * i, (uint32_t)i) == GGUF_NAMES_CROWDED;
    CHECK(t, crowded);
    free(text);
    arena_finish(&a);
}

/* Files of other writers. */
TEST(gguf_opens_the_shared_models)
{
    static const char *const files[] = { "llama", "qwen3", "gemma3", "gpt-oss", "qwen35", "lfm2" };
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        char below[80];
        snprintf(below, sizeof below, "vectors/arch/%s.gguf", files[i]);
        const char *path = test_shared(below);
        if (!path)
            SKIP(t, "no ../shared/%s", below);
        struct gguf *g;
        struct err e;
        struct gguf_text arch;
        const struct gguf_kv *tokens;
        CHECK(t, gguf_open(&g, path, &e) == ERR_OK, "%s", e.text);
        CHECK(t, gguf_need_text(g, "general.architecture", &arch, &e) == ERR_OK, "%s", e.text);
        CHECK_INT(t, arch.n_bytes, strlen(files[i]));
        CHECK(t, gguf_need_texts(g, "tokenizer.ggml.tokens", &tokens, &e) == ERR_OK, "%s", e.text);
        CHECK(t, tokens->n > 255 && gguf_n_tensors(g) > 10);
        gguf_close(g);
    }
}
