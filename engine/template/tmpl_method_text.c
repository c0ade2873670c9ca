/* SPDX-License-Identifier: MIT */
/* Methods of texts. Slices share the bytes of the text they are cut from. */
#include "engine/template/tmpl_run.h"

#include <string.h>
#include <utf8proc.h>

#include "engine/base/utf8.h"

static const struct tmpl_text *self_of(const struct tmpl_call *c)
{
    return c->self.as.text;
}

/* ---- texts: cutting ---- */

static bool push_slice(struct tmpl_run *r, struct template_value *list, const struct tmpl_text *text,
                       size_t from, size_t to)
{
    struct template_value slice;
    return tmpl_slice_text(r, text, from, to - from, &slice) && tmpl_push(r, list, slice);
}

/* Moves over characters that are (or are not) white space. */
static size_t run_of(const struct tmpl_text *text, size_t at, bool space)
{
    while (at < text->n_bytes) {
        uint32_t cp;
        int n = utf8_decode(text->bytes + at, text->n_bytes - at, &cp);
        if (tmpl_is_space(cp) != space)
            break;
        at += (size_t)n;
    }
    return at;
}

static bool split_space(struct tmpl_run *r, const struct tmpl_text *text, int64_t max,
                        struct template_value *out)
{
    size_t at = run_of(text, 0, true);
    for (int64_t n = 0; at < text->n_bytes; n++) {
        size_t end = n == max ? text->n_bytes : run_of(text, at, false);
        if (!push_slice(r, out, text, at, end))
            return false;
        at = run_of(text, end, true);
    }
    return true;
}

static bool method_split(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    const struct tmpl_text *text = self_of(c), *separator;
    int64_t max;
    if (!tmpl_arg_text(r, c, 0, NULL, &separator) || !tmpl_arg_int(r, c, 1, -1, &max) ||
        !tmpl_make_list(r, TMPL_LIST_PLAIN, 0, out))
        return false;
    if (!separator)
        return split_space(r, text, max, out);
    if (separator->n_bytes == 0)
        return tmpl_fail(r, "split: the separator is empty");
    size_t from = 0;
    for (int64_t n = 0; n != max; n++) {
        size_t hit = tmpl_find(text, separator, from);
        if (hit == SIZE_MAX)
            break;
        if (!push_slice(r, out, text, from, hit))
            return false;
        from = hit + separator->n_bytes;
    }
    return push_slice(r, out, text, from, text->n_bytes);
}

/* The search from the right compares at every place, so it is paid for by both lengths. */
static bool charge_search(struct tmpl_run *r, const struct tmpl_text *text,
                          const struct tmpl_text *needle)
{
    uint64_t work = (uint64_t)(text->n_bytes / 64) * needle->n_bytes;
    return tmpl_charge(r, (size_t)work);
}

/* Last place before `to` where needle ends at or before it; SIZE_MAX when there is none. */
static size_t find_last(const struct tmpl_text *text, const struct tmpl_text *needle, size_t to)
{
    if (needle->n_bytes > to)
        return SIZE_MAX;
    for (size_t at = to - needle->n_bytes + 1; at-- > 0;) {
        if (needle->n_bytes == 0 || memcmp(text->bytes + at, needle->bytes, needle->n_bytes) == 0)
            return at;
    }
    return SIZE_MAX;
}

static bool rsplit_space(struct tmpl_run *r, const struct tmpl_text *text, int64_t max,
                         struct template_value *out)
{
    struct template_value words, head;
    if (!tmpl_make_list(r, TMPL_LIST_PLAIN, 0, &words) || !split_space(r, text, -1, &words))
        return false;
    struct tmpl_list *list = words.as.list;
    if (max < 0 || (int64_t)list->n <= max) {
        *out = words;
        return true;
    }
    /* The first word that is cut off begins where its bytes do; what is before stays in one piece. */
    size_t keep = list->n - (size_t)max;
    size_t end = (size_t)(list->items[keep - 1].as.text->bytes - text->bytes) +
                 list->items[keep - 1].as.text->n_bytes;
    if (!tmpl_slice_text(r, text, 0, end, &head) ||
        !tmpl_push(r, out, head))
        return false;
    for (size_t i = keep; i < list->n; i++) {
        if (!tmpl_push(r, out, list->items[i]))
            return false;
    }
    return true;
}

