/* SPDX-License-Identifier: MIT */
/* Tasks with right and wrong answers: how they are drawn, read and scored. */
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>

#include "app/measure/draw.h"
#include "app/measure/gsm8k.h"
#include "app/measure/hellaswag.h"
#include "app/measure/scores.h"
#include "tests/support/tiny_model.h"

/* ---- drawing -------------------------------------------------------------------------------------- */

TEST(eval_draw_is_the_mersenne_twister)
{
    struct draw d;
    draw_seed(&d, 5489);
    uint32_t value = 0;
    for (int i = 0; i < 10000; i++)
        value = draw_next(&d);
    CHECK_INT(t, value, 4123659995u);    /* what the C++ standard demands of mt19937 */
    draw_seed(&d, 1);
    CHECK_INT(t, draw_next(&d), 1791095845u);
    CHECK_INT(t, draw_next(&d), 4282876139u);
}

TEST(eval_draw_takes_each_task_once_and_the_others_stay_in_order)
{
    enum { N = 500 };
    int32_t order[N], left[N];
    bool seen[N] = { false };
    struct draw d;
    draw_order(order, N, 1);
    for (int i = 0; i < N; i++) {
        CHECK(t, order[i] >= 0 && order[i] < N && !seen[order[i]], "draw %d", i);
        seen[order[i]] = true;
        left[i] = i;
    }
    draw_seed(&d, 1);
    for (int i = 0; i < N; i++) {    /* a list from which the drawn one is taken out */
        int32_t n = N - i, k = (int32_t)draw_below(&d, (uint32_t)n);
        CHECK_INT(t, order[i], left[k], "draw %d", i);
        memmove(left + k, left + k + 1, (size_t)(n - k - 1) * sizeof *left);
    }
}

/* ---- HellaSwag ------------------------------------------------------------------------------------ */

#define TASK(gold) "A man sits\n" gold "\non a roof.\non ice.\nby a lake.\nand sings.\n"

static const struct {
    const char *what, *text, *error;    /* "": it is well */
    int32_t n_tasks;
} files[] = {
    { "two tasks", TASK("3") TASK("0"), "", 2 },
    { "lines that end as on Windows", "a\r\n1\r\nb\r\nc\r\nd\r\ne\r\n", "", 1 },
    { "no end of the last line", "a\n1\nb\nc\nd\ne", "", 1 },
    { "nothing", "", "0 lines", 0 },
    { "a line too many", TASK("3") "A man\n", "7 lines", 0 },
    { "an index beyond the endings", TASK("4"), "line 2: '4', an index from 0 to 3 wanted", 0 },
    { "no index", TASK("x"), "line 2: 'x'", 0 },
    { "a long index", TASK("0") TASK("00"), "line 8: '00'", 0 },
    { "an empty ending", "a\n1\nb\n\nd\ne\n", "line 4: empty", 0 },
    { "an archive", "BZh91AY&SY", "packed with bzip2", 0 },
};

TEST(eval_hellaswag_names_what_is_wrong_with_a_file)
{
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        struct hellaswag_task *tasks;
        struct err e = { 0 };
        int32_t n;
        enum err_code rc = hellaswag_parse(files[i].text, strlen(files[i].text), &tasks, &n, &e);
        CHECK(t, (rc == ERR_OK) == !files[i].error[0], "%s: %s", files[i].what, e.text);
        CHECK(t, rc == ERR_OK || (strstr(e.text, files[i].error) && !tasks), "%s: %s", files[i].what, e.text);
        CHECK_INT(t, n, files[i].n_tasks, "%s", files[i].what);
        free(tasks);
    }
    struct hellaswag_task *tasks;
    int32_t n;
    CHECK_INT(t, hellaswag_parse(files[0].text, strlen(files[0].text), &tasks, &n, NULL), ERR_OK);
    CHECK(t, tasks[0].gold == 3 && tasks[1].gold == 0 && tasks[0].context.n_bytes == 10);
    CHECK(t, memcmp(tasks[1].endings[2].bytes, "by a lake.", tasks[1].endings[2].n_bytes) == 0);
    free(tasks);
    CHECK_INT(t, hellaswag_parse(files[1].text, strlen(files[1].text), &tasks, &n, NULL), ERR_OK);
    CHECK_INT(t, tasks[0].endings[3].n_bytes, 1);
    free(tasks);
}

enum { LONGEST = 512 };

struct rig {
    struct engine *engine;
    struct model *model;
    struct session *session;
    struct hellaswag_scratch scratch;
};

