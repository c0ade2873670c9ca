/* SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <stdio.h>

#include "tests/support/test.h"
#include "tests/support/vocab_from_gguf.h"

/* A vocabulary, texts separated by a line of their own, and the ids of each text on one line, without
 * BOS; a last empty text has no line. */
static const char separator[] = "\n__ggml_vocab_test__\n";

/* Reads the numbers of one line; returns how many, and moves *line behind it. */
static size_t read_line(const char **line, int32_t *ids, size_t cap)
{
    const char *at = *line;
    size_t n = 0;
    while (*at && *at != '\n') {
        char *after;
        long id = strtol(at, &after, 10);
        if (after == at)
            break;
        if (n < cap)
            ids[n++] = (int32_t)id;
        at = after;
    }
    while (*at && *at++ != '\n') {
    }
    *line = at;
    return n;
}

static void check_text(struct test *t, const struct tokenizer *tokenizer, int number, const char *text,
                       size_t n_bytes, const int32_t *want, size_t n_want)
{
    struct tokenizer_ids got = { 0 };
    struct err e;
    CHECK(t, tokenizer_encode(tokenizer, text, n_bytes, 0, &got, &e) == ERR_OK, "%s", e.text);
    for (size_t i = 0; i < got.n && i < n_want; i++)
        CHECK_INT(t, got.ids[i], want[i], "text %d '%.*s', id %zu", number, (int)n_bytes, text, i);
    CHECK_INT(t, got.n, n_want, "text %d '%.*s'", number, (int)n_bytes, text);
    tokenizer_ids_finish(&got);
}

/* All texts of one vocabulary; returns how many. */
static int check_vocabulary(struct test *t, const char *base)
{
    enum { MAX_IDS = 4096 };
    static int32_t want[MAX_IDS];
    char path[512];
    struct vocab_file f;
    struct err e;
    snprintf(path, sizeof path, "%s.gguf", base);
    CHECK(t, vocab_open(&f, path, &e) == ERR_OK, "%s", e.text);
    snprintf(path, sizeof path, "%s.inp", base);
    char *texts = test_read_file(path, NULL);
    snprintf(path, sizeof path, "%s.out", base);
    char *lines = test_read_file(path, NULL);
    CHECK(t, texts && lines, "%s", path);

    const char *line = lines;
    int number = 0;
    for (const char *text = texts; text && *line; number++) {
        const char *end = strstr(text, separator);
        size_t n_bytes = end ? (size_t)(end - text) : strlen(text);
        size_t n_want = read_line(&line, want, MAX_IDS);
        check_text(t, f.tokenizer, number, text, n_bytes, want, n_want);
        text = end ? end + sizeof separator - 1 : NULL;
    }
    free(texts);
    free(lines);
    vocab_close(&f);
    return number;
}

static void check_shared(struct test *t, const char *name)
{
    char below[128], base[512];
    snprintf(below, sizeof below, "vectors/tokenizer/%s.gguf", name);
    const char *path = test_shared(below);
    if (!path)
        SKIP(t, "no ../shared/%s", below);
    snprintf(base, sizeof base, "%.*s", (int)(strlen(path) - strlen(".gguf")), path);
    CHECK(t, check_vocabulary(t, base) >= 45, "%s: too few texts", name);
}

TEST(tokenizer_gpt_2_gives_the_ids_of_the_file) { check_shared(t, "gpt-2"); }
TEST(tokenizer_starcoder_gives_the_ids_of_the_file) { check_shared(t, "starcoder"); }
TEST(tokenizer_deepseek_llm_gives_the_ids_of_the_file) { check_shared(t, "deepseek-llm"); }
TEST(tokenizer_llama_spm_gives_the_ids_of_the_file) { check_shared(t, "llama-spm"); }
TEST(tokenizer_phi_3_gives_the_ids_of_the_file) { check_shared(t, "phi-3"); }
