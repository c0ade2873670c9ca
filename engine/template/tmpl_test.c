/* SPDX-License-Identifier: MIT */
/* What may follow `is`. Each gives a bool. */
#include "engine/template/tmpl_run.h"

#include <string.h>
#include <utf8proc.h>

#include "engine/base/utf8.h"

#define TYPE_TEST(name, condition)                                                      \
    static bool test_##name(struct tmpl_run *r, const struct tmpl_call *c,              \
                            struct template_value *out)                                 \
    {                                                                                   \
        const struct template_value *v = &c->self;                                      \
        (void)r;                                                                        \
        *out = tmpl_bool(condition);                                                    \
        return true;                                                                    \
    }

TYPE_TEST(defined, v->type != TMPL_UNDEFINED)
TYPE_TEST(undefined, v->type == TMPL_UNDEFINED)
TYPE_TEST(none, v->type == TMPL_NONE)
TYPE_TEST(boolean, v->type == TMPL_BOOL)
TYPE_TEST(true, v->type == TMPL_BOOL && v->as.boolean)
TYPE_TEST(false, v->type == TMPL_BOOL && !v->as.boolean)
TYPE_TEST(integer, v->type == TMPL_INT)
TYPE_TEST(float, v->type == TMPL_FLOAT)
TYPE_TEST(number, tmpl_is_number(v))
TYPE_TEST(string, v->type == TMPL_TEXT)
TYPE_TEST(mapping, v->type == TMPL_DICT)
TYPE_TEST(iterable, v->type == TMPL_TEXT || v->type == TMPL_LIST || v->type == TMPL_DICT ||
                    v->type == TMPL_LOOP || v->type == TMPL_UNDEFINED)
TYPE_TEST(sequence, v->type == TMPL_TEXT || v->type == TMPL_DICT || v->type == TMPL_UNDEFINED ||
                    (v->type == TMPL_LIST && v->as.list->kind <= TMPL_LIST_RANGE))
TYPE_TEST(callable, v->type == TMPL_MACRO || v->type == TMPL_FUNCTION || v->type == TMPL_METHOD ||
                    v->type == TMPL_JOINER || v->type == TMPL_UNDEFINED)
TYPE_TEST(escaped, v->type == TMPL_ABSENT)
TYPE_TEST(filter, v->type == TMPL_TEXT &&
                  (tmpl_filter_find(v->as.text->bytes, v->as.text->n_bytes) ||
                   tmpl_seq_filter_find(v->as.text->bytes, v->as.text->n_bytes)))
TYPE_TEST(test, v->type == TMPL_TEXT && tmpl_test_find(v->as.text->bytes, v->as.text->n_bytes))

/* Python's islower and isupper: some letter has a case, and none has the other. */
static bool has_case(const struct tmpl_text *text, bool upper)
{
    bool any = false;
    for (size_t at = 0; at < text->n_bytes;) {
        uint32_t cp;
        at += (size_t)utf8_decode(text->bytes + at, text->n_bytes - at, &cp);
        int category = utf8proc_category((int32_t)cp);
        bool is_upper = category == UTF8PROC_CATEGORY_LU || category == UTF8PROC_CATEGORY_LT;
        if (!is_upper && category != UTF8PROC_CATEGORY_LL)
            continue;
        if (is_upper != upper)
            return false;
        any = true;
    }
    return any;
}

static bool case_test(struct tmpl_run *r, const struct tmpl_call *c, bool upper,
                      struct template_value *out)
{
    struct template_value text;
    if (!tmpl_to_text(r, &c->self, &text))
        return false;
    *out = tmpl_bool(has_case(text.as.text, upper));
    return true;
}

static bool test_lower(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    return case_test(r, c, false, out);
}

static bool test_upper(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    return case_test(r, c, true, out);
}

