/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "engine/engine.h"
#include "engine/spec/spec_index.h"

/* What speculation gives: each prompt of the texts answered without and with drafts, in turns, in one process, greedy.
 * For each text the tokens per second of both, their ratio (median of the rounds), the ratio that the cost of passes
 * predicts, and how many drafted tokens came true. Answers that are not the same to the token are an error. Beside
 * llama.cpp on the same prompts: tests/peer/spec.sh.
 *
 *     bench_spec [-r ROUNDS] [-n TOKENS] [-t THREADS] [--cpu TIER] [--kv TYPE] [--spec N] [--temp T] MODEL FOLDER [TEXT...]
 *     bench_spec --index MODEL FILE        time and memory of the index over a file's tokens */

enum { MAX_PROMPTS = 64, MAX_ROUNDS = 32, N_CTX = 8192, CACHE_MIB = 1024, INDEX_TOKENS = 32768 };

struct options {
    int32_t n_rounds, n_predict, n_threads, spec;
    const char *tier, *type, *temperature;
};

/* A text of the list, and its prompts. */
struct text {
    char name[32];
    char *prompts[MAX_PROMPTS];
    int32_t n_prompts;
    char *begun;        /* what the answer begins with; NULL: nothing */
};

struct total {
    double ms, saved_ms;
    int32_t n_tokens, n_passes, n_drafted, n_accepted;
};

static void fail(const char *what, const char *why)
{
    fprintf(stderr, "bench_spec: %s%s%s\n", what, why[0] ? ": " : "", why);
    exit(1);
}

static char *read_file(const char *folder, const char *name)
{
    struct buf path = { 0 }, text = { 0 };
    char piece[4096];
    size_t n;
    buf_printf(&path, "%s%s%s", folder, folder[0] ? "/" : "", name);
    FILE *f = fopen(buf_text(&path), "rb");
    if (!f)
        fail(buf_text(&path), "cannot be read");
    while ((n = fread(piece, 1, sizeof piece, f)) > 0)
        buf_add(&text, piece, n);
    fclose(f);
    buf_finish(&path);
    char *out = buf_take(&text);
    if (!out)
        fail(name, "no memory or no text");
    return out;
}

/* In place: \n is a line's end. */
static void unescape(char *text)
{
    char *to = text;
    for (const char *from = text; *from; from++)
        if (from[0] == '\\' && from[1] == 'n') {
            *to++ = '\n';
            from++;
        } else
            *to++ = *from;
    *to = '\0';
}

/* NAME FILE INSTRUCTION [|| BEGUN]: one prompt; NAME FILE: one prompt for each line. */
static void read_text(struct text *t, const char *folder, const char *line)
{
    char file[64] = "";
    int n = 0;
    *t = (struct text){ .n_prompts = 0 };
    if (sscanf(line, "%31s %63s %n", t->name, file, &n) < 2)
        fail(line, "NAME FILE [INSTRUCTION] wanted");
    char *content = read_file(folder, file);
    if (line[n]) {
        struct buf prompt = { 0 };
        const char *bar = strstr(line + n, " || ");
        if (bar && (t->begun = strdup(bar + 4)))
            unescape(t->begun);
        buf_printf(&prompt, "%.*s\n\n%s", bar ? (int)(bar - line - n) : (int)strlen(line + n), line + n, content);
        t->prompts[t->n_prompts++] = buf_take(&prompt);
    }
    for (char *save, *p = line[n] ? NULL : strtok_r(content, "\n", &save); p && t->n_prompts < MAX_PROMPTS;
         p = strtok_r(NULL, "\n", &save))
        t->prompts[t->n_prompts++] = strdup(p);
    free(content);
}

/* ---- one answer ----------------------------------------------------------------------------------- */

static void tokenize_chat(struct model *m, const char *text, const char *begun, struct token_list *out)
{
    struct chat_message message = { .role = "user", .content = text };
    struct chat_input in = { .messages = &message, .n_messages = 1, .add_generation_prompt = true,
                             .enable_thinking = -1 };
    struct chat_prompt prompt;
    struct err e;
    if (model_chat(m, &in, out, &prompt, &e) != ERR_OK)
        fail("prompt", e.text);
    if (!begun)
        return;
    struct text_part part = { begun, strlen(begun), false };
    struct token_list more = { 0 };
    if (model_tokenize(m, &part, 1, false, &more, &e) != ERR_OK)
        fail("prompt", e.text);
    int32_t *ids = realloc(out->ids, (size_t)(out->n + more.n) * sizeof *ids);
    if (!ids)
        fail("prompt", "no memory");
    memcpy(ids + out->n, more.ids, (size_t)more.n * sizeof *ids);
    *out = (struct token_list){ ids, out->n + more.n, out->n + more.n };
    token_list_finish(&more);
}

