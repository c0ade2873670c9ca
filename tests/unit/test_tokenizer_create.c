/* SPDX-License-Identifier: MIT */
#include <math.h>

#include "tests/support/test.h"
#include "tests/support/vocab_tiny.h"

static void refuse(struct test *t, const struct vocab_tiny *v, enum err_code code, const char *part)
{
    struct tokenizer *tokenizer = (struct tokenizer *)1;
    struct err e;
    enum err_code rc = tokenizer_create(&tokenizer, &v->vocab, &e);
    CHECK_INT(t, rc, code, "wanted: %s", part);
    CHECK(t, !tokenizer);
    CHECK(t, strstr(e.text, part), "'%s' does not say '%s'", e.text, part);
}

static struct tokenizer *accept(struct test *t, const struct vocab_tiny *v)
{
    struct tokenizer *tokenizer;
    struct err e;
    CHECK(t, tokenizer_create(&tokenizer, &v->vocab, &e) == ERR_OK, "%s", e.text);
    return tokenizer;
}

static struct tokenizer_text text_of(const char *text)
{
    return (struct tokenizer_text){ text, strlen(text) };
}

TEST(tokenizer_create_refuses_counts_that_differ)
{
    struct vocab_tiny v;
    vocab_tiny_spm(&v, 1, 40);
    v.vocab.n_scores--;
    refuse(t, &v, ERR_FORMAT, "scores for");
    v.vocab.n_scores += 2;
    refuse(t, &v, ERR_FORMAT, "scores for");
    v.vocab.n_scores--;
    v.vocab.n_types = 3;
    refuse(t, &v, ERR_FORMAT, "3 token types");
    v.vocab.n_tokens = 0;
    refuse(t, &v, ERR_FORMAT, "no tokens");
    v.vocab.n_tokens = (size_t)1 << 40;
    refuse(t, &v, ERR_UNSUPPORTED, "at most");
    vocab_tiny_finish(&v);
}

TEST(tokenizer_create_refuses_ids_outside_the_vocabulary)
{
    struct vocab_tiny v;
    vocab_tiny_bpe(&v, 1, 40);
    const struct {
        int64_t *id;
        const char *name;
    } ids[] = {
        { &v.vocab.bos, "BOS token is" }, { &v.vocab.eos, "EOS token is" },
        { &v.vocab.eot, "EOT token is" }, { &v.vocab.eom, "EOM token is" },
        { &v.vocab.unk, "unknown token is" }, { &v.vocab.pad, "padding token is" },
    };
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        int64_t good = *ids[i].id;
        const int64_t bad[] = { (int64_t)v.vocab.n_tokens, -2, INT64_MAX, INT64_MIN, 0xFFFFFFFF };
        for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
            *ids[i].id = bad[k];
            refuse(t, &v, ERR_FORMAT, ids[i].name);
        }
        *ids[i].id = good;
    }
    tokenizer_destroy(accept(t, &v));
    vocab_tiny_finish(&v);
}

TEST(tokenizer_create_refuses_merges_of_nothing)
{
    static const char *const bad[] = { "a", "", " ", "a ", " b", "ab", "a zzz", "zzz a", "f zQ" };
    struct vocab_tiny v;
    vocab_tiny_bpe(&v, 1, 40);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct tokenizer_text good = v.merges[17];
        v.merges[17] = text_of(bad[i]);
        refuse(t, &v, ERR_FORMAT, "merge 17");
        v.merges[17] = good;
    }
    v.vocab.n_merges = 0;
    refuse(t, &v, ERR_FORMAT, "no merges");
    vocab_tiny_finish(&v);
}

TEST(tokenizer_create_refuses_bad_byte_tokens_types_and_scores)
{
    static const char *const bad[] = { "<0x4>", "<0x411>", "<0xG1>", "<0X41>", "A", "" };
    struct vocab_tiny v;
    vocab_tiny_spm(&v, 1, 40);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct tokenizer_text good = v.tokens[70];
        v.tokens[70] = text_of(bad[i]);
        refuse(t, &v, ERR_FORMAT, "token 70: a byte token");
        v.tokens[70] = good;
    }
    v.types[300] = 7;
    refuse(t, &v, ERR_FORMAT, "token 300: type 7");
    v.types[300] = -1;
    refuse(t, &v, ERR_FORMAT, "token 300: type -1");
    v.types[300] = TOKENIZER_NORMAL;
    v.scores[300] = NAN;
    refuse(t, &v, ERR_FORMAT, "token 300: its score");
    v.scores[300] = -INFINITY;
    refuse(t, &v, ERR_FORMAT, "token 300: its score");
    vocab_tiny_finish(&v);
}

