/* SPDX-License-Identifier: MIT */
/* What was measured: kept, found, replaced, forgotten, and not believed when it is damaged. */
#include "app/level/figures.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/support/test.h"

static const char *path_of(struct test *t)
{
    static char path[512];
    static int n;
    snprintf(path, sizeof path, "%s/%d/quip/figures.json", test_folder(t), n++);
    return path;
}

static struct figures *figures_of(struct test *t, const char *path)
{
    struct figures *f = malloc(sizeof *f);
    CHECK(t, f);
    figures_read(f, path);
    return f;
}

static struct figures_file file_of(int number)
{
    struct figures_file file = { .n_bytes = 1000 + (uint64_t)number, .name = "tiny-Q8_0" };
    memset(file.content, number, sizeof file.content);
    return file;
}

static struct figures_speed speed_of(int number, const char *place)
{
    struct figures_speed s = { .file = file_of(number), .kv_types = "f16", .n_held = 64, .tokens_per_s = 40.5 + number,
                               .time_s = 1700000000 + number };
    snprintf(s.place, sizeof s.place, "%s", place);
    return s;
}

TEST(figures_are_kept_and_found_by_content_and_place)
{
    const char *path = path_of(t);
    struct figures_speed a = speed_of(1, "cpu, 2 threads"), b = speed_of(1, "gpu"), c = speed_of(2, "gpu");
    struct figures_quality q = { .file = file_of(1), .base_level = "F16", .kl = 0.0625, .kl_error = 0.001,
                                 .same_top = 0.75, .n_tokens = 512, .time_s = 1700000000 };
    struct figures_bandwidth w = { .place = "cpu, 2 threads", .bytes_per_s = 3.5e10, .time_s = 1 };
    memset(q.base, 7, sizeof q.base);
    c.file.name[0] = '\xff';    /* a name need not be text */
    CHECK(t, figures_add_speed(path, &a) && figures_add_speed(path, &b) && figures_add_speed(path, &c));
    CHECK(t, figures_add_quality(path, &q) && figures_add_bandwidth(path, &w));

    struct figures *f = figures_of(t, path);
    CHECK(t, !f->damaged && f->file_bytes > 0);
    CHECK_INT(t, f->n_speeds, 3);
    const struct figures_speed *s = figures_find_speed(f, a.file.content, a.file.n_bytes, "cpu, 2 threads", "f16");
    CHECK(t, s && s->tokens_per_s == 41.5 && s->n_held == 64 && s->time_s == a.time_s);
    CHECK_TEXT(t, s->file.name, "tiny-Q8_0");
    CHECK(t, !figures_find_speed(f, a.file.content, a.file.n_bytes, "cpu, 4 threads", "f16"));
    CHECK(t, !figures_find_speed(f, a.file.content, a.file.n_bytes, "gpu", "q8_0"));
    CHECK(t, !figures_find_speed(f, a.file.content, a.file.n_bytes + 1, "gpu", "f16"), "the file has grown");
    CHECK(t, figures_find_speed(f, c.file.content, c.file.n_bytes, "gpu", "f16"));
    const struct figures_quality *found = figures_find_quality(f, q.file.content, q.file.n_bytes, q.base);
    CHECK(t, found && found->kl == 0.0625 && found->same_top == 0.75 && found->n_tokens == 512);
    CHECK(t, !figures_find_quality(f, q.file.content, q.file.n_bytes, a.file.content), "another base");
    CHECK(t, figures_find_quality(f, q.file.content, q.file.n_bytes, NULL) == found);
    CHECK(t, figures_find_bandwidth(f, "cpu, 2 threads")->bytes_per_s == 3.5e10);
    free(f);
}

TEST(a_newer_figure_takes_the_place_of_the_older)
{
    const char *path = path_of(t);
    struct figures_speed s = speed_of(1, "cpu");
    CHECK(t, figures_add_speed(path, &s));
    s.tokens_per_s = 99;
    CHECK(t, figures_add_speed(path, &s));
    struct figures *f = figures_of(t, path);
    CHECK_INT(t, f->n_speeds, 1);
    CHECK(t, f->speeds[0].tokens_per_s == 99);
    free(f);
}

TEST(the_oldest_figures_make_room)
{
    const char *path = path_of(t);
    for (int i = 0; i < FIGURES_MAX + 3; i++) {
        struct figures_speed s = speed_of(i % 250, i < 250 ? "cpu" : "gpu");
        CHECK(t, figures_add_speed(path, &s));
    }
    struct figures *f = figures_of(t, path);
    CHECK_INT(t, f->n_speeds, FIGURES_MAX);
    CHECK_INT(t, f->speeds[0].file.content[0], 3);
    free(f);
}

