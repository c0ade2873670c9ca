/* SPDX-License-Identifier: MIT */
#ifndef QUIP_TESTS_SUPPORT_VOCAB_FROM_GGUF_H
#define QUIP_TESTS_SUPPORT_VOCAB_FROM_GGUF_H

#include "engine/gguf/gguf.h"
#include "engine/tokenizer/tokenizer.h"

/* A tokenizer straight out of a file, for tests of the tokenizer alone. */
struct vocab_file {
    struct gguf *gguf;
    struct tokenizer_text *tokens;
    struct tokenizer_text *merges;
    struct tokenizer_vocab vocab;
    struct tokenizer *tokenizer;
};

enum err_code vocab_open(struct vocab_file *f, const char *path, struct err *e);
void vocab_close(struct vocab_file *f);    /* takes a half-open and a zeroed one */

#endif
