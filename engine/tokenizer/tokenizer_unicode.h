/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_TOKENIZER_TOKENIZER_UNICODE_H
#define QUIP_ENGINE_TOKENIZER_TOKENIZER_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/utf8.h"

/* What the pre-tokenizer rules ask of a character. Two levels: 1.1 million code points in blocks of
 * 128, equal blocks stored once (tokenizer_unicode_table.c, written by unicode_make.py). A class byte
 * is the general category (5 bits, in the order of UnicodeData's names below) and White_Space. */
enum {
    TOKENIZER_UNICODE_BLOCK = 128,
    TOKENIZER_UNICODE_BLOCKS = 0x110000 / TOKENIZER_UNICODE_BLOCK
};
extern const uint16_t tokenizer_unicode_block[TOKENIZER_UNICODE_BLOCKS];
extern const uint8_t tokenizer_unicode_class[][TOKENIZER_UNICODE_BLOCK];
extern const char tokenizer_unicode_version[];

/* A set of categories is a mask of these; a rule tests `c.class & set`. */
#define UC_CN (1u << 0)
#define UC_LU (1u << 1)
#define UC_LL (1u << 2)
#define UC_LT (1u << 3)
#define UC_LM (1u << 4)
#define UC_LO (1u << 5)
#define UC_M (7u << 6)         /* Mn Mc Me */
#define UC_N (7u << 9)         /* Nd Nl No */
#define UC_ND (1u << 9)
#define UC_NL (1u << 10)
#define UC_PC (1u << 12)
#define UC_P (0x7Fu << 12)     /* Pc Pd Ps Pe Pi Pf Po */
#define UC_S (0xFu << 19)      /* Sm Sc Sk So */
#define UC_Z (7u << 23)        /* Zs Zl Zp */
#define UC_C (0xFu << 26)      /* Cc Cf Cs Co */
#define UC_SPACE (1u << 30)    /* White_Space, what \s means */
#define UC_L (UC_LU | UC_LL | UC_LT | UC_LM | UC_LO)

struct tokenizer_char {
    uint32_t code;
    uint32_t class;      /* a category's bit, and UC_SPACE; 0 past the end */
    uint32_t n_bytes;    /* 0 past the end */
};

/* The character at pos; a byte that is no UTF-8 counts as U+FFFD, one byte long. */
static inline struct tokenizer_char tokenizer_char_at(const char *text, size_t pos, size_t end)
{
    struct tokenizer_char c = { 0 };
    if (pos >= end)
        return c;
    unsigned char first = (unsigned char)text[pos];
    if (first < 0x80) {
        c.code = first;
        c.n_bytes = 1;
    } else {
        c.n_bytes = (uint32_t)utf8_decode(text + pos, end - pos, &c.code);
    }
    uint16_t block = tokenizer_unicode_block[c.code / TOKENIZER_UNICODE_BLOCK];
    uint8_t bits = tokenizer_unicode_class[block][c.code % TOKENIZER_UNICODE_BLOCK];
    c.class = 1u << (bits & 31) | (uint32_t)(bits >> 5) << 30;
    return c;
}

#endif
