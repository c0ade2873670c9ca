/* SPDX-License-Identifier: MIT */
/* A device that has no memory, or is lost: the chat goes on, and a person reads why in one line. Faults are put into
 * the device of software Vulkan (struct vulkan_faults); what was said is compared with what an undisturbed device, or
 * the processor, says. */
#include "tests/support/device_rig.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/session/session_impl.h"

enum { N_IDS = 300, N_ANSWER = 12, N_SEQS = 4 };

static const struct plan small = { .arch = "llama", .n_layers = 2, .n_embd = 64, .n_ff = 64, .n_head = 2,
                                   .n_kv_head = 1, .d_head = 64, .n_vocab = 150, .n_rot = 64, .rope_base = 10000,
                                   .embed_scale = 1 };

/* ---- a device, and what goes wrong with it ---------------------------------------------------------------- */

static const char *file_path(struct test *t)
{
    static char path[512];
    snprintf(path, sizeof path, "%s/model.gguf", test_folder(t));
    return path;
}

static struct session_options options(int32_t n_seqs, const char *type)
{
    return (struct session_options){ .n_ctx = 512, .n_seqs = n_seqs, .n_batch = 64, .kv_type_k = type,
                                     .kv_type_v = type, .keep_kv_type = true, .cache_ram_bytes = 64 << 20 };
}

static void open_rig(struct test *t, struct session_rig *rig, const char *device, const struct session_options *o)
{
    struct err e;
    *rig = (struct session_rig){ .engine = device_rig_engine(t, device) };
    CHECK_INT(t, model_open(&rig->model, rig->engine, file_path(t), MODEL_RUN, &e), ERR_OK, "%s", e.text);
    CHECK_INT(t, session_create(&rig->session, rig->model, o, &e), ERR_OK, "%s", e.text);
}

static void check_warnings(struct test *t, const struct model *m, int32_t n_opened, int32_t n_gone_on)
{
    int32_t n = 0;    /* but for what there is to say about the file */
    for (int32_t i = 0; model_warning(m, i); i++)
        n += !strstr(model_warning(m, i), "chat template");
    CHECK_INT(t, device_rig_warnings(m, "device lost (VK_ERROR_DEVICE_LOST); opened again"), n_opened);
    CHECK_INT(t, device_rig_warnings(m, "device lost (VK_ERROR_DEVICE_LOST); this chat goes on on the CPU"), n_gone_on);
    CHECK_INT(t, n, n_opened + n_gone_on, "%s", n > 0 ? model_warning(m, n) : "");
}

/* ---- what is asked ---------------------------------------------------------------------------------------- */

/* Four conversations that begin alike, of different lengths. */
static void ask_all(struct test *t, struct session_rig *rig, const int32_t *ids, int32_t n_seqs)
{
    const struct generate_options ask = session_rig_greedy(N_ANSWER, 0);
    int32_t prompt[N_IDS];
    for (int32_t i = 0; i < n_seqs; i++) {
        int32_t n = 140 + 23 * i;
        memcpy(prompt, ids, sizeof prompt);
        for (int32_t j = 70; j < n; j++)
            prompt[j] = 1 + (prompt[j] + i) % 149;
        session_rig_start(t, rig, i, prompt, n, &ask);
    }
}

static void check_stories(struct test *t, const struct session_story *got, const struct session_story *want,
                          int32_t n_seqs, const char *what, int k)
{
    for (int32_t i = 0; i < n_seqs; i++) {
        CHECK(t, got[i].ended && got[i].done.reason == DONE_LENGTH, "%s %d: sequence %d: %.*s", what, k, i,
              got[i].done.n_text, got[i].done.text);
        CHECK_INT(t, got[i].n_ids, N_ANSWER, "%s %d: sequence %d", what, k, i);
        CHECK_BYTES(t, got[i].ids, want[i].ids, sizeof got[i].ids, "%s %d: sequence %d", what, k, i);
        CHECK_INT(t, got[i].done.timings.n_prompt, 140 + 23 * i);
        CHECK_INT(t, got[i].done.timings.n_generated, N_ANSWER);
    }
}

static struct session_story *new_stories(struct test *t)
{
    struct session_story *stories = calloc(SESSION_RIG_SEQS, sizeof *stories);
    CHECK(t, stories != NULL);
    return stories;
}

