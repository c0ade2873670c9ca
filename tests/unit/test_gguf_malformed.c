/* SPDX-License-Identifier: MIT */
/* Files that are not as they should be. Each is a good file with one named defect; each has to be refused
 * with one line that mentions what is wrong. Run under ASan and UBSan, the files lying in memory of
 * exactly their size, this shows that no bound is overrun on the way. */
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "engine/base/buf.h"
#include "engine/gguf/gguf.h"
#include "engine/gguf/gguf_names.h"
#include "engine/gguf/gguf_writer.h"
#include "tests/support/gguf_walk.h"

/* The good file has two keys and tensor 'a' (F32, 8 x 2, 64 bytes at offset 0). A case sets fields of an
 * additional key, inserted last when key or key_length is set, and of an additional tensor 't' after
 * 'a', present when any field of it is set: F32, 8 weights, offset 64 unless said otherwise. */
struct defect {
    const char *name;
    const char *want;            /* part of the text */
    enum err_code code;          /* 0: ERR_FORMAT */

    const char *magic;
    uint32_t version;            /* 0: 3 */
    bool version_zero;
    uint64_t n_tensors, n_keys;  /* 0: as they are */

    const char *key;
    uint64_t key_length;         /* 0: that of key */
    uint32_t value_type;
    const char *value;           /* bytes after the type */
    size_t value_bytes;

    const char *tensor;          /* its name */
    uint64_t tensor_length;      /* 0: that of tensor */
    uint32_t n_dims;             /* 0: 1 */
    bool no_dims;
    uint64_t ne[5];              /* all 0: { 8 } */
    uint32_t type;
    uint64_t offset;             /* 0: 64 */
    bool offset_zero;

    uint64_t cut;                /* bytes taken off the end */
};

#define VALUE(literal) .value = (literal), .value_bytes = sizeof(literal) - 1

/* Little-endian pieces of values. */
#define U32_0 "\0\0\0\0"
#define U32_1 "\1\0\0\0"
#define U64_0 "\0\0\0\0\0\0\0\0"
#define U64_1 "\1\0\0\0\0\0\0\0"
#define U64_2 "\2\0\0\0\0\0\0\0"
#define U64_MAX "\377\377\377\377\377\377\377\377"
#define U64_2_28 "\0\0\0\20\0\0\0\0"
#define T_U8 "\0\0\0\0"
#define T_U32 "\4\0\0\0"
#define T_BOOL "\7\0\0\0"
#define T_STRING "\10\0\0\0"
#define T_ARRAY "\11\0\0\0"
#define T_U64 "\12\0\0\0"

#define NAME_64 "0123456789012345678901234567890123456789012345678901234567890123"

