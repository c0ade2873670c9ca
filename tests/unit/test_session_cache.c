/* SPDX-License-Identifier: MIT */
/* What sessions share: prefixes in memory and in files, types of keys and values. */
#include "tests/support/session_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "engine/quant/quant.h"
#include "engine/session/session_impl.h"
#include "tests/support/kv_fake_memory.h"
#include "tests/support/tiny_model.h"

enum { N_IDS = 700, MIB = 1 << 20 };

static const struct plan small = { .arch = "llama", .n_layers = 2, .n_embd = 64, .n_ff = 64, .n_head = 2,
                                   .n_kv_head = 1, .d_head = 64, .n_vocab = 150, .n_rot = 64, .rope_base = 10000,
                                   .embed_scale = 1 };

static const char *file_path(struct test *t, const char *name)
{
    static char path[512];
    snprintf(path, sizeof path, "%s/%s", test_folder(t), name);
    return path;
}

static void open_small(struct test *t, struct session_rig *rig, const struct plan *plan,
                       const struct session_options *o)
{
    session_rig_write(t, plan, file_path(t, "model.gguf"));
    session_rig_open(t, rig, file_path(t, "model.gguf"), o);
}

static struct session_options options(int32_t n_seqs, const char *type)
{
    return (struct session_options){ .n_ctx = 1024, .n_seqs = n_seqs, .kv_type_k = type, .kv_type_v = type,
                                     .keep_kv_type = true, .cache_ram_bytes = 64 * MIB };
}

static struct session_stats stats_of(const struct session_rig *rig)
{
    struct session_stats stats;
    session_stats(rig->session, &stats);
    return stats;
}

/* ---- memory --------------------------------------------------------------------------------------- */

TEST(session_cache_other_sequences_and_sessions_find_a_prompt)
{
    struct session_rig rig;
    int32_t ids[N_IDS];
    struct session_options o = options(2, "f16");
    const struct generate_options ask = session_rig_greedy(10, 0);
    open_small(t, &rig, &small, &o);
    session_rig_ids(t, &rig, ids, N_IDS);
    struct session_story first = session_rig_ask(t, &rig, 0, ids, 500, &ask);
    CHECK_INT(t, first.done.timings.n_reused, 0);
    struct session_story other = session_rig_ask(t, &rig, 1, ids, 500, &ask);
    CHECK_INT(t, other.done.timings.n_reused, 499, "the last token's logits are needed");
    CHECK_INT(t, other.done.timings.n_loaded, 0);
    CHECK_BYTES(t, other.ids, first.ids, sizeof first.ids);
    o.n_ctx = 600;
    o.n_seqs = 1;
    session_rig_change(t, &rig, &o);
    struct session_story later = session_rig_ask(t, &rig, 0, ids, 500, &ask);
    CHECK_INT(t, later.done.timings.n_reused, 499, "a session after the one that evaluated it");
    CHECK_BYTES(t, later.ids, first.ids, sizeof first.ids);
    session_rig_close(&rig);
}

TEST(session_cache_of_other_types_is_another)
{
    struct session_rig rig;
    int32_t ids[N_IDS];
    struct session_options o = options(1, "f16"), other = options(1, "q8_0");
    const struct generate_options ask = session_rig_greedy(3, 0);
    struct err e;
    struct session *second;
    open_small(t, &rig, &small, &o);
    session_rig_ids(t, &rig, ids, N_IDS);
    session_rig_ask(t, &rig, 0, ids, 300, &ask);
    CHECK_INT(t, session_create(&second, rig.model, &other, &e), ERR_OK, "%s", e.text);
    CHECK_INT(t, session_held(second, 0, ids, 300), 0);
    session_destroy(second);
    CHECK_INT(t, session_held(rig.session, 0, ids, 300), 300, "the first one's is untouched");
    session_rig_change(t, &rig, &other);
    session_rig_change(t, &rig, &o);
    CHECK_INT(t, session_held(rig.session, 0, ids, 300), 0, "dropped when only other types were in use");
    session_rig_close(&rig);
}

