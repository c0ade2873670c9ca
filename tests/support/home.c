/* SPDX-License-Identifier: MIT */
#include "tests/support/home.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

static const char list[] =
    "name small\ntitle Small F32\ngood tests\nrole default\nlicence MIT\nbytes 1000\n\n"
    "name big\ntitle Big F32\ngood longer tests\nrole recommended\nlicence MIT\nbytes 4000000\n";

/* Says how far it is, waits until the test wants it to end, and puts a model there. */
static const char fetch_script[] =
    "#!/bin/sh\n"
    "[ \"$1\" = --progress ] && shift\n"
    "echo \"progress 1000000 4000000\"\n"
    "[ -e \"$HOME/fail\" ] && { echo 'fetch-model: no network for this test' >&2; exit 3; }\n"
    "while [ ! -e \"$HOME/go\" ]; do sleep 0.05; done\n"
    "echo \"progress 4000000 4000000\"\n"
    "cp \"$HOME/fetched.gguf\" \"$XDG_DATA_HOME/quip/models/$1.gguf\"\n";

static void make_folder(struct test *t, const struct home *h, const char *below)
{
    char path[HOME_PATH_BYTES];
    home_path(h, below, path);
    CHECK(t, mkdir(path, 0700) == 0, "%s", path);
}

void home_add_levels(struct test *t, const struct home *h)
{
    struct tiny_model m;
    tiny_model_init(&m);
    m.weight_type = QUANT_F16;
    home_add_model(t, h, "small", &m);
    m.weight_type = QUANT_Q8_0;
    home_add_model(t, h, "small-Q8_0", &m);
}

void home_path(const struct home *h, const char *below, char out[HOME_PATH_BYTES])
{
    snprintf(out, HOME_PATH_BYTES, "%s/%s", h->folder, below);
}

void home_write(struct test *t, const struct home *h, const char *below, const char *text)
{
    char path[HOME_PATH_BYTES];
    home_path(h, below, path);
    FILE *f = fopen(path, "w");
    CHECK(t, f && fputs(text, f) >= 0 && fclose(f) == 0, "%s", path);
}

void home_make(struct test *t, struct home *h, const char *term)
{
    memset(h, 0, sizeof *h);
    snprintf(h->folder, sizeof h->folder, "%s/home-XXXXXX", test_folder(t));
    CHECK(t, mkdtemp(h->folder) != NULL);
    int n = 0;
    snprintf(h->texts[n++], sizeof h->texts[0], "HOME=%s", h->folder);
    snprintf(h->texts[n++], sizeof h->texts[0], "XDG_DATA_HOME=%s/data", h->folder);
    snprintf(h->texts[n++], sizeof h->texts[0], "XDG_STATE_HOME=%s/state", h->folder);
    snprintf(h->texts[n++], sizeof h->texts[0], "XDG_CACHE_HOME=%s/cache", h->folder);
    snprintf(h->texts[n++], sizeof h->texts[0], "QUIP_ROOT=%s/root", h->folder);
    snprintf(h->texts[n++], sizeof h->texts[0], "TERM=%s", term);
    /* Compiling shaders for software Vulkan takes 10 s: that is done once. */
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (cache)
        snprintf(h->texts[n++], sizeof h->texts[0], "MESA_SHADER_CACHE_DIR=%s", cache);
    else if (home)
        snprintf(h->texts[n++], sizeof h->texts[0], "MESA_SHADER_CACHE_DIR=%s/.cache", home);
    for (int i = 0; i < n; i++)
        h->settings[i] = h->texts[i];
    static const char *const folders[] = { "data", "data/quip", "data/quip/models", "root", "root/assets",
                                           "root/app" };
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++)
        make_folder(t, h, folders[i]);
    home_write(t, h, "root/assets/models.txt", list);
    home_write(t, h, "root/app/fetch-model.sh", fetch_script);
}

void home_add_model(struct test *t, const struct home *h, const char *name, const struct tiny_model *m)
{
    char below[128], path[HOME_PATH_BYTES];
    struct err e;
    snprintf(below, sizeof below, "data/quip/models/%s.gguf", name);
    home_path(h, below, path);
    CHECK(t, tiny_model_write(m, path, &e) == ERR_OK, "%s", e.text);
}