static const struct defect defects[] = {
    /* header */
    { "magic of nothing known", "'ABCD', 'GGUF' wanted", .magic = "ABCD" },
    { "magic in lower case", "'gguf', 'GGUF' wanted", .magic = "gguf" },
    { "magic with control characters", "'?\?\?\?', 'GGUF' wanted", .magic = "\x1b\x01\x02\x03" },
    { "magic of the format before", "GGJT", .magic = "tjgg" },
    { "magic of a zip archive", "zip archive", .magic = "PK\3\4" },
    { "magic reversed", "byte order", .magic = "FUGG" },
    { "version 0", "version 0, 2 or 3 wanted", .version_zero = true },
    { "version 1", "version 1, 2 or 3 wanted", ERR_UNSUPPORTED, .version = 1 },
    { "version 4", "version 4, 2 or 3 wanted", ERR_UNSUPPORTED, .version = 4 },
    { "version of the far future", "2 or 3 wanted", ERR_UNSUPPORTED, .version = UINT32_MAX },
    { "version big-endian", "big-endian", ERR_UNSUPPORTED, .version = 0x03000000 },
    { "more keys than bytes", "keys, but only", .n_keys = 1000 },
    { "keys beyond the limit", "at most 1048576", .n_keys = (1 << 20) + 1 },
    { "keys 2^64 - 1", "18446744073709551615 keys", .n_keys = UINT64_MAX },
    { "keys whose product wraps", "keys, at most", .n_keys = UINT64_MAX / 14 + 2 },
    { "more tensors than bytes", "tensors, but only", .n_tensors = 1000 },
    { "tensors beyond the limit", "at most 1048576", .n_tensors = (1 << 20) + 1 },
    { "tensors 2^63", "9223372036854775808 tensors", .n_tensors = 1ull << 63 },
    { "one key more than there are", "tensor 1 of 1: name of", .n_keys = 3 },
    { "one key less than there are", "tensor 'x.one'", .n_keys = 1 },
    { "one tensor more than there are", "tensor 2 of 2", .n_tensors = 2 },

    /* keys */
    { "key empty", "key 3 of 3: name of 0 bytes, 1 to 65535", .key = "", VALUE(U32_1) },
    { "key of 65536 bytes", "name of 65536 bytes", .key = "k", .key_length = 65536, VALUE(U32_1) },
    { "key longer than the file", "name of 60000 bytes, but", .key = "k", .key_length = 60000, VALUE(U32_1) },
    { "key of 2^64 - 1 bytes", "name of 18446744073709551615 bytes", .key = "k", .key_length = UINT64_MAX,
      VALUE(U32_1) },
    { "key with a NUL inside", "control character 0x00", .key = "k\0k", .key_length = 3, VALUE(U32_1) },
    { "key with an escape sequence", "control character 0x1b", .key = "k\x1b[2J", VALUE(U32_1) },
    { "key with a newline", "control character 0x0a", .key = "k\nk", VALUE(U32_1) },
    { "key twice", "key 'x.one': stands in the file twice", .key = "x.one", .value_type = GGUF_U32, VALUE(U32_1) },
    { "value type 13", "value type 13, 0 to 12", .key = "k", .value_type = 13, VALUE(U64_0) },
    { "value type 2^32 - 1", "value type 4294967295", .key = "k", .value_type = UINT32_MAX, VALUE(U64_0) },
    { "bool 2", "bool with value 2", .key = "k", .value_type = GGUF_BOOL, VALUE("\2") },
    { "bool 255", "bool with value 255", .key = "k", .value_type = GGUF_BOOL, VALUE("\377") },
    { "string longer than the file", "string of 16777216 bytes, but", .key = "k", .value_type = GGUF_STRING,
      VALUE("\0\0\0\1\0\0\0\0") },
    { "string beyond the limit", "at most 67108864", .key = "k", .value_type = GGUF_STRING,
      VALUE("\1\0\0\4\0\0\0\0") },
    { "string of 2^64 - 1 bytes", "string of 18446744073709551615 bytes", .key = "k",
      .value_type = GGUF_STRING, VALUE(U64_MAX) },
    { "array of an unknown type", "array of value type 13", .key = "k", .value_type = GGUF_ARRAY,
      VALUE("\15\0\0\0" U64_1 "a") },
    { "array of arrays", "array of arrays", ERR_UNSUPPORTED, .key = "k", .value_type = GGUF_ARRAY,
      VALUE(T_ARRAY U64_1 T_U8 U64_1 "a") },
    { "array longer than the file", "array of 65536 items, but", .key = "k", .value_type = GGUF_ARRAY,
      VALUE(T_U32 "\0\0\1\0\0\0\0\0") },
    { "array at the limit in a short file", "array of 268435456 items, but", .key = "k",
      .value_type = GGUF_ARRAY, VALUE(T_U8 U64_2_28) },
    { "array of 2^64 - 1 bytes", "array of 18446744073709551615 items, at most", .key = "k",
      .value_type = GGUF_ARRAY, VALUE(T_U8 U64_MAX) },
    { "array whose bytes wrap to none", "items, at most", .key = "k", .value_type = GGUF_ARRAY,
      VALUE(T_U64 "\0\0\0\0\0\0\0\40") },
    { "array of strings longer than the file", "array of 4096 items, but", .key = "k",
      .value_type = GGUF_ARRAY, VALUE(T_STRING "\0\20\0\0\0\0\0\0") },
    { "array of strings with a long one", "key 'k': string of 16777216 bytes", .key = "k",
      .value_type = GGUF_ARRAY, VALUE(T_STRING U64_2 U64_1 "a" "\0\0\0\1\0\0\0\0") },
    { "array of strings with one of 2^64 - 1", "string of 18446744073709551615 bytes", .key = "k",
      .value_type = GGUF_ARRAY, VALUE(T_STRING U64_2 U64_0 U64_MAX) },
    { "array of bools with a 3", "bool with value 3", .key = "k", .value_type = GGUF_ARRAY,
      VALUE(T_BOOL U64_2 "\1\3") },

    /* keys the container itself reads */
    { "alignment 0", "key 'general.alignment': 0, a power of two", .key = "general.alignment",
      .value_type = GGUF_U32, VALUE(U32_0) },
    { "alignment 1", "general.alignment': 1,", .key = "general.alignment", .value_type = GGUF_U32, VALUE(U32_1) },
    { "alignment 24", "general.alignment': 24,", .key = "general.alignment", .value_type = GGUF_U32,
      VALUE("\30\0\0\0") },
    { "alignment 2 MiB", "general.alignment': 2097152,", .key = "general.alignment",
      .value_type = GGUF_U32, VALUE("\0\0\40\0") },
    { "alignment 2^31", "general.alignment': 2147483648,", .key = "general.alignment",
      .value_type = GGUF_U32, VALUE("\0\0\0\200") },
    { "alignment as u64", "general.alignment': u64, u32 wanted", .key = "general.alignment",
      .value_type = GGUF_U64, VALUE("\40\0\0\0\0\0\0\0") },
    { "alignment as text", "general.alignment': string, u32 wanted", .key = "general.alignment",
      .value_type = GGUF_STRING, VALUE(U64_2 "32") },
    { "alignment as array", "general.alignment': array, u32 wanted", .key = "general.alignment",
      .value_type = GGUF_ARRAY, VALUE(T_U32 U64_1 "\40\0\0\0") },
    { "alignment that moves the data off its place", "tensor 'a'", .key = "general.alignment",
      .value_type = GGUF_U32, VALUE("\0\20\0\0") },
    { "part of a split model", "part 1 of 3 of a split model", ERR_UNSUPPORTED, .key = "split.count",
      .value_type = GGUF_U16, VALUE("\3\0") },
    { "split count as text", "key 'split.count': string", .key = "split.count", .value_type = GGUF_STRING,
      VALUE(U64_1 "3") },
    { "split count negative", "key 'split.count': -1", .key = "split.count", .value_type = GGUF_I8,
      VALUE("\377") },

    /* tensors */
    { "tensor without a name", "tensor 2 of 2: name of 0 bytes, 1 to 63", .tensor = "" },
    { "tensor name of 64 bytes", "name of 64 bytes, 1 to 63", .tensor = NAME_64 },
    { "tensor name of 2^64 - 1 bytes", "name of 18446744073709551615 bytes", .tensor = "t",
      .tensor_length = UINT64_MAX },
    { "tensor name with an escape sequence", "control character 0x1b", .tensor = "t\x1b]0;x" },
    { "tensor twice", "tensor 'a': stands in the file twice", .tensor = "a" },
    { "no dimensions", "tensor 't': 0 dimensions, 1 to 4", .no_dims = true },
    { "five dimensions", "tensor 't': 5 dimensions, 1 to 4", .n_dims = 5, .ne = { 8, 1, 1, 1, 1 } },
    { "2^32 - 1 dimensions", "4294967295 dimensions", .n_dims = UINT32_MAX, .ne = { 8 } },
    { "a dimension of zero", "dimension 2 is 0", .n_dims = 2, .ne = { 8, 0 } },
    { "first dimension zero", "dimension 1 is 0", .n_dims = 2, .ne = { 0, 8 } },
    { "a negative dimension", "dimension 1 is 18446744073709551615", .ne = { UINT64_MAX } },
    { "a dimension of 2^31", "dimension 1 is 2147483648", .ne = { 1ull << 31 } },
    { "2^32 times 2^32, which wraps to zero", "dimension 1 is 4294967296", .n_dims = 2,
      .ne = { 1ull << 32, 1ull << 32 } },
    { "dimensions whose product wraps", "more weights", .n_dims = 4,
      .ne = { INT32_MAX, INT32_MAX, INT32_MAX, INT32_MAX } },
    { "dimensions whose product is 2^64", "more weights", .n_dims = 3, .ne = { 1 << 22, 1 << 21, 1 << 21 } },
    { "dimensions whose product is 2^63", "more weights", .n_dims = 3, .ne = { 1 << 21, 1 << 21, 1 << 21 },
      .type = 24 /* I8 */ },
    { "bytes that wrap", "bytes than 2^64", .n_dims = 3, .ne = { 1 << 21, 1 << 21, 1 << 20 },
      .type = 28 /* F64 */ },
    { "bytes beyond the file", "reach beyond the file", .ne = { 1 << 20 } },
    { "bytes far beyond the file", "reach beyond the file", .n_dims = 2, .ne = { 1 << 30, 1 << 30 } },
    { "one row beyond the file", "tensor 't': 64 bytes at", .n_dims = 2, .ne = { 8, 2 } },
    { "rows that are no whole blocks", "multiple of 32 wanted for Q8_0", .ne = { 33 }, .type = 8 },
    { "rows that are no whole superblocks", "multiple of 256 wanted for Q4_K", .n_dims = 2,
      .ne = { 32, 8 }, .type = 12 },
    { "type that was removed", "type 4 (Q4_2", ERR_UNSUPPORTED, .type = 4 },
    { "type that was repacked", "Q4_0_4_4", ERR_UNSUPPORTED, .type = 31 },
    { "type of another program", "type 137 (IQ2_K of ik_llama.cpp)", ERR_UNSUPPORTED, .type = 137 },
    { "interleaved type of another program", "ik_llama.cpp", ERR_UNSUPPORTED, .type = 212 },
    { "type 43", "type 43, which GGUF does not define", .type = 43 },
    { "type 2^32 - 1", "type 4294967295, which", .type = UINT32_MAX },
    { "offset off the alignment", "offset 65, a multiple of 32", .offset = 65 },
    { "offset aligned to 8 only", "offset 72, a multiple of 32", .offset = 72 },
    { "offset beyond the file", "reach beyond the file", .offset = 1 << 20 },
    { "offset that wraps", "reach beyond the file", .offset = UINT64_MAX - 31 },
    { "tensor on top of another", "tensor 't': shares bytes with tensor 'a'", .offset_zero = true },
    { "tensor half on top of another", "shares bytes with tensor 'a'", .offset = 32 },
    { "data cut by one byte", "reach beyond the file", .tensor = "t", .cut = 1 },
    { "data missing", "reach beyond the file", .tensor = "t", .cut = 96 },
    { "padding before the data missing", "reach beyond the file", .tensor = "t", .cut = 100 },
};

