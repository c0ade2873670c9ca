/* SPDX-License-Identifier: MIT */
#ifndef QUIP_TESTS_SUPPORT_VOCAB_TINY_H
#define QUIP_TESTS_SUPPORT_VOCAB_TINY_H

#include "engine/base/arena.h"
#include "engine/tokenizer/tokenizer.h"

/* Vocabularies of a few hundred tokens made on the spot, for tests that need no file. They may be changed
 * before tokenizer_create(). */
enum { VOCAB_TINY_TOKENS = 1024 };

struct vocab_tiny {
    struct arena arena;
    struct tokenizer_text tokens[VOCAB_TINY_TOKENS];
    float scores[VOCAB_TINY_TOKENS];
    int32_t types[VOCAB_TINY_TOKENS];
    struct tokenizer_text merges[VOCAB_TINY_TOKENS];
    struct tokenizer_vocab vocab;
};

/* Byte BPE with the qwen2 rule: the 256 letters, n_merges merges drawn from the seed (short and mostly
 * letters, so that random text is full of them), and the specials
 *     <|im_start|> <|im_end|> control; <think> user-defined; \n\n\n user-defined */
void vocab_tiny_bpe(struct vocab_tiny *v, uint64_t seed, int32_t n_merges);

/* SPM: <unk> <s> </s>, 256 byte tokens, letters, n_pieces pieces with scores drawn from the seed, and
 * the specials <|im_end|> control, </s> control, \n\n user-defined. */
void vocab_tiny_spm(struct vocab_tiny *v, uint64_t seed, int32_t n_pieces);

void vocab_tiny_finish(struct vocab_tiny *v);

/* The id of a text that is a token, as the vocabulary has it. */
int32_t vocab_tiny_id(const struct vocab_tiny *v, const char *text);

/* Random text of about n characters, NUL-terminated, in buf storage of the caller: words of few
 * letters, spaces, digits, punctuation, other scripts, emoji; always valid UTF-8. */
size_t vocab_tiny_text(uint64_t *state, char *out, size_t cap, int32_t n_chars);

uint32_t vocab_tiny_below(uint64_t *state, uint32_t n);

#endif
