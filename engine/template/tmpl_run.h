/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_TEMPLATE_TMPL_RUN_H
#define QUIP_ENGINE_TEMPLATE_TMPL_RUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/arena.h"
#include "engine/base/err.h"
#include "engine/template/tmpl_node.h"
#include "engine/template/tmpl_value.h"

/* One rendering. Functions that can fail return false after tmpl_fail() wrote why; the caller only
 * passes it on. Memory, steps and nesting all run out here, so that no template can take the
 * program with it:
 *
 *   steps    one per node evaluated, and one per 256 bytes of text touched
 *   depth    statements inside each other and macro calls
 *   frames   recursion of the evaluator in C, which bounds the machine's stack
 *   memory   the arena's own limit */

enum {
    TMPL_FRAMES = 600,         /* times about 300 bytes of stack */
    TMPL_VALUE_DEPTH = 64,     /* containers inside each other when printed, compared or copied */
    TMPL_BYTES_PER_STEP = 256,
    TMPL_MAX_PARAMS = 6
};

/* A text under construction, bytes and marks side by side. */
struct tmpl_sb {
    struct tmpl_run *run;
    char *bytes;
    uint8_t *marks;
    size_t n_bytes;
    size_t cap_bytes;
    bool failed;    /* sticks; the run's error says why */
};

struct tmpl_var {
    const struct tmpl_text *name;    /* interned, so mostly found by its address */
    struct template_value value;
};

struct tmpl_scope {
    struct tmpl_scope *parent;
    struct tmpl_var *vars;
    int32_t n;
    int32_t cap;
    bool captured;    /* a macro refers to it, so its storage is not reused */
};

struct tmpl_loop {
    struct tmpl_list *items;
    size_t index;
    struct template_value changed;    /* what loop.changed() saw last; absent at first */
};

struct tmpl_macro {
    const struct tmpl_node *node;
    struct tmpl_scope *scope;    /* where it was defined */
};

struct tmpl_run {
    struct arena arena;
    struct err *err;
    struct template_limits limits;
    int64_t steps;
    int32_t depth;
    int32_t frames;
    int32_t line;
    const struct tmpl_dict *inputs;
    struct tmpl_sb *out;
};

/* Arguments of a call as written. */
struct tmpl_keyword {
    const struct tmpl_text *name;
    struct template_value value;
};

struct tmpl_args {
    struct template_value *items;
    size_t n_items;
    struct tmpl_keyword *keywords;
    size_t n_keywords;
};

/* A filter, test, method or function written in C. params names its parameters, separated by
 * commas, bound to arg[] before the call (absent ones have TMPL_ABSENT); NULL takes args raw. */
struct tmpl_call {
    const char *name;
    struct template_value self;    /* filter: the input; method: the object */
    const struct tmpl_args *args;
    struct template_value arg[TMPL_MAX_PARAMS];
};

typedef bool (*tmpl_native_fn)(struct tmpl_run *r, const struct tmpl_call *c,
                               struct template_value *out);

struct tmpl_native {
    const char *name;
    const char *params;
    int n_required;
    tmpl_native_fn run;
};