static void rig_open(struct test *t, struct rig *r, const char *kv_type)
{
    struct tiny_model tiny;
    struct err e = { 0 };
    char path[512];
    snprintf(path, sizeof path, "%s/tiny.gguf", test_folder(t));
    tiny_model_init(&tiny);
    CHECK_INT(t, tiny_model_write(&tiny, path, &e), ERR_OK, "%s", e.text);
    CHECK_INT(t, engine_create(&r->engine, &(struct engine_options){ .n_threads = 1, .device = "cpu" }, &e), ERR_OK);
    CHECK_INT(t, model_open(&r->model, r->engine, path, MODEL_RUN, &e), ERR_OK, "%s", e.text);
    struct session_options o = { .n_ctx = LONGEST, .n_seqs = 1, .n_batch = LONGEST, .kv_type_k = kv_type,
                                 .kv_type_v = kv_type, .keep_kv_type = true };
    CHECK_INT(t, session_create(&r->session, r->model, &o, &e), ERR_OK, "%s", e.text);
    r->scratch.n_vocab = model_info(r->model)->n_vocab;
    r->scratch.n_rows = 5;    /* endings are longer: they go in pieces */
    r->scratch.logits = malloc(sizeof(float) * LONGEST * (size_t)r->scratch.n_vocab);
}

static void rig_close(struct rig *r)
{
    free(r->scratch.logits);
    session_destroy(r->session);
    model_close(r->model);
    engine_destroy(r->engine);
}

/* Mean log-probability of the tokens from n_common on, all in one evaluation. */
static double plainly(struct test *t, struct rig *r, const struct token_list *ids, int32_t n_common)
{
    struct err e;
    double sum = 0;
    session_truncate(r->session, 0, 0);
    CHECK_INT(t, session_eval(r->session, 0, ids->ids, ids->n, r->scratch.logits, ids->n, &e), ERR_OK, "%s", e.text);
    for (int32_t i = n_common; i < ids->n; i++) {
        struct score_row row;
        score_row(&row, r->scratch.logits + (size_t)(i - 1) * (size_t)r->scratch.n_vocab, r->scratch.n_vocab);
        sum += row.logits[ids->ids[i]] - row.log_z;
    }
    return sum / (ids->n - n_common);
}

static void check_scores(struct test *t, struct rig *r, const char *text, int32_t n_common_least)
{
    struct hellaswag_task *tasks;
    struct hellaswag_tokens tokens = { 0 };
    struct err e = { 0 };
    double means[HELLASWAG_ENDINGS];
    int32_t n, choice, best = 0;
    CHECK_INT(t, hellaswag_parse(text, strlen(text), &tasks, &n, &e), ERR_OK, "%s", e.text);
    CHECK_INT(t, hellaswag_tokenize(r->model, &tasks[0], &tokens, &e), ERR_OK, "%s", e.text);
    CHECK(t, tokens.n_common >= n_common_least, "%d tokens in common", tokens.n_common);
    CHECK_INT(t, hellaswag_score(r->session, &tokens, &r->scratch, means, &choice, &e), ERR_OK, "%s", e.text);
    for (int i = 0; i < HELLASWAG_ENDINGS; i++) {
        CHECK(t, tokens.n_common < tokens.endings[i].n);
        double want = plainly(t, r, &tokens.endings[i], tokens.n_common);
        CHECK(t, means[i] == want, "ending %d: %.9f, %.9f wanted", i, means[i], want);
        best = means[i] > means[best] ? i : best;
    }
    CHECK_INT(t, choice, best);
    hellaswag_tokens_finish(&tokens);
    free(tasks);
}

TEST(eval_hellaswag_scores_are_those_of_each_ending_by_itself)
{
    struct rig r = { 0 };
    rig_open(t, &r, "f16");
    check_scores(t, &r, "A man sits by the water\n1\non a roof.\non ice with his old dog.\nby a lake.\nx\n", 10);
    /* One ending begins another: what they share ends before the shorter one does. */
    check_scores(t, &r, "A man\n1\nruns\nruns away\nruns\nruns home\n", 4);
    rig_close(&r);
}

TEST(eval_hellaswag_scores_with_sealed_pages_too)
{
    char text[1024] = "";
    struct rig r = { 0 };
    for (int i = 0; i < 40; i++)
        strcat(text, "word and ");
    strcat(text, "\n2\nthen a red boat came.\nit was over.\nnobody saw it.\nanother one.\n");
    rig_open(t, &r, "q8_0");    /* going back there needs tokens evaluated again */
    check_scores(t, &r, text, 200);
    rig_close(&r);
}

/* ---- GSM8K ---------------------------------------------------------------------------------------- */

