/* SPDX-License-Identifier: MIT */
/* The chat against a port that only writes down what it was asked for. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "app/chat/chat.h"
#include "app/chat/history.h"
#include "app/chat/sampling.h"
#include "app/chat/slash.h"
#include "tests/support/test.h"

struct rig {
    struct chat chat;
    struct config config;
    struct paths paths;
    double now_s;
    uint64_t opened, answered, cancelled;
    char path[PORT_PATH_BYTES], given_back[2048], fetching[64];
    struct buf prompt;            /* "role: content\n" for each message of the last request */
    int32_t enable_thinking, n_reserve, set_ctx;
    struct generate_options generate;
    int n_answers, n_quits;
    enum port_panel shown;
    struct port_session session;
    uint64_t counted;
    int32_t n_counted, counts[PORT_PROMPTS];    /* messages of each prompt that was to be counted */
    int32_t n_prepared;                         /* messages of the prompt prepared last */
    int n_closed;
    struct port_stats stats;
    char begun[256];                            /* of the last request; "-": none */
    int32_t n_ctx, n_ctx_train;                 /* of the model that arrives; 0: 4096 and 32768 */
};

static bool rig_open(void *self, uint64_t id, const char *path)
{
    struct rig *r = self;
    r->opened = id;
    snprintf(r->path, sizeof r->path, "%s", path);
    return true;
}

static bool rig_session(void *self, uint64_t id, const struct port_session *session)
{
    struct rig *r = self;
    r->opened = id;
    r->set_ctx = session->n_ctx;
    r->session = *session;
    return true;
}

static bool rig_count(void *self, uint64_t id, const struct port_prompt *prompts, int32_t n,
                      int32_t enable_thinking)
{
    struct rig *r = self;
    (void)enable_thinking;
    r->counted = id;
    r->n_counted = n;
    for (int32_t i = 0; i < n; i++)
        r->counts[i] = prompts[i].n_messages;
    return true;
}

static bool rig_prepare(void *self, const struct port_prompt *prompt, int32_t enable_thinking)
{
    struct rig *r = self;
    (void)enable_thinking;
    r->n_prepared = prompt->n_messages;
    return true;
}

static bool rig_answer(void *self, const struct port_request *request)
{
    struct rig *r = self;
    r->answered = request->id;
    r->n_answers++;
    r->enable_thinking = request->enable_thinking;
    r->n_reserve = request->n_reserve;
    r->generate = request->generate;
    snprintf(r->begun, sizeof r->begun, "%s", request->begun ? request->begun : "-");
    buf_clear(&r->prompt);
    for (int32_t i = 0; i < request->n_messages; i++)
        buf_printf(&r->prompt, "%s: %s\n", request->messages[i].role, request->messages[i].content);
    return true;
}

static void rig_cancel(void *self, uint64_t id)
{
    ((struct rig *)self)->cancelled = id;
}

static bool rig_fetch(void *self, const char *name)
{
    struct rig *r = self;
    snprintf(r->fetching, sizeof r->fetching, "%s", name);
    return true;
}

static void rig_nothing(void *self)
{
    (void)self;
}

static void rig_close(void *self)
{
    ((struct rig *)self)->n_closed++;
}

static void rig_show(void *self, enum port_panel panel)
{
    ((struct rig *)self)->shown = panel;
}

static void rig_give_back(void *self, const char *text)
{
    struct rig *r = self;
    snprintf(r->given_back, sizeof r->given_back, "%s", text);
}

static void rig_quit(void *self)
{
    ((struct rig *)self)->n_quits++;
}

static double rig_now(void *self)
{
    return ((struct rig *)self)->now_s;
}

static void put_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    if (f) {
        fputs(text, f);
        fclose(f);
    }
}

static void rig_begin(struct test *t, struct rig *r)
{
    memset(r, 0, sizeof *r);
    r->config.n_predict = -1;
    snprintf(r->paths.models, sizeof r->paths.models, "%s", test_folder(t));
    snprintf(r->paths.home, sizeof r->paths.home, "%s", test_folder(t));
    struct port port = { .self = r, .open_model = rig_open, .set_session = rig_session, .answer = rig_answer,
                         .count = rig_count, .prepare = rig_prepare, .close_chat = rig_close,
                         .want_stats = rig_nothing, .cancel = rig_cancel, .fetch = rig_fetch,
                         .stop_fetch = rig_nothing, .show = rig_show,
                         .give_back = rig_give_back, .quit = rig_quit, .now_s = rig_now };
    chat_init(&r->chat, &r->config, &r->paths, &port);
}

static void rig_end(struct rig *r)
{
    chat_finish(&r->chat);
    buf_finish(&r->prompt);
}

static void model_arrives(struct rig *r, const char *path)
{
    struct mail mail = { .kind = MAIL_MODEL, .request = r->opened, .model = calloc(1, sizeof *mail.model) };
    snprintf(mail.model->path, sizeof mail.model->path, "%s", path);
    snprintf(mail.model->think_open, sizeof mail.model->think_open, "<think>");
    snprintf(mail.model->think_close, sizeof mail.model->think_close, "</think>");
    mail.model->n_ctx = r->n_ctx ? r->n_ctx : 4096;
    mail.model->n_ctx_train = r->n_ctx_train ? r->n_ctx_train : 32768;
    mail.stats = r->stats;
    sampler_params_default(&mail.model->sampling);
    chat_take(&r->chat, &mail);
}

/* A chat with a model that is ready. */
static void rig_ready(struct test *t, struct rig *r)
{
    char path[PATHS_BYTES];
    rig_begin(t, r);
    snprintf(path, sizeof path, "%s/m.gguf", test_folder(t));
    put_file(path, "x");
    chat_open_model(&r->chat, path, false);
    CHECK_INT(t, r->chat.state, CHAT_LOADING);
    model_arrives(r, path);
    CHECK_INT(t, r->chat.state, CHAT_READY);
}

static void tokens(struct rig *r, const char *text)
{
    struct mail mail = { .kind = MAIL_EVENT, .request = r->answered, .event = { .kind = EVENT_TOKEN, .token = 5 } };
    mail.event.n_text = snprintf(mail.event.text, sizeof mail.event.text, "%s", text);
    r->now_s += 0.5;
    chat_take(&r->chat, &mail);
}