enum { N_DEFECTS = sizeof defects / sizeof defects[0] };

/* ---- making the files ----------------------------------------------------------------------------- */

static void add_u32(struct buf *b, uint32_t value)
{
    buf_add(b, &value, sizeof value);
}

static void add_u64(struct buf *b, uint64_t value)
{
    buf_add(b, &value, sizeof value);
}

/* length 0: as long as it is. A case may claim more than there is, or less than strlen finds. */
static void add_string(struct buf *b, const char *text, uint64_t length)
{
    size_t n = strlen(text);
    if (length > n && length < 16)
        n = (size_t)length;    /* a NUL inside */
    add_u64(b, length ? length : n);
    buf_add(b, text, n);
}

static void add_tensor(struct buf *b, const struct defect *d)
{
    static const uint64_t plain[5] = { 8 };
    static const uint64_t none[5];
    const uint64_t *ne = memcmp(d->ne, none, sizeof none) ? d->ne : plain;
    uint32_t n_dims = d->no_dims ? 0 : d->n_dims ? d->n_dims : 1;
    add_string(b, d->tensor ? d->tensor : "t", d->tensor_length);
    add_u32(b, n_dims);
    for (uint32_t i = 0; i < n_dims && i < 5; i++)
        add_u64(b, ne[i]);
    add_u32(b, d->type);
    add_u64(b, d->offset_zero ? 0 : d->offset ? d->offset : 64);
}

