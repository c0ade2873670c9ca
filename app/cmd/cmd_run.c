/* SPDX-License-Identifier: MIT */
/* quip run: one answer. Stdout has the answer and nothing else, written as it is made; thoughts (with
 * --think on), warnings and errors go to stderr. */
#include "app/cmd/cmd.h"

#include <string.h>
#include <time.h>
#include <unistd.h>

#include "app/chat/drafts.h"
#include "app/chat/sampling.h"
#include "app/chat/think.h"
#include "app/cmd/interrupt.h"
#include "app/ui/neutral.h"

enum { RUN_FLUSH_MS = 10000 };

struct run {
    const struct config *config;
    struct cmd_model cm;
    struct session *session;
    struct interrupt interrupt;
    struct generate_options generate;
    struct token_list prompt;
    struct think think;
    struct neutral_filter filter, thoughts_filter;
    bool to_terminal, thoughts_to_terminal;
    struct buf thoughts, answer;                   /* everything so far */
    size_t n_thoughts_shown, n_answer_shown;
    json_t *ids;                                   /* with --json */
    int32_t n_repeated;                            /* of the last token: so many are said over and over */
    struct eng_event end;                          /* EVENT_DONE, once it came */
};

/* ---- what is asked -------------------------------------------------------------------------------- */

static bool append_block(struct buf *out, const struct buf *block)
{
    if (block->n_bytes == 0)
        return true;
    if (out->n_bytes > 0)
        buf_add_text(out, "\n\n");
    return buf_add(out, block->data, block->n_bytes);
}

/* -p, then -f, then what is piped in. */
static enum err_code gather_prompt(const struct config *c, struct buf *out, struct err *e)
{
    struct buf block = { 0 };
    enum err_code rc = ERR_OK;
    bool file_is_stdin = c->file && strcmp(c->file, "-") == 0;
    if (c->prompt)
        buf_add_text(out, c->prompt);
    if (c->file) {
        rc = cmd_read(&block, c->file, e);
        append_block(out, &block);
    }
    if (rc == ERR_OK && !file_is_stdin && !isatty(STDIN_FILENO)) {
        buf_clear(&block);
        rc = cmd_read(&block, "-", e);
        append_block(out, &block);
    }
    buf_finish(&block);
    if (rc == ERR_OK && !buf_ok(out))
        rc = err_set(e, ERR_NOMEM, "no memory for the prompt");
    if (rc == ERR_OK && strspn(buf_text(out), " \t\r\n") == strlen(buf_text(out)))
        rc = err_set(e, ERR_FORMAT, "no prompt: give one with -p, -f or through a pipe");
    return rc;
}

static enum err_code gather_system(const struct config *c, struct buf *out, struct err *e)
{
    if (c->system)
        buf_add_text(out, c->system);
    return c->system_file ? cmd_read(out, c->system_file, e) : ERR_OK;
}

static enum err_code make_tokens(struct run *r, const char *prompt, struct err *e)
{
    const struct config *c = r->config;
    struct model *m = r->cm.model;
    if (c->raw) {
        struct text_part part = { prompt, strlen(prompt), false };
        think_init(&r->think, "", "", false);
        return model_tokenize(m, &part, 1, true, &r->prompt, e);
    }
    struct buf system = { 0 };
    struct chat_message messages[2];
    struct chat_input in = { .messages = messages, .add_generation_prompt = true, .now_s = time(NULL),
                             .enable_thinking = c->think == THINK_OFF ? 0 : c->think == THINK_ON ? 1 : -1 };
    struct chat_prompt made = { 0 };
    enum err_code rc = gather_system(c, &system, e);
    if (rc == ERR_OK) {
        if (system.n_bytes > 0)
            messages[in.n_messages++] = (struct chat_message){ .role = "system", .content = buf_text(&system) };
        messages[in.n_messages++] = (struct chat_message){ .role = "user", .content = prompt };
        rc = model_chat(m, &in, &r->prompt, &made, e);
        r->generate.n_shared = made.n_shared;
    }
    const struct model_info *info = model_info(m);
    think_init(&r->think, info->think_open, info->think_close, made.opens_thinking);
    buf_finish(&system);
    return rc;
}

/* ---- what comes back ------------------------------------------------------------------------------ */

static void show(FILE *out, bool to_terminal, struct neutral_filter *filter, const struct buf *text,
                 size_t *n_shown)
{
    if (text->n_bytes == *n_shown)
        return;
    if (to_terminal) {
        struct buf safe = { 0 };
        neutral_filter_feed(filter, &safe, text->data + *n_shown, text->n_bytes - *n_shown);
        fwrite(buf_text(&safe), 1, safe.n_bytes, out);
        buf_finish(&safe);
    } else {
        fwrite(text->data + *n_shown, 1, text->n_bytes - *n_shown, out);
    }
    *n_shown = text->n_bytes;
    fflush(out);
}

