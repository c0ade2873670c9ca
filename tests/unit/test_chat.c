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
#include "tests/support/chat_rig.h"

TEST(chat_an_exchange)
{
    struct chat_rig r;
    chat_rig_ready(t, &r);
    CHECK(t, chat_enter(&r.chat, "hello"));
    CHECK_TEXT(t, buf_text(&r.prompt), "user: hello\n");
    CHECK_INT(t, r.chat.state, CHAT_ANSWERING);
    chat_rig_prompt(&r, 10);
    chat_rig_tokens(&r, "Good ");
    chat_rig_tokens(&r, "day.");
    CHECK_INT(t, r.chat.n_ctx_used, 12);
    CHECK(t, r.chat.tokens_per_s > 1.9 && r.chat.tokens_per_s < 2.1, "%g", r.chat.tokens_per_s);
    chat_rig_done(&r, DONE_END);
    CHECK_INT(t, r.chat.state, CHAT_READY);
    CHECK_TEXT(t, buf_text(&chat_rig_last(&r)->text), "Good day.");
    CHECK_INT(t, chat_rig_last(&r)->state, MESSAGE_DONE);
    chat_enter(&r.chat, "more");
    CHECK_TEXT(t, buf_text(&r.prompt), "user: hello\nassistant: Good day.\nuser: more\n");
    chat_rig_end(&r);
}

TEST(chat_what_is_typed_while_busy_waits_and_joins)
{
    struct chat_rig r;
    chat_rig_begin(t, &r);
    char path[PATHS_BYTES];
    snprintf(path, sizeof path, "%s/m.gguf", test_folder(t));
    chat_rig_put_file(path, "x");
    chat_open_model(&r.chat, path, false);
    chat_enter(&r.chat, "one");
    chat_enter(&r.chat, "two");
    CHECK_INT(t, r.n_answers, 0);
    chat_rig_model(&r, path);
    CHECK_INT(t, r.n_answers, 1);
    CHECK_TEXT(t, buf_text(&r.prompt), "user: one\n\ntwo\n");
    chat_enter(&r.chat, "three");
    CHECK_INT(t, r.n_answers, 1);
    chat_rig_prompt(&r, 3);
    chat_rig_tokens(&r, "yes");
    chat_rig_done(&r, DONE_END);
    CHECK_INT(t, r.n_answers, 2);
    CHECK_TEXT(t, buf_text(&r.prompt), "user: one\n\ntwo\nassistant: yes\nuser: three\n");
    chat_rig_end(&r);
}

TEST(chat_stop_keeps_what_came_and_gives_back_what_waits)
{
    struct chat_rig r;
    chat_rig_ready(t, &r);
    chat_enter(&r.chat, "hello");
    chat_rig_prompt(&r, 3);
    chat_rig_tokens(&r, "half an ans");
    chat_enter(&r.chat, "next");
    chat_stop(&r.chat);
    CHECK_INT(t, r.cancelled, r.answered);
    CHECK_TEXT(t, r.given_back, "next");
    chat_rig_done(&r, DONE_CANCELLED);
    CHECK_INT(t, r.n_answers, 1);
    CHECK_TEXT(t, buf_text(&chat_rig_last(&r)->text), "half an ans");
    CHECK_INT(t, chat_rig_last(&r)->state, MESSAGE_STOPPED);
    chat_rig_end(&r);
}

TEST(chat_an_answer_stopped_before_its_first_token_leaves_a_notice_alone)
{
    struct chat_rig r;
    chat_rig_ready(t, &r);
    chat_enter(&r.chat, "hello");
    chat_stop(&r.chat);
    chat_rig_done(&r, DONE_CANCELLED);
    CHECK_INT(t, chat_rig_last(&r)->role, MESSAGE_NOTICE);
    CHECK(t, transcript_last(&r.chat.transcript, MESSAGE_MODEL) == NULL);
    chat_enter(&r.chat, "again");    /* two users in a row are one turn */
    CHECK_TEXT(t, buf_text(&r.prompt), "user: hello\n\nagain\n");
    chat_rig_end(&r);
}

