/* SPDX-License-Identifier: MIT */
#include "engine/tokenizer/tokenizer.h"

#include <assert.h>
#include <stdlib.h>

#include "engine/tokenizer/tokenizer_internal.h"

void tokenizer_vocab_init(struct tokenizer_vocab *v)
{
    *v = (struct tokenizer_vocab){ .bos = TOKENIZER_NONE, .eos = TOKENIZER_NONE, .eot = TOKENIZER_NONE,
                                   .eom = TOKENIZER_NONE, .unk = TOKENIZER_NONE,
                                   .pad = TOKENIZER_NONE };
}

static bool is_name(struct tokenizer_text text, const char *name)
{
    return text.n_bytes == strlen(name) && memcmp(text.bytes, name, text.n_bytes) == 0;
}

/* ---- checks ---- */

static enum err_code check_count(const char *what, const void *array, size_t n, size_t n_tokens,
                                 struct err *e)
{
    if (array && n != n_tokens)
        return err_set(e, ERR_FORMAT, "vocabulary: %zu %s for %zu tokens, one for each wanted", n, what,
                       n_tokens);
    return ERR_OK;
}

static enum err_code check_sizes(const struct tokenizer_vocab *v, struct err *e)
{
    if (v->n_tokens == 0)
        return err_set(e, ERR_FORMAT, "vocabulary: no tokens");
    if (v->n_tokens > TOKENIZER_MAX_TOKENS)
        return err_set(e, ERR_UNSUPPORTED, "vocabulary: %zu tokens, at most %d supported", v->n_tokens,
                       TOKENIZER_MAX_TOKENS);
    if (v->n_merges > TOKENIZER_MAX_MERGES)
        return err_set(e, ERR_UNSUPPORTED, "vocabulary: %zu merges, at most %d supported", v->n_merges,
                       TOKENIZER_MAX_MERGES);
    if (v->n_merges == 0 && !is_name(v->model, "llama"))
        return err_set(e, ERR_FORMAT, "vocabulary: no merges, which '%s' vocabularies need",
                       tokenizer_quote(v->model).text);
    enum err_code rc = check_count("scores", v->scores, v->n_scores, v->n_tokens, e);
    if (rc == ERR_OK)
        rc = check_count("token types", v->types, v->n_types, v->n_tokens, e);
    return rc;
}

static enum err_code take_id(const char *name, int64_t id, size_t n_tokens, int32_t *out, struct err *e)
{
    if (id != TOKENIZER_NONE && (id < 0 || (uint64_t)id >= n_tokens))
        return err_set(e, ERR_FORMAT, "vocabulary: %s token is %lld, 0 to %zu allowed", name,
                       (long long)id, n_tokens - 1);
    *out = (int32_t)id;
    return ERR_OK;
}

/* ---- the rule of a BPE vocabulary ---- */

static bool has_token_at(const struct tokenizer_vocab *v, size_t id, const char *text)
{
    return id < v->n_tokens && is_name(v->tokens[id], text);
}

/* Three families whose vocabularies cannot be mistaken: a certain name at a certain id. */
static const char *guess_pre(const struct tokenizer_vocab *v)
{
    if (has_token_at(v, 128000, "<|begin_of_text|>") && has_token_at(v, 128006, "<|start_header_id|>"))
        return "llama-bpe";
    if (has_token_at(v, 151643, "<|endoftext|>") && has_token_at(v, 151644, "<|im_start|>"))
        return "qwen2";
    if (has_token_at(v, 50256, "<|endoftext|>"))
        return "gpt-2";
    return NULL;
}

static enum err_code choose_rule(struct tokenizer *t, const struct tokenizer_vocab *v, struct err *e)
{
    struct tokenizer_text pre = v->pre;
    if (t->kind == TOKENIZER_BPE_UTF8)
        pre = (struct tokenizer_text){ "gemma4", 6 };
    if (!pre.bytes || pre.n_bytes == 0) {
        pre.bytes = guess_pre(v);
        if (!pre.bytes)
            return err_set(e, ERR_UNSUPPORTED, "tokenizer.ggml.pre is missing: how text is to be split is "
                                               "not known, and a wrong guess would damage every answer");
        pre.n_bytes = strlen(pre.bytes);
        t->warning = "tokenizer.ggml.pre is missing: the splitting rule was guessed from the tokens";
    }
    t->rule = tokenizer_rule_find(pre.bytes, pre.n_bytes);
    if (!t->rule)
        return err_set(e, ERR_UNSUPPORTED, "tokenizer.ggml.pre: '%s' is not supported",
                       tokenizer_quote(pre).text);
    if (strcmp(t->rule->name, "gemma4") == 0)
        t->kind = TOKENIZER_BPE_UTF8;
    return ERR_OK;
}

