/* SPDX-License-Identifier: MIT */
/* Values built by the engine, what a template can do, and which built-in stands in for it. */
#include <locale.h>
#include <stdlib.h>
#include <string.h>

#include "engine/template/template.h"
#include "tests/support/test.h"

static struct template *compile(struct test *t, const char *source)
{
    struct template *template = NULL;
    struct err e;
    CHECK(t, template_create(&template, source, strlen(source), &e) == ERR_OK, "%s", e.text);
    return template;
}

static void check_render(struct test *t, const char *source, const struct template_value *inputs,
                         const char *want)
{
    struct template *template = compile(t, source);
    struct template_output out;
    struct err e;
    template_output_init(&out);
    CHECK(t, template_render(template, inputs, NULL, &out, &e) == ERR_OK, "%s: %s", source, e.text);
    CHECK_TEXT(t, buf_text(&out.text), want, "%s", source);
    template_output_finish(&out);
    template_destroy(template);
}

TEST(template_values_as_built)
{
    struct arena a;
    arena_init(&a);
    struct template_value *o = template_value_object(&a), *list = template_value_array(&a);
    list = template_value_array_add(&a, list, template_value_int(&a, -7));
    list = template_value_array_add(&a, list, template_value_float(&a, 0.5));
    list = template_value_array_add(&a, list, template_value_none(&a));
    o = template_value_object_set(&a, o, "list", list);
    o = template_value_object_set(&a, o, "yes", template_value_bool(&a, false));
    o = template_value_object_set(&a, o, "text", template_value_text(&a, "a\0b", 3));
    o = template_value_object_set(&a, o, "yes", template_value_bool(&a, true));
    CHECK(t, o != NULL);
    CHECK(t, template_value_object_get(o, "list") != NULL && !template_value_object_get(o, "nope"));
    check_render(t, "{{ list }}{{ yes }}{{ text | length }}", o, "[-7, 0.5, None]True3");
    CHECK(t, !template_value_object_set(&a, NULL, "a", list));
    CHECK(t, !template_value_object_set(&a, o, "a", NULL));
    CHECK(t, !template_value_array_add(&a, o, list) && !template_value_object_set(&a, list, "a", o));
    arena_finish(&a);
}

/* Templates may append and pop; the caller's values stay as they were. */
TEST(template_inputs_stay_as_they_are)
{
    struct template_value *inputs;
    struct arena a;
    struct err e;
    static const char json[] = "{\"list\": [1, [2]], \"d\": {\"a\": 1}}";
    arena_init(&a);
    CHECK(t, template_value_from_json(&inputs, &a, json, strlen(json), &e) == ERR_OK);
    for (int i = 0; i < 2; i++)
        check_render(t, "{% set _ = list.append(3) %}{% set _ = list[1].append(4) %}"
                        "{% set _ = d.pop('a') %}{% set d = 5 %}{{ list }}{{ d }}",
                     inputs, "[1, [2, 4], 3]5");
    arena_finish(&a);
}

TEST(template_now_is_an_input)
{
    struct template_value *inputs;
    struct arena a;
    struct err e;
    arena_init(&a);
    static const char seconds[] = "{\"now\": 951782400}", text[] = "{\"now\": \"2024-02-29T23:59:01\"}";
    CHECK(t, template_value_from_json(&inputs, &a, seconds, strlen(seconds), &e) == ERR_OK);
    check_render(t, "{{ strftime_now('%d %b %Y %H:%M %A') }}", inputs, "29 Feb 2000 00:00 Tuesday");
    CHECK(t, template_value_from_json(&inputs, &a, text, strlen(text), &e) == ERR_OK);
    check_render(t, "{{ strftime_now('%d %B %Y %T %a %j') }}", inputs, "29 February 2024 23:59:01 Thu 060");
    CHECK(t, template_value_from_json(&inputs, &a, "{}", 2, &e) == ERR_OK);
    check_render(t, "{{ strftime_now('%Y') | length }}", inputs, "4");
    arena_finish(&a);
}