/* --- the run itself (tmpl_run.c) --- */
bool tmpl_fail(struct tmpl_run *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* After an allocation of about n_bytes failed: says whether the limit or the system refused. */
bool tmpl_fail_memory(struct tmpl_run *r, size_t n_bytes);
bool tmpl_charge(struct tmpl_run *r, size_t n_bytes);
void *tmpl_alloc(struct tmpl_run *r, size_t n, size_t item_bytes);
bool tmpl_make_list(struct tmpl_run *r, enum tmpl_list_kind kind, size_t n_expected,
                    struct template_value *out);
bool tmpl_push(struct tmpl_run *r, struct template_value *list, struct template_value item);
bool tmpl_make_text(struct tmpl_run *r, const char *bytes, size_t n_bytes, bool untrusted,
                    struct template_value *out);
bool tmpl_call_native(struct tmpl_run *r, const struct tmpl_native *native,
                      const struct template_value *self, const struct tmpl_args *args,
                      struct template_value *out);
const struct tmpl_native *tmpl_native_find(const struct tmpl_native *table, size_t n,
                                           const char *name, size_t n_bytes);
/* Errors every operation on an undefined value ends in. */
bool tmpl_fail_undefined(struct tmpl_run *r, const struct template_value *v);

/* --- builder and text operations (tmpl_text.c) --- */
void tmpl_sb_init(struct tmpl_sb *sb, struct tmpl_run *r);
void tmpl_sb_add(struct tmpl_sb *sb, const char *bytes, size_t n_bytes, bool untrusted);
void tmpl_sb_add_literal(struct tmpl_sb *sb, const char *literal, bool untrusted);
void tmpl_sb_add_text(struct tmpl_sb *sb, const struct tmpl_text *text);
void tmpl_sb_add_slice(struct tmpl_sb *sb, const struct tmpl_text *text, size_t offset, size_t n);
void tmpl_sb_add_code_point(struct tmpl_sb *sb, uint32_t code_point, bool untrusted);
void tmpl_sb_fill(struct tmpl_sb *sb, char byte, size_t n, bool untrusted);
bool tmpl_sb_finish(struct tmpl_sb *sb, struct template_value *out);

bool tmpl_slice_text(struct tmpl_run *r, const struct tmpl_text *text, size_t offset, size_t n,
                     struct template_value *out);
/* The mark of one byte; whether any byte is untrusted. */
bool tmpl_mark_at(const struct tmpl_text *text, size_t offset);
bool tmpl_tainted(const struct tmpl_text *text);
size_t tmpl_count_chars(const struct tmpl_text *text);
/* Offset of needle at or after from, or SIZE_MAX. */
size_t tmpl_find(const struct tmpl_text *text, const struct tmpl_text *needle, size_t from);
bool tmpl_is_space(uint32_t code_point);
enum tmpl_strip { TMPL_STRIP_LEFT = 1, TMPL_STRIP_RIGHT = 2, TMPL_STRIP_BOTH = 3 };
/* chars NULL: white space. */
bool tmpl_strip_text(struct tmpl_run *r, const struct tmpl_text *text, const struct tmpl_text *chars,
                     enum tmpl_strip sides, struct template_value *out);
bool tmpl_replace_text(struct tmpl_run *r, const struct tmpl_text *text, const struct tmpl_text *old,
                       const struct tmpl_text *with, int64_t max, struct template_value *out);
enum tmpl_case { TMPL_CASE_LOWER, TMPL_CASE_UPPER, TMPL_CASE_CAPITAL, TMPL_CASE_TITLE };
bool tmpl_change_case(struct tmpl_run *r, const struct tmpl_text *text, enum tmpl_case to,
                      struct template_value *out);
bool tmpl_split_lines(struct tmpl_run *r, const struct tmpl_text *text, bool keep_ends,
                      struct template_value *out);

/* --- printing (tmpl_print.c): str() and repr() of Python --- */
void tmpl_print(struct tmpl_sb *sb, const struct template_value *v);
void tmpl_print_repr(struct tmpl_sb *sb, const struct template_value *v, int depth);
/* The shortest decimal that reads back as the same double, laid out as Python does. */
size_t tmpl_format_float(char out[40], double value);
/* "1.5e3" with a point whatever the locale says; false when bytes are no number in full. */
bool tmpl_parse_float(const char *bytes, size_t n_bytes, double *out);
bool tmpl_to_text(struct tmpl_run *r, const struct template_value *v, struct template_value *out);

/* --- JSON (tmpl_json.c) --- */
bool tmpl_filter_tojson(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out);
bool tmpl_filter_from_json(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out);

/* --- operators (tmpl_op.c) --- */
bool tmpl_equal(struct tmpl_run *r, const struct template_value *x, const struct template_value *y,
                bool *out);
/* Below 0, 0, above 0. */
bool tmpl_order(struct tmpl_run *r, const struct template_value *x, const struct template_value *y,
                int *out);
bool tmpl_contains(struct tmpl_run *r, const struct template_value *container,
                   const struct template_value *item, bool *out);
bool tmpl_binary(struct tmpl_run *r, enum tmpl_op op, const struct template_value *x,
                 const struct template_value *y, struct template_value *out);
bool tmpl_compare(struct tmpl_run *r, enum tmpl_op op, const struct template_value *x,
                  const struct template_value *y, bool *out);
bool tmpl_negate(struct tmpl_run *r, const struct template_value *x, struct template_value *out);

/* Missing: *out is NULL. A key that cannot be one is an error. */
bool tmpl_dict_find(struct tmpl_run *r, const struct tmpl_dict *d, const struct template_value *key,
                    struct template_value **out);
bool tmpl_dict_put(struct tmpl_run *r, struct tmpl_dict *d, const struct template_value *key,
                   const struct template_value *value);
/* The items of anything that can be walked over, as a list (which may be v's own). */
bool tmpl_iterate(struct tmpl_run *r, const struct template_value *v, struct tmpl_list **out);
/* The characters of a text, each a text. */
bool tmpl_text_chars(struct tmpl_run *r, const struct tmpl_text *text, struct tmpl_list **out);
bool tmpl_len(struct tmpl_run *r, const struct template_value *v, int64_t *out);
/* Bool or int; text that is digits is not. */
bool tmpl_is_int(const struct template_value *v);

/* --- subscripts (tmpl_item.c) --- */
/* x[key], x.name and x[from:to:step]; what is not there is undefined, not an error. */
bool tmpl_get_item(struct tmpl_run *r, const struct template_value *x,
                   const struct template_value *key, struct template_value *out);
bool tmpl_get_attribute(struct tmpl_run *r, const struct template_value *x,
                        const struct tmpl_text *name, struct template_value *out);
bool tmpl_get_slice(struct tmpl_run *r, const struct template_value *x,
                    const struct template_value bounds[3], struct template_value *out);

/* --- arguments of natives --- */
/* The argument as an integer, a text or a truth; absent or none gives the default, another type an
 * error that names the call. */
bool tmpl_arg_int(struct tmpl_run *r, const struct tmpl_call *c, int i, int64_t otherwise,
                  int64_t *out);
bool tmpl_arg_text(struct tmpl_run *r, const struct tmpl_call *c, int i,
                   const struct tmpl_text *otherwise, const struct tmpl_text **out);
bool tmpl_arg_truth(const struct tmpl_call *c, int i, bool otherwise);

/* --- tables --- */
const struct tmpl_native *tmpl_filter_find(const char *name, size_t n_bytes);      /* tmpl_filter.c */
const struct tmpl_native *tmpl_seq_filter_find(const char *name, size_t n_bytes);  /* tmpl_seq.c */
const struct tmpl_native *tmpl_test_find(const char *name, size_t n_bytes);        /* tmpl_test.c */
const struct tmpl_native *tmpl_function_find(const char *name, size_t n_bytes);    /* tmpl_function.c */
/* A method of this type of value, or NULL. */
const struct tmpl_native *tmpl_method_find(const struct template_value *self, const char *name,
                                           size_t n_bytes);                        /* tmpl_method.c */
const struct tmpl_native *tmpl_text_method_find(const char *name, size_t n_bytes); /* tmpl_method_text.c */
bool tmpl_apply_filter(struct tmpl_run *r, const struct tmpl_text *name,
                       const struct template_value *in, const struct tmpl_args *args,
                       struct template_value *out);
bool tmpl_apply_test(struct tmpl_run *r, const struct tmpl_text *name,
                     const struct template_value *in, const struct tmpl_args *args, bool *out);

/* --- formatting (tmpl_format.c) --- */
bool tmpl_format_percent(struct tmpl_run *r, const struct tmpl_text *format,
                         const struct template_value *args, struct template_value *out);
bool tmpl_format_braces(struct tmpl_run *r, const struct tmpl_text *format,
                        const struct tmpl_args *args, struct template_value *out);
bool tmpl_format_time(struct tmpl_run *r, const struct tmpl_text *format,
                      struct template_value *out);

/* --- evaluation (tmpl_eval.c, tmpl_stmt.c) --- */
bool tmpl_eval(struct tmpl_run *r, struct tmpl_scope *s, const struct tmpl_node *n,
               struct template_value *out);
bool tmpl_eval_args(struct tmpl_run *r, struct tmpl_scope *s, const struct tmpl_node *n,
                    struct tmpl_args *out);
bool tmpl_call_value(struct tmpl_run *r, const struct template_value *callee,
                     const struct tmpl_args *args, struct template_value *out);
bool tmpl_call_macro(struct tmpl_run *r, const struct tmpl_macro *m, const struct tmpl_args *args,
                     struct template_value *out);
bool tmpl_scope_set(struct tmpl_run *r, struct tmpl_scope *s, const struct tmpl_text *name,
                    struct template_value value);
bool tmpl_exec_template(struct tmpl_run *r, struct tmpl_scope *s, const struct tmpl_node *body);

#endif