static void prompt_read(struct rig *r, int32_t n_prompt)
{
    struct mail mail = { .kind = MAIL_PROMPT, .request = r->answered };
    mail.prompt.n_prompt = n_prompt;
    chat_take(&r->chat, &mail);
}

static void done(struct rig *r, enum done_reason reason)
{
    struct mail mail = { .kind = MAIL_EVENT, .request = r->answered,
                         .event = { .kind = EVENT_DONE, .reason = reason,
                                    .timings = { .n_prompt = 10, .n_generated = 5, .generate_ms = 2000 } } };
    chat_take(&r->chat, &mail);
}

static const struct message *last(const struct rig *r)
{
    return r->chat.transcript.path[r->chat.transcript.n_path - 1];
}

TEST(chat_an_exchange)
{
    struct rig r;
    rig_ready(t, &r);
    CHECK(t, chat_enter(&r.chat, "hello"));
    CHECK_TEXT(t, buf_text(&r.prompt), "user: hello\n");
    CHECK_INT(t, r.chat.state, CHAT_ANSWERING);
    prompt_read(&r, 10);
    tokens(&r, "Good ");
    tokens(&r, "day.");
    CHECK_INT(t, r.chat.n_ctx_used, 12);
    CHECK(t, r.chat.tokens_per_s > 1.9 && r.chat.tokens_per_s < 2.1, "%g", r.chat.tokens_per_s);
    done(&r, DONE_END);
    CHECK_INT(t, r.chat.state, CHAT_READY);
    CHECK_TEXT(t, buf_text(&last(&r)->text), "Good day.");
    CHECK_INT(t, last(&r)->state, MESSAGE_DONE);
    chat_enter(&r.chat, "more");
    CHECK_TEXT(t, buf_text(&r.prompt), "user: hello\nassistant: Good day.\nuser: more\n");
    rig_end(&r);
}

TEST(chat_what_is_typed_while_busy_waits_and_joins)
{
    struct rig r;
    rig_begin(t, &r);
    char path[PATHS_BYTES];
    snprintf(path, sizeof path, "%s/m.gguf", test_folder(t));
    put_file(path, "x");
    chat_open_model(&r.chat, path, false);
    chat_enter(&r.chat, "one");
    chat_enter(&r.chat, "two");
    CHECK_INT(t, r.n_answers, 0);
    model_arrives(&r, path);
    CHECK_INT(t, r.n_answers, 1);
    CHECK_TEXT(t, buf_text(&r.prompt), "user: one\n\ntwo\n");
    chat_enter(&r.chat, "three");
    CHECK_INT(t, r.n_answers, 1);
    prompt_read(&r, 3);
    tokens(&r, "yes");
    done(&r, DONE_END);
    CHECK_INT(t, r.n_answers, 2);
    CHECK_TEXT(t, buf_text(&r.prompt), "user: one\n\ntwo\nassistant: yes\nuser: three\n");
    rig_end(&r);
}

TEST(chat_stop_keeps_what_came_and_gives_back_what_waits)
{
    struct rig r;
    rig_ready(t, &r);
    chat_enter(&r.chat, "hello");
    prompt_read(&r, 3);
    tokens(&r, "half an ans");
    chat_enter(&r.chat, "next");
    chat_stop(&r.chat);
    CHECK_INT(t, r.cancelled, r.answered);
    CHECK_TEXT(t, r.given_back, "next");
    done(&r, DONE_CANCELLED);
    CHECK_INT(t, r.n_answers, 1);
    CHECK_TEXT(t, buf_text(&last(&r)->text), "half an ans");
    CHECK_INT(t, last(&r)->state, MESSAGE_STOPPED);
    rig_end(&r);
}

TEST(chat_an_answer_stopped_before_its_first_token_leaves_a_notice_alone)
{
    struct rig r;
    rig_ready(t, &r);
    chat_enter(&r.chat, "hello");
    chat_stop(&r.chat);
    done(&r, DONE_CANCELLED);
    CHECK_INT(t, last(&r)->role, MESSAGE_NOTICE);
    CHECK(t, transcript_last(&r.chat.transcript, MESSAGE_MODEL) == NULL);
    chat_enter(&r.chat, "again");    /* two users in a row are one turn */
    CHECK_TEXT(t, buf_text(&r.prompt), "user: hello\n\nagain\n");
    rig_end(&r);
}

TEST(chat_mails_of_an_old_answer_change_nothing)
{
    struct rig r;
    rig_ready(t, &r);
    chat_enter(&r.chat, "hello");
    uint64_t old = r.answered;
    prompt_read(&r, 3);
    tokens(&r, "x");
    done(&r, DONE_END);
    chat_enter(&r.chat, "again");
    uint64_t fresh = r.answered;
    r.answered = old;
    tokens(&r, "late");
    done(&r, DONE_END);
    r.answered = fresh;
    CHECK_INT(t, r.chat.state, CHAT_ANSWERING);
    CHECK_TEXT(t, buf_text(&last(&r)->text), "");
    rig_end(&r);
}

TEST(chat_regenerate_asks_again_with_another_seed_and_loses_nothing)
{
    struct rig r;
    rig_ready(t, &r);
    chat_enter(&r.chat, "hello");
    uint64_t seed = r.generate.sampling.seed;
    prompt_read(&r, 3);
    tokens(&r, "first");
    done(&r, DONE_END);
    uint64_t first = last(&r)->id;
    chat_regenerate(&r.chat);
    CHECK_TEXT(t, buf_text(&r.prompt), "user: hello\n");
    CHECK(t, r.generate.sampling.seed == seed + 1);
    prompt_read(&r, 3);
    tokens(&r, "second");
    done(&r, DONE_END);
    CHECK_INT(t, r.chat.transcript.n_path, 2);
    CHECK_TEXT(t, buf_text(&last(&r)->text), "second");
    CHECK_TEXT(t, buf_text(&transcript_find(&r.chat.transcript, first)->text), "first");
    chat_enter(&r.chat, "next");
    CHECK(t, r.generate.sampling.seed == seed);
    rig_end(&r);
}