static bool divisible(struct tmpl_run *r, const struct tmpl_call *c, int64_t by, int64_t rest,
                      struct template_value *out)
{
    struct template_value divisor = tmpl_int(by), left, want = tmpl_int(rest);
    bool same;
    if (!tmpl_binary(r, TMPL_OP_MOD, &c->self, &divisor, &left) || !tmpl_equal(r, &left, &want, &same))
        return false;
    *out = tmpl_bool(same);
    return true;
}

static bool test_odd(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    return divisible(r, c, 2, 1, out);
}

static bool test_even(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    return divisible(r, c, 2, 0, out);
}

static bool test_divisibleby(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    int64_t by;
    return tmpl_arg_int(r, c, 0, 0, &by) && divisible(r, c, by, 0, out);
}

static bool test_sameas(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    const struct template_value *x = &c->self, *y = &c->arg[0];
    bool same = x->type == y->type;
    if (same && (x->type == TMPL_LIST || x->type == TMPL_DICT))
        same = x->as.list == y->as.list;
    else if (same && !tmpl_equal(r, x, y, &same))
        return false;
    *out = tmpl_bool(same);
    return true;
}

static bool compare(struct tmpl_run *r, const struct tmpl_call *c, enum tmpl_op op,
                    struct template_value *out)
{
    bool yes;
    if (!tmpl_compare(r, op, &c->self, &c->arg[0], &yes))
        return false;
    *out = tmpl_bool(yes);
    return true;
}

#define COMPARE_TEST(name, op)                                                          \
    static bool test_##name(struct tmpl_run *r, const struct tmpl_call *c,              \
                            struct template_value *out)                                 \
    {                                                                                   \
        return compare(r, c, op, out);                                                  \
    }

COMPARE_TEST(eq, TMPL_OP_EQ)
COMPARE_TEST(ne, TMPL_OP_NE)
COMPARE_TEST(lt, TMPL_OP_LT)
COMPARE_TEST(le, TMPL_OP_LE)
COMPARE_TEST(gt, TMPL_OP_GT)
COMPARE_TEST(ge, TMPL_OP_GE)
COMPARE_TEST(in, TMPL_OP_IN)

const struct tmpl_native *tmpl_test_find(const char *name, size_t n_bytes)
{
    static const struct tmpl_native table[] = {
        { "defined", "", 0, test_defined },
        { "undefined", "", 0, test_undefined },
        { "none", "", 0, test_none },
        { "boolean", "", 0, test_boolean },
        { "true", "", 0, test_true },
        { "false", "", 0, test_false },
        { "integer", "", 0, test_integer },
        { "float", "", 0, test_float },
        { "number", "", 0, test_number },
        { "string", "", 0, test_string },
        { "mapping", "", 0, test_mapping },
        { "iterable", "", 0, test_iterable },
        { "sequence", "", 0, test_sequence },
        { "callable", "", 0, test_callable },
        { "escaped", "", 0, test_escaped },
        { "filter", "", 0, test_filter },
        { "test", "", 0, test_test },
        { "lower", "", 0, test_lower },
        { "upper", "", 0, test_upper },
        { "odd", "", 0, test_odd },
        { "even", "", 0, test_even },
        { "divisibleby", "num", 1, test_divisibleby },
        { "sameas", "other", 1, test_sameas },
        { "eq", "other", 1, test_eq },
        { "equalto", "other", 1, test_eq },
        { "==", "other", 1, test_eq },
        { "ne", "other", 1, test_ne },
        { "!=", "other", 1, test_ne },
        { "lt", "other", 1, test_lt },
        { "lessthan", "other", 1, test_lt },
        { "<", "other", 1, test_lt },
        { "le", "other", 1, test_le },
        { "<=", "other", 1, test_le },
        { "gt", "other", 1, test_gt },
        { "greaterthan", "other", 1, test_gt },
        { ">", "other", 1, test_gt },
        { "ge", "other", 1, test_ge },
        { ">=", "other", 1, test_ge },
        { "in", "seq", 1, test_in },
    };
    return tmpl_native_find(table, sizeof table / sizeof *table, name, n_bytes);
}
