/* SPDX-License-Identifier: MIT */
/* quip bench: the two speeds a person feels, measured as llama-bench does. A prompt test reads N random
 * tokens, an answer test makes N tokens one at a time; both go on from a cache that holds as many tokens as
 * -d says, which are not timed and are read once for all tests at that depth. One run before the first timed
 * one warms caches and pages up. Speeds are means over the repetitions with their deviation.
 *
 * With --memory it tells what the cache really takes: the process's resident bytes at each depth, less those
 * at 64 tokens, beside what the cache was computed to need. The tokens read are the same 64 again and again,
 * 64 at a time, so that weights and scratch are resident before the first look.
 *
 * With --passes it tells what a pass over the model takes by its number of rows: what decides how many tokens are
 * drafted for it to check.
 *
 * How fast answers came is remembered with the file, for `quip levels` (figures.h). */
#include "app/cmd/cmd.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "app/level/figures.h"

enum { BENCH_BATCH = 256, BENCH_REPEAT_MAX = 1000, BENCH_MEMORY_BATCH = 64, BENCH_PASSES_MS = 4000 };
enum { BENCH_KEPT_GEN = 16, BENCH_KEPT_DEPTH = 1024 };    /* tokens that make a speed worth keeping; depth at most */

struct bench_test {
    int32_t n_depth;
    int32_t n_prompt, n_gen;    /* one of them is 0 */
    int32_t n_samples;
    double ns[BENCH_REPEAT_MAX];
    uint64_t kv_bytes;          /* pages in use when the test is over */
    char started[32];
};

/* A session and what is measured in it. */
struct bench {
    const struct config *config;
    const struct paths *paths;
    struct cmd_model cm;
    const struct model_info *info;
    struct engine_info eng;
    struct session *s;
    struct session_stats stats;
    float *logits;
    int32_t *depth;     /* what stands before the tests, as long as the deepest wants */
    int32_t n_filled;   /* of these, how many the cache holds at least, tests following */
    uint64_t random;
    json_t *results;    /* NULL: rows are printed */
};

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static uint32_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*state >> 33);
}

static void mean_and_deviation(const double *values, int32_t n, double *mean, double *deviation)
{
    double sum = 0, squares = 0;
    for (int32_t i = 0; i < n; i++)
        sum += values[i];
    *mean = sum / n;
    for (int32_t i = 0; i < n; i++)
        squares += (values[i] - *mean) * (values[i] - *mean);
    *deviation = n > 1 ? sqrt(squares / (n - 1)) : 0;
}

static int32_t random_token(struct bench *b)
{
    return (int32_t)(next_random(&b->random) % (uint32_t)b->info->n_vocab);
}

/* The cache holds the first n_depth tokens of the depth and nothing else afterwards. What a truncation could
 * not keep is read again. */
static enum err_code fill(struct bench *b, int32_t n_depth, struct err *e)
{
    int32_t held = session_truncate(b->s, 0, b->n_filled < n_depth ? b->n_filled : n_depth);
    enum err_code rc = ERR_OK;
    while (rc == ERR_OK && held < n_depth) {
        int32_t n = n_depth - held < BENCH_BATCH ? n_depth - held : BENCH_BATCH;
        rc = session_eval(b->s, 0, b->depth + held, n, NULL, 0, e);
        held += n;
    }
    b->n_filled = rc == ERR_OK ? n_depth : 0;
    return rc;
}

static enum err_code run_once(struct bench *b, const struct bench_test *t, struct err *e)
{
    int32_t ids[BENCH_BATCH];
    int32_t n_total = t->n_prompt + t->n_gen, n_step = t->n_gen ? 1 : BENCH_BATCH;
    enum err_code rc = ERR_OK;
    for (int32_t done = 0; rc == ERR_OK && done < n_total; done += n_step) {
        int32_t n = n_total - done < n_step ? n_total - done : n_step;
        for (int32_t i = 0; i < n; i++)
            ids[i] = random_token(b);
        int32_t n_logits = t->n_gen || done + n == n_total;
        rc = session_eval(b->s, 0, ids, n, b->logits, n_logits, e);
    }
    return rc;
}

static enum err_code run_test(struct bench *b, struct bench_test *t, struct err *e)
{
    time_t start = time(NULL);
    struct tm tm;
    gmtime_r(&start, &tm);
    strftime(t->started, sizeof t->started, "%Y-%m-%dT%H:%M:%SZ", &tm);

