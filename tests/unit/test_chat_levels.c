/* SPDX-License-Identifier: MIT */
/* Levels of a model in the chat: switched to, made, measured, compared. */
#include <stdio.h>
#include <stdlib.h>

#include "app/chat/chat.h"
#include "tests/support/chat_rig.h"

static void put_model(struct test *t, const char *name, char path[PATHS_BYTES])
{
    snprintf(path, PATHS_BYTES, "%s/%s.gguf", test_folder(t), name);
    chat_rig_put_file(path, "x");
}

/* The new one takes over an answer where it can. */
static void arrive_in_answer(struct chat_rig *r, const char *path, bool is_back)
{
    struct mail mail = { .kind = MAIL_MODEL, .request = r->opened, .model = calloc(1, sizeof *mail.model) };
    snprintf(mail.model->path, sizeof mail.model->path, "%s", path);
    snprintf(mail.model->name, sizeof mail.model->name, "n");
    snprintf(mail.model->level, sizeof mail.model->level, "Q2_K");
    mail.model->n_ctx = 4096;
    mail.model->in_answer = true;
    mail.model->is_back = is_back;
    mail.model->load_s = 1.25;
    sampler_params_default(&mail.model->sampling);
    chat_take(&r->chat, &mail);
}

TEST(chat_a_model_switch_lets_the_answer_go_on)
{
    struct chat_rig r;
    char path[PATHS_BYTES];
    chat_rig_ready(t, &r);
    put_model(t, "n", path);
    chat_enter(&r.chat, "hello");
    chat_rig_prompt(&r, 3);
    chat_rig_tokens(&r, "half");
    chat_enter(&r.chat, "/model n");
    CHECK_TEXT(t, r.path, path);
    CHECK_INT(t, r.cancelled, 0);
    CHECK_INT(t, r.chat.state, CHAT_ANSWERING);
    chat_rig_tokens(&r, " of");
    arrive_in_answer(&r, path, false);
    CHECK_TEXT(t, chat_rig_text(&r), "n (Q2_K) answers from here on, after 1.2 s; it reads the chat and goes on.");
    CHECK_INT(t, r.chat.state, CHAT_ANSWERING);
    CHECK_INT(t, r.chat.n_prompt, 3);
    chat_rig_tokens(&r, " it");
    chat_enter(&r.chat, "and you?");
    CHECK_INT(t, r.n_answers, 1);
    chat_rig_done(&r, DONE_END);
    CHECK_INT(t, r.n_answers, 2);
    CHECK_TEXT(t, buf_text(&r.prompt), "user: hello\nassistant: half of it\nuser: and you?\n");
    chat_rig_end(&r);
}

TEST(chat_goes_back_to_the_model_before)
{
    struct chat_rig r;
    char before[PATHS_BYTES], path[PATHS_BYTES];
    chat_rig_ready(t, &r);
    snprintf(before, sizeof before, "%s", r.chat.model->path);
    put_model(t, "n", path);
    chat_enter(&r.chat, "/model -");
    CHECK_TEXT(t, chat_rig_text(&r), "There was none before this one.");
    chat_enter(&r.chat, "/model n");
    chat_enter(&r.chat, "/model -");    /* not there yet: it is not to come */
    CHECK_TEXT(t, r.path, before);
    chat_rig_model(&r, before);
    CHECK_TEXT(t, r.chat.opening, "");
    chat_enter(&r.chat, "/model n");
    chat_rig_model(&r, path);
    chat_enter(&r.chat, "/model -");
    CHECK_TEXT(t, r.path, before);
    chat_rig_model(&r, before);
    chat_enter(&r.chat, "/model -");
    CHECK_TEXT(t, r.path, path);
    chat_rig_end(&r);
}

/* ---- levels ---------------------------------------------------------------------------------------- */