TEST(chat_mails_of_an_old_answer_change_nothing)
{
    struct chat_rig r;
    chat_rig_ready(t, &r);
    chat_enter(&r.chat, "hello");
    uint64_t old = r.answered;
    chat_rig_prompt(&r, 3);
    chat_rig_tokens(&r, "x");
    chat_rig_done(&r, DONE_END);
    chat_enter(&r.chat, "again");
    uint64_t fresh = r.answered;
    r.answered = old;
    chat_rig_tokens(&r, "late");
    chat_rig_done(&r, DONE_END);
    r.answered = fresh;
    CHECK_INT(t, r.chat.state, CHAT_ANSWERING);
    CHECK_TEXT(t, buf_text(&chat_rig_last(&r)->text), "");
    chat_rig_end(&r);
}

TEST(chat_regenerate_asks_again_with_another_seed_and_loses_nothing)
{
    struct chat_rig r;
    chat_rig_ready(t, &r);
    chat_enter(&r.chat, "hello");
    uint64_t seed = r.generate.sampling.seed;
    chat_rig_prompt(&r, 3);
    chat_rig_tokens(&r, "first");
    chat_rig_done(&r, DONE_END);
    uint64_t first = chat_rig_last(&r)->id;
    chat_regenerate(&r.chat);
    CHECK_TEXT(t, buf_text(&r.prompt), "user: hello\n");
    CHECK(t, r.generate.sampling.seed == seed + 1);
    chat_rig_prompt(&r, 3);
    chat_rig_tokens(&r, "second");
    chat_rig_done(&r, DONE_END);
    CHECK_INT(t, r.chat.transcript.n_path, 2);
    CHECK_TEXT(t, buf_text(&chat_rig_last(&r)->text), "second");
    CHECK_TEXT(t, buf_text(&transcript_find(&r.chat.transcript, first)->text), "first");
    chat_enter(&r.chat, "next");
    CHECK(t, r.generate.sampling.seed == seed);
    chat_rig_end(&r);
}


TEST(chat_the_beginning_of_the_next_prompt_is_prepared)
{
    struct chat_rig r;
    chat_rig_ready(t, &r);
    CHECK_INT(t, r.n_prepared, 0);
    chat_rig_exchange(&r, "one", "first");
    CHECK_INT(t, r.n_prepared, 2);
    chat_enter(&r.chat, "two");
    chat_stop(&r.chat);
    chat_rig_done(&r, DONE_CANCELLED);    /* a question without an answer: what comes next joins it */
    CHECK_INT(t, r.n_prepared, 2);
    chat_new(&r.chat);
    CHECK_INT(t, r.n_closed, 1);
    chat_system_text(&r.chat, "Be brief.");
    CHECK_INT(t, r.n_prepared, 1);
    chat_rig_end(&r);
}

TEST(chat_kv_types_are_set_and_their_note_is_said_once)
{
    struct chat_rig r;
    char path[PATHS_BYTES];
    chat_rig_ready(t, &r);
    snprintf(path, sizeof path, "%s", r.chat.model->path);
    CHECK_TEXT(t, r.chat.session.kv_type_k, "auto");
    CHECK(t, chat_enter(&r.chat, "/set kv-type-k kv4"));
    CHECK_TEXT(t, r.session.kv_type_k, "kv4");
    CHECK_TEXT(t, r.session.kv_type_v, "auto");
    snprintf(r.stats.kv_type_k, sizeof r.stats.kv_type_k, "q8_0");
    snprintf(r.stats.kv_type_v, sizeof r.stats.kv_type_v, "f16");
    snprintf(r.stats.kv_note, sizeof r.stats.kv_note, "kv4 tried: KL 0.3, too much for this model");
    for (int i = 0; i < 2; i++)
        chat_rig_model(&r, path);
    CHECK_INT(t, chat_rig_cards(&r, "KV cache"), 2);    /* the types in force, and the note */
    CHECK_TEXT(t, buf_text(&chat_rig_last(&r)->text), r.stats.kv_note);
    CHECK(t, !chat_enter(&r.chat, "/set kv-type-v kv5"));
    CHECK_TEXT(t, r.chat.session.kv_type_v, "auto");
    CHECK(t, chat_enter(&r.chat, "/set kv-type-v kv3"));
    struct mail mail = { .kind = MAIL_MODEL_FAILED, .request = r.opened, .text = "no memory" };
    chat_take(&r.chat, &mail);
    CHECK_TEXT(t, r.chat.session.kv_type_v, "auto");
    chat_rig_end(&r);
}

