/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_TEMPLATE_TEMPLATE_PRIVATE_H
#define QUIP_ENGINE_TEMPLATE_TEMPLATE_PRIVATE_H

#include "engine/base/arena.h"
#include "engine/template/tmpl_node.h"

struct template {
    struct arena arena;    /* source and nodes */
    const char *source;    /* NUL behind it */
    size_t n_source;
    struct tmpl_node *body;
};

#endif