static bool method_rsplit(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    const struct tmpl_text *text = self_of(c), *separator;
    int64_t max;
    if (!tmpl_arg_text(r, c, 0, NULL, &separator) || !tmpl_arg_int(r, c, 1, -1, &max) ||
        !tmpl_make_list(r, TMPL_LIST_PLAIN, 0, out))
        return false;
    if (!separator)
        return rsplit_space(r, text, max, out);
    if (separator->n_bytes == 0)
        return tmpl_fail(r, "rsplit: the separator is empty");
    if (!charge_search(r, text, separator))
        return false;
    size_t to = text->n_bytes;
    for (int64_t n = 0; n != max; n++) {
        size_t hit = find_last(text, separator, to);
        if (hit == SIZE_MAX)
            break;
        if (!push_slice(r, out, text, hit + separator->n_bytes, to))
            return false;
        to = hit;
    }
    if (!push_slice(r, out, text, 0, to))
        return false;
    tmpl_list_reverse(out->as.list);
    return true;
}

static bool method_splitlines(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    return tmpl_split_lines(r, self_of(c), tmpl_arg_truth(c, 0, false), out);
}

/* A tuple of what is before the separator, the separator, and what is after it. */
static bool partition(struct tmpl_run *r, const struct tmpl_call *c, bool from_right,
                      struct template_value *out)
{
    const struct tmpl_text *text = self_of(c), *separator;
    if (!tmpl_arg_text(r, c, 0, NULL, &separator))
        return false;
    if (!separator || separator->n_bytes == 0)
        return tmpl_fail(r, "%s: the separator is empty", c->name);
    if (!charge_search(r, text, separator))
        return false;
    size_t hit = from_right ? find_last(text, separator, text->n_bytes) : tmpl_find(text, separator, 0);
    size_t a = hit, b = hit + separator->n_bytes;
    if (hit == SIZE_MAX)
        a = b = from_right ? 0 : text->n_bytes;
    return tmpl_make_list(r, TMPL_LIST_TUPLE, 3, out) && push_slice(r, out, text, 0, a) &&
           push_slice(r, out, text, a, b) && push_slice(r, out, text, b, text->n_bytes);
}

static bool method_partition(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    return partition(r, c, false, out);
}

static bool method_rpartition(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    return partition(r, c, true, out);
}

static bool strip(struct tmpl_run *r, const struct tmpl_call *c, enum tmpl_strip sides,
                  struct template_value *out)
{
    const struct tmpl_text *chars;
    return tmpl_arg_text(r, c, 0, NULL, &chars) && tmpl_strip_text(r, self_of(c), chars, sides, out);
}

static bool method_strip(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    return strip(r, c, TMPL_STRIP_BOTH, out);
}

static bool method_lstrip(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    return strip(r, c, TMPL_STRIP_LEFT, out);
}

static bool method_rstrip(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    return strip(r, c, TMPL_STRIP_RIGHT, out);
}

static bool is_affix(const struct tmpl_text *text, const struct tmpl_text *affix, bool at_end)
{
    if (affix->n_bytes > text->n_bytes)
        return false;
    const char *at = text->bytes + (at_end ? text->n_bytes - affix->n_bytes : 0);
    return affix->n_bytes == 0 || memcmp(at, affix->bytes, affix->n_bytes) == 0;
}

/* One text, or a tuple of which any will do. */
static bool has_affix(struct tmpl_run *r, const struct tmpl_call *c, bool at_end,
                      struct template_value *out)
{
    const struct template_value *arg = &c->arg[0];
    const struct template_value *items = arg;
    size_t n = 1;
    if (arg->type == TMPL_LIST && arg->as.list->kind == TMPL_LIST_TUPLE) {
        items = arg->as.list->items;
        n = arg->as.list->n;
    }
    bool yes = false;
    for (size_t i = 0; i < n && !yes; i++) {
        if (items[i].type != TMPL_TEXT)
            return tmpl_fail(r, "%s needs a text, not '%s'", c->name, tmpl_type_name(&items[i]));
        yes = is_affix(self_of(c), items[i].as.text, at_end);
    }
    *out = tmpl_bool(yes);
    return true;
}

static bool method_startswith(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    return has_affix(r, c, false, out);
}

static bool method_endswith(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    return has_affix(r, c, true, out);
}

static bool remove_affix(struct tmpl_run *r, const struct tmpl_call *c, bool at_end,
                         struct template_value *out)
{
    const struct tmpl_text *text = self_of(c), *affix;
    if (!tmpl_arg_text(r, c, 0, NULL, &affix))
        return false;
    size_t n = affix && is_affix(text, affix, at_end) ? affix->n_bytes : 0;
    return tmpl_slice_text(r, text, at_end ? 0 : n, text->n_bytes - n, out);
}

static bool method_removeprefix(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    return remove_affix(r, c, false, out);
}

static bool method_removesuffix(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    return remove_affix(r, c, true, out);
}

/* ---- texts: the rest ---- */

