/* SPDX-License-Identifier: MIT */
/* What a chat does when the context is full. */
#include <stdio.h>

#include "app/chat/chat.h"
#include "app/chat/slash.h"
#include "tests/support/chat_rig.h"

/* Three turns, and a message that does not fit. */
static void rig_too_long(struct test *t, struct chat_rig *r)
{
    chat_rig_ready(t, r);
    chat_rig_exchange(r, "one", "first");
    chat_rig_exchange(r, "two", "second");
    chat_rig_exchange(r, "three", "third");
    chat_enter(&r->chat, "a long message");
    struct mail mail = { .kind = MAIL_TOO_LONG, .request = r->answered };
    chat_take(&r->chat, &mail);
}

/* The engine's answer to a count; twice and four times the context take 64 and 128 MB. */
static void counted(struct chat_rig *r, const int32_t *n_tokens, uint64_t available_bytes)
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
    struct chat_rig r;
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
    CHECK_TEXT(t, buf_text(&chat_rig_last(&r)->text), "a long message");    /* still there, nothing dropped */
    CHECK_TEXT(t, r.given_back, "");
    chat_rig_end(&r);
}

TEST(chat_context_drop_leaves_out_whole_turns_that_stay_to_be_seen)
{
    struct chat_rig r;
    rig_too_long(t, &r);
    counted(&r, four_cuts, 1000000000);
    CHECK(t, chat_make_room(&r.chat, ROOM_DROP));
    CHECK_TEXT(t, buf_text(&r.prompt), "user: three\nassistant: third\nuser: a long message\n");
    CHECK_INT(t, r.chat.context.state, CONTEXT_IDLE);
    CHECK_INT(t, r.chat.state, CHAT_ANSWERING);
    for (int32_t i = 0; i < 4; i++)
        CHECK(t, r.chat.transcript.path[i]->left_out, "message %d", i);
    CHECK(t, !r.chat.transcript.path[4]->left_out);
    chat_rig_prompt(&r, 1810);
    chat_rig_tokens(&r, "ok");
    chat_rig_done(&r, DONE_END);
    struct buf text = { 0 };
    transcript_export(&r.chat.transcript, "", &text);
    CHECK(t, strstr(buf_text(&text), "first") != NULL);
    buf_finish(&text);
    chat_rig_end(&r);
}

TEST(chat_context_summary_stands_in_place_of_what_it_tells)
{
    struct chat_rig r;
    rig_too_long(t, &r);
    counted(&r, four_cuts, 1000000000);
    CHECK(t, chat_make_room(&r.chat, ROOM_SUMMARISE));
    CHECK_INT(t, r.chat.context.state, CONTEXT_SUMMARISING);
    static const char asked[] = "user: one\nassistant: first\nuser: two\nassistant: second\nuser: Summarise";
    CHECK(t, strncmp(buf_text(&r.prompt), asked, sizeof asked - 1) == 0, "%s", buf_text(&r.prompt));
    CHECK_INT(t, r.generate.n_predict, 256);
    CHECK_INT(t, r.enable_thinking, 0);
    chat_rig_prompt(&r, 3300);
    chat_rig_tokens(&r, "They counted.");
    chat_rig_done(&r, DONE_END);
    CHECK_TEXT(t, buf_text(&r.prompt), "user: Summary of our conversation so far:\nThey counted.\n\nthree\n"
               "assistant: third\nuser: a long message\n");
    const struct message *card = r.chat.transcript.path[4];
    CHECK_INT(t, card->role, MESSAGE_SUMMARY);
    CHECK_TEXT(t, card->title, "Summary of 4 messages");
    chat_rig_prompt(&r, 2000);
    chat_rig_tokens(&r, "fine");
    chat_rig_done(&r, DONE_END);

    /* Once more: leaving out keeps the summary, another summary takes its place. */
    chat_enter(&r.chat, "/context");
    CHECK_INT(t, r.n_counted, 2);
    CHECK_INT(t, r.counts[1], 2);
    counted(&r, (int32_t[]){ 3800, 1500 }, 1000000000);
    CHECK(t, chat_make_room(&r.chat, ROOM_SUMMARISE));
    CHECK(t, strstr(buf_text(&r.prompt), "They counted.\n\nthree\nassistant: third\nuser: Summarise"), "%s",
          buf_text(&r.prompt));
    chat_rig_tokens(&r, "All in one.");
    chat_rig_done(&r, DONE_END);
    CHECK(t, card->left_out);
    chat_enter(&r.chat, "next");
    CHECK_TEXT(t, buf_text(&r.prompt), "user: Summary of our conversation so far:\nAll in one.\n\na long message\n"
               "assistant: fine\nuser: next\n");
    chat_rig_end(&r);
}