/* What an undisturbed device says; where device is "cpu", the processor. */
static struct session_story *undisturbed(struct test *t, const char *device, const char *type, const int32_t *ids,
                                         int32_t n_seqs)
{
    struct session_rig rig;
    const struct session_options o = options(n_seqs, type);
    struct session_story *stories = new_stories(t);
    open_rig(t, &rig, device, &o);
    ask_all(t, &rig, ids, n_seqs);
    session_rig_run(t, &rig, stories);
    check_warnings(t, rig.model, 0, 0);
    device_rig_close(t, &rig);
    check_stories(t, stories, stories, n_seqs, "undisturbed", 0);
    return stories;
}

static void begin(struct test *t, int32_t *ids)
{
    engine_destroy(device_rig_engine(t, NULL));    /* skips the case where there is no device */
    session_rig_write(t, &small, file_path(t));
    for (int32_t i = 0; i < N_IDS; i++)
        ids[i] = 1 + (int32_t)test_below(t, 149);
}

/* ---- lost -------------------------------------------------------------------------------------------------- */

/* Submit number k is lost, in prompts and in answers; how many there are depends on how long they take. */
static void check_each_loss(struct test *t, const char *type, int32_t n_seqs)
{
    int32_t ids[N_IDS], n_lost = 0;
    begin(t, ids);
    struct session_story *want = undisturbed(t, NULL, type, ids, n_seqs);
    for (int k = 1, reached = 1; reached; k += 1 + k / 2) {
        struct session_rig rig;
        const struct session_options o = options(n_seqs, type);
        struct session_story *got = new_stories(t);
        open_rig(t, &rig, NULL, &o);
        device_rig_device(rig.engine)->faults.submit = k;
        ask_all(t, &rig, ids, n_seqs);
        session_rig_run(t, &rig, got);
        reached = rig.engine->n_lost;
        CHECK(t, device_rig_on_device(rig.engine) && reached <= 1, "submit %d", k);
        check_stories(t, got, want, n_seqs, "submit", k);
        check_warnings(t, rig.model, reached, 0);
        if (reached && k > 8)    /* submits of the first batch, at most: before its end nothing is held */
            CHECK_INT(t, device_rig_warnings(rig.model, "tokens evaluated again"), 1, "submit %d: %s", k,
                      model_warning(rig.model, 1));
        device_rig_close(t, &rig);
        free(got);
        n_lost += reached;
    }
    CHECK(t, n_lost > 4, "only %d submits were lost", n_lost);
    free(want);
}

TEST(device_faults_an_answer_goes_on_after_a_loss)
{
    check_each_loss(t, "f16", 1);
}

TEST(device_faults_four_answers_go_on_after_a_loss)
{
    check_each_loss(t, "f16", N_SEQS);
}

TEST(device_faults_four_answers_over_sealed_pages_go_on_after_a_loss)
{
    check_each_loss(t, "kv4", N_SEQS);
}

static void step_once(struct test *t, struct session_rig *rig, struct session_story *stories)
{
    struct eng_event events[16 * N_SEQS];
    struct err e;
    int32_t n_events;
    CHECK_INT(t, session_step(rig->session, events, 16 * N_SEQS, &n_events, &e), ERR_OK, "%s", e.text);
    for (int32_t i = 0; i < n_events; i++) {
        struct session_story *s = &stories[events[i].seq];
        CHECK(t, events[i].kind != EVENT_DONE, "%.*s", events[i].n_text, events[i].text);
        if (events[i].kind == EVENT_TOKEN && events[i].token >= 0)
            s->ids[s->n_ids++] = events[i].token;
    }
}

