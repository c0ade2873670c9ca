/* SPDX-License-Identifier: MIT */
/* Batches as sessions make them: several sequences that grow, go back, part and end, of several types of cache, on one
 * placed model. What each gives is held against the same tokens evaluated alone, from the first, on a fresh placement;
 * whether those are right is test_forward's matter. */
#include <stdio.h>
#include <stdlib.h>

#include "engine/backend/split.h"
#include "engine/model/arch.h"
#include "engine/quant/quant.h"
#include "engine/vulkan/vulkan_backend.h"
#include "engine/vulkan/vulkan_placed.h"
#include "tests/support/plan_model.h"
#include "tests/support/vulkan_rig.h"

enum { N_CTX = 384, STRIDE = N_CTX / KV_PAGE, MAX_LAYERS = 4, MAX_SEQS = 34 };

/* Layers with a window and without, heads that share a key, a norm behind matrices. */
static const struct plan plan = {
    .arch = "gemma3", .n_layers = 4, .n_embd = 64, .n_ff = 96, .n_head = 4, .n_kv_head = 2, .d_head = 32,
    .n_vocab = 100, .n_rot = 32, .rope_base = 100000, .rope_base_local = 500, .embed_scale = 8, .halves = true,
    .qk_norm = true, .post_norm = true, .gelu = true, .tied = true, .window = 70, .period = 3, .weight_type = QUANT_Q8_0
};

struct rig {
    struct vulkan_rig vulkan;
    struct test *t;
    struct backend *backend, *other;    /* other: for what is wanted, with memory of its own */
    struct gguf *gguf;
    struct arena arena;
    struct program *program;
    struct placed *placed;
    struct kv_layer kv[MAX_LAYERS];
};

static void place(struct rig *r, struct backend *b, struct placed **out, int32_t max_rows, int32_t n_ctx)
{
    struct err e = { 0 };
    CHECK_INT(r->t, b->ops->place(b, r->program, out, &e), ERR_OK, "%s", e.text);
    CHECK_INT(r->t, b->ops->reserve(*out, max_rows, max_rows, n_ctx, &e), ERR_OK, "%s", e.text);
}

static void set_types(struct rig *r, enum kv_type k, enum kv_type v)
{
    for (int32_t i = 0; i < r->program->n_layers; i++) {
        r->kv[i] = r->program->kv[i];
        r->kv[i].k = k;
        r->kv[i].v = v;
    }
}

/* unmapped: as on a card whose memory the host does not see. */
static void open_rig_of(struct test *t, struct rig *r, const struct plan *p, bool unmapped)
{
    struct plan_model model;
    struct hparams h;
    struct err e = { 0 };
    char path[512];
    *r = (struct rig){ .t = t };
    vulkan_rig_open(&r->vulkan, t);
    snprintf(path, sizeof path, "%s/model.gguf", test_folder(t));
    plan_model_write(t, &model, p, path);
    plan_model_finish(&model);
    CHECK_INT(t, vulkan_backend_create(&r->backend, r->vulkan.list, r->vulkan.d->card, NULL, &e), ERR_OK, "%s", e.text);
    CHECK_INT(t, vulkan_backend_create(&r->other, r->vulkan.list, r->vulkan.d->card, NULL, &e), ERR_OK, "%s", e.text);
    ((struct vulkan_backend *)r->backend)->d->faults.unmapped = unmapped;
    CHECK_INT(t, gguf_open(&r->gguf, path, &e), ERR_OK, "%s", e.text);
    CHECK_INT(t, arch_build(r->gguf, &r->arena, &r->program, &h, &e), ERR_OK, "%s", e.text);
    CHECK(t, r->program->n_layers <= MAX_LAYERS);
    set_types(r, KV_F16, KV_F16);
    place(r, r->backend, &r->placed, 256, N_CTX);
}

static void open_rig(struct test *t, struct rig *r, bool unmapped)
{
    open_rig_of(t, r, &plan, unmapped);
}

static void close_rig(struct rig *r)
{
    r->backend->ops->unplace(r->placed);
    gguf_close(r->gguf);
    arena_finish(&r->arena);
    r->backend->ops->destroy(r->backend);
    r->other->ops->destroy(r->other);
    vulkan_rig_close(&r->vulkan);
}

/* ---- sequences ------------------------------------------------------------------------------------------- */

struct seq {
    int32_t ids[N_CTX], n;             /* n: evaluated */
    struct kv_page pages[MAX_LAYERS * STRIDE];
    struct kv_layer kv[MAX_LAYERS];
    void *region;                      /* of its pages */
    size_t used;
};

static size_t page_bytes(const struct seq *s, const struct rig *r)
{
    size_t sum = 0;
    for (int32_t i = 0; i < r->program->n_layers; i++)
        sum += kv_open_bytes(&s->kv[i]) + kv_sealed_bytes(&s->kv[i]);
    return sum;
}

