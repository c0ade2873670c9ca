/* SPDX-License-Identifier: MIT */
/* What comes out of a sequence does not depend on how its keys and values came to be there: all at once or in
 * pieces, alone or beside others, just evaluated, found in memory, read from a file, or after a way back. For
 * every type, the same answer and the same bits of logits. Prompts are long enough that most of what is read is
 * sealed. */
#include "tests/support/session_rig.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/session/session_impl.h"

enum { N_PROMPT = 750, N_SHARED = 203, N_BRANCH = 731, N_ANSWER = 30, N_PROBE = 3, N_VOCAB = 120, N_CTX = 1024,
       MIB = 1 << 20 };

static const struct plan plans[] = {
    { .arch = "llama", .n_layers = 6, .n_embd = 64, .n_ff = 64, .n_head = 2, .n_kv_head = 1, .d_head = 64,
      .n_vocab = N_VOCAB, .n_rot = 64, .rope_base = 10000, .embed_scale = 1 },
    { .arch = "gemma3", .n_layers = 6, .n_embd = 64, .n_ff = 64, .n_head = 4, .n_kv_head = 2, .d_head = 32,
      .n_vocab = N_VOCAB, .n_rot = 32, .rope_base = 100000, .rope_base_local = 500, .embed_scale = 8, .halves = true,
      .qk_norm = true, .post_norm = true, .gelu = true, .tied = true, .window = 150, .period = 3 },
    /* so many heads of one KV head that a kernel takes two rows at most */
    { .arch = "llama", .n_layers = 2, .n_embd = 64, .n_ff = 64, .n_head = 32, .n_kv_head = 1, .d_head = 32,
      .n_vocab = N_VOCAB, .n_rot = 32, .rope_base = 10000, .embed_scale = 1 },
};

/* A prompt and what it gives; `whole` begins like the others and is the one that is looked at from all sides. */
struct prompt {
    int32_t ids[N_PROMPT];
    int32_t answer[N_ANSWER];
    float logits[N_PROBE * N_VOCAB];    /* after three more tokens */
};

struct scene {
    struct test *t;
    const char *type;
    char model[512], dir[512];
    struct prompt whole, shared, branch;    /* the second parts from it at N_SHARED, the third at N_BRANCH */
};

static const int32_t probe[N_PROBE] = { 7, 77, 17 };

static struct session_options options(const struct scene *c, int32_t n_seqs, int32_t n_batch, bool keeps,
                                      bool files)
{
    return (struct session_options){ .n_ctx = N_CTX, .n_seqs = n_seqs, .n_batch = n_batch, .kv_type_k = c->type,
                                     .kv_type_v = c->type, .keep_kv_type = true,
                                     .cache_ram_bytes = keeps ? 64 * MIB : 0, .cache_dir = files ? c->dir : NULL,
                                     .cache_disk_bytes = 64 * MIB };
}

static void open_scene(const struct scene *c, struct session_rig *rig, const struct session_options *o)
{
    session_rig_open(c->t, rig, c->model, o);
    rig->session->any_file = true;    /* files save no time here */
}

/* Answer and logits of a prompt in this sequence, into got; returns what became of the evaluation. */
static struct eng_timings look(const struct scene *c, struct session_rig *rig, int32_t seq, const int32_t *ids,
                               struct prompt *got)
{
    struct test *t = c->t;
    struct err e;
    const struct generate_options nothing = session_rig_greedy(0, N_SHARED);
    const struct generate_options all = session_rig_greedy(N_ANSWER, N_SHARED);
    struct eng_timings timings = session_rig_ask(t, rig, seq, ids, N_PROMPT, &nothing).done.timings;
    for (int32_t i = 0; i < N_PROBE; i++)
        CHECK_INT(t, session_eval(rig->session, seq, &probe[i], 1, got->logits + i * N_VOCAB, 1, &e), ERR_OK, "%s",
                  e.text);
    struct session_story story = session_rig_ask(t, rig, seq, ids, N_PROMPT, &all);
    CHECK_INT(t, story.n_ids, N_ANSWER);
    memcpy(got->answer, story.ids, sizeof got->answer);
    return timings;
}