/* ---- a full context ------------------------------------------------------------------------------- */

static void exchange(struct rig *r, const char *question, const char *answer)
{
    chat_enter(&r->chat, question);
    prompt_read(r, 10);
    tokens(r, answer);
    done(r, DONE_END);
}

/* Three turns, and a message that does not fit. */
static void rig_too_long(struct test *t, struct rig *r)
{
    rig_ready(t, r);
    exchange(r, "one", "first");
    exchange(r, "two", "second");
    exchange(r, "three", "third");
    chat_enter(&r->chat, "a long message");
    struct mail mail = { .kind = MAIL_TOO_LONG, .request = r->answered };
    chat_take(&r->chat, &mail);
}

/* The engine's answer to a count; twice and four times the context take 64 and 128 MB. */
static void counted(struct rig *r, const int32_t *n_tokens, uint64_t available_bytes)
{
    struct mail mail = { .kind = MAIL_COUNTS, .request = r->counted };
    mail.counts.n = r->n_counted;
    memcpy(mail.counts.tokens, n_tokens, sizeof *n_tokens * (size_t)r->n_counted);
    for (int32_t n_ctx = 8192; n_ctx <= (r->n_ctx_train ? r->n_ctx_train : 16384); n_ctx *= 2) {
        mail.counts.sizes[mail.counts.n_sizes].n_ctx = n_ctx;
        mail.counts.sizes[mail.counts.n_sizes++].kv_bytes = (uint64_t)n_ctx * 8000;
    }
    mail.stats = (struct port_stats){ .available_bytes = available_bytes, .kv_full_bytes = 32000000 };
    chat_take(&r->chat, &mail);
}

static const int32_t four_cuts[] = { 5000, 3000, 1800, 500 };

TEST(chat_context_choices_say_what_they_do_in_numbers)
{
    struct rig r;
    rig_too_long(t, &r);
    CHECK_INT(t, r.chat.context.state, CONTEXT_COUNTING);
    CHECK(t, chat_is_busy(&r.chat));
    CHECK_INT(t, r.n_counted, 4);    /* all, without one turn, two, three */
    CHECK_INT(t, r.counts[0], 7);
    CHECK_INT(t, r.counts[1], 5);
    CHECK_INT(t, r.counts[3], 1);
    counted(&r, four_cuts, 1000000000);
    const struct chat_context *x = &r.chat.context;
    CHECK_INT(t, x->state, CONTEXT_ASKING);
    CHECK_INT(t, r.shown, PANEL_CONTEXT);
    CHECK(t, strstr(x->text, "5000 tokens") && strstr(x->text, "4096, of which 256"), "%s", x->text);
    CHECK_TEXT(t, x->choices[ROOM_DROP].text,
               "The 4 oldest messages: 3200 tokens freed. 1800 stay and are read again.");
    CHECK(t, strstr(x->choices[ROOM_SUMMARISE].text, "up to 256 tokens about the 4 oldest"), "%s",
          x->choices[ROOM_SUMMARISE].text);
    CHECK(t, strstr(x->choices[ROOM_LARGER].text, "8192 tokens instead of 4096: the cache takes 65.5 MB when full, not "
                                                  "32.0 MB"), "%s", x->choices[ROOM_LARGER].text);
    for (int32_t i = 0; i < CHAT_ROOMS; i++)
        CHECK(t, x->choices[i].possible, "choice %d", i);
    CHECK_TEXT(t, buf_text(&last(&r)->text), "a long message");    /* still there, nothing dropped */
    CHECK_TEXT(t, r.given_back, "");
    rig_end(&r);
}

TEST(chat_context_drop_leaves_out_whole_turns_that_stay_to_be_seen)
{
    struct rig r;
    rig_too_long(t, &r);
    counted(&r, four_cuts, 1000000000);
    CHECK(t, chat_make_room(&r.chat, ROOM_DROP));
    CHECK_TEXT(t, buf_text(&r.prompt), "user: three\nassistant: third\nuser: a long message\n");
    CHECK_INT(t, r.chat.context.state, CONTEXT_IDLE);
    CHECK_INT(t, r.chat.state, CHAT_ANSWERING);
    for (int32_t i = 0; i < 4; i++)
        CHECK(t, r.chat.transcript.path[i]->left_out, "message %d", i);
    CHECK(t, !r.chat.transcript.path[4]->left_out);
    prompt_read(&r, 1810);
    tokens(&r, "ok");
    done(&r, DONE_END);
    struct buf text = { 0 };
    transcript_export(&r.chat.transcript, "", &text);
    CHECK(t, strstr(buf_text(&text), "first") != NULL);
    buf_finish(&text);
    rig_end(&r);
}

TEST(chat_context_summary_stands_in_place_of_what_it_tells)
{
    struct rig r;
    rig_too_long(t, &r);
    counted(&r, four_cuts, 1000000000);
    CHECK(t, chat_make_room(&r.chat, ROOM_SUMMARISE));
    CHECK_INT(t, r.chat.context.state, CONTEXT_SUMMARISING);
    static const char asked[] = "user: one\nassistant: first\nuser: two\nassistant: second\nuser: Summarise";
    CHECK(t, strncmp(buf_text(&r.prompt), asked, sizeof asked - 1) == 0, "%s", buf_text(&r.prompt));
    CHECK_INT(t, r.generate.n_predict, 256);
    CHECK_INT(t, r.enable_thinking, 0);
    prompt_read(&r, 3300);
    tokens(&r, "They counted.");
    done(&r, DONE_END);
    CHECK_TEXT(t, buf_text(&r.prompt), "user: Summary of our conversation so far:\nThey counted.\n\nthree\n"
               "assistant: third\nuser: a long message\n");
    const struct message *card = r.chat.transcript.path[4];
    CHECK_INT(t, card->role, MESSAGE_SUMMARY);
    CHECK_TEXT(t, card->title, "Summary of 4 messages");
    prompt_read(&r, 2000);
    tokens(&r, "fine");
    done(&r, DONE_END);

    /* Once more: leaving out keeps the summary, another summary takes its place. */
    chat_enter(&r.chat, "/context");
    CHECK_INT(t, r.n_counted, 2);
    CHECK_INT(t, r.counts[1], 2);
    counted(&r, (int32_t[]){ 3800, 1500 }, 1000000000);
    CHECK(t, chat_make_room(&r.chat, ROOM_SUMMARISE));
    CHECK(t, strstr(buf_text(&r.prompt), "They counted.\n\nthree\nassistant: third\nuser: Summarise"), "%s",
          buf_text(&r.prompt));
    tokens(&r, "All in one.");
    done(&r, DONE_END);
    CHECK(t, card->left_out);
    chat_enter(&r.chat, "next");
    CHECK_TEXT(t, buf_text(&r.prompt), "user: Summary of our conversation so far:\nAll in one.\n\na long message\n"
               "assistant: fine\nuser: next\n");
    rig_end(&r);
}

