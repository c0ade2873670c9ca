/* SPDX-License-Identifier: MIT */
/* An engine that moves to another device while a chat goes on: what was held is still held, what is said is what the
 * device says now, and a device that cannot be had changes nothing. */
#include "tests/support/device_rig.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/session/session_impl.h"

enum { N_IDS = 400, N_VOCAB = 150, PIECE = 50, N_PIECES = 5, N_ANSWER = 12, N_SEQS = 4 };

static const struct plan small = { .arch = "llama", .n_layers = 2, .n_embd = 64, .n_ff = 64, .n_head = 2,
                                   .n_kv_head = 1, .d_head = 64, .n_vocab = N_VOCAB, .n_rot = 64, .rope_base = 10000,
                                   .embed_scale = 1 };

/* ---- a model that moves ----------------------------------------------------------------------------------- */

static const char *file_path(struct test *t, const char *name)
{
    static char path[512];
    snprintf(path, sizeof path, "%s/%s", test_folder(t), name);
    return path;
}

static struct session_options options(int32_t n_seqs, const char *type)
{
    return (struct session_options){ .n_ctx = 512, .n_seqs = n_seqs, .n_batch = 64, .kv_type_k = type,
                                     .kv_type_v = type, .keep_kv_type = true, .cache_ram_bytes = 64 << 20 };
}

static enum err_code try_move(struct session_rig *rig, const char *device, int32_t n_gpu_layers, int32_t *n_moved,
                              struct err *e)
{
    const struct engine_options o = { .device = device, .n_gpu_layers = n_gpu_layers };
    return engine_move(rig->engine, &o, n_moved, e);
}

static void move(struct test *t, struct session_rig *rig, const char *device, int32_t n_gpu_layers, int32_t n_moved)
{
    struct err e;
    int32_t n;
    CHECK_INT(t, try_move(rig, device, n_gpu_layers, &n, &e), ERR_OK, "%s: %s", device, e.text);
    CHECK_INT(t, n, n_moved, "%s", device);
}

static void check_place(struct test *t, const struct session_rig *rig, int32_t n_device_layers)
{
    const struct model *m = rig->model;
    struct engine_info info;
    engine_info(rig->engine, &info);
    CHECK_INT(t, model_info(m)->n_device_layers, n_device_layers);
    CHECK_INT(t, m->split != NULL, n_device_layers == 1);
    CHECK_INT(t, m->backend == rig->engine->cpu, n_device_layers == 0);
    CHECK(t, m->device == (n_device_layers > 0 ? rig->engine->backend : NULL));
    CHECK_INT(t, info.device[0] != '\0', n_device_layers > 0);
    CHECK(t, n_device_layers == 0 ? !info.device_id[0] : strncmp(info.device_id, "vulkan:", 7) == 0);
}

/* On the device when on_device, else on the processor, and in both cases with a device to be had. */
static void open_rig(struct test *t, struct session_rig *rig, bool on_device, const struct session_options *o)
{
    struct err e;
    *rig = (struct session_rig){ .engine = device_rig_engine(t, NULL) };
    if (!on_device)
        move(t, rig, "cpu", 0, 0);
    CHECK_INT(t, model_open(&rig->model, rig->engine, file_path(t, "model.gguf"), MODEL_RUN, &e), ERR_OK, "%s", e.text);
    CHECK_INT(t, session_create(&rig->session, rig->model, o, &e), ERR_OK, "%s", e.text);
    check_place(t, rig, on_device ? 2 : 0);
}

/* What is remembered of the device's self-tests says this of how they came out; NULL: it is forgotten. */
static void change_notes(struct test *t, const char *outcome)
{
    const char *folder = test_folder(t);
    DIR *d = opendir(folder);
    int32_t n = 0;
    for (struct dirent *entry; d && (entry = readdir(d));) {
        char path[800];
        size_t n_bytes;
        if (!strstr(entry->d_name, ".selftest"))
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        n++;
        if (!outcome) {
            CHECK(t, unlink(path) == 0, "%s", path);
            continue;
        }
        char *text = test_read_file(path, &n_bytes), *end = text ? strstr(text, "passed") : NULL;
        CHECK(t, end != NULL, "%s", path);
        *end = '\0';
        FILE *f = fopen(path, "w");
        CHECK(t, f && fprintf(f, "%s%s\n", text, outcome) > 0 && fclose(f) == 0, "%s", path);
        free(text);
    }
    if (d)
        closedir(d);
    CHECK(t, !outcome || n > 0, "no notes in %s", folder);
}