/* Pages of their own from page j on, in all layers. Room is for each page twice. */
static void take_pages(const struct rig *r, struct seq *s, int32_t from)
{
    for (int32_t j = from; j < STRIDE; j++)
        for (int32_t i = 0; i < r->program->n_layers; i++) {
            struct kv_page *p = &s->pages[i * STRIDE + j];
            p->open = (char *)s->region + s->used;
            s->used += kv_open_bytes(&s->kv[i]);
            p->sealed = j > 0 && kv_layer_seals(&s->kv[i]) ? (char *)s->region + s->used : NULL;
            s->used += kv_sealed_bytes(&s->kv[i]);
        }
    CHECK(r->t, s->used <= 2 * STRIDE * page_bytes(s, r));
}

static void new_ids(const struct rig *r, struct seq *s, int32_t from)
{
    for (int32_t i = from; i < N_CTX; i++)
        s->ids[i] = (int32_t)test_below(r->t, (uint32_t)plan.n_vocab);
}

/* Of the rig's types. */
static void begin(const struct rig *r, struct seq *s)
{
    struct err e = { 0 };
    s->n = 0;
    s->used = 0;
    memcpy(s->kv, r->kv, sizeof s->kv);
    size_t n_bytes = 2 * STRIDE * page_bytes(s, r);
    char *large = malloc(n_bytes);
    CHECK(r->t, large != NULL);
    memset(large, 0x7b, n_bytes);    /* as f16 61280: whoever reads what was not written will be found out */
    CHECK_INT(r->t, kv_memory_create(r->backend->kv_memory, n_bytes, &s->region, &e), ERR_OK, "%s", e.text);
    CHECK_INT(r->t, kv_memory_write(r->backend->kv_memory, s->region, large, n_bytes, &e), ERR_OK, "%s", e.text);
    free(large);
    take_pages(r, s, 0);
    new_ids(r, s, 0);
}

static void end(const struct rig *r, struct seq *s)
{
    kv_memory_destroy(r->backend->kv_memory, s->region);
}

/* ---- evaluating ------------------------------------------------------------------------------------------ */

/* n[i] tokens of seqs[i], in one batch; of all of them logits, or the n_best best, in their order backwards when back. */
static void evaluate_best(const struct rig *r, struct backend *b, struct placed *placed, struct seq *const *seqs,
                          const int32_t *n, int32_t n_seqs, bool back, float *logits, struct logit *best, int32_t n_best)
{
    struct batch_row rows[256];
    struct err e = { 0 };
    int32_t n_rows = 0, all = 0;
    for (int32_t i = 0; i < n_seqs; i++)
        all += n[i];
    CHECK(r->t, all <= 256);
    for (int32_t i = 0; i < n_seqs; i++)
        for (int32_t k = 0; k < n[i]; k++, n_rows++)
            rows[n_rows] = (struct batch_row){ .token = seqs[i]->ids[seqs[i]->n + k], .pos = seqs[i]->n + k,
                                               .pages = seqs[i]->pages, .logits = back ? all - 1 - n_rows : n_rows };
    const struct batch batch = { .rows = rows, .n_rows = n_rows, .table_stride = STRIDE, .kv = seqs[0]->kv,
                                 .logits = logits, .n_logits = n_rows, .best = best, .n_best = n_best };
    CHECK_INT(r->t, b->ops->run(placed, &batch, &e), ERR_OK, "%s", e.text);
    for (int32_t i = 0; i < n_seqs; i++)
        seqs[i]->n += n[i];
}

static void evaluate(const struct rig *r, struct backend *b, struct placed *placed, struct seq *const *seqs,
                     const int32_t *n, int32_t n_seqs, bool back, float *logits)
{
    evaluate_best(r, b, placed, seqs, n, n_seqs, back, logits, NULL, 0);
}

/* What seqs[i]'s last n tokens gave, against the whole of it alone. */
static void check_seq(const struct rig *r, const struct seq *s, const float *got, int32_t n, const char *what)
{
    struct rig alone = *r;
    struct seq *own = calloc(1, sizeof *own);
    float *want = malloc((size_t)N_CTX * (size_t)plan.n_vocab * sizeof *want);
    CHECK(r->t, own && want);
    alone.backend = r->other;
    memcpy(alone.kv, s->kv, sizeof alone.kv);
    begin(&alone, own);
    memcpy(own->ids, s->ids, sizeof own->ids);
    place(&alone, alone.backend, &alone.placed, 64, N_CTX);
    while (own->n < s->n) {
        int32_t rows = s->n - own->n < 64 ? s->n - own->n : 64;
        evaluate(&alone, alone.backend, alone.placed, &own, &rows, 1, false, want + (int64_t)own->n * plan.n_vocab);
    }
    CHECK_NMSE(r->t, got, want + (int64_t)(s->n - n) * plan.n_vocab, (size_t)n * (size_t)plan.n_vocab, 1e-4, "%s", what);
    alone.backend->ops->unplace(alone.placed);
    end(&alone, own);
    free(own);
    free(want);
}

