/* SPDX-License-Identifier: MIT */
#ifndef QUIP_APP_LOOP_FETCH_H
#define QUIP_APP_LOOP_FETCH_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

/* Runs app/fetch-model.sh beside the loop: a process group of its own, lines "progress DONE TOTAL" on its
 * stdout, messages on its stderr, of which the last is the reason when it fails. */
enum { FETCH_LINE_BYTES = 256 };

struct fetch_line {
    char text[FETCH_LINE_BYTES];
    size_t n;
};

struct fetch {
    uv_loop_t *loop;
    void *data;
    void (*on_progress)(void *data, uint64_t done, uint64_t total);
    /* error NULL: done; "": stopped. */
    void (*on_end)(void *data, const char *error);

    uv_process_t process;
    uv_pipe_t out, err;
    bool running, stopping;
    int n_open;                   /* handles that are not closed yet */
    int64_t exit_status;
    struct fetch_line out_line, err_line;
    char reason[FETCH_LINE_BYTES];
};

/* The callbacks are called in the loop. */
void fetch_init(struct fetch *f, uv_loop_t *loop, void *data);
/* False when one is running or the system gives no process. */
bool fetch_start(struct fetch *f, const char *script, const char *name);
void fetch_stop(struct fetch *f);    /* what was fetched stays; on_end follows */

#endif