TEST(chat_figures_name_model_cache_and_last_answer)
{
    struct chat_rig r;
    struct chat_figure rows[CHAT_FIGURES];
    struct buf all = { 0 };
    chat_rig_ready(t, &r);
    chat_rig_exchange(&r, "one", "first");
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
    CHECK(t, !strstr(buf_text(&all), "Reads"), "%s", buf_text(&all));
    buf_finish(&all);
    chat_rig_end(&r);
}

TEST(chat_figures_tell_what_of_the_memory_is_used)
{
    static const struct {
        int32_t n_passes;
        double bytes_per_s;
        const char *text;
    } cases[] = {
        { 0, 40e9, "986 MB for a token" },
        { 30, 0, "986 MB for a token, 29.6 GB/s in the last answer" },
        { 30, 40e9, "986 MB for a token, 29.6 GB/s in the last answer: 74 % of the memory's 40.0" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct chat_rig r;
        struct chat_figure rows[CHAT_FIGURES];
        struct mail mail = { .kind = MAIL_STATS, .stats = { .token_bytes = 986000000,
                                                            .memory_bytes_per_s = cases[i].bytes_per_s } };
        const char *found = "";
        chat_rig_ready(t, &r);
        chat_rig_exchange(&r, "one", "first");
        chat_take(&r.chat, &mail);
        struct message *answer = r.chat.transcript.path[r.chat.transcript.n_path - 1];
        answer->timings.generate_ms = 1000;
        answer->timings.n_passes = cases[i].n_passes;
        int32_t n = chat_figures(&r.chat, rows);
        for (int32_t k = 0; k < n; k++)
            found = strcmp(rows[k].name, "Reads") == 0 ? rows[k].text : found;
        CHECK_TEXT(t, found, cases[i].text);
        chat_rig_end(&r);
    }
}

TEST(chat_drafts_are_asked_for_as_set_and_explained)
{
    struct chat_rig r;
    char now[PORT_TEXT_BYTES];
    chat_rig_ready(t, &r);
    chat_rig_exchange(&r, "one", "first");
    CHECK_INT(t, r.generate.spec, SPEC_AUTO);
    CHECK(t, chat_enter(&r.chat, "/spec 8"));
    CHECK(t, strstr(chat_rig_text(&r), "up to 8 tokens at a time") != NULL, "%s", chat_rig_text(&r));
    chat_drafts_text(&r.chat, now, sizeof now);
    CHECK_TEXT(t, now, "up to 8 tokens at a time, from the next answer on");
    chat_rig_exchange(&r, "two", "second");
    CHECK_INT(t, r.generate.spec, 8);
    snprintf(r.chat.stats.spec_note, sizeof r.chat.stats.spec_note, "nothing repeats here");
    CHECK(t, chat_enter(&r.chat, "/spec"));
    CHECK(t, strstr(chat_rig_text(&r), "Now: off, because nothing repeats here.") != NULL, "%s", chat_rig_text(&r));
    CHECK(t, strstr(chat_rig_text(&r), "Last answer: none yet.") != NULL, "%s", chat_rig_text(&r));
    CHECK(t, chat_enter(&r.chat, "/spec off") && chat_enter(&r.chat, "/regen"));
    CHECK_INT(t, r.generate.spec, SPEC_OFF);
    chat_drafts_text(&r.chat, now, sizeof now);
    CHECK_TEXT(t, now, "switched off; /spec auto switches them on");
    CHECK(t, chat_enter(&r.chat, "/spec auto"));
    static const char *const wrong[] = { "/spec 0", "/spec 32", "/spec 8x", "/spec on", "/spec -1" };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        CHECK(t, !chat_enter(&r.chat, wrong[i]), "%s", wrong[i]);
        CHECK(t, strstr(chat_rig_text(&r), "from 1 to 31") != NULL, "%s", chat_rig_text(&r));
    }
    CHECK_INT(t, r.chat.spec, SPEC_AUTO);
    chat_rig_end(&r);
}

