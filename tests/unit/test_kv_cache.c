/* SPDX-License-Identifier: MIT */
#include "tests/support/kv_fake.h"
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>

#define PLAIN(type) { .k = type, .v = type, .n_head = 2, .d_head = 32 }
#define ODD(type_k, type_v) { .k = type_k, .v = type_v, .n_head = 1, .d_head = 48 }
#define WINDOW(type, n) { .k = type, .v = type, .n_head = 1, .d_head = 48, .window = n }

static const struct kv_layer f16[2] = { PLAIN(KV_F16), ODD(KV_F16, KV_F16) };
static const struct kv_layer kv4[2] = { PLAIN(KV_KV4), ODD(KV_Q8_0, KV_F16) };
static const struct kv_layer windows[3] = { WINDOW(KV_KV4, 128), PLAIN(KV_KV4), WINDOW(KV_KV4, 40) };

enum { MAX_LAYERS = 6, N_CTX = 1000, LARGE = 1 << 30, REGION = 1 << 16 };

struct rig {
    struct test *t;
    struct kv_fake_memory device;
    struct kv_cache *kv;
    struct kv_layer layers[MAX_LAYERS];
    int32_t n_layers;
    struct kv_seq *s[4];
    int32_t text[N_CTX];    /* a text of many tokens */
};

static void open_in(struct test *t, enum kv_fake_place place, struct rig *r, const struct kv_layer *layers,
                    int32_t n_layers, uint64_t budget)
{
    struct err e;
    *r = (struct rig){ .t = t, .n_layers = n_layers };
    kv_fake_memory_init(&r->device, REGION);
    kv_fake_layers(r->layers, layers, n_layers, &r->device, place);
    CHECK_INT(t, kv_cache_create(&r->kv, r->layers, n_layers, budget, &e), ERR_OK);
    for (int i = 0; i < 4; i++)
        CHECK_INT(t, kv_seq_create(&r->s[i], r->kv, N_CTX, &e), ERR_OK);
    for (int32_t i = 0; i < N_CTX; i++)
        r->text[i] = (int32_t)test_below(t, 1000);
}

static void open_rig(struct test *t, bool device, struct rig *r, const struct kv_layer *layers, int32_t n_layers,
                     uint64_t budget)
{
    open_in(t, device ? KV_FAKE_DEVICE : KV_FAKE_HOST, r, layers, n_layers, budget);
}

static void close_rig(struct rig *r)
{
    for (int i = 0; i < 4; i++)
        kv_seq_destroy(r->s[i]);
    kv_cache_destroy(r->kv);
    kv_fake_memory_finish(&r->device);
}

static struct kv_stats stats_of(const struct rig *r)
{
    struct kv_stats stats;
    kv_cache_stats(r->kv, &stats);
    return stats;
}

/* Buffers are counted as the system gives them. */
static size_t whole_pages(size_t n_bytes)
{
    return (n_bytes + 4095) / 4096 * 4096;
}

static void seeds_of(uint64_t *seeds, const int32_t *tokens, int32_t n)
{
    for (int32_t i = 0; i < n; i++)
        seeds[i] = kv_fake_seed(i > 0 ? seeds[i - 1] : 7, tokens[i]);
}

/* Evaluates tokens [held, n) in pieces. */
static void feed(struct rig *r, struct kv_seq *s, const int32_t *tokens, int32_t n, int32_t piece)
{
    uint64_t seeds[N_CTX];
    struct err e;
    seeds_of(seeds, tokens, n);
    for (int32_t held = kv_seq_held(s), end; held < n; held = end) {
        end = held + piece < n ? held + piece : n;
        CHECK_INT(r->t, kv_seq_reserve(s, end, &e), ERR_OK);
        for (int32_t pos = held; pos < end; pos++)
            kv_fake_row(s, r->layers, r->n_layers, pos, seeds[pos]);
        kv_seq_append(s, tokens + held, end - held);
    }
}

/* The next row would read exactly what the n tokens say. */
static void check_holds(struct rig *r, const struct kv_seq *s, const int32_t *tokens, int32_t n)
{
    uint64_t seeds[N_CTX];
    seeds_of(seeds, tokens, n);
    CHECK_INT(r->t, kv_seq_held(s), n);
    CHECK_BYTES(r->t, kv_seq_tokens(s), tokens, (size_t)n * sizeof *tokens);
    CHECK_INT(r->t, kv_fake_check(s, r->layers, r->n_layers, n, n, seeds, kv_seq_rough(s)), -1, "at %d", n);
}

/* Goes to what is found of n tokens, which must be found; evaluates the rest. */
static void go_on(struct rig *r, struct kv_seq *s, const int32_t *tokens, int32_t n, int32_t found)
{
    CHECK_INT(r->t, kv_seq_find(s, tokens, n), found);
    CHECK_INT(r->t, kv_seq_match(s, tokens, n), found);
    check_holds(r, s, tokens, found);
    feed(r, s, tokens, n, 50);
    check_holds(r, s, tokens, n);
}

/* ---- one sequence ----------------------------------------------------------------------------------- */

