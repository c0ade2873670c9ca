/* SPDX-License-Identifier: MIT */
#include "app/config/option.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PROGRAM "quip"

static bool names_hold(const char *names, const char *name, size_t n_bytes)
{
    for (const char *p = names; *p;) {
        size_t n = strcspn(p, " ");
        if (n == n_bytes && memcmp(p, name, n) == 0)
            return true;
        p += n;
        p += strspn(p, " ");
    }
    return false;
}

const struct option *option_find(const struct option_set *set, enum command c, const char *name,
                                 size_t n_bytes)
{
    for (int32_t i = 0; i < set->n; i++)
        if ((set->rows[i].commands >> c & 1) && names_hold(set->rows[i].names, name, n_bytes))
            return &set->rows[i];
    return NULL;
}

/* Optimal string alignment over three rows; words longer than the rows are cut, which only makes a bad
 * suggestion worse. */
int option_distance(const char *a, const char *b)
{
    enum { MAX = 64 };
    int rows[3][MAX + 1];
    int n = (int)strnlen(b, MAX);
    int *before = rows[0], *last = rows[1], *now = rows[2];
    for (int j = 0; j <= n; j++)
        last[j] = j;
    for (int i = 1; i <= MAX && a[i - 1]; i++) {
        now[0] = i;
        for (int j = 1; j <= n; j++) {
            int best = last[j - 1] + (a[i - 1] != b[j - 1]);
            if (last[j] + 1 < best)
                best = last[j] + 1;
            if (now[j - 1] + 1 < best)
                best = now[j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && before[j - 2] + 1 < best)
                best = before[j - 2] + 1;
            now[j] = best;
        }
        int *free_row = before;
        before = last;
        last = now;
        now = free_row;
    }
    return last[n];
}

static bool is_near(int distance, const char *word)
{
    size_t n = strlen(word);
    return distance <= (n <= 4 ? 1 : n <= 8 ? 2 : 3);
}

static const char *command_label(enum command c, char *out, size_t n_bytes)
{
    const char *name = command_row(c)->name;
    snprintf(out, n_bytes, name[0] ? PROGRAM " %s" : PROGRAM "%s", name);
    return out;
}

/* An option nobody knows: maybe another command has it, maybe it was mistyped. */
static enum err_code unknown_option(const struct option_set *set, enum command c, const char *arg,
                                    size_t n_bytes, struct err *e)
{
    char word[64], label[32], others[160] = "", near[64] = "";
    snprintf(word, sizeof word, "%.*s", (int)n_bytes, arg);
    command_label(c, label, sizeof label);

    for (int other = 0; other < COMMAND_COUNT; other++)
        if (other != (int)c && option_find(set, other, arg, n_bytes)) {
            char name[32];
            size_t used = strlen(others);
            snprintf(others + used, sizeof others - used, "%s'%s'", used ? ", " : "",
                     command_label(other, name, sizeof name));
        }
    if (others[0])
        return err_set(e, ERR_FORMAT, "option '%s' is not for '%s'; it belongs to %s", word, label, others);

    int best = 1 << 20;
    for (int32_t i = 0; i < set->n; i++) {
        if (!(set->rows[i].commands >> c & 1))
            continue;
        for (const char *p = set->rows[i].names; *p; p += strspn(p, " ")) {
            char name[64];
            size_t n = strcspn(p, " ");
            snprintf(name, sizeof name, "%.*s", (int)n, p);
            p += n;
            int distance = option_distance(word, name);
            if (distance < best) {
                best = distance;
                snprintf(near, sizeof near, "%s", name);
            }
        }
    }
    if (is_near(best, word))
        return err_set(e, ERR_FORMAT, "unknown option '%s'; did you mean '%s'?", word, near);
    return err_set(e, ERR_FORMAT, "unknown option '%s'; '%s --help' lists those there are", word, label);
}

static enum err_code unknown_command(const char *arg, struct err *e)
{
    size_t n = strlen(arg);
    if (n > 5 && strcmp(arg + n - 5, ".gguf") == 0)
        return err_set(e, ERR_FORMAT, "'%s' is no command; to chat with this file: " PROGRAM " -m %s", arg, arg);
    int best = 1 << 20;
    const char *near = "";
    for (int c = COMMAND_CHAT + 1; c < COMMAND_COUNT; c++) {
        int distance = option_distance(arg, command_row(c)->name);
        if (distance < best) {
            best = distance;
            near = command_row(c)->name;
        }
    }
    if (is_near(best, arg))
        return err_set(e, ERR_FORMAT, "unknown command '%s'; did you mean '%s'?", arg, near);
    return err_set(e, ERR_FORMAT, "unknown command '%s'; '" PROGRAM " --help' lists those there are", arg);
}