static void take_events(struct run *r, const struct eng_event *events, int32_t n)
{
    for (int32_t i = 0; i < n; i++) {
        const struct eng_event *ev = &events[i];
        if (ev->kind == EVENT_TOKEN) {
            think_feed(&r->think, ev->text, (size_t)ev->n_text, &r->thoughts, &r->answer);
            if (ev->token >= 0)
                r->n_repeated = ev->n_repeated;
            if (r->ids && ev->token >= 0)
                json_array_append_new(r->ids, json_integer(ev->token));
        } else if (ev->kind == EVENT_DONE) {
            think_end(&r->think, &r->thoughts, &r->answer);
            r->end = *ev;
        }
    }
    if (r->config->json)
        return;
    if (r->config->think == THINK_ON)
        show(stderr, r->thoughts_to_terminal, &r->thoughts_filter, &r->thoughts, &r->n_thoughts_shown);
    show(stdout, r->to_terminal, &r->filter, &r->answer, &r->n_answer_shown);
}

static enum err_code generate(struct run *r, struct err *e)
{
    struct eng_event events[SESSION_EVENTS];
    enum err_code rc = session_generate(r->session, 0, r->prompt.ids, r->prompt.n, &r->generate, e);
    while (rc == ERR_OK && session_busy(r->session)) {
        int32_t n = 0;
        rc = session_step(r->session, events, SESSION_EVENTS, &n, e);
        take_events(r, events, n);
    }
    return rc;
}

static const char *reason_name(enum done_reason reason)
{
    static const char *const names[] = { [DONE_END] = "end", [DONE_LENGTH] = "length", [DONE_CONTEXT] = "context",
                                         [DONE_CANCELLED] = "cancelled", [DONE_ERROR] = "error" };
    return names[reason];
}

static json_t *json_speculation(const struct run *r, const struct session_stats *stats)
{
    struct drafts d = drafts_of(&r->end.timings);
    int32_t asked = r->generate.spec;
    json_t *word = asked == SPEC_AUTO ? json_string("auto") : asked == SPEC_OFF ? json_string("off") : NULL;
    return json_pack("{so si si si sf sf ss}", "asked", word ? word : json_integer(asked), "drafted", d.n_drafted,
                     "accepted", d.n_accepted, "passes", d.n_passes, "tokens_per_pass", drafts_per_pass(&d),
                     "saved_ms", d.saved_ms, "note", stats->spec_note);
}