/* The second loss comes while what the first one cost is evaluated again, or later. */
TEST(device_faults_lost_twice_goes_on_on_the_processor)
{
    static const int seconds[] = { 1, 3, 9 };
    int32_t ids[N_IDS];
    begin(t, ids);
    struct session_story *device = undisturbed(t, NULL, "f16", ids, N_SEQS);
    struct session_story *cpu = undisturbed(t, "cpu", "f16", ids, N_SEQS);
    bool same = memcmp(device, cpu, sizeof *cpu) == 0;
    for (size_t i = 0; i < sizeof seconds / sizeof *seconds; i++) {
        struct session_rig rig;
        const struct session_options o = options(N_SEQS, "f16");
        struct engine_info info;
        struct session_story *got = new_stories(t);
        open_rig(t, &rig, NULL, &o);
        ask_all(t, &rig, ids, N_SEQS);
        while (got[0].n_ids < 4)
            step_once(t, &rig, got);
        device_rig_device(rig.engine)->faults.submit = 1;
        step_once(t, &rig, got);
        CHECK_INT(t, rig.engine->n_lost, 1);
        device_rig_device(rig.engine)->faults.submit = seconds[i];
        session_rig_run(t, &rig, got);
        CHECK_INT(t, rig.engine->n_lost, 2);
        CHECK(t, !device_rig_on_device(rig.engine) && rig.model->backend == rig.engine->cpu);
        check_warnings(t, rig.model, 1, 1);
        for (int32_t s = 0; s < N_SEQS; s++)
            CHECK(t, got[s].n_ids == N_ANSWER && got[s].done.reason == DONE_LENGTH, "sequence %d", s);
        for (int32_t s = 0; s < N_SEQS; s++)    /* what was told before the losses is the device's in any case */
            CHECK_BYTES(t, got[s].ids, device[s].ids, 2 * sizeof *got[s].ids);
        if (same)
            check_stories(t, got, cpu, N_SEQS, "second submit", seconds[i]);
        engine_info(rig.engine, &info);
        CHECK_TEXT(t, info.device, "");
        CHECK(t, strstr(info.device_note, "device lost (VK_ERROR_DEVICE_LOST); answering on the CPU"), "%s",
              info.device_note);
        ask_all(t, &rig, ids, N_SEQS);    /* a chat goes on for more than one answer */
        memset(got, 0, SESSION_RIG_SEQS * sizeof *got);
        session_rig_run(t, &rig, got);
        check_stories(t, got, cpu, N_SEQS, "afterwards", seconds[i]);
        check_warnings(t, rig.model, 1, 1);
        device_rig_close(t, &rig);
        free(got);
    }
    free(device);
    free(cpu);
}

/* Logits after tokens that were evaluated before the loss are those after tokens that were not lost. */
TEST(device_faults_eval_holds_what_it_held)
{
    enum { PIECE = 50, N_PIECES = 4, N_VOCAB = 150 };
    static float want[2][N_PIECES][N_VOCAB], got[N_VOCAB];
    static const char *const devices[] = { NULL, "cpu" };
    int32_t ids[N_IDS];
    const struct session_options o = options(2, "kv4");
    struct session_rig rig;
    struct err e;
    begin(t, ids);
    for (int d = 0; d < 2; d++) {
        open_rig(t, &rig, devices[d], &o);
        for (int i = 0; i < N_PIECES; i++)
            CHECK_INT(t, session_eval(rig.session, 1, ids + i * PIECE, PIECE, want[d][i], 1, &e), ERR_OK);
        device_rig_close(t, &rig);
    }
    open_rig(t, &rig, NULL, &o);
    for (int i = 0; i < N_PIECES; i++) {
        if (i == 1 || i == 3)
            device_rig_device(rig.engine)->faults.submit = i;
        CHECK_INT(t, session_eval(rig.session, 1, ids + i * PIECE, PIECE, got, 1, &e), ERR_OK, "%s", e.text);
        CHECK_BYTES(t, got, want[i == 3][i], sizeof got, "piece %d", i);
    }
    check_warnings(t, rig.model, 1, 1);
    CHECK_INT(t, device_rig_warnings(rig.model, "opened again, 50 tokens evaluated again"), 1);
    CHECK_INT(t, device_rig_warnings(rig.model, "on the CPU, 150 tokens evaluated again"), 1);
    CHECK_INT(t, session_truncate(rig.session, 1, 190), 190);
    device_rig_close(t, &rig);

    open_rig(t, &rig, NULL, &o);    /* a sequence that is idle at the loss is evaluated again when it is asked for */
    CHECK_INT(t, session_eval(rig.session, 1, ids, PIECE, NULL, 0, &e), ERR_OK);
    device_rig_device(rig.engine)->faults.submit = 1;
    CHECK_INT(t, session_eval(rig.session, 0, ids, 1, NULL, 0, &e), ERR_OK, "%s", e.text);
    CHECK_INT(t, session_truncate(rig.session, 1, 40), 40);
    CHECK_INT(t, session_eval(rig.session, 1, ids + 40, 10, NULL, 0, &e), ERR_OK, "%s", e.text);
    CHECK_INT(t, session_eval(rig.session, 1, ids + PIECE, PIECE, got, 1, &e), ERR_OK, "%s", e.text);
    CHECK_BYTES(t, got, want[0][1], sizeof got);
    device_rig_close(t, &rig);
}

