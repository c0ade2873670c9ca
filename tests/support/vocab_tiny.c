/* SPDX-License-Identifier: MIT */
#include "tests/support/vocab_tiny.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/utf8.h"

uint32_t vocab_tiny_below(uint64_t *state, uint32_t n)
{
    uint64_t z = *state += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return (uint32_t)((z ^ z >> 31) >> 32) % n;
}

static int32_t find(const struct vocab_tiny *v, const char *text, size_t n_bytes)
{
    for (size_t i = 0; i < v->vocab.n_tokens; i++)
        if (v->tokens[i].n_bytes == n_bytes && memcmp(v->tokens[i].bytes, text, n_bytes) == 0)
            return (int32_t)i;
    return TOKENIZER_NONE;
}

int32_t vocab_tiny_id(const struct vocab_tiny *v, const char *text)
{
    return find(v, text, strlen(text));
}

static void add(struct vocab_tiny *v, const char *text, size_t n_bytes, int32_t type, float score)
{
    size_t id = v->vocab.n_tokens++;
    assert(id < VOCAB_TINY_TOKENS);
    v->tokens[id] = (struct tokenizer_text){ arena_copy(&v->arena, text, n_bytes), n_bytes };
    v->types[id] = type;
    v->scores[id] = score;
    v->vocab.n_types = v->vocab.n_scores = v->vocab.n_tokens;
}

static void start(struct vocab_tiny *v, const char *model)
{
    memset(v, 0, sizeof *v);
    arena_init(&v->arena);
    tokenizer_vocab_init(&v->vocab);
    v->vocab.model = (struct tokenizer_text){ model, strlen(model) };
    v->vocab.tokens = v->tokens;
    v->vocab.types = v->types;
    v->vocab.merges = v->merges;
}

void vocab_tiny_finish(struct vocab_tiny *v)
{
    arena_finish(&v->arena);
}