    enum err_code rc = ERR_OK;
    for (int32_t i = b->config->no_warmup ? 0 : -1; rc == ERR_OK && i < b->config->bench_repeat; i++) {
        rc = fill(b, t->n_depth, e);
        double before = now_ns();
        if (rc == ERR_OK)
            rc = run_once(b, t, e);
        if (i >= 0)
            t->ns[t->n_samples++] = now_ns() - before;
    }
    session_stats(b->s, &b->stats);
    t->kv_bytes = b->stats.kv_bytes;
    return rc;
}

/* "qwen2 1.54B Q4_K_M" */
static void describe(const struct model_info *info, char *out, size_t n_bytes)
{
    double n = (double)info->n_params;
    snprintf(out, n_bytes, n >= 1e9 ? "%s %.2fB %s" : "%s %.0fM %s", info->architecture,
             n >= 1e9 ? n / 1e9 : n / 1e6, info->level);
}

/* As llama-bench calls it. */
static const char *backend_name(const struct bench *b)
{
    return b->info->n_device_layers > 0 ? "Vulkan" : "CPU";
}

static void print_heading(void)
{
    printf("| %-28s | %10s | %8s | %-7s | %7s | %-9s | %8s | %14s | %18s |\n", "model", "size", "params",
           "backend", "threads", "kv", "kv MiB", "test", "t/s");
    printf("| %s | %s: | %s: | %s | %s: | %s | %s: | %s: | %s: |\n", "----------------------------", "---------",
           "-------", "-------", "------", "---------", "-------", "-------------", "-----------------");
}

static void speeds(const struct bench_test *t, double *out)
{
    for (int32_t i = 0; i < t->n_samples; i++)
        out[i] = (t->n_prompt + t->n_gen) * 1e9 / t->ns[i];
}

static void print_row(const struct bench *b, const struct bench_test *t)
{
    char model[96], size[32], params[32], test[48], speed[48], types[24], backend[32];
    int32_t n_layers = b->info->n_layers, n_device = b->info->n_device_layers;
    double ts[BENCH_REPEAT_MAX], mean, deviation, n = (double)b->info->n_params;
    speeds(t, ts);
    mean_and_deviation(ts, t->n_samples, &mean, &deviation);
    describe(b->info, model, sizeof model);
    figures_kv_types(b->stats.kv_type_k, b->stats.kv_type_v, types);
    snprintf(size, sizeof size, "%.2f MiB", (double)b->info->tensor_bytes / 1048576);
    snprintf(params, sizeof params, n >= 1e9 ? "%.2f B" : "%.2f M", n >= 1e9 ? n / 1e9 : n / 1e6);
    int used = snprintf(test, sizeof test, t->n_gen ? "tg%d" : "pp%d", t->n_prompt + t->n_gen);
    if (t->n_depth > 0)
        snprintf(test + used, sizeof test - (size_t)used, " @ d%d", t->n_depth);
    if (n_device > 0 && n_device < n_layers)
        snprintf(backend, sizeof backend, "%s %d/%d", backend_name(b), n_device, n_layers);
    else
        snprintf(backend, sizeof backend, "%s", n_device > 0 ? backend_name(b) : b->eng.cpu_tier);
    snprintf(speed, sizeof speed, "%.2f +/- %.2f", mean, deviation);
    printf("| %-28s | %10s | %8s | %-7s | %7d | %-9s | %8.2f | %14s | %18s |\n", model, size, params,
           backend, b->eng.n_threads, types,
           (double)t->kv_bytes / 1048576, test, speed);
    fflush(stdout);
}