static void answer(struct session *s, const struct token_list *prompt, const struct generate_options *o,
                   struct token_list *ids, struct total *total)
{
    struct err e;
    ids->n = 0;
    if (session_generate(s, 0, prompt->ids, prompt->n, o, &e) != ERR_OK)
        fail("answer", e.text);
    while (session_busy(s)) {
        struct eng_event events[SESSION_EVENTS];
        int32_t n = 0;
        if (session_step(s, events, SESSION_EVENTS, &n, &e) != ERR_OK)
            fail("answer", e.text);
        for (int32_t i = 0; i < n; i++) {
            const struct eng_timings *t = &events[i].timings;
            if (events[i].kind == EVENT_TOKEN && events[i].token >= 0 && ids->n < ids->cap)
                ids->ids[ids->n++] = events[i].token;
            if (events[i].kind != EVENT_DONE)
                continue;
            total->ms += t->generate_ms;
            total->saved_ms += t->saved_ms;
            total->n_tokens += t->n_generated > 0 ? t->n_generated - 1 : 0;
            total->n_passes += t->n_passes;
            total->n_drafted += t->n_drafted;
            total->n_accepted += t->n_accepted;
        }
    }
}

/* ---- all of a text -------------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, int32_t n)
{
    qsort(values, (size_t)n, sizeof *values, by_value);
    return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

static double speed(const struct total *t)
{
    return t->ms > 0 ? t->n_tokens * 1e3 / t->ms : 0;
}

static void run_text(const struct options *o, struct model *m, struct session *s, const struct text *text)
{
    double off[MAX_ROUNDS], on[MAX_ROUNDS], ratio[MAX_ROUNDS], predicted[MAX_ROUNDS];
    struct total last = { 0 };
    struct generate_options go = { .n_predict = o->n_predict };
    struct token_list ids[2] = { { 0 } };
    struct err e;
    for (int32_t i = 0; i < 2; i++)
        if (!(ids[i].ids = calloc((size_t)o->n_predict, sizeof *ids[i].ids)))
            fail("answer", "no memory");
    ids[0].cap = ids[1].cap = o->n_predict;
    model_sampling(m, &go.sampling);
    if (sampler_params_set(&go.sampling, "temp", o->temperature, &e) != ERR_OK)
        fail("--temp", e.text);
    for (int32_t round = 0; round < o->n_rounds; round++) {
        struct total totals[2] = { { 0 } };
        for (int32_t i = 0; i < text->n_prompts; i++) {
            struct token_list prompt = { 0 };
            tokenize_chat(m, text->prompts[i], text->begun, &prompt);
            for (int32_t turn = 0; turn < 2; turn++) {
                int32_t with = (turn + round + i) % 2;
                go.spec = with ? o->spec : SPEC_OFF;
                answer(s, &prompt, &go, &ids[with], &totals[with]);
            }
            token_list_finish(&prompt);
            if (ids[0].n != ids[1].n || memcmp(ids[0].ids, ids[1].ids, (size_t)ids[0].n * sizeof *ids[0].ids) != 0)
                fail(text->name, "the answer with drafts is another than without");
        }
        last = totals[1];
        off[round] = speed(&totals[0]);
        on[round] = speed(&totals[1]);
        ratio[round] = off[round] > 0 ? on[round] / off[round] : 1;
        predicted[round] = last.ms > 0 ? (last.ms + last.saved_ms) / last.ms : 1;
    }
    double worst = ratio[0];
    for (int32_t i = 1; i < o->n_rounds; i++)
        worst = ratio[i] < worst ? ratio[i] : worst;
    printf("%-8s %7d %9.1f %9.1f %7.2f %7.2f %9.2f %8d %8d %6.1f\n", text->name, last.n_tokens, median(off, o->n_rounds),
           median(on, o->n_rounds), median(ratio, o->n_rounds), worst, median(predicted, o->n_rounds), last.n_drafted,
           last.n_accepted, last.n_passes > 0 ? (double)last.n_tokens / last.n_passes : 0);
    fflush(stdout);
    free(ids[0].ids);
    free(ids[1].ids);
}

static bool wanted(const char *name, char **names, int n_names)
{
    for (int i = 0; i < n_names; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return n_names == 0;
}

static void run_texts(const struct options *o, struct model *m, const char *folder, char **names, int n_names)
{
    struct session_options so = { .n_ctx = N_CTX, .kv_type_k = o->type, .kv_type_v = o->type, .keep_kv_type = true,
                                  .cache_ram_bytes = (uint64_t)CACHE_MIB << 20 };
    struct session *s = NULL;
    struct err e;
    if (session_create(&s, m, &so, &e) != ERR_OK || session_measure_passes(s, 2000, true, &e) != ERR_OK)
        fail("session", e.text);
    printf("%s %s, kv %s: a pass of 1 row %.2f ms; rows over one:", model_info(m)->name, model_info(m)->level, o->type,
           session_pass_ms(s, 1));
    for (int32_t n = 2; n <= SPEC_MOST + 1; n *= 2)
        printf(" %d %.2f", n, session_pass_ms(s, n) / session_pass_ms(s, 1));
    printf("\n%-8s %7s %9s %9s %7s %7s %9s %8s %8s %6s\n", "text", "tokens", "off tok/s", "on tok/s", "ratio", "worst",
           "predicted", "drafted", "right", "a pass");
    char *list = read_file(folder, "texts.txt");
    for (char *save, *line = strtok_r(list, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        struct text text;
        if (line[0] == '#')
            continue;
        read_text(&text, folder, line);
        if (wanted(text.name, names, n_names))
            run_text(o, m, s, &text);
        for (int32_t i = 0; i < text.n_prompts; i++)
            free(text.prompts[i]);
        free(text.begun);
    }
    free(list);
    session_destroy(s);
}

/* ---- index ---------------------------------------------------------------------------------------- */

