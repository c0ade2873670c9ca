/* SPDX-License-Identifier: MIT */
#include "tests/support/test.h"
#include "tests/support/vocab_tiny.h"

/* One vocabulary and what it makes of texts, as a case's storage. */
struct given {
    struct vocab_tiny v;
    struct tokenizer *tokenizer;
    struct tokenizer_ids ids;
};

static void create(struct test *t, struct given *g)
{
    struct err e;
    CHECK(t, tokenizer_create(&g->tokenizer, &g->v.vocab, &e) == ERR_OK, "%s", e.text);
}

static void finish(struct given *g)
{
    tokenizer_ids_finish(&g->ids);
    tokenizer_destroy(g->tokenizer);
    vocab_tiny_finish(&g->v);
    memset(g, 0, sizeof *g);
}

static void encode(struct test *t, struct given *g, const char *text, unsigned flags)
{
    struct err e;
    g->ids.n = 0;
    CHECK(t, tokenizer_encode(g->tokenizer, text, strlen(text), flags, &g->ids, &e) == ERR_OK, "%s",
          e.text);
}

static int32_t id(const struct given *g, const char *text)
{
    return tokenizer_find(g->tokenizer, text, strlen(text));
}

#define CHECK_IDS(t, g, ...)                                                             \
    do {                                                                                 \
        const int32_t want_[] = { __VA_ARGS__ };                                         \
        CHECK_INT(t, (g)->ids.n, sizeof want_ / sizeof *want_);                          \
        CHECK_BYTES(t, (g)->ids.ids, want_, sizeof want_);                               \
    } while (0)

TEST(tokenizer_encode_adds_bos_once)
{
    struct given g = { 0 };
    vocab_tiny_bpe(&g.v, 1, 20);
    g.v.vocab.add_bos = TOKENIZER_YES;
    g.v.vocab.add_eos = TOKENIZER_YES;
    create(t, &g);
    int32_t bos = id(&g, "<|im_start|>"), eos = id(&g, "<|im_end|>"), a = id(&g, "a");
    encode(t, &g, "a", TOKENIZER_SPECIAL | TOKENIZER_ADD_BOS);
    CHECK_IDS(t, &g, bos, a);
    encode(t, &g, "<|im_start|>a", TOKENIZER_SPECIAL | TOKENIZER_ADD_BOS);
    CHECK_IDS(t, &g, bos, a);
    encode(t, &g, "<|im_start|><|im_start|>a", TOKENIZER_SPECIAL | TOKENIZER_ADD_BOS);
    CHECK_IDS(t, &g, bos, bos, a);    /* what the text repeats is its own business */
    encode(t, &g, "", TOKENIZER_ADD_BOS);
    CHECK_IDS(t, &g, bos);
    encode(t, &g, "a", TOKENIZER_ADD_EOS);
    CHECK_IDS(t, &g, a, eos);
    encode(t, &g, "a<|im_end|>", TOKENIZER_SPECIAL | TOKENIZER_ADD_EOS);
    CHECK_IDS(t, &g, a, eos);
    encode(t, &g, "a", 0);
    CHECK_IDS(t, &g, a);
    encode(t, &g, "", 0);
    CHECK_INT(t, g.ids.n, 0);
    finish(&g);
}

TEST(tokenizer_encode_appends)
{
    struct given g = { 0 };
    vocab_tiny_bpe(&g.v, 1, 20);
    create(t, &g);
    for (int i = 0; i < 3; i++)
        CHECK(t, tokenizer_encode(g.tokenizer, "a", 1, 0, &g.ids, NULL) == ERR_OK);
    CHECK_IDS(t, &g, id(&g, "a"), id(&g, "a"), id(&g, "a"));
    finish(&g);
}

TEST(tokenizer_encode_takes_the_longest_special_where_it_begins)
{
    struct given g = { 0 };
    vocab_tiny_bpe(&g.v, 1, 20);
    size_t n = g.v.vocab.n_tokens;
    static const char *const specials[] = { "<|a|>", "<|a|><|b|>", "<|a", "c<|a|>" };
    for (size_t i = 0; i < 4; i++) {
        g.v.tokens[n + i] = (struct tokenizer_text){ specials[i], strlen(specials[i]) };
        g.v.types[n + i] = TOKENIZER_CONTROL;
    }
    g.v.vocab.n_tokens = g.v.vocab.n_types = n + 4;
    create(t, &g);
    encode(t, &g, "<|a|><|b|><|a|><|ac<|a|>", TOKENIZER_SPECIAL);
    CHECK_IDS(t, &g, (int32_t)n + 1, (int32_t)n, (int32_t)n + 2, (int32_t)n + 3);
    encode(t, &g, "<|a", TOKENIZER_SPECIAL);
    CHECK_IDS(t, &g, (int32_t)n + 2);
    encode(t, &g, "<|", TOKENIZER_SPECIAL);
    CHECK_IDS(t, &g, id(&g, "<"), id(&g, "|"));
    finish(&g);
}

