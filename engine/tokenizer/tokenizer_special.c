/* SPDX-License-Identifier: MIT */
#include <stdlib.h>

#include "engine/tokenizer/tokenizer_internal.h"

/* Special tokens lie sorted by their bytes, so those that begin with what was read so far are one
 * stretch of the list; each further byte narrows it by two binary searches. Most positions of a text
 * fail at the first byte. The leftmost match wins, of those the longest. */

/* Order of two tokens by text, with the id last so that the order is total. */
static int compare(const void *a, const void *b, void *context)
{
    const struct tokenizer *t = context;
    int32_t left = *(const int32_t *)a, right = *(const int32_t *)b;
    struct tokenizer_text x = t->texts[left], y = t->texts[right];
    size_t shared = x.n_bytes < y.n_bytes ? x.n_bytes : y.n_bytes;
    int order = memcmp(x.bytes, y.bytes, shared);
    if (order == 0)
        order = (x.n_bytes > y.n_bytes) - (x.n_bytes < y.n_bytes);
    return order ? order : (left > right) - (left < right);
}

static bool is_special(const struct tokenizer *t, int32_t id)
{
    uint8_t type = t->tokens[id].type;
    return t->texts[id].n_bytes > 0 && (type == TOKENIZER_CONTROL || type == TOKENIZER_USER_DEFINED ||
                                        type == TOKENIZER_UNKNOWN);
}

enum err_code tokenizer_index_specials(struct tokenizer *t, struct err *e)
{
    int32_t n = 0;
    for (int32_t id = 0; id < t->n_tokens; id++)
        n += is_special(t, id);
    t->specials = arena_alloc(&t->arena, (size_t)n + 1, sizeof *t->specials);
    if (!t->specials)
        return err_set(e, ERR_NOMEM, "vocabulary: no memory for %d special tokens", (int)n);
    for (int32_t id = 0; id < t->n_tokens; id++) {
        if (!is_special(t, id))
            continue;
        if (t->texts[id].n_bytes > TOKENIZER_MAX_SPECIAL_BYTES)
            return err_set(e, ERR_UNSUPPORTED, "special token %d: %zu bytes, at most %d supported",
                           (int)id, t->texts[id].n_bytes, TOKENIZER_MAX_SPECIAL_BYTES);
        t->specials[t->n_specials++] = id;
    }
    qsort_r(t->specials, (size_t)t->n_specials, sizeof *t->specials, compare, t);

    int32_t at = 0;
    for (int first = 0; first <= 256; first++) {
        while (at < t->n_specials && (unsigned char)t->texts[t->specials[at]].bytes[0] < first)
            at++;
        t->special_first[first] = at;
    }
    return ERR_OK;
}

/* First of specials[low..high), which agree on `depth` bytes and are longer, whose next byte is at
 * least `byte`. */
static int32_t lower_bound(const struct tokenizer *t, int32_t low, int32_t high, size_t depth, int byte)
{
    while (low < high) {
        int32_t mid = low + (high - low) / 2;
        if ((unsigned char)t->texts[t->specials[mid]].bytes[depth] < byte)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

int32_t tokenizer_special_at(const struct tokenizer *t, const char *text, size_t pos, size_t end,
                             size_t trusted_end)
{
    int byte = (unsigned char)text[pos];
    int32_t low = t->special_first[byte], high = t->special_first[byte + 1], best = TOKENIZER_NONE;
    for (size_t depth = 1; low < high; depth++) {
        while (low < high && t->texts[t->specials[low]].n_bytes == depth) {
            int32_t id = t->specials[low++];
            if (pos + depth <= trusted_end || t->tokens[id].flags & TOKEN_PLAIN)
                best = id;
        }
        if (pos + depth >= end)
            break;
        byte = (unsigned char)text[pos + depth];
        low = lower_bound(t, low, high, depth, byte);
        high = lower_bound(t, low, high, depth, byte + 1);
    }
    return best;
}