TEST_BOTH(kv_cache_finds_the_common_prefix)
{
    struct rig r;
    const int32_t held[4] = { 1, 2, 3, 4 }, other[5] = { 1, 2, 9, 4, 5 };
    open_rig(t, device, &r, f16, 2, 0);
    feed(&r, r.s[0], held, 4, 4);
    CHECK_INT(t, kv_seq_find(r.s[0], held, 4), 4);
    CHECK_INT(t, kv_seq_find(r.s[0], held, 3), 3);
    CHECK_INT(t, kv_seq_find(r.s[0], other, 5), 2);
    CHECK_INT(t, kv_seq_truncate(r.s[0], 1), 1);
    CHECK_INT(t, kv_seq_find(r.s[0], held, 4), 1);
    CHECK_INT(t, kv_seq_match(r.s[0], other, 0), 0);
    CHECK_INT(t, stats_of(&r).used_bytes, 0);
    close_rig(&r);
}

TEST_BOTH(kv_cache_estimate_is_what_a_sequence_takes)
{
    static const struct {
        const struct kv_layer *layers;
        int32_t n;
    } sets[] = { { f16, 2 }, { kv4, 2 }, { windows, 3 }, { windows, 1 } };
    static const int32_t pieces[4] = { 1, 7, 64, 500 };
    for (int set = 0; set < 4; set++)
        for (int p = 0; p < 4; p++) {
            struct rig r;
            open_rig(t, device, &r, sets[set].layers, sets[set].n, LARGE);
            for (int32_t n = 1; n <= 900; n += pieces[p] < 64 ? 1 : pieces[p]) {
                feed(&r, r.s[0], r.text, n, pieces[p]);
                uint64_t want = kv_cache_estimate(sets[set].layers, sets[set].n, n);
                CHECK_INT(t, stats_of(&r).used_bytes, want, "%d tokens", n);
                CHECK_INT(t, stats_of(&r).cached_bytes, 0);
            }
            close_rig(&r);
        }
    CHECK_INT(t, kv_cache_estimate(kv4, 2, 0), 0);
    size_t open = whole_pages(kv_open_bytes(&kv4[0]) + kv_open_bytes(&kv4[1]));
    size_t sealed = whole_pages(kv_sealed_bytes(&kv4[0]) + kv_sealed_bytes(&kv4[1]));
    CHECK_INT(t, kv_cache_estimate(kv4, 2, 10 * KV_PAGE), 4 * open + 9 * sealed,
              "the first and the last three; all but the first");
}

TEST_BOTH(kv_cache_counts_open_and_sealed_pages)
{
    struct rig r;
    open_rig(t, device, &r, kv4, 2, 0);
    feed(&r, r.s[0], r.text, 10 * KV_PAGE + 5, 300);
    CHECK_INT(t, stats_of(&r).n_open, 4);
    CHECK_INT(t, stats_of(&r).n_sealed, 9);
    CHECK_INT(t, stats_of(&r).n_shared, 0);
    close_rig(&r);
    open_rig(t, device, &r, f16, 2, 0);
    feed(&r, r.s[0], r.text, 10 * KV_PAGE + 5, 300);
    CHECK_INT(t, stats_of(&r).n_open, 11);
    CHECK_INT(t, stats_of(&r).n_sealed, 0);
    close_rig(&r);
}

TEST_BOTH(kv_cache_rewinds_to_any_token_of_the_last_two_pages)
{
    static const int32_t ends[4] = { 7 * KV_PAGE, 7 * KV_PAGE + 1, 7 * KV_PAGE + 33, 7 * KV_PAGE + 63 };
    static const struct kv_layer *const sets[2] = { kv4, windows };
    for (int i = 0; i < 8; i++)
        for (int32_t n = ((ends[i % 4] - 1) / KV_PAGE - 1) * KV_PAGE; n <= ends[i % 4]; n += 7) {
            struct rig r;
            int32_t other[N_CTX];
            open_rig(t, device, &r, sets[i / 4], 2 + i / 4, 0);
            memcpy(other, r.text, sizeof other);
            for (int32_t pos = n; pos < N_CTX; pos++)
                other[pos] = -pos;
            feed(&r, r.s[0], r.text, ends[i % 4], 100);
            CHECK_INT(t, kv_seq_truncate(r.s[0], n), n);
            CHECK(t, !kv_seq_rough(r.s[0]));
            check_holds(&r, r.s[0], r.text, n);
            CHECK_INT(t, kv_seq_find(r.s[0], r.text, N_CTX), n, "what is cut off is gone");
            feed(&r, r.s[0], other, n + 200, 60);
            check_holds(&r, r.s[0], other, n + 200);
            close_rig(&r);
        }
}

TEST_BOTH(kv_cache_far_rewind_reads_sealed_pages_and_says_so)
{
    struct rig r;
    struct kv_image *image;
    struct err e;
    open_rig(t, device, &r, kv4, 2, LARGE);
    feed(&r, r.s[0], r.text, 900, 100);
    CHECK_INT(t, kv_seq_truncate(r.s[0], 500), 6 * KV_PAGE, "the page before that of token 500");
    CHECK(t, kv_seq_rough(r.s[0]));
    CHECK_INT(t, kv_seq_find(r.s[0], r.text, 900), 6 * KV_PAGE);
    CHECK_INT(t, kv_seq_truncate(r.s[0], 6 * KV_PAGE), 6 * KV_PAGE);
    CHECK(t, kv_seq_rough(r.s[0]));
    check_holds(&r, r.s[0], r.text, 384);
    feed(&r, r.s[0], r.text, 700, 100);
    check_holds(&r, r.s[0], r.text, 700);
    CHECK_INT(t, kv_image_of(&image, r.s[0], &e), ERR_UNSUPPORTED);
    CHECK(t, strstr(e.text, "384"), "%s", e.text);
    CHECK_INT(t, kv_seq_match(r.s[1], r.text, 700), 5 * KV_PAGE, "others find what was evaluated exactly");
    CHECK_INT(t, kv_seq_match(r.s[1], r.text + 1, 1), 0);
    CHECK_INT(t, kv_seq_find(r.s[0], r.text, 700), 700);
    CHECK_INT(t, kv_seq_truncate(r.s[0], 650), 650);
    CHECK(t, kv_seq_rough(r.s[0]), "still of rough tokens");
    kv_seq_anchor(r.s[0]);
    CHECK_INT(t, kv_seq_find(r.s[1], r.text, 700), 5 * KV_PAGE, "no anchor in rough tokens");
    CHECK_INT(t, kv_seq_truncate(r.s[0], 100), KV_PAGE);
    CHECK(t, !kv_seq_rough(r.s[0]), "the beginning is as it was");
    check_holds(&r, r.s[0], r.text, KV_PAGE);
    CHECK_INT(t, kv_image_of(&image, r.s[0], &e), ERR_OK);
    kv_image_drop(image);
    close_rig(&r);
}