/* Which of the choices it is, or -1. */
static int32_t choice_index(const char *choices, const char *text, size_t n_bytes)
{
    int32_t index = 0;
    for (const char *p = choices; *p; p += strspn(p, " "), index++) {
        size_t n = strcspn(p, " ");
        if (n == n_bytes && memcmp(p, text, n) == 0)
            return index;
        p += n;
    }
    return -1;
}

/* "1 to 31, auto or off" */
static const char *wanted_text(const struct option *o, char *out, size_t n_bytes)
{
    size_t used = (size_t)snprintf(out, n_bytes, "%.0f to %.0f", o->min, o->max);
    for (const char *p = o->choices ? o->choices : ""; *p && used < n_bytes;) {
        size_t n = strcspn(p, " ");
        const char *next = p + n + strspn(p + n, " ");
        used += (size_t)snprintf(out + used, n_bytes - used, "%s%.*s", *next ? ", " : " or ", (int)n, p);
        p = next;
    }
    return out;
}

static enum err_code parse_int(const struct option *o, const char *name, const char *text, size_t n_bytes,
                               int32_t *out, struct err *e)
{
    char word[32], wanted[64], *end;
    int32_t index = o->choices ? choice_index(o->choices, text, n_bytes) : -1;
    if (index >= 0) {
        *out = -index;
        return ERR_OK;
    }
    wanted_text(o, wanted, sizeof wanted);
    snprintf(word, sizeof word, "%.*s", (int)n_bytes, text);
    errno = 0;
    long long value = strtoll(word, &end, 10);
    if (n_bytes == 0 || n_bytes >= sizeof word || *end || errno)
        return err_set(e, ERR_FORMAT, "%s: '%.*s' is not a whole number; %s wanted", name, (int)n_bytes, text,
                       wanted);
    if ((double)value < o->min || (double)value > o->max)
        return err_set(e, ERR_FORMAT, "%s: %s is out of range; %s wanted", name, word, wanted);
    *out = (int32_t)value;
    return ERR_OK;
}

static enum err_code parse_list(const struct option *o, const char *name, const char *text,
                                struct config_list *out, struct err *e)
{
    out->n = 0;
    for (const char *p = text;; p++) {
        size_t n = strcspn(p, ",");
        if (out->n == CONFIG_MAX_LIST)
            return err_set(e, ERR_FORMAT, "%s: more than %d numbers in '%s'", name, CONFIG_MAX_LIST, text);
        enum err_code rc = parse_int(o, name, p, n, &out->values[out->n], e);
        if (rc != ERR_OK)
            return rc;
        out->n++;
        p += n;
        if (!*p)
            return ERR_OK;
    }
}

static enum err_code parse_choice(const struct option *o, const char *name, const char *text, int32_t *out,
                                  const char **word, struct err *e)
{
    int32_t index = choice_index(o->choices, text, strlen(text));
    if (index < 0)
        return err_set(e, ERR_FORMAT, "%s: '%s' is not one of: %s", name, text, o->choices);
    *out = index;
    *word = text;
    return ERR_OK;
}

/* The sampler parses it again when the model is known; here the person gets the answer at once. */
static enum err_code check_setting(const struct option *o, const char *name, const char *text, struct err *e)
{
    char *end;
    errno = 0;
    double value = strtod(text, &end);
    if (end == text || *end || isnan(value))
        return err_set(e, ERR_FORMAT, "%s: '%s' is not a number", name, text);
    if (o->whole && value != floor(value))
        return err_set(e, ERR_FORMAT, "%s: '%s' is not a whole number", name, text);
    if (o->max > o->min && (value < o->min || value > o->max))
        return err_set(e, ERR_FORMAT, "%s: %s is out of range; %g to %g wanted", name, text, o->min, o->max);
    return ERR_OK;
}

static enum err_code append_text(const char **list, int32_t *n, int32_t max, const char *name,
                                 const char *text, struct err *e)
{
    if (*n == max)
        return err_set(e, ERR_FORMAT, "%s: given more than %d times", name, max);
    list[(*n)++] = text;
    return ERR_OK;
}