static void begin(struct test *t, int32_t *ids)
{
    engine_destroy(device_rig_engine(t, NULL));    /* skips the case where there is no device */
    change_notes(t, NULL);
    session_rig_write(t, &small, file_path(t, "model.gguf"));
    for (int32_t i = 0; i < N_IDS; i++)
        ids[i] = 1 + (int32_t)test_below(t, N_VOCAB - 1);
}

static void eval(struct test *t, struct session_rig *rig, int32_t seq, const int32_t *ids, int32_t n, float *logits)
{
    struct err e;
    CHECK_INT(t, session_eval(rig->session, seq, ids, n, logits, logits != NULL, &e), ERR_OK, "%s", e.text);
}

/* Logits after each piece, nothing ever moved. */
static void eval_pieces(struct test *t, bool on_device, const char *type, const int32_t *ids,
                        float out[N_PIECES][N_VOCAB])
{
    struct session_rig rig;
    const struct session_options o = options(1, type);
    open_rig(t, &rig, on_device, &o);
    for (int32_t i = 0; i < N_PIECES; i++)
        eval(t, &rig, 0, ids + i * PIECE, PIECE, out[i]);
    device_rig_close(t, &rig);
}

/* ---- what is held, and what is said ------------------------------------------------------------------------ */

/* Wherever it has been: after the same tokens the same logits as where it always was here. */
static void check_logits(struct test *t, const char *type)
{
    static float want[2][N_PIECES][N_VOCAB], got[N_VOCAB];
    static const int where[N_PIECES] = { 0, 1, 0, 1, 0 };
    const struct session_options o = options(2, type);
    struct session_rig rig;
    int32_t ids[N_IDS];
    begin(t, ids);
    eval_pieces(t, false, type, ids, want[0]);
    eval_pieces(t, true, type, ids, want[1]);
    CHECK(t, memcmp(want[0], want[1], sizeof want[0]) != 0, "the device is the processor");
    open_rig(t, &rig, false, &o);
    for (int32_t i = 0; i < N_PIECES; i++) {
        if (i > 0)
            move(t, &rig, where[i] ? "llvmpipe" : "cpu", 0, 1);
        check_place(t, &rig, where[i] ? 2 : 0);
        eval(t, &rig, 0, ids + i * PIECE, PIECE, got);
        CHECK_BYTES(t, got, want[where[i]][i], sizeof got, "piece %d", i);
        CHECK(t, !rig.engine->left, "what was left is still open");
    }
    CHECK_INT(t, session_truncate(rig.session, 0, N_PIECES * PIECE - 10), N_PIECES * PIECE - 10);
    CHECK(t, !rig.engine->vulkan, "Vulkan is in use on the processor");
    device_rig_close(t, &rig);
}

TEST(device_move_holds_what_it_held)
{
    check_logits(t, "f16");
}

TEST(device_move_holds_what_it_held_over_sealed_pages)
{
    check_logits(t, "kv4");
}