TEST_BOTH(kv_cache_rewind_near_a_kept_place_goes_there)
{
    struct rig r;
    open_rig(t, device, &r, kv4, 2, LARGE);
    feed(&r, r.s[0], r.text, 400, 100);
    kv_seq_anchor(r.s[0]);
    feed(&r, r.s[0], r.text, 900, 100);
    CHECK_INT(t, kv_seq_truncate(r.s[0], 448 + 128), 448, "128 tokens again, exactly, from a page's end");
    CHECK(t, !kv_seq_rough(r.s[0]));
    check_holds(&r, r.s[0], r.text, 448);
    feed(&r, r.s[0], r.text, 900, 100);
    CHECK_INT(t, kv_seq_truncate(r.s[0], 448 + 129), 8 * KV_PAGE, "129 would be too many");
    CHECK(t, kv_seq_rough(r.s[0]));
    close_rig(&r);
}

TEST_BOTH(kv_cache_f16_rewinds_anywhere)
{
    struct rig r;
    open_rig(t, device, &r, f16, 2, 0);
    feed(&r, r.s[0], r.text, 900, 100);
    for (int32_t n = 899; n >= 0; n -= 31) {
        CHECK_INT(t, kv_seq_truncate(r.s[0], n), n);
        CHECK(t, !kv_seq_rough(r.s[0]));
        check_holds(&r, r.s[0], r.text, n);
    }
    close_rig(&r);
}

TEST_BOTH(kv_cache_gives_back_what_windows_leave_behind)
{
    struct rig r;
    int32_t stride;
    open_rig(t, device, &r, windows, 3, 0);
    feed(&r, r.s[0], r.text, 10 * KV_PAGE, 64);
    const struct kv_page *table = kv_seq_table(r.s[0], &stride);
    for (int32_t page = 0; page < 10; page++) {
        bool there = page >= 6;    /* row 512 reaches 385 */
        CHECK(t, (table[page].open || table[page].sealed) == there, "page %d", page);
        CHECK(t, table[stride + page].sealed || page == 0, "page %d of a layer without a window", page);
    }
    check_holds(&r, r.s[0], r.text, 10 * KV_PAGE);
    CHECK_INT(t, kv_seq_truncate(r.s[0], 300), 0, "nothing of it is left in the windows");
    CHECK(t, !kv_seq_rough(r.s[0]));
    close_rig(&r);
}

TEST_BOTH(kv_cache_anchor_keeps_window_pages)
{
    struct rig r;
    open_rig(t, device, &r, windows, 3, LARGE);
    feed(&r, r.s[0], r.text, 300, 64);
    kv_seq_anchor(r.s[0]);
    feed(&r, r.s[0], r.text, 900, 64);
    CHECK_INT(t, kv_seq_truncate(r.s[0], 700), 319, "its page is open, but its sealed form is gone");
    check_holds(&r, r.s[0], r.text, 319);
    feed(&r, r.s[0], r.text, 900, 64);
    check_holds(&r, r.s[0], r.text, 900);
    close_rig(&r);
}

TEST_BOTH(kv_cache_reserving_twice_or_in_vain_does_no_harm)
{
    struct rig r;
    struct err e;
    open_rig(t, device, &r, kv4, 2, 0);
    feed(&r, r.s[0], r.text, 100, 64);
    uint64_t used = stats_of(&r).used_bytes;
    CHECK_INT(t, kv_seq_reserve(r.s[0], 500, &e), ERR_OK);
    CHECK_INT(t, kv_seq_reserve(r.s[0], 120, &e), ERR_OK);
    CHECK_INT(t, kv_seq_reserve(r.s[0], 50, &e), ERR_OK);
    check_holds(&r, r.s[0], r.text, 100);
    CHECK_INT(t, kv_seq_truncate(r.s[0], 200), 100);
    CHECK_INT(t, stats_of(&r).used_bytes, used);
    feed(&r, r.s[0], r.text, 500, 500);
    check_holds(&r, r.s[0], r.text, 500);
    close_rig(&r);
}

/* ---- several ---------------------------------------------------------------------------------------- */