static json_t *to_json(const struct bench *b, const struct bench_test *t)
{
    char model[96];
    double ts[BENCH_REPEAT_MAX], mean_ns, deviation_ns, mean_ts, deviation_ts;
    speeds(t, ts);
    mean_and_deviation(t->ns, t->n_samples, &mean_ns, &deviation_ns);
    mean_and_deviation(ts, t->n_samples, &mean_ts, &deviation_ts);
    describe(b->info, model, sizeof model);
    json_t *samples_ns = json_array(), *samples_ts = json_array();
    for (int32_t i = 0; i < t->n_samples; i++) {
        json_array_append_new(samples_ns, json_integer((json_int_t)t->ns[i]));
        json_array_append_new(samples_ts, json_real(ts[i]));
    }
    int32_t n_device = b->info->n_device_layers;    /* llama-bench counts the head as one more */
    json_t *device = cmd_json_text(b->eng.device, strlen(b->eng.device));
    return json_pack("{ss ss so ss ss ss ss sI sI si si si ss ss sI si si si si ss sI sI sf sf so so}",
                     "build_commit", QUIP_VERSION, "cpu_info", b->eng.cpu, "gpu_info", device, "backends",
                     backend_name(b), "cpu_tier", b->eng.cpu_tier, "model_filename", b->cm.path, "model_type", model,
                     "model_size", (json_int_t)b->info->tensor_bytes, "model_n_params",
                     (json_int_t)b->info->n_params, "n_batch", BENCH_BATCH, "n_ubatch", BENCH_BATCH,
                     "n_threads", b->eng.n_threads, "type_k", b->stats.kv_type_k, "type_v", b->stats.kv_type_v,
                     "kv_bytes", (json_int_t)t->kv_bytes, "n_gpu_layers",
                     n_device + (n_device > 0 && n_device == b->info->n_layers), "n_prompt", t->n_prompt,
                     "n_gen", t->n_gen, "n_depth", t->n_depth, "test_time", t->started,
                     "avg_ns", (json_int_t)mean_ns, "stddev_ns", (json_int_t)deviation_ns,
                     "avg_ts", mean_ts, "stddev_ts", deviation_ts, "samples_ns", samples_ns,
                     "samples_ts", samples_ts);
}

/* Keeps the speed of an answer for those who compare levels. Without a place for it, or room, it is not kept. */
static void remember(const struct bench *b, const struct bench_test *t)
{
    struct figures_speed s = { .n_held = t->n_depth + t->n_gen / 2, .time_s = (int64_t)time(NULL) };
    double ts[BENCH_REPEAT_MAX], deviation;
    if (t->n_gen < BENCH_KEPT_GEN || t->n_depth > BENCH_KEPT_DEPTH || !figures_file_of(b->cm.model, &s.file))
        return;
    figures_place(&b->eng, b->info->n_layers, b->info->n_device_layers, s.place);
    figures_kv_types(b->stats.kv_type_k, b->stats.kv_type_v, s.kv_types);
    speeds(t, ts);
    mean_and_deviation(ts, t->n_samples, &s.tokens_per_s, &deviation);
    figures_add_speed(b->paths->figures, &s);
    figures_memory_bandwidth(b->paths->figures, b->cm.eng, true);    /* what is compared with it belongs together */
}

/* All tests at one depth. */
static enum err_code run_depth(struct bench *b, struct bench_test *t, int32_t n_depth, struct err *e)
{
    const struct config *c = b->config;
    enum err_code rc = ERR_OK;
    for (int32_t i = 0; rc == ERR_OK && i < c->bench_prompt.n + c->bench_predict.n; i++) {
        memset(t, 0, sizeof *t);
        t->n_depth = n_depth;
        if (i < c->bench_prompt.n)
            t->n_prompt = c->bench_prompt.values[i];
        else
            t->n_gen = c->bench_predict.values[i - c->bench_prompt.n];
        if (t->n_prompt + t->n_gen == 0)
            continue;
        rc = run_test(b, t, e);
        if (rc != ERR_OK)
            break;
        remember(b, t);
        if (b->results)
            json_array_append_new(b->results, to_json(b, t));
        else
            print_row(b, t);
    }
    return rc;
}

static enum err_code run_speed(struct bench *b, struct err *e)
{
    const struct config_list *depths = &b->config->bench_depth;
    struct bench_test *t = malloc(sizeof *t);
    if (!t)
        return err_set(e, ERR_NOMEM, "no memory for the times of %d repetitions", b->config->bench_repeat);
    enum err_code rc = ERR_OK;
    for (int32_t i = 0; rc == ERR_OK && i < depths->n; i++)
        rc = run_depth(b, t, depths->values[i], e);
    free(t);
    return rc;
}

/* ---- memory --------------------------------------------------------------------------------------- */

static uint64_t computed_bytes(const struct bench *b, int32_t n_tokens)
{
    struct model_memory memory;
    model_memory(b->cm.model, n_tokens, 1, b->stats.kv_type_k, b->stats.kv_type_v, &memory);
    return memory.kv_bytes;
}