/* Three questions, each with the answers before it; the second on the device. */
TEST(device_move_and_back_says_what_staying_says)
{
    const struct generate_options ask = session_rig_greedy(N_ANSWER, 0);
    const struct session_options o = options(1, "f16");
    struct session_story said[2][3];
    struct session_rig rig;
    int32_t ids[N_IDS], prompt[N_IDS];
    begin(t, ids);
    for (int moves = 0; moves < 2; moves++) {
        open_rig(t, &rig, false, &o);
        memcpy(prompt, ids, sizeof prompt);
        for (int32_t i = 0, n = 100; i < 3; i++, n += N_ANSWER + 40) {
            if (moves && i > 0)
                move(t, &rig, i == 1 ? "llvmpipe" : "cpu", 0, 1);
            said[moves][i] = session_rig_ask(t, &rig, 0, prompt, n, &ask);
            CHECK_INT(t, said[moves][i].n_ids, N_ANSWER);
            /* a device moved to has nothing yet, and what the processor had was given up */
            CHECK_INT(t, said[moves][i].done.timings.n_reused > 0, !moves && i > 0, "answer %d", i);
            memcpy(prompt + n, said[0][i].ids, N_ANSWER * sizeof *prompt);
        }
        device_rig_close(t, &rig);
    }
    CHECK_BYTES(t, said[1][0].ids, said[0][0].ids, sizeof said[0][0].ids);
    CHECK_BYTES(t, said[1][2].ids, said[0][2].ids, sizeof said[0][2].ids);
}

/* Between two steps: what was told stays told, and the device goes on. */
TEST(device_move_in_mid_answer)
{
    const struct generate_options ask = session_rig_greedy(N_ANSWER, 0);
    const struct session_options o = options(N_SEQS, "f16");
    struct session_story *stories = calloc(SESSION_RIG_SEQS, sizeof *stories), stay;
    struct session_rig rig;
    int32_t ids[N_IDS], told[4], n_told = 0, n_events;
    begin(t, ids);
    CHECK(t, stories != NULL);
    open_rig(t, &rig, false, &o);
    stay = session_rig_ask(t, &rig, 0, ids, 120, &ask);
    for (int32_t i = 0; i < N_SEQS; i++)
        session_rig_start(t, &rig, i, ids + i, 120, &ask);
    while (n_told < 4) {
        struct eng_event events[16 * N_SEQS];
        struct err e;
        CHECK_INT(t, session_step(rig.session, events, 16 * N_SEQS, &n_events, &e), ERR_OK, "%s", e.text);
        for (int32_t i = 0; i < n_events; i++)
            if (events[i].seq == 0 && events[i].kind == EVENT_TOKEN && events[i].token >= 0 && n_told < 4)
                told[n_told++] = events[i].token;
    }
    CHECK_BYTES(t, told, stay.ids, sizeof told);
    move(t, &rig, "llvmpipe", 0, 1);
    session_rig_run(t, &rig, stories);
    for (int32_t i = 0; i < N_SEQS; i++) {
        CHECK(t, stories[i].done.reason == DONE_LENGTH, "sequence %d: %.*s", i, stories[i].done.n_text,
              stories[i].done.text);
        CHECK_INT(t, stories[i].done.timings.n_generated, N_ANSWER, "sequence %d", i);
        CHECK_INT(t, stories[i].done.timings.n_prompt, 120);
    }
    CHECK_INT(t, stories[0].n_ids, N_ANSWER - 4);
    check_place(t, &rig, 2);
    free(stories);
    device_rig_close(t, &rig);
}

/* ---- layers ------------------------------------------------------------------------------------------------ */

TEST(device_move_to_other_layers_of_the_device)
{
    static float want[N_VOCAB], got[N_VOCAB];
    const struct session_options o = options(1, "kv4");
    struct session_stats stats;
    struct session_rig rig;
    int32_t ids[N_IDS];
    uint64_t all;
    begin(t, ids);
    open_rig(t, &rig, false, &o);
    session_stats(rig.session, &stats);
    CHECK_INT(t, stats.device_bytes, 0);
    move(t, &rig, "llvmpipe", 1, 1);
    check_place(t, &rig, 1);
    eval(t, &rig, 0, ids, 64, NULL);
    eval(t, &rig, 0, ids + 64, 64, want);
    move(t, &rig, "llvmpipe", 1, 0);    /* there already */
    move(t, &rig, "llvmpipe", 99, 1);
    check_place(t, &rig, 2);
    CHECK_INT(t, session_truncate(rig.session, 0, 64), 64);
    eval(t, &rig, 0, ids + 64, 64, got);
    CHECK(t, memcmp(want, got, sizeof got) != 0, "one layer on the processor changes nothing");
    session_stats(rig.session, &stats);
    all = stats.device_bytes;
    move(t, &rig, "llvmpipe", 2, 0);
    move(t, &rig, "llvmpipe", 1, 1);
    CHECK_INT(t, session_truncate(rig.session, 0, 64), 64);
    eval(t, &rig, 0, ids + 64, 64, got);
    CHECK_BYTES(t, got, want, sizeof got);
    session_stats(rig.session, &stats);
    CHECK(t, stats.device_bytes > 0 && stats.device_bytes < all);
    device_rig_close(t, &rig);
}