static bool has_tensor(const struct defect *d)
{
    return d->tensor || d->tensor_length || d->n_dims || d->no_dims || d->ne[0] || d->type || d->offset ||
           d->offset_zero;
}

static void make_file(struct buf *b, const struct defect *d)
{
    bool tensor = has_tensor(d);
    buf_clear(b);
    buf_add(b, d->magic ? d->magic : "GGUF", 4);
    add_u32(b, d->version_zero ? 0 : d->version ? d->version : 3);
    add_u64(b, d->n_tensors ? d->n_tensors : tensor ? 2 : 1);
    add_u64(b, d->n_keys ? d->n_keys : d->key ? 3 : 2);
    add_string(b, "general.architecture", 0);
    add_u32(b, GGUF_STRING);
    add_string(b, "llama", 0);
    add_string(b, "x.one", 0);
    add_u32(b, GGUF_U32);
    add_u32(b, 1);
    if (d->key) {
        add_string(b, d->key, d->key_length);
        add_u32(b, d->value_type);
        buf_add(b, d->value, d->value_bytes);
    }
    add_tensor(b, &(struct defect){ .tensor = "a", .n_dims = 2, .ne = { 8, 2 }, .offset_zero = true });
    if (tensor)
        add_tensor(b, d);
    while (b->n_bytes % 32)
        buf_add_byte(b, 0);
    for (int i = 0; i < 64 + (tensor ? 32 : 0); i++)
        buf_add_byte(b, (unsigned char)i);
    b->n_bytes -= d->cut;
}

