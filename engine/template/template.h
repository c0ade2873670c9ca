/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_TEMPLATE_TEMPLATE_H
#define QUIP_ENGINE_TEMPLATE_TEMPLATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/arena.h"
#include "engine/base/buf.h"
#include "engine/base/err.h"

/* Chat templates: the Jinja subset that model files carry, compiled once and rendered within limits.
 *
 * What comes out is one text in which every byte is known to come from the template (trusted: its
 * special tokens are tokens) or from the inputs (untrusted: `<|im_end|>` typed by a person is ten
 * characters). The mark follows the bytes through every string operation.
 *
 * Behaves as jinja2 does with trim_blocks, lstrip_blocks, the loop controls and the functions that
 * chat templates expect (raise_exception, strftime_now, tojson as plain json.dumps without ASCII
 * escapes, generation blocks); tests/golden/test_template.c holds both side by side. */

struct template;
struct template_value;

/* ---- Values: what a template is given -------------------------------------------------------
 *
 * Every value lives in the caller's arena. A constructor returns NULL when there is no memory, and
 * takes NULL children, so a whole tree is built first and checked once at its root. */

struct template_value *template_value_none(struct arena *a);
struct template_value *template_value_bool(struct arena *a, bool value);
struct template_value *template_value_int(struct arena *a, int64_t value);
struct template_value *template_value_float(struct arena *a, double value);
/* The bytes are copied. Untrusted: the text of a person, a model, a tool or a file. */
struct template_value *template_value_text(struct arena *a, const char *bytes, size_t n_bytes);
struct template_value *template_value_array(struct arena *a);
struct template_value *template_value_object(struct arena *a);
/* NULL when anything is NULL or memory ends, else the container: `o = object_set(a, o, "k", v)`.
 * A key that is there already gets the new value and keeps its place. */
struct template_value *template_value_array_add(struct arena *a, struct template_value *array,
                                                struct template_value *item);
struct template_value *template_value_object_set(struct arena *a, struct template_value *object,
                                                 const char *key, struct template_value *value);
/* Member of an object, or NULL. */
const struct template_value *template_value_object_get(const struct template_value *object,
                                                       const char *key);
/* One JSON text, all of its strings untrusted. Errors: ERR_FORMAT with line and column; nesting
 * beyond 60 and integers beyond 64 bits are refused. */
enum err_code template_value_from_json(struct template_value **out, struct arena *a,
                                       const char *json, size_t n_bytes, struct err *e);

/* ---- Templates ------------------------------------------------------------------------------ */

struct template_limits {
    int64_t steps;          /* expressions and statements evaluated, long strings counting more */
    int32_t depth;          /* blocks and macro calls inside each other */
    int64_t range;          /* items of one range() */
    size_t output_bytes;
    size_t memory_bytes;    /* everything a rendering allocates; freed when it ends */
};

/* 1 M steps, depth 64, range of 100 k, 16 MiB of output, 256 MiB of memory. */
struct template_limits template_limits_default(void);

/* A run of bytes with one mark. Neighbours differ in their mark, and together they cover the text.
 * A border between fragments is no border between tokens: the tokenizer sees the whole text and
 * takes special tokens only where all of their bytes are trusted. */
struct template_fragment {
    size_t offset_bytes;
    size_t n_bytes;
    bool trusted;
};

struct template_output {
    struct buf text;
    struct template_fragment *fragments;
    size_t n_fragments;
};

void template_output_init(struct template_output *o);
void template_output_finish(struct template_output *o);

/* Compiles. The source is copied. Errors: ERR_FORMAT, "template line 12: ...". */
enum err_code template_create(struct template **out, const char *source, size_t n_bytes,
                              struct err *e);
void template_destroy(struct template *t);

/* Renders. A compiled template is not changed by it, so several threads may share one.
 *
 * inputs   an object whose members are the template's variables: messages, tools,
 *          add_generation_prompt, enable_thinking ... and some with a meaning of their own:
 *            bos_token, eos_token (also pad, unk, sep, cls, mask): their text is trusted
 *            messages[i].role: trusted when it is one of the known roles, since templates make
 *                 tokens of them ('<|' + role + '|>'); everything else in messages is untrusted
 *            now: the time for strftime_now(), as seconds since 1970 (UTC) or
 *                 "2026-07-31 18:30:00"; absent: the system's clock, local time
 *          The inputs stay as they are whatever the template does.
 * Stack    up to 400 KB for the most deeply nested template that is still let through
 * limits   NULL: the defaults
 * out      initialised; holds the text after ERR_OK, is emptied otherwise
 * Errors   ERR_FORMAT with the line: a limit, an operation that makes no sense, or the text of the
 *          template's own raise_exception(); ERR_NOMEM */
enum err_code template_render(const struct template *t, const struct template_value *inputs,
                              const struct template_limits *limits, struct template_output *out,
                              struct err *e);

/* ---- What a template can do ----------------------------------------------------------------- */

struct template_traits {
    bool system;             /* a system message shows up in the prompt */
    bool tools;              /* `tools` changes the prompt */
    bool tool_calls;         /* calls in assistant messages show up */
    bool enable_thinking;    /* `enable_thinking` is read */
    bool reasoning_effort;   /* `reasoning_effort` is read */
    bool opens_reasoning;    /* the generation prompt ends inside reasoning: output starts there */
    /* What surrounds reasoning in the output: "<think>" and "</think>"; NULL when the template
     * knows none. For harmony these are the analysis channel's header and "<|end|>". */
    const char *reasoning_open;
    const char *reasoning_close;
};

/* By the template's text and by rendering short dialogues. Never fails: what cannot be rendered
 * counts as absent. */
void template_probe(const struct template *t, struct template_traits *out);

/* ---- Built-in templates: when the file has none, or one that fails -------------------------- */

typedef bool (*template_has_token_fn)(const void *context, const char *text);

/* Name of the built-in that goes with a vocabulary, told by its special tokens: "chatml", "llama3",
 * "llama2", "gemma", "mistral", "phi3", "zephyr", "harmony"; "plain" when nothing is known. */
const char *template_builtin_for(template_has_token_fn has_token, const void *context);
/* Its source, to be given to template_create(); NULL for an unknown name. */
const char *template_builtin_source(const char *name);

#endif
