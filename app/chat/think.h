/* SPDX-License-Identifier: MIT */
#ifndef QUIP_APP_CHAT_THINK_H
#define QUIP_APP_CHAT_THINK_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/base/buf.h"

/* Tells a model's thinking from its answer while both stream in. An answer may begin with one block
 * between the tags that the template knows; a prompt may also end inside such a block. A tag that comes in
 * pieces is held back until it is whole or cannot become one.
 *
 *   BEFORE --open tag--> INSIDE --close tag--> AFTER      anything but blanks leaves BEFORE for AFTER */
enum { THINK_TAG_BYTES = 64 };

enum think_state { THINK_BEFORE, THINK_INSIDE, THINK_AFTER };

struct think {
    char open[THINK_TAG_BYTES], close[THINK_TAG_BYTES];
    enum think_state state;
    struct buf held;      /* bytes that may become a tag */
    bool trim;            /* blanks after a tag belong to nobody */
};

/* Empty tags: all is answer. Tags longer than THINK_TAG_BYTES count as empty. */
void think_init(struct think *p, const char *open, const char *close, bool starts_inside);
void think_finish(struct think *p);
/* Appends what is certain to thoughts or to answer. */
void think_feed(struct think *p, const char *text, size_t n_bytes, struct buf *thoughts, struct buf *answer);
/* No more will come: what is held back goes where it belongs. */
void think_end(struct think *p, struct buf *thoughts, struct buf *answer);
bool think_is_inside(const struct think *p);

#endif
