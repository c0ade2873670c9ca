/* SPDX-License-Identifier: MIT */
/* quip levels: what levels a model has and can have here, and what each would take and give on this machine. */
#include "app/cmd/cmd.h"

#include <string.h>

#include "app/cmd/cmd_ladder.h"

static json_t *text_of(const char *text)
{
    return cmd_json_text(text, strlen(text));
}

/* ---- as JSON ---------------------------------------------------------------------------------------- */

static const char *state_name(enum ladder_state state)
{
    return state == LADDER_HERE ? "here" : state == LADDER_MAKE ? "make" : "damaged";
}

static json_t *speed_json(const struct ladder_row *row)
{
    if (row->speed == LADDER_UNKNOWN)
        return json_null();
    return json_pack("{sf sb sI}", "tokens_per_s", row->tokens_per_s, "measured", row->speed == LADDER_MEASURED,
                     "token_bytes", (json_int_t)row->token_bytes);
}

static json_t *quality_json(const struct ladder_row *row)
{
    if (row->quality == LADDER_UNKNOWN)
        return json_null();
    json_t *o = json_pack("{sf sb}", "kl", row->kl, "measured", row->quality == LADDER_MEASURED);
    if (row->quality == LADDER_MEASURED)
        json_object_update_new(o, json_pack("{sf sf}", "kl_error", row->kl_error, "same_top", row->same_top));
    return o;
}

static json_t *row_json(const struct ladder *l, const struct ladder_row *row)
{
    json_t *o = json_pack("{so ss so sb sb sI sI sf}", "level", text_of(row->level), "state", state_name(row->state),
                          "path", text_of(row->path), "given", row->is_given, "best", row->is_best, "file_bytes",
                          (json_int_t)row->file_bytes, "tensor_bytes", (json_int_t)row->tensor_bytes,
                          "bits_per_weight", row->bits);
    json_object_set_new(o, "made_from", row->state == LADDER_MAKE ? text_of(l->rows[l->best].path) : json_null());
    json_object_set_new(o, "memory", row->fits_known ? cmd_fit_json(&row->fit) : json_null());
    json_object_set_new(o, "speed", speed_json(row));
    json_object_set_new(o, "quality", quality_json(row));
    if (row->problem[0])
        json_object_set_new(o, "problem", text_of(row->problem));
    if (row->warning[0])
        json_object_set_new(o, "warning", text_of(row->warning));
    return o;
}

static void print_json(const struct cmd_ladder *c)
{
    const struct ladder *l = c->ladder;
    json_t *rows = json_array(), *strays = json_array();
    for (int32_t i = 0; i < l->n_rows; i++)
        json_array_append_new(rows, row_json(l, &l->rows[i]));
    for (int32_t i = 0; i < l->n_strays; i++)
        json_array_append_new(strays, json_pack("{so so}", "path", text_of(l->strays[i].path), "problem",
                                                text_of(l->strays[i].why)));
    json_t *all = json_pack("{so so sf so so}", "model", text_of(l->name), "place", text_of(c->place),
                            "memory_bytes_per_s", c->roof.bytes_per_s, "levels", rows, "unreadable", strays);
    json_dumpf(all, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
    putchar('\n');
    json_decref(all);
}

/* ---- as text ---------------------------------------------------------------------------------------- */

static const char *mark(enum ladder_kind kind)
{
    return kind == LADDER_ESTIMATED ? "~" : " ";
}

static void speed_text(const struct ladder_row *row, char out[16])
{
    snprintf(out, 16, "-");
    if (row->speed != LADDER_UNKNOWN)
        snprintf(out, 16, row->tokens_per_s < 99.95 ? "%s%.1f" : "%s%.0f", mark(row->speed), row->tokens_per_s);
}

static void quality_text(const struct ladder_row *row, char out[16])
{
    snprintf(out, 16, row->is_best ? "best" : "-");
    if (row->quality != LADDER_UNKNOWN)
        snprintf(out, 16, "%s%.*f", mark(row->quality), row->kl < 0.01 ? 4 : row->kl < 0.1 ? 3 : 2, row->kl);
}

static void print_row(const struct ladder *l, const struct ladder_row *row)
{
    char line[PATHS_BYTES + 512], size[32], memory[32] = "-", fits[32] = "-", kv[24] = "-";
    char speed[16], quality[16], bits[16];
    const char *slash = strrchr(row->path, '/');
    if (row->fits_known) {
        cmd_size(row->fit.needed_bytes, memory);
        cmd_spare(&row->fit, fits);
        figures_kv_types(row->fit.kv_type_k, row->fit.kv_type_v, kv);
    }
    speed_text(row, speed);
    quality_text(row, quality);
    snprintf(bits, sizeof bits, "%.2f", row->bits);
    int n = snprintf(line, sizeof line, "%c %-8s %8s %5s  %8s  %-13s  %-4s %7s  %7s  ", row->is_given ? '*' : ' ',
                     row->level, row->file_bytes ? cmd_size(row->file_bytes, size) : "-", row->bits > 0 ? bits : "-",
                     memory, fits, kv, speed, quality);
    if (row->state == LADDER_MAKE)
        snprintf(line + n, sizeof line - (size_t)n, "make from %s%s%s", l->rows[l->best].level,
                 row->problem[0] ? ": " : "", row->problem);
    else
        snprintf(line + n, sizeof line - (size_t)n, "%s%s%s", slash ? slash + 1 : row->path,
                 row->problem[0] ? ": " : "", row->problem);
    cmd_put_line(stdout, line);
    putchar('\n');
}

static void print_text(const struct cmd_ladder *c)
{
    const struct ladder *l = c->ladder;
    const struct ladder_row *best = l->best >= 0 ? &l->rows[l->best] : NULL;
    char line[1024];
    cmd_ladder_heading(c, line, sizeof line);
    cmd_put_line(stdout, line);
    printf("\n\n  %-8s %8s %5s  %8s  %-13s  %-4s %7s  %7s  %s\n", "LEVEL", "SIZE", "BITS", "MEMORY", "FITS", "KV",
           "TOK/S", "KL", "FILE");
    for (int32_t i = 0; i < l->n_rows; i++)
        print_row(l, &l->rows[i]);
    fputs("\n* is the one asked about. ~ is estimated: tokens a second as `quip bench` would measure them", stdout);
    if (c->n_held > 0)
        printf(" after %d tokens", (int)c->n_held);
    printf(", the mean KL divergence from %s roughly\n", best ? best->level : "the best");
    for (int32_t i = 0; i < l->n_rows; i++)
        if (l->rows[i].warning[0]) {
            snprintf(line, sizeof line, "Made %s", l->rows[i].warning);
            cmd_put_line(stdout, line);
            putchar('\n');
            break;
        }
    for (int32_t i = 0; i < l->n_strays; i++)
        cmd_complain("%s: %s", l->strays[i].path, l->strays[i].why);
}

enum exit_code cmd_levels(const struct app *app)
{
    struct cmd_ladder c;
    enum exit_code code = cmd_ladder_open(&c, app);
    if (code == EXIT_CODE_OK && app->config->json)
        print_json(&c);
    else if (code == EXIT_CODE_OK)
        print_text(&c);
    cmd_ladder_close(&c);
    return code;
}