static void print_json(const struct run *r)
{
    const struct model_info *info = model_info(r->cm.model);
    const struct eng_timings *t = &r->end.timings;
    int32_t n_read = t->n_prompt - t->n_reused, n_after_first = t->n_generated - 1;
    json_t *timings = json_pack("{sf sf sf sf sf}", "prompt_ms", t->prompt_ms, "first_ms", t->first_ms,
                                "generate_ms", t->generate_ms, "prompt_per_second",
                                t->prompt_ms > 0 ? n_read * 1e3 / t->prompt_ms : 0.0, "tokens_per_second",
                                t->generate_ms > 0 && n_after_first > 0 ? n_after_first * 1e3 / t->generate_ms : 0.0);
    json_t *tokens = json_pack("{si si si si so}", "prompt", t->n_prompt, "reused", t->n_reused, "loaded",
                               t->n_loaded, "generated", t->n_generated, "ids", json_incref(r->ids));
    struct session_stats stats;
    session_stats(r->session, &stats);
    json_t *kv = json_pack("{ss ss sI sI}", "type_k", stats.kv_type_k, "type_v", stats.kv_type_v, "bytes",
                           (json_int_t)stats.kv_bytes, "context", (json_int_t)stats.n_ctx);
    struct engine_info eng;
    engine_info(r->cm.eng, &eng);
    const char *device = info->n_device_layers > 0 ? eng.device : "cpu";
    json_t *all = json_pack("{so so so so so si si ss sI so so so so}", "text",
                            cmd_json_text(buf_text(&r->answer), r->answer.n_bytes),
                            "thinking", cmd_json_text(buf_text(&r->thoughts), r->thoughts.n_bytes), "model",
                            cmd_json_text(info->name, strlen(info->name)), "level",
                            cmd_json_text(info->level, strlen(info->level)), "device",
                            cmd_json_text(device, strlen(device)), "device_layers",
                            info->n_device_layers, "layers", info->n_layers, "reason", reason_name(r->end.reason),
                            "seed", (json_int_t)r->generate.sampling.seed, "tokens", tokens, "kv", kv, "speculation",
                            json_speculation(r, &stats), "timings", timings);
    json_dumpf(all, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
    putchar('\n');
    json_decref(all);
}

/* Nothing is cut because it repeats itself, so an answer that was cut for another reason may well have. */
static void complain_of_repeats(const struct run *r)
{
    if (r->n_repeated > 0 && r->end.reason != DONE_END && r->end.reason != DONE_ERROR)
        cmd_complain("the answer was repeating itself, the same %d tokens over and over; --repeat-penalty 1.1 may "
                     "help", r->n_repeated);
}

static enum exit_code conclude(struct run *r)
{
    if (r->config->json) {
        print_json(r);
    } else if (r->answer.n_bytes > 0 && r->answer.data[r->answer.n_bytes - 1] != '\n') {
        putchar('\n');
    }
    complain_of_repeats(r);
    switch (r->end.reason) {
    case DONE_END:
        return EXIT_CODE_OK;
    case DONE_LENGTH:
        if (r->config->n_predict == OPTION_PREDICT)    /* a limit that nobody may have thought of */
            cmd_complain("the answer stops here, at %d tokens; -n N allows more, -n -1 any number",
                         r->config->n_predict);
        return EXIT_CODE_OK;
    case DONE_CONTEXT:
        cmd_complain("the context is full (%d tokens of prompt, %d of answer): the answer stops here; "
                     "-c N makes it larger", r->end.timings.n_prompt, r->end.timings.n_generated);
        return EXIT_CODE_CONTEXT;
    case DONE_CANCELLED:
        return EXIT_CODE_INTERRUPTED;
    case DONE_ERROR:
        cmd_complain("%.*s", r->end.n_text, r->end.text);
        return EXIT_CODE_FAILURE;
    }
    return EXIT_CODE_FAILURE;
}

/* The system prompt may still be on its way to its file, for the next start. The answer is out already; whoever
 * waits for the end of the program waits no longer than this. Question and answer are no chat that somebody
 * will go on with: they are not kept. */
static void keep_for_later(struct run *r)
{
    if (r->end.reason == DONE_CANCELLED || r->end.reason == DONE_ERROR)
        return;
    fflush(stdout);
    if (!session_flush(r->session, RUN_FLUSH_MS))
        cmd_complain("the cache file was not written within %d s; the next start reads this prompt again",
                     RUN_FLUSH_MS / 1000);
}

static enum exit_code complain(const struct err *e, enum exit_code code)
{
    cmd_complain("%s", e->text);
    return code;
}

static enum exit_code answer(struct run *r, const struct app *app, const char *prompt)
{
    const struct config *c = app->config;
    struct err e;
    enum exit_code code = cmd_model_open(&r->cm, app, MODEL_RUN, c->n_threads);
    if (code != EXIT_CODE_OK)
        return code;
    cmd_note_device(r->cm.eng);
    int32_t n_warned = cmd_warn(r->cm.model, INT32_MAX);
    r->generate = (struct generate_options){ .n_predict = c->n_predict, .ignore_end = c->ignore_end,
                                             .spec = c->spec };
    model_sampling(r->cm.model, &r->generate.sampling);
    if (sampling_apply(&r->generate.sampling, c, &e) != ERR_OK ||
        sampler_params_check(&r->generate.sampling, model_info(r->cm.model)->n_vocab, &e) != ERR_OK)
        return complain(&e, EXIT_CODE_USAGE);
    if (make_tokens(r, prompt, &e) != ERR_OK)
        return complain(&e, EXIT_CODE_FAILURE);
    n_warned = cmd_warn(r->cm.model, n_warned);
    code = cmd_session(&r->session, app, r->cm.model, c->n_ctx, 0);
    if (code != EXIT_CODE_OK)
        return code;
    struct session_stats stats;
    session_stats(r->session, &stats);
    if (stats.kv_note[0])
        cmd_complain("%s", stats.kv_note);
    enum err_code rc = drafts_from_files(r->session, &c->spec_files, &e);
    if (rc != ERR_OK)
        return complain(&e, EXIT_CODE_FAILURE);
    interrupt_watch(&r->interrupt, r->session);
    rc = generate(r, &e);
    interrupt_watch(&r->interrupt, NULL);
    if (rc != ERR_OK)
        return complain(&e, rc == ERR_UNSUPPORTED ? EXIT_CODE_CONTEXT : EXIT_CODE_FAILURE);
    code = conclude(r);
    keep_for_later(r);
    cmd_warn(r->cm.model, n_warned);    /* a folder or a file of the cache that is no good */
    return code;
}

enum exit_code cmd_run(const struct app *app)
{
    const struct config *c = app->config;
    struct err e;
    if (c->system && c->system_file) {
        cmd_complain("--system and --system-file: one of them");
        return EXIT_CODE_USAGE;
    }
    if (drafts_files_there(&c->spec_files, &e) != ERR_OK)
        return complain(&e, EXIT_CODE_FAILURE);
    struct buf prompt = { 0 };
    enum err_code rc = gather_prompt(c, &prompt, &e);
    if (rc != ERR_OK) {
        buf_finish(&prompt);
        return complain(&e, rc == ERR_FORMAT ? EXIT_CODE_USAGE : EXIT_CODE_FAILURE);
    }
    struct run r = { .config = c, .to_terminal = isatty(STDOUT_FILENO),
                     .thoughts_to_terminal = isatty(STDERR_FILENO), .ids = c->json ? json_array() : NULL };
    interrupt_start(&r.interrupt);
    enum exit_code code = answer(&r, app, buf_text(&prompt));
    interrupt_stop(&r.interrupt);
    json_decref(r.ids);
    think_finish(&r.think);
    buf_finish(&r.thoughts);
    buf_finish(&r.answer);
    token_list_finish(&r.prompt);
    session_destroy(r.session);
    cmd_model_close(&r.cm);
    buf_finish(&prompt);
    return code;
}
