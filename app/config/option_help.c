/* SPDX-License-Identifier: MIT */
#include "app/config/option.h"

#include <string.h>

#include "app/config/exit_code.h"

#define PROGRAM "quip"

enum { HELP_COLUMN = 30, HELP_NARROWEST = 50, HELP_WIDEST = 100 };

/* Prints text from the column where the cursor stands, wrapped at words, later lines indented. All help
 * texts are ASCII, so bytes are columns. */
static void print_wrapped(FILE *out, const char *text, int column, int indent, int n_columns)
{
    bool fresh = true;
    for (const char *p = text; *p;) {
        int n = (int)strcspn(p, " ");
        if (!fresh && column + 1 + n > n_columns) {
            fprintf(out, "\n%*s", indent, "");
            column = indent;
            fresh = true;
        }
        fprintf(out, "%s%.*s", fresh ? "" : " ", n, p);
        column += n + !fresh;
        fresh = false;
        p += n;
        p += strspn(p, " ");
    }
    fputc('\n', out);
}

static void print_row(FILE *out, const char *left, const char *text, int n_columns)
{
    int n = (int)strlen(left);
    fprintf(out, "  %s", left);
    if (n + 2 > HELP_COLUMN - 2)
        fprintf(out, "\n%*s", HELP_COLUMN, "");
    else
        fprintf(out, "%*s", HELP_COLUMN - n - 2, "");
    print_wrapped(out, text, HELP_COLUMN, HELP_COLUMN, n_columns);
}

static void print_option(const struct option *o, int n_columns, FILE *out)
{
    char left[128];
    size_t used = 0;
    for (const char *p = o->names; *p; p += strspn(p, " ")) {
        size_t n = strcspn(p, " ");
        used += (size_t)snprintf(left + used, sizeof left - used, "%s%.*s", used ? ", " : "", (int)n, p);
        p += n;
    }
    if (o->value)
        snprintf(left + used, sizeof left - used, " %s", o->value);

    char text[256];
    used = (size_t)snprintf(text, sizeof text, "%s", o->help);
    if (o->choices && used < sizeof text)
        used += (size_t)snprintf(text + used, sizeof text - used, " [%s]", o->choices);
    if (o->preset && used < sizeof text)
        snprintf(text + used, sizeof text - used, " (default %s)", o->preset);
    print_row(out, left, text, n_columns);
}

static void print_options(const struct option_set *set, enum command c, bool sampling, int n_columns,
                          FILE *out)
{
    bool any = false;
    for (int32_t i = 0; i < set->n; i++) {
        const struct option *o = &set->rows[i];
        bool is_sampling = o->kind == OPTION_SETTING || o->kind == OPTION_BIAS || o->kind == OPTION_BREAKER;
        if (!(o->commands >> c & 1) || is_sampling != sampling)
            continue;
        if (!any)
            fputs(sampling ? "\nSampling (unless given: what the model file recommends, then these)\n"
                           : "\nOptions\n", out);
        any = true;
        print_option(o, n_columns, out);
    }
}

static void print_commands(int n_columns, FILE *out)
{
    fputs("\nCommands\n", out);
    for (int c = COMMAND_CHAT + 1; c < COMMAND_COUNT; c++) {
        const struct command_row *row = command_row(c);
        char left[32];
        snprintf(left, sizeof left, "%s", row->name);
        print_row(out, left, row->help, n_columns);
    }
    fputs("\n'" PROGRAM " COMMAND --help' says more about each.\n", out);
}

static void print_exit_codes(int n_columns, FILE *out)
{
    fputs("\nExit status\n", out);
    const struct exit_code_row *row;
    for (int i = 0; (row = exit_code_row(i)); i++) {
        char left[16];
        snprintf(left, sizeof left, "%d", row->code);
        print_row(out, left, row->meaning, n_columns);
    }
}

void option_print_help(const struct option_set *set, enum command c, int n_columns, FILE *out)
{
    if (n_columns < HELP_NARROWEST)
        n_columns = HELP_NARROWEST;
    if (n_columns > HELP_WIDEST)
        n_columns = HELP_WIDEST;
    const struct command_row *row = command_row(c);
    if (c == COMMAND_CHAT) {
        fprintf(out, "Usage: " PROGRAM " %s\n       " PROGRAM " COMMAND [options]\n\n", row->synopsis);
        print_wrapped(out, "Chat with a language model on this machine. Without a command: the full-screen chat.",
                      0, 0, n_columns);
        print_commands(n_columns, out);
    } else {
        fprintf(out, "Usage: " PROGRAM " %s %s\n\n", row->name, row->synopsis);
        print_wrapped(out, row->help, 0, 0, n_columns);
        if (row->text[0])
            print_wrapped(out, row->text, 0, 0, n_columns);
    }
    print_options(set, c, false, n_columns, out);
    print_options(set, c, true, n_columns, out);
    print_exit_codes(n_columns, out);
}
