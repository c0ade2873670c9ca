/* SPDX-License-Identifier: MIT */
/* Conversations on the engine thread: answered, counted, and prepared for what is asked next. */
#include "app/loop/worker_impl.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { STATS_MS = 250 };

static bool should_stop(struct worker *w, uint64_t id)
{
    return atomic_load(&w->cancelled) >= id;
}

static bool post_event(struct worker *w, uint64_t id, const struct eng_event *ev)
{
    struct mail mail = { .kind = MAIL_EVENT, .request = id, .event = *ev };
    if (ev->kind == EVENT_DONE)
        worker_fill_stats(w, &mail.stats);
    return mailbox_post(w->box, &mail);
}

static void post_cancelled(struct worker *w, uint64_t id)
{
    struct eng_event ev = { .kind = EVENT_DONE, .reason = DONE_CANCELLED };
    post_event(w, id, &ev);
}

enum err_code worker_render(struct worker *w, const struct job_prompt *p, int32_t enable_thinking,
                            struct token_list *tokens, struct chat_prompt *prompt, struct err *e)
{
    struct chat_input in = { .messages = p->messages, .n_messages = p->n_messages, .add_generation_prompt = true,
                             .enable_thinking = enable_thinking, .now_s = time(NULL) };
    if (!w->here.model)
        return err_set(e, ERR_UNSUPPORTED, "no model yet");
    return model_chat(w->here.model, &in, tokens, prompt, e);
}

static bool append(struct token_list *tokens, const struct token_list *more)
{
    int32_t *ids = realloc(tokens->ids, (size_t)(tokens->n + more->n + 1) * sizeof *ids);
    if (!ids)
        return false;
    memcpy(ids + tokens->n, more->ids, (size_t)more->n * sizeof *ids);
    tokens->ids = ids;
    tokens->n += more->n;
    tokens->cap = tokens->n + 1;
    return true;
}

/* The answer so far goes behind the prompt, as the model would have written it. */
static enum err_code add_begun(struct worker *w, const struct job *j, struct token_list *tokens,
                               struct chat_prompt *prompt, struct err *e)
{
    const struct model_info *info = model_info(w->here.model);
    struct text_part parts[4];
    int32_t n = 0;
    if (j->begun_thinking) {
        if (!prompt->opens_thinking)
            parts[n++] = (struct text_part){ info->think_open, strlen(info->think_open), true };
        parts[n++] = (struct text_part){ j->begun_thinking, strlen(j->begun_thinking), false };
        if (j->begun[0])
            parts[n++] = (struct text_part){ info->think_close, strlen(info->think_close), true };
    }
    parts[n++] = (struct text_part){ j->begun, strlen(j->begun), false };
    prompt->opens_thinking = j->begun_thinking && !j->begun[0];
    struct token_list more = { 0 };
    enum err_code rc = model_tokenize(w->here.model, parts, n, false, &more, e);
    if (rc == ERR_OK && !append(tokens, &more))
        rc = err_set(e, ERR_NOMEM, "no memory for the tokens of the answer so far");
    token_list_finish(&more);
    return rc;
}

/* The conversation as tokens; false when the answer ends here, which has then been said. */
static bool make_prompt(struct worker *w, const struct job *j, struct token_list *tokens, int32_t *n_shared)
{
    struct err e;
    struct chat_prompt prompt = { 0 };
    enum err_code rc = worker_render(w, &j->prompts[0], j->enable_thinking, tokens, &prompt, &e);
    if (rc == ERR_OK && j->begun)
        rc = add_begun(w, j, tokens, &prompt, &e);
    if (rc != ERR_OK) {
        worker_post_failure(w, MAIL_FAILED, j->id, &e);
        return false;
    }
    *n_shared = prompt.n_shared;
    struct session_stats stats;
    session_stats(w->here.session, &stats);
    bool fits = tokens->n <= stats.n_ctx - j->request.n_reserve;
    struct mail mail = { .kind = fits ? MAIL_PROMPT : MAIL_TOO_LONG, .request = j->id };
    mail.prompt.n_prompt = tokens->n;
    mail.prompt.n_ctx = stats.n_ctx;
    mail.prompt.n_reused = fits && tokens->n > 0 ? session_held(w->here.session, 0, tokens->ids, tokens->n - 1) : 0;
    mail.prompt.opens_thinking = prompt.opens_thinking;
    return mailbox_post(w->box, &mail) && fits;
}

