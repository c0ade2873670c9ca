/* SPDX-License-Identifier: MIT */
/* What stands around drafts: where they come from, when there are none and what is said then, what is remembered.
 * That they change no token: tests/property/test_spec_bits.c. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine/session/session_impl.h"
#include "tests/support/session_rig.h"

enum { N_CTX = 512, N_VOCAB = 96 };

static const struct plan plan = {
    .arch = "llama", .n_layers = 2, .n_embd = 64, .n_ff = 64, .n_head = 2, .n_kv_head = 1, .d_head = 64,
    .n_vocab = N_VOCAB, .n_rot = 64, .rope_base = 10000, .embed_scale = 1, .letters = true
};

/* The model is written once, so that it is the same one when it is opened again. */
static void open_rig(struct test *t, struct session_rig *rig, const char *dir, bool chats)
{
    char path[512];
    struct session_options o = { .n_ctx = N_CTX, .cache_dir = dir, .cache_disk_bytes = dir ? 1 << 20 : 0,
                                 .draft_from_chats = chats };
    snprintf(path, sizeof path, "%s/model.gguf", test_folder(t));
    FILE *f = fopen(path, "rb");
    if (f)
        fclose(f);
    else
        session_rig_write(t, &plan, path);
    session_rig_open(t, rig, path, &o);
}

/* No token twice: such a text drafts nothing from itself. */
static int32_t ascending(int32_t *ids, int32_t first, int32_t n)
{
    for (int32_t i = 0; i < n; i++)
        ids[i] = first + i;
    return n;
}

static struct session_story ask(struct test *t, struct session_rig *rig, const int32_t *ids, int32_t n, int32_t spec)
{
    struct generate_options o = session_rig_greedy(20, 0);
    o.spec = spec;
    return session_rig_ask(t, rig, 0, ids, n, &o);
}

/* Drafts of the first pass alone: what the answer says may repeat. */
static int32_t drafted_at_once(struct test *t, struct session_rig *rig, const int32_t *ids, int32_t n)
{
    struct generate_options o = session_rig_greedy(2, 0);
    o.spec = SPEC_MOST;
    o.n_predict = 3;
    struct session_story story = session_rig_ask(t, rig, 0, ids, n, &o);
    return story.done.timings.n_drafted;
}

/* The first token that follows ids. */
static int32_t next_of(struct test *t, struct session_rig *rig, const int32_t *ids, int32_t n)
{
    struct generate_options o = session_rig_greedy(1, 0);
    return session_rig_ask(t, rig, 0, ids, n, &o).ids[0];
}

TEST(session_spec_drafts_from_texts_at_hand)
{
    struct session_rig rig;
    struct err e;
    int32_t ids[40], n = ascending(ids, 10, 30);
    open_rig(t, &rig, NULL, false);
    ids[n++] = next_of(t, &rig, ids, 30);    /* the answer's first token, so that the next pass drafts after it */
    for (int32_t i = 0; i + 1 < n; i++)
        if (ids[i] == ids[n - 1])
            SKIP(t, "the random model says a token of its prompt");
    CHECK_INT(t, drafted_at_once(t, &rig, ids, 30), 0);

    char said[256] = "";
    size_t n_bytes, n_said = 0;
    for (int32_t i = 20; i < n; i++) {
        const char *piece = model_piece(rig.model, ids[i], &n_bytes);
        memcpy(said + n_said, piece, n_bytes);
        n_said += n_bytes;
    }
    strcat(said, "abcdefgh");
    struct text_part texts[2] = { { "nothing", 7, false }, { said, strlen(said), false } };
    CHECK_INT(t, session_draft_from(rig.session, texts, 2, &e), ERR_OK, "%s", e.text);
    CHECK(t, drafted_at_once(t, &rig, ids, 30) > 0);
    CHECK_INT(t, session_draft_from(rig.session, NULL, 0, &e), ERR_OK);
    CHECK_INT(t, drafted_at_once(t, &rig, ids, 30), 0, "forgotten");

    struct text_part many[SESSION_MAX_TEXTS + 1];
    for (int32_t i = 0; i <= SESSION_MAX_TEXTS; i++)
        many[i] = texts[1];
    CHECK_INT(t, session_draft_from(rig.session, many, SESSION_MAX_TEXTS, &e), ERR_OK);
    CHECK_INT(t, session_draft_from(rig.session, many, SESSION_MAX_TEXTS + 1, &e), ERR_UNSUPPORTED);
    CHECK_TEXT(t, e.text, "texts to draft from: 65, at most 64 allowed");
    char *large = malloc((1 << 20) + 2);
    CHECK(t, large != NULL);
    memset(large, 'a', (1 << 20) + 1);
    struct text_part whole = { large, (1 << 20) + 1, false };
    CHECK_INT(t, session_draft_from(rig.session, &whole, 1, &e), ERR_UNSUPPORTED);
    CHECK_TEXT(t, e.text, "texts to draft from: 1048578 tokens up to text 1, at most 1048576 allowed");
    free(large);
    CHECK(t, drafted_at_once(t, &rig, ids, 30) > 0, "those given before stay");
    session_rig_close(&rig);
}