TEST(chat_drafts_are_counted_while_it_answers_and_told_after)
{
    struct chat_rig r;
    struct chat_figure rows[CHAT_FIGURES];
    struct buf all = { 0 };
    chat_rig_ready(t, &r);
    chat_enter(&r.chat, "go");
    struct mail stats = { .kind = MAIL_STATS, .stats = { .n_passes = 10, .n_drafted = 20, .n_accepted = 15 } };
    chat_take(&r.chat, &stats);    /* of the answer before */
    CHECK_INT(t, r.chat.drafts.n_passes, 0);
    chat_rig_prompt(&r, 10);
    chat_rig_tokens(&r, "x");
    chat_take(&r.chat, &stats);
    CHECK_INT(t, drafts_percent(&r.chat.drafts), 75);
    CHECK(t, drafts_per_pass(&r.chat.drafts) == 2.5);
    struct mail done = { .kind = MAIL_EVENT, .request = r.answered,
                         .event = { .kind = EVENT_DONE, .timings = { .n_prompt = 10, .n_generated = 600, .n_passes = 210,
                                    .n_drafted = 530, .n_accepted = 412, .saved_ms = 3200 } } };
    chat_take(&r.chat, &done);
    chat_take(&r.chat, &(struct mail){ .kind = MAIL_STATS });    /* preparing what is asked next has no drafts */
    int32_t n = chat_figures(&r.chat, rows);
    for (int32_t i = 0; i < n; i++)
        buf_printf(&all, "%s: %s\n", rows[i].name, rows[i].text);
    CHECK(t, strstr(buf_text(&all), "Drafts: 412 of 530 right (77 %), 3.0 tokens a pass, 3.2 s saved\n"), "%s",
          buf_text(&all));
    CHECK(t, strstr(buf_text(&all), "Drafts now: as many as pay\n"), "%s", buf_text(&all));
    buf_finish(&all);
    chat_rig_end(&r);
}

TEST(chat_drafts_that_cost_time_are_said_to)
{
    struct drafts d = { .n_passes = 30, .n_drafted = 30, .n_accepted = 3, .saved_ms = -120 };
    char text[DRAFTS_TEXT_BYTES];
    drafts_text(&d, text);
    CHECK_TEXT(t, text, "3 of 30 right (10 %), 1.1 tokens a pass, 120 ms lost");
    d.saved_ms = -2345;
    drafts_saved_text(&d, text);
    CHECK_TEXT(t, text, "2.3 s lost");
    d.saved_ms = 0;    /* what a pass costs is not known */
    drafts_text(&d, text);
    CHECK_TEXT(t, text, "3 of 30 right (10 %), 1.1 tokens a pass");
    drafts_text(&(struct drafts){ .n_passes = 3 }, text);
    CHECK_TEXT(t, text, "none made");
}

TEST(chat_knows_which_text_came_from_drafts)
{
    static const struct eng_event tokens[] = {
        { .kind = EVENT_TOKEN, .token = 1, .text = "<think>a" },
        { .kind = EVENT_TOKEN, .token = 2, .text = " b", .drafted = true },    /* thoughts do not count */
        { .kind = EVENT_TOKEN, .token = 3, .text = "</think>" },
        { .kind = EVENT_TOKEN, .token = 4, .text = "\n\none", .drafted = true },
        { .kind = EVENT_TOKEN, .token = 5, .text = " two", .drafted = true },
        { .kind = EVENT_TOKEN, .token = -1, .text = "!" },    /* goes on with the token before */
        { .kind = EVENT_TOKEN, .token = 6, .text = " three" },
        { .kind = EVENT_TOKEN, .token = 7, .text = "", .drafted = true },
        { .kind = EVENT_TOKEN, .token = 8, .text = " four", .drafted = true },
    };
    struct chat_rig r;
    chat_rig_ready(t, &r);
    chat_enter(&r.chat, "go");
    chat_rig_prompt(&r, 10);
    for (size_t i = 0; i < sizeof tokens / sizeof tokens[0]; i++)
        chat_rig_event(&r, &tokens[i]);
    const struct message *m = chat_rig_last(&r);
    CHECK_TEXT(t, buf_text(&m->text), "one two! three four");
    CHECK_INT(t, m->n_drafted, 2);
    CHECK(t, m->drafted[0].from == 0 && m->drafted[0].end == 8, "%zu to %zu", m->drafted[0].from, m->drafted[0].end);
    CHECK(t, m->drafted[1].from == 14 && m->drafted[1].end == 19, "%zu to %zu", m->drafted[1].from, m->drafted[1].end);
    CHECK(t, chat_enter(&r.chat, "/spec show") && r.chat.show_drafts);
    CHECK(t, chat_enter(&r.chat, "/spec show") && !r.chat.show_drafts);
    chat_rig_end(&r);
}

