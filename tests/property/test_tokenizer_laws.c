/* SPDX-License-Identifier: MIT */
#include <stdlib.h>

#include "engine/base/utf8.h"
#include "engine/tokenizer/tokenizer_split.h"
#include "tests/support/test.h"
#include "tests/support/vocab_tiny.h"

enum { TEXT_BYTES = 600, ROUNDS = 1500 };

static struct tokenizer *make(struct test *t, const struct vocab_tiny *v)
{
    struct tokenizer *tokenizer;
    struct err e;
    CHECK(t, tokenizer_create(&tokenizer, &v->vocab, &e) == ERR_OK, "%s", e.text);
    return tokenizer;
}

static void encode(struct test *t, const struct tokenizer *tokenizer, const char *text, size_t n_bytes,
                   unsigned flags, struct tokenizer_ids *ids)
{
    struct err e;
    ids->n = 0;
    CHECK(t, tokenizer_encode(tokenizer, text, n_bytes, flags, ids, &e) == ERR_OK, "%s", e.text);
}

static void decode(struct test *t, const struct tokenizer *tokenizer, const struct tokenizer_ids *ids,
                   bool each_valid, struct buf *out)
{
    struct tokenizer_stream s;
    tokenizer_stream_init(&s, tokenizer, true, true);
    buf_clear(out);
    for (size_t i = 0; i < ids->n; i++) {
        size_t before = out->n_bytes;
        CHECK(t, tokenizer_stream_push(&s, tokenizer, ids->ids[i], out));
        if (each_valid)
            CHECK(t, utf8_valid(buf_text(out) + before, out->n_bytes - before),
                  "id %zu came out in the middle of a character", i);
    }
    CHECK(t, tokenizer_stream_flush(&s, out));
}

static void check_round_trip(struct test *t, const struct tokenizer *tokenizer, const char *text,
                             size_t n_bytes, unsigned flags, bool valid)
{
    struct tokenizer_ids ids = { 0 };
    struct buf back = { 0 };
    encode(t, tokenizer, text, n_bytes, flags, &ids);
    decode(t, tokenizer, &ids, valid, &back);
    CHECK_INT(t, back.n_bytes, n_bytes, "'%.*s'", (int)n_bytes, text);
    CHECK_BYTES(t, back.data, text, n_bytes, "'%.*s'", (int)n_bytes, text);
    buf_finish(&back);
    tokenizer_ids_finish(&ids);
}

TEST(tokenizer_bpe_gives_any_text_back)
{
    struct vocab_tiny v;
    vocab_tiny_bpe(&v, t->seed, 300);
    struct tokenizer *tokenizer = make(t, &v);
    char text[TEXT_BYTES];
    for (int round = 0; round < ROUNDS; round++) {
        size_t n = vocab_tiny_text(&t->rng, text, sizeof text, (int32_t)test_below(t, 90) + 1);
        check_round_trip(t, tokenizer, text, n, test_below(t, 2) ? TOKENIZER_SPECIAL : 0, true);
    }
    for (int round = 0; round < ROUNDS; round++) {
        size_t n = test_below(t, 80) + 1;
        for (size_t i = 0; i < n; i++)
            text[i] = (char)test_below(t, 256);
        check_round_trip(t, tokenizer, text, n, TOKENIZER_SPECIAL, false);
    }
    tokenizer_destroy(tokenizer);
    vocab_tiny_finish(&v);
}

/* SPM writes U+2581 for a space, so text that has one itself comes back with a space. */
TEST(tokenizer_spm_gives_text_back)
{
    struct vocab_tiny v;
    vocab_tiny_spm(&v, t->seed, 300);
    struct tokenizer *tokenizer = make(t, &v);
    char text[TEXT_BYTES];
    for (int round = 0; round < ROUNDS; round++) {
        size_t n = vocab_tiny_text(&t->rng, text, sizeof text, (int32_t)test_below(t, 90) + 1);
        for (char *at = text; (at = strstr(at, "\xE2\x96\x81")) != NULL;)
            memcpy(at, "xyz", 3);
        for (char *at = text; (at = strstr(at, "\n\n")) != NULL;)    /* a special: a space follows it */
            memcpy(at, "-+", 2);
        check_round_trip(t, tokenizer, text, n, 0, true);
    }
    tokenizer_destroy(tokenizer);
    vocab_tiny_finish(&v);
}

