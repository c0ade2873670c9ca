/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_BASE_UTF8_H
#define QUIP_ENGINE_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { UTF8_REPLACEMENT = 0xFFFD };

/* Reads one code point from at most n_bytes. Returns the bytes used and sets *code_point; a byte that
 * starts no well-formed character (overlong, surrogate, beyond U+10FFFF, cut short) counts as one
 * byte and U+FFFD, so a loop always moves on. n_bytes must be at least 1. */
int utf8_decode(const char *bytes, size_t n_bytes, uint32_t *code_point);

/* Writes 1 to 4 bytes; a value that is no code point becomes U+FFFD. */
int utf8_encode(char out[4], uint32_t code_point);

/* Length a character starting with this byte should have, 0 for a byte that cannot start one. */
int utf8_length(unsigned char first_byte);

/* How many bytes at the end form the beginning of a character that is not complete yet (0 to 3).
 * A tail that can never become well formed counts as 0. */
size_t utf8_incomplete_tail(const char *bytes, size_t n_bytes);

bool utf8_valid(const char *bytes, size_t n_bytes);

#endif