TEST(session_spec_drafts_from_closed_chats_where_that_is_allowed)
{
    for (int32_t allowed = 0; allowed < 2; allowed++) {
        struct session_rig rig;
        int32_t ids[64], n = ascending(ids, 10, 30);
        open_rig(t, &rig, NULL, allowed);
        struct session_story first = ask(t, &rig, ids, n, SPEC_OFF);
        session_close_chat(rig.session, 0);
        /* What the chat ended with, and a new beginning. */
        ids[0] = 5;
        int32_t n_drafted = drafted_at_once(t, &rig, ids, n);
        if (next_of(t, &rig, ids, n) != first.ids[0] && allowed)
            SKIP(t, "the random model goes on differently");
        CHECK_INT(t, n_drafted > 0, allowed);
        for (int32_t i = 0; i < 3 * SESSION_MAX_TEXTS; i++) {    /* the oldest go */
            ask(t, &rig, ids, 1 + i % 20, SPEC_OFF);
            session_close_chat(rig.session, 0);
        }
        CHECK_INT(t, rig.model->caches->texts.n, allowed ? SESSION_MAX_TEXTS : 0);
        session_rig_close(&rig);
    }
}

/* ---- what passes cost ------------------------------------------------------------------------------- */

static int32_t n_files(const char *dir, const char *ending, char *path, size_t n_bytes)
{
    int32_t n = 0;
    DIR *d = opendir(dir);
    for (struct dirent *entry; d && (entry = readdir(d));) {
        const char *dot = strrchr(entry->d_name, '.');
        if (dot && strcmp(dot, ending) == 0 && ++n)
            snprintf(path, n_bytes, "%s/%s", dir, entry->d_name);
    }
    if (d)
        closedir(d);
    return n;
}

TEST(session_spec_measures_passes_once)
{
    char dir[512], path[1024];
    struct session_rig rig;
    struct err e;
    snprintf(dir, sizeof dir, "%s/once", test_folder(t));
    open_rig(t, &rig, dir, false);
    CHECK(t, session_pass_ms(rig.session, 1) == 0, "not known");
    CHECK_INT(t, session_measure_passes(rig.session, 50, false, &e), ERR_OK, "%s", e.text);
    double one = session_pass_ms(rig.session, 1), before = 0;
    for (int32_t n = 1; n <= SPEC_MOST + 1; n++) {
        CHECK(t, session_pass_ms(rig.session, n) >= before && one > 0);
        before = session_pass_ms(rig.session, n);
    }
    CHECK_INT(t, session_measure_passes(rig.session, 50, false, &e), ERR_OK);
    CHECK(t, session_pass_ms(rig.session, 1) == one, "measured again");
    session_rig_close(&rig);

    CHECK_INT(t, n_files(dir, ".passes", path, sizeof path), 1);
    open_rig(t, &rig, dir, false);
    CHECK_INT(t, session_measure_passes(rig.session, 50, false, &e), ERR_OK);
    CHECK(t, fabs(session_pass_ms(rig.session, 1) - one) < 1e-4, "remembered");
    session_rig_close(&rig);
}

