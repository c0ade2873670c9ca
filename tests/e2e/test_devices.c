/* SPDX-License-Identifier: MIT */
/* What the program says of devices: quip doctor, and commands that are asked for a device there is not. */
#include <jansson.h>
#include <stdio.h>

#include "tests/support/home.h"
#include "tests/support/pty.h"
#include "tests/support/shell.h"

#define GREEDY "--temp", "0"
#define ENTER "\r"
#define ESCAPE "\033"
#define CTRL_C "\003"
#define CTRL_D "\004"
#define F2 "\033OQ"
#define F4 "\033OS"
#define F5 "\033[15~"
#define REPLY_END "said the tiny model quietly."
#define NO_LOADER                                                                                                \
    "quip: Vulkan: no Vulkan loader: /nonexistent: cannot open shared object file: No such file or directory; " \
    "answering on the CPU\n"

struct rig {
    struct home home;
    struct shell s;
};

static void rig_make(struct test *t, struct rig *r)
{
    struct tiny_model m;
    memset(r, 0, sizeof *r);
    home_make(t, &r->home, "xterm-256color");
    tiny_model_init(&m);
    home_add_model(t, &r->home, "small", &m);
}

/* drivers: what the loader reads instead of the system's list of drivers; NULL: that list. */
static void run(struct test *t, struct rig *r, const char *drivers, const char *input, const char *const *arguments)
{
    const char *argv[24] = { QUIP_BINARY }, *settings[HOME_SETTINGS + 3];
    char files[2][HOME_PATH_BYTES + 32];
    int n = 0;
    for (int i = 0; i < 22 && arguments[i]; i++)
        argv[i + 1] = arguments[i];
    while (r->home.settings[n]) {
        settings[n] = r->home.settings[n];
        n++;
    }
    for (int i = 0; drivers && i < 2; i++) {
        snprintf(files[i], sizeof files[i], "%s=%s", i ? "VK_ICD_FILENAMES" : "VK_DRIVER_FILES", drivers);
        settings[n++] = files[i];
    }
    settings[n] = NULL;
    shell_finish(&r->s);
    struct shell_options o = { .settings = settings, .input = input };
    shell_run(t, &r->s, argv, &o);
}

static void quip(struct test *t, struct rig *r, const char *drivers, const char *input, const char *const *arguments)
{
    run(t, r, drivers, input, arguments);
    CHECK_INT(t, r->s.code, 0, "%s", r->s.err);
}

#define QUIP(t, r, input, ...) quip((t), (r), NULL, (input), (const char *const[]){ __VA_ARGS__, NULL })
#define QUIP_WITH(t, r, drivers, ...) quip((t), (r), (drivers), NULL, (const char *const[]){ __VA_ARGS__, NULL })

static int count(const char *text, const char *part)
{
    int n = 0;
    for (; (text = strstr(text, part)); text++)
        n++;
    return n;
}

/* What is at the end of a path of names in it. */
static const char *text_at(const json_t *all, const char *outer, const char *inner)
{
    const char *text = json_string_value(json_object_get(json_object_get(all, outer), inner));
    return text ? text : "(nothing)";
}

TEST(doctor_tells_about_the_machine)
{
    static const char *const rows[] = { "quip ", "Processor ", "  tiers ", "  cores ", "Memory ", "Vulkan ",
                                        "Shaders ", "Auto takes ", "Models ", "Cache ", "Terminal " };
    struct rig r;
    rig_make(t, &r);
    QUIP(t, &r, NULL, "doctor");
    CHECK_TEXT(t, r.s.err, "");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *at = strstr(r.s.out, rows[i]);
        CHECK(t, at && (at == r.s.out || at[-1] == '\n'), "'%s' in:\n%s", rows[i], r.s.out);
    }
    CHECK(t, strstr(r.s.out, "scalar") && strstr(r.s.out, "1 file, "), "%s", r.s.out);
    CHECK(t, strstr(r.s.out, "xterm-256color; stdout is no terminal") != NULL, "%s", r.s.out);
    QUIP(t, &r, NULL, "doctor", "--vulkan-loader", "/nonexistent", "--device", "vulkan");
    CHECK(t, strstr(r.s.out, "\nVulkan        no Vulkan loader: /nonexistent: cannot open") != NULL, "%s", r.s.out);
    CHECK(t, strstr(r.s.out, "\nAuto takes    cpu: there is no Vulkan here\n") != NULL, "%s", r.s.out);
    CHECK(t, strstr(r.s.out, "\n--device      vulkan: Vulkan: no Vulkan loader") != NULL, "%s", r.s.out);
    shell_finish(&r.s);
}