TEST(tokenizer_create_wants_bytes_or_an_unknown_token)
{
    struct vocab_tiny v;
    vocab_tiny_spm(&v, 1, 40);
    for (int b = 0; b < 256; b++)
        v.types[3 + b] = TOKENIZER_UNUSED;
    struct tokenizer *tokenizer = accept(t, &v);
    CHECK_INT(t, tokenizer_unk(tokenizer), 0);
    struct tokenizer_ids ids = { 0 };
    CHECK(t, tokenizer_encode(tokenizer, "\xE4\xBD\xA0", 3, TOKENIZER_CONTINUE, &ids, NULL) == ERR_OK);
    CHECK_INT(t, ids.n, 1, "one unknown for a character, not for a byte");
    CHECK_INT(t, ids.ids[0], 0);
    tokenizer_ids_finish(&ids);
    tokenizer_destroy(tokenizer);
    v.types[0] = TOKENIZER_NORMAL;
    refuse(t, &v, ERR_FORMAT, "unknown token");
    vocab_tiny_finish(&v);
}

TEST(tokenizer_create_refuses_other_models_and_rules_by_name)
{
    struct vocab_tiny v;
    vocab_tiny_bpe(&v, 1, 40);
    v.vocab.pre = text_of("kimi-k2");
    refuse(t, &v, ERR_UNSUPPORTED, "'kimi-k2'");
    v.vocab.pre = text_of("\033[31mred");
    refuse(t, &v, ERR_UNSUPPORTED, "'?[31mred'");
    v.vocab.pre = (struct tokenizer_text){ NULL, 0 };
    refuse(t, &v, ERR_UNSUPPORTED, "tokenizer.ggml.pre is missing");
    v.vocab.model = text_of("rwkv");
    refuse(t, &v, ERR_UNSUPPORTED, "'rwkv'");
    v.vocab.model = (struct tokenizer_text){ NULL, 0 };
    refuse(t, &v, ERR_UNSUPPORTED, "tokenizer.ggml.model");
    vocab_tiny_finish(&v);
}

TEST(tokenizer_create_guesses_a_missing_rule_only_by_sure_signs)
{
    static struct tokenizer_text tokens[50257];
    struct vocab_tiny v;
    vocab_tiny_bpe(&v, 1, 40);
    for (size_t i = 0; i < 50257; i++)
        tokens[i] = i < v.vocab.n_tokens ? v.tokens[i] : (struct tokenizer_text){ "", 0 };
    tokens[50256] = text_of("<|endoftext|>");
    v.vocab.tokens = tokens;
    v.vocab.n_tokens = 50257;
    v.vocab.types = NULL;
    v.vocab.pre = (struct tokenizer_text){ NULL, 0 };
    struct tokenizer *tokenizer = accept(t, &v);
    CHECK(t, tokenizer_warning(tokenizer) && strstr(tokenizer_warning(tokenizer), "guessed"));
    tokenizer_destroy(tokenizer);
    v.vocab.pre = text_of("gpt-2");
    tokenizer = accept(t, &v);
    CHECK(t, !tokenizer_warning(tokenizer));
    tokenizer_destroy(tokenizer);
    vocab_tiny_finish(&v);
}

TEST(tokenizer_create_refuses_tokens_without_measure)
{
    static char long_text[70000];
    struct vocab_tiny v;
    memset(long_text, 'a', sizeof long_text);
    vocab_tiny_bpe(&v, 1, 40);
    v.tokens[100] = (struct tokenizer_text){ long_text, sizeof long_text };
    refuse(t, &v, ERR_UNSUPPORTED, "token 100: 70000 bytes");
    v.tokens[100] = text_of("unused");
    size_t special = (size_t)vocab_tiny_id(&v, "<|im_end|>");
    v.tokens[special] = (struct tokenizer_text){ long_text, 513 };
    refuse(t, &v, ERR_UNSUPPORTED, "513 bytes");
    vocab_tiny_finish(&v);
}

/* ---- what is told by names ---- */

static int32_t find(const struct tokenizer *tokenizer, const char *text)
{
    return tokenizer_find(tokenizer, text, strlen(text));
}

/* One more token. */
static void add(struct vocab_tiny *v, const char *text, int32_t type)
{
    size_t id = v->vocab.n_tokens++;
    v->tokens[id] = text_of(text);
    v->types[id] = type;
    v->vocab.n_types = v->vocab.n_tokens;
}