TEST(session_cache_without_a_budget_keeps_only_what_is_held)
{
    struct session_rig rig;
    int32_t ids[N_IDS];
    struct session_options o = options(1, "f16");
    const struct generate_options ask = session_rig_greedy(3, 0);
    o.cache_ram_bytes = 0;
    open_small(t, &rig, &small, &o);
    session_rig_ids(t, &rig, ids, N_IDS);
    session_rig_ask(t, &rig, 0, ids, 300, &ask);
    CHECK(t, session_held(rig.session, 0, ids, 300) == 300 && stats_of(&rig).cached_bytes == 0);
    session_truncate(rig.session, 0, 0);
    CHECK_INT(t, session_held(rig.session, 0, ids, 300), 0);
    CHECK(t, stats_of(&rig).kv_bytes == 0 && stats_of(&rig).cached_bytes == 0);
    session_rig_close(&rig);
}

TEST(session_cache_system_prompt_is_evaluated_once_for_four)
{
    for (int32_t waits = 0; waits < 2; waits++) {
        struct session_rig rig;
        enum { N_SEQS = 4, N_SYSTEM = 300, N_OWN = 40 };
        int32_t ids[N_SEQS][N_SYSTEM + N_OWN];
        struct session_options o = options(N_SEQS, "kv4");
        o.n_batch = 64;
        o.cache_ram_bytes = waits ? 0 : 64 * MIB;    /* also when nothing is kept but what sequences hold */
        const struct generate_options ask = session_rig_greedy(12, waits ? 0 : N_SYSTEM);
        struct session_story alone[N_SEQS], *stories = calloc(SESSION_RIG_SEQS, sizeof *stories);
        open_small(t, &rig, &small, &o);
        session_rig_ids(t, &rig, ids[0], N_SYSTEM + N_OWN);
        for (int32_t i = 0; i < N_SEQS; i++) {
            memcpy(ids[i], ids[0], N_SYSTEM * sizeof(int32_t));
            session_rig_ids(t, &rig, ids[i] + N_SYSTEM, N_OWN);
            ids[i][N_SYSTEM] = 1 + i;    /* here they part */
            session_rig_change(t, &rig, &o);
        }
        for (int32_t i = 0; i < N_SEQS; i++)
            session_rig_start(t, &rig, i, ids[i], N_SYSTEM + N_OWN, &ask);
        session_rig_run(t, &rig, stories);
        for (int32_t i = 0; i < N_SEQS; i++)
            CHECK_INT(t, stories[i].done.timings.n_reused, i ? N_SYSTEM : 0, "sequence %d, budget %d", i, !waits);
        session_rig_close(&rig);
        for (int32_t i = 0; i < N_SEQS; i++) {
            session_rig_open(t, &rig, file_path(t, "model.gguf"), &o);
            alone[i] = session_rig_ask(t, &rig, 0, ids[i], N_SYSTEM + N_OWN, &ask);
            CHECK_BYTES(t, stories[i].ids, alone[i].ids, sizeof alone[i].ids, "sequence %d", i);
            session_rig_close(&rig);
        }
        free(stories);
    }
}

TEST(session_cache_waiting_prompt_goes_on_when_the_other_is_refused)
{
    struct session_rig rig;
    int32_t ids[N_IDS];
    struct session_options o = options(2, "f16");
    const struct generate_options ask = session_rig_greedy(5, 0);
    struct session_story *stories = calloc(SESSION_RIG_SEQS, sizeof *stories);
    struct eng_event events[32];
    struct err e;
    int32_t n;
    o.n_batch = 32;
    o.cache_ram_bytes = 0;
    open_small(t, &rig, &small, &o);
    session_rig_ids(t, &rig, ids, N_IDS);
    session_rig_start(t, &rig, 0, ids, 300, &ask);
    session_rig_start(t, &rig, 1, ids, 200, &ask);
    CHECK_INT(t, session_step(rig.session, events, 32, &n, &e), ERR_OK);
    session_cancel(rig.session);
    session_rig_run(t, &rig, stories);
    CHECK(t, stories[0].done.reason == DONE_CANCELLED && stories[1].done.reason == DONE_CANCELLED);
    struct session_story after = session_rig_ask(t, &rig, 1, ids, 200, &ask);
    CHECK_INT(t, after.done.timings.n_reused, 32, "what the other one had evaluated by then");
    free(stories);
    session_rig_close(&rig);
}

