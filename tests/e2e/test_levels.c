/* SPDX-License-Identifier: MIT */
/* `quip levels` and `quip fit`, seen from outside, and the figures that `quip bench` leaves for them. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine/quant/quant.h"
#include "tests/support/home.h"
#include "tests/support/shell.h"

static void quip(struct test *t, const struct home *h, struct shell *s, const char *const *arguments)
{
    const char *argv[24] = { QUIP_BINARY };
    for (int i = 0; i < 22 && arguments[i]; i++)
        argv[i + 1] = arguments[i];
    shell_finish(s);
    struct shell_options o = { .settings = h->settings };
    shell_run(t, s, argv, &o);
}

#define QUIP(t, h, s, ...) quip((t), (h), (s), (const char *const[]){ __VA_ARGS__, NULL })

static void make(struct test *t, struct home *h)
{
    struct tiny_model m;
    home_make(t, h, "dumb");
    tiny_model_init(&m);
    home_add_model(t, h, "tiny-Q8_0", &m);
    m.weight_type = QUANT_F16;
    home_add_model(t, h, "tiny-F16", &m);
    m.seed = 2;
    home_add_model(t, h, "tune-F16", &m);
}

static const json_t *level(const json_t *all, const char *name)
{
    size_t i;
    const json_t *row;
    json_array_foreach(json_object_get(all, "levels"), i, row)
        if (strcmp(json_string_value(json_object_get(row, "level")), name) == 0)
            return row;
    return NULL;
}

static const char *text(const json_t *o, const char *key)
{
    const char *value = json_string_value(json_object_get(o, key));
    return value ? value : "";
}

static double number(const json_t *o, const char *key)
{
    return json_number_value(json_object_get(o, key));
}

static json_t *parse(struct test *t, const struct shell *s)
{
    json_t *all = json_loads(s->out, 0, NULL);
    CHECK_INT(t, s->code, 0, "%s", s->err);
    CHECK(t, all != NULL, "%s", s->out);
    return all;
}

TEST(levels_are_listed_with_what_they_take)
{
    struct home h;
    struct shell s = { 0 };
    make(t, &h);
    home_write(t, &h, "data/quip/models/tiny-Q2_K.gguf", "nothing of use");
    QUIP(t, &h, &s, "levels", "-m", "tiny-Q8_0", "--device", "cpu", "-c", "256", "-ctk", "q8_0", "-ctv", "f16");
    CHECK_INT(t, s.code, 0, "%s", s.err);
    CHECK(t, strstr(s.out, " at a context of 256 tokens, keys q8_0, values f16, on "), "%s", s.out);
    CHECK(t, strstr(s.out, "\n* Q8_0 ") && strstr(s.out, "\n  F16 ") && strstr(s.out, "  best  tiny-F16.gguf\n"), "%s", s.out);
    CHECK(t, strstr(s.out, "make from F16\n") && !strstr(s.out, "tune"), "%s", s.out);
    CHECK(t, strstr(s.out, "tiny-Q2_K.gguf: "), "%s", s.out);

    QUIP(t, &h, &s, "levels", "-m", "tiny-Q8_0", "--device", "cpu", "--json");
    json_t *all = parse(t, &s);
    const json_t *q8 = level(all, "Q8_0"), *f16 = level(all, "F16"), *q4 = level(all, "Q4_K_M");
    CHECK(t, q8 && f16 && q4);
    CHECK_TEXT(t, text(q8, "state"), "here");
    CHECK_TEXT(t, text(q4, "state"), "make");
    CHECK_TEXT(t, text(q4, "made_from"), text(f16, "path"));
    CHECK(t, json_is_true(json_object_get(q8, "given")) && json_is_true(json_object_get(f16, "best")));
    CHECK(t, number(q4, "file_bytes") > 0 && number(q4, "file_bytes") < number(q8, "file_bytes"));
    const json_t *memory = json_object_get(q8, "memory"), *host = json_object_get(memory, "processor");
    CHECK(t, json_is_true(json_object_get(memory, "fits")));
    CHECK(t, number(memory, "needed") == number(host, "weights") + number(host, "cache") + number(host, "scratch") +
          number(host, "lookups") + number(host, "vocabulary") + number(host, "program"), "%s", s.out);
    CHECK(t, number(json_object_get(q8, "speed"), "tokens_per_s") > 0);
    CHECK(t, json_is_false(json_object_get(json_object_get(q8, "speed"), "measured")));
    CHECK(t, json_is_false(json_object_get(json_object_get(q8, "quality"), "measured")));
    CHECK(t, json_is_null(json_object_get(f16, "quality")));
    json_decref(all);
    shell_finish(&s);
}

TEST(a_level_is_the_size_that_was_told_beforehand)
{
    struct home h;
    struct shell s = { 0 };
    make(t, &h);
    QUIP(t, &h, &s, "levels", "-m", "tiny-F16", "--device", "cpu", "--json");
    json_t *all = parse(t, &s);
    double told = number(level(all, "Q4_0"), "file_bytes");
    char path[HOME_PATH_BYTES];
    snprintf(path, sizeof path, "%s", text(level(all, "Q4_0"), "path"));
    json_decref(all);
    QUIP(t, &h, &s, "quantize", "tiny-F16", path, "Q4_0");
    CHECK_INT(t, s.code, 0, "%s", s.err);
    QUIP(t, &h, &s, "levels", "-m", "tiny-F16", "--device", "cpu", "--json");
    all = parse(t, &s);
    CHECK_TEXT(t, text(level(all, "Q4_0"), "state"), "here");
    CHECK_INT(t, (int64_t)number(level(all, "Q4_0"), "file_bytes"), (int64_t)told);
    json_decref(all);
    shell_finish(&s);
}

TEST(a_measured_speed_is_shown_until_the_cache_is_cleared)
{
    struct home h;
    struct shell s = { 0 };
    make(t, &h);
    QUIP(t, &h, &s, "bench", "-m", "tiny-Q8_0", "--device", "cpu", "-t", "1", "-p", "0", "-n", "16", "-r", "1", "-o", "json");
    json_t *all = parse(t, &s);
    double measured = number(json_array_get(all, 0), "avg_ts");
    json_decref(all);
    QUIP(t, &h, &s, "levels", "-m", "tiny-Q8_0", "--device", "cpu", "-t", "1", "-ctk", "f16", "-ctv", "f16", "--json");
    all = parse(t, &s);
    const json_t *speed = json_object_get(level(all, "Q8_0"), "speed");
    CHECK(t, json_is_true(json_object_get(speed, "measured")), "%s", s.out);
    CHECK(t, fabs(number(speed, "tokens_per_s") / measured - 1) < 1e-4, "%s", s.out);
    CHECK(t, json_is_false(json_object_get(json_object_get(level(all, "F16"), "speed"), "measured")));
    json_decref(all);
    QUIP(t, &h, &s, "levels", "-m", "tiny-Q8_0", "--device", "cpu", "-t", "1", "-d", "4000");
    CHECK(t, s.code == 0 && strstr(s.out, "would measure them after 4000 tokens"), "%s%s", s.out, s.err);

    QUIP(t, &h, &s, "cache");
    CHECK(t, strstr(s.out, "\n1 speed of models, 0 of their quality, 1 of memory, as measured, in "), "%s", s.out);
    const char *row = strstr(s.out, " tok/s after 8 tokens, f16, ");
    CHECK(t, row && strstr(row, "  tiny-Q8_0\n") && strstr(row, " GB/s of memory, "), "%s", s.out);
    QUIP(t, &h, &s, "cache", "clear", "-m", "TINY-q8_0");
    CHECK(t, s.code == 0 && strstr(s.out, ", 1 figure\n"), "%s%s", s.out, s.err);
    QUIP(t, &h, &s, "cache", "--json");
    all = parse(t, &s);
    CHECK_INT(t, (int64_t)number(json_object_get(all, "figures"), "speeds"), 0);
    CHECK_INT(t, (int64_t)number(json_object_get(all, "figures"), "memory"), 1);
    json_decref(all);
    QUIP(t, &h, &s, "cache", "clear");
    CHECK_INT(t, s.code, 0, "%s", s.err);
    char path[HOME_PATH_BYTES];
    home_path(&h, "cache/quip/figures.json", path);
    CHECK(t, access(path, F_OK) != 0);
    shell_finish(&s);
}

TEST(fit_tells_the_parts_and_what_would_fit)
{
    struct home h;
    struct shell s = { 0 };
    make(t, &h);
    QUIP(t, &h, &s, "fit", "-m", "tiny-F16", "--device", "cpu", "-c", "256");
    CHECK_INT(t, s.code, 0, "%s", s.err);
    CHECK(t, strstr(s.out, "\n  weights ") && strstr(s.out, "\n  cache ") && strstr(s.out, "\n  together "), "%s", s.out);
    CHECK(t, strstr(s.out, "\nFits: "), "%s", s.out);

    QUIP(t, &h, &s, "fit", "-m", "tiny-F16", "--device", "cpu", "-c", "4194304", "--json");
    json_t *all = parse(t, &s);
    CHECK_INT(t, (int64_t)number(all, "context"), 4194304);
    CHECK(t, json_is_boolean(json_object_get(all, "fits")) && json_is_array(json_object_get(all, "would_fit")));
    CHECK_INT(t, (int64_t)number(all, "longest_context"), 512);
    json_decref(all);

    QUIP(t, &h, &s, "fit", "-m", "tiny-F16", "-c", "16777216");
    CHECK_INT(t, s.code, 2, "%s", s.err);
    QUIP(t, &h, &s, "fit", "-m", "nothing");
    CHECK_INT(t, s.code, 3, "%s", s.err);
    QUIP(t, &h, &s, "levels", "-m", "tiny-F16", "-ctk", "f32", "-ctv", "f16");
    CHECK(t, s.code == 2 && strstr(s.err, "f32 goes with f32 alone"), "%d %s", s.code, s.err);
    shell_finish(&s);
}