/* Opens a copy that ends where its memory ends. */
static enum err_code open_exactly(const char *bytes, size_t n_bytes, struct err *e)
{
    struct gguf *g = NULL;
    char *copy = malloc(n_bytes ? n_bytes : 1);
    memcpy(copy, bytes, n_bytes);
    *e = (struct err){ 0 };
    enum err_code rc = gguf_open_memory(&g, copy, n_bytes, e);
    if (rc == ERR_OK)
        gguf_walk(g);
    gguf_close(g);
    free(copy);
    return rc;
}

static bool one_line(const char *text)
{
    return text[0] && !strpbrk(text, "\n\r\x1b") && strlen(text) < 300;
}

/* ---- cases ---------------------------------------------------------------------------------------- */

TEST(gguf_the_good_file_is_good)
{
    struct buf b = { 0 };
    struct err e;
    make_file(&b, &(struct defect){ 0 });
    CHECK(t, open_exactly(b.data, b.n_bytes, &e) == ERR_OK, "%s", e.text);
    make_file(&b, &(struct defect){ .tensor = "t", .key = "k", .value_type = GGUF_BOOL, VALUE("\1") });
    CHECK(t, open_exactly(b.data, b.n_bytes, &e) == ERR_OK, "%s", e.text);
    make_file(&b, &(struct defect){ .version = 2 });
    CHECK(t, open_exactly(b.data, b.n_bytes, &e) == ERR_OK, "%s", e.text);
    make_file(&b, &(struct defect){ .key = "split.count", .value_type = GGUF_U16, VALUE("\1\0") });
    CHECK(t, open_exactly(b.data, b.n_bytes, &e) == ERR_OK, "%s", e.text);
    buf_finish(&b);
}

TEST(gguf_every_defect_is_named)
{
    struct buf b = { 0 };
    for (size_t i = 0; i < N_DEFECTS; i++) {
        const struct defect *d = &defects[i];
        struct err e;
        make_file(&b, d);
        enum err_code rc = open_exactly(b.data, b.n_bytes, &e);
        CHECK_INT(t, rc, d->code ? d->code : ERR_FORMAT, "%s: %s", d->name, e.text);
        CHECK_INT(t, e.code, rc, "%s", d->name);
        CHECK(t, one_line(e.text), "%s: %s", d->name, e.text);
        CHECK(t, strstr(e.text, d->want), "%s: '%s' does not say '%s'", d->name, e.text, d->want);
    }
    printf("%d malformed files refused, each in one line\n", N_DEFECTS);
    buf_finish(&b);
}

TEST(gguf_cut_anywhere_is_refused)
{
    struct buf b = { 0 };
    static const struct defect whole = { .tensor = "t", .key = "k", .value_type = GGUF_ARRAY,
                                         VALUE(T_STRING U64_2 U64_1 "a" U64_2 "bc") };
    struct err e;
    make_file(&b, &whole);
    CHECK(t, open_exactly(b.data, b.n_bytes, &e) == ERR_OK, "%s", e.text);
    for (size_t n = 0; n < b.n_bytes; n++) {
        CHECK_INT(t, open_exactly(b.data, n, &e), ERR_FORMAT, "%zu of %zu bytes", n, b.n_bytes);
        CHECK(t, one_line(e.text), "%zu bytes: %s", n, e.text);
    }
    printf("%zu lengths refused\n", b.n_bytes);
    buf_finish(&b);
}