/* With sealed pages a sequence can go on only where somebody kept the place. */
TEST(session_cache_shared_beginning_is_a_place_to_go_on_from)
{
    struct session_rig rig;
    enum { N_SYSTEM = 333 };
    int32_t ids[N_IDS];
    struct session_options o = options(1, "kv4");
    const struct generate_options ask = session_rig_greedy(3, N_SYSTEM);
    open_small(t, &rig, &small, &o);
    session_rig_ids(t, &rig, ids, N_IDS);
    session_rig_ask(t, &rig, 0, ids, N_IDS, &ask);
    for (int32_t i = N_SYSTEM; i < N_IDS; i++)
        ids[i] = ids[i] % 100 + 20;
    ids[N_SYSTEM] = ids[N_SYSTEM] == 7 ? 8 : 7;
    struct session_story other = session_rig_ask(t, &rig, 0, ids, N_IDS, &ask);
    CHECK(t, other.done.timings.n_reused == N_SYSTEM || other.done.timings.n_reused == N_SYSTEM + 1, "%d of %d",
          other.done.timings.n_reused, N_SYSTEM);
    session_rig_close(&rig);
}

/* The last token of a prompt is evaluated again. Where a page ends, or leaves a window, that place needs one page
 * more than the prompt's end does. */
TEST(session_cache_answer_again_goes_on_before_the_last_token)
{
    static const struct {
        const char *type;
        int32_t window, n;
    } cases[] = { { "kv4", 0, 639 }, { "kv4", 0, 640 }, { "kv4", 0, 641 }, { "kv4", 150, 640 }, { "kv4", 150, 661 },
                  { "f16", 150, 660 }, { "f16", 150, 661 }, { "f16", 150, 662 } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct session_rig rig;
        int32_t ids[N_IDS], n = cases[i].n;
        struct plan plan = small;
        struct session_options o = options(1, cases[i].type);
        const struct generate_options ask = session_rig_greedy(SESSION_RIG_IDS, 0);
        plan.arch = cases[i].window ? "gemma3" : "llama";
        plan.tied = plan.qk_norm = plan.post_norm = plan.halves = cases[i].window > 0;
        plan.window = cases[i].window;
        plan.period = 2;
        plan.rope_base_local = 500;
        open_small(t, &rig, &plan, &o);
        session_rig_ids(t, &rig, ids, n);
        struct session_story first = session_rig_ask(t, &rig, 0, ids, n, &ask);
        struct session_story again = session_rig_ask(t, &rig, 0, ids, n, &ask);
        CHECK_INT(t, again.done.timings.n_reused, n - 1, "%s, window %d", cases[i].type, cases[i].window);
        CHECK_BYTES(t, again.ids, first.ids, sizeof first.ids);
        session_rig_close(&rig);
    }
}

TEST(session_cache_stats_say_what_is_held)
{
    struct session_rig rig;
    int32_t ids[N_IDS];
    struct model_memory memory;
    struct session_options o = options(2, "kv4");
    const struct generate_options ask = session_rig_greedy(2, 0);
    open_small(t, &rig, &small, &o);
    session_rig_ids(t, &rig, ids, N_IDS);
    session_rig_ask(t, &rig, 0, ids, 640, &ask);
    session_rig_ask(t, &rig, 1, ids, 640, &ask);
    struct session_stats stats = stats_of(&rig);
    CHECK_INT(t, stats.n_held, 2 * 641);
    CHECK(t, stats.kv_bytes > 0 && stats.kv_bytes < stats.kv_full_bytes);
    CHECK(t, stats.n_open > 0 && stats.n_sealed > 0 && stats.n_shared > 0, "%d open, %d sealed, %d shared",
          stats.n_open, stats.n_sealed, stats.n_shared);
    CHECK_INT(t, stats.cache_ram_bytes, 64 * MIB);
    CHECK_TEXT(t, stats.kv_type_k, "kv4");
    CHECK_TEXT(t, stats.kv_note, "");
    model_memory(rig.model, 1024, 2, "kv4", "kv4", &memory);
    CHECK_INT(t, memory.kv_bytes, stats.kv_full_bytes);
    struct model_memory half;
    model_memory(rig.model, 32768, 2, "f16", NULL, &half);
    model_memory(rig.model, 32768, 2, "kv4", "kv4", &memory);
    CHECK(t, half.kv_bytes > 2 * memory.kv_bytes, "4 times, but for whole pages of so small a model");
    session_rig_close(&rig);
}

