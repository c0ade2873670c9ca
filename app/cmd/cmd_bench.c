/* SPDX-License-Identifier: MIT */
/* quip bench: the two speeds a person feels, measured as llama-bench does. A prompt test reads N random
 * tokens, an answer test makes N tokens one at a time, each from an empty cache; one run before the first
 * timed one warms caches and pages up. Speeds are means over the repetitions with their deviation. */
#include "app/cmd/cmd.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { BENCH_BATCH = 256, BENCH_REPEAT_MAX = 1000 };

struct bench_test {
    int32_t n_prompt, n_gen;    /* one of them is 0 */
    int32_t n_threads;
    int32_t n_samples;
    double ns[BENCH_REPEAT_MAX];
    char started[32];
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

static enum err_code run_once(struct session *s, const struct bench_test *t, int32_t n_vocab,
                              float *logits, uint64_t *random, struct err *e)
{
    int32_t ids[BENCH_BATCH];
    session_truncate(s, 0, 0);
    int32_t n_total = t->n_prompt + t->n_gen, n_step = t->n_gen ? 1 : BENCH_BATCH;
    enum err_code rc = ERR_OK;
    for (int32_t done = 0; rc == ERR_OK && done < n_total; done += n_step) {
        int32_t n = n_total - done < n_step ? n_total - done : n_step;
        for (int32_t i = 0; i < n; i++)
            ids[i] = (int32_t)(next_random(random) % (uint32_t)n_vocab);
        int32_t n_logits = t->n_gen || done + n == n_total;
        rc = session_eval(s, 0, ids, n, logits, n_logits, e);
    }
    return rc;
}

static enum err_code run_test(struct session *s, struct bench_test *t, const struct config *c,
                              int32_t n_vocab, float *logits, struct err *e)
{
    uint64_t random = 20260823;
    time_t start = time(NULL);
    struct tm tm;
    gmtime_r(&start, &tm);
    strftime(t->started, sizeof t->started, "%Y-%m-%dT%H:%M:%SZ", &tm);

    enum err_code rc = ERR_OK;
    for (int32_t i = c->no_warmup ? 0 : -1; rc == ERR_OK && i < c->bench_repeat; i++) {
        double before = now_ns();
        rc = run_once(s, t, n_vocab, logits, &random, e);
        if (i >= 0)
            t->ns[t->n_samples++] = now_ns() - before;
    }
    return rc;
}

/* "qwen2 1.54B Q4_K_M" */
static void describe(const struct model_info *info, char *out, size_t n_bytes)
{
    double n = (double)info->n_params;
    snprintf(out, n_bytes, n >= 1e9 ? "%s %.2fB %s" : "%s %.0fM %s", info->architecture,
             n >= 1e9 ? n / 1e9 : n / 1e6, info->level);
}

static void print_heading(void)
{
    printf("| %-28s | %10s | %8s | %-7s | %7s | %8s | %18s |\n", "model", "size", "params", "backend",
           "threads", "test", "t/s");
    printf("| %s | %s: | %s: | %s | %s: | %s: | %s: |\n", "----------------------------", "---------",
           "-------", "-------", "------", "-------", "-----------------");
}

static void speeds(const struct bench_test *t, double *out)
{
    for (int32_t i = 0; i < t->n_samples; i++)
        out[i] = (t->n_prompt + t->n_gen) * 1e9 / t->ns[i];
}

static void print_row(const struct bench_test *t, const struct model_info *info, const struct engine_info *eng)
{
    char model[96], size[32], params[32], test[24], speed[48], backend[24];
    double ts[BENCH_REPEAT_MAX], mean, deviation, n = (double)info->n_params;
    speeds(t, ts);
    mean_and_deviation(ts, t->n_samples, &mean, &deviation);
    describe(info, model, sizeof model);
    snprintf(size, sizeof size, "%.2f MiB", (double)info->tensor_bytes / 1048576);
    snprintf(params, sizeof params, n >= 1e9 ? "%.2f B" : "%.2f M", n >= 1e9 ? n / 1e9 : n / 1e6);
    snprintf(backend, sizeof backend, "%s", eng->cpu_tier);
    snprintf(test, sizeof test, t->n_gen ? "tg%d" : "pp%d", t->n_prompt + t->n_gen);
    snprintf(speed, sizeof speed, "%.2f +/- %.2f", mean, deviation);
    printf("| %-28s | %10s | %8s | %-7s | %7d | %8s | %18s |\n", model, size, params, backend,
           eng->n_threads, test, speed);
    fflush(stdout);
}

static json_t *to_json(const struct bench_test *t, const struct model_info *info,
                       const struct engine_info *eng, const char *path, const struct config *c)
{
    char model[96];
    double ts[BENCH_REPEAT_MAX], mean_ns, deviation_ns, mean_ts, deviation_ts;
    speeds(t, ts);
    mean_and_deviation(t->ns, t->n_samples, &mean_ns, &deviation_ns);
    mean_and_deviation(ts, t->n_samples, &mean_ts, &deviation_ts);
    describe(info, model, sizeof model);
    json_t *samples_ns = json_array(), *samples_ts = json_array();
    for (int32_t i = 0; i < t->n_samples; i++) {
        json_array_append_new(samples_ns, json_integer((json_int_t)t->ns[i]));
        json_array_append_new(samples_ts, json_real(ts[i]));
    }
    return json_pack("{ss ss ss ss ss ss ss sI sI si si si ss ss si si si ss sI sI sf sf so so}",
                     "build_commit", QUIP_VERSION, "cpu_info", eng->cpu, "gpu_info", "", "backends", "CPU",
                     "cpu_tier", eng->cpu_tier, "model_filename", path, "model_type", model,
                     "model_size", (json_int_t)info->tensor_bytes, "model_n_params",
                     (json_int_t)info->n_params, "n_batch", BENCH_BATCH, "n_ubatch", BENCH_BATCH,
                     "n_threads", eng->n_threads, "type_k", c->kv_type_k ? c->kv_type_k : "f16", "type_v", c->kv_type_v ? c->kv_type_v : "f16",
                     "n_gpu_layers", 0, "n_prompt", t->n_prompt, "n_gen", t->n_gen, "test_time", t->started,
                     "avg_ns", (json_int_t)mean_ns, "stddev_ns", (json_int_t)deviation_ns,
                     "avg_ts", mean_ts, "stddev_ts", deviation_ts, "samples_ns", samples_ns,
                     "samples_ts", samples_ts);
}

/* All tests with one number of threads; rows are printed, or appended to results. */
static enum exit_code run_all(const struct app *app, int32_t n_threads, bool heading, json_t *results)
{
    const struct config *c = app->config;
    struct cmd_model cm;
    struct session *s = NULL;
    float *logits = NULL;
    struct bench_test *t = malloc(sizeof *t);
    enum exit_code code = cmd_model_open(&cm, app, MODEL_RUN, n_threads);
    if (code != EXIT_CODE_OK) {
        free(t);
        return code;
    }
    const struct model_info *info = model_info(cm.model);
    struct engine_info eng;
    engine_info(cm.eng, &eng);
    int32_t n_longest = 8;
    for (int32_t i = 0; i < c->bench_prompt.n; i++)
        n_longest = c->bench_prompt.values[i] > n_longest ? c->bench_prompt.values[i] : n_longest;
    for (int32_t i = 0; i < c->bench_predict.n; i++)
        n_longest = c->bench_predict.values[i] > n_longest ? c->bench_predict.values[i] : n_longest;
    code = cmd_session(&s, app, cm.model, n_longest, BENCH_BATCH);
    logits = malloc(sizeof *logits * (size_t)info->n_vocab);
    if (code == EXIT_CODE_OK && (!logits || !t)) {
        cmd_complain("no memory for a row of %d logits", info->n_vocab);
        code = EXIT_CODE_FAILURE;
    }
    if (code == EXIT_CODE_OK && heading)
        print_heading();
    for (int32_t i = 0; code == EXIT_CODE_OK && i < c->bench_prompt.n + c->bench_predict.n; i++) {
        memset(t, 0, sizeof *t);
        bool is_prompt = i < c->bench_prompt.n;
        if (is_prompt)
            t->n_prompt = c->bench_prompt.values[i];
        else
            t->n_gen = c->bench_predict.values[i - c->bench_prompt.n];
        if (t->n_prompt + t->n_gen == 0)
            continue;
        struct err e;
        if (run_test(s, t, c, info->n_vocab, logits, &e) != ERR_OK) {
            cmd_complain("%s", e.text);
            code = EXIT_CODE_FAILURE;
        } else if (results) {
            json_array_append_new(results, to_json(t, info, &eng, cm.path, c));
        } else {
            print_row(t, info, &eng);
        }
    }
    free(t);
    free(logits);
    session_destroy(s);
    cmd_model_close(&cm);
    return code;
}

enum exit_code cmd_bench(const struct app *app)
{
    const struct config *c = app->config;
    json_t *results = c->bench_format == 1 ? json_array() : NULL;
    enum exit_code code = EXIT_CODE_OK;
    for (int32_t i = 0; code == EXIT_CODE_OK && i < c->bench_threads.n; i++)
        code = run_all(app, c->bench_threads.values[i], i == 0 && !results, results);
    if (results) {
        json_dumpf(results, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
        putchar('\n');
        json_decref(results);
    }
    return code;
}