/* Evaluates, and checks each sequence. */
static void check_batch(const struct rig *r, struct seq *const *seqs, const int32_t *n, int32_t n_seqs,
                        const char *what)
{
    float *logits = malloc((size_t)256 * (size_t)plan.n_vocab * sizeof *logits), *at = logits;
    CHECK(r->t, logits != NULL);
    evaluate(r, r->backend, r->placed, seqs, n, n_seqs, false, logits);
    for (int32_t i = 0; i < n_seqs; at += n[i++] * plan.n_vocab)
        check_seq(r, seqs[i], at, n[i], what);
    free(logits);
}

static struct seq *new_seqs(struct rig *r, struct seq **list, int32_t n)
{
    struct seq *seqs = calloc((size_t)n, sizeof *seqs);
    CHECK(r->t, seqs != NULL);
    for (int32_t i = 0; i < n; i++) {
        list[i] = &seqs[i];
        begin(r, list[i]);
    }
    return seqs;
}

/* Four sequences up to and beyond a second part of 256 keys; then one goes back and takes other pages, one goes back and
 * writes on in its own, one parts from another. */
static void check_story(struct test *t, enum kv_type k, enum kv_type v, bool unmapped)
{
    struct rig r;
    struct seq *s[4];
    open_rig(t, &r, unmapped);
    set_types(&r, k, v);
    struct seq *seqs = new_seqs(&r, s, 4);
    static const int32_t begins[][4] = { { 50, 1, 3, 2 }, { 64, 60, 64, 1 }, { 64, 64, 64, 1 }, { 64, 64, 64, 1 },
                                         { 33, 64, 17, 1 } };
    float *logits = malloc((size_t)256 * (size_t)plan.n_vocab * sizeof *logits);
    CHECK(t, logits != NULL);
    for (int i = 0; i < 5; i++)
        evaluate(&r, r.backend, r.placed, s, begins[i], 4, false, logits);
    check_batch(&r, s, (const int32_t[]){ 1, 4, 2, 1 }, 4, "grown");

    s[0]->n = 150;
    take_pages(&r, s[0], 3);      /* page 2 is written on, those behind it are others */
    new_ids(&r, s[0], 150);
    s[1]->n = 70;
    new_ids(&r, s[1], 70);
    s[3]->n = 192;
    memcpy(s[3]->ids, s[2]->ids, sizeof s[3]->ids);
    new_ids(&r, s[3], 192);
    for (int32_t i = 0; i < r.program->n_layers; i++)
        memcpy(&s[3]->pages[i * STRIDE], &s[2]->pages[i * STRIDE], 3 * sizeof *s[3]->pages);
    check_batch(&r, s, (const int32_t[]){ 2, 60, 1, 3 }, 4, "after going back");
    evaluate(&r, r.backend, r.placed, s, (const int32_t[]){ 64, 64, 20, 64 }, 4, false, logits);
    evaluate(&r, r.backend, r.placed, s, (const int32_t[]){ 60, 64, 20, 20 }, 4, false, logits);
    check_batch(&r, s, (const int32_t[]){ 1, 1, 1, 1 }, 4, "grown again");
    for (int i = 0; i < 4; i++)
        end(&r, s[i]);
    free(logits);
    free(seqs);
    close_rig(&r);
}

TEST(vulkan_run_of_sequences_that_grow_go_back_and_part)
{
    check_story(t, KV_F16, KV_F16, false);
    check_story(t, KV_Q8_0, KV_KV4, false);
}

TEST(vulkan_run_on_a_card_whose_memory_the_host_does_not_see)
{
    check_story(t, KV_KV3, KV_Q8_0, true);
}

/* The table of pages has room for sixteen, a piece for 32 of these rows. */
TEST(vulkan_run_of_more_sequences_than_the_table_holds)
{
    struct rig r;
    struct seq *s[MAX_SEQS];
    int32_t n[MAX_SEQS];
    open_rig(t, &r, false);
    struct seq *seqs = new_seqs(&r, s, MAX_SEQS);
    float *logits = malloc((size_t)256 * (size_t)plan.n_vocab * sizeof *logits);
    CHECK(t, logits != NULL);
    for (int32_t i = 0; i < MAX_SEQS; i++)
        n[i] = 1 + i % 7;
    r.placed->ms_per_row = 0.01;    /* so that pieces are as large as may be */
    evaluate(&r, r.backend, r.placed, s, n, MAX_SEQS, false, logits);
    for (int32_t i = 0; i < MAX_SEQS; i++)
        n[i] = 1;
    r.placed->ms_per_row = 0.01;
    check_batch(&r, s, n, MAX_SEQS, "of all");
    check_batch(&r, s + 3, n, 2, "of two");
    for (int32_t i = 0; i < MAX_SEQS; i++)
        end(&r, s[i]);
    free(logits);
    free(seqs);
    close_rig(&r);
}