static double now_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec * 1e9 + (double)ts.tv_nsec;
}

static void run_index(struct model *m, const char *path)
{
    char *text = read_file("", path);
    struct text_part part = { text, strlen(text), false };
    struct token_list tokens = { 0 };
    struct spec_index *x;
    struct spec_guess g[SPEC_MOST];
    struct err e;
    if (model_tokenize(m, &part, 1, false, &tokens, &e) != ERR_OK || spec_index_create(&x, INDEX_TOKENS, &e) != ERR_OK)
        fail(path, e.text);
    int32_t n = tokens.n < INDEX_TOKENS ? tokens.n : INDEX_TOKENS;
    double best[2] = { 1e300, 1e300 };
    for (int32_t round = 0; round < 5; round++)
        for (int32_t guess = 0; guess < 2; guess++) {
            spec_index_set(x, NULL, 0);
            double start = now_ns();
            for (int32_t i = 0; i < n; i++) {
                spec_index_push(x, tokens.ids[i]);
                if (guess)
                    spec_index_guess(x, g, SPEC_MOST);
            }
            double ns = (now_ns() - start) / n;
            best[guess] = ns < best[guess] ? ns : best[guess];
        }
    printf("%s: %d tokens, %.0f ns each, %.0f with %d guesses; %.1f bytes each\n", path, n, best[0], best[1], SPEC_MOST,
           (double)spec_index_bytes(x) / n);
    spec_index_destroy(x);
    token_list_finish(&tokens);
    free(text);
}

int main(int argc, char **argv)
{
    struct options o = { .n_rounds = 3, .n_predict = 256, .type = "f16", .temperature = "0" };
    bool index = argc > 1 && strcmp(argv[1], "--index") == 0;
    int i = 1 + index;
    for (; !index && i + 1 < argc && argv[i][0] == '-'; i += 2) {
        const char *value = argv[i + 1];
        if (strcmp(argv[i], "-r") == 0)
            o.n_rounds = atoi(value) < MAX_ROUNDS ? atoi(value) : MAX_ROUNDS;
        else if (strcmp(argv[i], "-n") == 0)
            o.n_predict = atoi(value);
        else if (strcmp(argv[i], "-t") == 0)
            o.n_threads = atoi(value);
        else if (strcmp(argv[i], "--cpu") == 0)
            o.tier = value;
        else if (strcmp(argv[i], "--kv") == 0)
            o.type = value;
        else if (strcmp(argv[i], "--spec") == 0)
            o.spec = atoi(value);
        else if (strcmp(argv[i], "--temp") == 0)
            o.temperature = value;
        else
            fail(argv[i], "no such option");
    }
    if (argc - i < 2 || o.n_rounds < 1 || o.n_predict < 2)
        fail("[options] MODEL FOLDER [TEXT...], or --index MODEL FILE, wanted", "");
    struct engine *eng = NULL;
    struct model *m = NULL;
    struct err e;
    struct engine_options eo = { .n_threads = o.n_threads, .cpu_tier = o.tier };
    if (engine_create(&eng, &eo, &e) != ERR_OK ||
        model_open(&m, eng, argv[i], index ? MODEL_VOCABULARY : MODEL_RUN, &e) != ERR_OK)
        fail(argv[i], e.text);
    if (index)
        run_index(m, argv[i + 1]);
    else
        run_texts(&o, m, argv[i + 1], argv + i + 2, argc - i - 2);
    model_close(m);
    engine_destroy(eng);
    return 0;
}