TEST(chat_context_drop_keeps_an_earlier_summary)
{
    struct rig r;
    rig_too_long(t, &r);
    counted(&r, four_cuts, 1000000000);
    chat_make_room(&r.chat, ROOM_SUMMARISE);
    tokens(&r, "They counted.");
    done(&r, DONE_END);
    tokens(&r, "fine");
    done(&r, DONE_END);
    chat_show_context(&r.chat);
    counted(&r, (int32_t[]){ 3800, 1500 }, 1000000000);
    CHECK(t, chat_make_room(&r.chat, ROOM_DROP));
    chat_enter(&r.chat, "next");
    CHECK_TEXT(t, buf_text(&r.prompt), "user: Summary of our conversation so far:\nThey counted.\n\na long message\n"
               "assistant: fine\nuser: next\n");
    rig_end(&r);
}

TEST(chat_context_summary_that_does_not_fit_reads_what_fits)
{
    struct rig r;
    rig_too_long(t, &r);
    counted(&r, four_cuts, 1000000000);
    chat_make_room(&r.chat, ROOM_SUMMARISE);
    struct mail mail = { .kind = MAIL_TOO_LONG, .request = r.answered };
    chat_take(&r.chat, &mail);
    CHECK(t, strncmp(buf_text(&r.prompt), "user: two\nassistant: second\nuser: Summarise", 41) == 0, "%s",
          buf_text(&r.prompt));
    tokens(&r, "Short.");
    done(&r, DONE_END);
    bool said = false;
    for (int32_t i = 0; i < r.chat.transcript.n_path; i++)
        said = said || strstr(buf_text(&r.chat.transcript.path[i]->text), "The first 2 were too long");
    CHECK(t, said);
    CHECK(t, r.chat.transcript.path[0]->left_out && r.chat.transcript.path[3]->left_out);
    rig_end(&r);

    rig_too_long(t, &r);
    counted(&r, four_cuts, 1000000000);
    chat_make_room(&r.chat, ROOM_SUMMARISE);
    for (int i = 0; i < 2; i++) {
        mail.request = r.answered;
        chat_take(&r.chat, &mail);
    }
    CHECK_INT(t, r.chat.context.state, CONTEXT_ASKING);    /* nothing was left out, the other ways are open */
    CHECK(t, !r.chat.context.choices[ROOM_SUMMARISE].possible && !r.chat.transcript.path[0]->left_out);
    CHECK(t, !chat_make_room(&r.chat, ROOM_SUMMARISE));
    CHECK(t, chat_make_room(&r.chat, ROOM_DROP));
    rig_end(&r);
}

TEST(chat_context_an_empty_or_stopped_summary_changes_nothing)
{
    struct rig r;
    rig_too_long(t, &r);
    counted(&r, four_cuts, 1000000000);
    chat_make_room(&r.chat, ROOM_SUMMARISE);
    done(&r, DONE_END);
    CHECK_INT(t, r.chat.context.state, CONTEXT_ASKING);
    CHECK(t, strstr(r.chat.context.choices[ROOM_SUMMARISE].text, "wrote nothing") != NULL);
    chat_make_room(&r.chat, ROOM_STOP);
    rig_end(&r);

    rig_too_long(t, &r);
    counted(&r, four_cuts, 1000000000);
    chat_make_room(&r.chat, ROOM_SUMMARISE);
    tokens(&r, "half");
    chat_stop(&r.chat);
    CHECK_INT(t, r.cancelled, r.answered);
    done(&r, DONE_CANCELLED);
    CHECK_INT(t, r.chat.context.state, CONTEXT_IDLE);
    CHECK_TEXT(t, r.given_back, "a long message");
    CHECK_INT(t, r.chat.transcript.n_path, 6);
    CHECK(t, !r.chat.transcript.path[0]->left_out);
    rig_end(&r);
}

TEST(chat_context_larger_sends_the_message_when_it_is_there)
{
    struct rig r;
    char path[PATHS_BYTES];
    rig_too_long(t, &r);
    int before = r.n_answers;
    snprintf(path, sizeof path, "%s", r.chat.model->path);
    counted(&r, four_cuts, 1000000000);
    CHECK(t, chat_make_room(&r.chat, ROOM_LARGER));
    CHECK_INT(t, r.set_ctx, 8192);
    CHECK_INT(t, r.n_answers, before);
    CHECK(t, chat_is_busy(&r.chat));
    r.n_ctx = 8192;
    model_arrives(&r, path);
    CHECK_INT(t, r.n_answers, before + 1);
    CHECK(t, strstr(buf_text(&r.prompt), "user: one\n") && strstr(buf_text(&r.prompt), "user: a long message\n"));
    CHECK(t, !r.chat.transcript.path[0]->left_out);
    rig_end(&r);

    rig_too_long(t, &r);    /* and when it cannot be made, the question is asked again */
    counted(&r, four_cuts, 1000000000);
    chat_make_room(&r.chat, ROOM_LARGER);
    struct mail mail = { .kind = MAIL_MODEL_FAILED, .request = r.opened, .text = "no memory for 8192 tokens" };
    chat_take(&r.chat, &mail);
    CHECK_INT(t, r.chat.context.state, CONTEXT_ASKING);
    CHECK(t, strstr(r.chat.context.choices[ROOM_LARGER].text, "no memory for 8192") != NULL);
    CHECK_INT(t, r.chat.session.n_ctx, 0);
    rig_end(&r);
}