TEST(vulkan_run_of_two_sessions_with_caches_of_different_types)
{
    struct rig r;
    struct seq *a, *b;
    open_rig(t, &r, false);
    set_types(&r, KV_KV4, KV_Q8_0);
    struct seq *first = new_seqs(&r, &a, 1);
    set_types(&r, KV_F16, KV_KV3);
    struct seq *second = new_seqs(&r, &b, 1);
    for (int i = 0; i < 4; i++) {    /* a page that lacks a token at the end of a batch is not sealed yet */
        check_batch(&r, &a, (const int32_t[]){ i == 0 ? 127 : 60 }, 1, "of the first");
        check_batch(&r, &b, (const int32_t[]){ 64 }, 1, "of the second");
    }
    end(&r, a);
    end(&r, b);
    free(first);
    free(second);
    close_rig(&r);
}

/* Pages that are given back and taken anew are found at the same place in the host's eyes, not in the device's: there
 * something else lies now. */
TEST(vulkan_run_finds_pages_that_have_moved)
{
    struct rig r;
    struct seq *a;
    open_rig(t, &r, true);
    struct vulkan_kv *kv = &((struct vulkan_backend *)r.backend)->kv;
    struct seq *seqs = new_seqs(&r, &a, 1);
    size_t n_bytes = 2 * STRIDE * page_bytes(a, &r);
    char *mark = malloc(n_bytes), *left = malloc(n_bytes);
    CHECK(t, mark && left);
    memset(mark, 0x5a, n_bytes);
    check_batch(&r, &a, (const int32_t[]){ 64 }, 1, "before");
    for (int i = 0; i < 3; i++) {
        const void *region = a->region;
        VkDeviceAddress address = vulkan_kv_address(kv, region);
        struct vulkan_buf between;
        struct err e = { 0 };
        end(&r, a);
        CHECK_INT(t, vulkan_buf_create(kv->d, &between, n_bytes, VULKAN_LOCAL, &e), ERR_OK, "%s", e.text);
        CHECK_INT(t, vulkan_write(kv->d, &between, 0, mark, n_bytes, &e), ERR_OK, "%s", e.text);
        begin(&r, a);
        printf("the same region %d, the same address %d\n", region == a->region,
               address == vulkan_kv_address(kv, a->region));
        check_batch(&r, &a, (const int32_t[]){ 64 }, 1, "after");
        CHECK_INT(t, vulkan_read(kv->d, left, &between, 0, n_bytes, &e), ERR_OK, "%s", e.text);
        CHECK_BYTES(t, left, mark, n_bytes, "what is not the sequence's");
        vulkan_buf_destroy(kv->d, &between);
    }
    end(&r, a);
    free(mark);
    free(left);
    free(seqs);
    close_rig(&r);
}

TEST(vulkan_run_goes_on_when_the_room_grows)
{
    struct rig r;
    struct seq *s[2];
    struct err e = { 0 };
    open_rig(t, &r, false);
    r.backend->ops->unplace(r.placed);
    place(&r, r.backend, &r.placed, 9, 64);
    set_types(&r, KV_Q8_0, KV_Q8_0);
    struct seq *seqs = new_seqs(&r, s, 2);
    for (int i = 0; i < 7; i++)
        check_batch(&r, s, (const int32_t[]){ 8, 1 }, 2, "in little room");
    CHECK_INT(t, r.backend->ops->reserve(r.placed, 130, 130, N_CTX, &e), ERR_OK, "%s", e.text);
    check_batch(&r, s, (const int32_t[]){ 1, 120 }, 2, "in more");
    check_batch(&r, s, (const int32_t[]){ 64, 64 }, 2, "in more, again");
    CHECK_INT(t, r.backend->ops->reserve(r.placed, 20, 1, 64, &e), ERR_OK, "%s", e.text);
    CHECK_INT(t, r.backend->ops->reserve(r.placed, 140, 1, 64, &e), ERR_OK, "%s", e.text);
    CHECK_INT(t, r.backend->ops->reserve(r.placed, 20, 1, 1 << 26, &e), ERR_NOMEM, "a table beyond any binding");
    check_batch(&r, s, (const int32_t[]){ 64, 64 }, 2, "less is no less");
    end(&r, s[0]);
    end(&r, s[1]);
    free(seqs);
    close_rig(&r);
}

/* As with a vocabulary, or a context, that is too large for the scratch of all rows. */
TEST(vulkan_run_takes_logits_and_attention_in_turns)
{
    struct rig r;
    struct seq *s[2];
    open_rig(t, &r, false);
    struct seq *seqs = new_seqs(&r, s, 2);
    r.placed->max_logits = 3;
    r.placed->slice_rows = 5;
    check_batch(&r, s, (const int32_t[]){ 40, 24 }, 2, "in turns");
    float *back = malloc((size_t)8 * (size_t)plan.n_vocab * sizeof *back), *row = malloc((size_t)plan.n_vocab * 8 * 4);
    CHECK(t, back && row);
    evaluate(&r, r.backend, r.placed, s, (const int32_t[]){ 4, 4 }, 2, true, back);
    for (int32_t i = 0; i < 8; i++)
        memcpy(row + i * plan.n_vocab, back + (7 - i) * plan.n_vocab, (size_t)plan.n_vocab * sizeof *row);
    check_seq(&r, s[0], row, 4, "where they were wanted");
    check_seq(&r, s[1], row + 4 * plan.n_vocab, 4, "where they were wanted");
    end(&r, s[0]);
    end(&r, s[1]);
    free(back);
    free(row);
    free(seqs);
    close_rig(&r);
}

