/* SPDX-License-Identifier: MIT */
/* Metadata for the eyes of a person. Nothing that comes out can move a cursor, hide text or turn its
 * direction. */
#include "engine/gguf/gguf_file.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/base/utf8.h"

bool gguf_kv_print_type(const struct gguf_kv *kv, struct buf *out)
{
    const char *name = gguf_value_type_name(kv->item_type);
    if (kv->type == GGUF_ARRAY)
        return buf_printf(out, "%s[%" PRIu64 "]", name, kv->n);
    return buf_add_text(out, name);
}

/* Controls, separators, invisible and direction marks, private use. */
static bool is_safe(uint32_t c)
{
    static const uint32_t unsafe[][2] = {
        { 0x00, 0x1F },     { 0x7F, 0x9F },     { 0xAD, 0xAD },     { 0x61C, 0x61C },
        { 0x115F, 0x1160 }, { 0x180B, 0x180F }, { 0x200B, 0x200F }, { 0x2028, 0x202E },
        { 0x2060, 0x206F }, { 0x3164, 0x3164 }, { 0xE000, 0xF8FF }, { 0xFE00, 0xFE0F },
        { 0xFEFF, 0xFEFF }, { 0xFFF0, 0xFFFB }, { 0xE0000, 0x10FFFF },
    };
    for (size_t i = 0; i < sizeof unsafe / sizeof unsafe[0]; i++)
        if (c >= unsafe[i][0] && c <= unsafe[i][1])
            return false;
    return true;
}

static void print_char(uint32_t c, const char *bytes, int n_bytes, struct buf *out)
{
    bool broken = c == UTF8_REPLACEMENT && n_bytes == 1;    /* no character of UTF-8 */
    if (c == '\n')
        buf_add_text(out, "\\n");
    else if (c == '\t')
        buf_add_text(out, "\\t");
    else if (c == '"' || c == '\\')
        buf_printf(out, "\\%c", (char)c);
    else if (broken || (c < 0x80 && !is_safe(c)))
        buf_printf(out, "\\x%02x", (unsigned char)bytes[0]);
    else if (!is_safe(c))
        buf_printf(out, "\\u{%x}", c);
    else
        buf_add(out, bytes, (size_t)n_bytes);
}

/* Counts characters of the output by its bytes, which is never too few. */
static void print_text(struct gguf_text text, size_t max_chars, struct buf *out)
{
    size_t start = out->n_bytes;
    buf_add_byte(out, '"');
    for (size_t i = 0; i < text.n_bytes && buf_ok(out);) {
        if (out->n_bytes - start >= max_chars) {
            buf_add_text(out, "\"...");
            return;
        }
        uint32_t c;
        int n = utf8_decode(text.bytes + i, text.n_bytes - i, &c);
        print_char(c, text.bytes + i, n, out);
        i += (size_t)n;
    }
    buf_add_byte(out, '"');
}

/* The shortest of 6 or 9 digits that reads back as the same float. */
static void print_float(double value, bool single, struct buf *out)
{
    char text[40];
    snprintf(text, sizeof text, "%.6g", value);
    double back = strtod(text, NULL);
    bool same = single ? (float)back == (float)value : back == value;
    if (!same && value == value)
        snprintf(text, sizeof text, single ? "%.9g" : "%.17g", value);
    buf_add_text(out, text);
}

static void print_item(const struct gguf_kv *kv, uint64_t i, size_t max_chars, struct buf *out)
{
    switch (kv->item_type) {
    case GGUF_STRING:
        print_text(gguf_kv_text(kv, i), max_chars, out);
        break;
    case GGUF_F32:
    case GGUF_F64:
        print_float(gguf_kv_float(kv, i), kv->item_type == GGUF_F32, out);
        break;
    case GGUF_BOOL:
        buf_add_text(out, gguf_kv_bool(kv, i) ? "true" : "false");
        break;
    case GGUF_U64:
        buf_printf(out, "%" PRIu64, gguf_load_u64(kv->bytes + 8 * i));
        break;
    default:
        buf_printf(out, "%" PRId64, gguf_kv_int(kv, i));
    }
}

bool gguf_kv_print_value(const struct gguf_kv *kv, size_t max_chars, struct buf *out)
{
    if (kv->type != GGUF_ARRAY) {
        print_item(kv, 0, max_chars, out);
        return buf_ok(out);
    }
    size_t start = out->n_bytes;
    buf_add_byte(out, '[');
    for (uint64_t i = 0; i < kv->n && buf_ok(out); i++) {
        if (i > 0)
            buf_add_text(out, ", ");
        size_t used = out->n_bytes - start;
        if (used >= max_chars) {
            buf_add_text(out, "...");
            break;
        }
        print_item(kv, i, max_chars - used, out);
    }
    buf_add_byte(out, ']');
    return buf_ok(out);
}
