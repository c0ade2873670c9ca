/* SPDX-License-Identifier: MIT */
#ifndef QUIP_APP_UI_THEME_H
#define QUIP_APP_UI_THEME_H

#include "app/ui/cell.h"

/* Fills the looks for a terminal with this many colours (0 or 1: mono, which says everything with bold,
 * underline and reverse), on a light or a dark background. Nothing here sets a background but the chosen
 * row of a list, which is reversed. */
void theme_make(struct ui_theme *out, int32_t n_colors, bool light);

#endif
