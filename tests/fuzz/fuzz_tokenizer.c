/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "tests/support/vocab_tiny.h"

/* The first byte chooses: a vocabulary made of the input, which creation has to refuse or to work with,
 * or a sound vocabulary and the input as text, whose laws are checked. */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

struct reader {
    const uint8_t *at, *end;
};

static int next(struct reader *r)
{
    return r->at < r->end ? *r->at++ : 0;
}

static struct tokenizer_text next_text(struct reader *r)
{
    size_t n = (size_t)next(r) & 15, left = (size_t)(r->end - r->at);
    struct tokenizer_text text = { (const char *)r->at, n < left ? n : left };
    r->at += text.n_bytes;
    return text;
}

static void need(bool law)
{
    if (!law)
        abort();
}

static void decode(const struct tokenizer *t, const struct tokenizer_ids *ids, struct buf *out)
{
    struct tokenizer_stream s;
    tokenizer_stream_init(&s, t, true, true);
    for (size_t i = 0; i < ids->n; i++) {
        need(ids->ids[i] >= 0 && ids->ids[i] < tokenizer_n_tokens(t));
        need(tokenizer_stream_push(&s, t, ids->ids[i], out));
    }
    need(tokenizer_stream_flush(&s, out));
}

static void encode(const struct tokenizer *t, const char *text, size_t n, unsigned flags, bool same)
{
    struct tokenizer_ids ids = { 0 };
    struct buf out = { 0 };
    need(tokenizer_encode(t, text, n, flags, &ids, NULL) == ERR_OK);
    decode(t, &ids, &out);
    need(!same || (out.n_bytes == n && (n == 0 || memcmp(out.data, text, n) == 0)));
    buf_finish(&out);
    tokenizer_ids_finish(&ids);
}

static int64_t next_id(struct reader *r)
{
    return (int64_t)next(r) - 1;
}

static void hostile_vocabulary(struct reader *r)
{
    static const char *const models[] = { "llama", "gpt2", "gemma4", "other" };
    static const char *const pres[] = { "qwen2", "llama-bpe", "deepseek-llm", "gemma4", "", "default" };
    struct vocab_tiny v = { 0 };
    tokenizer_vocab_init(&v.vocab);
    const char *model = models[next(r) % 4], *pre = pres[next(r) % 6];
    v.vocab.model = (struct tokenizer_text){ model, strlen(model) };
    v.vocab.pre = (struct tokenizer_text){ pre, strlen(pre) };
    v.vocab.tokens = v.tokens;
    v.vocab.merges = v.merges;
    int flags = next(r);
    v.vocab.add_bos = flags & 1 ? TOKENIZER_YES : TOKENIZER_SILENT;
    v.vocab.add_space_prefix = flags & 2 ? TOKENIZER_NO : TOKENIZER_SILENT;
    v.vocab.strip_after_special = flags & 4;
    v.vocab.bos = next_id(r);
    v.vocab.eos = next_id(r);
    v.vocab.unk = next_id(r);
    size_t n_tokens = (size_t)next(r), n_merges = (size_t)next(r) & 63;
    for (; v.vocab.n_tokens < n_tokens; v.vocab.n_tokens++) {
        v.types[v.vocab.n_tokens] = next(r) & 7;
        v.scores[v.vocab.n_tokens] = (float)(next(r) & 7);
        v.tokens[v.vocab.n_tokens] = next_text(r);
    }
    for (; v.vocab.n_merges < n_merges; v.vocab.n_merges++)
        v.merges[v.vocab.n_merges] = next_text(r);
    if (flags & 8) {
        v.vocab.types = v.types;
        v.vocab.n_types = n_tokens + (flags & 16 ? 1 : 0);
    }
    if (flags & 32) {
        v.vocab.scores = v.scores;
        v.vocab.n_scores = n_tokens;
    }
    struct tokenizer *t;
    struct err e;
    if (tokenizer_create(&t, &v.vocab, &e) != ERR_OK) {
        need(!t && e.text[0]);
        return;
    }
    encode(t, (const char *)r->at, (size_t)(r->end - r->at), (unsigned)flags >> 4, false);
    tokenizer_destroy(t);
}

static void hostile_text(struct reader *r, bool spm)
{
    static const char *const pres[] = {
        "qwen2", "gpt-2", "smollm", "gpt-4o", "tekken", "tiny_aya", "deepseek-llm", "deepseek-coder",
        "deepseek-v3", "falcon", "default", "qwen35", "superbpe", "afmoe", "llama-bpe", "seed-coder",
    };
    struct vocab_tiny v;
    if (spm)
        vocab_tiny_spm(&v, 1, 60);
    else
        vocab_tiny_bpe(&v, 1, 60);
    const char *pre = pres[next(r) & 15];
    if (!spm)
        v.vocab.pre = (struct tokenizer_text){ pre, strlen(pre) };
    struct tokenizer *t;
    need(tokenizer_create(&t, &v.vocab, NULL) == ERR_OK);
    const char *text = (const char *)r->at;
    size_t n = (size_t)(r->end - r->at);
    encode(t, text, n, 0, !spm);
    encode(t, text, n, TOKENIZER_SPECIAL | TOKENIZER_ADD_EOS, false);

    struct tokenizer_fragment f[] = { { text, n / 3, true }, { text + n / 3, n - n / 3, false } };
    struct tokenizer_ids ids = { 0 };
    need(tokenizer_encode_fragments(t, f, 2, 0, &ids, NULL) == ERR_OK);
    tokenizer_ids_finish(&ids);
    f[0].trusted = false;
    need(tokenizer_encode_fragments(t, f, 2, 0, &ids, NULL) == ERR_OK);
    for (size_t i = 0; i < ids.n; i++)
        need(tokenizer_type_of(t, ids.ids[i]) != TOKENIZER_CONTROL);
    tokenizer_ids_finish(&ids);
    tokenizer_destroy(t);
    vocab_tiny_finish(&v);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    struct reader r = { data, data + n_bytes };
    int kind = next(&r);
    if (kind & 1)
        hostile_vocabulary(&r);
    else
        hostile_text(&r, kind & 2);
    return 0;
}