TEST(chat_context_drop_keeps_an_earlier_summary)
{
    struct chat_rig r;
    rig_too_long(t, &r);
    counted(&r, four_cuts, 1000000000);
    chat_make_room(&r.chat, ROOM_SUMMARISE);
    chat_rig_tokens(&r, "They counted.");
    chat_rig_done(&r, DONE_END);
    chat_rig_tokens(&r, "fine");
    chat_rig_done(&r, DONE_END);
    chat_show_context(&r.chat);
    counted(&r, (int32_t[]){ 3800, 1500 }, 1000000000);
    CHECK(t, chat_make_room(&r.chat, ROOM_DROP));
    chat_enter(&r.chat, "next");
    CHECK_TEXT(t, buf_text(&r.prompt), "user: Summary of our conversation so far:\nThey counted.\n\na long message\n"
               "assistant: fine\nuser: next\n");
    chat_rig_end(&r);
}

TEST(chat_context_summary_that_does_not_fit_reads_what_fits)
{
    struct chat_rig r;
    rig_too_long(t, &r);
    counted(&r, four_cuts, 1000000000);
    chat_make_room(&r.chat, ROOM_SUMMARISE);
    struct mail mail = { .kind = MAIL_TOO_LONG, .request = r.answered };
    chat_take(&r.chat, &mail);
    CHECK(t, strncmp(buf_text(&r.prompt), "user: two\nassistant: second\nuser: Summarise", 41) == 0, "%s",
          buf_text(&r.prompt));
    chat_rig_tokens(&r, "Short.");
    chat_rig_done(&r, DONE_END);
    bool said = false;
    for (int32_t i = 0; i < r.chat.transcript.n_path; i++)
        said = said || strstr(buf_text(&r.chat.transcript.path[i]->text), "The first 2 were too long");
    CHECK(t, said);
    CHECK(t, r.chat.transcript.path[0]->left_out && r.chat.transcript.path[3]->left_out);
    chat_rig_end(&r);

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
    chat_rig_end(&r);
}

TEST(chat_context_an_empty_or_stopped_summary_changes_nothing)
{
    struct chat_rig r;
    rig_too_long(t, &r);
    counted(&r, four_cuts, 1000000000);
    chat_make_room(&r.chat, ROOM_SUMMARISE);
    chat_rig_done(&r, DONE_END);
    CHECK_INT(t, r.chat.context.state, CONTEXT_ASKING);
    CHECK(t, strstr(r.chat.context.choices[ROOM_SUMMARISE].text, "wrote nothing") != NULL);
    chat_make_room(&r.chat, ROOM_STOP);
    chat_rig_end(&r);

    rig_too_long(t, &r);
    counted(&r, four_cuts, 1000000000);
    chat_make_room(&r.chat, ROOM_SUMMARISE);
    chat_rig_tokens(&r, "half");
    chat_stop(&r.chat);
    CHECK_INT(t, r.cancelled, r.answered);
    chat_rig_done(&r, DONE_CANCELLED);
    CHECK_INT(t, r.chat.context.state, CONTEXT_IDLE);
    CHECK_TEXT(t, r.given_back, "a long message");
    CHECK_INT(t, r.chat.transcript.n_path, 6);
    CHECK(t, !r.chat.transcript.path[0]->left_out);
    chat_rig_end(&r);
}