TEST(chat_context_larger_needs_memory_and_a_model_made_for_it)
{
    struct rig r;
    rig_too_long(t, &r);
    counted(&r, four_cuts, 60000000);    /* 65.5 MB are needed */
    CHECK(t, !r.chat.context.choices[ROOM_LARGER].possible);
    CHECK(t, strstr(r.chat.context.choices[ROOM_LARGER].text, "60.0 MB of memory are free, too few"), "%s",
          r.chat.context.choices[ROOM_LARGER].text);
    CHECK(t, !chat_make_room(&r.chat, ROOM_LARGER));
    CHECK_INT(t, r.set_ctx, 0);
    CHECK_INT(t, r.chat.context.state, CONTEXT_ASKING);
    rig_end(&r);

    rig_too_long(t, &r);
    r.n_ctx_train = 4096;
    r.chat.model->n_ctx_train = 4096;
    counted(&r, four_cuts, 1000000000);
    CHECK(t, !r.chat.context.choices[ROOM_LARGER].possible);
    CHECK(t, strstr(r.chat.context.choices[ROOM_LARGER].text, "made for 4096"), "%s",
          r.chat.context.choices[ROOM_LARGER].text);
    rig_end(&r);
}

TEST(chat_context_stop_gives_everything_back)
{
    for (int way = 0; way < 3; way++) {    /* the choice, Esc, and Esc while it is counted */
        struct rig r;
        rig_too_long(t, &r);
        if (way < 2)
            counted(&r, four_cuts, 1000000000);
        if (way == 0)
            CHECK(t, chat_make_room(&r.chat, ROOM_STOP));
        else
            chat_stop(&r.chat);
        CHECK_INT(t, r.chat.context.state, CONTEXT_IDLE);
        CHECK_TEXT(t, r.given_back, "a long message");
        CHECK_INT(t, r.chat.transcript.n_path, 6);
        CHECK(t, !r.chat.transcript.path[0]->left_out);
        if (way == 2)
            counted(&r, four_cuts, 1000000000);    /* comes late, changes nothing */
        CHECK_INT(t, r.chat.context.state, CONTEXT_IDLE);
        uint64_t old = r.counted;
        chat_show_context(&r.chat);
        uint64_t fresh = r.counted;
        r.counted = old;
        counted(&r, four_cuts, 1000000000);    /* nor does it answer another question */
        CHECK_INT(t, r.chat.context.state, CONTEXT_COUNTING);
        r.counted = fresh;
        chat_stop(&r.chat);
        rig_end(&r);
    }
}

TEST(chat_context_of_an_empty_chat_asks_nothing_of_the_template)
{
    struct rig r;
    rig_ready(t, &r);
    chat_enter(&r.chat, "/context");
    CHECK_INT(t, r.n_counted, 0);
    CHECK(t, strstr(buf_text(&last(&r)->text), "4096 tokens") != NULL);
    rig_end(&r);
}

TEST(chat_context_counts_every_turn_of_a_short_chat_and_some_of_a_long_one)
{
    struct rig r;
    rig_ready(t, &r);
    for (int i = 1; i <= 100; i++) {
        exchange(&r, "question", "answer");
        chat_show_context(&r.chat);
        CHECK(t, r.n_counted == i || (i >= PORT_PROMPTS && r.n_counted > PORT_PROMPTS / 2), "%d of %d turns",
              r.n_counted, i);
        CHECK(t, r.n_counted <= PORT_PROMPTS);
        CHECK_INT(t, r.counts[0], 2 * i);
        CHECK_INT(t, r.counts[r.n_counted - 1], 2);    /* the last turn alone */
        chat_make_room(&r.chat, ROOM_STOP);
    }
    rig_end(&r);
}

TEST(chat_context_is_answered_by_a_number_in_lines)
{
    struct rig r;
    rig_too_long(t, &r);
    counted(&r, four_cuts, 1000000000);
    CHECK(t, !chat_enter(&r.chat, "what?"));
    CHECK(t, !chat_enter(&r.chat, "5"));
    CHECK_INT(t, r.chat.context.state, CONTEXT_ASKING);
    CHECK(t, chat_enter(&r.chat, "1."));
    CHECK_TEXT(t, buf_text(&r.prompt), "user: three\nassistant: third\nuser: a long message\n");
    rig_end(&r);
}

TEST(chat_context_a_message_alone_too_long_is_a_draft_again)
{
    struct rig r;
    rig_ready(t, &r);
    r.n_ctx_train = 4096;
    r.chat.model->n_ctx_train = 4096;
    chat_enter(&r.chat, "a very long message");
    CHECK_INT(t, r.n_reserve, 256);
    struct mail mail = { .kind = MAIL_TOO_LONG, .request = r.answered };
    chat_take(&r.chat, &mail);
    CHECK_INT(t, r.n_counted, 1);
    counted(&r, (int32_t[]){ 9000 }, 1000000000);
    CHECK_INT(t, r.chat.state, CHAT_READY);
    CHECK_INT(t, r.chat.context.state, CONTEXT_IDLE);
    CHECK_TEXT(t, r.given_back, "a very long message");
    CHECK_INT(t, r.chat.transcript.n_path, 1);
    CHECK(t, strstr(buf_text(&last(&r)->text), "9000") && strstr(buf_text(&last(&r)->text), "4096"), "%s",
          buf_text(&last(&r)->text));
    chat_enter(&r.chat, "/ctx 16384");
    CHECK_INT(t, r.set_ctx, 16384);
    rig_end(&r);
}

TEST(chat_context_a_cut_answer_can_go_on_when_there_is_room)
{
    struct rig r;
    rig_ready(t, &r);
    exchange(&r, "one", "first");
    chat_enter(&r.chat, "tell");
    prompt_read(&r, 20);
    tokens(&r, "Once upon");
    done(&r, DONE_CONTEXT);
    CHECK_INT(t, r.chat.context.state, CONTEXT_COUNTING);
    counted(&r, (int32_t[]){ 4000, 1000 }, 1000000000);
    CHECK(t, strstr(r.chat.context.text, "all 4096 tokens") != NULL);
    CHECK(t, chat_make_room(&r.chat, ROOM_DROP));
    CHECK_INT(t, r.chat.state, CHAT_READY);
    CHECK(t, strstr(last(&r)->hint, "/continue") != NULL);
    CHECK(t, chat_enter(&r.chat, "/continue"));
    CHECK_TEXT(t, buf_text(&r.prompt), "user: tell\n");
    CHECK_TEXT(t, r.begun, "Once upon");
    tokens(&r, " a time");
    done(&r, DONE_END);
    CHECK_TEXT(t, buf_text(&transcript_last(&r.chat.transcript, MESSAGE_MODEL)->text), "Once upon a time");
    int answers = r.n_answers;
    chat_enter(&r.chat, "/continue");    /* it is whole now */
    CHECK_INT(t, r.n_answers, answers);
    rig_end(&r);
}