TEST(chat_notes_that_an_answer_repeats_itself_and_cuts_nothing)
{
    struct chat_rig r;
    chat_rig_ready(t, &r);
    chat_enter(&r.chat, "go");
    chat_rig_prompt(&r, 10);
    chat_rig_tokens(&r, "la ");
    CHECK_INT(t, r.chat.n_repeated, 0);
    chat_rig_event(&r, &(struct eng_event){ .kind = EVENT_TOKEN, .token = 5, .n_repeated = 1, .text = "la " });
    chat_rig_event(&r, &(struct eng_event){ .kind = EVENT_TOKEN, .token = -1, .text = "and " });
    CHECK_INT(t, r.chat.n_repeated, 1);
    CHECK_INT(t, r.chat.state, CHAT_ANSWERING);
    CHECK_INT(t, r.cancelled, 0);
    chat_rig_tokens(&r, "on");
    CHECK_INT(t, r.chat.n_repeated, 0);
    chat_rig_event(&r, &(struct eng_event){ .kind = EVENT_TOKEN, .token = 5, .n_repeated = 1, .text = "la " });
    chat_rig_done(&r, DONE_LENGTH);
    CHECK_INT(t, r.chat.n_repeated, 0);
    chat_rig_end(&r);
}

TEST(chat_a_warning_that_comes_late_is_a_card)
{
    struct chat_rig r;
    chat_rig_ready(t, &r);
    struct mail mail = { .kind = MAIL_WARNING, .text = "a file is damaged" };
    chat_take(&r.chat, &mail);
    CHECK_INT(t, chat_rig_last(&r)->role, MESSAGE_WARNING);
    CHECK(t, strstr(buf_text(&chat_rig_last(&r)->text), "a file is damaged") != NULL);
    chat_rig_end(&r);
}

TEST(chat_thoughts_are_told_from_the_answer)
{
    struct chat_rig r;
    chat_rig_ready(t, &r);
    chat_enter(&r.chat, "hello");
    chat_rig_prompt(&r, 3);
    chat_rig_tokens(&r, "<thi");
    CHECK_TEXT(t, buf_text(&chat_rig_last(&r)->text), "");
    chat_rig_tokens(&r, "nk>\nhm");
    CHECK(t, chat_rig_last(&r)->thinking_open);
    chat_rig_tokens(&r, "m</th");
    chat_rig_tokens(&r, "ink>\n\nYes");
    CHECK(t, !chat_rig_last(&r)->thinking_open);
    chat_rig_done(&r, DONE_END);
    CHECK_TEXT(t, buf_text(&chat_rig_last(&r)->thinking), "hmm");
    CHECK_TEXT(t, buf_text(&chat_rig_last(&r)->text), "Yes");
    CHECK(t, chat_rig_last(&r)->thinking_s > 0.9, "%g", chat_rig_last(&r)->thinking_s);
    chat_enter(&r.chat, "/think off");
    chat_enter(&r.chat, "more");
    CHECK_INT(t, r.enable_thinking, 0);
    CHECK(t, strstr(buf_text(&r.prompt), "assistant: Yes\n") != NULL, "%s", buf_text(&r.prompt));
    chat_rig_end(&r);
}

TEST(chat_a_model_that_fails_leaves_the_old_one)
{
    struct chat_rig r;
    chat_rig_ready(t, &r);
    char path[PATHS_BYTES];
    snprintf(path, sizeof path, "%s/bad.gguf", test_folder(t));
    chat_rig_put_file(path, "x");
    chat_enter(&r.chat, "/model bad");
    CHECK_INT(t, r.chat.state, CHAT_READY);
    CHECK(t, r.chat.opening[0] != '\0');
    struct mail mail = { .kind = MAIL_MODEL_FAILED, .request = r.opened, .text = "bad.gguf: not a GGUF file" };
    chat_take(&r.chat, &mail);
    CHECK_INT(t, r.chat.state, CHAT_READY);
    CHECK_INT(t, chat_rig_last(&r)->role, MESSAGE_ERROR);
    chat_enter(&r.chat, "still there?");
    CHECK_INT(t, r.n_answers, 1);
    chat_rig_end(&r);
}