TEST(device_faults_measuring_and_trying_go_on_after_a_loss)
{
    int32_t ids[N_IDS];
    struct session_options o = options(1, "kv4");
    struct session_rig rig;
    struct err e;
    begin(t, ids);
    open_rig(t, &rig, NULL, &o);
    device_rig_device(rig.engine)->faults.submit = 2;    /* there are two passes, however long they take */
    CHECK_INT(t, session_measure_passes(rig.session, 20, false, &e), ERR_OK, "%s", e.text);
    CHECK(t, session_pass_ms(rig.session, 1) > 0);
    check_warnings(t, rig.model, 1, 0);
    device_rig_device(rig.engine)->faults.submit = 2;
    CHECK_INT(t, session_measure_passes(rig.session, 20, true, &e), ERR_OK, "%s", e.text);
    check_warnings(t, rig.model, 1, 1);
    device_rig_close(t, &rig);

    struct plan letters = small;    /* the text that types are tried on has tokens then */
    letters.letters = true;
    session_rig_write(t, &letters, file_path(t));
    o.keep_kv_type = false;
    rig = (struct session_rig){ .engine = device_rig_engine(t, NULL) };
    CHECK_INT(t, model_open(&rig.model, rig.engine, file_path(t), MODEL_RUN, &e), ERR_OK, "%s", e.text);
    device_rig_device(rig.engine)->faults.submit = 2;
    CHECK_INT(t, session_create(&rig.session, rig.model, &o, &e), ERR_OK, "%s", e.text);
    check_warnings(t, rig.model, 1, 0);
    CHECK_INT(t, rig.model->caches->n_trials, 1);
    device_rig_close(t, &rig);
}

/* Drafts, and the passes that find out what they cost, among what is lost. */
TEST(device_faults_drafts_change_nothing)
{
    int32_t ids[N_IDS], prompt[200];
    struct generate_options ask = session_rig_greedy(N_ANSWER, 0);
    const struct session_options o = options(1, "f16");
    struct session_story want = { 0 };
    begin(t, ids);
    for (int i = 0; i < 200; i++)
        prompt[i] = ids[i % 7];
    for (int k = 0; k <= 40; k += 8) {
        struct session_rig rig;
        open_rig(t, &rig, NULL, &o);
        ask.spec = k % 16 ? SPEC_AUTO : 3;
        device_rig_device(rig.engine)->faults.submit = k;
        struct session_story got = session_rig_ask(t, &rig, 0, prompt, 200, &ask);
        if (k == 0)
            want = got;
        CHECK_BYTES(t, got.ids, want.ids, sizeof got.ids, "submit %d", k);
        check_warnings(t, rig.model, rig.engine->n_lost, 0);
        device_rig_close(t, &rig);
    }
}

TEST(device_faults_of_one_model_are_followed_by_the_other)
{
    int32_t ids[N_IDS];
    const struct session_options o = options(N_SEQS, "f16");
    struct session_rig rig, other;
    struct err e;
    begin(t, ids);
    struct session_story *want = undisturbed(t, NULL, "f16", ids, N_SEQS), *got = new_stories(t);
    open_rig(t, &rig, NULL, &o);
    other = rig;
    CHECK_INT(t, model_open(&other.model, rig.engine, file_path(t), MODEL_RUN, &e), ERR_OK, "%s", e.text);
    CHECK_INT(t, session_create(&other.session, other.model, &o, &e), ERR_OK, "%s", e.text);
    ask_all(t, &rig, ids, N_SEQS);
    ask_all(t, &other, ids, N_SEQS);
    while (got[0].n_ids < 4)
        step_once(t, &other, got);
    device_rig_device(rig.engine)->faults.submit = 3;
    struct session_story *first = new_stories(t);
    session_rig_run(t, &rig, first);
    session_rig_run(t, &other, got);
    check_stories(t, first, want, N_SEQS, "first", 0);
    check_stories(t, got, want, N_SEQS, "other", 0);
    CHECK_INT(t, rig.engine->n_lost, 1);
    check_warnings(t, rig.model, 1, 0);
    check_warnings(t, other.model, 1, 0);
    session_destroy(other.session);
    model_close(other.model);
    device_rig_close(t, &rig);
    free(first);
    free(got);
    free(want);
}

/* ---- no memory, and what the device cannot do ------------------------------------------------------------- */

/* Allocation number k fails, for every k while there are any: the answer is the device's or the processor's, or, when
 * it is pages in mid-answer, ends with words that say which memory. Where it is the embedding, the host has that. */