static bool method_replace(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    const struct tmpl_text *old, *with;
    int64_t count;
    if (!tmpl_arg_text(r, c, 0, NULL, &old) || !tmpl_arg_text(r, c, 1, NULL, &with) ||
        !tmpl_arg_int(r, c, 2, -1, &count))
        return false;
    if (!old || !with)
        return tmpl_fail(r, "replace needs two texts");
    return tmpl_replace_text(r, self_of(c), old, with, count, out);
}

static bool method_lower(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    return tmpl_change_case(r, self_of(c), TMPL_CASE_LOWER, out);
}

static bool method_upper(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    return tmpl_change_case(r, self_of(c), TMPL_CASE_UPPER, out);
}

static bool method_capitalize(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    return tmpl_change_case(r, self_of(c), TMPL_CASE_CAPITAL, out);
}

static bool method_title(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    return tmpl_change_case(r, self_of(c), TMPL_CASE_TITLE, out);
}

static bool method_format(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    return tmpl_format_braces(r, self_of(c), c->args, out);
}

static bool method_join(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    struct tmpl_list *items;
    struct tmpl_sb sb;
    if (!tmpl_iterate(r, &c->arg[0], &items))
        return false;
    tmpl_sb_init(&sb, r);
    for (size_t i = 0; i < items->n; i++) {
        if (items->items[i].type != TMPL_TEXT)
            return tmpl_fail(r, "join needs texts, item %zu is '%s'", i, tmpl_type_name(&items->items[i]));
        if (i)
            tmpl_sb_add_text(&sb, self_of(c));
        tmpl_sb_add_text(&sb, items->items[i].as.text);
    }
    return tmpl_sb_finish(&sb, out);
}

/* Position in characters, -1 when there is none. */
static int64_t char_position(const struct tmpl_text *text, size_t offset)
{
    struct tmpl_text head = { .bytes = text->bytes, .n_bytes = offset };
    return offset == SIZE_MAX ? -1 : (int64_t)tmpl_count_chars(&head);
}

static bool find(struct tmpl_run *r, const struct tmpl_call *c, bool last, bool must,
                 struct template_value *out)
{
    const struct tmpl_text *text = self_of(c), *needle;
    if (!tmpl_arg_text(r, c, 0, NULL, &needle))
        return false;
    if (!needle)
        return tmpl_fail(r, "%s needs a text", c->name);
    if (last && !charge_search(r, text, needle))
        return false;
    size_t hit = last ? find_last(text, needle, text->n_bytes) : tmpl_find(text, needle, 0);
    if (must && hit == SIZE_MAX)
        return tmpl_fail(r, "%s: not found", c->name);
    *out = tmpl_int(char_position(text, hit));
    return true;
}

static bool method_find(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    return find(r, c, false, false, out);
}

static bool method_rfind(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    return find(r, c, true, false, out);
}

static bool method_index(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    return find(r, c, false, true, out);
}

static bool method_count(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    const struct tmpl_text *text = self_of(c), *needle;
    int64_t n = 0;
    if (!tmpl_arg_text(r, c, 0, NULL, &needle))
        return false;
    if (!needle)
        return tmpl_fail(r, "count needs a text");
    if (needle->n_bytes == 0)
        n = (int64_t)tmpl_count_chars(text) + 1;
    for (size_t at = 0; needle->n_bytes && (at = tmpl_find(text, needle, at)) != SIZE_MAX;
         at += needle->n_bytes)
        n++;
    *out = tmpl_int(n);
    return true;
}

/* Whether there is a character and all are of the kind. */
static bool all_chars(const struct tmpl_text *text, bool (*is_kind)(uint32_t cp))
{
    for (size_t at = 0; at < text->n_bytes;) {
        uint32_t cp;
        at += (size_t)utf8_decode(text->bytes + at, text->n_bytes - at, &cp);
        if (!is_kind(cp))
            return false;
    }
    return text->n_bytes != 0;
}

static bool is_digit(uint32_t cp)
{
    return utf8proc_category((int32_t)cp) == UTF8PROC_CATEGORY_ND;
}

static bool is_alpha(uint32_t cp)
{
    int category = utf8proc_category((int32_t)cp);
    return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
}

static bool is_alnum(uint32_t cp)
{
    int category = utf8proc_category((int32_t)cp);
    return is_alpha(cp) || (category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO);
}

static bool method_isdigit(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    (void)r;
    *out = tmpl_bool(all_chars(self_of(c), is_digit));
    return true;
}

static bool method_isalpha(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    (void)r;
    *out = tmpl_bool(all_chars(self_of(c), is_alpha));
    return true;
}