static enum err_code choose_kind(struct tokenizer *t, const struct tokenizer_vocab *v, struct err *e)
{
    if (is_name(v->model, "llama"))
        t->kind = TOKENIZER_SPM;
    else if (is_name(v->model, "gpt2"))
        t->kind = TOKENIZER_BPE_BYTES;
    else if (is_name(v->model, "gemma4"))
        t->kind = TOKENIZER_BPE_UTF8;
    else
        return err_set(e, ERR_UNSUPPORTED, "tokenizer.ggml.model: '%s', llama, gpt2 and gemma4 supported",
                       tokenizer_quote(v->model).text);
    return t->kind == TOKENIZER_SPM ? ERR_OK : choose_rule(t, v, e);
}

/* ---- tokens ---- */

static enum err_code read_tokens(struct tokenizer *t, const struct tokenizer_vocab *v, struct err *e)
{
    t->texts = v->tokens;
    t->n_tokens = (int32_t)v->n_tokens;
    t->tokens = arena_alloc(&t->arena, v->n_tokens, sizeof *t->tokens);
    if (!t->tokens)
        return err_set(e, ERR_NOMEM, "vocabulary: no memory for %zu tokens", v->n_tokens);
    for (int32_t id = 0; id < t->n_tokens; id++) {
        size_t n_bytes = t->texts[id].n_bytes;
        if (n_bytes > TOKENIZER_MAX_TOKEN_BYTES)
            return err_set(e, ERR_UNSUPPORTED, "token %d: %zu bytes, at most %d supported", (int)id,
                           n_bytes, TOKENIZER_MAX_TOKEN_BYTES);
        if (n_bytes > t->max_token_bytes)
            t->max_token_bytes = (uint32_t)n_bytes;
        int32_t type = TOKENIZER_NORMAL;
        if (v->types)
            memcpy(&type, (const char *)v->types + 4 * (size_t)id, 4);
        if (type < TOKENIZER_UNDEFINED || type > TOKENIZER_BYTE)
            return err_set(e, ERR_FORMAT, "token %d: type %d, 0 to 6 allowed", (int)id, (int)type);
        t->tokens[id].type = (uint8_t)(type == TOKENIZER_UNDEFINED ? TOKENIZER_NORMAL : type);
    }
    return ERR_OK;
}

/* SPM files may leave out the ids that all of them share. */
static void default_id(const struct tokenizer *t, int32_t *id, int32_t usual, enum tokenizer_type type)
{
    if (*id == TOKENIZER_NONE && t->kind == TOKENIZER_SPM && usual < t->n_tokens &&
        t->tokens[usual].type == type)
        *id = usual;
}

static enum err_code read_ids(struct tokenizer *t, const struct tokenizer_vocab *v, struct err *e)
{
    const struct {
        const char *name;
        int64_t id;
        int32_t *out;
    } ids[] = {
        { "the BOS", v->bos, &t->bos }, { "the EOS", v->eos, &t->eos }, { "the EOT", v->eot, &t->eot },
        { "the EOM", v->eom, &t->eom }, { "the unknown", v->unk, &t->unk },
        { "the padding", v->pad, &t->pad },
    };
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        enum err_code rc = take_id(ids[i].name, ids[i].id, v->n_tokens, ids[i].out, e);
        if (rc != ERR_OK)
            return rc;
    }
    default_id(t, &t->bos, 1, TOKENIZER_CONTROL);
    default_id(t, &t->eos, 2, TOKENIZER_CONTROL);
    default_id(t, &t->unk, 0, TOKENIZER_UNKNOWN);

    bool spm = t->kind == TOKENIZER_SPM;
    bool add_bos = v->add_bos == TOKENIZER_SILENT ? spm || t->rule->adds_bos : v->add_bos == TOKENIZER_YES;
    if (t->kind == TOKENIZER_BPE_UTF8)
        add_bos = true;    /* gemma 4 needs it, and files exist that say otherwise */
    t->add_bos = add_bos && t->bos != TOKENIZER_NONE;
    t->add_eos = v->add_eos == TOKENIZER_YES && t->eos != TOKENIZER_NONE;
    t->add_space_prefix = spm && v->add_space_prefix != TOKENIZER_NO;
    return ERR_OK;
}

