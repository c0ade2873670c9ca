/* SPDX-License-Identifier: MIT */
/* What computes: what is asked for, what there is, and what is said where the two do not meet. The processor answers
 * in any case. */
#include <stdio.h>

#include "engine/engine.h"
#include "tests/support/test.h"

#define CPU_ANSWERS "; answering on the CPU"

struct rig {
    struct engine *eng;
    struct engine_info info;
};

static void rig_begin(struct test *t, struct rig *r, const char *device, const char *loader)
{
    struct err e = { 0 };
    const struct engine_options o = { .n_threads = 1, .device = device, .vulkan_loader = loader };
    CHECK(t, engine_create(&r->eng, &o, &e) == ERR_OK, "%s", e.text);
    engine_info(r->eng, &r->info);
    CHECK(t, r->info.cpu_tier[0] != '\0');
}

/* The processor computes, and this is said. */
static void check_note(struct test *t, const char *device, const char *loader, const char *note)
{
    struct rig r;
    rig_begin(t, &r, device, loader);
    CHECK_TEXT(t, r.info.device, "", "%s", device);
    CHECK_TEXT(t, r.info.device_note, note, "%s", device);
    CHECK_INT(t, r.info.device_total_bytes, 0);
    engine_destroy(r.eng);
}

static const char *write_text_file(struct test *t, char *path, size_t n_bytes)
{
    snprintf(path, n_bytes, "%s/libvulkan.so.1", test_folder(t));
    FILE *f = fopen(path, "w");
    CHECK(t, f && fputs("no library\n", f) >= 0 && fclose(f) == 0, "%s", path);
    return path;
}

TEST(device_of_a_loader_that_is_not_there)
{
    static const char note[] = "Vulkan: no Vulkan loader: /nonexistent: cannot open shared object file: No such file "
                               "or directory" CPU_ANSWERS;
    check_note(t, "vulkan", "/nonexistent", note);
    check_note(t, "llvmpipe", "/nonexistent", note);
    check_note(t, "cpu", "/nonexistent", "");
    check_note(t, "auto", "/nonexistent", "");    /* nobody asked for a device */
    check_note(t, NULL, "/nonexistent", "");
    check_note(t, "", "/nonexistent", "");
}

TEST(device_of_a_file_that_is_no_loader)
{
    char path[512], note[1024];
    check_note(t, "vulkan", "libm.so.6",
               "Vulkan: libm.so.6: is no Vulkan loader, 'vkGetInstanceProcAddr' is missing" CPU_ANSWERS);
    write_text_file(t, path, sizeof path);
    snprintf(note, sizeof note, "Vulkan: no Vulkan loader: %s: file too short" CPU_ANSWERS, path);
    check_note(t, "vulkan", path, note);
}

/* Devices that look well, and do not open. */
TEST(device_that_auto_would_take_is_named_when_it_does_not_open)
{
    struct rig r;
    rig_begin(t, &r, "auto", FAKE_VULKAN);
    CHECK_TEXT(t, r.info.device, "");
    CHECK(t, strncmp(r.info.device_note, "Vulkan: Big Card (open): ", 25) == 0, "%s", r.info.device_note);
    CHECK(t, strstr(r.info.device_note, CPU_ANSWERS) != NULL, "%s", r.info.device_note);
    engine_destroy(r.eng);
}

TEST(device_is_not_looked_for_by_who_names_a_tier)
{
    struct engine *eng;
    struct engine_info info;
    struct err e = { 0 };
    const struct engine_options o = { .n_threads = 1, .cpu_tier = "scalar", .vulkan_loader = FAKE_VULKAN };
    CHECK(t, engine_create(&eng, &o, &e) == ERR_OK, "%s", e.text);
    engine_info(eng, &info);
    CHECK_TEXT(t, info.cpu_tier, "scalar");
    CHECK_TEXT(t, info.device_note, "");
    engine_destroy(eng);
}

TEST(device_of_a_name_that_fits_nothing)
{
    struct rig r;
    check_note(t, "bare", FAKE_VULKAN, "Vulkan: Bare Card cannot be used: lacks storageBuffer8BitAccess" CPU_ANSWERS);
    rig_begin(t, &r, "nonsense", FAKE_VULKAN);
    static const char begin[] = "Vulkan: no device 'nonsense' here; there is cpu, vulkan:0 (Big Card (open)), vulkan:1";
    CHECK(t, strncmp(r.info.device_note, begin, sizeof begin - 1) == 0, "%s", r.info.device_note);
    engine_destroy(r.eng);
}

/* With the layer missing nothing is checked: better to say so than to compute unchecked. */
TEST(device_without_the_validation_that_was_asked_for_is_not_used)
{
    struct engine *eng;
    struct engine_info info;
    struct err e = { 0 };
    const struct engine_options o = { .n_threads = 1, .vulkan_loader = FAKE_VULKAN, .vulkan_validate = true };
    CHECK(t, engine_create(&eng, &o, &e) == ERR_OK, "%s", e.text);
    engine_info(eng, &info);
    CHECK_TEXT(t, info.device_note, "Vulkan: no Vulkan layer 'VK_LAYER_KHRONOS_validation' here" CPU_ANSWERS);
    engine_destroy(eng);
}