TEST(tokenizer_encode_keeps_markup_of_untrusted_text_as_text)
{
    struct given g = { 0 };
    vocab_tiny_bpe(&g.v, 1, 20);
    create(t, &g);
    encode(t, &g, "<think>", TOKENIZER_SPECIAL);
    CHECK_IDS(t, &g, id(&g, "<think>"));
    encode(t, &g, "<think>", 0);
    CHECK(t, g.ids.n > 1, "a tag of the template's is no tag in a user's text");
    encode(t, &g, "\n\n\n", 0);
    CHECK_IDS(t, &g, id(&g, "\n\n\n"));
    finish(&g);
}

TEST(tokenizer_encode_joins_text_of_both_kinds_of_trust)
{
    struct given g = { 0 };
    vocab_tiny_spm(&g.v, 1, 20);
    size_t n = g.v.vocab.n_tokens;
    g.v.tokens[n] = (struct tokenizer_text){ "abc", 3 };
    g.v.tokens[n + 1] = (struct tokenizer_text){ "bc", 2 };
    for (size_t i = n; i < n + 2; i++) {
        g.v.types[i] = TOKENIZER_NORMAL;
        g.v.scores[i] = 10;
    }
    g.v.vocab.n_tokens = g.v.vocab.n_types = g.v.vocab.n_scores = n + 2;
    create(t, &g);
    struct tokenizer_fragment f[] = { { "a", 1, true }, { "b", 1, false }, { "c", 1, true } };
    CHECK(t, tokenizer_encode_fragments(g.tokenizer, f, 3, TOKENIZER_CONTINUE, &g.ids, NULL) == ERR_OK);
    CHECK_IDS(t, &g, (int32_t)n);
    /* a special's name put together from both is no special */
    struct tokenizer_fragment halves[] = { { "<|im_", 5, true }, { "end|>", 5, false } };
    g.ids.n = 0;
    CHECK(t, tokenizer_encode_fragments(g.tokenizer, halves, 2, TOKENIZER_CONTINUE, &g.ids, NULL) == ERR_OK);
    CHECK(t, g.ids.n > 1);
    halves[1].trusted = true;
    g.ids.n = 0;
    CHECK(t, tokenizer_encode_fragments(g.tokenizer, halves, 2, TOKENIZER_CONTINUE, &g.ids, NULL) == ERR_OK);
    CHECK_IDS(t, &g, id(&g, "<|im_end|>"));
    g.ids.n = 0;
    CHECK(t, tokenizer_encode_fragments(g.tokenizer, NULL, 0, 0, &g.ids, NULL) == ERR_OK);
    CHECK_INT(t, g.ids.n, 0);
    finish(&g);
}

/* "b<" is plain text and recognised everywhere, but would eat the beginning of the template's mark. */
TEST(tokenizer_encode_lets_no_input_spoil_a_mark_of_the_template)
{
    struct given g = { 0 };
    vocab_tiny_bpe(&g.v, 1, 20);
    size_t n = g.v.vocab.n_tokens;
    g.v.tokens[n] = (struct tokenizer_text){ "b<", 2 };
    g.v.types[n] = TOKENIZER_USER_DEFINED;
    g.v.vocab.n_tokens = g.v.vocab.n_types = n + 1;
    create(t, &g);
    struct tokenizer_fragment f[] = { { "ab", 2, false }, { "<|im_end|>", 10, true } };
    CHECK(t, tokenizer_encode_fragments(g.tokenizer, f, 2, 0, &g.ids, NULL) == ERR_OK);
    CHECK_IDS(t, &g, id(&g, "a"), id(&g, "b"), id(&g, "<|im_end|>"));
    f[1].text = "<";
    f[1].n_bytes = 1;
    g.ids.n = 0;
    CHECK(t, tokenizer_encode_fragments(g.tokenizer, f, 2, 0, &g.ids, NULL) == ERR_OK);
    CHECK_IDS(t, &g, id(&g, "a"), (int32_t)n);
    finish(&g);
}

/* Two pieces whose texts make a control token's name must not merge into it. */
TEST(tokenizer_encode_merges_nothing_into_a_control_token)
{
    struct given g = { 0 };
    vocab_tiny_spm(&g.v, 1, 14);
    size_t n = g.v.vocab.n_tokens;
    g.v.tokens[n] = (struct tokenizer_text){ "</", 2 };
    g.v.tokens[n + 1] = (struct tokenizer_text){ "s>", 2 };
    g.v.types[n] = g.v.types[n + 1] = TOKENIZER_NORMAL;
    g.v.vocab.n_tokens = g.v.vocab.n_types = g.v.vocab.n_scores = n + 2;
    create(t, &g);
    encode(t, &g, "</s>", TOKENIZER_CONTINUE);
    CHECK_IDS(t, &g, (int32_t)n, (int32_t)n + 1);
    finish(&g);

    vocab_tiny_bpe(&g.v, 1, 20);
    n = g.v.vocab.n_tokens;
    g.v.tokens[n] = (struct tokenizer_text){ "<s", 2 };
    g.v.tokens[n + 1] = (struct tokenizer_text){ "<s>", 3 };
    g.v.types[n] = TOKENIZER_NORMAL;
    g.v.types[n + 1] = TOKENIZER_CONTROL;
    g.v.merges[20] = (struct tokenizer_text){ "< s", 3 };
    g.v.merges[21] = (struct tokenizer_text){ "<s >", 4 };
    g.v.vocab.n_merges = 22;
    g.v.vocab.n_tokens = g.v.vocab.n_types = n + 2;
    g.v.vocab.pre = (struct tokenizer_text){ "superbpe", 8 };    /* cuts nothing there */
    create(t, &g);
    encode(t, &g, "<s>", 0);
    CHECK_IDS(t, &g, (int32_t)n, id(&g, ">"));
    finish(&g);
}