static bool method_isalnum(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    (void)r;
    *out = tmpl_bool(all_chars(self_of(c), is_alnum));
    return true;
}

static bool method_isspace(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    (void)r;
    *out = tmpl_bool(all_chars(self_of(c), tmpl_is_space));
    return true;
}

static bool case_method(struct tmpl_run *r, const struct tmpl_call *c, const char *test,
                        struct template_value *out)
{
    static const struct tmpl_args none = { 0 };
    return tmpl_call_native(r, tmpl_test_find(test, strlen(test)), &c->self, &none, out);
}

static bool method_isupper(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    return case_method(r, c, "upper", out);
}

static bool method_islower(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    return case_method(r, c, "lower", out);
}

/* side < 0: text to the left, > 0: to the right. */
static bool justify(struct tmpl_run *r, const struct tmpl_call *c, int side,
                    struct template_value *out)
{
    static const struct tmpl_text space = { " ", NULL, 1, false };
    const struct tmpl_text *fill;
    struct tmpl_sb sb;
    int64_t width;
    if (!tmpl_arg_int(r, c, 0, 0, &width) || !tmpl_arg_text(r, c, 1, &space, &fill))
        return false;
    if (tmpl_count_chars(fill) != 1)
        return tmpl_fail(r, "%s: the filling must be one character", c->name);
    int64_t room = width - (int64_t)tmpl_count_chars(self_of(c));
    tmpl_sb_init(&sb, r);
    if (side < 0)
        tmpl_sb_add_text(&sb, self_of(c));
    for (int64_t i = 0; i < room && !sb.failed; i++)
        tmpl_sb_add_text(&sb, fill);
    if (side > 0)
        tmpl_sb_add_text(&sb, self_of(c));
    return tmpl_sb_finish(&sb, out);
}

static bool method_ljust(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    return justify(r, c, -1, out);
}

static bool method_rjust(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    return justify(r, c, 1, out);
}

static bool method_zfill(struct tmpl_run *r, const struct tmpl_call *c, struct template_value *out)
{
    const struct tmpl_text *text = self_of(c);
    struct tmpl_sb sb;
    int64_t width;
    if (!tmpl_arg_int(r, c, 0, 0, &width))
        return false;
    int64_t room = width - (int64_t)tmpl_count_chars(text);
    size_t sign = text->n_bytes && (text->bytes[0] == '-' || text->bytes[0] == '+');
    tmpl_sb_init(&sb, r);
    tmpl_sb_add_slice(&sb, text, 0, sign);
    tmpl_sb_fill(&sb, '0', room > 0 ? (size_t)room : 0, tmpl_tainted(text));
    tmpl_sb_add_slice(&sb, text, sign, text->n_bytes - sign);
    return tmpl_sb_finish(&sb, out);
}

static const struct tmpl_native text_methods[] = {
    { "capitalize", "", 0, method_capitalize },
    { "count", "sub", 1, method_count },
    { "endswith", "suffix", 1, method_endswith },
    { "find", "sub", 1, method_find },
    { "format", NULL, 0, method_format },
    { "index", "sub", 1, method_index },
    { "isalnum", "", 0, method_isalnum },
    { "isalpha", "", 0, method_isalpha },
    { "isdigit", "", 0, method_isdigit },
    { "islower", "", 0, method_islower },
    { "isspace", "", 0, method_isspace },
    { "isupper", "", 0, method_isupper },
    { "join", "iterable", 1, method_join },
    { "ljust", "width,fillchar", 1, method_ljust },
    { "lower", "", 0, method_lower },
    { "lstrip", "chars", 0, method_lstrip },
    { "partition", "sep", 1, method_partition },
    { "removeprefix", "prefix", 1, method_removeprefix },
    { "removesuffix", "suffix", 1, method_removesuffix },
    { "replace", "old,new,count", 2, method_replace },
    { "rfind", "sub", 1, method_rfind },
    { "rjust", "width,fillchar", 1, method_rjust },
    { "rpartition", "sep", 1, method_rpartition },
    { "rsplit", "sep,maxsplit", 0, method_rsplit },
    { "rstrip", "chars", 0, method_rstrip },
    { "split", "sep,maxsplit", 0, method_split },
    { "splitlines", "keepends", 0, method_splitlines },
    { "startswith", "prefix", 1, method_startswith },
    { "strip", "chars", 0, method_strip },
    { "title", "", 0, method_title },
    { "upper", "", 0, method_upper },
    { "zfill", "width", 1, method_zfill },
};

const struct tmpl_native *tmpl_text_method_find(const char *name, size_t n_bytes)
{
    return tmpl_native_find(text_methods, sizeof text_methods / sizeof *text_methods, name, n_bytes);
}