/* ---- what cannot be had ------------------------------------------------------------------------------------ */

/* Nothing is different from before: not even the pages. */
struct before {
    struct engine_target target;
    struct placed *placed;
    int32_t generation, n_device_layers, n_held;
    const struct session_cache *cache;
};

static struct before note(const struct session_rig *rig)
{
    return (struct before){ engine_target(rig->engine), rig->model->placed, rig->model->generation,
                            model_info(rig->model)->n_device_layers, kv_seq_held(rig->session->seqs[0].kv),
                            rig->session->cache };
}

static void check_unchanged(struct test *t, const struct session_rig *rig, const struct before *b)
{
    const struct engine *eng = rig->engine;
    CHECK(t, eng->backend == b->target.backend && eng->card == b->target.card && !eng->left);
    CHECK(t, rig->model->placed == b->placed && !rig->model->before.backend);
    CHECK_INT(t, rig->model->generation, b->generation);
    CHECK_INT(t, model_info(rig->model)->n_device_layers, b->n_device_layers);
    CHECK_INT(t, kv_seq_held(rig->session->seqs[0].kv), b->n_held);
    CHECK(t, rig->session->cache == b->cache && !b->cache->dead);
}

static void check_refused(struct test *t, struct session_rig *rig, const char *device, int32_t n_gpu_layers,
                          enum err_code code, const char *part)
{
    struct err e;
    int32_t n_moved = -1;
    CHECK_INT(t, try_move(rig, device, n_gpu_layers, &n_moved, &e), code, "%s", device);
    CHECK(t, strstr(e.text, part), "%s", e.text);
    CHECK_INT(t, n_moved, 0);
}

TEST(device_move_to_what_is_not_there_changes_nothing)
{
    static float want[2][N_PIECES][N_VOCAB], got[N_VOCAB];
    const struct session_options o = options(1, "f16");
    struct session_rig rig;
    int32_t ids[N_IDS];
    begin(t, ids);
    for (int on_device = 0; on_device < 2; on_device++) {
        eval_pieces(t, on_device, "f16", ids, want[on_device]);
        open_rig(t, &rig, on_device, &o);
        eval(t, &rig, 0, ids, PIECE, NULL);
        const struct before b = note(&rig);
        check_refused(t, &rig, "nonsense", 0, ERR_DEVICE, "no device 'nonsense' here; there is cpu, vulkan:0 (");
        check_refused(t, &rig, "vulkan:15", 0, ERR_DEVICE, "no device 'vulkan:15' here");
        check_unchanged(t, &rig, &b);
        CHECK_INT(t, rig.engine->vulkan != NULL, on_device);
        eval(t, &rig, 0, ids + PIECE, PIECE, got);
        CHECK_BYTES(t, got, want[on_device][1], sizeof got);
        device_rig_close(t, &rig);
    }
}

TEST(device_move_to_one_that_fails_its_self_test_changes_nothing)
{
    const struct session_options o = options(1, "f16");
    struct session_rig rig;
    int32_t ids[N_IDS];
    begin(t, ids);
    open_rig(t, &rig, false, &o);
    move(t, &rig, "llvmpipe", 0, 1);
    move(t, &rig, "cpu", 0, 1);
    eval(t, &rig, 0, ids, PIECE, NULL);
    change_notes(t, "failed 0.5 0.001 0 0");
    const struct before b = note(&rig);
    check_refused(t, &rig, "llvmpipe", 0, ERR_UNSUPPORTED, "computes wrong: NMSE 0.5");
    check_unchanged(t, &rig, &b);
    CHECK(t, !rig.engine->vulkan && !model_warning(rig.model, 1), "%s", model_warning(rig.model, 1));
    device_rig_close(t, &rig);
}

