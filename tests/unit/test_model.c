/* SPDX-License-Identifier: MIT */
#include "tests/support/test.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/engine.h"
#include "engine/gguf/gguf.h"
#include "engine/gguf/gguf_writer.h"
#include "tests/support/tiny_model.h"

/* Renames one thing of a good file in place, or overwrites four bytes after it. */
static bool patch(char *bytes, size_t n_bytes, const char *find, const char *put, size_t skip, const void *value)
{
    size_t length = strlen(find);
    for (size_t i = 0; i + length + skip + 4 <= n_bytes; i++)
        if (memcmp(bytes + i, find, length) == 0) {
            if (put)
                memcpy(bytes + i, put, length);
            if (value)
                memcpy(bytes + i + length + skip, value, 4);
            return true;
        }
    return false;
}

static const struct {
    const char *what, *find, *put;
    size_t skip;              /* from the name's end to the four bytes to overwrite */
    uint32_t value;
    const char *text;         /* what the error has to say */
} defects[] = {
    { "unknown architecture", "llama", "lamma", 0, 0, "architecture 'lamma' is not supported; supported: llama" },
    { "missing tensor", "blk.1.ffn_down.weight", "blk.1.ffn_dawn.weight", 0, 0,
      "tensor 'blk.1.ffn_down.weight' is missing" },
    { "missing key", "llama.block_count", "llama.black_count", 0, 0, "llama.block_count" },
    { "no layers", "llama.block_count", NULL, 4, 0, "llama.block_count" },
    { "absurd layers", "llama.block_count", NULL, 4, 100000, "llama.block_count" },
    { "fewer layers than tensors", "llama.block_count", NULL, 4, 1, "tensor 'blk.1." },
    { "wrong width", "llama.embedding_length", NULL, 4, 96, "tensor 'token_embd.weight': shape" },
    { "wrong FFN", "llama.feed_forward_length", NULL, 4, 96, "tensor 'blk.0.ffn_gate.weight': shape" },
    { "an FFN beyond all measure", "llama.feed_forward_length", NULL, 4, 1 << 19, "llama.feed_forward_length" },
    { "heads together beyond all measure", "llama.attention.key_length", NULL, 4, 1 << 10, "key length" },
    { "heads that do not divide", "llama.attention.head_count_kv", NULL, 4, 3, "a multiple of its 3 KV heads" },
    { "odd rope", "llama.rope.dimension_count", NULL, 4, 15, "llama.rope.dimension_count: 15" },
    { "rope beyond the head", "llama.rope.dimension_count", NULL, 4, 64, "llama.rope.dimension_count: 64" },
    { "epsilon that is no number", "llama.attention.layer_norm_rms_epsilon", NULL, 4, 0x7FC00000, "epsilon" },
};

TEST(model_names_what_is_wrong_with_a_file)
{
    struct tiny_model tiny;
    struct engine *eng;
    struct model *m;
    struct err e;
    char good[512], bad[512];
    size_t n_bytes;
    snprintf(good, sizeof good, "%s/good.gguf", test_folder(t));
    snprintf(bad, sizeof bad, "%s/bad.gguf", test_folder(t));
    tiny_model_init(&tiny);
    CHECK_INT(t, tiny_model_write(&tiny, good, &e), ERR_OK, "%s", e.text);
    CHECK_INT(t, engine_create(&eng, &(struct engine_options){ .n_threads = 1 }, &e), ERR_OK);
    for (size_t i = 0; i < sizeof defects / sizeof *defects; i++) {
        char *bytes = test_read_file(good, &n_bytes);
        CHECK(t, patch(bytes, n_bytes, defects[i].find, defects[i].put, defects[i].skip,
                       defects[i].put ? NULL : &defects[i].value), "%s", defects[i].what);
        FILE *f = fopen(bad, "wb");
        CHECK(t, f && fwrite(bytes, 1, n_bytes, f) == n_bytes && fclose(f) == 0);
        free(bytes);
        CHECK(t, model_open(&m, eng, bad, MODEL_RUN, &e) != ERR_OK, "%s", defects[i].what);
        CHECK(t, strstr(e.text, defects[i].text) != NULL, "%s: %s", defects[i].what, e.text);
        CHECK(t, strchr(e.text, '\n') == NULL, "%s: one line", defects[i].what);
    }
    CHECK_INT(t, model_open(&m, eng, good, MODEL_RUN, &e), ERR_OK, "%s", e.text);
    model_close(m);
    engine_destroy(eng);
}

TEST(model_tells_about_itself)
{
    struct tiny_model tiny;
    struct engine *eng;
    struct model *m;
    struct err e;
    char path[512];
    snprintf(path, sizeof path, "%s/about.gguf", test_folder(t));
    tiny_model_init(&tiny);
    tiny.chat_template = NULL;
    CHECK_INT(t, tiny_model_write(&tiny, path, &e), ERR_OK, "%s", e.text);
    CHECK_INT(t, engine_create(&eng, &(struct engine_options){ .n_threads = 1 }, &e), ERR_OK);
    CHECK_INT(t, model_open(&m, eng, path, MODEL_RUN, &e), ERR_OK, "%s", e.text);
    const struct model_info *info = model_info(m);
    CHECK_TEXT(t, info->architecture, "llama");
    CHECK_INT(t, info->n_layers, 2);
    CHECK_INT(t, info->kv_bytes_per_token, 2 * 2 * 2 * 16 * 2);
    CHECK_TEXT(t, info->template_name, "chatml");
    CHECK(t, model_warning(m, 0) && strstr(model_warning(m, 0), "no chat template"), "a guessed template is said");
    struct model_memory memory;
    model_memory(m, 512, 1, NULL, NULL, &memory);
    CHECK_INT(t, memory.kv_bytes, 512 * info->kv_bytes_per_token);
    CHECK(t, memory.weight_bytes >= info->tensor_bytes && memory.scratch_bytes > 0);
    model_close(m);
    engine_destroy(eng);
    CHECK_INT(t, engine_create(&eng, &(struct engine_options){ .cpu_tier = "mmx" }, &e), ERR_UNSUPPORTED);
    CHECK(t, strstr(e.text, "processor tier 'mmx': this machine has exact, scalar") != NULL, "%s", e.text);
}
