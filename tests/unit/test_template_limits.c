/* SPDX-License-Identifier: MIT */
/* A template is a program from a file off the net: whatever it does, it ends, within its memory,
 * with an error that says where. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/template/template.h"
#include "tests/support/test.h"

static enum err_code run(const char *source, const char *json, const struct template_limits *limits,
                         struct template_output *out, struct err *e)
{
    struct template *template = NULL;
    struct template_value *inputs = NULL;
    struct arena a;
    arena_init(&a);
    template_output_init(out);
    enum err_code rc = template_value_from_json(&inputs, &a, json, strlen(json), e);
    if (rc == ERR_OK)
        rc = template_create(&template, source, strlen(source), e);
    if (rc == ERR_OK)
        rc = template_render(template, inputs, limits, out, e);
    template_destroy(template);
    arena_finish(&a);
    return rc;
}

/* Refused, with this in the text. */
static void check_refused(struct test *t, const char *source, const struct template_limits *limits,
                          const char *want)
{
    struct template_output out;
    struct err e = { 0 };
    enum err_code rc = run(source, "{\"s\": \"text\", \"list\": [1, 2, 3]}", limits, &out, &e);
    CHECK_INT(t, rc, ERR_FORMAT, "%.80s: %s", source, e.text);
    CHECK(t, strstr(e.text, want), "%.80s: '%s' should have '%s'", source, e.text, want);
    CHECK(t, out.fragments == NULL && out.text.n_bytes == 0, "nothing is handed out");
    template_output_finish(&out);
}

TEST(template_limits_stop_runaway_templates)
{
    check_refused(t, "{% for a in range(1000) %}{% for b in range(1000) %}{% for c in range(1000) %}"
                     "{% endfor %}{% endfor %}{% endfor %}", NULL, "steps");
    check_refused(t, "{% macro f() %}{{ f() }}{% endmacro %}\n{{ f() }}", NULL, "deep");
    check_refused(t, "{% macro f(x=f()) %}{% endmacro %}{{ f() }}", NULL, "deep");
    check_refused(t, "{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}{{ a() }}{% endmacro %}"
                     "{{ a() }}", NULL, "deep");
    check_refused(t, "{% for x in range(100001) %}{% endfor %}", NULL, "100000");
    check_refused(t, "{{ range(0, 9000000000000000000, 1) }}", NULL, "100000");
    check_refused(t, "{{ 'x' * 100000000 }}", NULL, "16777216");
    check_refused(t, "{{ [1] * 1000000 }}", NULL, "items");
    check_refused(t, "{% set ns = namespace(s='0123456789abcdef') %}{% for i in range(30) %}"
                     "{% set ns.s = ns.s ~ ns.s %}{% endfor %}", NULL, "16777216");
    check_refused(t, "{% set ns = namespace(l=[1]) %}{% for i in range(40) %}"
                     "{% set ns.l = ns.l + ns.l %}{% endfor %}", NULL, "steps");
    check_refused(t, "{% for i in range(9999) %}{{ 'x' * 4000 }}{% endfor %}", NULL, "16777216");
    check_refused(t, "{{ '%999999999d' % 5 }}", NULL, "4096");
    check_refused(t, "{{ '{:999999999}'.format(5) }}", NULL, "4096");
    check_refused(t, "{{ 'x' | center(99999999999) }}", NULL, "16777216");
    check_refused(t, "{{ 'x'.ljust(99999999999) }}", NULL, "16777216");
    check_refused(t, "{{ s | indent(99999999999, true) }}", NULL, "16777216");
    check_refused(t, "{{ 9223372036854775807 + 1 }}", NULL, "64 bits");
    check_refused(t, "{{ 10 ** 100 }}", NULL, "64 bits");
    check_refused(t, "{{ (0 - 9223372036854775807 - 1) // -1 }}", NULL, "64 bits");
}

TEST(template_limits_that_the_caller_sets)
{
    struct template_limits limits = template_limits_default();
    limits.steps = 50;
    check_refused(t, "{% for i in range(100) %}{{ i }}{% endfor %}", &limits, "50 steps");
    limits = template_limits_default();
    limits.output_bytes = 10;
    check_refused(t, "12345678901", &limits, "10 bytes");
    limits = template_limits_default();
    limits.depth = 3;
    check_refused(t, "{% if 1 %}{% if 1 %}{% if 1 %}x{% endif %}{% endif %}{% endif %}", &limits, "3 deep");
    limits = template_limits_default();
    limits.memory_bytes = 1024 * 1024;
    check_refused(t, "{% set ns = namespace(l=[]) %}{% for i in range(99999) %}{% set ns.l = [ns.l, i] %}"
                     "{% endfor %}", &limits, "1 MiB");
}