/* The best of these rows' logits, which have been evaluated before. */
static void check_best(const struct rig *r, struct backend *b, struct placed *placed, struct seq *const *seqs,
                       const int32_t *n, const float *logits, bool back)
{
    static const int32_t n_bests[] = { 1, 3, 40, 64 };
    int32_t n_rows = n[0] + n[1];
    struct logit *best = malloc((size_t)n_rows * BACKEND_MAX_BEST * sizeof *best);
    CHECK(r->t, best != NULL);
    for (size_t i = 0; i < sizeof n_bests / sizeof *n_bests; i++) {
        int32_t n_best = n_bests[i];
        for (int j = 0; j < 2; j++)
            seqs[j]->n -= n[j];
        evaluate_best(r, b, placed, seqs, n, 2, back, NULL, best, n_best);
        for (int32_t row = 0; row < n_rows; row++)
            for (int32_t k = 0; k < n_best; k++) {
                const struct logit *got = &best[row * n_best + k];
                int32_t n_before = 0;
                CHECK(r->t, got->token >= 0 && got->token < plan.n_vocab, "%d", got->token);
                CHECK_BYTES(r->t, &got->value, &logits[(int64_t)row * plan.n_vocab + got->token], sizeof got->value);
                for (int32_t c = 0; c < plan.n_vocab; c++)
                    n_before += logit_before((struct logit){ c, logits[(int64_t)row * plan.n_vocab + c] }, *got);
                CHECK_INT(r->t, n_before, k, "%d best, row %d", n_best, row);
            }
    }
    free(best);
}

TEST(vulkan_run_gives_the_best_of_the_logits_it_would_give)
{
    for (int k = 0; k < 3; k++) {
        struct rig r;
        struct seq *s[2];
        struct err e = { 0 };
        const int32_t n[2] = { 11, 9 };
        open_rig(t, &r, k == 1);
        set_types(&r, KV_KV4, KV_Q8_0);
        struct backend *b = r.backend, *split = NULL;
        struct placed *placed = r.placed;
        if (k == 2) {
            CHECK_INT(t, split_backend_create(&split, b, b, 2, &e), ERR_OK, "%s", e.text);
            place(&r, b = split, &placed, 200, N_CTX);
        } else {
            r.placed->max_logits = k == 0 ? 7 : r.placed->max_logits;    /* in turns */
        }
        CHECK_INT(t, b->max_best, BACKEND_MAX_BEST);
        struct seq *seqs = new_seqs(&r, s, 2);
        float *logits = malloc((size_t)256 * (size_t)plan.n_vocab * sizeof *logits);
        CHECK(t, logits != NULL);
        evaluate(&r, b, placed, s, (const int32_t[]){ 64, 60 }, 2, false, logits);
        for (int back = 0; back < 2; back++) {
            evaluate(&r, b, placed, s, n, 2, back, logits);
            check_best(&r, b, placed, s, n, logits, back);
        }
        if (split) {
            b->ops->unplace(placed);
            b->ops->destroy(split);
        }
        end(&r, s[0]);
        end(&r, s[1]);
        free(logits);
        free(seqs);
        close_rig(&r);
    }
}

/* ---- one row ahead --------------------------------------------------------------------------------------- */

/* One token of a sequence, and the best behind it. */
static struct logit step(const struct rig *r, struct placed *placed, struct seq *s, bool ahead)
{
    const struct batch_row row = { .token = s->ids[s->n], .pos = s->n, .pages = s->pages };
    struct logit best;
    const struct batch batch = { .rows = &row, .n_rows = 1, .table_stride = STRIDE, .kv = s->kv, .n_logits = 1,
                                 .n_best = 1, .best = &best, .ahead = ahead };
    struct err e = { 0 };
    CHECK_INT(r->t, r->backend->ops->run(placed, &batch, &e), ERR_OK, "%s", e.text);
    s->n++;
    return best;
}

/* The page of the sequence's end lies somewhere else from now on, in all layers. */
static void move_page(const struct rig *r, struct seq *s)
{
    int32_t j = s->n / KV_PAGE;
    struct err e = { 0 };
    for (int32_t i = 0; i < r->program->n_layers; i++) {
        struct kv_page *p = &s->pages[i * STRIDE + j];
        char *to = (char *)s->region + s->used;
        s->used += kv_open_bytes(&s->kv[i]);
        CHECK_INT(r->t, kv_memory_copy(r->backend->kv_memory, to, p->open, kv_open_bytes(&s->kv[i]), &e), ERR_OK);
        p->open = to;
    }
}

/* Somebody puts other keys where the sequence's first are. */
static void write_page(const struct rig *r, const struct seq *s, const uint16_t bytes[32])
{
    struct err e = { 0 };
    for (int32_t i = 0; i < r->program->n_layers; i++)
        CHECK_INT(r->t, kv_memory_write(r->backend->kv_memory, s->pages[i * STRIDE].open, bytes, 64, &e), ERR_OK);
}