TEST(doctor_as_json_has_every_device_with_what_it_is_for)
{
    struct rig r;
    rig_make(t, &r);
    QUIP(t, &r, NULL, "doctor", "--json", "--vulkan-loader", FAKE_VULKAN);
    json_error_t error;
    json_t *all = json_loads(r.s.out, 0, &error);
    CHECK(t, all != NULL, "%s: %s", error.text, r.s.out);
    CHECK_TEXT(t, text_at(all, "vulkan", "loader"), FAKE_VULKAN);
    CHECK_TEXT(t, text_at(all, "vulkan", "version"), "1.3.7");
    CHECK_TEXT(t, text_at(all, "auto", "device"), "cpu");
    CHECK_TEXT(t, text_at(all, "asked", "device"), "auto");
    CHECK(t, strstr(text_at(all, "asked", "note"), "Big Card (open)") != NULL, "%s", r.s.out);
    CHECK(t, json_integer_value(json_object_get(json_object_get(all, "memory"), "bytes")) > 0, "%s", r.s.out);
    json_t *devices = json_object_get(all, "devices"), *first = json_array_get(devices, 0);
    CHECK_INT(t, json_array_size(devices), 11);
    CHECK_TEXT(t, json_string_value(json_object_get(first, "id")), "vulkan:0");
    CHECK_TEXT(t, json_string_value(json_object_get(first, "kind")), "discrete");
    CHECK_TEXT(t, json_string_value(json_array_get(json_object_get(first, "has"), 1)), "subgroup sums");
    CHECK(t, json_is_false(json_object_get(json_array_get(devices, 6), "usable")));
    CHECK_TEXT(t, json_string_value(json_object_get(json_array_get(devices, 6), "problem")),
               "lacks storageBuffer8BitAccess");
    json_t *heap = json_array_get(json_object_get(first, "heaps"), 1);
    CHECK_INT(t, json_integer_value(json_object_get(heap, "free")), 21ll << 30);
    heap = json_array_get(json_object_get(json_array_get(devices, 2), "heaps"), 1);
    CHECK(t, json_is_null(json_object_get(heap, "free")), "nobody knows");
    json_decref(all);
    shell_finish(&r.s);
}

TEST(run_answers_on_the_processor_where_a_device_is_not_there_and_says_why)
{
    struct rig r;
    rig_make(t, &r);
    QUIP(t, &r, NULL, "run", "-p", "hello", GREEDY, "--device", "nonsense");
    CHECK_TEXT(t, r.s.out, TINY_MODEL_REPLY "\n");
    CHECK_INT(t, count(r.s.err, "\n"), 1, "%s", r.s.err);
    CHECK(t, strncmp(r.s.err, "quip: Vulkan: ", 14) == 0 && strstr(r.s.err, "; answering on the CPU\n"), "%s",
          r.s.err);
    QUIP(t, &r, NULL, "run", "-p", "hello", GREEDY, "--device", "nonsense", "--vulkan-loader", FAKE_VULKAN);
    CHECK_TEXT(t, r.s.out, TINY_MODEL_REPLY "\n");
    CHECK(t, strstr(r.s.err, "no device 'nonsense' here; there is cpu, vulkan:0 (Big Card (open)), ") != NULL, "%s",
          r.s.err);
    QUIP(t, &r, NULL, "run", "-p", "hello", GREEDY, "--device", "vulkan", "--vulkan-loader", "/nonexistent");
    CHECK_TEXT(t, r.s.out, TINY_MODEL_REPLY "\n");
    CHECK_TEXT(t, r.s.err, NO_LOADER);
    QUIP(t, &r, NULL, "run", "-p", "hello", GREEDY, "--device", "cpu", "--vulkan-loader", "/nonexistent");
    CHECK_TEXT(t, r.s.err, "");
    QUIP(t, &r, NULL, "run", "-p", "hello", GREEDY, "--vulkan-loader", "/nonexistent");
    CHECK_TEXT(t, r.s.err, "");
    shell_finish(&r.s);
}