/* Three tensors that stand in the file in another order than their bytes. */
static enum err_code open_shuffled(const uint64_t offsets[3], struct err *e)
{
    struct buf b = { 0 };
    buf_add(&b, "GGUF\3\0\0\0\3\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 24);
    for (int i = 0; i < 3; i++) {
        char name[2] = { (char)('a' + i), 0 };
        add_tensor(&b, &(struct defect){ .tensor = name, .ne = { 16 }, .offset = offsets[i],
                                         .offset_zero = offsets[i] == 0 });
    }
    while (b.n_bytes % 32 || b.n_bytes < 512)
        buf_add_byte(&b, 0);
    enum err_code rc = open_exactly(b.data, b.n_bytes, e);
    buf_finish(&b);
    return rc;
}

TEST(gguf_order_of_tensors_is_free_overlap_is_not)
{
    struct err e;
    CHECK(t, open_shuffled((uint64_t[]){ 128, 0, 64 }, &e) == ERR_OK, "%s", e.text);
    CHECK(t, open_shuffled((uint64_t[]){ 192, 0, 96 }, &e) == ERR_OK, "gaps: %s", e.text);
    CHECK_INT(t, open_shuffled((uint64_t[]){ 128, 0, 96 }, &e), ERR_FORMAT);
    CHECK_TEXT(t, e.text, "tensor 'a': shares bytes with tensor 'c', own bytes wanted");
}

/* Whatever bits are wrong: refused in one line, or a file that can be walked through whole. */
TEST(gguf_flipped_bits_do_no_harm)
{
    struct buf b = { 0 };
    int n_refused = 0, n_rounds = 20000;
    make_file(&b, &(struct defect){ .tensor = "t", .key = "k", .value_type = GGUF_ARRAY,
                                    VALUE(T_STRING U64_2 U64_1 "a" U64_2 "bc") });
    for (int round = 0; round < n_rounds; round++) {
        char copy[1024];
        struct err e;
        memcpy(copy, b.data, b.n_bytes);
        for (uint32_t n = 1 + test_below(t, 4); n > 0; n--)
            copy[test_below(t, (uint32_t)b.n_bytes - 96)] ^= (char)(1 << test_below(t, 8));
        enum err_code rc = open_exactly(copy, b.n_bytes, &e);
        n_refused += rc != ERR_OK;
        CHECK(t, rc == ERR_OK || one_line(e.text), "round %d: %s", round, e.text);
    }
    printf("%d of %d refused\n", n_refused, n_rounds);
    CHECK(t, n_refused > n_rounds / 4);
    buf_finish(&b);
}

/* The table of names would otherwise be walked once for each of them. */
TEST(gguf_names_that_collide_are_refused_soon)
{
    struct arena a;
    struct gguf_names names;
    arena_init(&a);
    /* All slots but one taken: any further name meets a run longer than chance makes. */
    CHECK(t, gguf_names_init(&names, &a, 512));
    for (uint32_t i = 0; i < names.mask; i++)
        names.slots[i] = (struct gguf_names_slot){ .name = "taken", .hash = i, .index = i };
    int n_crowded = 0;
    for (int i = 0; i < 100; i++) {
        char text[16];
        snprintf(text, sizeof text, "n%d", i);
        CHECK_INT(t, gguf_names_find(&names, text), -1);
        n_crowded += gguf_names_add(&names, arena_copy(&a, text, strlen(text)), 0) == GGUF_NAMES_CROWDED;
    }
    CHECK(t, n_crowded >= 99, "%d of 100", n_crowded);
    arena_finish(&a);
}

static void write_file(const char *path, const void *bytes, size_t n_bytes)
{
    FILE *f = fopen(path, "wb");
    if (f && n_bytes)
        fwrite(bytes, 1, n_bytes, f);
    if (f)
        fclose(f);
}

TEST(gguf_open_names_the_path)
{
    char path[400];
    struct gguf *g = NULL;
    struct err e;
    snprintf(path, sizeof path, "%s/bad.gguf", test_folder(t));
    CHECK_INT(t, gguf_open(&g, path, &e), ERR_IO);
    CHECK(t, strncmp(e.text, path, strlen(path)) == 0 && one_line(e.text), "%s", e.text);
    write_file(path, "", 0);
    CHECK_INT(t, gguf_open(&g, path, &e), ERR_FORMAT, "an empty file");
    CHECK(t, strncmp(e.text, path, strlen(path)) == 0 && one_line(e.text), "%s", e.text);
    write_file(path, "GGUF\3\0\0\0", 8);
    CHECK_INT(t, gguf_open(&g, path, &e), ERR_FORMAT, "half a header");
    CHECK(t, strncmp(e.text, path, strlen(path)) == 0 && one_line(e.text), "%s", e.text);
    CHECK_INT(t, gguf_open(&g, test_folder(t), &e), ERR_FORMAT, "a folder");
    CHECK(t, strstr(e.text, "folder"), "%s", e.text);
    remove(path);
    CHECK_INT(t, mkfifo(path, 0600), 0);
    CHECK_INT(t, gguf_open(&g, path, &e), ERR_FORMAT, "a pipe");
    CHECK(t, !g, "nothing is handed out after a failure");
}