/* The model in use, another level that is here, one that can be made, and a file that cannot be read. */
static void bring_levels(struct chat_rig *r, const char *here)
{
    struct mail mail = { .kind = MAIL_LEVELS, .levels = calloc(1, sizeof *mail.levels) };
    struct port_levels *l = mail.levels;
    static const char *const names[] = { "F16", "Q8_0", "Q4_K_M", "Q2_K" };
    l->n = 4;
    snprintf(l->source, sizeof l->source, "%s", r->chat.model->path);
    for (int i = 0; i < l->n; i++) {
        struct port_level *row = &l->rows[i];
        snprintf(row->level, sizeof row->level, "%s", names[i]);
        snprintf(row->path, sizeof row->path, "%s", i == 0 ? r->chat.model->path : i == 1 ? here : "/m/made.gguf");
        row->is_here = i != 2;
        row->is_best = i == 0;
        row->file_bytes = 1000000000u >> i;
        row->bits = 16 >> i;
        row->is_priced = true;
        row->fits = i > 0;
        row->needed_bytes = 1200000000u >> i;
        row->spare_bytes = i > 0 ? 700000000 : -200000000;
        if (i == 0)
            snprintf(row->instead, sizeof row->instead, "level Q8_0, which is here: 600 MB");
        row->speed = i == 1 ? PORT_MEASURED : PORT_ESTIMATED;
        row->tokens_per_s = 9.25 * (1 << i);
        row->quality = i == 0 ? PORT_UNKNOWN : i == 1 ? PORT_MEASURED : PORT_ESTIMATED;
        row->kl = 0.0012 * i * i * i * i;
    }
    snprintf(l->rows[3].problem, sizeof l->rows[3].problem, "cut short");
    chat_take(&r->chat, &mail);
}

TEST(chat_levels_are_told_with_what_is_measured_and_what_is_not)
{
    struct chat_rig r;
    char text[256];
    chat_rig_ready(t, &r);
    chat_enter(&r.chat, "/level");
    CHECK_INT(t, r.n_levels_wanted, 1);
    bring_levels(&r, "/m/q8.gguf");
    CHECK_TEXT(t, chat_rig_text(&r),
               "LEVEL          SIZE   BITS       MEMORY    TOK/S        KL\n"
               "F16         1.00 GB  16.00   1.20 GB no     ~9.2      best  in use\n"
               "Q8_0         500 MB   8.00       600 MB       18    0.0012  here\n"
               "Q4_K_M       250 MB   4.00       300 MB      ~37   ~0.0192  make\n"
               "Q2_K         125 MB   2.00       150 MB      ~74   ~0.0972  damaged");
    chat_level_detail(&r.chat, &r.chat.levels->rows[0], text, sizeof text);
    CHECK_TEXT(t, text, "200 MB more than there is; this fits: level Q8_0, which is here: 600 MB \xc2\xb7 answers now");
    chat_level_detail(&r.chat, &r.chat.levels->rows[1], text, sizeof text);
    CHECK_TEXT(t, text, "700 MB left \xc2\xb7 Enter switches");
    r.chat.n_ctx_used = 800;
    r.chat.read_per_s = 200;
    chat_level_detail(&r.chat, &r.chat.levels->rows[1], text, sizeof text);
    CHECK_TEXT(t, text, "700 MB left \xc2\xb7 the chat's 800 tokens are read again: about 4.0 s");
    r.chat.model->n_parked = 1;
    snprintf(r.chat.model->parked[0], PORT_PATH_BYTES, "/m/q8.gguf");
    chat_level_detail(&r.chat, &r.chat.levels->rows[1], text, sizeof text);
    CHECK_TEXT(t, text, "700 MB left \xc2\xb7 still has the chat as it was: what was said since is read");
    chat_level_detail(&r.chat, &r.chat.levels->rows[2], text, sizeof text);
    CHECK_TEXT(t, text, "700 MB left \xc2\xb7 Enter makes it from m.gguf");
    int n_wanted = r.n_levels_wanted;
    chat_enter(&r.chat, "/ctx 2048");    /* prices follow */
    chat_rig_model(&r, r.chat.model->path);
    CHECK_INT(t, r.n_levels_wanted, n_wanted + 1);
    chat_rig_end(&r);
}