TEST_BOTH(kv_cache_shares_a_beginning)
{
    static const struct kv_layer *const sets[3] = { f16, kv4, windows };
    for (int set = 0; set < 3; set++) {
        struct rig r;
        int32_t other[N_CTX];
        open_rig(t, device, &r, sets[set], set < 2 ? 2 : 3, LARGE);
        memcpy(other, r.text, sizeof other);
        for (int32_t pos = 350; pos < N_CTX; pos++)
            other[pos] = -pos;
        feed(&r, r.s[0], r.text, 350, 100);
        uint64_t alone = stats_of(&r).used_bytes;
        CHECK_INT(t, kv_seq_match(r.s[1], other, N_CTX), 350);
        CHECK_INT(t, stats_of(&r).used_bytes, alone, "nothing is copied before somebody writes");
        CHECK_INT(t, stats_of(&r).n_shared, 6);
        feed(&r, r.s[1], other, 351, 1);
        CHECK_INT(t, stats_of(&r).n_shared, 5, "the page written to is the writer's own");
        feed(&r, r.s[0], r.text, 600, 40);
        feed(&r, r.s[1], other, 500, 40);
        check_holds(&r, r.s[0], r.text, 600);
        check_holds(&r, r.s[1], other, 500);
        CHECK_INT(t, kv_seq_truncate(r.s[0], 560), 560);
        check_holds(&r, r.s[1], other, 500);
        close_rig(&r);
    }
}

TEST_BOTH(kv_cache_goes_on_from_the_middle_of_a_page)
{
    struct rig r;
    int32_t other[N_CTX];
    open_rig(t, device, &r, kv4, 2, LARGE);
    memcpy(other, r.text, sizeof other);
    for (int32_t pos = 330; pos < N_CTX; pos++)
        other[pos] = -pos;
    feed(&r, r.s[0], r.text, 400, 100);    /* page 5 is full and sealed */
    go_on(&r, r.s[1], other, 500, 330);
    check_holds(&r, r.s[0], r.text, 400);
    feed(&r, r.s[0], r.text, 600, 100);
    check_holds(&r, r.s[0], r.text, 600);
    check_holds(&r, r.s[1], other, 500);
    close_rig(&r);
}

TEST_BOTH(kv_cache_page_still_growing_is_shared)
{
    struct rig r;
    struct err e;
    open_rig(t, device, &r, kv4, 2, 0);
    feed(&r, r.s[0], r.text, 20, 20);
    CHECK_INT(t, kv_seq_match(r.s[1], r.text, 15), 15);
    CHECK_INT(t, kv_seq_match(r.s[2], r.text, 20), 20);
    CHECK_INT(t, kv_seq_reserve(r.s[2], 21, &e), ERR_OK);    /* may write in place; then the first must not */
    CHECK_INT(t, kv_seq_reserve(r.s[0], 21, &e), ERR_OK);
    int32_t stride;
    CHECK(t, kv_seq_table(r.s[0], &stride)->open != kv_seq_table(r.s[2], &stride)->open, "two write to a page");
    int32_t a[30], b[30];
    memcpy(a, r.text, sizeof a);
    memcpy(b, r.text, sizeof b);
    a[20] = -1;
    b[15] = -2;
    feed(&r, r.s[2], r.text, 30, 30);
    feed(&r, r.s[0], a, 30, 30);
    feed(&r, r.s[1], b, 30, 30);
    check_holds(&r, r.s[2], r.text, 30);
    check_holds(&r, r.s[0], a, 30);
    check_holds(&r, r.s[1], b, 30);
    close_rig(&r);
}

TEST_BOTH(kv_cache_same_tokens_evaluated_side_by_side_end_in_one_block)
{
    struct rig r;
    open_rig(t, device, &r, kv4, 2, 0);
    for (int32_t n = 50; n <= 350; n += 50)
        for (int i = 0; i < 4; i++)
            feed(&r, r.s[i], r.text, n, 50);
    CHECK_INT(t, stats_of(&r).n_shared, 5, "full pages of 350 tokens");
    size_t open = whole_pages(kv_open_bytes(&kv4[0]) + kv_open_bytes(&kv4[1]));
    CHECK_INT(t, stats_of(&r).used_bytes, kv_cache_estimate(kv4, 2, 350) + 3 * open);
    for (int i = 0; i < 4; i++)
        check_holds(&r, r.s[i], r.text, 350);
    close_rig(&r);
}

TEST_BOTH(kv_cache_match_stays_where_it_is_when_others_have_the_same)
{
    struct rig r;
    int32_t stride;
    open_rig(t, device, &r, kv4, 2, LARGE);
    for (int i = 0; i < 4; i++)
        feed(&r, r.s[i], r.text, 30, 30);
    for (int i = 0; i < 4; i++) {
        const void *before = kv_seq_table(r.s[i], &stride)->open;
        CHECK_INT(t, kv_seq_match(r.s[i], r.text, 30), 30);
        CHECK(t, kv_seq_table(r.s[i], &stride)->open == before, "sequence %d", i);
    }
    close_rig(&r);
}

TEST_BOTH(kv_cache_match_takes_the_longest_place_of_all_branches)
{
    struct rig r;
    int32_t other[N_CTX];
    open_rig(t, device, &r, kv4, 2, LARGE);
    memcpy(other, r.text, sizeof other);
    for (int32_t pos = 500; pos < N_CTX; pos++)
        other[pos] = -pos;
    feed(&r, r.s[0], r.text, 300, 100);
    CHECK_INT(t, kv_seq_match(r.s[1], r.text, 300), 300);
    feed(&r, r.s[1], other, 900, 100);    /* knows more of the text, but cannot be resumed where it ends */
    go_on(&r, r.s[2], r.text, 420, 300);
    CHECK_INT(t, kv_seq_find(r.s[3], r.text, 600), 420);
    go_on(&r, r.s[3], r.text, 600, 420);
    close_rig(&r);
}

