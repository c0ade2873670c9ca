/* SPDX-License-Identifier: MIT */
#ifndef QUIP_APP_UI_TEXT_RANGE_H
#define QUIP_APP_UI_TEXT_RANGE_H

#include <stddef.h>

/* The bytes [from, end) of a text. Lists of them are sorted, and no two touch. */
struct text_range {
    size_t from, end;
};

#endif
