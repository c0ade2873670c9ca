/* SPDX-License-Identifier: MIT */
#ifndef QUIP_APP_LOOP_MAILBOX_H
#define QUIP_APP_LOOP_MAILBOX_H

#include <stdbool.h>
#include <uv.h>

#include "app/chat/port.h"

/* From the engine thread to the loop: a ring under a lock, and a wake-up that may stand for many mails. */
enum { MAILBOX_MAILS = 256 };

struct mailbox {
    uv_mutex_t lock;
    uv_cond_t room;
    uv_async_t wake;
    struct mail ring[MAILBOX_MAILS];
    uint32_t first, n;
    bool closed;
};

/* on_wake is called in the loop when there may be mail; it empties the box. Returns 0 or libuv's error. */
int mailbox_init(struct mailbox *m, uv_loop_t *loop, uv_async_cb on_wake, void *data);
/* Loop thread: posts fail from now on, and whoever waits for room is let go. */
void mailbox_close(struct mailbox *m);
/* After the loop has run the close callbacks and the engine thread is gone. */
void mailbox_finish(struct mailbox *m);

/* Engine thread; waits for room. False when the box is closed: nobody will read it. */
bool mailbox_post(struct mailbox *m, const struct mail *mail);
/* Loop thread: up to cap mails, how many is returned. */
int mailbox_take(struct mailbox *m, struct mail *out, int cap);

#endif