/* ---- anchors and the budget ------------------------------------------------------------------------- */

TEST_BOTH(kv_cache_former_ends_are_found_again)
{
    static const struct kv_layer *const sets[3] = { f16, kv4, windows };
    for (int set = 0; set < 3; set++) {
        struct rig r;
        int32_t other[N_CTX];
        open_rig(t, device, &r, sets[set], set < 2 ? 2 : 3, LARGE);
        for (int32_t pos = 0; pos < N_CTX; pos++)
            other[pos] = -pos;
        feed(&r, r.s[0], r.text, 500, 100);
        go_on(&r, r.s[0], other, 300, 0);
        CHECK(t, stats_of(&r).n_cached == 8 && stats_of(&r).cached_bytes > 0);
        go_on(&r, r.s[1], r.text, 700, 500);
        kv_seq_destroy(r.s[1]);
        r.s[1] = NULL;
        go_on(&r, r.s[2], r.text, 710, 700);
        close_rig(&r);
    }
}

TEST_BOTH(kv_cache_without_a_budget_keeps_nothing)
{
    struct rig r;
    int32_t other[N_CTX] = { 0 };
    open_rig(t, device, &r, kv4, 2, 0);
    feed(&r, r.s[0], r.text, 100, 100);
    kv_seq_anchor(r.s[0]);
    feed(&r, r.s[0], r.text, 500, 100);
    CHECK_INT(t, stats_of(&r).cached_bytes, 0);
    CHECK_INT(t, stats_of(&r).used_bytes, kv_cache_estimate(kv4, 2, 500));
    go_on(&r, r.s[0], other, 30, 0);
    CHECK_INT(t, stats_of(&r).cached_bytes, 0);
    CHECK_INT(t, stats_of(&r).n_cached, 0);
    CHECK_INT(t, kv_seq_find(r.s[0], r.text, 500), 0);
    close_rig(&r);
}

TEST_BOTH(kv_cache_drops_what_was_used_longest_ago)
{
    struct rig r;
    int32_t texts[3][N_CTX];
    open_rig(t, device, &r, kv4, 2, LARGE);
    for (int i = 0; i < 3; i++) {
        for (int32_t pos = 0; pos < N_CTX; pos++)
            texts[i][pos] = 1000 * (i + 1) + pos;
        go_on(&r, r.s[0], texts[i], 300, 0);
    }
    CHECK_INT(t, kv_seq_match(r.s[0], r.text, 1), 0);
    uint64_t one = stats_of(&r).cached_bytes / 3;
    CHECK_INT(t, kv_seq_match(r.s[1], texts[0], 300), 300, "used again");
    CHECK_INT(t, kv_seq_match(r.s[1], r.text, 1), 0);
    kv_cache_set_budget(r.kv, 2 * one);
    CHECK(t, stats_of(&r).cached_bytes <= 2 * one);
    CHECK_INT(t, kv_seq_find(r.s[1], texts[0], 300), 300);
    CHECK(t, kv_seq_find(r.s[1], texts[1], 300) < 300, "the oldest");
    CHECK_INT(t, kv_seq_find(r.s[1], texts[2], 300), 300);
    kv_cache_set_budget(r.kv, 0);
    CHECK_INT(t, stats_of(&r).cached_bytes, 0);
    CHECK_INT(t, stats_of(&r).n_cached, 0);
    close_rig(&r);
}

TEST_BOTH(kv_cache_place_gone_on_from_counts_as_used)
{
    struct rig r;
    int32_t other[N_CTX] = { 0 };
    open_rig(t, device, &r, kv4, 2, LARGE);
    feed(&r, r.s[0], r.text, 100, 100);
    kv_seq_anchor(r.s[0]);
    CHECK_INT(t, kv_seq_truncate(r.s[0], 0), 0);
    uint64_t one = stats_of(&r).cached_bytes;
    go_on(&r, r.s[0], other, 100, 0);
    kv_seq_anchor(r.s[0]);
    CHECK_INT(t, kv_seq_truncate(r.s[0], 0), 0);
    go_on(&r, r.s[0], r.text, 150, 100);
    CHECK_INT(t, kv_seq_truncate(r.s[0], 0), 0);
    CHECK_INT(t, stats_of(&r).cached_bytes, 2 * one);
    kv_cache_set_budget(r.kv, one);
    CHECK_INT(t, kv_seq_find(r.s[0], r.text, 100), 100);
    CHECK_INT(t, kv_seq_find(r.s[0], other, 100), 0);
    close_rig(&r);
}