/* The loader is there and has nothing to load: a driver that is not there, a list that is none. */
TEST(run_without_any_driver_says_so)
{
    static const char wanted[] = "quip: Vulkan: no Vulkan driver here; answering on the CPU\n";
    struct rig r;
    char path[HOME_PATH_BYTES];
    rig_make(t, &r);
    QUIP(t, &r, NULL, "doctor");
    if (strstr(r.s.out, "\nVulkan        no Vulkan loader")) {
        shell_finish(&r.s);
        SKIP(t, "no Vulkan loader here");
    }
    QUIP_WITH(t, &r, "/nonexistent.json", "run", "-p", "hello", GREEDY, "--device", "vulkan");
    CHECK_TEXT(t, r.s.out, TINY_MODEL_REPLY "\n");
    CHECK_TEXT(t, r.s.err, wanted);
    home_write(t, &r.home, "broken.json", "{ \"file_format_version\": \"1.0.0\", \"ICD\": {");
    home_path(&r.home, "broken.json", path);
    QUIP_WITH(t, &r, path, "run", "-p", "hello", GREEDY, "--device", "llvmpipe");
    CHECK_TEXT(t, r.s.out, TINY_MODEL_REPLY "\n");
    CHECK(t, strncmp(r.s.err, "quip: Vulkan: no Vulkan ", 24) == 0, "%s", r.s.err);    /* loaders differ in the rest */
    CHECK_INT(t, count(r.s.err, "\n"), 1, "%s", r.s.err);
    home_write(t, &r.home, "absent.json", "{ \"file_format_version\": \"1.0.0\", \"ICD\": { \"library_path\": "
                                          "\"/nonexistent.so\", \"api_version\": \"1.3.0\" } }");
    home_path(&r.home, "absent.json", path);
    QUIP_WITH(t, &r, path, "doctor");
    CHECK(t, strstr(r.s.out, "\nVulkan        no Vulkan driver here\n") != NULL, "%s", r.s.out);
    shell_finish(&r.s);
}

/* The tiny model has two layers. */
TEST(run_takes_as_many_layers_to_the_device_as_asked_for)
{
    static const char *const asked[] = { "0", "1", "2", "99", "-1" };
    static const int32_t taken[] = { 0, 1, 2, 2, 2 };
    struct rig r;
    rig_make(t, &r);
    QUIP(t, &r, NULL, "run", "-p", "hello", GREEDY, "--device", "llvmpipe");
    if (r.s.err[0]) {
        shell_finish(&r.s);
        SKIP(t, "no llvmpipe here");
    }
    for (size_t i = 0; i < sizeof asked / sizeof *asked; i++) {
        QUIP(t, &r, NULL, "run", "--json", "-p", "hello", GREEDY, "--device", "llvmpipe", "-ngl", asked[i]);
        CHECK_TEXT(t, r.s.err, "");
        json_t *all = json_loads(r.s.out, 0, NULL);
        CHECK_TEXT(t, json_string_value(json_object_get(all, "text")), TINY_MODEL_REPLY, "-ngl %s", asked[i]);
        CHECK_INT(t, json_integer_value(json_object_get(all, "device_layers")), taken[i], "-ngl %s", asked[i]);
        CHECK_INT(t, json_integer_value(json_object_get(all, "layers")), 2);
        CHECK_INT(t, strcmp(json_string_value(json_object_get(all, "device")), "cpu") == 0, taken[i] == 0);
        json_decref(all);
    }
    QUIP(t, &r, NULL, "bench", "-m", "small", "-p", "16", "-n", "0", "-r", "1", "-t", "1", "-o", "json", "--device",
         "llvmpipe", "-ngl", "1");
    json_t *list = json_loads(r.s.out, 0, NULL);
    CHECK_INT(t, json_integer_value(json_object_get(json_array_get(list, 0), "n_gpu_layers")), 1);
    json_decref(list);
    shell_finish(&r.s);
}

TEST(each_command_that_computes_says_it_once)
{
    struct rig r;
    char text[1200], path[HOME_PATH_BYTES];
    rig_make(t, &r);
    QUIP(t, &r, NULL, "bench", "-m", "small", "-p", "16", "-n", "0", "-r", "1", "-t", "1,2", "-o", "json", "--device",
         "vulkan", "--vulkan-loader", "/nonexistent");
    CHECK_TEXT(t, r.s.err, NO_LOADER);
    json_t *list = json_loads(r.s.out, 0, NULL);
    CHECK_INT(t, json_array_size(list), 2);
    CHECK_TEXT(t, json_string_value(json_object_get(json_array_get(list, 0), "backends")), "CPU");
    CHECK_TEXT(t, json_string_value(json_object_get(json_array_get(list, 0), "gpu_info")), "");
    CHECK_INT(t, json_integer_value(json_object_get(json_array_get(list, 0), "n_gpu_layers")), 0);
    json_decref(list);
    QUIP(t, &r, "1 5", "logits", "-m", "small", "--ids", "-", "-o", "-", "--device", "vulkan", "--vulkan-loader",
         "/nonexistent");
    CHECK_TEXT(t, r.s.err, NO_LOADER);
    for (size_t i = 0; i < sizeof text - 1; i++)
        text[i] = (char)('a' + test_below(t, 26));
    text[sizeof text - 1] = '\0';
    home_write(t, &r.home, "text.txt", text);
    home_path(&r.home, "text.txt", path);
    QUIP(t, &r, NULL, "perplexity", "-m", "small", "-f", path, "-c", "64", "--chunks", "2", "--device", "vulkan",
         "--vulkan-loader", "/nonexistent");
    CHECK_INT(t, count(r.s.err, NO_LOADER), 1, "%s", r.s.err);
    shell_finish(&r.s);
}