TEST(device_with_tiles_that_do_not_exist)
{
    struct engine *eng;
    struct engine_info info;
    struct err e = { 0 };
    const struct engine_options o = { .n_threads = 1, .device = "vulkan", .vulkan_loader = FAKE_VULKAN,
                                      .vulkan_tiles = "int4" };
    CHECK(t, engine_create(&eng, &o, &e) == ERR_OK, "%s", e.text);
    engine_info(eng, &info);
    CHECK_TEXT(t, info.device_note, "Vulkan: tiles 'int4': none, f32, int8 or coop wanted" CPU_ANSWERS);
    engine_destroy(eng);
}

TEST(device_that_is_software_is_used_by_name_alone)
{
    struct engine_device_list *list;
    struct engine_devices_info all;
    struct err e = { 0 };
    struct rig r;
    bool there = false;
    CHECK(t, engine_devices(&list, &(struct engine_options){ 0 }, &e) == ERR_OK, "%s", e.text);
    engine_devices_info(list, &all);
    for (int32_t i = 0; i < all.n_devices; i++) {
        const struct engine_device *d = engine_device_at(list, i);
        bool is_software = strcmp(d->kind, "software") == 0;
        there = there || (is_software && strstr(d->name, "llvmpipe"));
        CHECK(t, !is_software || all.chosen != i, "%s", d->name);
    }
    engine_devices_destroy(list);
    if (!there)
        SKIP(t, "no llvmpipe here");
    rig_begin(t, &r, "LLVMpipe", NULL);
    if (r.info.device[0]) {
        CHECK(t, strstr(r.info.device, "llvmpipe") != NULL, "%s", r.info.device);
        CHECK(t, r.info.device_driver[0] && r.info.device_total_bytes > 0);
        CHECK(t, r.info.device_free_bytes <= r.info.device_total_bytes);
        CHECK_TEXT(t, r.info.device_note, "");
    } else {
        CHECK(t, strstr(r.info.device_note, "llvmpipe") && strstr(r.info.device_note, CPU_ANSWERS), "%s",
              r.info.device_note);
    }
    engine_destroy(r.eng);
}

TEST(device_list_tells_what_each_has_and_what_auto_takes)
{
    struct engine_device_list *list;
    struct engine_devices_info all;
    struct err e = { 0 };
    CHECK(t, engine_devices(&list, &(struct engine_options){ .vulkan_loader = FAKE_VULKAN }, &e) == ERR_OK, "%s",
          e.text);
    engine_devices_info(list, &all);
    CHECK_TEXT(t, all.problem, "");
    CHECK_TEXT(t, all.loader, FAKE_VULKAN);
    CHECK_TEXT(t, all.version, "1.3.7");
    CHECK_INT(t, all.n_devices, 11);
    CHECK_INT(t, all.chosen, -1);
    CHECK(t, strstr(all.why, "Big Card (open)") != NULL, "%s", all.why);
    const struct engine_device *d = engine_device_at(list, 0);
    CHECK_TEXT(t, d->id, "vulkan:0");
    CHECK_TEXT(t, d->name, "Big Card (open)");
    CHECK_TEXT(t, d->driver, "best");
    CHECK_TEXT(t, d->kind, "discrete");
    CHECK_TEXT(t, d->version, "1.3.0");
    CHECK_TEXT(t, d->has, "float16, subgroup sums, subgroup size, memory budget, cooperative matrices");
    CHECK_TEXT(t, d->lacks, "int8 dot, fast int8 dot, memory priority, fault reports");
    CHECK(t, d->problem[0] != '\0', "it does not open");
    CHECK_INT(t, d->n_heaps, 3);
    CHECK(t, d->knows_free && d->heaps[1].is_local && !d->heaps[2].is_local);
    CHECK_INT(t, d->heaps[1].n_bytes - d->heaps[1].free_bytes, 3ll << 30);
    CHECK_TEXT(t, engine_device_at(list, 7)->problem, "has Vulkan 1.1, 1.2 is wanted");
    engine_devices_destroy(list);
}

TEST(device_list_of_a_machine_without_vulkan_is_empty)
{
    struct engine_device_list *list;
    struct engine_devices_info all;
    struct err e = { 0 };
    CHECK(t, engine_devices(&list, &(struct engine_options){ .vulkan_loader = "/nonexistent" }, &e) == ERR_OK, "%s",
          e.text);
    engine_devices_info(list, &all);
    CHECK(t, strncmp(all.problem, "no Vulkan loader: /nonexistent: ", 32) == 0, "%s", all.problem);
    CHECK_TEXT(t, all.loader, "");
    CHECK_INT(t, all.n_devices, 0);
    CHECK_INT(t, all.chosen, -1);
    CHECK_TEXT(t, all.why, "there is no Vulkan here");
    engine_devices_destroy(list);
}

TEST(device_tiers_are_those_of_the_machine)
{
    CHECK_TEXT(t, engine_tier(0), "exact");
    CHECK_TEXT(t, engine_tier(1), "scalar");
    int32_t n = 0;
    while (engine_tier(n))
        n++;
    CHECK(t, n >= 2 && n <= 4, "%d", n);
}
