/* SPDX-License-Identifier: MIT */
#ifndef QUIP_APP_CHAT_CHAT_IMPL_H
#define QUIP_APP_CHAT_CHAT_IMPL_H

#include "app/chat/chat.h"

/* What the files of the chat share with each other alone. */

void chat_no_memory(struct chat *c);
/* Sends what waits if nothing stands in its way. */
void chat_send_waiting(struct chat *c);
/* Stops the answer and leaves what waits alone. */
void chat_cancel(struct chat *c);
/* A full context is said before anything is evaluated: this many tokens are kept for the answer. */
int32_t chat_reserve(const struct chat *c);
/* Reads the system prompt's file again when it changed. */
void chat_system_refresh(struct chat *c);

#endif