TEST(chat_context_larger_sends_the_message_when_it_is_there)
{
    struct chat_rig r;
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
    chat_rig_model(&r, path);
    CHECK_INT(t, r.n_answers, before + 1);
    CHECK(t, strstr(buf_text(&r.prompt), "user: one\n") && strstr(buf_text(&r.prompt), "user: a long message\n"));
    CHECK(t, !r.chat.transcript.path[0]->left_out);
    chat_rig_end(&r);

    rig_too_long(t, &r);    /* and when it cannot be made, the question is asked again */
    counted(&r, four_cuts, 1000000000);
    chat_make_room(&r.chat, ROOM_LARGER);
    struct mail mail = { .kind = MAIL_MODEL_FAILED, .request = r.opened, .text = "no memory for 8192 tokens" };
    chat_take(&r.chat, &mail);
    CHECK_INT(t, r.chat.context.state, CONTEXT_ASKING);
    CHECK(t, strstr(r.chat.context.choices[ROOM_LARGER].text, "no memory for 8192") != NULL);
    CHECK_INT(t, r.chat.session.n_ctx, 0);
    chat_rig_end(&r);
}

TEST(chat_context_larger_needs_memory_and_a_model_made_for_it)
{
    struct chat_rig r;
    rig_too_long(t, &r);
    counted(&r, four_cuts, 60000000);    /* 65.5 MB are needed */
    CHECK(t, !r.chat.context.choices[ROOM_LARGER].possible);
    CHECK(t, strstr(r.chat.context.choices[ROOM_LARGER].text, "60.0 MB of memory are free, too few"), "%s",
          r.chat.context.choices[ROOM_LARGER].text);
    CHECK(t, !chat_make_room(&r.chat, ROOM_LARGER));
    CHECK_INT(t, r.set_ctx, 0);
    CHECK_INT(t, r.chat.context.state, CONTEXT_ASKING);
    chat_rig_end(&r);

    rig_too_long(t, &r);
    r.n_ctx_train = 4096;
    r.chat.model->n_ctx_train = 4096;
    counted(&r, four_cuts, 1000000000);
    CHECK(t, !r.chat.context.choices[ROOM_LARGER].possible);
    CHECK(t, strstr(r.chat.context.choices[ROOM_LARGER].text, "made for 4096"), "%s",
          r.chat.context.choices[ROOM_LARGER].text);
    chat_rig_end(&r);
}

TEST(chat_context_stop_gives_everything_back)
{
    for (int way = 0; way < 3; way++) {    /* the choice, Esc, and Esc while it is counted */
        struct chat_rig r;
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
        chat_rig_end(&r);
    }
}

TEST(chat_context_of_an_empty_chat_asks_nothing_of_the_template)
{
    struct chat_rig r;
    chat_rig_ready(t, &r);
    chat_enter(&r.chat, "/context");
    CHECK_INT(t, r.n_counted, 0);
    CHECK(t, strstr(buf_text(&chat_rig_last(&r)->text), "4096 tokens") != NULL);
    chat_rig_end(&r);
}

TEST(chat_context_counts_every_turn_of_a_short_chat_and_some_of_a_long_one)
{
    struct chat_rig r;
    chat_rig_ready(t, &r);
    for (int i = 1; i <= 100; i++) {
        chat_rig_exchange(&r, "question", "answer");
        chat_show_context(&r.chat);
        CHECK(t, r.n_counted == i || (i >= PORT_PROMPTS && r.n_counted > PORT_PROMPTS / 2), "%d of %d turns",
              r.n_counted, i);
        CHECK(t, r.n_counted <= PORT_PROMPTS);
        CHECK_INT(t, r.counts[0], 2 * i);
        CHECK_INT(t, r.counts[r.n_counted - 1], 2);    /* the last turn alone */
        chat_make_room(&r.chat, ROOM_STOP);
    }
    chat_rig_end(&r);
}

TEST(chat_context_is_answered_by_a_number_in_lines)
{
    struct chat_rig r;
    rig_too_long(t, &r);
    counted(&r, four_cuts, 1000000000);
    CHECK(t, !chat_enter(&r.chat, "what?"));
    CHECK(t, !chat_enter(&r.chat, "5"));
    CHECK_INT(t, r.chat.context.state, CONTEXT_ASKING);
    CHECK(t, chat_enter(&r.chat, "1."));
    CHECK_TEXT(t, buf_text(&r.prompt), "user: three\nassistant: third\nuser: a long message\n");
    chat_rig_end(&r);
}

TEST(chat_context_a_message_alone_too_long_is_a_draft_again)
{
    struct chat_rig r;
    chat_rig_ready(t, &r);
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
    CHECK(t, strstr(buf_text(&chat_rig_last(&r)->text), "9000") && strstr(buf_text(&chat_rig_last(&r)->text), "4096"), "%s",
          buf_text(&chat_rig_last(&r)->text));
    chat_enter(&r.chat, "/ctx 16384");
    CHECK_INT(t, r.set_ctx, 16384);
    chat_rig_end(&r);
}

