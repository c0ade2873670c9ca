/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_TOKENIZER_TOKENIZER_SPLIT_H
#define QUIP_ENGINE_TOKENIZER_TOKENIZER_SPLIT_H

#include <stdbool.h>
#include <stddef.h>

/* Pre-tokenizers: the rules that cut text into the pieces merges may not cross. A rule is one to six
 * passes, each cutting further the pieces of the one before and seeing nothing outside its piece, as
 * the regular expressions of the original tokenizers do. */
enum { TOKENIZER_SPLIT_PASSES = 6 };

struct tokenizer_pass;

struct tokenizer_rule {
    const char *name;                          /* as in tokenizer.ggml.pre */
    const struct tokenizer_pass *const *passes;    /* ends with NULL */
    bool ignore_merges;                        /* a piece that is a token is that token, whatever merges say */
    bool adds_bos;                             /* where the file says nothing */
};

/* NULL for a name that is not known. */
const struct tokenizer_rule *tokenizer_rule_find(const char *name, size_t n_bytes);

struct tokenizer_split {
    const struct tokenizer_rule *rule;
    const char *text;
    size_t pos;
    size_t ends[TOKENIZER_SPLIT_PASSES + 1];     /* ends[0] the text's, ends[k] of the piece of pass k */
    size_t memo[TOKENIZER_SPLIT_PASSES];         /* a pass's note to itself */
    int n_passes;
};

/* Cuts text[begin..end), borrowed while the struct is in use. */
void tokenizer_split_init(struct tokenizer_split *s, const struct tokenizer_rule *rule,
                          const char *text, size_t begin, size_t end);
/* The next piece, never empty; false at the end. The pieces in order are the text. */
bool tokenizer_split_next(struct tokenizer_split *s, size_t *begin, size_t *end);

#endif