TEST(chat_says_it_as_a_notice)
{
    struct rig r;
    rig_make(t, &r);
    QUIP_WITH(t, &r, "/nonexistent.json", "--line", GREEDY, "--device", "nonsense");
    CHECK_INT(t, count(r.s.out, "answering on the CPU") + count(r.s.err, "answering on the CPU"), 1, "%s%s", r.s.out,
              r.s.err);
    shell_finish(&r.s);
}

/* ---- a chat that moves ------------------------------------------------------------------------------------- */

/* Skips the case where there is no such device; where there is, its shaders are compiled now and its self-test made,
 * which takes seconds. */
static void need_llvmpipe(struct test *t, struct rig *r)
{
    QUIP(t, r, NULL, "run", "-p", "hello", GREEDY, "--device", "llvmpipe");
    bool there = !r->s.err[0];
    shell_finish(&r->s);
    if (!there)
        SKIP(t, "no llvmpipe here");
}

static void ask(struct test *t, struct pty *p, const char *question)
{
    pty_type(t, p, question);
    pty_type(t, p, ENTER);
    PTY_WAIT_AFTER(t, p, question, REPLY_END);
    PTY_WAIT_AFTER(t, p, question, "tok/s");
}

/* The first line names what computes. */
static void check_header(struct test *t, struct pty *p, const char *device)
{
    const char *screen = pty_screen(p), *at = strstr(screen, device), *end = strchr(screen, '\n');
    CHECK(t, at && at < end, "'%s' on top of:\n%s", device, screen);
}

TEST(chat_moves_to_a_device_and_back)
{
    static const char *const argv[] = { QUIP_BINARY, GREEDY, NULL };
    struct rig r;
    struct pty p;
    rig_make(t, &r);
    need_llvmpipe(t, &r);
    pty_start(t, &p, argv, r.home.settings, 24, 80);
    PTY_WAIT(t, &p, "tokens of context");
    check_header(t, &p, "cpu ");
    ask(t, &p, "on the processor?");
    pty_type(t, &p, "/device" ENTER);
    PTY_WAIT(t, &p, "Devices");
    PTY_WAIT(t, &p, "; in use");
    PTY_WAIT(t, &p, "llvmpipe (");
    PTY_WAIT(t, &p, "cpu: ");
    PTY_WAIT(t, &p, "vulkan:");

    pty_type(t, &p, "/device llvmpipe" ENTER "a draft");
    PTY_WAIT(t, &p, "Now on llvmpipe, 2 of 2 layers");
    PTY_WAIT(t, &p, "again.");
    PTY_WAIT(t, &p, "\xe2\x80\xba a draft");
    check_header(t, &p, "llvmpipe");
    pty_type(t, &p, CTRL_C);
    PTY_WAIT_GONE(t, &p, "a draft");
    ask(t, &p, "on the device?");
    pty_type(t, &p, F2);
    PTY_WAIT(t, &p, "on llvmpipe, 2 of 2 layers");
    pty_type(t, &p, ESCAPE);
    PTY_WAIT_GONE(t, &p, "type to filter");
    pty_type(t, &p, F5);
    PTY_WAIT(t, &p, "; 2 of 2 layers");
    pty_type(t, &p, F5);
    PTY_WAIT_GONE(t, &p, "KV memory");

    pty_resize(t, &p, 40, 120);
    pty_type(t, &p, "/set gpu-layers 1" ENTER);
    PTY_WAIT(t, &p, "Now on llvmpipe, 1 of 2 layers");
    check_header(t, &p, "llvmpipe 1/2 layers");
    pty_type(t, &p, F4);
    PTY_WAIT(t, &p, "now on llvmpipe, 1 of 2 layers");
    PTY_WAIT(t, &p, "gpu-layers");
    pty_type(t, &p, ESCAPE);
    PTY_WAIT_GONE(t, &p, "gpu-layers ");

    pty_type(t, &p, "/device cpu" ENTER);
    PTY_WAIT(t, &p, "Now on the processor (cpu ");
    check_header(t, &p, "cpu ");
    ask(t, &p, "and back?");
    pty_type(t, &p, CTRL_D);
    CHECK_INT(t, pty_wait_end(t, &p), 0, "%s", pty_screen(&p));
    CHECK_INT(t, p.vt.n_unknown, 0, "%s", p.vt.unknown);
    pty_finish(&p);
}