TEST(chat_context_a_cut_answer_can_go_on_when_there_is_room)
{
    struct chat_rig r;
    chat_rig_ready(t, &r);
    chat_rig_exchange(&r, "one", "first");
    chat_enter(&r.chat, "tell");
    chat_rig_prompt(&r, 20);
    chat_rig_tokens(&r, "Once upon");
    chat_rig_done(&r, DONE_CONTEXT);
    CHECK_INT(t, r.chat.context.state, CONTEXT_COUNTING);
    counted(&r, (int32_t[]){ 4000, 1000 }, 1000000000);
    CHECK(t, strstr(r.chat.context.text, "all 4096 tokens") != NULL);
    CHECK(t, chat_make_room(&r.chat, ROOM_DROP));
    CHECK_INT(t, r.chat.state, CHAT_READY);
    CHECK(t, strstr(chat_rig_last(&r)->hint, "/continue") != NULL);
    CHECK(t, chat_enter(&r.chat, "/continue"));
    CHECK_TEXT(t, buf_text(&r.prompt), "user: tell\n");
    CHECK_TEXT(t, r.begun, "Once upon");
    chat_rig_tokens(&r, " a time");
    chat_rig_done(&r, DONE_END);
    CHECK_TEXT(t, buf_text(&transcript_last(&r.chat.transcript, MESSAGE_MODEL)->text), "Once upon a time");
    int answers = r.n_answers;
    chat_enter(&r.chat, "/continue");    /* it is whole now */
    CHECK_INT(t, r.n_answers, answers);
    chat_rig_end(&r);
}

TEST(chat_context_a_message_that_waits_for_a_cut_answer_asks_for_room_itself)
{
    struct chat_rig r;
    chat_rig_ready(t, &r);
    chat_enter(&r.chat, "tell");
    chat_rig_prompt(&r, 20);
    chat_rig_tokens(&r, "Once upon");
    chat_enter(&r.chat, "next");
    chat_rig_done(&r, DONE_CONTEXT);
    CHECK_INT(t, r.chat.state, CHAT_ANSWERING);
    struct mail mail = { .kind = MAIL_TOO_LONG, .request = r.answered };
    chat_take(&r.chat, &mail);
    counted(&r, (int32_t[]){ 4090, 100 }, 1000000000);
    CHECK(t, chat_make_room(&r.chat, ROOM_DROP));
    CHECK_TEXT(t, buf_text(&r.prompt), "user: next\n");
    chat_rig_end(&r);
}

TEST(chat_context_nearly_full_is_said_once_and_again_after_room_was_made)
{
    static const char title[] = "The context is nearly full";
    struct chat_rig r;
    chat_rig_ready(t, &r);
    static const struct { int32_t n_prompt, n_cards; } steps[] = {
        { 3000, 0 }, { 3275, 0 }, { 3276, 1 }, { 3500, 1 }, { 1000, 1 }, { 3600, 2 } };    /* a token is added */
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        chat_enter(&r.chat, "more");
        chat_rig_prompt(&r, steps[i].n_prompt);
        chat_rig_tokens(&r, "x");
        chat_rig_done(&r, DONE_END);
        CHECK_INT(t, chat_rig_cards(&r, title), steps[i].n_cards, "step %zu", i);
    }
    CHECK(t, strstr(buf_text(&chat_rig_last(&r)->text), "3601 of 4096 tokens (87 %)") != NULL, "%s",
          buf_text(&chat_rig_last(&r)->text));
    chat_show_context(&r.chat);    /* made room, and the next answer fills it again */
    counted(&r, (int32_t[]){ 3601, 3000, 2500, 2200, 2000, 400 }, 1000000000);
    CHECK(t, chat_make_room(&r.chat, ROOM_DROP));
    chat_enter(&r.chat, "more");
    chat_rig_prompt(&r, 3600);
    chat_rig_tokens(&r, "x");
    chat_rig_done(&r, DONE_END);
    CHECK_INT(t, chat_rig_cards(&r, title), 3);
    chat_rig_end(&r);
}
