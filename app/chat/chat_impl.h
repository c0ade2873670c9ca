/* SPDX-License-Identifier: MIT */
#ifndef QUIP_APP_CHAT_CHAT_IMPL_H
#define QUIP_APP_CHAT_CHAT_IMPL_H

#include "app/chat/chat.h"

/* What the files of the chat share with each other alone. */

void chat_no_memory(struct chat *c);
/* As chat_card(), of a text of any length. */
void chat_card_text(struct chat *c, enum message_role role, const char *title, const char *hint, const char *text);
/* Sends what waits if nothing stands in its way. */
void chat_send_waiting(struct chat *c);
/* Stops the answer and leaves what waits alone. */
void chat_cancel(struct chat *c);
/* A full context is said before anything is evaluated: this many tokens are kept for the answer. */
int32_t chat_reserve(const struct chat *c);
/* Asks for an answer to the path as it is. */
void chat_ask(struct chat *c);
/* Lets request stream into m. The state is CHAT_ANSWERING after that; false: no memory, nothing changed. */
bool chat_start_answer(struct chat *c, struct message *m, const struct port_request *request);
/* A request for an answer with the settings in force. */
void chat_fill_request(struct chat *c, struct port_request *out);
/* Tells the engine what the next prompt will begin with. */
void chat_prepare(struct chat *c);

/* chat_context.c: the conversation's way through a full context. */
/* question: the message that does not fit, on the path; 0: none. */
void chat_context_full(struct chat *c, enum chat_context_cause cause, uint64_t question);
void chat_context_counted(struct chat *c, const struct mail *mail);
void chat_context_not_counted(struct chat *c, const char *reason);
/* The summary ended, or never began. reason NULL: it is whole. */
void chat_context_summarised(struct chat *c, struct message *m, const char *reason);
void chat_context_summary_too_long(struct chat *c, struct message *m);
/* A model or a session arrived; reason: it did not. */
void chat_context_session(struct chat *c, const char *reason);
/* What to do with a cut answer once there is room; NULL: nothing was cut. */
const char *chat_context_hint(const struct chat *c);
void chat_context_warn(struct chat *c);
void chat_context_forget(struct chat *c);

/* chat_levels.c; takes levels. */
void chat_take_levels(struct chat *c, struct port_levels *levels);
void chat_take_measured(struct chat *c, const struct mail *mail);
void chat_level_wish(struct chat *c, const char *name, enum level_wish wish);
/* NULL: it is not known yet, or none of them. */
const struct port_level *chat_level_in_use(const struct chat *c);

/* chat_compare.c */
void chat_take_compare(struct chat *c, const struct mail *mail);
void chat_compare_named(struct chat *c, const struct port_level *row);
void chat_compare_forget(struct chat *c);

/* Reads the system prompt's file again when it changed. */
void chat_system_refresh(struct chat *c);

#endif