static struct eng_timings check(const struct scene *c, struct session_rig *rig, int32_t seq, const struct prompt *want,
                                const char *way)
{
    struct test *t = c->t;
    struct prompt got;
    struct eng_timings timings = look(c, rig, seq, want->ids, &got);
    CHECK_BYTES(t, got.logits, want->logits, sizeof got.logits, "%s: %s", c->type, way);
    CHECK_BYTES(t, got.answer, want->answer, sizeof got.answer, "%s: %s", c->type, way);
    return timings;
}

static void part(struct test *t, struct prompt *p, const struct prompt *from, int32_t n_common)
{
    memcpy(p->ids, from->ids, sizeof p->ids);
    for (int32_t i = n_common; i < N_PROMPT; i++)
        p->ids[i] = 1 + (int32_t)test_below(t, N_VOCAB - 1);
    p->ids[n_common] = from->ids[n_common] % (N_VOCAB - 1) + 1;
}

/* Cold, in pieces as large as can be: what all else is held against. */
static void start_scene(struct test *t, struct scene *c, const struct plan *plan, const char *type)
{
    struct session_rig rig;
    struct session_options o;
    *c = (struct scene){ .t = t, .type = type };
    snprintf(c->model, sizeof c->model, "%s/%s-%d.gguf", test_folder(t), plan->arch, plan->n_head);
    snprintf(c->dir, sizeof c->dir, "%s/%s-%d-%s", test_folder(t), plan->arch, plan->n_head, type);
    session_rig_write(t, plan, c->model);
    o = options(c, 1, 512, false, false);
    open_scene(c, &rig, &o);
    session_rig_ids(t, &rig, c->whole.ids, N_PROMPT);
    part(t, &c->shared, &c->whole, N_SHARED);
    part(t, &c->branch, &c->whole, N_BRANCH);
    struct prompt *prompts[] = { &c->whole, &c->shared, &c->branch };
    for (int32_t i = 0; i < 3; i++) {
        CHECK_INT(t, look(c, &rig, 0, prompts[i]->ids, prompts[i]).n_reused, 0);
        session_truncate(rig.session, 0, 0);
    }
    session_rig_close(&rig);
}

static void check_pieces(const struct scene *c)
{
    static const int32_t pieces[] = { 1, 3, 8, 64 };    /* 3: few rows, yet several */
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        struct session_rig rig;
        struct session_options o = options(c, 1, pieces[i], false, false);
        char way[32];
        open_scene(c, &rig, &o);
        snprintf(way, sizeof way, "pieces of %d", pieces[i]);
        CHECK_INT(c->t, check(c, &rig, 0, &c->whole, way).n_reused, 0);
        session_rig_close(&rig);
    }
}

static void check_memory(const struct scene *c)
{
    struct test *t = c->t;
    struct session_rig rig;
    struct session_options o = options(c, 2, 256, true, false);
    open_scene(c, &rig, &o);
    CHECK_INT(t, check(c, &rig, 0, &c->whole, "cold, kept").n_reused, 0);
    CHECK_INT(t, check(c, &rig, 1, &c->whole, "found in memory").n_reused, N_PROMPT - 1);
    CHECK_INT(t, check(c, &rig, 1, &c->shared, "shared beginning").n_reused, N_SHARED);
    CHECK(t, check(c, &rig, 0, &c->branch, "branch").n_reused >= N_BRANCH - 2 * KV_PAGE);
    CHECK_INT(t, check(c, &rig, 0, &c->whole, "back from the branch").n_reused, N_PROMPT - 1);
    session_rig_close(&rig);
}