static uint64_t resident_bytes(const struct bench *b)
{
    struct engine_info now;
    engine_info(b->cm.eng, &now);
    return now.memory_resident_bytes;
}

static void report_memory(struct bench *b, int32_t n_tokens, uint64_t first_resident)
{
    char types[24];
    uint64_t resident = resident_bytes(b), formula = computed_bytes(b, n_tokens);
    double grown = (double)resident - (double)first_resident;
    double wanted = (double)formula - (double)computed_bytes(b, BENCH_MEMORY_BATCH);
    double off = wanted > 0 ? 100 * (grown / wanted - 1) : 0;
    session_stats(b->s, &b->stats);
    figures_kv_types(b->stats.kv_type_k, b->stats.kv_type_v, types);
    if (b->results) {
        json_t *row = json_pack("{ss ss ss ss si sI sI sI sI sf}", "cpu_info", b->eng.cpu, "cpu_tier",
                                b->eng.cpu_tier, "type_k", b->stats.kv_type_k, "type_v", b->stats.kv_type_v,
                                "n_depth", n_tokens, "resident_bytes", (json_int_t)resident, "grown_bytes",
                                (json_int_t)grown, "computed_bytes", (json_int_t)wanted, "kv_bytes",
                                (json_int_t)b->stats.kv_bytes, "difference", off);
        json_array_append_new(b->results, row);
        return;
    }
    printf("| %-9s | %8d | %12.2f | %14.2f | %12.2f | %+9.2f %% |\n", types, n_tokens, (double)resident / 1048576,
           grown / 1048576, wanted / 1048576, off);
    fflush(stdout);
}

static enum err_code run_memory(struct bench *b, struct err *e)
{
    const struct config_list *depths = &b->config->bench_depth;
    int32_t held = 0;
    uint64_t first = 0;
    enum err_code rc = ERR_OK;
    session_truncate(b->s, 0, 0);
    if (!b->results) {
        printf("| %-9s | %8s | %12s | %14s | %12s | %11s |\n", "kv", "tokens", "resident MiB", "over 64 tokens",
               "computed", "difference");
        printf("| --------- | -------: | -----------: | -------------: | -----------: | ----------: |\n");
    }
    for (int32_t i = 0; rc == ERR_OK && i < depths->n; i++) {
        while (rc == ERR_OK && held < depths->values[i]) {
            int32_t n = depths->values[i] - held;
            n = n < BENCH_MEMORY_BATCH ? n : BENCH_MEMORY_BATCH;
            rc = session_eval(b->s, 0, b->depth, n, b->logits, 1, e);
            held += n;
            if (held == BENCH_MEMORY_BATCH)
                first = resident_bytes(b);
        }
        if (rc == ERR_OK)
            report_memory(b, depths->values[i], first);
    }
    return rc;
}

/* ---- passes --------------------------------------------------------------------------------------- */

static void report_pass(struct bench *b, int32_t n_depth, int32_t n_rows)
{
    char types[24];
    double ms = session_pass_ms(b->s, n_rows), times = ms / session_pass_ms(b->s, 1);
    figures_kv_types(b->stats.kv_type_k, b->stats.kv_type_v, types);
    if (b->results) {
        json_t *row = json_pack("{ss ss si ss ss si si sf sf}", "cpu_info", b->eng.cpu, "cpu_tier", b->eng.cpu_tier,
                                "n_threads", b->eng.n_threads, "type_k", b->stats.kv_type_k, "type_v",
                                b->stats.kv_type_v, "n_depth", n_depth, "n_rows", n_rows, "ms", ms, "times_one",
                                times);
        json_array_append_new(b->results, row);
        return;
    }
    printf("| %-9s | %8d | %5d | %9.2f | %9.2f | %10.1f | %8.2f |\n", types, n_depth, n_rows, ms, times,
           n_rows * 1e3 / ms, n_rows / times);
    fflush(stdout);
}