/* ---- what merging means, done the slow way: best pair first, leftmost among equals ---- */

struct naive {
    struct tokenizer_text part[TEXT_BYTES * 3];
    size_t n;
};

static int32_t rank_of(const struct vocab_tiny *v, struct tokenizer_text a, struct tokenizer_text b)
{
    char merge[64];
    if (a.n_bytes + b.n_bytes + 1 > sizeof merge)
        return -1;
    memcpy(merge, a.bytes, a.n_bytes);
    merge[a.n_bytes] = ' ';
    memcpy(merge + a.n_bytes + 1, b.bytes, b.n_bytes);
    size_t n = a.n_bytes + b.n_bytes + 1;
    for (size_t i = 0; i < v->vocab.n_merges; i++)
        if (v->merges[i].n_bytes == n && memcmp(v->merges[i].bytes, merge, n) == 0)
            return (int32_t)i;
    return -1;
}

static bool score_of(const struct vocab_tiny *v, struct tokenizer_text a, struct tokenizer_text b,
                     float *score)
{
    for (size_t i = 0; i < v->vocab.n_tokens; i++)
        if (v->types[i] == TOKENIZER_NORMAL && v->tokens[i].n_bytes == a.n_bytes + b.n_bytes &&
            memcmp(v->tokens[i].bytes, a.bytes, a.n_bytes + b.n_bytes) == 0) {
            *score = v->scores[i];
            return true;
        }
    return false;
}

/* Parts lie side by side in one text, so two neighbours are one longer part. */
static void naive_merge(const struct vocab_tiny *v, bool spm, struct naive *p)
{
    for (;;) {
        size_t best = SIZE_MAX;
        float best_value = 0;
        for (size_t i = 0; i + 1 < p->n; i++) {
            float value;
            if (spm) {
                if (!score_of(v, p->part[i], p->part[i + 1], &value))
                    continue;
                value = -value;
            } else if ((value = (float)rank_of(v, p->part[i], p->part[i + 1])) < 0) {
                continue;
            }
            if (best == SIZE_MAX || value < best_value) {
                best = i;
                best_value = value;
            }
        }
        if (best == SIZE_MAX)
            return;
        p->part[best].n_bytes += p->part[best + 1].n_bytes;
        memmove(&p->part[best + 1], &p->part[best + 2], (p->n - best - 2) * sizeof *p->part);
        p->n--;
    }
}

static void naive_split(struct naive *p, const char *text, size_t n_bytes)
{
    p->n = 0;
    for (size_t at = 0; at < n_bytes;) {
        uint32_t code;
        size_t used = (size_t)utf8_decode(text + at, n_bytes - at, &code);
        p->part[p->n++] = (struct tokenizer_text){ text + at, used };
        at += used;
    }
}

static void check_parts(struct test *t, const struct vocab_tiny *v, const struct naive *p,
                        const struct tokenizer_ids *ids, size_t *at, const char *text)
{
    for (size_t i = 0; i < p->n; i++) {
        int32_t id = TOKENIZER_NONE;
        for (size_t k = 0; k < v->vocab.n_tokens && id == TOKENIZER_NONE; k++)
            if (v->types[k] == TOKENIZER_NORMAL && v->tokens[k].n_bytes == p->part[i].n_bytes &&
                memcmp(v->tokens[k].bytes, p->part[i].bytes, p->part[i].n_bytes) == 0)
                id = (int32_t)k;
        size_t n_ids = id == TOKENIZER_NONE ? p->part[i].n_bytes : 1;    /* bytes of SPM */
        for (size_t k = 0; k < n_ids; k++, ++*at) {
            int32_t want = id == TOKENIZER_NONE ? 3 + (unsigned char)p->part[i].bytes[k] : id;
            CHECK(t, *at < ids->n, "'%s': %zu ids", text, ids->n);
            CHECK_INT(t, ids->ids[*at], want, "'%s', id %zu", text, *at);
        }
    }
}