/* A front end sets the person's locale; numbers in prompts must not follow it. */
TEST(template_numbers_ignore_the_locale)
{
    struct template_value *inputs;
    struct arena a;
    struct err e;
    if (!setlocale(LC_ALL, "de_DE.UTF-8") && !setlocale(LC_ALL, "fr_FR.UTF-8"))
        SKIP(t, "no locale with a decimal comma is installed");
    arena_init(&a);
    CHECK(t, template_value_from_json(&inputs, &a, "{\"x\": 2.5}", 10, &e) == ERR_OK);
    check_render(t, "{{ x }} {{ 1.25 }} {{ '3.5' | float }} {{ x | tojson }} {{ '%.1f' % x }} "
                    "{{ 2.345 | round(1) }}", inputs, "2.5 1.25 3.5 2.5 2.5 2.3");
    setlocale(LC_ALL, "C");
    arena_finish(&a);
}

static bool has_token(const void *context, const char *text)
{
    for (const char *const *s = context; *s; s++) {
        if (strcmp(*s, text) == 0)
            return true;
    }
    return false;
}

TEST(template_builtin_by_special_tokens)
{
    static const struct {
        const char *tokens[5];
        const char *want;
    } cases[] = {
        { { "<|im_start|>", "<|im_end|>", "<|endoftext|>" }, "chatml" },
        { { "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>" }, "llama3" },
        { { "<start_of_turn>", "<end_of_turn>", "<s>", "</s>" }, "gemma" },
        { { "<|start|>", "<|channel|>", "<|message|>", "<|end|>" }, "harmony" },
        { { "<s>", "</s>", "[INST]", "[/INST]" }, "mistral" },
        { { "<|user|>", "<|assistant|>", "<|end|>", "<s>" }, "phi3" },
        { { "<|user|>", "<|assistant|>", "</s>" }, "zephyr" },
        { { "<s>", "</s>", "<unk>" }, "llama2" },
        { { "<|endoftext|>" }, "plain" },
        { { NULL }, "plain" }
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *name = template_builtin_for(has_token, cases[i].tokens);
        CHECK_TEXT(t, name, cases[i].want);
        struct template *template = compile(t, template_builtin_source(name));
        struct template_traits traits;
        template_probe(template, &traits);
        CHECK(t, traits.system, "%s takes a system message", name);
        CHECK(t, !traits.tools, "%s", name);
        template_destroy(template);
    }
    CHECK(t, template_builtin_source("nope") == NULL);
}

TEST(template_probe_finds_traits)
{
    struct template_traits traits;
    size_t n;
    char *source = test_read_file("tests/data/template/qwen2.5-coder.jinja", &n);
    struct template *template = compile(t, source);
    template_probe(template, &traits);
    CHECK(t, traits.system && traits.tools && traits.tool_calls && !traits.enable_thinking &&
             !traits.reasoning_open && !traits.opens_reasoning);
    template_destroy(template);
    free(source);

    source = test_read_file("tests/data/template/smollm2.jinja", &n);
    template = compile(t, source);
    template_probe(template, &traits);
    CHECK(t, traits.system && !traits.tools && !traits.tool_calls);
    template_destroy(template);
    free(source);

    template = compile(t, "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no') }}"
                          "{% endif %}{{ m.content.split('</think>')[-1] }}{% endfor %}"
                          "{% if enable_thinking is not defined or enable_thinking %}<think>\n{% endif %}");
    template_probe(template, &traits);
    CHECK(t, !traits.system && traits.enable_thinking && traits.opens_reasoning);
    CHECK(t, !traits.reasoning_effort);
    CHECK_TEXT(t, traits.reasoning_open, "<think>");
    CHECK_TEXT(t, traits.reasoning_close, "</think>");
    template_destroy(template);

    template = compile(t, "{{ '<|channel|>analysis<|message|>' if reasoning_effort }}"
                          "{{ not_enable_thinking }}");
    template_probe(template, &traits);
    CHECK(t, traits.reasoning_effort && !traits.enable_thinking && !traits.opens_reasoning);
    CHECK_TEXT(t, traits.reasoning_close, "<|end|>");
    template_destroy(template);
}
