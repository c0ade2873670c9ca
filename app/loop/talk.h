/* SPDX-License-Identifier: MIT */
#ifndef QUIP_APP_LOOP_TALK_H
#define QUIP_APP_LOOP_TALK_H

#include "app/chat/chat.h"
#include "app/loop/fetch.h"
#include "app/loop/mailbox.h"
#include "app/loop/make.h"
#include "app/loop/worker.h"

/* What every front end of the chat has: the loop, the engine's thread with its mailbox, the fetching of
 * models, and the chat between them. */
struct talk_front {
    void *self;
    void (*changed)(void *self);                        /* the chat may look different now */
    void (*show)(void *self, enum port_panel panel);
    void (*give_back)(void *self, const char *text);
    void (*quit)(void *self);
};

struct talk {
    uv_loop_t loop;
    struct mailbox box;
    struct worker *worker;
    struct fetch fetch;
    struct make make;
    struct chat chat;
    const struct paths *paths;
    struct talk_front front;
};

/* Errors: ERR_UNSUPPORTED for a processor tier the machine does not have, ERR_NOMEM, ERR_FORMAT for
 * options that contradict each other. */
enum err_code talk_create(struct talk **out, const struct config *config, const struct paths *paths,
                          const struct talk_front *front, struct err *e);
/* The front end's own handles are closed (uv_close) before. Takes NULL. */
void talk_destroy(struct talk *t);

/* Opens the model that the command line asks for, else the default one, and the system prompt's file.
 * False: there is no model, and the person should choose. */
bool talk_begin(struct talk *t);

#endif