TEST(chat_context_a_message_that_waits_for_a_cut_answer_asks_for_room_itself)
{
    struct rig r;
    rig_ready(t, &r);
    chat_enter(&r.chat, "tell");
    prompt_read(&r, 20);
    tokens(&r, "Once upon");
    chat_enter(&r.chat, "next");
    done(&r, DONE_CONTEXT);
    CHECK_INT(t, r.chat.state, CHAT_ANSWERING);
    struct mail mail = { .kind = MAIL_TOO_LONG, .request = r.answered };
    chat_take(&r.chat, &mail);
    counted(&r, (int32_t[]){ 4090, 100 }, 1000000000);
    CHECK(t, chat_make_room(&r.chat, ROOM_DROP));
    CHECK_TEXT(t, buf_text(&r.prompt), "user: next\n");
    rig_end(&r);
}

static int32_t n_cards(const struct rig *r, const char *title)
{
    int32_t n = 0;
    for (int32_t i = 0; i < r->chat.transcript.n_path; i++)
        n += strcmp(r->chat.transcript.path[i]->title, title) == 0;
    return n;
}

TEST(chat_context_nearly_full_is_said_once_and_again_after_room_was_made)
{
    static const char title[] = "The context is nearly full";
    struct rig r;
    rig_ready(t, &r);
    static const struct { int32_t n_prompt, n_cards; } steps[] = {
        { 3000, 0 }, { 3275, 0 }, { 3276, 1 }, { 3500, 1 }, { 1000, 1 }, { 3600, 2 } };    /* a token is added */
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        chat_enter(&r.chat, "more");
        prompt_read(&r, steps[i].n_prompt);
        tokens(&r, "x");
        done(&r, DONE_END);
        CHECK_INT(t, n_cards(&r, title), steps[i].n_cards, "step %zu", i);
    }
    CHECK(t, strstr(buf_text(&last(&r)->text), "3601 of 4096 tokens (87 %)") != NULL, "%s",
          buf_text(&last(&r)->text));
    chat_show_context(&r.chat);    /* made room, and the next answer fills it again */
    counted(&r, (int32_t[]){ 3601, 3000, 2500, 2200, 2000, 400 }, 1000000000);
    CHECK(t, chat_make_room(&r.chat, ROOM_DROP));
    chat_enter(&r.chat, "more");
    prompt_read(&r, 3600);
    tokens(&r, "x");
    done(&r, DONE_END);
    CHECK_INT(t, n_cards(&r, title), 3);
    rig_end(&r);
}

TEST(chat_the_beginning_of_the_next_prompt_is_prepared)
{
    struct rig r;
    rig_ready(t, &r);
    CHECK_INT(t, r.n_prepared, 0);
    exchange(&r, "one", "first");
    CHECK_INT(t, r.n_prepared, 2);
    chat_enter(&r.chat, "two");
    chat_stop(&r.chat);
    done(&r, DONE_CANCELLED);    /* a question without an answer: what comes next joins it */
    CHECK_INT(t, r.n_prepared, 2);
    chat_new(&r.chat);
    CHECK_INT(t, r.n_closed, 1);
    chat_system_text(&r.chat, "Be brief.");
    CHECK_INT(t, r.n_prepared, 1);
    rig_end(&r);
}

TEST(chat_kv_types_are_set_and_their_note_is_said_once)
{
    struct rig r;
    char path[PATHS_BYTES];
    rig_ready(t, &r);
    snprintf(path, sizeof path, "%s", r.chat.model->path);
    CHECK_TEXT(t, r.chat.session.kv_type_k, "auto");
    CHECK(t, chat_enter(&r.chat, "/set kv-type-k kv4"));
    CHECK_TEXT(t, r.session.kv_type_k, "kv4");
    CHECK_TEXT(t, r.session.kv_type_v, "auto");
    snprintf(r.stats.kv_type_k, sizeof r.stats.kv_type_k, "q8_0");
    snprintf(r.stats.kv_type_v, sizeof r.stats.kv_type_v, "f16");
    snprintf(r.stats.kv_note, sizeof r.stats.kv_note, "kv4 tried: KL 0.3, too much for this model");
    for (int i = 0; i < 2; i++)
        model_arrives(&r, path);
    CHECK_INT(t, n_cards(&r, "KV cache"), 2);    /* the types in force, and the note */
    CHECK_TEXT(t, buf_text(&last(&r)->text), r.stats.kv_note);
    CHECK(t, !chat_enter(&r.chat, "/set kv-type-v kv5"));
    CHECK_TEXT(t, r.chat.session.kv_type_v, "auto");
    CHECK(t, chat_enter(&r.chat, "/set kv-type-v kv3"));
    struct mail mail = { .kind = MAIL_MODEL_FAILED, .request = r.opened, .text = "no memory" };
    chat_take(&r.chat, &mail);
    CHECK_TEXT(t, r.chat.session.kv_type_v, "auto");
    rig_end(&r);
}