static enum err_code run_passes(struct bench *b, struct err *e)
{
    const struct config_list *depths = &b->config->bench_depth;
    enum err_code rc = ERR_OK;
    if (!b->results) {
        printf("| %-9s | %8s | %5s | %9s | %9s | %10s | %8s |\n", "kv", "depth", "rows", "ms", "of one", "rows/s",
               "at best");
        printf("| --------- | -------: | ----: | --------: | --------: | ---------: | -------: |\n");
    }
    for (int32_t i = 0; rc == ERR_OK && i < depths->n; i++) {
        rc = fill(b, depths->values[i], e);
        if (rc == ERR_OK)
            rc = session_measure_passes(b->s, BENCH_PASSES_MS, true, e);
        for (int32_t n = 1; rc == ERR_OK && n <= SPEC_MOST + 1; n += n < 8 ? 1 : n < 16 ? 4 : 8)
            report_pass(b, depths->values[i], n);
    }
    return rc;
}

/* ---- life ----------------------------------------------------------------------------------------- */

static int32_t largest(const struct config_list *list, int32_t least)
{
    for (int32_t i = 0; i < list->n; i++)
        least = list->values[i] > least ? list->values[i] : least;
    return least;
}

static enum exit_code prepare(struct bench *b, const struct app *app, int32_t n_threads)
{
    const struct config *c = app->config;
    enum exit_code code = cmd_model_open(&b->cm, app, MODEL_RUN, n_threads);
    if (code != EXIT_CODE_OK)
        return code;
    b->info = model_info(b->cm.model);
    b->random = 20260823;
    engine_info(b->cm.eng, &b->eng);
    int32_t n_deepest = largest(&c->bench_depth, BENCH_MEMORY_BATCH);
    int32_t n_longest = largest(&c->bench_prompt, largest(&c->bench_predict, SPEC_MOST + 1));
    code = cmd_session(&b->s, app, b->cm.model, n_deepest + n_longest,
                       c->bench_memory ? BENCH_MEMORY_BATCH : BENCH_BATCH);
    if (code != EXIT_CODE_OK)
        return code;
    session_stats(b->s, &b->stats);
    b->logits = malloc(sizeof *b->logits * (size_t)b->info->n_vocab);
    b->depth = malloc(sizeof *b->depth * (size_t)n_deepest);
    if (!b->logits || !b->depth) {
        cmd_complain("no memory for a row of %d logits and %d tokens", b->info->n_vocab, n_deepest);
        return EXIT_CODE_FAILURE;
    }
    for (int32_t i = 0; i < n_deepest; i++)
        b->depth[i] = random_token(b);
    return EXIT_CODE_OK;
}

/* All that is asked for with one number of threads. */
static enum exit_code run_all(const struct app *app, int32_t n_threads, bool first, json_t *results)
{
    struct bench b = { .config = app->config, .paths = app->paths, .results = results };
    struct err e;
    enum exit_code code = prepare(&b, app, n_threads);
    enum err_code (*run)(struct bench *, struct err *) = b.config->bench_memory ? run_memory
                                                         : b.config->bench_passes ? run_passes : run_speed;
    if (code == EXIT_CODE_OK && first)
        cmd_note_device(b.cm.eng);
    if (code == EXIT_CODE_OK && first && !results && run == run_speed)
        print_heading();
    if (code == EXIT_CODE_OK && run(&b, &e) != ERR_OK) {
        cmd_complain("%s", e.text);
        code = EXIT_CODE_FAILURE;
    }
    free(b.logits);
    free(b.depth);
    session_destroy(b.s);
    cmd_model_close(&b.cm);
    return code;
}

enum exit_code cmd_bench(const struct app *app)
{
    const struct config *c = app->config;
    if (c->bench_memory && c->bench_passes) {
        cmd_complain("--memory and --passes: one of them");
        return EXIT_CODE_USAGE;
    }
    for (int32_t i = 0; c->bench_memory && i < c->bench_depth.n; i++) {
        int32_t least = i > 0 ? c->bench_depth.values[i - 1] + 1 : BENCH_MEMORY_BATCH + 1;
        if (c->bench_depth.values[i] < least) {
            cmd_complain("--memory: -d has %d, at least %d wanted there: depths that grow, above %d",
                         c->bench_depth.values[i], least, BENCH_MEMORY_BATCH);
            return EXIT_CODE_USAGE;
        }
    }
    json_t *results = c->bench_format == 1 ? json_array() : NULL;
    enum exit_code code = EXIT_CODE_OK;
    for (int32_t i = 0; code == EXIT_CODE_OK && i < c->bench_threads.n; i++)
        code = run_all(app, c->bench_threads.values[i], i == 0, results);
    if (results) {
        json_dumpf(results, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
        putchar('\n');
        json_decref(results);
    }
    return code;
}