TEST(figures_of_one_file_are_cleared_by_its_name)
{
    const char *path = path_of(t);
    struct figures_speed a = speed_of(1, "cpu"), b = speed_of(2, "cpu");
    struct err e;
    int32_t n;
    snprintf(b.file.name, sizeof b.file.name, "other");
    CHECK(t, figures_add_speed(path, &a) && figures_add_speed(path, &b));
    CHECK_INT(t, figures_clear(path, "nobody", &n, &e), ERR_OK);
    CHECK_INT(t, n, 0);
    CHECK_INT(t, figures_clear(path, "TINY-q8_0", &n, &e), ERR_OK);
    CHECK_INT(t, n, 1);
    struct figures *f = figures_of(t, path);
    CHECK_INT(t, f->n_speeds, 1);
    CHECK_TEXT(t, f->speeds[0].file.name, "other");
    CHECK_INT(t, figures_clear(path, NULL, &n, &e), ERR_OK);
    CHECK_INT(t, n, 1);
    CHECK(t, access(path, F_OK) != 0);
    CHECK_INT(t, figures_clear(path, NULL, &n, &e), ERR_OK);
    CHECK_INT(t, n, 0);
    figures_read(f, path);
    CHECK(t, f->file_bytes == 0 && !f->damaged);
    free(f);
}

#define FILE_OF "\"content\":\"01010101010101010101010101010101\",\"bytes\":9,\"file\":\"a\","

TEST(damaged_figures_are_left_out)
{
    static const struct {
        const char *text;
        bool damaged;
        int32_t n_speeds;
    } cases[] = {
        { "", true, 0 },
        { "{", true, 0 },
        { "[]", true, 0 },
        { "{}", true, 0 },
        { "{\"version\":2}", true, 0 },
        { "{\"version\":1}", false, 0 },
        { "{\"version\":1,\"speeds\":7,\"qualities\":{},\"bandwidths\":null}", false, 0 },
        { "{\"version\":1,\"speeds\":[1,[],{}]}", false, 0 },
        { "{\"version\":1,\"speeds\":[{" FILE_OF "\"place\":\"p\",\"kv\":\"f16\",\"held\":1,\"tokens_per_s\":2,\"time\":3}]}",
          false, 1 },
        { "{\"version\":1,\"speeds\":[{" FILE_OF "\"place\":\"p\",\"kv\":\"f16\",\"held\":1,\"tokens_per_s\":-2,\"time\":3}]}",
          false, 0 },
        { "{\"version\":1,\"speeds\":[{" FILE_OF "\"place\":\"p\",\"kv\":\"f16\",\"held\":1,\"tokens_per_s\":1e999,"
          "\"time\":3}]}", true, 0 },
        { "{\"version\":1,\"speeds\":[{" FILE_OF "\"place\":\"p\",\"kv\":\"f16 and a type that nobody ever heard of\","
          "\"held\":1,\"tokens_per_s\":2,\"time\":3}]}", false, 0 },
        { "{\"version\":1,\"speeds\":[{\"content\":\"0x01010101010101010101010101010101\",\"bytes\":9,\"file\":\"a\","
          "\"place\":\"p\",\"kv\":\"f16\",\"held\":1,\"tokens_per_s\":2,\"time\":3}]}", false, 0 },
        { "{\"version\":1,\"qualities\":[{" FILE_OF "\"base\":\"zz\",\"base_level\":\"F16\",\"kl\":1}],"
          "\"bandwidths\":[{\"place\":\"p\",\"bytes_per_s\":0,\"time\":1}]}", false, 0 },
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/damaged-%zu.json", test_folder(t), i);
        FILE *out = fopen(path, "w");
        CHECK(t, out && fputs(cases[i].text, out) >= 0 && fclose(out) == 0);
        struct figures *f = figures_of(t, path);
        CHECK_INT(t, f->damaged, cases[i].damaged, "%s", cases[i].text);
        CHECK_INT(t, f->n_speeds, cases[i].n_speeds, "%s", cases[i].text);
        CHECK_INT(t, f->n_qualities + f->n_bandwidths, 0, "%s", cases[i].text);
        struct figures_speed s = speed_of(9, "cpu");
        CHECK(t, figures_add_speed(path, &s));
        figures_read(f, path);
        CHECK_INT(t, f->n_speeds, cases[i].n_speeds + 1, "a new one after: %s", cases[i].text);
        CHECK(t, !f->damaged);
        free(f);
    }
}

TEST(without_a_place_nothing_is_kept)
{
    struct figures_speed s = speed_of(1, "cpu");
    struct figures *f = figures_of(t, "");
    CHECK(t, f->file_bytes == 0 && !f->damaged && f->n_speeds == 0);
    CHECK(t, !figures_add_speed("", &s));
    free(f);
}

TEST(places_name_what_computes)
{
    const struct engine_info info = { .cpu = "A CPU", .cpu_tier = "avx2", .n_threads = 3, .device = "A GPU",
                                      .device_driver = "D 1" };
    char place[FIGURES_TEXT_BYTES];
    figures_place(&info, 24, 0, place);
    CHECK_TEXT(t, place, "A CPU, avx2, 3 threads");
    figures_place(&info, 24, 24, place);
    CHECK_TEXT(t, place, "A GPU, D 1");
    figures_place(&info, 24, 20, place);
    CHECK_TEXT(t, place, "A GPU 20/24, A CPU, avx2, 3 threads");
}
