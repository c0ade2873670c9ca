/* SPDX-License-Identifier: MIT */
#include "app/ui/theme.h"

/* Colours of one style: index into the 256, 16 and 8 colours of a terminal, for dark and light
 * backgrounds; -1 is the terminal's own text colour. attrs go with every table that has colours, mono
 * with the one that has none.
 *
 * Chosen so that text keeps at least 4.5:1 contrast on black, white and the usual near-blacks; greys are
 * from the ramp 232-255. Eight colours have no grey: there dim text is the faint attribute. */
struct row {
    int16_t dark256, light256, dark16, light16, dark8, light8;
    uint8_t attrs, mono;
};

static const struct row rows[UI_STYLE_COUNT] = {
    [UI_TEXT]      = {  -1,  -1, -1, -1, -1, -1, 0, 0 },
    [UI_DIM]       = { 245, 243,  8,  8, -1, -1, 0, UI_FAINT },
    [UI_TITLE]     = {  -1,  -1, -1, -1, -1, -1, UI_BOLD, UI_BOLD },
    [UI_HEADING]   = { 117,  25, 14,  4,  6,  4, UI_BOLD, UI_BOLD },
    [UI_USER]      = { 114,  28, 10,  2,  2,  2, UI_BOLD, UI_BOLD },
    [UI_MODEL]     = { 111,  26, 12,  4,  6,  4, UI_BOLD, UI_BOLD },
    [UI_SYSTEM]    = { 180,  94, 11,  3,  3,  5, UI_BOLD, UI_BOLD },
    [UI_ACCENT]    = {  80,  30, 14,  6,  6,  6, 0, UI_BOLD },
    [UI_KEY]       = {  80,  30, 14,  6,  6,  6, UI_BOLD, UI_BOLD },
    [UI_NOTICE]    = { 110,  25, 12,  4,  6,  4, 0, 0 },
    [UI_WARNING]   = { 179, 130, 11,  3,  3,  3, 0, UI_BOLD },
    [UI_ERROR]     = { 203, 160,  9,  1,  1,  1, UI_BOLD, UI_BOLD },
    [UI_GOOD]      = { 114,  28, 10,  2,  2,  2, 0, 0 },
    [UI_THINKING]  = { 244, 243,  8,  8, -1, -1, UI_ITALIC, UI_ITALIC },
    [UI_CODE]      = { 180,  94, 11,  5,  3,  5, 0, 0 },
    [UI_QUOTE]     = { 109,  66,  6,  6,  6,  6, 0, UI_ITALIC },
    [UI_LINK]      = {  75,  26, 12,  4,  6,  4, UI_UNDERLINE, UI_UNDERLINE },
    [UI_STATUS]    = { 250, 239,  7,  8, -1, -1, 0, 0 },
    [UI_BAR_LOW]   = {  72,  29,  2,  2,  2,  2, 0, 0 },
    [UI_BAR_MID]   = { 179, 130, 11,  3,  3,  3, 0, UI_BOLD },
    [UI_BAR_HIGH]  = { 203, 160,  9,  1,  1,  1, UI_BOLD, UI_REVERSE },
    [UI_BAR_EMPTY] = { 239, 250,  8,  7, -1, -1, 0, UI_FAINT },
    [UI_SELECTION] = {  -1,  -1, -1, -1, -1, -1, UI_REVERSE, UI_REVERSE },
    [UI_BORDER]    = { 240, 249,  8,  7, -1, -1, 0, UI_FAINT },
};

static int16_t color_of(const struct row *r, int32_t n_colors, bool light)
{
    if (n_colors >= 256)
        return light ? r->light256 : r->dark256;
    if (n_colors >= 16)
        return light ? r->light16 : r->dark16;
    return light ? r->light8 : r->dark8;
}

void theme_make(struct ui_theme *out, int32_t n_colors, bool light)
{
    for (int32_t i = 0; i < UI_STYLE_COUNT; i++) {
        const struct row *r = &rows[i];
        struct ui_look *look = &out->looks[i];
        *look = (struct ui_look){ .foreground = -1, .background = -1, .attrs = r->mono };
        if (n_colors < 8)
            continue;
        look->foreground = color_of(r, n_colors, light);
        look->attrs = r->attrs;
        if (n_colors < 16 && look->foreground < 0)
            look->attrs |= r->mono;
    }
}