TEST(chat_level_by_name_switches_or_makes)
{
    struct chat_rig r;
    char path[PATHS_BYTES];
    chat_rig_begin(t, &r);
    chat_enter(&r.chat, "/level Q8_0");
    CHECK_TEXT(t, chat_rig_text(&r), "There is no model whose levels to choose from.");
    chat_rig_end(&r);
    chat_rig_ready(t, &r);
    put_model(t, "q8", path);
    chat_enter(&r.chat, "/level q8_0");
    bring_levels(&r, path);
    CHECK_TEXT(t, r.path, path);
    chat_enter(&r.chat, "/level Q5_K_M");
    bring_levels(&r, path);
    CHECK_TEXT(t, chat_rig_text(&r), "'Q5_K_M' is none of F16, Q8_0, Q4_K_M, Q2_K.");
    chat_enter(&r.chat, "/level Q2_K");
    bring_levels(&r, path);
    CHECK_TEXT(t, chat_rig_text(&r), "Q2_K: cut short");

    chat_enter(&r.chat, "/level Q4_K_M");
    bring_levels(&r, path);
    CHECK_TEXT(t, r.made_level, "Q4_K_M");
    CHECK_TEXT(t, r.made, "/m/made.gguf");
    CHECK_TEXT(t, r.made_from, r.chat.model->path);
    CHECK(t, !r.made_requantized);
    CHECK_TEXT(t, chat_rig_text(&r), "Q4_K_M, 250 MB.");
    chat_enter(&r.chat, "/level Q4_K_M");
    bring_levels(&r, path);
    CHECK_TEXT(t, chat_rig_text(&r), "Q4_K_M is still being made.");
    chat_make_progress(&r.chat, 10, 40);
    r.now_s += 2.5;
    int n_wanted = r.n_levels_wanted;
    chat_made(&r.chat, NULL);
    CHECK_TEXT(t, chat_rig_text(&r), "Q4_K_M is here now, after 2.5 s.");
    CHECK_INT(t, r.n_levels_wanted, n_wanted + 1);

    chat_enter(&r.chat, "/level Q4_K_M");
    bring_levels(&r, path);
    chat_enter(&r.chat, "/stop");
    CHECK_INT(t, r.n_stopped_making, 1);
    chat_made(&r.chat, "");
    CHECK_TEXT(t, chat_rig_text(&r), "Q4_K_M is not made, and nothing is left of it.");
    chat_enter(&r.chat, "/level Q4_K_M");
    bring_levels(&r, path);
    chat_made(&r.chat, "no room");
    CHECK_TEXT(t, chat_rig_text(&r), "Q4_K_M: no room");
    chat_rig_end(&r);
}

TEST(chat_measures_a_level)
{
    struct chat_rig r;
    char path[PATHS_BYTES];
    chat_rig_ready(t, &r);
    put_model(t, "q8", path);
    chat_enter(&r.chat, "/measure Q4_K_M");
    bring_levels(&r, path);
    CHECK_TEXT(t, chat_rig_text(&r), "Q4_K_M is not here.");
    chat_enter(&r.chat, "/measure q8_0");
    bring_levels(&r, path);
    CHECK_TEXT(t, r.measured, path);
    CHECK_TEXT(t, r.measured_base, r.chat.model->path);
    chat_enter(&r.chat, "/measure F16");
    bring_levels(&r, path);
    CHECK_TEXT(t, chat_rig_text(&r), "Q8_0 is still being measured.");
    struct mail mail = { .kind = MAIL_MEASURED, .request = r.measured_id, .measured.share = 0.25 };
    chat_take(&r.chat, &mail);
    CHECK(t, r.chat.measure_share == 0.25);
    mail.measured.is_over = true;
    mail.measured.answer_per_s = 40.25;
    mail.measured.prompt_per_s = 130;
    mail.measured.kl = 0.0312;
    mail.measured.kl_low = 0.028;
    mail.measured.kl_high = 0.0351;
    mail.measured.same_top = 0.912;
    mail.measured.n_tokens = 630;
    int n_wanted = r.n_levels_wanted;
    chat_take(&r.chat, &mail);
    CHECK_TEXT(t, chat_rig_text(&r), "Q8_0: 40.2 tokens/s, 130 of a prompt; KL from the best level 0.0312 (0.0280 to 0.0351), "
               "same first choice 91.2 %, of 630 tokens.");
    CHECK_INT(t, r.n_levels_wanted, n_wanted + 1);
    chat_enter(&r.chat, "/measure F16");
    bring_levels(&r, path);
    CHECK_TEXT(t, r.measured_base, "");    /* the best: speed alone */
    chat_enter(&r.chat, "/stop");
    CHECK_INT(t, r.n_stopped, 1);
    struct mail not = { .kind = MAIL_NOT_MEASURED, .request = r.measured_id };
    chat_take(&r.chat, &not);
    CHECK_TEXT(t, chat_rig_text(&r), "F16 was stopped.");
    chat_rig_end(&r);
}

/* ---- two of them side by side ---------------------------------------------------------------------- */

/* One token of a side's answer, or its end. */
static void side_says(struct chat_rig *r, int32_t side, const char *text)
{
    struct mail mail = { .kind = MAIL_COMPARE_EVENT, .request = r->compared_id, .side = side,
                         .event = { .kind = text ? EVENT_TOKEN : EVENT_DONE, .token = 7 } };
    if (text) {
        snprintf(mail.event.text, sizeof mail.event.text, "%s", text);
        mail.event.n_text = (int32_t)strlen(text);
    }
    chat_take(&r->chat, &mail);
}

