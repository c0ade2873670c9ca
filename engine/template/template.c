/* SPDX-License-Identifier: MIT */
/* The border: compiles, renders, and cuts the result into fragments by the marks of its bytes.
 *
 * What a rendering allocates lives in one arena with a limit, given back at its end. The inputs'
 * containers are copied into it first, because templates may append to lists and pop from dicts. */
#include "engine/template/template.h"

#include <stdlib.h>
#include <string.h>

#include "engine/template/template_private.h"
#include "engine/template/tmpl_run.h"

enum { COMPILED_BYTES_MAX = 128 * 1024 * 1024 };

enum err_code template_create(struct template **out, const char *source, size_t n_bytes,
                              struct err *e)
{
    struct template *t = calloc(1, sizeof *t);
    if (!t)
        return err_set(e, ERR_NOMEM, "template: no memory");
    t->arena.max_bytes = COMPILED_BYTES_MAX;
    t->source = arena_copy(&t->arena, source, n_bytes);
    t->n_source = n_bytes;
    enum err_code rc = ERR_OK;
    if (!t->source)
        rc = err_set(e, ERR_NOMEM, "template: no memory for its text");
    else
        rc = tmpl_parse(&t->body, &t->arena, source, n_bytes, e);
    if (rc != ERR_OK) {
        template_destroy(t);
        return rc;
    }
    *out = t;
    return ERR_OK;
}

void template_destroy(struct template *t)
{
    if (!t)
        return;
    arena_finish(&t->arena);
    free(t);
}

struct template_limits template_limits_default(void)
{
    return (struct template_limits){
        .steps = 1000 * 1000,
        .depth = 64,
        .range = 100 * 1000,
        .output_bytes = 16 * 1024 * 1024,
        .memory_bytes = 256 * 1024 * 1024
    };
}

void template_output_init(struct template_output *o)
{
    memset(o, 0, sizeof *o);
}

void template_output_finish(struct template_output *o)
{
    if (!o)
        return;
    buf_finish(&o->text);
    free(o->fragments);
    template_output_init(o);
}

/* ---- inputs ---- */

/* The texts of the vocabulary's own tokens are the template's business, not a person's. */
static bool is_token_name(const struct tmpl_text *name)
{
    static const char *const names[] = { "bos_token", "eos_token", "unk_token", "pad_token",
                                         "sep_token", "cls_token", "mask_token" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (tmpl_text_is(name, names[i]))
            return true;
    }
    return false;
}

/* A role names a place in the conversation, and many templates build a special token around it:
 * '<|' + message.role + '|>'. So the known ones are trusted, and no others. */
static bool is_role(const struct tmpl_text *text)
{
    static const char *const roles[] = { "system", "developer", "user", "assistant", "model", "tool",
                                         "function", "ipython", "observation", "environment",
                                         "documents", "context" };
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++) {
        if (tmpl_text_is(text, roles[i]))
            return true;
    }
    return false;
}

static bool trust(struct tmpl_run *r, struct template_value *value)
{
    return tmpl_make_text(r, value->as.text->bytes, value->as.text->n_bytes, false, value);
}

static bool trust_roles(struct tmpl_run *r, const struct tmpl_dict *inputs)
{
    const struct template_value *messages = tmpl_dict_find_bytes(inputs, "messages", 8);
    if (!messages || messages->type != TMPL_LIST)
        return true;
    for (size_t i = 0; i < messages->as.list->n; i++) {
        const struct template_value *message = &messages->as.list->items[i];
        struct template_value *role = message->type == TMPL_DICT
                                          ? tmpl_dict_find_bytes(message->as.dict, "role", 4) : NULL;
        if (role && role->type == TMPL_TEXT && is_role(role->as.text) && !trust(r, role))
            return false;
    }
    return true;
}

static bool copy_inputs(struct tmpl_run *r, const struct template_value *inputs)
{
    struct template_value copy;
    if (inputs->type != TMPL_DICT)
        return tmpl_fail(r, "its inputs are no object");
    if (!tmpl_deep_copy(&r->arena, inputs, TMPL_VALUE_DEPTH, &copy))
        return tmpl_fail_memory(r, 0);
    struct tmpl_dict *d = copy.as.dict;
    for (size_t i = 0; i < d->n; i++) {
        struct template_value *value = &d->pairs[i].value;
        if (value->type == TMPL_TEXT && is_token_name(d->pairs[i].key.as.text) && !trust(r, value))
            return false;
    }
    r->inputs = d;
    return trust_roles(r, d);
}

/* ---- output ---- */

static size_t run_length(const uint8_t *marks, size_t at, size_t n)
{
    const uint8_t *end = memchr(marks + at, !marks[at], n - at);
    return end ? (size_t)(end - marks) - at : n - at;
}

static bool fill_output(const struct tmpl_sb *sb, struct template_output *out)
{
    size_t n = 0;
    for (size_t at = 0; at < sb->n_bytes; at += run_length(sb->marks, at, sb->n_bytes))
        n++;
    out->fragments = malloc((n ? n : 1) * sizeof *out->fragments);
    if (!out->fragments || !buf_add(&out->text, sb->bytes ? sb->bytes : "", sb->n_bytes))
        return false;
    for (size_t at = 0; at < sb->n_bytes;) {
        size_t length = run_length(sb->marks, at, sb->n_bytes);
        out->fragments[out->n_fragments++] =
            (struct template_fragment){ .offset_bytes = at, .n_bytes = length, .trusted = !sb->marks[at] };
        at += length;
    }
    return true;
}

enum err_code template_render(const struct template *t, const struct template_value *inputs,
                              const struct template_limits *limits, struct template_output *out,
                              struct err *e)
{
    struct err local;
    struct tmpl_run r = { .err = e ? e : &local,
                          .limits = limits ? *limits : template_limits_default() };
    struct tmpl_scope root = { .parent = NULL };
    struct tmpl_sb sb;

    template_output_finish(out);
    r.err->code = ERR_OK;
    r.arena.max_bytes = r.limits.memory_bytes;
    tmpl_sb_init(&sb, &r);
    r.out = &sb;
    bool ok = copy_inputs(&r, inputs) && tmpl_exec_template(&r, &root, t->body) && !sb.failed;
    if (ok && !fill_output(&sb, out)) {
        err_set(r.err, ERR_NOMEM, "template: no memory for its output");
        ok = false;
    }
    arena_finish(&r.arena);
    if (ok)
        return ERR_OK;
    template_output_finish(out);
    return r.err->code;
}
