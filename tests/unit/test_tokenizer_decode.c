/* SPDX-License-Identifier: MIT */
#include "tests/support/test.h"
#include "tests/support/vocab_tiny.h"

static struct tokenizer *create(struct test *t, const struct vocab_tiny *v)
{
    struct tokenizer *tokenizer;
    struct err e;
    CHECK(t, tokenizer_create(&tokenizer, &v->vocab, &e) == ERR_OK, "%s", e.text);
    return tokenizer;
}

static void check_piece(struct test *t, const struct tokenizer *tokenizer, int32_t id, const char *want)
{
    struct tokenizer_text piece = tokenizer_piece(tokenizer, id);
    CHECK_INT(t, piece.n_bytes, strlen(want), "id %d", (int)id);
    CHECK_BYTES(t, piece.bytes, want, strlen(want), "id %d", (int)id);
}

TEST(tokenizer_piece_is_what_a_token_stands_for)
{
    struct vocab_tiny v;
    vocab_tiny_bpe(&v, 1, 100);
    size_t n = v.vocab.n_tokens;
    v.tokens[n] = (struct tokenizer_text){ "\xC4\xA0""a\xC4\x8A", 5 };    /* letters of space and newline */
    v.tokens[n + 1] = (struct tokenizer_text){ "a b", 3 };                /* no letters: an added token */
    v.types[n] = v.types[n + 1] = TOKENIZER_NORMAL;
    v.vocab.n_tokens = v.vocab.n_types = n + 2;
    struct tokenizer *tokenizer = create(t, &v);
    for (int b = 0; b < 256; b++) {
        struct tokenizer_text piece = tokenizer_piece(tokenizer, b);
        CHECK(t, piece.n_bytes == 1 && (unsigned char)piece.bytes[0] == b, "byte %d", b);
    }
    check_piece(t, tokenizer, (int32_t)n, " a\n");
    check_piece(t, tokenizer, (int32_t)n + 1, "a b");
    check_piece(t, tokenizer, vocab_tiny_id(&v, "<|im_end|>"), "<|im_end|>");
    check_piece(t, tokenizer, -1, "");
    check_piece(t, tokenizer, (int32_t)n + 2, "");
    tokenizer_destroy(tokenizer);
    vocab_tiny_finish(&v);

    vocab_tiny_spm(&v, 1, 100);
    tokenizer = create(t, &v);
    check_piece(t, tokenizer, vocab_tiny_id(&v, "\xE2\x96\x81"), " ");
    check_piece(t, tokenizer, 3 + 0x41, "A");
    check_piece(t, tokenizer, 1, "<s>");
    tokenizer_destroy(tokenizer);
    vocab_tiny_finish(&v);
}

TEST(tokenizer_stream_holds_back_half_a_character)
{
    struct vocab_tiny v;
    vocab_tiny_bpe(&v, 1, 0 + 10);
    struct tokenizer *tokenizer = create(t, &v);
    struct tokenizer_stream s;
    struct buf out = { 0 };
    tokenizer_stream_init(&s, tokenizer, true, false);
    static const unsigned char text[] = { 'a', 0xF0, 0x9F, 0x98, 0x80, 0xE4, 0xBD, 'b', 0xFF, 0xC3 };
    static const size_t after[] = { 1, 1, 1, 1, 5, 5, 5, 8, 9, 9 };    /* bytes out after each token */
    for (size_t i = 0; i < sizeof text; i++) {
        CHECK(t, tokenizer_stream_push(&s, tokenizer, text[i], &out));
        CHECK_INT(t, out.n_bytes, after[i], "after byte %zu", i);
        CHECK_INT(t, strlen(buf_text(&out)), out.n_bytes, "the NUL follows");
    }
    CHECK(t, tokenizer_stream_flush(&s, &out));
    CHECK_INT(t, out.n_bytes, sizeof text);
    CHECK_BYTES(t, out.data, text, sizeof text);
    CHECK(t, tokenizer_stream_flush(&s, &out));
    CHECK_INT(t, out.n_bytes, sizeof text, "a second flush has nothing");
    buf_finish(&out);
    tokenizer_destroy(tokenizer);
    vocab_tiny_finish(&v);
}

static void check_stream(struct test *t, const struct tokenizer *tokenizer, bool at_start, bool show,
                         const int32_t *ids, size_t n, const char *want)
{
    struct tokenizer_stream s;
    struct buf out = { 0 };
    tokenizer_stream_init(&s, tokenizer, at_start, show);
    for (size_t i = 0; i < n; i++)
        CHECK(t, tokenizer_stream_push(&s, tokenizer, ids[i], &out));
    CHECK(t, tokenizer_stream_flush(&s, &out));
    CHECK_TEXT(t, buf_text(&out), want);
    buf_finish(&out);
}

TEST(tokenizer_stream_drops_the_first_space_of_spm_only)
{
    struct vocab_tiny v;
    vocab_tiny_spm(&v, 1, 14);
    struct tokenizer *tokenizer = create(t, &v);
    int32_t space = vocab_tiny_id(&v, "\xE2\x96\x81"), a = vocab_tiny_id(&v, "a");
    const int32_t ids[] = { 1, space, space, a, space, 2 };
    check_stream(t, tokenizer, true, false, ids, 6, " a ");
    check_stream(t, tokenizer, false, false, ids, 6, "  a ");
    check_stream(t, tokenizer, true, true, ids, 6, "<s> a </s>");
    tokenizer_destroy(tokenizer);
    v.vocab.add_space_prefix = TOKENIZER_NO;
    tokenizer = create(t, &v);
    check_stream(t, tokenizer, true, false, ids, 6, "  a ");
    tokenizer_destroy(tokenizer);
    vocab_tiny_finish(&v);
}

TEST(tokenizer_stream_takes_ids_of_no_token)
{
    struct vocab_tiny v;
    vocab_tiny_bpe(&v, 1, 10);
    struct tokenizer *tokenizer = create(t, &v);
    const int32_t ids[] = { -1, 'a', INT32_MAX, INT32_MIN, 'b' };
    check_stream(t, tokenizer, true, true, ids, 5, "ab");
    tokenizer_destroy(tokenizer);
    vocab_tiny_finish(&v);
}