/* A letter of GPT-2's alphabet for a byte, written out anew here. */
static int letter_of(char out[4], int byte)
{
    bool plain = (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
    uint32_t next = 256;
    for (int b = 0; b < byte && !plain; b++)
        next += !((b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE);
    return utf8_encode(out, plain ? (uint32_t)byte : next);
}

/* A token to make a longer one of: a small letter, a space, some other byte, or a merged one. */
static size_t draw_part(const struct vocab_tiny *v, uint64_t *state)
{
    uint32_t kind = vocab_tiny_below(state, 16);
    if (kind < 7)
        return 'a' + vocab_tiny_below(state, 6);
    if (kind < 9)
        return ' ';
    if (kind < 11)
        return vocab_tiny_below(state, 256);
    return vocab_tiny_below(state, (uint32_t)v->vocab.n_tokens);
}

void vocab_tiny_bpe(struct vocab_tiny *v, uint64_t seed, int32_t n_merges)
{
    start(v, "gpt2");
    v->vocab.pre = (struct tokenizer_text){ "qwen2", 5 };
    for (int b = 0; b < 256; b++) {
        char letter[4];
        add(v, letter, (size_t)letter_of(letter, b), TOKENIZER_NORMAL, 0);
    }
    while (v->vocab.n_merges < (size_t)n_merges) {
        size_t left = draw_part(v, &seed), right = draw_part(v, &seed);
        char merge[64], both[64];
        struct tokenizer_text a = v->tokens[left], b = v->tokens[right];
        if (a.n_bytes + b.n_bytes > 12)
            continue;
        int n = snprintf(both, sizeof both, "%.*s%.*s", (int)a.n_bytes, a.bytes, (int)b.n_bytes, b.bytes);
        if (find(v, both, (size_t)n) != TOKENIZER_NONE)
            continue;
        add(v, both, (size_t)n, TOKENIZER_NORMAL, 0);
        n = snprintf(merge, sizeof merge, "%.*s %.*s", (int)a.n_bytes, a.bytes, (int)b.n_bytes, b.bytes);
        v->merges[v->vocab.n_merges++] =
            (struct tokenizer_text){ arena_copy(&v->arena, merge, (size_t)n), (size_t)n };
    }
    add(v, "<|im_start|>", 12, TOKENIZER_CONTROL, 0);
    add(v, "<|im_end|>", 10, TOKENIZER_CONTROL, 0);
    add(v, "<think>", 7, TOKENIZER_USER_DEFINED, 0);
    add(v, "\n\n\n", 3, TOKENIZER_USER_DEFINED, 0);
    v->vocab.bos = vocab_tiny_id(v, "<|im_start|>");
    v->vocab.eos = vocab_tiny_id(v, "<|im_end|>");
}

void vocab_tiny_spm(struct vocab_tiny *v, uint64_t seed, int32_t n_pieces)
{
    start(v, "llama");
    v->vocab.scores = v->scores;
    add(v, "<unk>", 5, TOKENIZER_UNKNOWN, 0);
    add(v, "<s>", 3, TOKENIZER_CONTROL, 0);
    add(v, "</s>", 4, TOKENIZER_CONTROL, 0);
    for (int b = 0; b < 256; b++) {
        char name[8];
        add(v, name, (size_t)snprintf(name, sizeof name, "<0x%02X>", (unsigned)b), TOKENIZER_BYTE, 0);
    }
    size_t first = v->vocab.n_tokens;
    add(v, "\xE2\x96\x81", 3, TOKENIZER_NORMAL, -1000);
    for (int i = 0; i < 12; i++)
        add(v, &"abcdef</s>1."[i], 1, TOKENIZER_NORMAL, -1001.0f - (float)i);
    add(v, "\xC3\xA9", 2, TOKENIZER_NORMAL, -1100);
    while (v->vocab.n_tokens < first + (size_t)n_pieces) {
        uint32_t n = (uint32_t)(v->vocab.n_tokens - first);
        struct tokenizer_text a = v->tokens[first + vocab_tiny_below(&seed, n)];
        struct tokenizer_text b = v->tokens[first + vocab_tiny_below(&seed, n)];
        char both[64];
        if (a.n_bytes + b.n_bytes > 14)
            continue;
        int length = snprintf(both, sizeof both, "%.*s%.*s", (int)a.n_bytes, a.bytes, (int)b.n_bytes,
                              b.bytes);
        if (find(v, both, (size_t)length) == TOKENIZER_NONE)    /* few scores, so that many are equal */
            add(v, both, (size_t)length, TOKENIZER_NORMAL, -(float)vocab_tiny_below(&seed, 20));
    }
    add(v, "<|im_end|>", 10, TOKENIZER_CONTROL, 0);
    add(v, "\n\n", 2, TOKENIZER_USER_DEFINED, 0);
}

size_t vocab_tiny_text(uint64_t *state, char *out, size_t cap, int32_t n_chars)
{
    static const char *const others[] = {
        "\n", "\n\n", "\t", "0", "12", "!", "...", "<", "|", ">", "/", "s>", "'s", "\xC3\xA9", "\xD0\x96",
        "\xE4\xBD\xA0", "\xF0\x9F\x98\x80", "\xE2\x80\x8D", "\xE2\x96\x81", "\xCC\x81", "A", "Z",
    };
    size_t n = 0;
    for (int32_t i = 0; i < n_chars && n + 8 < cap; i++) {
        uint32_t kind = vocab_tiny_below(state, 20);
        if (kind < 12) {
            out[n++] = (char)('a' + vocab_tiny_below(state, 6));
        } else if (kind < 15) {
            out[n++] = ' ';
        } else {
            const char *other = others[vocab_tiny_below(state, sizeof others / sizeof *others)];
            memcpy(out + n, other, strlen(other));
            n += strlen(other);
        }
    }
    out[n] = 0;
    return n;
}