static void both_are_there(struct chat_rig *r)
{
    struct mail mail = { .kind = MAIL_COMPARE_PROMPT, .request = r->compared_id };
    chat_take(&r->chat, &mail);
}

static void is_judged(struct chat_rig *r)
{
    struct mail mail = { .kind = MAIL_COMPARED, .request = r->compared_id,
                         .compared = { .sides = { { .n_tokens = 4, .answer_per_s = 10, .is_whole = true },
                                                  { .n_tokens = 3, .answer_per_s = 17 } },
                                       .n_same = 2, .n_judged = 30, .differ = true, .kl = 0.0132, .kl_low = 0.01,
                                       .kl_high = 0.0171, .same_top = 0.923 } };
    chat_take(&r->chat, &mail);
}

/* The level in use, F16, and Q8_0, after a question and its answer. */
static void ready_to_compare(struct test *t, struct chat_rig *r)
{
    chat_rig_ready(t, r);
    chat_rig_exchange(r, "why?", "so");
}

TEST(chat_compares_two_levels_over_what_was_asked_last)
{
    struct chat_rig r;
    struct chat_compare_texts texts;
    char path[PATHS_BYTES];
    ready_to_compare(t, &r);
    put_model(t, "q8", path);
    chat_enter(&r.chat, "/compare Q8_0");
    bring_levels(&r, path);
    CHECK_INT(t, r.shown, PANEL_COMPARE);
    CHECK_TEXT(t, r.pair.paths[0], r.chat.model->path);
    CHECK_TEXT(t, r.pair.paths[1], path);
    CHECK(t, r.pair.base == 0 && r.pair.first == 0);
    CHECK_TEXT(t, buf_text(&r.prompt), "user: why?\n");
    CHECK_TEXT(t, buf_text(&r.chat.compare.prompt), "why?");
    CHECK(t, r.generate.n_predict > 0 && chat_compare_is_busy(&r.chat));
    both_are_there(&r);
    side_says(&r, 0, "<think>hm");
    side_says(&r, 0, "</think>");
    side_says(&r, 1, "More ");
    side_says(&r, 0, "More ");
    side_says(&r, 1, "or less");
    side_says(&r, 0, "often");
    side_says(&r, 1, NULL);
    CHECK_INT(t, r.chat.compare.state, COMPARE_ANSWERING);
    side_says(&r, 0, NULL);
    CHECK_INT(t, r.chat.compare.state, COMPARE_JUDGING);
    is_judged(&r);
    chat_compare_texts(&r.chat, &texts);
    CHECK_INT(t, texts.n_quiet[0], 5);
    CHECK_INT(t, texts.n_thoughts[0], 1);
    CHECK_TEXT(t, buf_text(texts.texts[0]), "More often");
    CHECK_TEXT(t, buf_text(texts.texts[1]), "More or less");
    CHECK_TEXT(t, texts.labels[0], "1  F16");
    CHECK_TEXT(t, texts.status[0], "4 tokens, 10.0 tok/s");
    CHECK_TEXT(t, texts.status[1], "3 tokens, 17.0 tok/s, cut");
    CHECK_TEXT(t, texts.lines[0], "first difference at token 3 \xc2\xb7 same first choice 92.3 % \xc2\xb7 KL from F16 0.0132 "
               "(0.0100 to 0.0171)");
    CHECK_TEXT(t, texts.lines[1], "Q8_0 is 1.70 times as fast and takes 600 MB less");
    CHECK_TEXT(t, texts.lines[2], "");
    chat_compare_keep(&r.chat, true);
    CHECK_TEXT(t, r.path, path);
    CHECK_INT(t, r.chat.transcript.n_path, 2);    /* the chat is as it was */
    chat_rig_end(&r);
}

