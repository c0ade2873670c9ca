/* SPDX-License-Identifier: MIT */
#include "tests/support/test.h"

#include <stdlib.h>

#include "engine/base/arena.h"
#include "engine/base/buf.h"
#include "engine/base/err.h"
#include "engine/base/map.h"
#include "engine/base/size.h"
#include "engine/base/utf8.h"

TEST(utf8_round_trips_every_code_point)
{
    for (uint32_t c = 0; c <= 0x10FFFF; c++) {
        if (c >= 0xD800 && c <= 0xDFFF)
            continue;
        char bytes[4];
        uint32_t back;
        int n = utf8_encode(bytes, c);
        CHECK_INT(t, utf8_decode(bytes, (size_t)n, &back), n, "U+%04X", c);
        CHECK_INT(t, back, c);
        for (int cut = 1; cut < n; cut++)
            CHECK_INT(t, utf8_incomplete_tail(bytes, (size_t)cut), cut, "U+%04X cut at %d", c, cut);
        CHECK_INT(t, utf8_incomplete_tail(bytes, (size_t)n), 0);
    }
}

TEST(utf8_refuses_what_is_malformed)
{
    static const char *const bad[] = { "\x80", "\xC0\x80", "\xC1\xBF", "\xE0\x80\x80", "\xED\xA0\x80",
                                       "\xF0\x80\x80\x80", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFF", "\xE2\x82" };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        uint32_t c;
        CHECK_INT(t, utf8_decode(bad[i], strlen(bad[i]), &c), 1, "case %zu", i);
        CHECK_INT(t, c, UTF8_REPLACEMENT);
        CHECK(t, !utf8_valid(bad[i], strlen(bad[i])), "case %zu", i);
    }
    CHECK(t, utf8_valid("a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80", 10));
}

TEST(buf_fails_once_and_stays_failed)
{
    struct buf b = { .max_bytes = 5 };
    CHECK(t, buf_add_text(&b, "abc"));
    CHECK(t, !buf_add_text(&b, "def"));
    CHECK(t, !buf_add_text(&b, "d"));
    CHECK(t, !buf_ok(&b));
    CHECK_TEXT(t, buf_text(&b), "abc");
    CHECK(t, buf_take(&b) == NULL);
    CHECK(t, buf_printf(&b, "%d %s", 7, "x"));
    char *text = buf_take(&b);
    CHECK_TEXT(t, text, "7 x");
    free(text);
}

TEST(size_arithmetic_notices_overflow)
{
    uint64_t out;
    CHECK(t, !size_mul(1ull << 32, 1ull << 32, &out));
    CHECK(t, !size_add(UINT64_MAX, 1, &out));
    CHECK(t, !size_round_up(UINT64_MAX - 3, 32, &out));
    CHECK(t, size_round_up(33, 32, &out) && out == 64);
}

TEST(arena_gives_aligned_zeroed_memory)
{
    struct arena a = { .max_bytes = 1 << 20 };
    for (size_t n = 1; n < 2000; n += 37) {
        unsigned char *p = arena_alloc(&a, n, 3);
        CHECK(t, p && (uintptr_t)p % 64 == 0);
        for (size_t i = 0; i < n * 3; i++)
            CHECK(t, p[i] == 0);
        memset(p, 0xAA, n * 3);
    }
    CHECK(t, arena_alloc(&a, SIZE_MAX / 2, 4) == NULL);
    CHECK(t, arena_alloc(&a, 1 << 20, 1) == NULL, "the limit binds");
    arena_finish(&a);
}

TEST(errors_are_cut_at_a_character)
{
    struct err e;
    char text[2 * ERR_TEXT_BYTES];
    for (size_t i = 0; i + 1 < sizeof text; i++)
        text[i] = "\xE2\x82\xAC"[i % 3];
    text[sizeof text - 1] = '\0';
    for (int shift = 0; shift < 3; shift++) {
        err_set(&e, ERR_IO, "%.*s%s", shift, "xx", text);
        CHECK(t, utf8_valid(e.text, strlen(e.text)), "shift %d", shift);
    }
    err_set(&e, ERR_IO, "inner");
    err_prefix(&e, "outer %d", 1);
    CHECK_TEXT(t, e.text, "outer 1: inner");
}

TEST(map_names_the_file_it_cannot_open)
{
    struct map m;
    struct err e;
    CHECK_INT(t, map_open(&m, "no/such/file", &e), ERR_IO);
    CHECK(t, strstr(e.text, "no/such/file") != NULL);
    map_close(&m);
    CHECK_INT(t, map_open(&m, "tests", &e), ERR_FORMAT);
    CHECK_INT(t, map_open(&m, "LICENSE", &e), ERR_OK);
    CHECK(t, memcmp(m.bytes, "MIT", 3) == 0);
    CHECK_INT(t, map_changed(&m, &e), ERR_OK);
    map_close(&m);
}