/* Sealed pages that no anchor has any more, but somebody went on from. */
TEST_BOTH(kv_cache_blocks_gone_on_from_count_as_used)
{
    struct rig r;
    int32_t other[N_CTX] = { 0 };
    open_rig(t, device, &r, kv4, 2, LARGE);
    feed(&r, r.s[0], r.text, 900, 100);
    CHECK_INT(t, kv_seq_match(r.s[0], r.text + 1, 1), 0);
    size_t open = whole_pages(kv_open_bytes(&kv4[0]) + kv_open_bytes(&kv4[1]));
    size_t sealed = whole_pages(kv_sealed_bytes(&kv4[0]) + kv_sealed_bytes(&kv4[1]));
    kv_cache_set_budget(r.kv, open + 8 * sealed);
    kv_cache_set_budget(r.kv, LARGE);
    go_on(&r, r.s[0], other, 300, 0);
    CHECK_INT(t, kv_seq_match(r.s[0], r.text, 900), 8 * KV_PAGE);
    CHECK_INT(t, kv_seq_match(r.s[0], r.text + 1, 1), 0);
    kv_cache_set_budget(r.kv, stats_of(&r).cached_bytes - sealed - 1);
    CHECK_INT(t, stats_of(&r).n_cached, 8 + 4, "the ninth, then the anchor of the other text");
    CHECK_INT(t, kv_seq_find(r.s[0], r.text, 900), 7 * KV_PAGE);
    CHECK(t, kv_seq_find(r.s[0], other, 300) < 300);
    kv_cache_set_budget(r.kv, stats_of(&r).cached_bytes - 1);
    CHECK_INT(t, stats_of(&r).n_cached, 8 + 3);
    CHECK_INT(t, kv_seq_find(r.s[0], r.text, 900), 7 * KV_PAGE);
    close_rig(&r);
}

TEST_BOTH(kv_cache_anchor_that_costs_nothing_stays)
{
    struct rig r;
    int32_t other[N_CTX] = { 0 };
    open_rig(t, device, &r, kv4, 2, LARGE);
    feed(&r, r.s[0], r.text, 100, 100);
    kv_seq_anchor(r.s[0]);
    go_on(&r, r.s[1], other, 300, 0);
    CHECK_INT(t, kv_seq_match(r.s[1], r.text + 1, 1), 0);
    kv_cache_set_budget(r.kv, 0);
    CHECK_INT(t, stats_of(&r).n_cached, 0);
    kv_cache_set_budget(r.kv, LARGE);
    feed(&r, r.s[0], r.text, 700, 100);
    CHECK_INT(t, kv_seq_truncate(r.s[0], 100), 100);
    close_rig(&r);
}

TEST_BOTH(kv_cache_budget_takes_nothing_from_a_sequence)
{
    struct rig r;
    open_rig(t, device, &r, kv4, 2, LARGE);
    feed(&r, r.s[0], r.text, 300, 100);
    kv_seq_anchor(r.s[0]);
    feed(&r, r.s[0], r.text, 700, 100);
    kv_cache_set_budget(r.kv, 0);
    check_holds(&r, r.s[0], r.text, 700);
    CHECK_INT(t, stats_of(&r).used_bytes, kv_cache_estimate(kv4, 2, 700));
    CHECK_INT(t, kv_seq_truncate(r.s[0], 301), 192, "the anchor is gone");
    CHECK(t, kv_seq_rough(r.s[0]));
    close_rig(&r);
}

TEST_BOTH(kv_cache_budget_of_a_long_branch_shortens_it_from_its_end)
{
    struct rig r;
    open_rig(t, device, &r, kv4, 2, LARGE);
    feed(&r, r.s[0], r.text, 900, 100);
    CHECK_INT(t, kv_seq_match(r.s[0], r.text + 1, 1), 0);
    size_t sealed = whole_pages(kv_sealed_bytes(&kv4[0]) + kv_sealed_bytes(&kv4[1]));
    size_t open = whole_pages(kv_open_bytes(&kv4[0]) + kv_open_bytes(&kv4[1]));
    kv_cache_set_budget(r.kv, open + 8 * sealed);
    CHECK_INT(t, stats_of(&r).n_cached, 9);
    CHECK_INT(t, kv_seq_match(r.s[1], r.text, 900), 8 * KV_PAGE, "no open forms: before the last page left");
    CHECK(t, kv_seq_rough(r.s[1]));
    check_holds(&r, r.s[1], r.text, 8 * KV_PAGE);
    close_rig(&r);
}

TEST_BOTH(kv_cache_truncated_tokens_are_not_kept)
{
    struct rig r;
    open_rig(t, device, &r, kv4, 2, LARGE);
    feed(&r, r.s[0], r.text, 500, 100);
    CHECK_INT(t, kv_seq_truncate(r.s[0], 450), 450);
    CHECK_INT(t, kv_seq_find(r.s[1], r.text, 500), 450);
    CHECK_INT(t, stats_of(&r).cached_bytes, 0);
    kv_seq_anchor(r.s[0]);
    CHECK_INT(t, kv_seq_truncate(r.s[0], 400), 400);
    CHECK_INT(t, kv_seq_find(r.s[1], r.text, 500), 450, "an anchor was wanted");
    close_rig(&r);
}

/* ---- images ----------------------------------------------------------------------------------------- */

static size_t image_bytes(const struct kv_image *image)
{
    size_t n = 0;
    for (int32_t i = 0; i < image->n_pieces; i++)
        n += image->pieces[i].n_bytes;
    return n;
}