TEST(tokenizer_bpe_merges_lowest_rank_first)
{
    struct vocab_tiny v;
    vocab_tiny_bpe(&v, t->seed, 300);
    struct tokenizer *tokenizer = make(t, &v);
    struct tokenizer_ids ids = { 0 };
    struct naive *p = malloc(sizeof *p);
    char text[TEXT_BYTES];
    for (int round = 0; round < 60; round++) {
        size_t n = vocab_tiny_text(&t->rng, text, 200, (int32_t)test_below(t, 60) + 1), begin, end, at = 0;
        for (char *line; (line = strstr(text, "\n\n\n")) != NULL;)
            *line = '-';
        encode(t, tokenizer, text, n, 0, &ids);
        struct tokenizer_split split;
        tokenizer_split_init(&split, tokenizer_rule_find("qwen2", 5), text, 0, n);
        while (tokenizer_split_next(&split, &begin, &end)) {
            struct buf letters = { 0 };
            for (size_t i = begin; i < end; i++) {
                struct tokenizer_text letter = v.tokens[(unsigned char)text[i]];
                buf_add(&letters, letter.bytes, letter.n_bytes);
            }
            naive_split(p, letters.data, letters.n_bytes);
            naive_merge(&v, false, p);
            check_parts(t, &v, p, &ids, &at, text);
            buf_finish(&letters);
        }
        CHECK_INT(t, ids.n, at, "'%s'", text);
    }
    free(p);
    tokenizer_ids_finish(&ids);
    tokenizer_destroy(tokenizer);
    vocab_tiny_finish(&v);
}

TEST(tokenizer_spm_merges_best_score_first_and_leftmost)
{
    struct vocab_tiny v;
    vocab_tiny_spm(&v, t->seed, 300);
    struct tokenizer *tokenizer = make(t, &v);
    struct tokenizer_ids ids = { 0 };
    struct naive *p = malloc(sizeof *p);
    char text[TEXT_BYTES];
    for (int round = 0; round < 60; round++) {
        size_t n = vocab_tiny_text(&t->rng, text, 200, (int32_t)test_below(t, 60) + 1), at = 0;
        for (char *line; (line = strstr(text, "\n\n")) != NULL;)
            *line = '-';
        encode(t, tokenizer, text, n, 0, &ids);
        struct buf spaced = { 0 };
        buf_add_text(&spaced, "\xE2\x96\x81");
        for (size_t i = 0; i < n; i++) {
            if (text[i] == ' ')
                buf_add_text(&spaced, "\xE2\x96\x81");
            else
                buf_add_byte(&spaced, (unsigned char)text[i]);
        }
        naive_split(p, spaced.data, spaced.n_bytes);
        naive_merge(&v, true, p);
        check_parts(t, &v, p, &ids, &at, text);
        CHECK_INT(t, ids.n, at, "'%s'", text);
        buf_finish(&spaced);
    }
    free(p);
    tokenizer_ids_finish(&ids);
    tokenizer_destroy(tokenizer);
    vocab_tiny_finish(&v);
}

/* ---- fragments ---- */

static size_t add_special(struct test *t, char *text, size_t n)
{
    static const char *const names[] = { "<|im_end|>", "<|im_start|>", "\n\n\n", "\n" };
    const char *name = names[test_below(t, 4)];
    memcpy(text + n, name, strlen(name));
    return n + strlen(name);
}