/* Values inside themselves, and values nested deeper than anything walks. */
TEST(template_limits_on_nesting)
{
    check_refused(t, "{% set _ = list.append(list) %}{{ list }}", NULL, "64 deep");
    check_refused(t, "{% set _ = list.append(list) %}{{ list | tojson }}", NULL, "64 deep");
    check_refused(t, "{% set _ = list.append(list) %}{% set l = [1, 2, 3] %}{% set _ = l.append(l) %}"
                     "{{ l == list }}", NULL, "64 deep");
    check_refused(t, "{% set ns = namespace(l=[]) %}{% for i in range(100) %}{% set ns.l = [ns.l] %}"
                     "{% endfor %}{{ ns.l }}", NULL, "64 deep");
}

/* `n` copies of piece around core. */
static char *nest(const char *open, const char *core, const char *close, int n)
{
    struct buf b;
    buf_init(&b);
    buf_add_text(&b, "{{ ");
    for (int i = 0; i < n; i++)
        buf_add_text(&b, open);
    buf_add_text(&b, core);
    for (int i = 0; i < n; i++)
        buf_add_text(&b, close);
    buf_add_text(&b, " }}");
    return buf_take(&b);
}

TEST(template_limits_on_the_parser)
{
    static const struct {
        const char *open, *core, *close;
    } shapes[] = { { "(", "1", ")" },      { "[", "", "]" },        { "{1:", "1", "}" },
                   { "not ", "1", "" },    { "- ", "1", "" },       { "1 if ", "1", "" },
                   { "", "1", " + 1" },    { "", "x", "[0]" },      { "", "x", ".a" },
                   { "", "'a'", "|trim" }, { "", "1", " and 1" },   { "x(", "1", ")" },
                   { "1 if 1 else ", "1", "" }, { "x[", "1", "]" }, { "", "1", " is defined" } };
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        char *source = nest(shapes[i].open, shapes[i].core, shapes[i].close, 20000);
        struct template_output out;
        struct err e = { 0 };
        enum err_code rc = run(source, "{}", NULL, &out, &e);
        CHECK_INT(t, rc, ERR_FORMAT, "%s...%s: %s", shapes[i].open, shapes[i].close, e.text);
        template_output_finish(&out);
        free(source);
    }
    struct buf b;
    buf_init(&b);
    for (int i = 0; i < 20000; i++)
        buf_add_text(&b, "{% if 1 %}");
    check_refused(t, buf_text(&b), NULL, "levels");
    buf_finish(&b);
}

/* Chains as long as real templates have them work. */
TEST(template_limits_allow_real_chains)
{
    struct template_output out;
    struct err e = { 0 };
    char *source = nest("", "1", " + 1", 200);
    CHECK_INT(t, run(source, "{}", NULL, &out, &e), ERR_OK, "%s", e.text);
    CHECK_TEXT(t, buf_text(&out.text), "201");
    template_output_finish(&out);
    free(source);
}

TEST(template_errors_name_the_line)
{
    check_refused(t, "a\nb\n{{ 1 / 0 }}", NULL, "template line 3: division by zero");
    check_refused(t, "a\n\n\n{% if %}", NULL, "template line 4:");
    check_refused(t, "\n{{ raise_exception('Only user and assistant roles!') }}", NULL,
                  "template line 2: the template says: Only user and assistant roles!");
    check_refused(t, "{{ nope.x }}", NULL, "'nope' is undefined");
    check_refused(t, "{{ s.a.b }}", NULL, "'a'");
    check_refused(t, "{{ s | nope }}", NULL, "no filter 'nope'");
    check_refused(t, "{% for x in list %}", NULL, "endfor");
    check_refused(t, "{% endif %}", NULL, "not opened");
    check_refused(t, "{{ 'abc", NULL, "quote");
}

TEST(template_json_is_bounded)
{
    struct template_value *v;
    struct arena a;
    struct err e;
    char deep[400];
    arena_init(&a);
    memset(deep, '[', 200);
    memset(deep + 200, ']', 200);
    CHECK_INT(t, template_value_from_json(&v, &a, deep, sizeof deep, &e), ERR_FORMAT);
    CHECK(t, strstr(e.text, "60"), "%s", e.text);
    CHECK_INT(t, template_value_from_json(&v, &a, "{\"a\": }", 7, &e), ERR_FORMAT);
    CHECK_INT(t, template_value_from_json(&v, &a, "99999999999999999999", 20, &e), ERR_FORMAT);
    CHECK_INT(t, template_value_from_json(&v, &a, "", 0, &e), ERR_FORMAT);
    arena_finish(&a);
}
