/* SPDX-License-Identifier: MIT */
/* Small things worth knowing at the next start, one file each beside those of prefixes: what a model said of itself
 * when it was tried. They are named like the namespace of the cache, so another model, another level or another
 * arithmetic has others. */
#include <stdlib.h>
#include <string.h>

#include "engine/base/file.h"
#include "engine/session/session_impl.h"

enum { NOTE_BYTES = 4096 };

static bool file_name(const struct session *s, const char *dir, struct session_types types, const char *ending,
                      struct buf *out)
{
    const struct program *p = s->model->program;
    struct kv_store_key key;
    struct kv_layer *layers = calloc((size_t)p->n_layers, sizeof *layers);
    if (!layers)
        return false;
    session_layers(layers, s->model, types);
    enum err_code rc = model_kv_key(s->model, layers, p->n_layers, &key, NULL);
    free(layers);
    buf_printf(out, "%s/", dir);
    for (int32_t i = 0; i < KV_STORE_KEY_BYTES; i++)
        buf_printf(out, "%02x", key.bytes[i]);
    return rc == ERR_OK && buf_add_text(out, ending);
}

bool session_note_read(const struct session *s, const char *dir, struct session_types types, const char *ending,
                       struct buf *out)
{
    struct buf name = { 0 };
    bool ok = file_name(s, dir, types, ending, &name) && file_read(buf_text(&name), NOTE_BYTES, out);
    buf_finish(&name);
    return ok;
}

void session_note_write(const struct session *s, const char *dir, struct session_types types, const char *ending,
                        const char *text)
{
    struct buf name = { 0 };
    if (file_name(s, dir, types, ending, &name))
        file_replace(buf_text(&name), text, strlen(text));
    buf_finish(&name);
}