/* ---- files ---------------------------------------------------------------------------------------- */

/* Tiny models evaluate faster than a disk answers: here files are used all the same. */
static void open_with_files(struct test *t, struct session_rig *rig, const char *model, const char *type)
{
    static char dir[512];
    snprintf(dir, sizeof dir, "%s/cache", test_folder(t));
    struct session_options o = options(2, type);
    o.cache_dir = dir;
    o.cache_disk_bytes = 64 * MIB;
    session_rig_open(t, rig, file_path(t, model), &o);
    rig->session->any_file = true;
}

TEST(session_cache_closed_chat_comes_back_from_its_file)
{
    struct session_rig rig;
    int32_t ids[N_IDS];
    const struct generate_options ask = session_rig_greedy(20, 0);
    session_rig_write(t, &small, file_path(t, "model.gguf"));
    open_with_files(t, &rig, "model.gguf", "kv4");
    session_rig_ids(t, &rig, ids, N_IDS);
    session_rig_ask(t, &rig, 0, ids, 400, &ask);
    session_close_chat(rig.session, 0);
    CHECK(t, session_flush(rig.session, 10000));
    CHECK_INT(t, stats_of(&rig).n_disk_files, 1);
    CHECK(t, stats_of(&rig).disk_bytes > 0 && stats_of(&rig).n_disk_writing == 0);
    CHECK_INT(t, session_held(rig.session, 0, ids, 400), 400, "the budget has it still");
    struct session_story memory = session_rig_ask(t, &rig, 1, ids, 400, &ask);
    CHECK(t, memory.done.timings.n_loaded == 0 && memory.done.timings.n_reused == 399);
    memcpy(ids + 400, memory.ids, 19 * sizeof(int32_t));    /* held: all but the last */
    session_close_chat(rig.session, 1);
    CHECK(t, session_flush(rig.session, 10000));
    CHECK_INT(t, stats_of(&rig).n_disk_files, 1, "nothing new in the second one");
    struct session_story want = session_rig_ask(t, &rig, 0, ids, 500, &ask);
    session_rig_close(&rig);

    open_with_files(t, &rig, "model.gguf", "kv4");
    struct session_story again = session_rig_ask(t, &rig, 0, ids, 500, &ask);
    CHECK_INT(t, again.done.timings.n_loaded, 419);
    CHECK_INT(t, again.done.timings.n_reused, 419);
    CHECK_BYTES(t, again.ids, want.ids, sizeof want.ids);
    session_rig_close(&rig);
}

TEST(session_cache_shared_beginning_gets_a_file)
{
    struct session_rig rig;
    enum { N_SYSTEM = 200 };
    int32_t ids[N_IDS];
    const struct generate_options ask = session_rig_greedy(5, N_SYSTEM);
    session_rig_write(t, &small, file_path(t, "model.gguf"));
    open_with_files(t, &rig, "model.gguf", "q8_0");
    session_rig_ids(t, &rig, ids, N_IDS);
    session_rig_ask(t, &rig, 0, ids, 250, &ask);
    session_rig_ask(t, &rig, 1, ids, 250, &ask);
    CHECK(t, session_flush(rig.session, 10000));
    CHECK_INT(t, stats_of(&rig).n_disk_files, 1, "written once");
    session_rig_close(&rig);
    open_with_files(t, &rig, "model.gguf", "q8_0");
    struct session_story story = session_rig_ask(t, &rig, 0, ids, 250, &ask);
    CHECK_INT(t, story.done.timings.n_loaded, N_SYSTEM);
    CHECK_INT(t, session_rig_ask(t, &rig, 1, ids, 250, &ask).done.timings.n_loaded, 0, "memory has it now");
    session_rig_close(&rig);
}