TEST(device_faults_every_allocation_fails_once)
{
    int32_t ids[N_IDS], n_cpu = 0, n_device = 0, n_ended = 0, n_host = 0;
    struct generate_options ask = session_rig_greedy(4, 0);
    struct session_options o = options(1, "f16");
    struct session_story want[2];
    begin(t, ids);
    o.n_batch = 32;    /* there is no smaller one */
    for (int d = 0; d < 2; d++) {
        struct session_rig rig;
        open_rig(t, &rig, d ? "cpu" : NULL, &o);
        want[d] = session_rig_ask(t, &rig, 0, ids, 6, &ask);
        device_rig_close(t, &rig);
    }
    for (int k = 1, struck = 1; struck; k++) {
        struct session_rig rig = { .engine = device_rig_engine(t, NULL) };
        struct session_story *got = new_stories(t);
        struct err e;
        device_rig_device(rig.engine)->faults.allocate = k;
        CHECK_INT(t, model_open(&rig.model, rig.engine, file_path(t), MODEL_RUN, &e), ERR_OK, "%d: %s", k, e.text);
        CHECK_INT(t, session_create(&rig.session, rig.model, &o, &e), ERR_OK, "%d: %s", k, e.text);
        bool loaded = device_rig_device(rig.engine)->faults.allocate > 0, cpu = rig.model->backend == rig.engine->cpu;
        CHECK(t, !(loaded && cpu), "allocation %d", k);
        n_host += !loaded && !cpu;
        CHECK_INT(t, device_rig_warnings(rig.model, "; this model runs on the CPU"), cpu);
        CHECK_INT(t, device_rig_warnings(rig.model, "llvmpipe"), cpu, "%s", model_warning(rig.model, 1));
        session_rig_start(t, &rig, 0, ids, 6, &ask);
        session_rig_run(t, &rig, got);
        struck = device_rig_device(rig.engine)->faults.allocate == 0;
        if (got[0].done.reason == DONE_ERROR) {
            CHECK(t, loaded && struck && strstr(got[0].done.text, "KV cache of 6 tokens: llvmpipe"), "%d: %s", k,
                  got[0].done.text);
            n_ended++;
            got[0] = session_rig_ask(t, &rig, 0, ids, 6, &ask);    /* there is memory again */
        }
        CHECK_INT(t, got[0].n_ids, 4, "allocation %d", k);
        CHECK_BYTES(t, got[0].ids, want[cpu].ids, sizeof got[0].ids, "allocation %d", k);
        n_cpu += cpu;
        n_device += !cpu;
        device_rig_close(t, &rig);
        free(got);
    }
    printf("%d on the processor, %d on the device, %d of them without pages at first\n", n_cpu, n_device, n_ended);
    CHECK(t, n_cpu > 15 && n_device > n_ended && n_ended > 0);
    CHECK_INT(t, n_host, 1, "the embedding");
}

TEST(device_faults_batches_are_smaller_where_memory_is_short)
{
    int32_t ids[N_IDS];
    const struct session_options o = options(1, "f16");
    struct session_rig rig = { .engine = NULL };
    struct session_story story;
    struct generate_options ask = session_rig_greedy(4, 0);
    float logits[2][150];
    struct err e;
    begin(t, ids);
    open_rig(t, &rig, NULL, &o);
    CHECK_INT(t, session_eval(rig.session, 0, ids, 64, logits[0], 1, &e), ERR_OK, "%s", e.text);
    device_rig_close(t, &rig);
    rig = (struct session_rig){ .engine = device_rig_engine(t, NULL) };
    CHECK_INT(t, model_open(&rig.model, rig.engine, file_path(t), MODEL_RUN, &e), ERR_OK, "%s", e.text);
    device_rig_device(rig.engine)->faults.allocate = 3;
    CHECK_INT(t, session_create(&rig.session, rig.model, &o, &e), ERR_OK, "%s", e.text);
    CHECK(t, rig.model->backend == rig.engine->backend && device_rig_on_device(rig.engine));
    CHECK_INT(t, device_rig_warnings(rig.model, "; prompts are read 32 tokens at a time"), 1);
    CHECK_INT(t, session_eval(rig.session, 0, ids, 64, logits[1], 1, &e), ERR_OK, "%s", e.text);
    CHECK_BYTES(t, logits[1], logits[0], sizeof logits[0]);
    story = session_rig_ask(t, &rig, 0, ids, 100, &ask);
    CHECK_INT(t, story.n_ids, 4);
    device_rig_close(t, &rig);
}