/* On the device itself a model leaves before it comes, and comes again. */
TEST(device_move_that_fails_on_its_own_device_is_taken_back)
{
    static float want[N_PIECES][N_VOCAB], got[N_VOCAB];
    static const struct {
        struct vulkan_faults faults;
        enum err_code code;
        const char *part;
        int32_t n_lost;
    } cases[] = {
        { { .allocate = 1 }, ERR_NOMEM, "llvmpipe", 0 },
        { { .allocate = 9 }, ERR_NOMEM, "llvmpipe", 0 },
        { { .submit = 1 }, ERR_DEVICE, "device lost", 1 },
        { { .product = 0.5f }, ERR_UNSUPPORTED, "computes wrong", 0 },
    };
    const struct session_options o = options(1, "f16");
    struct session_rig rig;
    int32_t ids[N_IDS];
    begin(t, ids);
    eval_pieces(t, true, "f16", ids, want);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        open_rig(t, &rig, true, &o);
        eval(t, &rig, 0, ids, PIECE, NULL);
        device_rig_device(rig.engine)->faults = cases[i].faults;
        change_notes(t, NULL);
        check_refused(t, &rig, "llvmpipe", 1, cases[i].code, cases[i].part);
        CHECK_INT(t, rig.engine->n_lost, cases[i].n_lost);
        CHECK_INT(t, rig.engine->n_gpu_layers, 0);
        if (cases[i].faults.product > 0) {    /* it computes wrong what it computed before, too */
            CHECK(t, rig.model->backend == rig.engine->cpu && model_info(rig.model)->n_device_layers == 0);
            CHECK_INT(t, device_rig_warnings(rig.model, "; this model runs on the CPU"), 1);
            device_rig_close(t, &rig);
            continue;
        }
        check_place(t, &rig, 2);
        eval(t, &rig, 0, ids + PIECE, PIECE, got);
        CHECK_BYTES(t, got, want[1], sizeof got, "case %zu", i);
        CHECK(t, !rig.engine->left, "what was lost is still open");
        device_rig_close(t, &rig);
    }
}

/* All models go, or none: the other one has heads that the device cannot attend. */
TEST(device_move_of_two_models_is_for_both)
{
    static const struct plan odd = { .arch = "llama", .n_layers = 1, .n_embd = 64, .n_ff = 64, .n_head = 2,
                                     .n_kv_head = 1, .d_head = 18, .n_vocab = N_VOCAB, .n_rot = 18,
                                     .rope_base = 10000, .embed_scale = 1 };
    static float want[N_PIECES][N_VOCAB], got[N_VOCAB];
    const struct session_options o = options(1, "f16");
    struct session_rig rig;
    struct model *other;
    struct err e;
    int32_t ids[N_IDS];
    begin(t, ids);
    eval_pieces(t, false, "f16", ids, want);
    for (int32_t odd_first = 0; odd_first < 2; odd_first++) {
        open_rig(t, &rig, false, &o);
        struct model *first = rig.model;
        session_rig_write(t, &odd, file_path(t, "odd.gguf"));
        CHECK_INT(t, model_open(&other, rig.engine, file_path(t, "odd.gguf"), MODEL_RUN, &e), ERR_OK, "%s", e.text);
        if (odd_first) {    /* the engine goes through them from the newest on */
            model_part(first);
            model_join(first);
        }
        eval(t, &rig, 0, ids, PIECE, NULL);
        const struct before b = note(&rig);
        check_refused(t, &rig, "llvmpipe", 0, ERR_UNSUPPORTED, "heads of 18 values");
        check_unchanged(t, &rig, &b);
        CHECK(t, other->placed && other->backend == rig.engine->cpu);
        eval(t, &rig, 0, ids + PIECE, PIECE, got);
        CHECK_BYTES(t, got, want[1], sizeof got);
        model_close(other);
        CHECK_INT(t, model_open(&other, rig.engine, file_path(t, "model.gguf"), MODEL_RUN, &e), ERR_OK, "%s", e.text);
        move(t, &rig, "llvmpipe", 0, 2);
        CHECK_INT(t, model_info(other)->n_device_layers, 2);
        model_close(other);
        device_rig_close(t, &rig);
    }
}

