/* SPDX-License-Identifier: MIT */
/* The reader of model files on any bytes: refused in one line, or everything in it can be read. Seeds
 * stand in corpus/gguf; with -max_len=4096 the fuzzer stays where the structure is. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "engine/gguf/gguf.h"
#include "tests/support/gguf_walk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    struct gguf *g = NULL;
    struct err e = { 0 };
    enum err_code rc = gguf_open_memory(&g, data, n_bytes, &e);
    if (rc == ERR_OK) {
        volatile uint64_t sum = gguf_walk(g);
        (void)sum;
        gguf_close(g);
    } else if (rc != e.code || g || !e.text[0] || strpbrk(e.text, "\n\r\x1b")) {
        abort();
    }
    return 0;
}