static enum err_code build(struct tokenizer *t, const struct tokenizer_vocab *v, struct err *e)
{
    enum err_code rc = check_sizes(v, e);
    if (rc == ERR_OK)
        rc = choose_kind(t, v, e);
    if (rc == ERR_OK)
        rc = read_tokens(t, v, e);
    if (rc == ERR_OK)
        rc = read_ids(t, v, e);
    if (rc == ERR_OK)
        rc = tokenizer_index_texts(t, e);
    if (rc != ERR_OK)
        return rc;
    tokenizer_apply_names(t, v->strip_after_special);
    rc = tokenizer_index_bytes(t, e);
    if (rc == ERR_OK)
        rc = tokenizer_decode_pieces(t, e);
    if (rc == ERR_OK)
        rc = tokenizer_index_specials(t, e);
    if (rc != ERR_OK)
        return rc;
    tokenizer_mark_spaces(t);
    if (t->kind == TOKENIZER_SPM)
        return tokenizer_rank_scores(t, v->scores, e);
    return tokenizer_index_merges(t, v->merges, v->n_merges, e);
}

enum err_code tokenizer_create(struct tokenizer **out, const struct tokenizer_vocab *v, struct err *e)
{
    *out = NULL;
    struct tokenizer *t = calloc(1, sizeof *t);
    if (!t)
        return err_set(e, ERR_NOMEM, "vocabulary: no memory for the tokenizer");
    arena_init(&t->arena);
    t->seed = tokenizer_mix((uint64_t)(uintptr_t)t);
    enum err_code rc = build(t, v, e);
    if (rc != ERR_OK) {
        tokenizer_destroy(t);
        return rc;
    }
    *out = t;
    return ERR_OK;
}

void tokenizer_destroy(struct tokenizer *t)
{
    if (!t)
        return;
    arena_finish(&t->arena);
    free(t);
}

/* ---- questions ---- */

const char *tokenizer_warning(const struct tokenizer *t) { return t->warning; }
int32_t tokenizer_n_tokens(const struct tokenizer *t) { return t->n_tokens; }
int32_t tokenizer_bos(const struct tokenizer *t) { return t->bos; }
int32_t tokenizer_eos(const struct tokenizer *t) { return t->eos; }
int32_t tokenizer_eot(const struct tokenizer *t) { return t->eot; }
int32_t tokenizer_unk(const struct tokenizer *t) { return t->unk; }
int32_t tokenizer_pad(const struct tokenizer *t) { return t->pad; }
bool tokenizer_adds_bos(const struct tokenizer *t) { return t->add_bos; }

static bool is_token(const struct tokenizer *t, int32_t id)
{
    return id >= 0 && id < t->n_tokens;
}

bool tokenizer_same(const struct tokenizer *a, const struct tokenizer *b)
{
    if (a->kind != b->kind || a->n_tokens != b->n_tokens)
        return false;
    for (int32_t i = 0; i < a->n_tokens; i++) {
        const struct token *x = &a->tokens[i], *y = &b->tokens[i];
        if (x->piece_bytes != y->piece_bytes || x->type != y->type || x->flags != y->flags ||
            memcmp(x->piece, y->piece, x->piece_bytes) != 0)
            return false;
    }
    return true;
}

enum tokenizer_type tokenizer_type_of(const struct tokenizer *t, int32_t id)
{
    return is_token(t, id) ? t->tokens[id].type : TOKENIZER_UNDEFINED;
}

bool tokenizer_is_eog(const struct tokenizer *t, int32_t id)
{
    return is_token(t, id) && t->tokens[id].flags & TOKEN_EOG;
}

struct tokenizer_text tokenizer_piece(const struct tokenizer *t, int32_t id)
{
    if (!is_token(t, id))
        return (struct tokenizer_text){ "", 0 };
    return (struct tokenizer_text){ t->tokens[id].piece, t->tokens[id].piece_bytes };
}

/* ---- lists of ids ---- */

bool tokenizer_ids_add(struct tokenizer_ids *list, int32_t id)
{
    if (list->n == list->cap) {
        size_t cap = list->cap + list->cap / 2 + 64;
        int32_t *ids = realloc(list->ids, cap * sizeof *ids);
        if (!ids)
            return false;
        list->ids = ids;
        list->cap = cap;
    }
    list->ids[list->n++] = id;
    return true;
}

void tokenizer_ids_finish(struct tokenizer_ids *list)
{
    free(list->ids);
    *list = (struct tokenizer_ids){ 0 };
}