/* Who wants a device again after it was lost for good gets it, with two more losses to its account. */
TEST(device_move_back_to_a_device_that_was_lost)
{
    static float want[N_PIECES][N_VOCAB], got[N_VOCAB];
    const struct session_options o = options(1, "f16");
    struct session_rig rig;
    int32_t ids[N_IDS];
    begin(t, ids);
    eval_pieces(t, true, "f16", ids, want);
    open_rig(t, &rig, true, &o);
    for (int32_t i = 0; i < 2; i++) {
        device_rig_device(rig.engine)->faults.submit = 1;
        eval(t, &rig, 0, ids + i * PIECE, PIECE, NULL);
    }
    check_place(t, &rig, 0);
    CHECK_INT(t, rig.engine->n_lost, 2);
    move(t, &rig, "llvmpipe", 0, 1);
    check_place(t, &rig, 2);
    CHECK_INT(t, rig.engine->n_lost, 0);
    CHECK_TEXT(t, rig.engine->device_note, "");
    eval(t, &rig, 0, ids + 2 * PIECE, PIECE, got);
    CHECK_BYTES(t, got, want[2], sizeof got);
    device_rig_device(rig.engine)->faults.submit = 1;
    eval(t, &rig, 0, ids + 3 * PIECE, PIECE, got);
    CHECK_BYTES(t, got, want[3], sizeof got);
    check_place(t, &rig, 2);
    CHECK(t, !rig.engine->left, "what was lost is still open");
    device_rig_close(t, &rig);
}

/* Nobody names a device: what it does not take is the processor's, without an error. */
TEST(device_move_by_itself_finds_a_place_as_at_load)
{
    const struct session_options o = options(1, "f16");
    struct session_rig rig;
    int32_t ids[N_IDS];
    begin(t, ids);
    open_rig(t, &rig, true, &o);
    eval(t, &rig, 0, ids, PIECE, NULL);
    move(t, &rig, "auto", 0, 1);    /* software is used by name alone */
    check_place(t, &rig, 0);
    eval(t, &rig, 0, ids + PIECE, PIECE, NULL);
    const struct before b = note(&rig);
    move(t, &rig, NULL, 0, 0);
    move(t, &rig, "cpu", 0, 0);
    move(t, &rig, "auto", 3, 0);
    check_unchanged(t, &rig, &b);
    move(t, &rig, "llvmpipe", 0, 1);
    if (rig.engine->vulkan_validate) {    /* "auto" looks then */
        struct vulkan_list *list = rig.engine->vulkan;
        list->cards[rig.engine->card - list->cards].kind = VULKAN_OTHER;
        move(t, &rig, "auto", 0, 0);
        check_place(t, &rig, 2);
        change_notes(t, "passed 0 0.001 9 5");    /* in a turn of 9 ms, the processor in 5 */
        move(t, &rig, "auto", 1, 1);
        CHECK(t, rig.model->backend == rig.engine->cpu && device_rig_on_device(rig.engine));
        eval(t, &rig, 0, ids + 2 * PIECE, PIECE, NULL);
        const struct before slower = note(&rig);
        move(t, &rig, "auto", 1, 0);
        move(t, &rig, "auto", 2, 0);
        check_unchanged(t, &rig, &slower);
        move(t, &rig, "llvmpipe", 2, 1);    /* who names it gets it */
        check_place(t, &rig, 2);
    }
    device_rig_close(t, &rig);
}
