/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_VULKAN_VULKAN_PACK_H
#define QUIP_ENGINE_VULKAN_VULKAN_PACK_H

#include <stdint.h>

/* Weights as shaders read them (shaders/include/weight.glsl). A tensor's blocks are taken apart into up to four
 * planes, so that what a lane needs of 32 consecutive weights, a unit, stands together and aligned. Bytes are those of
 * the file, in another order:
 *
 *   CODES   2 bits  two words; byte i, bits 2n and 2n + 1 of word w: weight 16w + 4n + i
 *           4 bits  four words; byte i of word w: weight 8w + i in the low nibble, 8w + 4 + i in the high one
 *           8 bits  eight words; byte i of word w: weight 4w + i
 *           floats  as in the file
 *   HIGH    1 bit   a word; byte i, bit n: weight 4n + i
 *           2 bits  as codes of 2 bits
 *   SCALES  Q2_K    a byte per run of 16: sc in the low nibble, mn in the high one
 *           Q6_K    a signed byte per run of 16
 *           Q3_K    three words with two numbers A and B of 6 bits per unit: nibble u of the first word has the low
 *                   four bits of A of unit u, of the second word those of B, of the third the high two of A and then
 *                   of B. Here A and B are the scales of the unit's two runs
 *           Q4_K, Q5_K  d and dmin (f16), then the same three words: A is sc, B is mn
 *           IQ4_XS  d (f16), the high two bits of sc of unit u in bits 2u and 2u + 1 of 16, the low four in nibble u
 *                   of a word
 *   D       f16 d, or d and m (Q4_1, Q5_1) or dmin (Q2_K); of MXFP4 the byte e
 *
 * SCALES and D of K-quants and IQ4_XS stand once per 256 weights, else once per 32. */
enum { VULKAN_PLANE_CODES, VULKAN_PLANE_HIGH, VULKAN_PLANE_SCALES, VULKAN_PLANE_D, VULKAN_N_PLANES };

/* Weights in a block of planes, 32 or 256; 0: there are no planes for this type. */
int32_t vulkan_pack_block(uint32_t type);
/* Bytes of a plane for a block; 0: the type has no such plane. */
int32_t vulkan_pack_bytes(uint32_t type, int plane);

/* Writes one plane for n_blocks of the file that stand one after another; blocks need no alignment, out that of a
 * word. */
void vulkan_pack(uint32_t type, int plane, void *out, const void *blocks, int64_t n_blocks);

#endif