void worker_do_answer(struct worker *w, const struct job *j)
{
    struct token_list tokens = { 0 };
    struct generate_options generate = j->request.generate;
    struct err e;
    enum err_code rc = ERR_OK;
    if (should_stop(w, j->id)) {
        post_cancelled(w, j->id);
        return;
    }
    if (!make_prompt(w, j, &tokens, &generate.n_shared)) {
        token_list_finish(&tokens);
        return;
    }
    rc = session_generate(w->here.session, 0, tokens.ids, tokens.n, &generate, &e);
    token_list_finish(&tokens);
    while (rc == ERR_OK && session_busy(w->here.session)) {
        struct eng_event events[SESSION_EVENTS];
        int32_t n = 0;
        worker_do_meanwhile(w);
        worker_arrive_in_answer(w);
        if (should_stop(w, j->id))
            session_cancel(w->here.session);
        rc = session_step(w->here.session, events, SESSION_EVENTS, &n, &e);
        for (int32_t i = 0; i < n; i++)
            if (!post_event(w, j->id, &events[i]))
                session_cancel(w->here.session);
        if ((worker_now_s() - w->stats_s) * 1e3 >= STATS_MS)
            worker_post_stats(w);
    }
    if (rc != ERR_OK)
        worker_post_failure(w, MAIL_FAILED, j->id, &e);
}

/* ---- counting and preparing ----------------------------------------------------------------------- */

/* What the model's cache would take at twice the context, and so on up to what it was made for. */
static void fill_sizes(const struct worker *w, struct port_counts *out)
{
    struct session_stats stats;
    session_stats(w->here.session, &stats);
    int64_t most = model_info(w->here.model)->n_ctx_train, n_ctx = stats.n_ctx;
    while (n_ctx < most && out->n_sizes < PORT_SIZES) {
        struct model_memory memory;
        n_ctx = n_ctx * 2 < most ? n_ctx * 2 : most;
        model_memory(w->here.model, (int32_t)n_ctx, 1, stats.kv_type_k, stats.kv_type_v, &memory);
        out->sizes[out->n_sizes].n_ctx = (int32_t)n_ctx;
        out->sizes[out->n_sizes++].kv_bytes = memory.kv_bytes;
    }
}

void worker_do_count(struct worker *w, const struct job *j)
{
    struct mail mail = { .kind = MAIL_COUNTS, .request = j->id };
    struct token_list tokens = { 0 };
    struct chat_prompt prompt;
    struct err e;
    for (int32_t i = 0; i < j->n_prompts; i++) {
        if (should_stop(w, j->id)) {
            token_list_finish(&tokens);
            return;
        }
        if (worker_render(w, &j->prompts[i], j->enable_thinking, &tokens, &prompt, &e) != ERR_OK) {
            token_list_finish(&tokens);
            worker_post_failure(w, MAIL_FAILED, j->id, &e);
            return;
        }
        mail.counts.tokens[mail.counts.n++] = tokens.n;
    }
    token_list_finish(&tokens);
    fill_sizes(w, &mail.counts);
    worker_fill_stats(w, &mail.stats);
    mailbox_post(w->box, &mail);
}

/* Tokens that the conversation begins with whatever is asked next: where the prompts for two different
 * questions part. Rendering it without a question would not tell, since many templates drop the thoughts of
 * an answer only when a question follows it. */
static bool render_beginning(struct worker *w, struct job_prompt *p, int32_t enable_thinking,
                             struct token_list *out, int32_t *n_shared)
{
    static const char *const questions[] = { "a", "0?" };
    struct token_list other = { 0 };
    struct chat_prompt prompt = { 0 };
    struct err e;
    bool ok = true;
    for (int32_t i = 0; ok && i < 2; i++) {
        p->messages[p->n_messages] = (struct chat_message){ .role = "user", .content = questions[i] };
        struct job_prompt asked = { p->messages, p->n_messages + 1 };
        ok = worker_render(w, &asked, enable_thinking, i == 0 ? out : &other, &prompt, &e) == ERR_OK;
    }
    int32_t n = 0;
    while (ok && n < out->n && n < other.n && out->ids[n] == other.ids[n])
        n++;
    out->n = n;
    *n_shared = prompt.n_shared < n ? prompt.n_shared : n;
    token_list_finish(&other);
    return ok && n > 0;
}

void worker_do_prepare(struct worker *w, const struct job *j)
{
    struct token_list tokens = { 0 };
    struct generate_options generate = { .n_predict = 0 };
    struct session_stats stats;
    struct err e;
    if (!w->here.session || !worker_begin_idle(w, false))
        return;
    sampler_params_default(&generate.sampling);
    session_stats(w->here.session, &stats);
    bool wanted = render_beginning(w, &j->prompts[0], j->enable_thinking, &tokens, &generate.n_shared) &&
                  tokens.n < stats.n_ctx && session_held(w->here.session, 0, tokens.ids, tokens.n) < tokens.n;
    if (wanted && session_generate(w->here.session, 0, tokens.ids, tokens.n, &generate, &e) == ERR_OK) {
        enum err_code rc = ERR_OK;
        while (rc == ERR_OK && session_busy(w->here.session)) {
            struct eng_event events[SESSION_EVENTS];
            int32_t n = 0;
            if (worker_is_wanted(w))    /* a cancel before session_generate() is forgotten by it */
                session_cancel(w->here.session);
            rc = session_step(w->here.session, events, SESSION_EVENTS, &n, &e);
        }
        worker_post_stats(w);
    }
    token_list_finish(&tokens);
    worker_end_idle(w);
}