TEST(tokenizer_create_knows_what_ends_generation)
{
    struct vocab_tiny v;
    vocab_tiny_bpe(&v, 1, 40);
    v.vocab.eos = TOKENIZER_NONE;
    add(&v, "<|endoftext|>", TOKENIZER_NORMAL);
    add(&v, "<end_of_turn>", TOKENIZER_USER_DEFINED);
    add(&v, "</s>", TOKENIZER_NORMAL);
    add(&v, "<|end|>", TOKENIZER_CONTROL);
    struct tokenizer *tokenizer = accept(t, &v);
    static const char *const ends[] = { "<|im_end|>", "<|endoftext|>", "<end_of_turn>", "</s>", "<|end|>" };
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        CHECK(t, tokenizer_is_eog(tokenizer, find(tokenizer, ends[i])), "%s", ends[i]);
        CHECK_INT(t, tokenizer_type_of(tokenizer, find(tokenizer, ends[i])), TOKENIZER_CONTROL, "%s",
                  ends[i]);
    }
    CHECK_INT(t, tokenizer_eot(tokenizer), find(tokenizer, "<|im_end|>"));
    CHECK(t, !tokenizer_is_eog(tokenizer, find(tokenizer, "<|im_start|>")));
    CHECK(t, !tokenizer_is_eog(tokenizer, find(tokenizer, "a")));
    CHECK(t, !tokenizer_is_eog(tokenizer, -1) && !tokenizer_is_eog(tokenizer, INT32_MAX));
    tokenizer_destroy(tokenizer);
    vocab_tiny_finish(&v);
}

TEST(tokenizer_create_lets_harmony_go_on_after_end)
{
    struct vocab_tiny v;
    vocab_tiny_bpe(&v, 1, 40);
    static const char *const names[] = { "<|end|>", "<|return|>", "<|call|>", "<|channel|>", "<|message|>" };
    for (size_t i = 0; i < 5; i++)
        add(&v, names[i], TOKENIZER_CONTROL);
    struct tokenizer *tokenizer = accept(t, &v);
    CHECK(t, !tokenizer_is_eog(tokenizer, find(tokenizer, "<|end|>")));
    CHECK(t, tokenizer_is_eog(tokenizer, find(tokenizer, "<|return|>")));
    CHECK(t, tokenizer_is_eog(tokenizer, find(tokenizer, "<|call|>")));
    struct tokenizer_stream s;
    struct buf out = { 0 };
    tokenizer_stream_init(&s, tokenizer, true, false);
    CHECK(t, tokenizer_stream_push(&s, tokenizer, find(tokenizer, "<|channel|>"), &out));
    CHECK(t, tokenizer_stream_push(&s, tokenizer, find(tokenizer, "<|return|>"), &out));
    CHECK_TEXT(t, buf_text(&out), "<|channel|>", "the channel parser has to see it, and it alone");
    buf_finish(&out);
    tokenizer_destroy(tokenizer);
    vocab_tiny_finish(&v);
}

TEST(tokenizer_create_leaves_the_ordinary_s_of_gemma_4)
{
    struct vocab_tiny v;
    vocab_tiny_bpe(&v, 1, 40);
    add(&v, "</s>", TOKENIZER_NORMAL);
    add(&v, "<|tool_response>", TOKENIZER_CONTROL);
    struct tokenizer *tokenizer = accept(t, &v);
    CHECK(t, !tokenizer_is_eog(tokenizer, find(tokenizer, "</s>")));
    CHECK_INT(t, tokenizer_type_of(tokenizer, find(tokenizer, "</s>")), TOKENIZER_NORMAL);
    CHECK(t, tokenizer_is_eog(tokenizer, find(tokenizer, "<|tool_response>")));
    tokenizer_destroy(tokenizer);
    vocab_tiny_finish(&v);
}

TEST(tokenizer_create_gives_spm_its_usual_ids)
{
    struct vocab_tiny v;
    vocab_tiny_spm(&v, 1, 40);
    struct tokenizer *tokenizer = accept(t, &v);
    CHECK_INT(t, tokenizer_bos(tokenizer), 1);
    CHECK_INT(t, tokenizer_eos(tokenizer), 2);
    CHECK_INT(t, tokenizer_unk(tokenizer), 0);
    CHECK_INT(t, tokenizer_pad(tokenizer), TOKENIZER_NONE);
    CHECK(t, tokenizer_adds_bos(tokenizer));
    tokenizer_destroy(tokenizer);
    vocab_tiny_finish(&v);
    tokenizer_destroy(NULL);
}
