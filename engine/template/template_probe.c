/* SPDX-License-Identifier: MIT */
/* What a template can do, found by trying: short dialogues with words in them that no template
 * would write by itself, and a look whether the words come out. */
#include <string.h>

#include "engine/template/template.h"
#include "engine/template/template_private.h"

/* Reasoning marks by what the template's text mentions, the more special ones first. */
static const struct {
    const char *mention;
    const char *open;
    const char *close;
} reasoning[] = {
    { "<|channel|>analysis", "<|channel|>analysis<|message|>", "<|end|>" },
    { "<|channel>", "<|channel>thought", "<channel|>" },
    { "<seed:think>", "<seed:think>", "</seed:think>" },
    { "<mm:think>", "<mm:think>", "</mm:think>" },
    { "<|START_THINKING|>", "<|START_THINKING|>", "<|END_THINKING|>" },
    { "[THINK]", "[THINK]", "[/THINK]" },
    { "\xE2\x97\x81think\xE2\x96\xB7", "\xE2\x97\x81think\xE2\x96\xB7", "\xE2\x97\x81/think\xE2\x96\xB7" },
    { "</think>", "<think>", "</think>" },
    { "<think>", "<think>", "</think>" }
};

static const char dialogue_plain[] =
    "{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}],\"add_generation_prompt\":true,"
    "\"bos_token\":\"\",\"eos_token\":\"\",\"now\":0}";

static const char dialogue_system[] =
    "{\"messages\":[{\"role\":\"system\",\"content\":\"zqprobe\"},{\"role\":\"user\","
    "\"content\":\"Hi\"}],\"add_generation_prompt\":true,\"bos_token\":\"\",\"eos_token\":\"\","
    "\"now\":0}";

#define TOOL                                                                                \
    "{\"type\":\"function\",\"function\":{\"name\":\"zqprobe\",\"description\":\"d\","       \
    "\"parameters\":{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"string\","        \
    "\"description\":\"d\"}},\"required\":[\"a\"]}}}"

static const char dialogue_tools[] =
    "{\"messages\":[{\"role\":\"system\",\"content\":\"S\"},{\"role\":\"user\",\"content\":\"Hi\"}],"
    "\"tools\":[" TOOL "],\"add_generation_prompt\":true,\"bos_token\":\"\",\"eos_token\":\"\","
    "\"now\":0}";

/* Templates differ in whether arguments are an object or its JSON text. */
#define CALLS(arguments)                                                                    \
    "{\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"},{\"role\":\"assistant\","         \
    "\"content\":\"\",\"tool_calls\":[{\"id\":\"call00001\",\"type\":\"function\","          \
    "\"function\":{\"name\":\"zqprobe\",\"arguments\":" arguments "}}]},{\"role\":\"tool\","  \
    "\"tool_call_id\":\"call00001\",\"name\":\"t\",\"content\":\"1\"}],"                      \
    "\"add_generation_prompt\":true,\"bos_token\":\"\",\"eos_token\":\"\",\"now\":0}"

static const char dialogue_calls_object[] = CALLS("{\"a\":\"b\"}");
static const char dialogue_calls_text[] = CALLS("\"{\\\"a\\\": \\\"b\\\"}\"");

static bool render(const struct template *t, const char *json, struct template_output *out)
{
    struct arena a;
    struct template_value *inputs;
    struct template_limits limits = template_limits_default();
    struct err e;
    arena_init(&a);
    limits.steps = 200 * 1000;
    limits.memory_bytes = 32 * 1024 * 1024;
    bool ok = template_value_from_json(&inputs, &a, json, strlen(json), &e) == ERR_OK &&
              template_render(t, inputs, &limits, out, &e) == ERR_OK;
    arena_finish(&a);
    return ok;
}

static bool shows_probe(const struct template *t, const char *json)
{
    struct template_output out;
    template_output_init(&out);
    bool shown = render(t, json, &out) && strstr(buf_text(&out.text), "zqprobe");
    template_output_finish(&out);
    return shown;
}

static bool is_word_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

/* The name as a word of its own in the template's text. */
static bool mentions(const struct template *t, const char *name)
{
    size_t n = strlen(name);
    for (const char *s = t->source; (s = strstr(s, name)); s += n) {
        if ((s == t->source || !is_word_byte(s[-1])) && !is_word_byte(s[n]))
            return true;
    }
    return false;
}

/* Whether the prompt, up to white space, ends in text. */
static bool prompt_ends_in(const struct template *t, const char *text)
{
    struct template_output out;
    size_t n = strlen(text);
    template_output_init(&out);
    bool ends = false;
    if (render(t, dialogue_plain, &out)) {
        size_t end = out.text.n_bytes;
        while (end > 0 && strchr(" \n\r\t", out.text.data[end - 1]))
            end--;
        ends = end >= n && memcmp(out.text.data + end - n, text, n) == 0;
    }
    template_output_finish(&out);
    return ends;
}

void template_probe(const struct template *t, struct template_traits *out)
{
    memset(out, 0, sizeof *out);
    out->system = shows_probe(t, dialogue_system);
    out->tools = shows_probe(t, dialogue_tools);
    out->tool_calls = shows_probe(t, dialogue_calls_object) || shows_probe(t, dialogue_calls_text);
    out->enable_thinking = mentions(t, "enable_thinking");
    out->reasoning_effort = mentions(t, "reasoning_effort");
    for (size_t i = 0; i < sizeof reasoning / sizeof *reasoning; i++) {
        if (strstr(t->source, reasoning[i].mention)) {
            out->reasoning_open = reasoning[i].open;
            out->reasoning_close = reasoning[i].close;
            out->opens_reasoning = prompt_ends_in(t, reasoning[i].open);
            break;
        }
    }
}
