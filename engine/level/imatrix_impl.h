/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_LEVEL_IMATRIX_IMPL_H
#define QUIP_ENGINE_LEVEL_IMATRIX_IMPL_H

#include "engine/level/imatrix.h"

/* What the files of imatrix_*.c share; nobody else includes it. */

/* Counts of a file, in rows or chunks: what a double tells apart, and what can be multiplied with a chunk size and
 * added without care for it. */
#define IMATRIX_MAX_COUNT ((double)(1ull << 40))

/* Printable ASCII, of a length that fits. n_bytes without a NUL. */
enum err_code imatrix_check_name(const char *name, size_t n_bytes, struct err *e);

/* An entry of zeros; after an error it holds nothing. */
enum err_code imatrix_entry_init(struct imatrix_entry *entry, const char *name, size_t n_name, int32_t n_cols,
                                 int32_t n_mat, struct err *e);
void imatrix_entry_finish(struct imatrix_entry *entry);

/* Puts the entries in order. Errors: ERR_FORMAT when two have one name */
enum err_code imatrix_sort(struct imatrix *m, struct err *e);

#endif