TEST(session_cache_file_of_another_model_or_type_does_not_match)
{
    struct session_rig rig;
    int32_t ids[N_IDS];
    const struct generate_options ask = session_rig_greedy(0, 0);
    struct plan rope = small, level = small;
    rope.rope_base = 10001;
    level.weight_type = QUANT_Q8_0;
    const uint64_t before = t->rng;    /* the same weights in all three */
    session_rig_write(t, &small, file_path(t, "model.gguf"));
    t->rng = before;
    session_rig_write(t, &rope, file_path(t, "rope.gguf"));
    t->rng = before;
    session_rig_write(t, &level, file_path(t, "level.gguf"));
    open_with_files(t, &rig, "model.gguf", "kv4");
    session_rig_ids(t, &rig, ids, N_IDS);
    session_rig_ask(t, &rig, 0, ids, 400, &ask);
    session_close_chat(rig.session, 0);
    CHECK(t, session_flush(rig.session, 10000));
    session_rig_close(&rig);
    static const struct {
        const char *model, *type;
        bool matches;
    } cases[] = { { "model.gguf", "kv4", true }, { "model.gguf", "q8_0", false }, { "model.gguf", "q4_0", false },
                  { "rope.gguf", "kv4", false }, { "level.gguf", "kv4", false } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        open_with_files(t, &rig, cases[i].model, cases[i].type);
        struct session_story story = session_rig_ask(t, &rig, 0, ids, 500, &ask);
        CHECK_INT(t, story.done.timings.n_loaded > 0, cases[i].matches, "%s, %s", cases[i].model, cases[i].type);
        session_rig_close(&rig);
    }
}

TEST(session_cache_folder_that_cannot_be_is_a_warning)
{
    struct session_rig rig;
    int32_t ids[N_IDS];
    const struct generate_options ask = session_rig_greedy(5, 200);
    struct session_options o = options(1, "f16");
    session_rig_write(t, &small, file_path(t, "model.gguf"));
    o.cache_dir = "/proc/nowhere";
    o.cache_disk_bytes = MIB;
    session_rig_open(t, &rig, file_path(t, "model.gguf"), &o);
    bool said = false;
    for (int32_t i = 0; model_warning(rig.model, i); i++)
        said |= strstr(model_warning(rig.model, i), "/proc/nowhere") != NULL;
    CHECK(t, said, "no warning names the folder");
    session_rig_ids(t, &rig, ids, N_IDS);
    session_rig_ask(t, &rig, 0, ids, 300, &ask);
    session_close_chat(rig.session, 0);
    CHECK(t, session_flush(rig.session, 1000) && stats_of(&rig).n_disk_files == 0);
    session_rig_close(&rig);
}

/* ---- types ---------------------------------------------------------------------------------------- */

