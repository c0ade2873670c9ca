/* SPDX-License-Identifier: MIT */
#include "engine/base/utf8.h"

int utf8_length(unsigned char first_byte)
{
    if (first_byte < 0x80)
        return 1;
    if (first_byte >= 0xC2 && first_byte <= 0xDF)
        return 2;
    if (first_byte >= 0xE0 && first_byte <= 0xEF)
        return 3;
    if (first_byte >= 0xF0 && first_byte <= 0xF4)
        return 4;
    return 0;
}

/* The second byte has a narrower range after these first bytes (Unicode 15, table 3-7). */
static bool second_byte_ok(unsigned char first, unsigned char second)
{
    switch (first) {
    case 0xE0: return second >= 0xA0 && second <= 0xBF;
    case 0xED: return second >= 0x80 && second <= 0x9F;
    case 0xF0: return second >= 0x90 && second <= 0xBF;
    case 0xF4: return second >= 0x80 && second <= 0x8F;
    default: return (second & 0xC0) == 0x80;
    }
}

int utf8_decode(const char *bytes, size_t n_bytes, uint32_t *code_point)
{
    const unsigned char *b = (const unsigned char *)bytes;
    int length = utf8_length(b[0]);
    *code_point = UTF8_REPLACEMENT;
    if (length == 0 || (size_t)length > n_bytes)
        return 1;
    if (length == 1) {
        *code_point = b[0];
        return 1;
    }
    if (!second_byte_ok(b[0], b[1]))
        return 1;
    uint32_t value = b[0] & (0xFFu >> (length + 1));
    for (int i = 1; i < length; i++) {
        if ((b[i] & 0xC0) != 0x80)
            return 1;
        value = value << 6 | (b[i] & 0x3Fu);
    }
    *code_point = value;
    return length;
}

int utf8_encode(char out[4], uint32_t code_point)
{
    if (code_point > 0x10FFFF || (code_point >= 0xD800 && code_point <= 0xDFFF))
        code_point = UTF8_REPLACEMENT;
    if (code_point < 0x80) {
        out[0] = (char)code_point;
        return 1;
    }
    if (code_point < 0x800) {
        out[0] = (char)(0xC0 | code_point >> 6);
        out[1] = (char)(0x80 | (code_point & 0x3F));
        return 2;
    }
    if (code_point < 0x10000) {
        out[0] = (char)(0xE0 | code_point >> 12);
        out[1] = (char)(0x80 | (code_point >> 6 & 0x3F));
        out[2] = (char)(0x80 | (code_point & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | code_point >> 18);
    out[1] = (char)(0x80 | (code_point >> 12 & 0x3F));
    out[2] = (char)(0x80 | (code_point >> 6 & 0x3F));
    out[3] = (char)(0x80 | (code_point & 0x3F));
    return 4;
}

size_t utf8_incomplete_tail(const char *bytes, size_t n_bytes)
{
    const unsigned char *b = (const unsigned char *)bytes;
    for (size_t back = 1; back <= 3 && back <= n_bytes; back++) {
        unsigned char first = b[n_bytes - back];
        if ((first & 0xC0) == 0x80)
            continue;
        int length = utf8_length(first);
        if ((size_t)length <= back)
            return 0;
        if (back >= 2 && !second_byte_ok(first, b[n_bytes - back + 1]))
            return 0;
        return back;
    }
    return 0;
}

bool utf8_valid(const char *bytes, size_t n_bytes)
{
    size_t at = 0;
    while (at < n_bytes) {
        uint32_t code_point;
        int used = utf8_decode(bytes + at, n_bytes - at, &code_point);
        if (used == 1 && (unsigned char)bytes[at] >= 0x80)
            return false;
        at += (size_t)used;
    }
    return true;
}
