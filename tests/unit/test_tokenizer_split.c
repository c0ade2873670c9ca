/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>

#include "engine/tokenizer/tokenizer_split.h"
#include "tests/support/test.h"

/* What the regular expressions of the original tokenizers do (tests/peer/split_golden.py), rule by
 * rule: lines of a text in hexadecimal and the lengths of its pieces. */
static const char golden[] = "tests/data/tokenizer/split.txt";

static size_t read_hex(const char **at, char *out, size_t cap)
{
    size_t n = 0;
    unsigned byte;
    while (n < cap && sscanf(*at, "%2x", &byte) == 1 && **at != ' ') {
        out[n++] = (char)byte;
        *at += 2;
    }
    return n;
}

static void check_line(struct test *t, const struct tokenizer_rule *rule, const char *line, int number)
{
    char text[1024];
    size_t n_bytes = read_hex(&line, text, sizeof text), begin, end;
    struct tokenizer_split split;
    tokenizer_split_init(&split, rule, text, 0, n_bytes);
    for (size_t at = 0; tokenizer_split_next(&split, &begin, &end); at = end) {
        char *after;
        long want = strtol(line, &after, 10);
        CHECK_INT(t, begin, at, "%s, line %d", rule->name, number);
        CHECK_INT(t, end - begin, want, "%s, line %d, at byte %zu of '%.*s'", rule->name, number, begin,
                  (int)n_bytes, text);
        line = after;
    }
    CHECK(t, *line == '\n' || *line == 0, "%s, line %d: fewer pieces", rule->name, number);
}

TEST(tokenizer_split_cuts_as_the_regular_expressions_do)
{
    char *file = test_read_file(golden, NULL);
    CHECK(t, file, "%s", golden);
    const struct tokenizer_rule *rule = NULL;
    int number = 0, n_rules = 0;
    for (char *line = file; line && *line; number++) {
        char *next = strchr(line, '\n');
        char name[64];
        if (sscanf(line, "rule %63s", name) == 1) {
            rule = tokenizer_rule_find(name, strlen(name));
            CHECK(t, rule, "no rule '%s'", name);
            n_rules++;
        } else if (*line != '#') {
            check_line(t, rule, line, number + 1);
        }
        line = next ? next + 1 : NULL;
    }
    CHECK(t, n_rules >= 19, "%d rules", n_rules);
    free(file);
}

TEST(tokenizer_split_does_not_know_every_name)
{
    CHECK(t, !tokenizer_rule_find("kimi-k2", 7));
    CHECK(t, !tokenizer_rule_find("gpt-2x", 6));
    CHECK(t, tokenizer_rule_find("gpt-2x", 5), "the length counts, not a NUL");
    CHECK(t, !tokenizer_rule_find("", 0));
}

/* Every character is looked at a few times at most: half a megabyte would take minutes otherwise. */
TEST(tokenizer_split_is_linear_on_long_runs)
{
    static const char *const names[] = {
        "gpt-2", "default", "llama-bpe", "qwen35", "gpt-4o", "tiny_aya", "falcon", "gemma4", "afmoe",
        "deepseek-llm", "deepseek-coder", "deepseek-v3", "superbpe", "smollm",
    };
    static const char *const units[] = { " ", "\n", "a", "A", "1", "!", "\x01", "\xE4\xBD\xA0", "a1 ", "\xFF" };
    enum { N_BYTES = 1 << 19 };
    char *text = malloc(N_BYTES + 4);
    CHECK(t, text);
    for (size_t u = 0; u < sizeof units / sizeof *units; u++) {
        size_t n = 0;
        while (n < N_BYTES)
            text[n] = units[u][n % strlen(units[u])], n++;
        for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
            const struct tokenizer_rule *rule = tokenizer_rule_find(names[i], strlen(names[i]));
            struct tokenizer_split split;
            size_t begin, end, at = 0;
            tokenizer_split_init(&split, rule, text, 0, n);
            while (tokenizer_split_next(&split, &begin, &end)) {
                if (begin != at || end <= begin)
                    CHECK(t, false, "%s: piece %zu..%zu after %zu", names[i], begin, end, at);
                at = end;
            }
            CHECK_INT(t, at, n, "%s", names[i]);
        }
    }
    free(text);
}