/* The answer ends where it is, and what waits is asked when the model has arrived. */
TEST(chat_moves_in_the_midst_of_an_answer)
{
    static const char *const argv[] = { QUIP_BINARY, GREEDY, "-c", "65536", "-n", "-1", NULL };
    struct rig r;
    struct pty p;
    struct tiny_model m;
    rig_make(t, &r);
    need_llvmpipe(t, &r);
    tiny_model_init(&m);
    m.endless = true;
    m.n_ctx = 65536;
    home_add_model(t, &r.home, "small", &m);
    pty_start(t, &p, argv, r.home.settings, 24, 80);
    PTY_WAIT(t, &p, "tokens of context");
    pty_type(t, &p, "go on" ENTER);
    PTY_WAIT(t, &p, REPLY_END);
    PTY_WAIT(t, &p, "answering");
    pty_type(t, &p, "/device llvmpipe" ENTER);
    PTY_WAIT(t, &p, "Now on llvmpipe, 2 of 2 layers");
    PTY_WAIT(t, &p, "stopped");
    pty_type(t, &p, "/device nonsense" ENTER);
    PTY_WAIT(t, &p, "Not moved");
    PTY_WAIT(t, &p, "stays on llvmpipe");
    check_header(t, &p, "llvmpipe");
    pty_type(t, &p, CTRL_D);
    CHECK_INT(t, pty_wait_end(t, &p), 0, "%s", pty_screen(&p));
    pty_finish(&p);
}

/* Where there is no Vulkan at all, the chat stays and says why; lines are commands like keys. */
TEST(chat_in_lines_moves_too)
{
    struct rig r;
    rig_make(t, &r);
    quip(t, &r, NULL, "hello\n/device\n/device cpu\n/set\n", (const char *const[]){ "--line", GREEDY, NULL });
    CHECK(t, strstr(r.s.out, "\nDevices: cpu: ") && strstr(r.s.out, "; in use"), "%s", r.s.out);
    CHECK(t, strstr(r.s.out, "\nDevice: The model is on the processor (cpu ") != NULL, "%s", r.s.out);
    CHECK(t, strstr(r.s.out, "\n  device = cpu, gpu-layers = auto: ") != NULL, "%s", r.s.out);
    need_llvmpipe(t, &r);
    quip(t, &r, NULL, "hello\n/device llvmpipe\nand now?\n/device\n/device cpu\nand back?\n",
         (const char *const[]){ "--line", GREEDY, NULL });
    const char *moved = strstr(r.s.out, "\nDevice: Now on llvmpipe, 2 of 2 layers, ");
    const char *asked = strstr(r.s.out, "\nYou: and now?\nModel: " TINY_MODEL_REPLY "\n");
    const char *back = strstr(r.s.out, "\nDevice: Now on the processor (cpu ");
    CHECK(t, moved && asked > moved && back > asked, "%s", r.s.out);
    CHECK(t, strstr(back, TINY_MODEL_REPLY "\n") != NULL, "%s", r.s.out);
    CHECK(t, strstr(r.s.out, "; in use for 2 of 2 layers") != NULL, "%s", r.s.out);
    shell_finish(&r.s);
}

TEST(chat_stays_where_there_is_no_device)
{
    struct rig r;
    rig_make(t, &r);
    run(t, &r, "/nonexistent.json", "hello\n/device vulkan\nstill there?\n",
        (const char *const[]){ "--line", GREEDY, NULL });
    CHECK_INT(t, r.s.code, 1, "%s", r.s.err);
    CHECK(t, strstr(r.s.out, "\nNot moved: no Vulkan "), "%s", r.s.out);
    CHECK(t, strstr(r.s.out, "The model stays on the processor (cpu "), "%s", r.s.out);
    CHECK_INT(t, count(r.s.out, TINY_MODEL_REPLY), 2, "%s", r.s.out);
    shell_finish(&r.s);
}