TEST(session_cache_types_by_the_memory_there_is)
{
    struct session_rig rig;
    const struct session_options o = options(1, "f16");
    struct session_types open, types;
    char note[256];
    open_small(t, &rig, &small, &o);
    enum { N_CTX = 1 << 20 };
    CHECK_INT(t, session_types_find(&open, "auto", "auto", NULL), ERR_OK);
    uint64_t half = session_kv_bytes(rig.model, (struct session_types){ KV_F16, KV_F16 }, N_CTX, 2);
    uint64_t q8 = session_kv_bytes(rig.model, (struct session_types){ KV_Q8_0, KV_Q8_0 }, N_CTX, 2);
    struct model_memory memory;
    model_memory(rig.model, N_CTX, 2, NULL, NULL, &memory);
    uint64_t others = memory.weight_bytes + memory.scratch_bytes;
    const struct {
        uint64_t available;
        enum kv_type want;
    } cases[] = { { (half + others) / 4 * 5 + 8, KV_F16 }, { (half + others) / 4 * 5 - 8, KV_Q8_0 },
                  { (q8 + others) / 4 * 5 + 8, KV_Q8_0 }, { (q8 + others) / 4 * 5 - 8, KV_KV4 }, { 0, KV_KV4 } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        types = open;
        note[0] = '\0';
        session_types_decide(&types, rig.model, N_CTX, 2, DEFAULT_BATCH,
                             (struct session_bytes){ .host = cases[i].available }, note, sizeof note);
        CHECK(t, types.k == cases[i].want && types.v == cases[i].want, "case %zu: %s", i, kv_type_name(types.k));
        CHECK(t, (note[0] != '\0') == (cases[i].want != KV_F16), "case %zu: '%s'", i, note);
    }
    CHECK_INT(t, session_types_find(&types, "kv3", "auto", NULL), ERR_OK);
    session_types_decide(&types, rig.model, N_CTX, 2, DEFAULT_BATCH, (struct session_bytes){ 0 }, note, sizeof note);
    CHECK(t, types.k == KV_KV3 && types.v == KV_KV4, "what was asked for by name stays");
    struct session_options sane = options(1, "auto");
    session_rig_change(t, &rig, &sane);
    CHECK_TEXT(t, stats_of(&rig).kv_type_k, "f16", "this model fits anywhere");
    session_rig_close(&rig);
}

TEST(session_cache_kv3_spares_the_layers_at_both_ends)
{
    struct plan plan = small;
    struct session_rig rig;
    struct session_options o = options(1, "kv3");
    plan.n_layers = 6;
    open_small(t, &rig, &plan, &o);
    for (int32_t i = 0; i < 6; i++)
        CHECK_INT(t, rig.session->cache->layers[i].k, i < 2 || i > 3 ? KV_KV4 : KV_KV3, "layer %d", i);
    CHECK_TEXT(t, stats_of(&rig).kv_type_v, "kv3");
    session_rig_close(&rig);
}

TEST(session_cache_heads_of_no_fitting_size_stay_f16)
{
    struct plan plan = small;
    struct session_rig rig;
    struct session_options o = options(1, "kv4");
    plan.d_head = plan.n_rot = 40;
    open_small(t, &rig, &plan, &o);
    CHECK_TEXT(t, stats_of(&rig).kv_type_k, "f16");
    CHECK(t, strstr(stats_of(&rig).kv_note, "heads of 40 values") != NULL, "'%s'", stats_of(&rig).kv_note);
    session_rig_close(&rig);
}

/* Keys with a large constant part, as some models have them. */
static struct plan fragile_plan(void)
{
    struct plan plan = small;
    plan.arch = "qwen2";
    plan.n_layers = 3;
    plan.n_rot = 16;
    plan.halves = plan.qkv_bias = plan.letters = true;
    plan.key_bias = 20;
    return plan;
}

TEST(session_cache_types_that_ruin_a_model_are_raised)
{
    struct session_rig rig;
    struct plan plan = fragile_plan();
    struct session_options o = options(1, "q4_0");
    o.keep_kv_type = false;
    open_small(t, &rig, &plan, &o);
    struct session_stats stats = stats_of(&rig);
    printf("%s\n", stats.kv_note);
    CHECK(t, strcmp(stats.kv_type_k, "q4_0") != 0, "keys in q4_0 kept");
    CHECK_TEXT(t, stats.kv_type_v, "q4_0", "values bear it");
    CHECK(t, strstr(stats.kv_note, "KL") != NULL, "'%s'", stats.kv_note);
    o.keep_kv_type = true;
    session_rig_change(t, &rig, &o);
    CHECK_TEXT(t, stats_of(&rig).kv_type_k, "q4_0", "untried");
    session_rig_close(&rig);
    o.keep_kv_type = false;
    plan.key_bias = 0.5;
    open_small(t, &rig, &plan, &o);
    CHECK_TEXT(t, stats_of(&rig).kv_type_k, "q4_0", "an ordinary model bears it");
    CHECK_TEXT(t, stats_of(&rig).kv_note, "");
    session_rig_close(&rig);
}

