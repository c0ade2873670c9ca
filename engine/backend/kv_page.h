/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_BACKEND_KV_PAGE_H
#define QUIP_ENGINE_BACKEND_KV_PAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Pages of keys and values: KV_PAGE consecutive tokens of one layer of one sequence. Token p of a sequence
 * stands in page p / KV_PAGE, at slot p % KV_PAGE.
 *
 * A page has two forms. OPEN is what rows write: keys, per KV head [d_head][KV_PAGE] (a column of tokens for
 * each component), then values, per KV head [KV_PAGE][d_head]; f16, or f32 where both types are KV_F32.
 * SEALED is made once, by the backend, from the open form of a full page, in the types of the layer, and
 * never changes: per KV head its keys, then per KV head its values.
 *
 * Which form a row reads follows from positions alone (kv_reads_open), so that no bit depends on when or in
 * what batch a row was evaluated. When that form is not there, the other is read: a cache of f16 keys and
 * values never seals, and a page whose open form is gone can still be read.
 *
 * Sealed forms. d = d_head; components have a scale per block of 32 and, for d = 80, a last one of 16. Values of
 * kv4 and kv3 have blocks of 64 where d is a multiple of it (kv_value_block): components rotated together are
 * alike, and attention scales a weight once per block. n_blocks = ceil(d / block). All scales are f16.
 *
 *   rotate(x)    kv4, kv3: x_c * sign_c, then the orthonormal Hadamard transform (Sylvester order) over runs of
 *                kv_rotation(d) components; the last product is the normalising 1 / sqrt(run). For keys (and the
 *                query) after RoPE. q . k is what it was; attention's output over rotated values is rotated.
 *   mean         kv4, kv3, keys only: per component the mean of the 64 (rotated) keys, rounded to f16 and
 *                subtracted. Attention adds q . mean once a page.
 *
 * Keys of one head, in this order:
 *   mean    f16 [d]                         kv4, kv3 only
 *   scale   f16 [n_blocks][64]
 *   codes   f16     [d][64] f16: the open form itself, no scale
 *           q8_0    u8 code + 128            byte i of dword [g][key], i = 0..3: component 4g + i
 *           q4_0, kv4   u4 code + 8          byte i of dword [g][key]: low nibble component 8g + i, high 8g + 4 + i
 *           kv3     level index 0..7: low    byte i of dword [g][key], bits 2n, 2n + 1: component 16g + 4n + i
 *                   then high bits           byte i of dword [h][key], bit n (0..7): component 32h + 4n + i
 *                                            (of a block of 16 bits 4..7 are 0)
 * Values of one head:
 *   scale   f16 [n_blocks][64]
 *   codes   f16     [64][d] f16: the open form itself, no scale
 *           q8_0    i8                       byte [pair][c][h]: key 2 pair + h
 *           q4_0, kv4   u4 code + 8          byte i of dword [k8][c]: low nibble key 8 k8 + i, high 8 k8 + 4 + i
 *           kv3     low bits                 byte i of dword [k16][c], bits 2n, 2n + 1: key 16 k16 + 4n + i
 *                   then high bits           byte i of dword [k32][c], bit n (0..7): key 32 k32 + 4n + i
 *           (of 4 and 3 bits: as keys, with keys and components in each other's place)
 *
 * A weight is scale * code; a code of kv3 is kv3_level[index] (of 127, the largest).
 * Sources: reference scheme measured for this project; KIVI (values per token), SageAttention (mean of keys). */
enum { KV_PAGE = 64, KV_BLOCK = 32, KV_MAX_HEAD = 512 };

enum kv_type { KV_F16, KV_F32, KV_Q8_0, KV_Q4_0, KV_KV4, KV_KV3, KV_N_TYPES };

/* "f16", "f32", "q8_0", "q4_0", "kv4", "kv3" */
const char *kv_type_name(enum kv_type type);
bool kv_type_find(enum kv_type *out, const char *name);
static inline bool kv_type_sealed(enum kv_type type)    /* not what the open form is already */
{
    return type != KV_F16 && type != KV_F32;
}
static inline bool kv_type_rotated(enum kv_type type)
{
    return type == KV_KV4 || type == KV_KV3;
}
/* Head sizes a type can be sealed for: multiples of 16 up to KV_MAX_HEAD. f16 and f32: all. */
bool kv_type_fits(enum kv_type type, int32_t d_head);

/* Components of one Hadamard transform: the largest power of two dividing d. */
int32_t kv_rotation(int32_t d_head);
/* Components of a token's values that share a scale. */
int32_t kv_value_block(enum kv_type type, int32_t d_head);
/* +1 or -1, fixed for all time: files hold pages rotated by it. */
float kv_sign(int32_t component);
/* Levels of kv3, symmetric: the Lloyd-Max quantiser of a normal distribution scaled to +-127. */
extern const int8_t kv3_level[8];

struct kv_memory;

/* One layer's cache. */
struct kv_layer {
    enum kv_type k, v;    /* KV_F32 only both */
    int32_t n_head, d_head;
    int32_t window;       /* keys a query sees, its own among them; 0: all */
    struct kv_memory *memory;    /* where its pages lie (kv_memory.h); NULL: in the host's */
};

/* A layer needs no sealed pages when both its types are what is open. */
static inline bool kv_layer_seals(const struct kv_layer *l)
{
    return kv_type_sealed(l->k) || kv_type_sealed(l->v);
}

/* Bytes of a page of this layer. Sealed: 0 where kv_layer_seals() is false. Multiples of 64. */
size_t kv_open_bytes(const struct kv_layer *l);
size_t kv_sealed_bytes(const struct kv_layer *l);
/* Bytes of one head's keys and values in the sealed form; keys of head h start at h * key bytes, values at
 * n_head * key bytes + h * value bytes. Multiples of 64. */
size_t kv_sealed_key_bytes(enum kv_type type, int32_t d_head);
size_t kv_sealed_value_bytes(enum kv_type type, int32_t d_head);

/* One page of one layer in a page table. What is there may be a device's alone to see (kv_memory.h). */
struct kv_page {
    void *open;      /* NULL: gone, or not taken yet */
    void *sealed;    /* NULL: this layer does not seal, or the page is not full yet */
};

/* The row at position pos reads this page in the open form: the first page, the current, the one before. */
static inline bool kv_reads_open(int32_t pos, int32_t page)
{
    return page == 0 || page >= pos / KV_PAGE - 1;
}

#endif
