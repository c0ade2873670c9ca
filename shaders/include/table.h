/* SPDX-License-Identifier: MIT */
/* What changes from batch to batch, written by the host or a shader and read by shaders; once for C and GLSL. */
#ifndef QUIP_SHADERS_INCLUDE_TABLE_H
#define QUIP_SHADERS_INCLUDE_TABLE_H

#ifdef __STDC__
#include <stdint.h>
#define TABLE_U uint32_t
#define TABLE_F float
#else
#define TABLE_U uint
#define TABLE_F float
#endif

#define TABLE_NO_TOKEN 0xffffffffu

/* A row of the batch. Page j of layer i of its sequence is entry  table + i * table_stride + j  of the page table. */
struct table_row {
    TABLE_U pos;
    TABLE_U table;
    TABLE_U token;
};

/* An entry of the page table: addresses on the device of a page's two forms (engine/backend/kv_page.h), low word
 * first; 0: that form is not there. */
struct table_page {
    TABLE_U open[2];
    TABLE_U sealed[2];
};

/* An expert that a row of activations goes to, and what its result counts in their sum. */
struct table_pick {
    TABLE_U expert;
    TABLE_F weight;
};

/* Attention of a row is cut into parts of this many pages, by position alone. */
#define TABLE_PART_PAGES 4

#endif
