/* SPDX-License-Identifier: MIT */
/* Templates and their inputs as a hostile file would have them. The data is a template, a zero byte,
 * and the inputs as JSON; without the zero byte a fixed dialogue is the input. Small limits keep
 * every run short; the fragments must always add up. */
#include <stdlib.h>
#include <string.h>

#include "engine/template/template.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

static const char dialogue[] =
    "{\"messages\":[{\"role\":\"system\",\"content\":\"a b\"},{\"role\":\"user\",\"content\":\"\xC3\xA9 x\"},"
    "{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":"
    "{\"k\":[1,2.5,true]}}}]}],\"tools\":[{\"type\":\"function\"}],\"add_generation_prompt\":true,"
    "\"bos_token\":\"<s>\",\"n\":3,\"now\":0}";

static void check_fragments(const struct template_output *out)
{
    size_t at = 0;
    for (size_t i = 0; i < out->n_fragments; i++) {
        const struct template_fragment *f = &out->fragments[i];
        if (f->offset_bytes != at || f->n_bytes == 0 || (i && f->trusted == f[-1].trusted))
            abort();
        at += f->n_bytes;
    }
    if (at != out->text.n_bytes)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    struct template_limits limits = { .steps = 20000, .depth = 24, .range = 1000,
                                      .output_bytes = 256 * 1024, .memory_bytes = 8 * 1024 * 1024 };
    const char *source = (const char *)data, *json = dialogue;
    const uint8_t *zero = n_bytes ? memchr(data, 0, n_bytes) : NULL;
    size_t n_source = zero ? (size_t)(zero - data) : n_bytes, n_json = strlen(dialogue);
    struct template *t = NULL;
    struct template_value *inputs = NULL;
    struct template_output out;
    struct arena a;
    struct err e;

    if (zero) {
        json = (const char *)zero + 1;
        n_json = n_bytes - n_source - 1;
    }
    arena_init(&a);
    a.max_bytes = 8 * 1024 * 1024;
    template_output_init(&out);
    if (template_create(&t, n_source ? source : "", n_source, &e) == ERR_OK &&
        template_value_from_json(&inputs, &a, json, n_json, &e) == ERR_OK &&
        template_render(t, inputs, &limits, &out, &e) == ERR_OK)
        check_fragments(&out);
    template_output_finish(&out);
    template_destroy(t);
    arena_finish(&a);
    return 0;
}
