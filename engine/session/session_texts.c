/* SPDX-License-Identifier: MIT */
/* Texts that drafts are taken from besides the conversation: files the person named, and, where that is allowed,
 * chats that were closed. They belong to the model, as its caches do. Files come first and stay; of the chats the
 * oldest go when there is no more room. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "engine/session/session_impl.h"

enum { CHATS_TOKENS = 1 << 18 };    /* of all of them */

/* ---- the list ------------------------------------------------------------------------------------- */

static bool append(struct session_texts *t, const int32_t *tokens, int32_t n_tokens)
{
    struct token_list *all = &t->tokens;
    if (all->n + n_tokens > all->cap) {
        int32_t *ids = realloc(all->ids, (size_t)(all->n + n_tokens) * sizeof *ids);
        if (!ids)
            return false;
        all->ids = ids;
        all->cap = all->n + n_tokens;
    }
    if (n_tokens > 0)
        memcpy(all->ids + all->n, tokens, (size_t)n_tokens * sizeof *tokens);
    all->n += n_tokens;
    t->ends[t->n++] = all->n;
    return true;
}

static void drop_oldest_chat(struct session_texts *t)
{
    int32_t i = t->n_files, from = i > 0 ? t->ends[i - 1] : 0, n_gone = t->ends[i] - from;
    memmove(t->tokens.ids + from, t->tokens.ids + from + n_gone,
            (size_t)(t->tokens.n - from - n_gone) * sizeof *t->tokens.ids);
    t->tokens.n -= n_gone;
    t->n--;
    for (; i < t->n; i++)
        t->ends[i] = t->ends[i + 1] - n_gone;
}

static enum err_code rebuild(struct session_texts *t, struct err *e)
{
    struct spec_corpus *corpus = NULL;
    if (t->tokens.n > 0) {
        enum err_code rc = spec_corpus_create(&corpus, t->tokens.ids, t->ends, t->n, e);
        if (rc != ERR_OK)
            return rc;
    }
    spec_corpus_destroy(t->corpus);
    t->corpus = corpus;
    return ERR_OK;
}

void session_texts_finish(struct session_texts *t)
{
    token_list_finish(&t->tokens);
    spec_corpus_destroy(t->corpus);
    *t = (struct session_texts){ .corpus = NULL };
}

/* ---- files ---------------------------------------------------------------------------------------- */

enum err_code session_draft_from(struct session *s, const struct text_part *texts, int32_t n_texts, struct err *e)
{
    struct session_texts *now = &s->model->caches->texts, made = { .corpus = NULL };
    enum err_code rc = ERR_OK;
    assert(!session_busy(s));
    if (n_texts > SESSION_MAX_TEXTS)
        return err_set(e, ERR_UNSUPPORTED, "texts to draft from: %d, at most %d allowed", n_texts, SESSION_MAX_TEXTS);
    for (int32_t i = 0; rc == ERR_OK && i < n_texts; i++) {
        struct token_list tokens = { 0 };
        rc = model_tokenize(s->model, &texts[i], 1, false, &tokens, e);
        if (rc == ERR_OK && made.tokens.n + tokens.n > SPEC_CORPUS_MAX_TOKENS)
            rc = err_set(e, ERR_UNSUPPORTED, "texts to draft from: %d tokens up to text %d, at most %d allowed",
                         made.tokens.n + tokens.n, i + 1, SPEC_CORPUS_MAX_TOKENS);
        if (rc == ERR_OK && !append(&made, tokens.ids, tokens.n))
            rc = err_set(e, ERR_NOMEM, "no memory for a text of %d tokens", tokens.n);
        token_list_finish(&tokens);
    }
    made.n_files = made.n;
    if (rc == ERR_OK)
        rc = rebuild(&made, e);
    if (rc != ERR_OK) {
        session_texts_finish(&made);
        return rc;
    }
    session_texts_finish(now);
    *now = made;
    return ERR_OK;
}

/* ---- chats ---------------------------------------------------------------------------------------- */

void session_texts_add_chat(struct session *s, const int32_t *tokens, int32_t n_tokens)
{
    struct session_texts *t = &s->model->caches->texts;
    struct err e;
    int32_t n_files = t->n_files > 0 ? t->ends[t->n_files - 1] : 0;
    if (n_tokens == 0 || n_tokens > CHATS_TOKENS || n_files + n_tokens > SPEC_CORPUS_MAX_TOKENS || t->n_files == SESSION_MAX_TEXTS)
        return;
    while (t->n > t->n_files && (t->n == SESSION_MAX_TEXTS || t->tokens.n + n_tokens > SPEC_CORPUS_MAX_TOKENS ||
                                 t->tokens.n - n_files + n_tokens > CHATS_TOKENS))
        drop_oldest_chat(t);
    if (append(t, tokens, n_tokens))
        rebuild(t, &e);    /* without memory for it the old one stays */
}
