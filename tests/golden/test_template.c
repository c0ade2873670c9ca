/* SPDX-License-Identifier: MIT */
/* The template interpreter beside Python's jinja2: tests/data/template/ holds templates, inputs and
 * what jinja2 made of them (make_template.py). An output of null means that jinja2 refused, and then
 * the interpreter must refuse as well. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "engine/template/template.h"
#include "tests/support/test.h"

static json_t *load(struct test *t, const char *path)
{
    json_error_t error;
    json_t *json = json_load_file(path, JSON_ALLOW_NUL, &error);
    CHECK(t, json != NULL, "%s: %s", path, error.text);
    return json;
}

/* One rendering; the text (malloc) or NULL with e saying why. */
static char *render(struct test *t, const char *source, size_t n_source, json_t *inputs,
                    size_t *n_bytes, struct err *e)
{
    struct template *template = NULL;
    struct template_value *value = NULL;
    struct template_output out;
    struct arena a;
    char *text = NULL, *json = json_dumps(inputs, JSON_REAL_PRECISION(17));

    arena_init(&a);
    template_output_init(&out);
    enum err_code rc = template_value_from_json(&value, &a, json, strlen(json), e);
    CHECK(t, rc == ERR_OK, "inputs: %s", e->text);
    if (template_create(&template, source, n_source, e) == ERR_OK &&
        template_render(template, value, NULL, &out, e) == ERR_OK) {
        *n_bytes = out.text.n_bytes;
        buf_add_byte(&out.text, 0);
        text = buf_take(&out.text);
    }
    template_output_finish(&out);
    template_destroy(template);
    arena_finish(&a);
    free(json);
    return text;
}

static void check_case(struct test *t, const char *source, size_t n_source, json_t *inputs,
                       const json_t *want, const char *what)
{
    struct err e = { 0 };
    size_t n_bytes = 0;
    char *text = render(t, source, n_source, inputs, &n_bytes, &e);
    if (json_is_null(want)) {
        CHECK(t, text == NULL, "%s: jinja2 refuses, here it gives '%s'", what, text);
        CHECK(t, e.code == ERR_FORMAT && strncmp(e.text, "template line ", 14) == 0,
              "%s: '%s' should name the line", what, e.text);
        return;
    }
    CHECK(t, text != NULL, "%s: %s", what, e.text);
    CHECK_TEXT(t, text, json_string_value(want), "%s", what);
    CHECK_INT(t, n_bytes, json_string_length(want), "%s", what);
    free(text);
}

static void check_model(struct test *t, const char *name)
{
    char path[256], what[128];
    size_t n_source;
    json_t *all = load(t, "tests/data/template/models.json");
    json_t *talks = json_object_get(all, "conversations");
    json_t *tokens = json_object_get(json_object_get(all, "tokens"), name);
    json_t *expected = json_object_get(json_object_get(all, "expected"), name);
    snprintf(path, sizeof path, "tests/data/template/%s.jinja", name);
    char *source = test_read_file(path, &n_source);
    CHECK(t, source != NULL, "%s", path);
    CHECK(t, json_array_size(talks) >= 20 && json_array_size(expected) == json_array_size(talks));
    for (size_t i = 0; i < json_array_size(talks); i++) {
        json_t *inputs = json_copy(json_array_get(talks, i));
        json_object_update(inputs, tokens);
        snprintf(what, sizeof what, "%s, conversation %zu", name, i);
        check_case(t, source, n_source, inputs, json_array_get(expected, i), what);
        json_decref(inputs);
    }
    free(source);
    json_decref(all);
}

TEST(template_smollm2_as_jinja2)
{
    check_model(t, "smollm2");
}

TEST(template_qwen25_coder_as_jinja2)
{
    check_model(t, "qwen2.5-coder");
}

TEST(template_snippets_as_jinja2)
{
    json_t *all = load(t, "tests/data/template/snippets.json");
    json_t *inputs = json_object_get(all, "inputs"), *cases = json_object_get(all, "cases");
    CHECK(t, json_array_size(cases) > 400);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        json_t *c = json_array_get(cases, i), *source = json_object_get(c, "template");
        check_case(t, json_string_value(source), json_string_length(source), inputs,
                   json_object_get(c, "output"), json_string_value(source));
    }
    json_decref(all);
}

/* The built-in templates have no other definition than themselves, so jinja2 is asked about them. */
TEST(template_builtins_as_jinja2)
{
    json_t *all = load(t, "tests/data/template/builtins.json");
    json_t *talks = json_object_get(all, "conversations"), *expected = json_object_get(all, "expected");
    const char *name;
    json_t *outputs;
    json_object_foreach(expected, name, outputs) {
        const char *source = template_builtin_source(name);
        CHECK(t, source != NULL, "%s", name);
        for (size_t i = 0; i < json_array_size(talks); i++)
            check_case(t, source, strlen(source), json_array_get(talks, i), json_array_get(outputs, i), name);
    }
    json_decref(all);
}