static const struct {
    const char *text, *number;    /* NULL: there is none */
} numbers[] = {
    { "The answer is 42.", "42" },
    { "She makes $18 every day.", "18" },
    { "That is $1,234,567.50 in all.", "1234567.5" },
    { "12,3456", "3456" },                 /* no group of three */
    { "First 3, then 4, then 5", "5" },
    { "so -7", "-7" },
    { "it costs -$7.00", "-7" },
    { "20-7", "7" },                       /* a difference, no sign */
    { "(3+4)-7", "7" },
    { "007", "7" },
    { "0,020", "20" },
    { "0.50", "0.5" },
    { "-0.0", "0" },
    { "0", "0" },
    { "v1.2.3", "3" },                     /* 1.2, then 3 */
    { "#### 72\nThat took 3 steps.", "72" },
    { "4 and 5 #### 9 #### 10", "10" },
    { "5 ####", "5" },                     /* nothing follows the mark */
    { "The total is 3/4", "4" },
    { "\\boxed{1,000}", "1000" },
    { "no number", NULL },
    { "", NULL },
};

TEST(eval_gsm8k_takes_the_last_number_in_one_form)
{
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        char out[GSM8K_NUMBER_BYTES] = "";
        bool found = gsm8k_number(numbers[i].text, strlen(numbers[i].text), out);
        CHECK(t, found == (numbers[i].number != NULL), "'%s'", numbers[i].text);
        if (found)
            CHECK_TEXT(t, out, numbers[i].number, "'%s'", numbers[i].text);
    }
    char digits[200], out[GSM8K_NUMBER_BYTES];
    memset(digits, '9', sizeof digits);
    CHECK(t, gsm8k_number(digits, sizeof digits, out) && strlen(out) == GSM8K_NUMBER_BYTES - 1);
}

#define QA(answer) "{\"question\": \"How many?\", \"answer\": \"" answer "\"}\n"

TEST(eval_gsm8k_names_what_is_wrong_with_a_file)
{
    static const struct {
        const char *what, *text, *error;
        int32_t n_tasks;
    } lines[] = {
        { "two tasks and an empty line", QA("1+1\\n#### 2") "\n \r\n" QA("#### -1,000"), "", 2 },
        { "nothing", "", "no tasks", 0 },
        { "no JSON", QA("#### 2") "How many?\n", "line 2: no JSON", 0 },
        { "no object", "[1, 2]\n", "line 1: an object", 0 },
        { "no answer", "{\"question\": \"How many?\"}\n", "line 1: an object", 0 },
        { "an answer that is no text", "{\"question\": \"How many?\", \"answer\": 3}\n", "line 1: an object", 0 },
        { "no mark", QA("2"), "line 1: no number after ####", 0 },
        { "no number", QA("#### two"), "line 1: no number after ####", 0 },
    };
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        struct gsm8k_task *tasks;
        struct err e = { 0 };
        int32_t n;
        enum err_code rc = gsm8k_parse(lines[i].text, strlen(lines[i].text), &tasks, &n, &e);
        CHECK(t, (rc == ERR_OK) == !lines[i].error[0], "%s: %s", lines[i].what, e.text);
        CHECK(t, rc == ERR_OK || (strstr(e.text, lines[i].error) && !tasks), "%s: %s", lines[i].what, e.text);
        CHECK_INT(t, n, lines[i].n_tasks, "%s", lines[i].what);
        if (rc == ERR_OK) {
            CHECK_TEXT(t, tasks[0].number, "2");
            CHECK_TEXT(t, tasks[1].number, "-1000");
        }
        gsm8k_free(tasks, n);
    }
}

TEST(eval_gsm8k_asks_with_examples_before)
{
    struct rig r = { 0 };
    struct err e = { 0 };
    struct token_list prompt = { 0 };
    struct chat_prompt made;
    struct buf text = { 0 };
    struct gsm8k_task one = { "How many eggs?", "Three. #### 3", "3" }, two = { "How many hens?", "#### 2", "2" };
    const struct gsm8k_task *const shots[] = { &one };
    rig_open(t, &r, "f16");
    CHECK_INT(t, gsm8k_prompt(r.model, &two, shots, 1, -1, &prompt, &made, &e), ERR_OK, "%s", e.text);
    for (int32_t i = 0; i < prompt.n; i++) {
        size_t n_bytes;
        const char *piece = model_piece(r.model, prompt.ids[i], &n_bytes);
        buf_add(&text, piece, n_bytes);
    }
    const char *eggs = strstr(buf_text(&text), "eggs"), *three = strstr(buf_text(&text), "Three");
    const char *hens = strstr(buf_text(&text), "hens");
    CHECK(t, eggs && three && hens && eggs < three && three < hens && !strstr(buf_text(&text), "#### 2"), "%s",
          buf_text(&text));
    buf_finish(&text);
    token_list_finish(&prompt);
    rig_close(&r);
}