TEST_BOTH(kv_image_goes_into_another_cache)
{
    static const struct kv_layer *const sets[3] = { f16, kv4, windows };
    static const int32_t lengths[5] = { 1, 64, 100, 448, 700 };
    for (int i = 0; i < 15; i++) {
        struct rig from, to;
        struct kv_image *image, *copy;
        struct err e;
        int32_t n = lengths[i % 5], n_layers = i / 5 < 2 ? 2 : 3;
        open_rig(t, device, &from, sets[i / 5], n_layers, 0);
        open_rig(t, device, &to, sets[i / 5], n_layers, LARGE);
        feed(&from, from.s[0], from.text, n, 100);
        CHECK_INT(t, kv_image_of(&image, from.s[0], &e), ERR_OK);
        CHECK_INT(t, kv_image_new(&copy, to.kv, image->tokens, image->n_tokens, &e), ERR_OK);
        CHECK_INT(t, copy->n_pieces, image->n_pieces);
        for (int32_t k = 0; k < copy->n_pieces; k++) {
            CHECK_INT(t, copy->pieces[k].n_bytes, image->pieces[k].n_bytes);
            memcpy(copy->pieces[k].bytes, image->pieces[k].bytes, copy->pieces[k].n_bytes);
        }
        kv_image_drop(image);
        CHECK_INT(t, kv_seq_find(to.s[0], from.text, n), 0, "not before it is committed");
        CHECK_INT(t, kv_image_commit_take(copy, &e), ERR_OK);
        CHECK_INT(t, stats_of(&to).used_bytes, 0);
        go_on(&to, to.s[0], from.text, n + 200, n);
        close_rig(&from);
        close_rig(&to);
    }
}

TEST_BOTH(kv_image_has_what_resuming_takes_and_no_more)
{
    struct rig r;
    struct kv_image *image;
    struct err e;
    size_t open = kv_open_bytes(&kv4[0]) + kv_open_bytes(&kv4[1]);
    size_t sealed = kv_sealed_bytes(&kv4[0]) + kv_sealed_bytes(&kv4[1]);
    open_rig(t, device, &r, kv4, 2, 0);
    feed(&r, r.s[0], r.text, 10 * KV_PAGE, 100);
    CHECK_INT(t, kv_image_of(&image, r.s[0], &e), ERR_OK);
    CHECK_INT(t, image_bytes(image), 2 * open + 9 * sealed);
    kv_image_drop(image);
    feed(&r, r.s[0], r.text, 10 * KV_PAGE + 1, 100);
    CHECK_INT(t, kv_image_of(&image, r.s[0], &e), ERR_OK);
    CHECK_INT(t, image_bytes(image), 3 * open + 9 * sealed);
    kv_image_drop(image);
    CHECK_INT(t, kv_image_of(&image, r.s[1], &e), ERR_UNSUPPORTED, "nothing held");
    close_rig(&r);
}

TEST_BOTH(kv_image_stays_as_it_is_while_the_sequence_moves)
{
    struct rig r;
    struct kv_image *image;
    struct err e;
    open_rig(t, device, &r, windows, 3, 0);
    feed(&r, r.s[0], r.text, 300, 100);
    CHECK_INT(t, kv_image_of(&image, r.s[0], &e), ERR_OK);
    size_t n = image_bytes(image);
    unsigned char *before = malloc(n), *at = before;
    for (int32_t i = 0; i < image->n_pieces; at += image->pieces[i++].n_bytes)
        memcpy(at, image->pieces[i].bytes, image->pieces[i].n_bytes);
    CHECK_INT(t, kv_seq_truncate(r.s[0], 260), 260);
    int32_t other[N_CTX] = { 0 };
    memcpy(other, r.text, 260 * sizeof *other);
    feed(&r, r.s[0], other, 900, 100);
    kv_seq_destroy(r.s[0]);
    r.s[0] = NULL;
    at = before;
    for (int32_t i = 0; i < image->n_pieces; at += image->pieces[i++].n_bytes)
        CHECK(t, memcmp(at, image->pieces[i].bytes, image->pieces[i].n_bytes) == 0, "piece %d", i);
    kv_image_drop(image);
    free(before);
    CHECK_INT(t, stats_of(&r).used_bytes + stats_of(&r).cached_bytes, 0);
    close_rig(&r);
}

/* A page that was longer before has tokens behind its end that were cut off: no file gets them. */
TEST_BOTH(kv_image_of_a_part_of_a_page_has_nothing_behind_it)
{
    struct rig r;
    struct kv_image *image;
    struct err e;
    open_rig(t, device, &r, kv4, 2, 0);
    feed(&r, r.s[0], r.text, 120, 120);
    CHECK_INT(t, kv_seq_truncate(r.s[0], 70), 70);
    CHECK_INT(t, kv_image_of(&image, r.s[0], &e), ERR_OK);
    CHECK_INT(t, image->n_pieces, 2, "the first page, and 6 tokens of the second");
    char *layer = image->pieces[1].bytes;
    for (int i = 0; i < 2; layer += kv_open_bytes(&kv4[i++]))
        for (int32_t slot = 0; slot < KV_PAGE; slot++)
            for (int which = 0; which < 2; which++)
                CHECK(t, (*kv_fake_at(layer, &kv4[i], slot, which) != 0) == (slot < 6), "slot %d", slot);
    kv_image_drop(image);
    close_rig(&r);
}

TEST_BOTH(kv_image_of_what_is_there_already_takes_no_more)
{
    struct rig r;
    struct kv_image *image, *copy;
    struct err e;
    open_rig(t, device, &r, kv4, 2, LARGE);
    feed(&r, r.s[0], r.text, 300, 100);
    kv_seq_anchor(r.s[0]);
    struct kv_stats before = stats_of(&r), after;
    CHECK_INT(t, kv_image_of(&image, r.s[0], &e), ERR_OK);
    CHECK_INT(t, kv_image_new(&copy, r.kv, r.text, 300, &e), ERR_OK);
    for (int32_t k = 0; k < copy->n_pieces; k++)
        memcpy(copy->pieces[k].bytes, image->pieces[k].bytes, copy->pieces[k].n_bytes);
    kv_image_drop(image);
    CHECK_INT(t, kv_image_commit_take(copy, &e), ERR_OK);
    after = stats_of(&r);
    CHECK_BYTES(t, &after, &before, sizeof after);
    CHECK_INT(t, kv_image_new(&copy, r.kv, r.text, 300, &e), ERR_OK);
    kv_image_drop(copy);
    after = stats_of(&r);
    CHECK_BYTES(t, &after, &before, sizeof after);
    close_rig(&r);
}

