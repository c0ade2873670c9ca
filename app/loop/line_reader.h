/* SPDX-License-Identifier: MIT */
#ifndef QUIP_APP_LOOP_LINE_READER_H
#define QUIP_APP_LOOP_LINE_READER_H

#include <stdbool.h>
#include <uv.h>

/* Lines of stdin, whatever it is: terminal, pipe or file. A thread waits for them, because a file cannot be
 * polled and a terminal that is shared should not be made non-blocking. */
struct line_reader;

/* on_wake is called in the loop when there may be lines. NULL: no memory or no thread. */
struct line_reader *line_reader_start(uv_loop_t *loop, void (*on_wake)(void *data), void *data);
/* The next line without its newline (malloc, the caller's), NULL when there is none now. *end: there will
 * be no more. */
char *line_reader_next(struct line_reader *r, bool *end);
/* Closes the loop's handle; the loop must run once more. The thread may be waiting for a line that never
 * comes: it is left to the end of the process, and whoever is last gives the struct back. */
void line_reader_leave(struct line_reader *r);

#endif
