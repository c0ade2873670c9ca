/* SPDX-License-Identifier: MIT */
#include "tests/support/device_rig.h"

#include <stdio.h>

#include "engine/engine_impl.h"

struct engine *device_rig_engine(struct test *t, const char *device)
{
    struct engine_options o = { .n_threads = 1, .device = device ? device : "llvmpipe", .vulkan_validate = !device,
                                .run_ahead = 1, .cache_dir = test_folder(t) };    /* one self-test is enough */
    struct engine_info info;
    struct engine *eng;
    struct err e;
    CHECK_INT(t, engine_create(&eng, &o, &e), ERR_OK, "%s", e.text);
    engine_info(eng, &info);
    if (!device && !info.device[0]) {    /* perhaps the layer is what is missing */
        engine_destroy(eng);
        o.vulkan_validate = false;
        CHECK_INT(t, engine_create(&eng, &o, &e), ERR_OK, "%s", e.text);
        engine_info(eng, &info);
    }
    if (!device && !info.device[0]) {
        char note[ERR_TEXT_BYTES];
        snprintf(note, sizeof note, "%s", info.device_note);
        engine_destroy(eng);
        SKIP(t, "%s", note);
    }
    return eng;
}

bool device_rig_on_device(const struct engine *eng)
{
    return eng->backend != eng->cpu;
}

struct vulkan_device *device_rig_device(const struct engine *eng)
{
    return ((struct vulkan_backend *)eng->backend)->d;
}

int32_t device_rig_warnings(const struct model *m, const char *part)
{
    int32_t n = 0;
    for (int32_t i = 0; model_warning(m, i); i++)
        n += strstr(model_warning(m, i), part) != NULL;
    return n;
}

void device_rig_close(struct test *t, struct session_rig *rig)
{
    struct engine_info info;
    session_destroy(rig->session);
    model_close(rig->model);
    engine_info(rig->engine, &info);
    CHECK_INT(t, info.n_validation, 0, "%s", info.validation);
    engine_destroy(rig->engine);
    *rig = (struct session_rig){ 0 };
}