TEST(session_spec_does_not_believe_a_damaged_note)
{
    static const char *const notes[] = { "", "quip passes 2", "quip passes 2 99 scalar\n0 1 1 1 1 1 1 1 1 1 1 1 1\n",
                                         "quip passes 2 %d %s", "quip passes 2 %d %s\n",
                                         "quip passes 2 %d %s\n0 1 1 1 1 1 1 1 1 1 1 1\n",
                                         "quip passes 2 %d %s\n-1 1 1 1 1 1 1 1 1 1 1 1 1\n",
                                         "quip passes 2 %d %s\n0 1 1 nan 1 1 1 1 1 1 1 1 1\n",
                                         "quip passes 2 %d %s\n0 1 1 -3 1 1 1 1 1 1 1 1 1\n",
                                         "quip passes 2 %d %s\n0 1 1 1e300 1 1 1 1 1 1 1 1 1\n" };
    char dir[512], path[1024];
    struct session_rig rig;
    struct err e;
    snprintf(dir, sizeof dir, "%s/damaged", test_folder(t));
    open_rig(t, &rig, dir, false);
    CHECK_INT(t, session_measure_passes(rig.session, 20, false, &e), ERR_OK);
    struct engine_info info;
    engine_info(rig.engine, &info);
    session_rig_close(&rig);
    CHECK_INT(t, n_files(dir, ".passes", path, sizeof path), 1);
    for (size_t i = 0; i < sizeof notes / sizeof *notes; i++) {
        char text[256];
        FILE *f = fopen(path, "w");
        CHECK(t, f != NULL);
        snprintf(text, sizeof text, "%s", notes[i]);
        if (i >= 3) {
            const char *rest = strstr(notes[i], "%s") + 2;
            snprintf(text, sizeof text, "quip passes 2 %d %s%s", info.n_threads, info.cpu_tier, rest);
        }
        fputs(text, f);
        CHECK_INT(t, fclose(f), 0);
        open_rig(t, &rig, dir, false);
        CHECK_INT(t, session_measure_passes(rig.session, 20, false, &e), ERR_OK);
        double ms = session_pass_ms(rig.session, 4);
        CHECK(t, ms > 0 && ms < 1e6 && ms != 1, "%s: %f", text, ms);
        session_rig_close(&rig);
    }
}

TEST(session_spec_measuring_can_be_cancelled)
{
    struct session_rig rig;
    struct err e;
    open_rig(t, &rig, NULL, false);
    session_cancel(rig.session);
    CHECK_INT(t, session_measure_passes(rig.session, 50, false, &e), ERR_CANCELLED);
    CHECK(t, session_pass_ms(rig.session, 1) == 0);
    CHECK_INT(t, session_measure_passes(rig.session, 50, false, &e), ERR_OK, "the cancel has had its effect");
    session_rig_close(&rig);
}

/* ---- what is said ----------------------------------------------------------------------------------- */

static const char *note(const struct session_rig *rig)
{
    static struct session_stats stats;
    session_stats(rig->session, &stats);
    return stats.spec_note;
}

static void set_costs(struct session_rig *rig, double first, double more)
{
    double ms[SPEC_POINTS];
    for (int32_t i = 0; i < SPEC_POINTS; i++)
        ms[i] = first + more * (spec_costs_rows(i) - 1);
    spec_costs_set(&rig->model->caches->costs, 0, ms);
}

TEST(session_spec_says_why_nothing_is_drafted)
{
    struct session_rig rig;
    int32_t ids[60], n = ascending(ids, 10, 30);
    open_rig(t, &rig, NULL, false);
    CHECK_TEXT(t, note(&rig), "");
    ask(t, &rig, ids, n, SPEC_OFF);
    CHECK_TEXT(t, note(&rig), "switched off");
    for (int32_t i = 0; i < 60; i++)
        ids[i] = 1 + i % 5;
    struct generate_options o = session_rig_greedy(4, 0);
    o.sampling.bias[o.sampling.n_bias++] = (struct sampler_bias){ .token = 3, .bias = 1000 };    /* it stands there */
    set_costs(&rig, 10, 1000);
    struct session_story dear = session_rig_ask(t, &rig, 0, ids, 60, &o);
    CHECK_INT(t, dear.done.timings.n_drafted, 0);
    CHECK(t, strncmp(note(&rig), "they would not pay: right ", 26) == 0, "%s", note(&rig));
    set_costs(&rig, 1000, 1);
    struct session_story cheap = session_rig_ask(t, &rig, 0, ids, 60, &o);
    CHECK(t, cheap.done.timings.n_drafted > 0);
    rig.model->caches->costs = (struct spec_costs){ 0 };
    for (int32_t i = 0; i < SPEC_KINDS; i++)    /* nothing ever came true: not worth measuring either */
        for (int32_t j = 0; j < SPEC_LENGTHS; j++)
            rig.model->caches->rates.of[0][i][j].n = 1000;
    session_rig_ask(t, &rig, 0, ids, 60, &o);
    CHECK(t, strncmp(note(&rig), "they would not pay: right ", 26) == 0, "%s", note(&rig));
    CHECK(t, !spec_costs_known(&rig.model->caches->costs));
    rig.model->caches->costs_failed = true;
    session_rig_ask(t, &rig, 0, ids, 60, &o);
    CHECK_TEXT(t, note(&rig), "the cost of a pass could not be measured");
    session_rig_close(&rig);
}