/* The same walk on a device that runs ahead and on one that does not: mostly what was found best is what comes next,
 * but now and then another token, another sequence, one that went back, several rows, a page that has moved or been
 * written to, more room, or none is allowed to run ahead. */
static void check_walk(struct test *t, enum kv_type k, enum kv_type v, bool unmapped)
{
    enum { STEPS = 400 };
    struct rig r, plain;
    struct seq *s[2], *p[2];
    struct err e = { 0 };
    open_rig(t, &r, unmapped);
    set_types(&r, k, v);
    plain = r;
    plain.backend = r.other;
    place(&plain, plain.backend, &plain.placed, 256, N_CTX);
    struct seq *seqs = new_seqs(&r, s, 2), *others = new_seqs(&plain, p, 2);
    int32_t at = 0, n_moved = 0;
    for (int32_t i = 0; i < STEPS; i++) {
        uint32_t what = test_below(t, 24);
        bool ahead = test_below(t, 8) > 0;
        int32_t n = what == 0 ? 5 : 1;
        if (what == 1)
            at = 1 - at;
        if (what == 2 || s[at]->n + 8 > N_CTX)
            s[at]->n = s[at]->n > 200 ? s[at]->n - 100 : s[at]->n - s[at]->n / 3;
        if (what == 3)
            s[at]->ids[s[at]->n] = (int32_t)test_below(t, (uint32_t)plan.n_vocab);
        if (what == 4 && n_moved++ < 8)
            move_page(&r, s[at]);
        if (what == 5 && i % 3 == 0)
            CHECK_INT(t, r.backend->ops->reserve(r.placed, 256, 256, r.placed->n_ctx + KV_PAGE, &e), ERR_OK);
        if (what == 6) {
            uint16_t keys[32];
            for (int c = 0; c < 32; c++)
                keys[c] = (uint16_t)(0x3c00 + test_below(t, 1024));    /* 1 to 2 */
            write_page(&r, s[at], keys);
            write_page(&plain, p[at], keys);
        }
        memcpy(p[at]->ids, s[at]->ids, sizeof p[at]->ids);
        p[at]->n = s[at]->n;
        if (n > 1) {
            float got[5 * 100], want[5 * 100];
            CHECK_INT(t, plan.n_vocab, 100);
            evaluate(&r, r.backend, r.placed, &s[at], &n, 1, false, got);
            evaluate(&plain, plain.backend, plain.placed, &p[at], &n, 1, false, want);
            CHECK_BYTES(t, got, want, sizeof got, "step %d", i);
            continue;
        }
        struct logit got = step(&r, r.placed, s[at], ahead), want = step(&plain, plain.placed, p[at], false);
        CHECK_BYTES(t, &got, &want, sizeof got, "step %d, at %d", i, s[at]->n);
        s[at]->ids[s[at]->n] = got.token;
    }
    CHECK(t, r.placed->ahead.n_taken > STEPS / 2 && plain.placed->ahead.n_taken == 0, "%d", r.placed->ahead.n_taken);
    plain.backend->ops->unplace(plain.placed);
    for (int i = 0; i < 2; i++) {
        end(&r, s[i]);
        end(&plain, p[i]);
    }
    free(seqs);
    free(others);
    close_rig(&r);
}

TEST(vulkan_run_ahead_gives_the_bits_of_one_row_after_the_other)
{
    check_walk(t, KV_F16, KV_F16, false);
    check_walk(t, KV_KV4, KV_Q8_0, true);
}

/* When the row is asked for, a page that it read open has its sealed form alone; then that is another's. */
TEST(vulkan_run_ahead_is_forgotten_where_a_page_is_read_elsewhere)
{
    struct rig r, plain;
    struct seq *s, *p;
    const int32_t n = 202, before = n / KV_PAGE - 1;
    float *logits = malloc((size_t)n * (size_t)plan.n_vocab * sizeof *logits);
    CHECK(t, logits != NULL);
    open_rig(t, &r, false);
    set_types(&r, KV_KV4, KV_KV4);
    plain = r;
    plain.backend = r.other;
    place(&plain, plain.backend, &plain.placed, 256, N_CTX);
    struct seq *seqs = new_seqs(&r, &s, 1), *others = new_seqs(&plain, &p, 1);
    memcpy(p->ids, s->ids, sizeof p->ids);
    evaluate(&r, r.backend, r.placed, &s, &n, 1, false, logits);
    evaluate(&plain, plain.backend, plain.placed, &p, &n, 1, false, logits);
    for (int i = 0; i < 3; i++) {
        struct logit got = step(&r, r.placed, s, true), want = step(&plain, plain.placed, p, false);
        CHECK_BYTES(t, &got, &want, sizeof got, "%d", i);
        p->ids[p->n] = s->ids[s->n] = got.token;
        for (int32_t l = 0; l < r.program->n_layers; l++) {
            struct kv_page *of_s = s->pages + l * STRIDE, *of_p = p->pages + l * STRIDE;
            of_s[before].open = of_p[before].open = NULL;
            if (i == 1) {
                of_s[before].sealed = of_s[1].sealed;
                of_p[before].sealed = of_p[1].sealed;
            }
        }
    }
    CHECK_INT(t, r.placed->ahead.n_taken, 0);
    step(&r, r.placed, s, true);
    CHECK_INT(t, r.placed->ahead.n_taken, 1);
    plain.backend->ops->unplace(plain.placed);
    end(&r, s);
    end(&plain, p);
    free(seqs);
    free(others);
    free(logits);
    close_rig(&r);
}