TEST(chat_a_system_prompt_file_is_read_again_when_it_changes)
{
    struct chat_rig r;
    struct err e;
    char path[PATHS_BYTES];
    chat_rig_ready(t, &r);
    snprintf(path, sizeof path, "%s/system.txt", test_folder(t));
    chat_rig_put_file(path, "Be brief.");
    CHECK(t, chat_system_file(&r.chat, "~/system.txt", &e) == ERR_OK, "%s", e.text);
    chat_enter(&r.chat, "hello");
    CHECK_TEXT(t, buf_text(&r.prompt), "system: Be brief.\nuser: hello\n");
    chat_rig_prompt(&r, 3);
    chat_rig_tokens(&r, "ok");
    chat_rig_done(&r, DONE_END);
    chat_rig_put_file(path, "Be very brief.");
    struct timespec past[2] = { { .tv_sec = 1000 }, { .tv_sec = 1000 } };
    CHECK(t, utimensat(AT_FDCWD, path, past, 0) == 0);
    chat_enter(&r.chat, "more");
    CHECK(t, strncmp(buf_text(&r.prompt), "system: Be very brief.\n", 23) == 0, "%s", buf_text(&r.prompt));
    CHECK(t, chat_system_file(&r.chat, test_folder(t), &e) == ERR_IO);
    CHECK(t, strstr(e.text, "not a file") != NULL, "%s", e.text);
    chat_rig_end(&r);
}

TEST(chat_commands)
{
    struct chat_rig r;
    chat_rig_ready(t, &r);
    CHECK(t, slash_is_command("/help") && slash_is_command("/nope x"));
    CHECK(t, !slash_is_command("//not") && !slash_is_command("/usr/bin") && !slash_is_command("a /help"));
    CHECK(t, chat_enter(&r.chat, "/help") && r.shown == PANEL_HELP);
    CHECK(t, chat_enter(&r.chat, "/model  ") && r.shown == PANEL_MODELS);
    CHECK(t, !chat_enter(&r.chat, "/hlep"));
    CHECK(t, strstr(buf_text(&chat_rig_last(&r)->text), "did you mean /help") != NULL);
    CHECK(t, chat_enter(&r.chat, "/set top-k 7") && chat_enter(&r.chat, "/temp 0.25"));
    CHECK(t, !chat_enter(&r.chat, "/temp hot") && !chat_enter(&r.chat, "/set tpo-k 1"));
    CHECK(t, chat_enter(&r.chat, "/quit") && r.n_quits == 1);
    chat_enter(&r.chat, "//bin is a folder");
    CHECK_TEXT(t, buf_text(&r.prompt), "user: /bin is a folder\n");
    CHECK_INT(t, r.generate.sampling.top_k, 7);
    CHECK(t, r.generate.sampling.temperature == 0.25f);
    chat_rig_end(&r);
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
    struct chat_rig r;
    char path[PATHS_BYTES], command[PATHS_BYTES + 16];
    chat_rig_ready(t, &r);
    chat_enter(&r.chat, "hello");
    chat_rig_prompt(&r, 3);
    chat_rig_tokens(&r, "hi");
    chat_rig_done(&r, DONE_END);
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
    chat_rig_end(&r);
}

TEST(chat_new_while_it_answers_leaves_no_card_of_the_old_answer)
{
    struct chat_rig r;
    chat_rig_ready(t, &r);
    chat_enter(&r.chat, "hello");
    chat_new(&r.chat);
    chat_rig_prompt(&r, 30);
    chat_rig_done(&r, DONE_CANCELLED);
    CHECK_INT(t, r.chat.transcript.n_path, 0);
    CHECK_INT(t, r.chat.n_ctx_used, 0);
    CHECK_INT(t, r.chat.state, CHAT_READY);
    chat_rig_end(&r);
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
