/* SPDX-License-Identifier: MIT */
/* quip models: what is in the model folder and what can be fetched into it. */
#include "app/cmd/cmd.h"

#include <jansson.h>
#include <string.h>

#include "app/config/model_table.h"

static json_t *to_json(const struct model_row *row)
{
    return json_pack("{so so so so sI sb sb so}", "name", cmd_json_text(row->name, strlen(row->name)), "title",
                     cmd_json_text(row->title, strlen(row->title)), "good",
                     cmd_json_text(row->good, strlen(row->good)), "licence",
                     cmd_json_text(row->licence, strlen(row->licence)), "bytes", (json_int_t)row->n_bytes,
                     "here", (int)row->is_here, "default", (int)row->is_default, "path",
                     cmd_json_text(row->path, strlen(row->path)));
}

static void print_row(const struct model_row *row, int n_name)
{
    char line[512], size[32];
    snprintf(line, sizeof line, "%-*s  %8s  %-5s  %s%s%s", n_name, row->name, cmd_size(row->n_bytes, size),
             row->is_here ? "here" : "fetch", row->good[0] ? row->good : row->title,
             row->licence[0] ? "; " : "", row->licence);
    cmd_put(stdout, line, strlen(line));
    putchar('\n');
}

enum exit_code cmd_models(const struct app *app)
{
    struct model_table table;
    struct err e;
    if (model_table_read(&table, app->paths, &e) != ERR_OK) {
        cmd_complain("%s", e.text);
        return EXIT_CODE_FAILURE;
    }
    if (app->config->json) {
        json_t *list = json_array();
        for (int32_t i = 0; i < table.n; i++)
            json_array_append_new(list, to_json(&table.rows[i]));
        json_dumpf(list, stdout, JSON_INDENT(2));
        putchar('\n');
        json_decref(list);
    } else {
        int n_name = 4;
        for (int32_t i = 0; i < table.n; i++)
            if ((int)strlen(table.rows[i].name) > n_name)
                n_name = (int)strlen(table.rows[i].name);
        printf("%-*s  %8s  %-5s  %s\n", n_name, "NAME", "SIZE", "WHERE", "GOOD FOR");
        for (int32_t i = 0; i < table.n; i++)
            print_row(&table.rows[i], n_name);
        fprintf(stderr, "\n'here' lies in %s; 'fetch' comes with: quip pull NAME\n", app->paths->models);
    }
    model_table_finish(&table);
    return EXIT_CODE_OK;
}