static enum err_code store(const struct option *o, const char *name, const char *text, struct config *out,
                           struct err *e)
{
    void *at = (char *)out + o->offset;
    const char *word;
    int32_t index;
    enum err_code rc = ERR_OK;
    switch (o->kind) {
    case OPTION_FLAG:
        *(bool *)at = true;
        break;
    case OPTION_TEXT:
        *(const char **)at = text;
        break;
    case OPTION_INT:
        rc = parse_int(o, name, text, strlen(text), at, e);
        break;
    case OPTION_CHOICE:
        rc = parse_choice(o, name, text, at, &word, e);
        break;
    case OPTION_CHOICE_TEXT:
        rc = parse_choice(o, name, text, &index, at, e);
        break;
    case OPTION_LIST:
        rc = parse_list(o, name, text, at, e);
        break;
    case OPTION_SETTING:
        rc = check_setting(o, name, text, e);
        if (rc == ERR_OK && out->n_settings == CONFIG_MAX_SETTINGS)
            rc = err_set(e, ERR_FORMAT, "%s: more than %d sampling options", name, CONFIG_MAX_SETTINGS);
        if (rc == ERR_OK)
            out->settings[out->n_settings++] = (struct config_setting){ o->setting, text };
        break;
    case OPTION_TEXTS: {
        struct config_texts *list = at;
        rc = append_text(list->values, &list->n, CONFIG_MAX_TEXTS, name, text, e);
        break;
    }
    case OPTION_BIAS:
        rc = append_text(out->bias, &out->n_bias, CONFIG_MAX_BIAS, name, text, e);
        break;
    case OPTION_BREAKER:
        rc = append_text(out->dry_breakers, &out->n_dry_breakers, 16, name, text, e);
        break;
    }
    return rc;
}

static enum err_code set_presets(const struct option_set *set, struct config *out, struct err *e)
{
    for (int32_t i = 0; i < set->n; i++) {
        const struct option *o = &set->rows[i];
        if (o->preset && o->kind != OPTION_SETTING && (o->commands >> out->command & 1)) {
            enum err_code rc = store(o, o->names, o->preset, out, e);
            if (rc != ERR_OK)
                return rc;
        }
    }
    return ERR_OK;
}

/* Reads the word at argv[*i] as an option, with its value from after '=' or from the next word. */
static enum err_code parse_option(const struct option_set *set, int argc, char **argv, int *i,
                                  struct config *out, struct err *e)
{
    const char *arg = argv[*i], *value = NULL;
    size_t n = strlen(arg);
    const char *equals = strchr(arg, '=');
    if (equals && arg[1] == '-') {
        n = (size_t)(equals - arg);
        value = equals + 1;
    }
    const struct option *o = option_find(set, out->command, arg, n);
    if (!o)
        return unknown_option(set, out->command, arg, n, e);

    char name[64];
    snprintf(name, sizeof name, "%.*s", (int)n, arg);
    if (o->kind == OPTION_FLAG) {
        if (value)
            return err_set(e, ERR_FORMAT, "%s: takes no value, '%s' found", name, value);
    } else if (!value) {
        if (*i + 1 >= argc)
            return err_set(e, ERR_FORMAT, "%s: a value is missing (%s)", name, o->value);
        value = argv[++*i];
    }
    return store(o, name, value, out, e);
}

enum err_code option_parse(const struct option_set *set, int argc, char **argv, struct config *out,
                           struct err *e)
{
    memset(out, 0, sizeof *out);
    int i = 1;
    bool help_word = argc > 1 && strcmp(argv[1], "help") == 0;
    if (help_word)
        i++;
    if (i < argc && argv[i][0] != '-') {
        int c = COMMAND_CHAT + 1;
        while (c < COMMAND_COUNT && strcmp(command_row(c)->name, argv[i]) != 0)
            c++;
        if (c == COMMAND_COUNT)
            return unknown_command(argv[i], e);
        out->command = c;
        i++;
    }
    enum err_code rc = set_presets(set, out, e);
    out->help = help_word;

    bool options_over = false;
    for (; rc == ERR_OK && i < argc; i++) {
        if (!options_over && strcmp(argv[i], "--") == 0) {
            options_over = true;
        } else if (!options_over && argv[i][0] == '-' && argv[i][1]) {
            rc = parse_option(set, argc, argv, &i, out, e);
        } else if (out->n_args < command_row(out->command)->n_args_max) {
            out->args[out->n_args++] = argv[i];
        } else {
            char label[32];
            rc = err_set(e, ERR_FORMAT, "'%s': an argument too many for '%s'", argv[i],
                         command_label(out->command, label, sizeof label));
        }
    }
    const struct command_row *row = command_row(out->command);
    if (rc == ERR_OK && out->n_args < row->n_args_min && !out->help && !out->version)
        rc = err_set(e, ERR_FORMAT, "'" PROGRAM " %s' needs %s", row->name, row->arg_name);
    return rc;
}