/* Seen by the note that measuring leaves: what it measures is the machine's business. On a busy one the times of single
 * passes may have mended the costs before, which is seen by drafts. */
TEST(session_spec_measures_again_what_forbids_likely_guesses)
{
    char dir[512], path[1024];
    struct session_rig rig;
    int32_t ids[60];
    snprintf(dir, sizeof dir, "%s/again", test_folder(t));
    open_rig(t, &rig, dir, false);
    for (int32_t i = 0; i < 60; i++)
        ids[i] = 1 + i % 5;
    struct generate_options o = session_rig_greedy(40, 0);
    o.sampling.bias[o.sampling.n_bias++] = (struct sampler_bias){ .token = 3, .bias = 1000 };
    set_costs(&rig, 1000, 1e6);    /* as if there were nothing to win, by far */
    session_rig_ask(t, &rig, 0, ids, 60, &o);
    CHECK_INT(t, n_files(dir, ".passes", path, sizeof path), 0, "measured too soon");
    o.n_predict = 120;
    struct session_story story = session_rig_ask(t, &rig, 0, ids, 60, &o);
    CHECK(t, n_files(dir, ".passes", path, sizeof path) == 1 || story.done.timings.n_drafted > 0, "not measured");
    session_rig_close(&rig);
}

TEST(session_spec_rests_after_drafts_that_did_not_pay)
{
    struct session_rig rig;
    int32_t ids[60];
    open_rig(t, &rig, NULL, false);
    for (int32_t i = 0; i < 60; i++)    /* promises much; the random model keeps little of it */
        ids[i] = 1 + i % 5;
    set_costs(&rig, 100, 30);
    struct generate_options o = session_rig_greedy(30, 0);
    o.sampling.temperature = 5;
    o.sampling.top_k = 0;
    o.sampling.top_p = 1;
    o.sampling.min_p = 0;
    struct session_story story = session_rig_ask(t, &rig, 0, ids, 60, &o);
    CHECK(t, story.done.timings.n_drafted < 3 * 30, "%d drafted", story.done.timings.n_drafted);
    CHECK(t, story.done.timings.n_passes > 25);
    session_rig_close(&rig);
}

TEST(session_spec_tells_of_an_answer_that_repeats_itself)
{
    struct session_rig rig;
    struct eng_event events[SESSION_EVENTS];
    struct err e;
    int32_t ids[60], n = 0, n_tokens = 0, first_told = 0, period = 0;
    open_rig(t, &rig, NULL, false);
    for (int32_t i = 0; i < 60; i++)    /* a prompt that repeats itself is no fault of the answer */
        ids[i] = 1 + i % 5;
    struct generate_options o = session_rig_greedy(300, 0);
    struct sampler_bias only[] = { { .token = 7, .bias = 1000 } };    /* says one token for ever */
    o.sampling.bias[0] = only[0];
    o.sampling.n_bias = 1;
    session_rig_start(t, &rig, 0, ids, 60, &o);
    while (session_busy(rig.session)) {
        CHECK_INT(t, session_step(rig.session, events, SESSION_EVENTS, &n, &e), ERR_OK);
        for (int32_t i = 0; i < n; i++) {
            n_tokens += events[i].kind == EVENT_TOKEN && events[i].token >= 0;
            if (events[i].kind == EVENT_TOKEN && events[i].n_repeated > 0 && first_told == 0) {
                first_told = n_tokens;
                period = events[i].n_repeated;
            }
        }
    }
    CHECK_INT(t, n_tokens, 300);
    CHECK_INT(t, period, 1);
    CHECK(t, first_told >= 48 && first_told <= 50, "told at token %d", first_told);
    session_rig_close(&rig);
}

TEST(session_spec_refuses_lengths_it_cannot_draft)
{
    struct session_rig rig;
    struct err e;
    int32_t ids[10], n = ascending(ids, 10, 10);
    open_rig(t, &rig, NULL, false);
    struct generate_options o = session_rig_greedy(3, 0);
    o.spec = SPEC_MOST + 1;
    CHECK_INT(t, session_generate(rig.session, 0, ids, n, &o, &e), ERR_FORMAT);
    CHECK_TEXT(t, e.text, "speculation: 32 tokens drafted, 1 to 31 allowed (0: as many as pay, -1: none)");
    session_rig_close(&rig);
}