/* A row that is on its way can be cancelled, lost, and asked for again. */
TEST(vulkan_run_ahead_that_is_cancelled_or_lost_says_so)
{
    struct rig r;
    struct seq *s;
    struct err e = { 0 };
    struct logit best;
    atomic_bool cancel = true;
    open_rig(t, &r, false);
    struct seq *seqs = new_seqs(&r, &s, 1);
    best = step(&r, r.placed, s, true);
    const struct batch_row row = { .token = best.token, .pos = s->n, .pages = s->pages };
    struct batch batch = { .rows = &row, .n_rows = 1, .table_stride = STRIDE, .kv = s->kv, .n_logits = 1, .n_best = 1,
                           .best = &best, .cancel = &cancel };
    CHECK_INT(t, r.backend->ops->run(r.placed, &batch, &e), ERR_CANCELLED);
    atomic_store(&cancel, false);
    CHECK_INT(t, r.backend->ops->run(r.placed, &batch, &e), ERR_OK, "%s", e.text);
    CHECK_INT(t, r.placed->ahead.n_taken, 1);
    struct logit first = best;
    batch.ahead = true;
    CHECK_INT(t, r.backend->ops->run(r.placed, &batch, &e), ERR_OK, "%s", e.text);
    CHECK_BYTES(t, &best, &first, sizeof best, "alone");

    ((struct vulkan_backend *)r.backend)->d->faults.submit = 1;    /* of the row behind the one that is on its way */
    const struct batch_row next = { .token = best.token, .pos = s->n + 1, .pages = s->pages };
    batch.rows = &next;
    CHECK_INT(t, r.backend->ops->run(r.placed, &batch, &e), ERR_DEVICE);
    CHECK_INT(t, r.placed->ahead.value, 0);
    end(&r, s);
    free(seqs);
    close_rig(&r);
}

/* What was asked for, and what was not, is through when pages are looked at or go. */
TEST(vulkan_run_ahead_is_waited_for_by_whoever_touches_pages)
{
    struct rig r;
    struct seq *s;
    struct err e = { 0 };
    char bytes[64];
    open_rig(t, &r, false);
    struct vulkan_device *d = ((struct vulkan_backend *)r.backend)->d;
    struct seq *seqs = new_seqs(&r, &s, 1);
    for (int i = 0; i < 5; i++) {
        s->n = 10;
        step(&r, r.placed, s, true);
        CHECK(t, d->waited < d->submitted);
        if (i == 0)
            CHECK_INT(t, kv_memory_read(r.backend->kv_memory, bytes, s->pages[0].open, sizeof bytes, &e), ERR_OK);
        if (i == 1)
            CHECK_INT(t, kv_memory_write(r.backend->kv_memory, s->pages[0].open, bytes, sizeof bytes, &e), ERR_OK);
        if (i == 2)
            CHECK_INT(t, kv_memory_copy(r.backend->kv_memory, s->pages[1].open, s->pages[0].open, 64, &e), ERR_OK);
        if (i == 3)
            vulkan_forget_recordings(r.placed);
        if (i == 4)
            end(&r, s);
        CHECK_INT(t, d->waited, d->submitted, "%d", i);
    }
    free(seqs);
    close_rig(&r);
}

/* Both parts of a split program on the device: the residual stream leaves it and comes back. */
static void check_split(struct test *t, int32_t n_first, bool unmapped)
{
    struct rig r;
    struct seq *s[2];
    struct backend *split;
    struct placed *placed;
    struct err e = { 0 };
    open_rig(t, &r, unmapped);
    set_types(&r, KV_KV4, KV_KV4);
    CHECK_INT(t, split_backend_create(&split, r.backend, r.backend, n_first, &e), ERR_OK, "%s", e.text);
    place(&r, split, &placed, 200, N_CTX);
    struct seq *seqs = new_seqs(&r, s, 2);
    float *logits = malloc((size_t)256 * (size_t)plan.n_vocab * sizeof *logits);
    CHECK(t, logits != NULL);
    for (int i = 0; i < 2; i++) {
        evaluate(&r, split, placed, s, (const int32_t[]){ 130, 7 }, 2, false, logits);
        check_seq(&r, s[0], logits, 130, "in two parts");
        check_seq(&r, s[1], logits + 130 * plan.n_vocab, 7, "in two parts");
    }
    split->ops->unplace(placed);
    split->ops->destroy(split);
    end(&r, s[0]);
    end(&r, s[1]);
    free(logits);
    free(seqs);
    close_rig(&r);
}