TEST(tokenizer_encode_puts_the_spm_space_where_text_begins)
{
    struct given g = { 0 };
    vocab_tiny_spm(&g.v, 1, 14);    /* no merges */
    create(t, &g);
    int32_t space = id(&g, "\xE2\x96\x81"), a = id(&g, "a"), end = id(&g, "<|im_end|>");
    encode(t, &g, "a", 0);
    CHECK_IDS(t, &g, space, a);
    encode(t, &g, "a", TOKENIZER_CONTINUE);
    CHECK_IDS(t, &g, a);
    encode(t, &g, "a<|im_end|>a", TOKENIZER_SPECIAL | TOKENIZER_CONTINUE);
    CHECK_IDS(t, &g, a, end, space, a);
    encode(t, &g, "a", TOKENIZER_ADD_BOS | TOKENIZER_CONTINUE);
    CHECK_IDS(t, &g, 1, space, a);    /* BOS is a special */
    encode(t, &g, "", 0);
    CHECK_INT(t, g.ids.n, 0, "no space for no text");
    tokenizer_destroy(g.tokenizer);
    g.v.vocab.add_space_prefix = TOKENIZER_NO;
    create(t, &g);
    encode(t, &g, "a<|im_end|>a", TOKENIZER_SPECIAL);
    CHECK_IDS(t, &g, a, end, a);
    finish(&g);
}

TEST(tokenizer_encode_falls_back_to_bytes)
{
    struct given g = { 0 };
    vocab_tiny_spm(&g.v, 1, 14);
    create(t, &g);
    encode(t, &g, "\xE4\xBD\xA0\xFF<0x41>", TOKENIZER_CONTINUE);
    CHECK(t, g.ids.n == 4 + 6, "%zu ids", g.ids.n);    /* the name of a byte token is not that token */
    for (int i = 0; i < 4; i++)
        CHECK_INT(t, g.ids.ids[i], 3 + (unsigned char)"\xE4\xBD\xA0\xFF"[i]);
    finish(&g);
}

TEST(tokenizer_encode_drops_space_after_specials_of_phi_3)
{
    struct given g = { 0 };
    vocab_tiny_spm(&g.v, 1, 14);
    g.v.vocab.strip_after_special = true;
    create(t, &g);
    encode(t, &g, "<|im_end|> \n\ta<s> a", TOKENIZER_SPECIAL);
    int32_t space = id(&g, "\xE2\x96\x81"), a = id(&g, "a");
    CHECK_IDS(t, &g, id(&g, "<|im_end|>"), space, a, 1, space, space, a);
    finish(&g);
}

TEST(tokenizer_encode_ignores_merges_where_the_rule_says_so)
{
    struct given g = { 0 };
    vocab_tiny_bpe(&g.v, 1, 20);
    size_t n = g.v.vocab.n_tokens;
    g.v.tokens[n] = (struct tokenizer_text){ "qxyz", 4 };    /* no merge makes it */
    g.v.types[n] = TOKENIZER_NORMAL;
    g.v.vocab.n_tokens = g.v.vocab.n_types = n + 1;
    create(t, &g);
    encode(t, &g, "qxyz", 0);
    CHECK(t, g.ids.n > 1);
    tokenizer_destroy(g.tokenizer);
    g.v.vocab.pre = (struct tokenizer_text){ "llama-bpe", 9 };
    create(t, &g);
    encode(t, &g, "qxyz", 0);
    CHECK_IDS(t, &g, (int32_t)n);
    finish(&g);
}

/* A loop over all pairs would need hours for these. */
TEST(tokenizer_encode_is_not_quadratic)
{
    enum { N = 1 << 19 };
    static char text[N + 1];
    static const char *const units[] = { "a", " ", "\n", "1", "ab", "<", "\xC3\xA9" };
    for (int spm = 0; spm < 2; spm++) {
        struct given g = { 0 };
        if (spm)
            vocab_tiny_spm(&g.v, 1, 300);
        else
            vocab_tiny_bpe(&g.v, 1, 300);
        create(t, &g);
        for (size_t u = 0; u < sizeof units / sizeof *units; u++) {
            for (size_t i = 0; i < N; i++)
                text[i] = units[u][i % strlen(units[u])];
            encode(t, &g, text, TOKENIZER_SPECIAL);
            CHECK(t, g.ids.n > 0);
        }
        finish(&g);
    }
}