TEST(device_faults_heads_that_the_device_cannot_attend_go_to_the_processor)
{
    static const struct plan odd = { .arch = "llama", .n_layers = 1, .n_embd = 64, .n_ff = 64, .n_head = 2,
                                     .n_kv_head = 1, .d_head = 18, .n_vocab = 150, .n_rot = 18, .rope_base = 10000,
                                     .embed_scale = 1 };
    int32_t ids[N_IDS];
    const struct session_options o = options(1, "f16");
    const struct generate_options ask = session_rig_greedy(4, 0);
    struct session_rig rig;
    begin(t, ids);
    session_rig_write(t, &odd, file_path(t));
    open_rig(t, &rig, NULL, &o);
    CHECK_INT(t, device_rig_warnings(rig.model, "layer 0: heads of 18 values, a multiple of 4 up to 512 wanted; this "
                                                "model runs on the CPU"), 1, "%s", model_warning(rig.model, 1));
    CHECK_INT(t, session_rig_ask(t, &rig, 0, ids, 20, &ask).n_ids, 4);
    CHECK_INT(t, rig.engine->n_lost, 0);
    device_rig_close(t, &rig);
}

TEST(device_faults_that_the_validation_layer_finds_are_told)
{
    int32_t ids[N_IDS];
    const struct session_options o = options(1, "f16");
    const struct generate_options ask = session_rig_greedy(4, 0);
    struct session_rig rig;
    begin(t, ids);
    open_rig(t, &rig, NULL, &o);
    snprintf(rig.engine->vulkan->message, sizeof rig.engine->vulkan->message, "VUID-0: made by a test");
    session_rig_ask(t, &rig, 0, ids, 20, &ask);
    CHECK_INT(t, device_rig_warnings(rig.model, "Vulkan's validation layer: VUID-0: made by a test"), 1);
    device_rig_close(t, &rig);
}

/* ---- a split model ----------------------------------------------------------------------------------------- */

/* Half of the layers on the device; its answer after n_lost losses in the midst of it. */
static struct session_story *ask_split(struct test *t, const int32_t *ids, int32_t n_lost)
{
    struct session_rig rig = { .engine = device_rig_engine(t, NULL) };
    const struct session_options o = options(N_SEQS, "kv4");
    struct session_story *got = new_stories(t);
    struct err e;
    rig.engine->n_gpu_layers = 1;
    CHECK_INT(t, model_open(&rig.model, rig.engine, file_path(t), MODEL_RUN, &e), ERR_OK, "%s", e.text);
    CHECK_INT(t, session_create(&rig.session, rig.model, &o, &e), ERR_OK, "%s", e.text);
    ask_all(t, &rig, ids, N_SEQS);
    for (int32_t i = 1; i <= n_lost; i++) {
        CHECK(t, rig.model->split && rig.model->device == rig.engine->backend);
        CHECK_INT(t, model_info(rig.model)->n_device_layers, 1);
        while (got[0].n_ids < 4 * i)
            step_once(t, &rig, got);
        device_rig_device(rig.engine)->faults.submit = 1;
        step_once(t, &rig, got);
        CHECK_INT(t, rig.engine->n_lost, i);
    }
    session_rig_run(t, &rig, got);
    check_warnings(t, rig.model, n_lost > 0, n_lost > 1);
    CHECK_INT(t, rig.model->split != NULL, n_lost < 2);
    CHECK_INT(t, model_info(rig.model)->n_device_layers, n_lost < 2);
    CHECK_INT(t, rig.model->backend == rig.engine->cpu, n_lost == 2);
    device_rig_close(t, &rig);
    return got;
}

/* Cut where it was, it says the same; on the processor alone, what its arithmetic makes of the rest. */
TEST(device_faults_a_split_model_goes_on_after_a_loss)
{
    int32_t ids[N_IDS];
    begin(t, ids);
    struct session_story *want = ask_split(t, ids, 0), *once = ask_split(t, ids, 1), *twice = ask_split(t, ids, 2);
    check_stories(t, want, want, N_SEQS, "losses", 0);
    check_stories(t, once, want, N_SEQS, "losses", 1);
    for (int32_t i = 0; i < N_SEQS; i++) {
        CHECK(t, twice[i].n_ids == N_ANSWER && twice[i].done.reason == DONE_LENGTH, "sequence %d", i);
        CHECK_BYTES(t, twice[i].ids, want[i].ids, 4 * sizeof *want[i].ids, "sequence %d", i);
    }
    free(want);
    free(once);
    free(twice);
}