/* Cuts a text with specials anywhere but inside one, and marks what holds none as untrusted at will. */
static void check_fragments(struct test *t, const struct tokenizer *tokenizer)
{
    char text[TEXT_BYTES];
    struct tokenizer_fragment f[16];
    size_t n = 0, n_f = 0;
    struct tokenizer_ids whole = { 0 }, parts = { 0 };
    struct err e;
    while (n_f < 12) {
        size_t start = n;
        bool special = test_below(t, 3) == 0;
        if (special)
            n = add_special(t, text, n);
        else
            n += vocab_tiny_text(&t->rng, text + n, 60, (int32_t)test_below(t, 12));
        f[n_f++] = (struct tokenizer_fragment){ text + start, n - start, special || test_below(t, 2) };
    }
    if (memmem(text, n, "<s>", 3) || memmem(text, n, "</s>", 4))
        return;    /* made by chance, and special in a vocabulary */
    unsigned flags = test_below(t, 2) ? TOKENIZER_ADD_BOS : 0;
    encode(t, tokenizer, text, n, flags | TOKENIZER_SPECIAL, &whole);
    CHECK(t, tokenizer_encode_fragments(tokenizer, f, n_f, flags, &parts, &e) == ERR_OK, "%s", e.text);
    CHECK_INT(t, parts.n, whole.n, "'%.*s'", (int)n, text);
    for (size_t i = 0; i < whole.n; i++)
        CHECK_INT(t, parts.ids[i], whole.ids[i], "'%.*s', id %zu", (int)n, text, i);
    tokenizer_ids_finish(&whole);
    tokenizer_ids_finish(&parts);
}

/* Whatever untrusted text is put between trusted marks, the marks and nothing else are special. */
static void check_injection(struct test *t, const struct tokenizer *tokenizer)
{
    static const char *const attacks[] = {
        "<|im_end|>", "<|im_", "end|>", "<|im_start|>", "</s>", "<s>", "<think>", "<unk>", "<0x41>", "<", "|im_end|>",
    };
    char text[TEXT_BYTES];
    size_t n = 0;
    for (uint32_t i = 0; i < 1 + test_below(t, 8); i++) {
        n += vocab_tiny_text(&t->rng, text + n, 40, (int32_t)test_below(t, 3));
        const char *attack = attacks[test_below(t, sizeof attacks / sizeof *attacks)];
        memcpy(text + n, attack, strlen(attack));
        n += strlen(attack);
    }
    static const char mark[] = "<|im_end|>";
    size_t cut = test_below(t, (uint32_t)n + 1);
    struct tokenizer_fragment f[] = {
        { mark, strlen(mark), true }, { text, cut, false }, { text + cut, n - cut, false },
        { mark, strlen(mark), true },
    };
    struct tokenizer_ids ids = { 0 };
    struct err e;
    CHECK(t, tokenizer_encode_fragments(tokenizer, f, 4, 0, &ids, &e) == ERR_OK, "%s", e.text);
    int32_t end = tokenizer_find(tokenizer, mark, strlen(mark));
    CHECK(t, ids.n >= 2 && ids.ids[0] == end && ids.ids[ids.n - 1] == end, "'%.*s'", (int)n, text);
    for (size_t i = 1; i + 1 < ids.n; i++) {
        enum tokenizer_type type = tokenizer_type_of(tokenizer, ids.ids[i]);
        CHECK(t, type == TOKENIZER_NORMAL || type == TOKENIZER_BYTE || ids.ids[i] ==
              tokenizer_find(tokenizer, "\n\n\n", 3) || ids.ids[i] == tokenizer_find(tokenizer, "\n\n", 2),
              "'%.*s': id %d of type %d", (int)n, text, (int)ids.ids[i], (int)type);
    }
    tokenizer_ids_finish(&ids);
}

static void for_both(struct test *t, void (*check)(struct test *, const struct tokenizer *))
{
    struct vocab_tiny v;
    for (int spm = 0; spm < 2; spm++) {
        if (spm)
            vocab_tiny_spm(&v, t->seed, 300);
        else
            vocab_tiny_bpe(&v, t->seed, 300);
        struct tokenizer *tokenizer = make(t, &v);
        for (int round = 0; round < ROUNDS; round++)
            check(t, tokenizer);
        tokenizer_destroy(tokenizer);
        vocab_tiny_finish(&v);
    }
}

TEST(tokenizer_fragments_give_the_ids_of_the_whole) { for_both(t, check_fragments); }
TEST(tokenizer_untrusted_text_never_becomes_special) { for_both(t, check_injection); }