TEST(chat_compares_blind_and_tells_after_the_verdict)
{
    struct chat_rig r;
    struct chat_compare_texts texts;
    char path[PATHS_BYTES];
    bool seen[2] = { false, false };
    ready_to_compare(t, &r);
    uint64_t opened = r.opened;
    put_model(t, "q8", path);
    for (int i = 0; i < 40; i++) {
        r.now_s += 0.0371;
        chat_enter(&r.chat, "/compare Q8_0 blind tell me a story");
        bring_levels(&r, path);
        CHECK_TEXT(t, buf_text(&r.prompt), "user: why?\nassistant: so\nuser: tell me a story\n");
        both_are_there(&r);
        for (int side = 0; side < 2; side++) {
            side_says(&r, side, side ? "one" : "zero");
            side_says(&r, side, NULL);
        }
        chat_compare_say(&r.chat, COMPARE_LEFT);    /* too early */
        chat_compare_keep(&r.chat, false);
        is_judged(&r);
        chat_compare_texts(&r.chat, &texts);
        CHECK_TEXT(t, texts.labels[0], "1");
        CHECK_TEXT(t, texts.status[0], "1 token");
        CHECK(t, strstr(texts.lines[0], "Which is better") && !texts.lines[1][0] && !texts.lines[2][0]);
        bool swapped = strcmp(buf_text(texts.texts[0]), "one") == 0;
        seen[swapped] = true;
        CHECK(t, r.pair.first == swapped && r.opened == opened);
        chat_enter(&r.chat, i == 0 ? "/better 3" : swapped ? "/better 2" : "/better 1");    /* ever F16 */
        chat_compare_texts(&r.chat, &texts);
        CHECK_TEXT(t, texts.labels[0], swapped ? "1  Q8_0" : "1  F16");
        CHECK_TEXT(t, texts.status[swapped], "4 tokens, 10.0 tok/s");
        CHECK(t, texts.lines[0][0] && texts.lines[1][0]);
    }
    CHECK(t, seen[0] && seen[1]);
    CHECK_TEXT(t, texts.lines[2], "found better: F16 39, Q8_0 0, neither 1");
    chat_enter(&r.chat, "/better 1");
    CHECK_INT(t, chat_rig_last(&r)->role, MESSAGE_ERROR);
    chat_rig_end(&r);
}

TEST(chat_comparisons_that_cannot_be_are_said_and_those_that_end_are_over)
{
    struct chat_rig r;
    struct chat_compare_texts texts;
    char path[PATHS_BYTES];
    chat_rig_ready(t, &r);
    put_model(t, "q8", path);
    chat_enter(&r.chat, "/compare Q8_0");
    bring_levels(&r, path);
    CHECK_TEXT(t, chat_rig_text(&r), "There is no question yet that both could answer.");
    chat_rig_exchange(&r, "why?", "so");
    chat_enter(&r.chat, "/compare F16");
    bring_levels(&r, path);
    CHECK_TEXT(t, chat_rig_text(&r), "F16 is in use; another level is wanted beside it.");
    chat_enter(&r.chat, "/compare Q4_K_M");
    bring_levels(&r, path);
    CHECK_TEXT(t, chat_rig_text(&r), "Q4_K_M is not here.");
    chat_enter(&r.chat, "/compare Q2_K");
    bring_levels(&r, path);
    CHECK_TEXT(t, chat_rig_text(&r), "Q2_K cannot be used.");
    r.chat.stats.available_bytes = 400000000;
    chat_enter(&r.chat, "/compare Q8_0");
    bring_levels(&r, path);
    CHECK(t, strstr(chat_rig_text(&r), "it is 100 MB short") != NULL, "%s", chat_rig_text(&r));
    CHECK_INT(t, r.compared_id, 0);
    r.chat.stats.available_bytes = 0;

    chat_enter(&r.chat, "/compare Q8_0");
    bring_levels(&r, path);
    both_are_there(&r);
    side_says(&r, 0, "a");
    chat_compare_texts(&r.chat, &texts);
    CHECK(t, strstr(texts.lines[0], "Enter ends both") != NULL);
    chat_compare_enough(&r.chat);
    CHECK_INT(t, r.n_ended, 1);
    side_says(&r, 1, "a");    /* it was on its way */
    CHECK_INT(t, r.chat.compare.state, COMPARE_JUDGING);
    struct mail mail = { .kind = MAIL_NOT_COMPARED, .request = r.compared_id, .text = "no memory" };
    chat_take(&r.chat, &mail);
    chat_compare_texts(&r.chat, &texts);
    CHECK_TEXT(t, texts.lines[0], "no memory");
    chat_enter(&r.chat, "/compare Q8_0");
    bring_levels(&r, path);
    chat_enter(&r.chat, "/stop");
    CHECK_INT(t, r.n_stopped, 1);
    CHECK_INT(t, r.chat.compare.state, COMPARE_NONE);
    side_says(&r, 0, "late");
    CHECK_INT(t, r.chat.compare.sides[0].text.n_bytes, 0);

    chat_enter(&r.chat, "/stop");    /* what is over is not taken away */
    CHECK_INT(t, r.n_stopped, 1);

    chat_enter(&r.chat, "and then?");    /* while it answers */
    chat_enter(&r.chat, "/compare Q8_0");
    bring_levels(&r, path);
    CHECK_TEXT(t, chat_rig_text(&r), "The answer is still being written; Esc stops it.");
    chat_rig_end(&r);
}
