/* SPDX-License-Identifier: MIT */
/* Levels made beside the loop. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "app/loop/make.h"
#include "tests/support/test.h"
#include "tests/support/tiny_model.h"

struct rig {
    uv_loop_t loop;
    struct make make;
    char source[600], target[600];
    int n_ended;
    uint64_t done, total;
    char error[512];    /* "-": none */
};

static void on_progress(void *data, uint64_t done, uint64_t total)
{
    struct rig *r = data;
    r->done = done;
    r->total = total;
}

static void on_end(void *data, const char *error)
{
    struct rig *r = data;
    r->n_ended++;
    snprintf(r->error, sizeof r->error, "%s", error ? error : "-");
}

static void begin(struct test *t, struct rig *r, uint32_t n_embd, uint32_t n_layers)
{
    struct tiny_model m;
    struct err e;
    tiny_model_init(&m);
    m.weight_type = QUANT_F16;
    m.n_embd = n_embd;
    m.n_ff = 2 * n_embd;
    m.n_heads = n_embd / 16;
    m.n_kv_heads = n_embd / 16;
    m.n_layers = n_layers;
    m.reply = NULL;
    *r = (struct rig){ 0 };
    snprintf(r->source, sizeof r->source, "%s/source.gguf", test_folder(t));
    snprintf(r->target, sizeof r->target, "%s/target.gguf", test_folder(t));
    unlink(r->target);
    CHECK(t, tiny_model_write(&m, r->source, &e) == ERR_OK, "%s", e.text);
    CHECK_INT(t, uv_loop_init(&r->loop), 0);
    make_init(&r->make, &r->loop, r);
    r->make.on_progress = on_progress;
    r->make.on_end = on_end;
}

static void end(struct test *t, struct rig *r)
{
    uv_run(&r->loop, UV_RUN_DEFAULT);
    CHECK_INT(t, uv_loop_close(&r->loop), 0);
}

TEST(make_makes_one_at_a_time)
{
    struct rig r;
    begin(t, &r, 256, 2);
    CHECK(t, make_start(&r.make, r.source, r.target, "Q4_0", false));
    CHECK(t, !make_start(&r.make, r.source, r.target, "Q4_0", false));
    uv_run(&r.loop, UV_RUN_DEFAULT);
    CHECK_INT(t, r.n_ended, 1);
    CHECK_TEXT(t, r.error, "-");
    CHECK_INT(t, access(r.target, R_OK), 0);
    CHECK(t, make_start(&r.make, r.source, r.target, "Q4_0", false));    /* it is there now */
    uv_run(&r.loop, UV_RUN_DEFAULT);
    CHECK_INT(t, r.n_ended, 2);
    CHECK(t, strstr(r.error, "target.gguf") != NULL, "%s", r.error);
    end(t, &r);
}

TEST(make_that_is_stopped_leaves_nothing)
{
    struct rig r;
    begin(t, &r, 512, 12);
    CHECK(t, make_start(&r.make, r.source, r.target, "Q2_K", false));
    make_stop(&r.make);
    uv_run(&r.loop, UV_RUN_DEFAULT);
    CHECK_INT(t, r.n_ended, 1);
    CHECK_TEXT(t, r.error, "");
    CHECK(t, access(r.target, F_OK) != 0);
    end(t, &r);
}

TEST(make_from_what_is_quantised_has_to_be_allowed)
{
    struct rig r;
    char second[600];
    begin(t, &r, 256, 2);
    snprintf(second, sizeof second, "%s/second.gguf", test_folder(t));
    CHECK(t, make_start(&r.make, r.source, r.target, "Q8_0", false));
    uv_run(&r.loop, UV_RUN_DEFAULT);
    CHECK(t, make_start(&r.make, r.target, second, "Q4_0", false));
    uv_run(&r.loop, UV_RUN_DEFAULT);
    CHECK(t, r.error[0] != '-' && access(second, F_OK) != 0, "%s", r.error);
    CHECK(t, make_start(&r.make, r.target, second, "Q4_0", true));
    uv_run(&r.loop, UV_RUN_DEFAULT);
    CHECK_TEXT(t, r.error, "-");
    end(t, &r);
}