TEST(vulkan_run_of_a_program_in_two_parts)
{
    check_split(t, 1, false);
    check_split(t, 3, true);
}

static int32_t count_matrices(const struct program *p)
{
    int32_t n = 0;
    for (int32_t i = 0; i < p->n_steps; i++)
        for (int j = 0; j < 3 && p->steps[i].kind != STEP_EMBED && p->steps[i].w[j]; j++)
            n++;
    return n;
}

/* On the device; in the host's memory, because the program says so or there is no memory for it: nothing fails, and no
 * bit is another. */
TEST(vulkan_run_looks_tokens_up_wherever_the_embedding_is)
{
    static const uint32_t types[] = { QUANT_F32, QUANT_Q8_0 };
    for (int i = 0; i < 6; i++) {
        struct plan untied = plan;
        struct rig r;
        struct seq *s[2];
        int where = i % 3;
        untied.tied = false;
        untied.weight_type = types[i / 3];
        open_rig_of(t, &r, &untied, i == 4);
        CHECK(t, r.placed->embed != NULL);
        struct seq *seqs = new_seqs(&r, s, 2);
        size_t n_bytes = 80 * (size_t)plan.n_vocab * sizeof(float);
        float *want = malloc(n_bytes), *got = malloc(n_bytes);
        struct placed *other;
        CHECK(t, want && got);
        evaluate(&r, r.backend, r.placed, s, (const int32_t[]){ 70, 10 }, 2, false, want);
        r.program->embed_on_host = where == 1;
        if (where == 2)    /* one for the vectors, one for each matrix */
            ((struct vulkan_backend *)r.backend)->d->faults.allocate = 1 + count_matrices(r.program) + 1;
        place(&r, r.backend, &other, 80, N_CTX);
        CHECK(t, (other->embed != NULL) == (where == 0));
        CHECK_INT(t, ((struct vulkan_backend *)r.backend)->d->faults.allocate, 0);
        s[0]->n = s[1]->n = 0;
        evaluate(&r, r.backend, other, s, (const int32_t[]){ 70, 10 }, 2, false, got);
        CHECK_BYTES(t, got, want, n_bytes, "%d", i);
        r.backend->ops->unplace(other);
        end(&r, s[0]);
        end(&r, s[1]);
        free(want);
        free(got);
        free(seqs);
        close_rig(&r);
    }
}

/* A piece of a matrix may wait to be sent when the next one turns out to be impossible. */
TEST(vulkan_place_that_fails_leaves_nothing_on_its_way)
{
    struct rig r;
    struct seq *a;
    open_rig(t, &r, true);
    struct vulkan_device *d = ((struct vulkan_backend *)r.backend)->d;
    const struct tensor *down = NULL;
    for (int32_t i = 0; i < r.program->n_steps; i++)
        if (r.program->steps[i].kind == STEP_FFN_OUT)
            down = r.program->steps[i].w[0];
    CHECK(t, down != NULL);
    uint64_t before = d->allocated_bytes;
    for (int i = 0; i < 20; i++) {
        struct tensor *spoiled = (struct tensor *)&r.program->tensors[down->index];
        struct placed *none = NULL;
        struct err e = { 0 };
        uint32_t type = spoiled->type;
        if (i == 0)
            spoiled->type = 34;
        else
            d->faults.allocate = i;
        CHECK_INT(t, r.backend->ops->place(r.backend, r.program, &none, &e), i == 0 ? ERR_UNSUPPORTED : ERR_NOMEM);
        spoiled->type = type;
        CHECK_INT(t, d->allocated_bytes, before);
        for (int j = 0; j < VULKAN_N_STAGES; j++)
            CHECK(t, d->stages[j].to == NULL, "try %d: something waits for a buffer that is gone", i);
    }
    d->faults.allocate = 0;
    struct seq *seqs = new_seqs(&r, &a, 1);
    check_batch(&r, &a, (const int32_t[]){ 20 }, 1, "after all that");
    end(&r, a);
    free(seqs);
    close_rig(&r);
}

TEST(vulkan_run_that_is_cancelled_says_so)
{
    struct rig r;
    struct seq *a;
    struct err e = { 0 };
    atomic_bool cancel = true;
    open_rig(t, &r, false);
    struct seq *seqs = new_seqs(&r, &a, 1);
    const struct batch_row row = { .pages = a->pages, .logits = -1 };
    const struct batch batch = { .rows = &row, .n_rows = 1, .table_stride = STRIDE, .kv = a->kv, .cancel = &cancel };
    CHECK_INT(t, r.backend->ops->run(r.placed, &batch, &e), ERR_CANCELLED);
    atomic_store(&cancel, false);
    CHECK_INT(t, r.backend->ops->run(r.placed, &batch, &e), ERR_OK, "%s", e.text);
    end(&r, a);
    free(seqs);
    close_rig(&r);
}