/* Open forms that the cache let go come back with the image. */
TEST_BOTH(kv_image_completes_blocks_that_are_there)
{
    struct rig r;
    struct kv_image *image, *copy;
    struct err e;
    open_rig(t, device, &r, windows, 3, LARGE);
    feed(&r, r.s[0], r.text, 300, 100);
    CHECK_INT(t, kv_image_of(&image, r.s[0], &e), ERR_OK);
    CHECK_INT(t, kv_image_new(&copy, r.kv, r.text, 300, &e), ERR_OK);
    for (int32_t k = 0; k < copy->n_pieces; k++)
        memcpy(copy->pieces[k].bytes, image->pieces[k].bytes, copy->pieces[k].n_bytes);
    kv_image_drop(image);
    feed(&r, r.s[0], r.text, 900, 100);
    CHECK_INT(t, kv_seq_find(r.s[1], r.text, 300), 0);
    CHECK_INT(t, kv_image_commit_take(copy, &e), ERR_OK);
    go_on(&r, r.s[1], r.text, 500, 300);
    check_holds(&r, r.s[0], r.text, 900);
    close_rig(&r);
}

/* ---- a device that fails ---------------------------------------------------------------------------- */

TEST(kv_cache_of_a_device_that_fails_stays_as_it_is)
{
    struct rig r;
    struct err e;
    int32_t other[N_CTX] = { 0 };
    open_rig(t, true, &r, kv4, 2, LARGE);
    memcpy(other, r.text, 120 * sizeof *other);
    feed(&r, r.s[0], r.text, 150, 50);
    CHECK_INT(t, kv_seq_match(r.s[1], other, 200), 120);
    struct kv_stats before = stats_of(&r), after;
    int32_t fail_in = 1;
    for (;; fail_in++) {    /* a region, or the copy of the page both have */
        r.device.fail_in = fail_in;
        enum err_code rc = kv_seq_reserve(r.s[1], 900, &e);
        if (rc == ERR_OK)
            break;
        CHECK_INT(t, rc, ERR_DEVICE, "call %d", fail_in);
        CHECK(t, strstr(e.text, "900 tokens: the fake device is lost"), "%s", e.text);
        after = stats_of(&r);
        CHECK_BYTES(t, &after, &before, sizeof after, "call %d", fail_in);
        check_holds(&r, r.s[1], other, 120);
        check_holds(&r, r.s[0], r.text, 150);
    }
    CHECK(t, fail_in > 2, "%d calls", fail_in - 1);
    r.device.fail_in = 0;
    feed(&r, r.s[1], other, 400, 50);
    check_holds(&r, r.s[1], other, 400);
    check_holds(&r, r.s[0], r.text, 150);
    r.device.lost = true;    /* what needs no device goes on */
    kv_seq_anchor(r.s[1]);
    CHECK_INT(t, kv_seq_truncate(r.s[1], 390), 390);
    CHECK_INT(t, kv_seq_match(r.s[2], r.text, 150), 150);
    close_rig(&r);
}

TEST(kv_image_of_a_device_that_fails)
{
    struct rig r;
    struct kv_image *image, *copy;
    struct err e;
    open_rig(t, true, &r, windows, 3, LARGE);
    feed(&r, r.s[0], r.text, 300, 100);
    struct kv_stats before = stats_of(&r), after;
    r.device.fail_in = 3;
    CHECK_INT(t, kv_image_of(&image, r.s[0], &e), ERR_DEVICE);
    CHECK(t, strstr(e.text, "300 tokens: the fake device is lost"), "%s", e.text);
    after = stats_of(&r);
    CHECK_BYTES(t, &after, &before, sizeof after);
    CHECK_INT(t, kv_image_of(&image, r.s[0], &e), ERR_OK);
    after = stats_of(&r);
    CHECK_BYTES(t, &after, &before, sizeof after, "copies on the host are nothing the device holds");
    CHECK_INT(t, kv_seq_truncate(r.s[0], 0), 0);
    before = stats_of(&r);
    for (int32_t fail_in = image->n_pieces; fail_in >= 0; fail_in -= 2) {
        CHECK_INT(t, kv_image_new(&copy, r.kv, image->tokens, 300, &e), ERR_OK);
        for (int32_t k = 0; k < copy->n_pieces; k++)
            memcpy(copy->pieces[k].bytes, image->pieces[k].bytes, copy->pieces[k].n_bytes);
        if (fail_in < 2)
            break;
        r.device.fail_in = fail_in;
        CHECK_INT(t, kv_image_commit_take(copy, &e), ERR_DEVICE, "piece %d", fail_in);
        after = stats_of(&r);
        CHECK_BYTES(t, &after, &before, sizeof after);
        CHECK_INT(t, kv_seq_find(r.s[1], r.text, 300), 0);
    }
    kv_image_drop(image);
    CHECK_INT(t, kv_image_commit_take(copy, &e), ERR_OK);
    go_on(&r, r.s[1], r.text, 400, 300);
    close_rig(&r);
}
