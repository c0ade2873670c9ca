/* SPDX-License-Identifier: MIT */
/* quip fit: what a model would take of the memory, part by part, and what would fit where it does not. */
#include "app/cmd/cmd.h"

#include <string.h>

#include "app/cmd/cmd_ladder.h"

struct answer {
    const struct ladder_row *row;
    char advice[LADDER_ADVICE][LADDER_TEXT_BYTES];
    int32_t n_advice;
    int32_t n_longest;    /* context that fits with these types */
};

static void print_part(const char *name, const struct fit *f, uint64_t host, uint64_t device)
{
    char size[32];
    printf("  %-12s %10s", name, cmd_size(host, size));
    if (f->n_device_layers > 0 && !f->shares)
        printf(" %10s", cmd_size(device, size));
    putchar('\n');
}

static void print_text(const struct cmd_ladder *c, const struct answer *a)
{
    const struct fit *f = &a->row->fit;
    bool apart = f->n_device_layers > 0 && !f->shares;
    char line[1024], spare[32];
    cmd_ladder_heading(c, line, sizeof line);
    cmd_put_line(stdout, line);
    printf("\n\n  %-12s %10s%s\n", a->row->level, apart ? "processor" : "memory", apart ? "     device" : "");
    print_part("weights", f, f->host.weight_bytes, f->device.weight_bytes);
    print_part("cache", f, f->host.kv_bytes, f->device.kv_bytes);
    print_part("scratch", f, f->host.scratch_bytes, f->device.scratch_bytes);
    print_part("embedding", f, f->host.lookup_bytes, f->device.lookup_bytes);
    print_part("vocabulary", f, f->host.vocabulary_bytes, f->device.vocabulary_bytes);
    print_part("program", f, f->host.program_bytes, f->device.program_bytes);
    print_part("together", f, f->host.needed_bytes, f->device.needed_bytes);
    print_part("may take", f, f->host.room_bytes, f->device.room_bytes);
    if (f->n_device_layers > 0)
        printf("  %d of %d layers on the device\n", f->n_device_layers, f->n_layers);
    cmd_spare(f, spare);
    printf("\n%s: %s\n", f->fits ? "Fits" : "Does not fit", spare);
    if (a->n_longest > 0)
        printf("The longest context that fits with these types: %d tokens\n", a->n_longest);
    if (a->n_advice > 0)
        puts("What would fit:");
    for (int32_t i = 0; i < a->n_advice; i++) {
        fputs("  ", stdout);
        cmd_put_line(stdout, a->advice[i]);
        putchar('\n');
    }
    if (!f->fits && a->n_advice == 0)
        puts("Nothing that is known here would fit");
}

static void print_json(const struct cmd_ladder *c, const struct answer *a)
{
    json_t *advice = json_array();
    for (int32_t i = 0; i < a->n_advice; i++)
        json_array_append_new(advice, cmd_json_text(a->advice[i], strlen(a->advice[i])));
    json_t *o = json_pack("{so so so}", "model", cmd_json_text(c->ladder->name, strlen(c->ladder->name)), "level",
                          cmd_json_text(a->row->level, strlen(a->row->level)), "place",
                          cmd_json_text(c->place, strlen(c->place)));
    json_object_update_new(o, cmd_fit_json(&a->row->fit));
    json_object_update_new(o, json_pack("{si so}", "longest_context", (int)a->n_longest, "would_fit", advice));
    json_dumpf(o, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(o);
}

enum exit_code cmd_fit(const struct app *app)
{
    struct cmd_ladder c;
    struct answer a = { 0 };
    enum exit_code code = cmd_ladder_open(&c, app);
    if (code == EXIT_CODE_OK) {
        a.row = &c.ladder->rows[c.ladder->given];
        if (!a.row->fits_known) {
            cmd_complain("%s: %s", a.row->path, a.row->problem);
            code = EXIT_CODE_MODEL;
        }
    }
    if (code == EXIT_CODE_OK) {
        a.n_advice = ladder_advise(c.ladder, c.ladder->given, c.eng, &c.want, a.advice);
        a.n_longest = ladder_longest(a.row, c.eng, &c.want);
        if (app->config->json)
            print_json(&c, &a);
        else
            print_text(&c, &a);
    }
    cmd_ladder_close(&c);
    return code;
}