TEST(session_cache_trial_is_remembered_in_the_folder)
{
    struct session_rig rig;
    struct plan plan = fragile_plan();
    char dir[512];
    struct session_trial trial;
    struct err e;
    struct session_options o = options(1, "q4_0");
    snprintf(dir, sizeof dir, "%s/cache", test_folder(t));
    o.keep_kv_type = false;
    o.cache_dir = dir;
    o.cache_disk_bytes = 64 * MIB;
    open_small(t, &rig, &plan, &o);
    struct session_stats first = stats_of(&rig);
    session_rig_close(&rig);
    session_rig_open(t, &rig, file_path(t, "model.gguf"), &o);
    CHECK_TEXT(t, stats_of(&rig).kv_type_k, first.kv_type_k);
    rig.session->types = (struct session_types){ KV_Q4_0, KV_Q4_0 };
    CHECK_INT(t, session_trial_run(rig.session, dir, &trial, &e), ERR_OK);
    CHECK(t, !trial.fresh && trial.taken.k != KV_Q4_0 && trial.taken.v == KV_Q4_0);
    session_rig_close(&rig);
}

/* ---- a device's memory ---------------------------------------------------------------------------- */

/* The CPU sees this one, so it can stand in for the device: over its pages nothing comes out otherwise, and files of
 * one are read into the other. */
TEST(session_cache_pages_of_a_device_change_nothing)
{
    enum { N_SHARED = 300 };
    int32_t ids[N_IDS];
    struct session_story stories[2];
    const struct generate_options ask = session_rig_greedy(20, N_SHARED);
    session_rig_write(t, &small, file_path(t, "model.gguf"));
    for (int pass = 0; pass < 4; pass++) {
        struct session_rig rig;
        struct kv_fake_memory m;
        struct session_options o = options(2, "f16");
        char dir[512];
        int device = pass % 2, loads = pass / 2;
        kv_fake_memory_init(&m, 1 << 18);
        m.seen = true;
        session_rig_open(t, &rig, file_path(t, "model.gguf"), &o);
        if (pass == 0)
            session_rig_ids(t, &rig, ids, N_IDS);
        rig.engine->backend->kv_memory = device ? &m.memory : NULL;
        o = options(2, "kv4");
        o.keep_kv_type = false;
        snprintf(dir, sizeof dir, "%s/cache-%d", test_folder(t), loads ? !device : device);
        o.cache_dir = dir;
        o.cache_disk_bytes = 64 * MIB;
        session_rig_change(t, &rig, &o);    /* tries the types, but where the folder knows what came of it */
        CHECK_INT(t, m.n_regions, 0);
        CHECK_INT(t, m.n_created, device && !loads ? 2 : 0);
        rig.session->any_file = true;
        struct session_story first = session_rig_ask(t, &rig, 0, ids, 400, &ask);
        struct session_story second = session_rig_ask(t, &rig, 1, ids, 330, &ask);    /* in a page of the first's */
        CHECK(t, session_flush(rig.session, 10000));
        CHECK_INT(t, first.done.timings.n_loaded, loads ? N_SHARED : 0);
        if (pass == 0) {
            stories[0] = first;
            stories[1] = second;
        }
        CHECK_BYTES(t, first.ids, stories[0].ids, sizeof first.ids, "pass %d", pass);
        CHECK_BYTES(t, second.ids, stories[1].ids, sizeof second.ids, "pass %d", pass);
        CHECK_INT(t, m.n_regions > 0, device);
        CHECK_INT(t, m.n_copies > 0, device);
        CHECK_INT(t, m.n_reads > 0, device && !loads);
        CHECK_INT(t, m.n_writes > 0, device && loads);
        session_rig_close(&rig);
        kv_fake_memory_finish(&m);
    }
}

