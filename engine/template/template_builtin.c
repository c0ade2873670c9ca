/* SPDX-License-Identifier: MIT */
/* Built-in templates. They are templates like any other, run by the same interpreter, so what they
 * produce carries the same marks and has the same tests. Each takes content that is text, a list of
 * parts with text in them, or none, and skips roles it has no place for rather than refuse. */
#include "engine/template/template.h"

#include <string.h>

/* text_of(content): what there is to say, whatever its form. */
#define TEXT_OF                                                                          \
    "{%- macro text_of(content) -%}"                                                     \
    "{%- if content is string -%}{{ content }}"                                          \
    "{%- elif content is sequence and content is not mapping -%}"                        \
    "{%- for part in content -%}"                                                        \
    "{{ part if part is string else part['text'] if part['text'] is string else '' }}"   \
    "{%- endfor -%}"                                                                     \
    "{%- elif content is not none -%}{{ content }}"                                      \
    "{%- endif -%}"                                                                      \
    "{%- endmacro -%}"

static const char chatml[] = TEXT_OF
    "{%- for m in messages -%}"
    "{{ '<|im_start|>' ~ m.role ~ '\\n' ~ text_of(m.content) ~ '<|im_end|>\\n' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}";

static const char llama3[] = TEXT_OF
    "{{- bos_token }}"
    "{%- for m in messages -%}"
    "{{ '<|start_header_id|>' ~ m.role ~ '<|end_header_id|>\\n\\n' ~ text_of(m.content)|trim ~"
    " '<|eot_id|>' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}"
    "{%- endif -%}";

/* The system's words go into the first turn of the user, for want of a place of their own. */
#define SYSTEM_AHEAD                                                                     \
    "{%- set ns = namespace(system='') -%}"                                              \
    "{%- for m in messages if m.role in ['system', 'developer'] -%}"                     \
    "{%- set ns.system = ns.system ~ ('\\n\\n' if ns.system else '') ~ text_of(m.content)|trim -%}" \
    "{%- endfor -%}"

static const char llama2[] = TEXT_OF SYSTEM_AHEAD
    "{%- for m in messages -%}"
    "{%- if m.role in ['user', 'tool'] -%}"
    "{{ bos_token ~ '[INST] ' }}"
    "{%- if ns.system -%}{{ '<<SYS>>\\n' ~ ns.system ~ '\\n<</SYS>>\\n\\n' }}{%- endif -%}"
    "{%- set ns.system = '' -%}"
    "{{ text_of(m.content)|trim ~ ' [/INST]' }}"
    "{%- elif m.role == 'assistant' -%}{{ ' ' ~ text_of(m.content)|trim ~ ' ' ~ eos_token }}"
    "{%- endif -%}"
    "{%- endfor -%}";

static const char gemma[] = TEXT_OF SYSTEM_AHEAD
    "{{- bos_token }}"
    "{%- for m in messages -%}"
    "{%- if m.role in ['user', 'tool'] -%}"
    "{{ '<start_of_turn>user\\n' ~ (ns.system ~ '\\n\\n' if ns.system else '') ~"
    " text_of(m.content)|trim ~ '<end_of_turn>\\n' }}"
    "{%- set ns.system = '' -%}"
    "{%- elif m.role == 'assistant' -%}"
    "{{ '<start_of_turn>model\\n' ~ text_of(m.content)|trim ~ '<end_of_turn>\\n' }}"
    "{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<start_of_turn>model\\n' }}{%- endif -%}";

static const char mistral[] = TEXT_OF SYSTEM_AHEAD
    "{{- bos_token }}"
    "{%- for m in messages -%}"
    "{%- if m.role in ['user', 'tool'] -%}"
    "{{ '[INST] ' ~ (ns.system ~ '\\n\\n' if ns.system else '') ~ text_of(m.content)|trim ~"
    " '[/INST]' }}"
    "{%- set ns.system = '' -%}"
    "{%- elif m.role == 'assistant' -%}{{ ' ' ~ text_of(m.content)|trim ~ eos_token }}"
    "{%- endif -%}"
    "{%- endfor -%}";

static const char phi3[] = TEXT_OF
    "{%- for m in messages -%}"
    "{{ '<|' ~ m.role ~ '|>\\n' ~ text_of(m.content) ~ '<|end|>\\n' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|assistant|>\\n' }}{%- endif -%}";

static const char zephyr[] = TEXT_OF
    "{%- for m in messages -%}"
    "{{ '<|' ~ m.role ~ '|>\\n' ~ text_of(m.content) ~ eos_token ~ '\\n' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|assistant|>\\n' }}{%- endif -%}";

static const char harmony[] = TEXT_OF
    "{{- '<|start|>system<|message|>Reasoning: ' ~ (reasoning_effort or 'medium') ~"
    " '\\n\\n# Valid channels: analysis, commentary, final.<|end|>' }}"
    "{%- for m in messages -%}"
    "{%- if m.role in ['system', 'developer'] -%}"
    "{{ '<|start|>developer<|message|># Instructions\\n\\n' ~ text_of(m.content) ~ '<|end|>' }}"
    "{%- elif m.role == 'assistant' -%}"
    "{{ '<|start|>assistant<|channel|>final<|message|>' ~ text_of(m.content) ~ '<|end|>' }}"
    "{%- else -%}{{ '<|start|>user<|message|>' ~ text_of(m.content) ~ '<|end|>' }}"
    "{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|start|>assistant' }}{%- endif -%}";

static const char plain[] = TEXT_OF
    "{%- for m in messages -%}"
    "{%- if m.role == 'user' -%}{{ 'User: ' }}"
    "{%- elif m.role == 'assistant' -%}{{ 'Assistant: ' }}"
    "{%- endif -%}"
    "{{ text_of(m.content)|trim ~ '\\n\\n' }}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ 'Assistant:' }}{%- endif -%}";

/* In the order they are tried: all of tokens (up to two) must be there. */
static const struct {
    const char *name;
    const char *source;
    const char *tokens[2];
} builtins[] = {
    { "chatml", chatml, { "<|im_start|>", "<|im_end|>" } },
    { "llama3", llama3, { "<|start_header_id|>", "<|eot_id|>" } },
    { "gemma", gemma, { "<start_of_turn>", "<end_of_turn>" } },
    { "harmony", harmony, { "<|start|>", "<|channel|>" } },
    { "mistral", mistral, { "[INST]", "[/INST]" } },
    { "phi3", phi3, { "<|assistant|>", "<|end|>" } },
    { "zephyr", zephyr, { "<|assistant|>", "<|user|>" } },
    { "llama2", llama2, { "<s>", "</s>" } },
    { "plain", plain, { NULL, NULL } }
};

enum { N_BUILTINS = sizeof builtins / sizeof *builtins };

const char *template_builtin_for(template_has_token_fn has_token, const void *context)
{
    for (int i = 0; i < N_BUILTINS - 1; i++) {
        if (has_token(context, builtins[i].tokens[0]) && has_token(context, builtins[i].tokens[1]))
            return builtins[i].name;
    }
    return builtins[N_BUILTINS - 1].name;
}

const char *template_builtin_source(const char *name)
{
    for (int i = 0; i < N_BUILTINS; i++) {
        if (strcmp(builtins[i].name, name) == 0)
            return builtins[i].source;
    }
    return NULL;
}
