/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine.h"

/* Time to the first token of two chats in one session, both behind the system prompt in a file: the second
 * finds it in memory, after the first was closed. Rows as tests/peer/kv_first_token.sh prints them.
 *
 *     bench_first_token MODEL SYSTEM_FILE TYPE [TIER] */
enum { ANSWER_TOKENS = 16, CACHE_MIB = 1024 };

static void fail(const char *text)
{
    fprintf(stderr, "bench_first_token: %s\n", text);
    exit(1);
}

static char *read_text(const char *path)
{
    struct buf text = { 0 };
    char piece[4096];
    size_t n;
    FILE *f = fopen(path, "rb");
    if (!f)
        fail("the system prompt cannot be read");
    while ((n = fread(piece, 1, sizeof piece, f)) > 0)
        buf_add(&text, piece, n);
    fclose(f);
    char *out = buf_take(&text);
    if (!out)
        fail("no memory for the system prompt");
    return out;
}

static void chat(struct model *m, struct session *s, const char *name, const char *system, const char *question)
{
    struct err e;
    struct token_list tokens = { 0 };
    struct chat_message messages[] = { { .role = "system", .content = system },
                                       { .role = "user", .content = question } };
    struct chat_input in = { .messages = messages, .n_messages = 2, .add_generation_prompt = true,
                             .enable_thinking = -1 };
    struct chat_prompt prompt;
    struct generate_options o = { .n_predict = ANSWER_TOKENS };
    model_sampling(m, &o.sampling);
    if (model_chat(m, &in, &tokens, &prompt, &e) != ERR_OK)
        fail(e.text);
    o.n_shared = prompt.n_shared;
    if (session_generate(s, 0, tokens.ids, tokens.n, &o, &e) != ERR_OK)
        fail(e.text);
    struct eng_event end = { 0 };
    while (session_busy(s)) {
        struct eng_event events[16];
        int32_t n = 0;
        if (session_step(s, events, 16, &n, &e) != ERR_OK)
            fail(e.text);
        for (int32_t i = 0; i < n; i++)
            if (events[i].kind == EVENT_DONE)
                end = events[i];
    }
    struct session_stats stats;
    session_stats(s, &stats);
    printf("%-14s %-5s %10.1f %7d %7d %7d\n", name, stats.kv_type_k, end.timings.first_ms, end.timings.n_prompt,
           end.timings.n_reused, end.timings.n_loaded);
    fflush(stdout);
    session_close_chat(s, 0);
    token_list_finish(&tokens);
}

int main(int argc, char **argv)
{
    struct engine *eng = NULL;
    struct model *m = NULL;
    struct session *s = NULL;
    struct err e;
    if (argc < 4)
        fail("MODEL SYSTEM_FILE TYPE [TIER] wanted");
    struct engine_options eo = { .cpu_tier = argc > 4 ? argv[4] : NULL };
    struct session_options so = { .kv_type_k = argv[3], .kv_type_v = argv[3],
                                  .cache_ram_bytes = (uint64_t)CACHE_MIB << 20 };
    char *system = read_text(argv[2]);
    if (engine_create(&eng, &eo, &e) != ERR_OK || model_open(&m, eng, argv[1], MODEL_RUN, &e) != ERR_OK ||
        session_create(&s, m, &so, &e) != ERR_OK)
        fail(e.text);
    chat(m, s, "first chat", system, "What is this text about?");
    chat(m, s, "second chat", system, "Name one thing that the text says.");
    session_destroy(s);
    model_close(m);
    engine_destroy(eng);
    free(system);
    return 0;
}