TEST(chat_figures_name_model_cache_and_last_answer)
{
    struct rig r;
    struct chat_figure rows[CHAT_FIGURES];
    struct buf all = { 0 };
    rig_ready(t, &r);
    exchange(&r, "one", "first");
    struct mail mail = { .kind = MAIL_STATS,
                         .stats = { .kv_type_k = "kv4", .kv_type_v = "kv3", .n_open = 2, .n_sealed = 5, .n_shared = 3,
                                    .kv_bytes = 38200000, .n_disk_files = 1, .n_disk_writing = 1 } };
    chat_take(&r.chat, &mail);
    int32_t n = chat_figures(&r.chat, rows);
    for (int32_t i = 0; i < n; i++)
        buf_printf(&all, "%s: %s\n", rows[i].name, rows[i].text);
    CHECK(t, strstr(buf_text(&all), "keys kv4, values kv3 (asked for: auto, auto)"), "%s", buf_text(&all));
    CHECK(t, strstr(buf_text(&all), "2 open, 5 sealed, 3 of them shared"), "%s", buf_text(&all));
    CHECK(t, strstr(buf_text(&all), "38.2 MB now"), "%s", buf_text(&all));
    CHECK(t, strstr(buf_text(&all), "1 being written"), "%s", buf_text(&all));
    CHECK(t, strstr(buf_text(&all), "Last prompt: 10 tokens"), "%s", buf_text(&all));
    buf_finish(&all);
    rig_end(&r);
}

TEST(chat_thoughts_are_told_from_the_answer)
{
    struct rig r;
    rig_ready(t, &r);
    chat_enter(&r.chat, "hello");
    prompt_read(&r, 3);
    tokens(&r, "<thi");
    CHECK_TEXT(t, buf_text(&last(&r)->text), "");
    tokens(&r, "nk>\nhm");
    CHECK(t, last(&r)->thinking_open);
    tokens(&r, "m</th");
    tokens(&r, "ink>\n\nYes");
    CHECK(t, !last(&r)->thinking_open);
    done(&r, DONE_END);
    CHECK_TEXT(t, buf_text(&last(&r)->thinking), "hmm");
    CHECK_TEXT(t, buf_text(&last(&r)->text), "Yes");
    CHECK(t, last(&r)->thinking_s > 0.9, "%g", last(&r)->thinking_s);
    chat_enter(&r.chat, "/think off");
    chat_enter(&r.chat, "more");
    CHECK_INT(t, r.enable_thinking, 0);
    CHECK(t, strstr(buf_text(&r.prompt), "assistant: Yes\n") != NULL, "%s", buf_text(&r.prompt));
    rig_end(&r);
}

TEST(chat_a_model_switch_stops_the_answer_and_keeps_the_chat)
{
    struct rig r;
    rig_ready(t, &r);
    chat_enter(&r.chat, "hello");
    prompt_read(&r, 3);
    tokens(&r, "half");
    char path[PATHS_BYTES];
    snprintf(path, sizeof path, "%s/n.gguf", test_folder(t));
    put_file(path, "x");
    chat_enter(&r.chat, "/model n");
    CHECK_TEXT(t, r.path, path);
    CHECK_INT(t, r.cancelled, r.answered);
    chat_enter(&r.chat, "and you?");
    done(&r, DONE_CANCELLED);
    CHECK_INT(t, r.chat.state, CHAT_LOADING);
    CHECK_INT(t, r.n_answers, 1);
    model_arrives(&r, path);
    CHECK_INT(t, r.n_answers, 2);
    CHECK_TEXT(t, buf_text(&r.prompt), "user: hello\nassistant: half\nuser: and you?\n");
    rig_end(&r);
}

TEST(chat_a_model_that_fails_leaves_the_old_one)
{
    struct rig r;
    rig_ready(t, &r);
    char path[PATHS_BYTES];
    snprintf(path, sizeof path, "%s/bad.gguf", test_folder(t));
    put_file(path, "x");
    chat_enter(&r.chat, "/model bad");
    CHECK_INT(t, r.chat.state, CHAT_LOADING);
    struct mail mail = { .kind = MAIL_MODEL_FAILED, .request = r.opened, .text = "bad.gguf: not a GGUF file" };
    chat_take(&r.chat, &mail);
    CHECK_INT(t, r.chat.state, CHAT_READY);
    CHECK_INT(t, last(&r)->role, MESSAGE_ERROR);
    chat_enter(&r.chat, "still there?");
    CHECK_INT(t, r.n_answers, 1);
    rig_end(&r);
}

TEST(chat_a_system_prompt_file_is_read_again_when_it_changes)
{
    struct rig r;
    struct err e;
    char path[PATHS_BYTES];
    rig_ready(t, &r);
    snprintf(path, sizeof path, "%s/system.txt", test_folder(t));
    put_file(path, "Be brief.");
    CHECK(t, chat_system_file(&r.chat, "~/system.txt", &e) == ERR_OK, "%s", e.text);
    chat_enter(&r.chat, "hello");
    CHECK_TEXT(t, buf_text(&r.prompt), "system: Be brief.\nuser: hello\n");
    prompt_read(&r, 3);
    tokens(&r, "ok");
    done(&r, DONE_END);
    put_file(path, "Be very brief.");
    struct timespec past[2] = { { .tv_sec = 1000 }, { .tv_sec = 1000 } };
    CHECK(t, utimensat(AT_FDCWD, path, past, 0) == 0);
    chat_enter(&r.chat, "more");
    CHECK(t, strncmp(buf_text(&r.prompt), "system: Be very brief.\n", 23) == 0, "%s", buf_text(&r.prompt));
    CHECK(t, chat_system_file(&r.chat, test_folder(t), &e) == ERR_IO);
    CHECK(t, strstr(e.text, "not a file") != NULL, "%s", e.text);
    rig_end(&r);
}

TEST(chat_commands)
{
    struct rig r;
    rig_ready(t, &r);
    CHECK(t, slash_is_command("/help") && slash_is_command("/nope x"));
    CHECK(t, !slash_is_command("//not") && !slash_is_command("/usr/bin") && !slash_is_command("a /help"));
    CHECK(t, chat_enter(&r.chat, "/help") && r.shown == PANEL_HELP);
    CHECK(t, chat_enter(&r.chat, "/model  ") && r.shown == PANEL_MODELS);
    CHECK(t, !chat_enter(&r.chat, "/hlep"));
    CHECK(t, strstr(buf_text(&last(&r)->text), "did you mean /help") != NULL);
    CHECK(t, chat_enter(&r.chat, "/set top-k 7") && chat_enter(&r.chat, "/temp 0.25"));
    CHECK(t, !chat_enter(&r.chat, "/temp hot") && !chat_enter(&r.chat, "/set tpo-k 1"));
    CHECK(t, chat_enter(&r.chat, "/quit") && r.n_quits == 1);
    chat_enter(&r.chat, "//bin is a folder");
    CHECK_TEXT(t, buf_text(&r.prompt), "user: /bin is a folder\n");
    CHECK_INT(t, r.generate.sampling.top_k, 7);
    CHECK(t, r.generate.sampling.temperature == 0.25f);
    rig_end(&r);
}