TEST(session_cache_device_that_fails_ends_an_answer_with_its_words)
{
    struct session_rig rig;
    struct kv_fake_memory m;
    int32_t ids[N_IDS];
    struct session_options o = options(1, "f16");
    const struct generate_options ask = session_rig_greedy(20, 0);
    kv_fake_memory_init(&m, 1 << 18);
    m.seen = true;
    open_small(t, &rig, &small, &o);
    session_rig_ids(t, &rig, ids, N_IDS);
    rig.engine->backend->kv_memory = &m.memory;
    o = options(1, "kv4");
    session_rig_change(t, &rig, &o);
    m.fail_in = 2;
    struct session_story *stories = calloc(SESSION_RIG_SEQS, sizeof *stories);
    CHECK(t, stories != NULL);
    session_rig_start(t, &rig, 0, ids, 500, &ask);
    session_rig_run(t, &rig, stories);
    CHECK_INT(t, stories[0].done.reason, DONE_ERROR);
    CHECK(t, strstr(stories[0].done.text, "the fake device is lost"), "%s", stories[0].done.text);
    session_rig_ask(t, &rig, 0, ids, 500, &ask);    /* whatever it was, it answers again */
    session_rig_close(&rig);
    kv_fake_memory_finish(&m);
    free(stories);
}

/* ---- what conversations share --------------------------------------------------------------------- */

static int32_t chat_tokens(struct test *t, struct model *m, const char *system, const char *user, const char *answer,
                           struct token_list *out)
{
    struct chat_message messages[4];
    struct chat_prompt prompt = { .n_shared = -1 };
    struct err e;
    int32_t n = 0;
    if (system)
        messages[n++] = (struct chat_message){ .role = "system", .content = system };
    messages[n++] = (struct chat_message){ .role = "user", .content = user };
    if (answer) {
        messages[n++] = (struct chat_message){ .role = "assistant", .content = answer };
        messages[n++] = (struct chat_message){ .role = "user", .content = "And then?" };
    }
    const struct chat_input in = { .messages = messages, .n_messages = n, .add_generation_prompt = true,
                                   .enable_thinking = -1 };
    CHECK_INT(t, model_chat(m, &in, out, &prompt, &e), ERR_OK, "%s", e.text);
    return prompt.n_shared;
}

TEST(session_cache_chat_knows_what_conversations_share)
{
    struct tiny_model tiny;
    struct engine *eng;
    struct model *m;
    struct err e;
    struct token_list a = { 0 }, b = { 0 };
    tiny_model_init(&tiny);
    CHECK_INT(t, tiny_model_write(&tiny, file_path(t, "tiny.gguf"), &e), ERR_OK, "%s", e.text);
    CHECK_INT(t, engine_create(&eng, &(struct engine_options){ .n_threads = 1 }, &e), ERR_OK);
    CHECK_INT(t, model_open(&m, eng, file_path(t, "tiny.gguf"), MODEL_VOCABULARY, &e), ERR_OK, "%s", e.text);
    CHECK_INT(t, chat_tokens(t, m, NULL, "Hello", NULL, &a), 0, "without a system message");
    int32_t n = chat_tokens(t, m, "Be calm.", "Hello", NULL, &a);
    CHECK_INT(t, chat_tokens(t, m, "Be calm.", "zebra", NULL, &b), n);
    CHECK(t, n > 8 && n < a.n && memcmp(a.ids, b.ids, (size_t)n * sizeof *a.ids) == 0, "%d of %d", n, a.n);
    CHECK(t, a.ids[n] != b.ids[n], "more than %d tokens are the same", n);
    CHECK_INT(t, chat_tokens(t, m, "Be calm.", "Hello", "Well.", &b), n, "also of a longer conversation");
    CHECK(t, chat_tokens(t, m, "Be calm. Be brief.", "Hello", NULL, &b) > n);
    CHECK_INT(t, chat_tokens(t, m, "Be calm.", "Who?", NULL, &b), n, "back to the first, a text like the one tried");
    token_list_finish(&a);
    token_list_finish(&b);
    model_close(m);
    engine_destroy(eng);
}
