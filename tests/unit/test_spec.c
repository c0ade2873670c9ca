/* SPDX-License-Identifier: MIT */
#include "engine/spec/spec_costs.h"
#include "engine/spec/spec_rates.h"
#include "tests/support/test.h"

/* ---- rates ---------------------------------------------------------------------------------------- */

static const struct spec_guess long_one = { .token = 1, .n_match = 30, .kind = SPEC_AGREE };
static const struct spec_guess short_one = { .token = 1, .n_match = 2, .kind = SPEC_SPLIT };

TEST(spec_rates_know_before_they_learn_that_long_matches_are_better)
{
    const struct spec_rates nothing = { 0 };
    double before = 0;
    for (int32_t n = 1; n < 100; n++) {
        struct spec_guess g = { .n_match = n, .kind = SPEC_ONCE };
        double p = spec_rates_expect(&nothing, &nothing, &g);
        CHECK(t, p > before && p < 1, "%d tokens: %f", n, p);
        before = p;
        double once = p;
        g.kind = SPEC_AGREE;
        CHECK(t, spec_rates_expect(&nothing, &nothing, &g) > once);
        g.kind = SPEC_SPLIT;
        CHECK(t, spec_rates_expect(&nothing, &nothing, &g) < once);
    }
}

TEST(spec_rates_follow_what_comes_true)
{
    struct spec_rates answer = { 0 }, model = { 0 };
    for (int i = 0; i < 50; i++) {
        spec_rates_learn(&answer, SPEC_ANSWER, &long_one, false);
        spec_rates_learn(&model, SPEC_MODEL, &long_one, false);
    }
    CHECK(t, spec_rates_expect(&answer, &model, &long_one) < 0.01);
    const struct spec_rates nothing = { 0 };
    CHECK(t, spec_rates_expect(&answer, &model, &short_one) == spec_rates_expect(&nothing, &nothing, &short_one),
          "of another sort");
    double fresh = spec_rates_expect(&nothing, &model, &long_one);
    CHECK(t, fresh < 0.1, "a new answer begins with what the model knows: %f", fresh);
    for (int i = 0; i < 50; i++)
        spec_rates_learn(&answer, SPEC_ANSWER, &long_one, true);
    CHECK(t, spec_rates_expect(&answer, &model, &long_one) > 0.7, "the old is forgotten");
}

/* ---- costs ---------------------------------------------------------------------------------------- */

/* Time of a pass where reading takes `read` ms and each row one more. */
static void set_line(struct spec_costs *c, double read)
{
    double ms[SPEC_POINTS];
    for (int32_t i = 0; i < SPEC_POINTS; i++)
        ms[i] = read + spec_costs_rows(i);
    *c = (struct spec_costs){ 0 };
    spec_costs_set(c, 0, ms);
}

static bool near(double a, double b)
{
    return a > b * 0.999 && a < b * 1.001;
}

TEST(spec_costs_are_lines_between_what_was_measured)
{
    struct spec_costs c = { 0 };
    CHECK(t, !spec_costs_known(&c));
    set_line(&c, 10);
    CHECK(t, spec_costs_known(&c));
    for (int32_t n = 1; n <= 64; n++)
        CHECK(t, near(spec_costs_ms(&c, n, 0), 10 + n), "%d rows: %f", n, spec_costs_ms(&c, n, 0));
    CHECK(t, near(spec_costs_ms(&c, 3, 100000), 13), "a range not seen is as the nearest");
    CHECK_INT(t, spec_costs_rows(SPEC_POINTS), 0);
    CHECK_INT(t, spec_costs_rows(SPEC_POINTS - 1), SPEC_MAX_ROWS);
}

TEST(spec_costs_of_more_rows_are_never_less)
{
    double ms[SPEC_POINTS];
    struct spec_costs c = { 0 };
    for (int32_t i = 0; i < SPEC_POINTS; i++)
        ms[i] = i % 2 ? 5 : 7;
    spec_costs_set(&c, 0, ms);
    for (int32_t n = 1; n < SPEC_MAX_ROWS; n++)
        CHECK(t, spec_costs_ms(&c, n + 1, 0) >= spec_costs_ms(&c, n, 0));
}

TEST(spec_costs_of_rows_are_never_more_than_as_many_passes)
{
    double ms[SPEC_POINTS] = { 3 };
    struct spec_costs c = { 0 };
    ms[7] = 500;
    spec_costs_set(&c, 0, ms);
    for (int32_t n = 1; n <= SPEC_MAX_ROWS; n++)
        CHECK(t, spec_costs_ms(&c, n, 0) <= 3 * n * 1.001, "%d rows: %f", n, spec_costs_ms(&c, n, 0));
}

