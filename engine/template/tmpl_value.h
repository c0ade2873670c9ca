/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_TEMPLATE_TMPL_VALUE_H
#define QUIP_ENGINE_TEMPLATE_TMPL_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/arena.h"
#include "engine/template/template.h"

/* The values of a running template: what Python would hold, as far as templates can tell.
 *
 * A value is a small struct passed around by copy; texts, lists and dicts are behind pointers into
 * an arena and live as long as the rendering, so nothing is counted or freed. Texts never change
 * once built: a slice shares the bytes of what it was cut from. */

enum tmpl_type {
    TMPL_ABSENT = 0,    /* an argument that was not given; never visible to a template */
    TMPL_UNDEFINED,
    TMPL_NONE,
    TMPL_BOOL,
    TMPL_INT,
    TMPL_FLOAT,
    TMPL_TEXT,
    TMPL_LIST,
    TMPL_DICT,
    TMPL_NAMESPACE,
    TMPL_LOOP,
    TMPL_MACRO,
    TMPL_FUNCTION,
    TMPL_METHOD,
    TMPL_JOINER
};

/* Things a template can walk over that are not text or dict. All hold their items in full. */
enum tmpl_list_kind {
    TMPL_LIST_PLAIN,
    TMPL_LIST_TUPLE,
    TMPL_LIST_RANGE,
    TMPL_LIST_VIEW,         /* dict.items() and its kin: no subscripts */
    TMPL_LIST_GENERATOR     /* what filters return: true even when empty, gone once walked over */
};

/* Bytes with a mark for each. marks is NULL when all are marked as `untrusted` says, else an array
 * of n_bytes, 1 for untrusted. */
struct tmpl_text {
    const char *bytes;
    const uint8_t *marks;
    size_t n_bytes;
    bool untrusted;
};

struct tmpl_list;
struct tmpl_dict;
struct tmpl_loop;
struct tmpl_macro;
struct tmpl_method;
struct tmpl_native;
struct tmpl_joiner;

struct template_value {
    uint8_t type;         /* enum tmpl_type */
    bool untrusted;       /* numbers, bools, none: whether an input had a part in it */
    bool is_attribute;    /* undefined: missing in a container, not a missing name */
    union {
        bool boolean;
        int64_t integer;
        double number;
        const struct tmpl_text *text;    /* undefined: its name, or NULL */
        struct tmpl_list *list;
        struct tmpl_dict *dict;          /* also of a namespace */
        struct tmpl_loop *loop;
        struct tmpl_macro *macro;
        struct tmpl_method *method;
        const struct tmpl_native *native;
        struct tmpl_joiner *joiner;
    } as;
};

struct tmpl_list {
    struct template_value *items;
    size_t n;
    size_t cap;
    enum tmpl_list_kind kind;
    bool consumed;
    int64_t range[3];    /* of a range: what was asked for, for its repr */
};

struct tmpl_pair {
    struct template_value key;
    struct template_value value;
};

/* In order of insertion, found by walking: chat templates have a handful of keys. */
struct tmpl_dict {
    struct tmpl_pair *pairs;
    size_t n;
    size_t cap;
};

struct tmpl_method {
    struct template_value self;
    const struct tmpl_native *native;
};

struct tmpl_joiner {
    const struct tmpl_text *separator;
    bool used;
};

static inline struct template_value tmpl_none(void)
{
    return (struct template_value){ .type = TMPL_NONE };
}

static inline struct template_value tmpl_undefined(const struct tmpl_text *name)
{
    return (struct template_value){ .type = TMPL_UNDEFINED, .as.text = name };
}

static inline struct template_value tmpl_bool(bool value)
{
    return (struct template_value){ .type = TMPL_BOOL, .as.boolean = value };
}

static inline struct template_value tmpl_int(int64_t value)
{
    return (struct template_value){ .type = TMPL_INT, .as.integer = value };
}

static inline struct template_value tmpl_float(double value)
{
    return (struct template_value){ .type = TMPL_FLOAT, .as.number = value };
}

static inline struct template_value tmpl_text_value(const struct tmpl_text *text)
{
    return (struct template_value){ .type = TMPL_TEXT, .as.text = text };
}

static inline struct template_value tmpl_list_value(struct tmpl_list *list)
{
    return (struct template_value){ .type = TMPL_LIST, .as.list = list };
}

static inline struct template_value tmpl_dict_value(struct tmpl_dict *dict)
{
    return (struct template_value){ .type = TMPL_DICT, .as.dict = dict };
}

static inline bool tmpl_is_number(const struct template_value *v)
{
    return v->type == TMPL_BOOL || v->type == TMPL_INT || v->type == TMPL_FLOAT;
}

/* A bool or an int as an int64_t. */
static inline int64_t tmpl_as_int(const struct template_value *v)
{
    return v->type == TMPL_BOOL ? v->as.boolean : v->as.integer;
}

static inline double tmpl_as_double(const struct template_value *v)
{
    return v->type == TMPL_FLOAT ? v->as.number : (double)tmpl_as_int(v);
}

/* All allocating functions give NULL or false when the arena gives no more. */
const struct tmpl_text *tmpl_text_copy(struct arena *a, const char *bytes, size_t n_bytes,
                                       bool untrusted);
struct tmpl_list *tmpl_list_create(struct arena *a, enum tmpl_list_kind kind, size_t n_expected);
bool tmpl_list_add(struct arena *a, struct tmpl_list *list, struct template_value item);
void tmpl_list_reverse(struct tmpl_list *list);
struct tmpl_dict *tmpl_dict_create(struct arena *a, size_t n_expected);
/* Without looking for the key: for callers who know it to be new. */
bool tmpl_dict_add(struct arena *a, struct tmpl_dict *d, struct template_value key,
                   struct template_value value);
struct template_value *tmpl_dict_find_bytes(const struct tmpl_dict *d, const char *key,
                                            size_t n_bytes);

bool tmpl_text_equal(const struct tmpl_text *x, const struct tmpl_text *y);
bool tmpl_text_is(const struct tmpl_text *x, const char *literal);

/* "str", "list", "dict" ... as Python calls the type. */
const char *tmpl_type_name(const struct template_value *v);
/* Python's bool(). */
bool tmpl_truth(const struct template_value *v);
/* Containers copied, texts shared; depth is how many more levels are allowed. */
bool tmpl_deep_copy(struct arena *a, const struct template_value *from, int depth,
                    struct template_value *to);

#endif
