/* SPDX-License-Identifier: MIT */
#ifndef QUIP_APP_CHAT_SLASH_H
#define QUIP_APP_CHAT_SLASH_H

#include "app/chat/chat.h"

/* Commands typed as "/name argument", the same in full screen and line mode. Help and completion are read
 * from the table. */
struct slash_command {
    const char *name;        /* "/model" */
    const char *argument;    /* "NAME|PATH", "" for none */
    const char *help;
    bool (*run)(struct chat *c, const char *argument);    /* false: the line stays a draft */
};

/* NULL beyond the last. */
const struct slash_command *slash_command(int32_t i);
/* A line that begins with a slash is one, unless its first word has another slash in it (a path), or begins
 * with two (text that begins with a slash). */
bool slash_is_command(const char *text);
bool slash_run(struct chat *c, const char *text);
/* The longest text that the beginning can be completed to; false when nothing is added. */
bool slash_complete(const char *text, char *out, size_t n_bytes);

#endif