TEST(chat_completion_goes_as_far_as_all_agree)
{
    char out[64];
    CHECK(t, slash_complete("/he", out, sizeof out));
    CHECK_TEXT(t, out, "/help ");
    CHECK(t, slash_complete("/sy", out, sizeof out));
    CHECK_TEXT(t, out, "/system ");
    CHECK(t, !slash_complete("/s", out, sizeof out));
    CHECK(t, !slash_complete("/zz", out, sizeof out));
    CHECK(t, !slash_complete("text", out, sizeof out));
}

TEST(chat_new_and_save)
{
    struct rig r;
    char path[PATHS_BYTES], command[PATHS_BYTES + 16];
    rig_ready(t, &r);
    chat_enter(&r.chat, "hello");
    prompt_read(&r, 3);
    tokens(&r, "hi");
    done(&r, DONE_END);
    snprintf(path, sizeof path, "%s/saved.md", test_folder(t));
    snprintf(command, sizeof command, "/save %s", path);
    CHECK(t, chat_enter(&r.chat, command));
    char *text = test_read_file(path, NULL);
    CHECK_TEXT(t, text, "## You\n\nhello\n\n## Model\n\nhi\n\n");
    free(text);
    CHECK(t, !chat_enter(&r.chat, command), "a file that is there stays");
    chat_new(&r.chat);
    CHECK_INT(t, r.chat.transcript.n_path, 0);
    chat_enter(&r.chat, "fresh");
    CHECK_TEXT(t, buf_text(&r.prompt), "user: fresh\n");
    rig_end(&r);
}

TEST(chat_new_while_it_answers_leaves_no_card_of_the_old_answer)
{
    struct rig r;
    rig_ready(t, &r);
    chat_enter(&r.chat, "hello");
    chat_new(&r.chat);
    prompt_read(&r, 30);
    done(&r, DONE_CANCELLED);
    CHECK_INT(t, r.chat.transcript.n_path, 0);
    CHECK_INT(t, r.chat.n_ctx_used, 0);
    CHECK_INT(t, r.chat.state, CHAT_READY);
    rig_end(&r);
}

TEST(chat_history_file_is_the_owners_alone)
{
    char path[PATHS_BYTES];
    struct buf text = { 0 }, back = { 0 };
    struct err e;
    struct stat st;
    snprintf(path, sizeof path, "%s/deep/er/history", test_folder(t));
    CHECK(t, history_read(path, &back, &e) == ERR_OK && back.n_bytes == 0);
    buf_add_text(&text, "one\ntwo\n");
    CHECK(t, history_write(path, &text, &e) == ERR_OK, "%s", e.text);
    CHECK(t, history_read(path, &back, &e) == ERR_OK, "%s", e.text);
    CHECK_TEXT(t, buf_text(&back), "one\ntwo\n");
    CHECK(t, stat(path, &st) == 0 && (st.st_mode & 0777) == 0600);
    buf_finish(&text);
    buf_finish(&back);
}

/* Any cut of the text into pieces gives the same two texts. */
TEST(chat_thinking_does_not_depend_on_how_the_text_is_cut)
{
    static const struct {
        const char *text, *thoughts, *answer;
        bool inside;
    } cases[] = {
        { "<think>a<b</think>c", "a<b", "c", false },
        { "  \n<think>\nx\n</think>\n\ny", "x\n", "y", false },
        { "no thoughts <think>here</think>", "", "no thoughts <think>here</think>", false },
        { "<thin ice", "", "<thin ice", false },
        { "already</think> out", "already", "out", true },
        { "never closed </thi", "never closed </thi", "", true },
        { "", "", "", false },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        for (int round = 0; round < 50; round++) {
            struct think p;
            struct buf thoughts = { 0 }, answer = { 0 };
            think_init(&p, "<think>", "</think>", cases[i].inside);
            for (const char *at = cases[i].text; *at;) {
                size_t n = 1 + test_below(t, 4);
                if (n > strlen(at) || round == 0)
                    n = strlen(at);
                think_feed(&p, at, n, &thoughts, &answer);
                at += n;
            }
            think_end(&p, &thoughts, &answer);
            CHECK_TEXT(t, buf_text(&thoughts), cases[i].thoughts, "case %zu", i);
            CHECK_TEXT(t, buf_text(&answer), cases[i].answer, "case %zu", i);
            think_finish(&p);
            buf_finish(&thoughts);
            buf_finish(&answer);
        }
}

TEST(chat_sampling_options_are_the_samplers_table)
{
    struct option_set set;
    struct sampling_options texts;
    struct config c;
    struct err e;
    struct sampler_params p;
    option_set_init(&set);
    sampling_add_options(&set, &texts);
    char *argv[] = { "quip", "run", "--temp", "0.5", "-s", "7", "--logit-bias", "12-inf", "--dry-sequence-breaker", "X",
                     "--top-n-sigma", "2" };
    CHECK(t, option_parse(&set, 12, argv, &c, &e) == ERR_OK, "%s", e.text);
    sampler_params_default(&p);
    CHECK(t, sampling_apply(&p, &c, &e) == ERR_OK, "%s", e.text);
    CHECK(t, p.temperature == 0.5f && p.seed == 7 && p.top_n_sigma == 2);
    CHECK(t, p.n_bias == 1 && p.bias[0].token == 12 && isinf(p.bias[0].bias));
    CHECK(t, p.n_dry_breakers == 1 && strcmp(p.dry_breakers[0], "X") == 0);
    const struct sampler_field *field;
    for (int32_t i = 0; (field = sampler_field(i)); i++) {
        char name[64];
        int n = snprintf(name, sizeof name, "--%s", field->name);
        CHECK(t, option_find(&set, COMMAND_RUN, name, (size_t)n) != NULL, "%s", name);
    }
}
