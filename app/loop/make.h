/* SPDX-License-Identifier: MIT */
#ifndef QUIP_APP_LOOP_MAKE_H
#define QUIP_APP_LOOP_MAKE_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "engine/level/level.h"

/* Makes a level of a model beside the loop, at low priority: an answer that is written meanwhile comes first. */
struct make {
    uv_loop_t *loop;
    void *data;
    void (*on_progress)(void *data, uint64_t done, uint64_t total);
    /* error NULL: done; "": stopped. */
    void (*on_end)(void *data, const char *error);

    uv_work_t work;
    uv_timer_t timer;
    bool running;
    char *source, *target, *level;
    bool allow_requantize;
    struct level_progress progress;
    enum err_code rc;
    struct err err;
};

/* The callbacks are called in the loop. */
void make_init(struct make *m, uv_loop_t *loop, void *data);
/* From the file source to the file target, which is not there. False when one is being made or there is no memory. */
bool make_start(struct make *m, const char *source, const char *target, const char *level, bool allow_requantize);
void make_stop(struct make *m);    /* nothing is left of it; on_end follows */

#endif