static void check_rewind(const struct scene *c)
{
    struct test *t = c->t;
    struct session_rig rig;
    struct session_options o = options(c, 1, 256, false, false);
    open_scene(c, &rig, &o);
    check(c, &rig, 0, &c->whole, "cold");
    CHECK_INT(t, session_truncate(rig.session, 0, N_BRANCH), N_BRANCH, "within the last two pages");
    check(c, &rig, 0, &c->branch, "another end after a rewind");
    CHECK_INT(t, session_truncate(rig.session, 0, N_PROMPT - 1), N_PROMPT - 1);
    check(c, &rig, 0, &c->branch, "the same end after a rewind");
    session_rig_close(&rig);
}

static void check_four(const struct scene *c, bool keeps)
{
    struct test *t = c->t;
    struct session_rig rig;
    struct session_options o = options(c, 4, 64, keeps, false);
    const struct generate_options ask = session_rig_greedy(N_ANSWER, keeps ? N_SHARED : 0);
    const struct prompt *prompts[] = { &c->whole, &c->shared, &c->branch, &c->whole };
    struct session_story *stories = calloc(SESSION_RIG_SEQS, sizeof *stories);
    open_scene(c, &rig, &o);
    for (int32_t i = 0; i < 4; i++)
        session_rig_start(t, &rig, i, prompts[i]->ids, N_PROMPT, &ask);
    session_rig_run(t, &rig, stories);
    for (int32_t i = 0; i < 4; i++)
        CHECK_BYTES(t, stories[i].ids, prompts[i]->answer, sizeof c->whole.answer, "%s: sequence %d of four",
                    c->type, i);
    CHECK_INT(t, stories[1].done.timings.n_reused, N_SHARED);
    CHECK_INT(t, stories[2].done.timings.n_reused, N_BRANCH);
    CHECK_INT(t, stories[3].done.timings.n_reused, N_PROMPT - 1);
    for (int32_t i = 0; i < 4; i++)
        check(c, &rig, i, prompts[i], "after four together");
    session_rig_close(&rig);
    free(stories);
}

static void check_files(const struct scene *c)
{
    struct test *t = c->t;
    struct session_rig rig;
    struct session_options o = options(c, 1, 256, true, true);
    open_scene(c, &rig, &o);
    check(c, &rig, 0, &c->whole, "cold, with files");
    session_truncate(rig.session, 0, N_PROMPT);
    session_close_chat(rig.session, 0);
    CHECK(t, session_flush(rig.session, 10000));
    session_rig_close(&rig);
    open_scene(c, &rig, &o);
    CHECK_INT(t, check(c, &rig, 0, &c->shared, "shared beginning from a file").n_loaded, N_SHARED);
    session_rig_close(&rig);
    /* The closed chat is all of the prompt, whose last token is evaluated in any case: a longer one loads it. */
    open_scene(c, &rig, &o);
    const struct generate_options one = session_rig_greedy(1, 0);
    int32_t *ids = malloc((N_PROMPT + 1) * sizeof *ids);
    memcpy(ids, c->whole.ids, sizeof c->whole.ids);
    ids[N_PROMPT] = probe[0];
    struct session_story story = session_rig_ask(t, &rig, 0, ids, N_PROMPT + 1, &one);
    CHECK_INT(t, story.done.timings.n_loaded, N_PROMPT);
    CHECK_INT(t, check(c, &rig, 0, &c->whole, "closed chat from a file").n_reused, N_PROMPT - 1);
    session_rig_close(&rig);
    free(ids);
}

static void check_type(struct test *t, const char *type)
{
    for (size_t i = 0; i < sizeof plans / sizeof *plans; i++) {
        struct scene *c = malloc(sizeof *c);
        CHECK(t, c != NULL);
        start_scene(t, c, &plans[i], type);
        check_pieces(c);
        check_memory(c);
        check_rewind(c);
        check_four(c, true);
        check_four(c, false);
        check_files(c);
        free(c);
    }
}

TEST(kv_bits_f16)
{
    check_type(t, "f16");
}

TEST(kv_bits_q8_0)
{
    check_type(t, "q8_0");
}

TEST(kv_bits_q4_0)
{
    check_type(t, "q4_0");
}

TEST(kv_bits_kv4)
{
    check_type(t, "kv4");
}

TEST(kv_bits_kv3)
{
    check_type(t, "kv3");
}