TEST(spec_costs_follow_a_machine_that_becomes_slower)
{
    struct spec_costs c;
    set_line(&c, 10);
    for (int i = 0; i < 40; i++)
        spec_costs_learn(&c, 4, 0, 28);    /* twice what it was */
    CHECK(t, near(spec_costs_ms(&c, 4, 0), 28));
    double others = spec_costs_ms(&c, 1, 0) / 11;
    CHECK(t, others > 1.7 && others < 2.05, "the other row counts too: %f", others);
    spec_costs_learn(&c, 4, 0, 28000);
    CHECK(t, spec_costs_ms(&c, 4, 0) < 1.2 * 28, "one disturbed pass is not believed");
}

TEST(spec_costs_learn_the_shape_from_passes_that_take_turns)
{
    struct spec_costs c;
    set_line(&c, 10);
    for (int i = 0; i < 200; i++) {    /* in truth eight rows cost three times as much as one */
        spec_costs_learn(&c, 1, 0, 11);
        spec_costs_learn(&c, 8, 0, 33);
    }
    double ratio = spec_costs_ms(&c, 8, 0) / spec_costs_ms(&c, 1, 0);
    CHECK(t, ratio > 2.85 && ratio < 3.15, "%f", ratio);
    CHECK(t, near(spec_costs_ms(&c, 24, 0) / spec_costs_ms(&c, 32, 0), 34.0 / 42));
}

TEST(spec_costs_have_a_curve_for_each_depth)
{
    struct spec_costs c;
    set_line(&c, 10);
    for (int i = 0; i < 200; i++) {
        spec_costs_learn(&c, 1, 50000, 11);
        spec_costs_learn(&c, 8, 50000, 33);
    }
    double deep = spec_costs_ms(&c, 8, 50000) / spec_costs_ms(&c, 1, 50000);
    double flat = spec_costs_ms(&c, 8, 10) / spec_costs_ms(&c, 1, 10);
    CHECK(t, deep > 2.85 && near(flat, 18.0 / 11), "%f %f", deep, flat);
}

/* ---- choice --------------------------------------------------------------------------------------- */

static struct spec_offer offer(double p, int32_t n)
{
    struct spec_offer o = { .n = n };
    double survive = 1;
    for (int32_t i = 0; i < n; i++)
        o.survive[i] = survive *= p;
    return o;
}

TEST(spec_choice_drafts_nothing_that_does_not_pay)
{
    struct spec_costs c;
    set_line(&c, 0);    /* each row costs as much as the first: nothing can be won */
    struct spec_offer o = offer(0.99, 20);
    CHECK(t, near(spec_costs_choose(&c, &o, 1, 1, 31, 0), 1));
    CHECK_INT(t, o.n_take, 0);
    set_line(&c, 1000);    /* rows are nearly free, guesses are nearly never right */
    o = offer(0.02, 20);
    CHECK(t, near(spec_costs_choose(&c, &o, 1, 1, 31, 0), 1));
    CHECK_INT(t, o.n_take, 0, "two in a hundred are less than the three asked for");
    o = offer(0.05, 20);
    spec_costs_choose(&c, &o, 1, 1, 31, 0);
    CHECK(t, o.n_take > 0);
}

TEST(spec_choice_is_the_shortest_of_the_best_lengths)
{
    for (int round = 0; round < 300; round++) {
        struct spec_costs c;
        double read = test_below(t, 30), p = 0.3 + 0.007 * test_below(t, 100);
        set_line(&c, read);
        struct spec_offer o = offer(p, 1 + (int32_t)test_below(t, SPEC_MAX_DRAFT));
        double best = 1, tokens = 1, gains[SPEC_MAX_DRAFT + 1] = { 1 };
        int32_t n_best = 0;
        for (int32_t k = 1; k <= o.n; k++) {
            tokens += o.survive[k - 1];
            gains[k] = tokens / (read + 1 + k) * (read + 1);
            best = gains[k] > best ? gains[k] : best;
        }
        for (int32_t k = o.n; k > 0; k--)
            n_best = gains[k] >= 1.03 && gains[k] >= 0.97 * best ? k : n_best;
        double got = spec_costs_choose(&c, &o, 1, 1, SPEC_MAX_DRAFT, 0);
        CHECK_INT(t, o.n_take, n_best, "%f of %d for %f", p, o.n, read);
        CHECK(t, near(got, gains[n_best]));
    }
}

TEST(spec_choice_gives_rows_to_the_likeliest)
{
    struct spec_costs c;
    set_line(&c, 12);
    struct spec_offer offers[3] = { offer(0.95, 20), offer(0, 0), offer(0.4, 20) };
    spec_costs_choose(&c, offers, 3, 3, SPEC_MAX_DRAFT, 0);
    CHECK(t, offers[0].n_take > 3 * offers[2].n_take && offers[0].n_take > 5, "%d %d", offers[0].n_take,
          offers[2].n_take);
    CHECK_INT(t, offers[1].n_take, 0);
    spec_costs_choose(&c, offers, 3, 3, 4, 0);
    CHECK_INT(t, offers[0].n_take + offers[2].n_take, 4, "no more than there is room for");
    CHECK_INT(t, offers[2].n_take, 0);
}
