/* SPDX-License-Identifier: MIT */
/* The commands from a shell: what goes to which stream, and how they end. */
#include <jansson.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/support/home.h"
#include "tests/support/pty.h"
#include "tests/support/shell.h"

#define GREEDY "--temp", "0"

struct rig {
    struct home home;
    struct shell s;
};

static void rig_make(struct test *t, struct rig *r, const char *reply, bool endless)
{
    struct tiny_model m;
    memset(r, 0, sizeof *r);
    home_make(t, &r->home, "xterm-256color");
    tiny_model_init(&m);
    if (reply)
        m.reply = reply;
    m.endless = endless;
    if (endless)
        m.n_ctx = 65536;
    home_add_model(t, &r->home, "small", &m);
}

/* Runs quip with these arguments (NULL-ended) and a stdin that is empty or holds input. */
static void quip(struct test *t, struct rig *r, const char *input, const char *const *arguments)
{
    const char *argv[24] = { QUIP_BINARY };
    for (int i = 0; i < 22 && arguments[i]; i++)
        argv[i + 1] = arguments[i];
    shell_finish(&r->s);
    struct shell_options o = { .settings = r->home.settings, .input = input };
    shell_run(t, &r->s, argv, &o);
}

#define QUIP(t, r, input, ...) quip((t), (r), (input), (const char *const[]){ __VA_ARGS__, NULL })

TEST(run_writes_the_answer_and_nothing_else)
{
    struct rig r;
    rig_make(t, &r, NULL, false);
    QUIP(t, &r, NULL, "run", "-p", "hello", GREEDY);
    CHECK_INT(t, r.s.code, 0, "%s", r.s.err);
    CHECK_TEXT(t, r.s.out, TINY_MODEL_REPLY "\n");
    CHECK_TEXT(t, r.s.err, "");
    QUIP(t, &r, "from a pipe\n", "run", GREEDY);
    CHECK_TEXT(t, r.s.out, TINY_MODEL_REPLY "\n");
    QUIP(t, &r, "from a pipe\n", GREEDY);    /* no command, no terminal: the same */
    CHECK_INT(t, r.s.code, 0, "%s", r.s.err);
    CHECK_TEXT(t, r.s.out, TINY_MODEL_REPLY "\n");
    shell_finish(&r.s);
}

TEST(run_joins_prompt_file_and_pipe)
{
    struct rig r;
    char path[HOME_PATH_BYTES];
    rig_make(t, &r, NULL, false);
    home_write(t, &r.home, "notes.txt", "the file");
    home_path(&r.home, "notes.txt", path);
    QUIP(t, &r, "the pipe", "run", "-p", "the prompt", "-f", path, "--json", GREEDY);
    CHECK_INT(t, r.s.code, 0, "%s", r.s.err);
    json_error_t error;
    json_t *all = json_loads(r.s.out, 0, &error);
    CHECK(t, all != NULL, "%s: %s", error.text, r.s.out);
    CHECK_TEXT(t, json_string_value(json_object_get(all, "text")), TINY_MODEL_REPLY);
    CHECK_TEXT(t, json_string_value(json_object_get(all, "reason")), "end");
    json_t *tokens = json_object_get(all, "tokens");
    int64_t n_all = json_integer_value(json_object_get(tokens, "prompt"));
    CHECK_INT(t, json_integer_value(json_object_get(tokens, "generated")),
              json_array_size(json_object_get(tokens, "ids")));
    CHECK(t, json_is_real(json_object_get(json_object_get(all, "timings"), "first_ms")));
    json_decref(all);

    /* The texts are there: leaving one out makes the prompt shorter. */
    QUIP(t, &r, "", "run", "-p", "the prompt", "-f", path, "--json", GREEDY);
    all = json_loads(r.s.out, 0, &error);
    CHECK(t, json_integer_value(json_object_get(json_object_get(all, "tokens"), "prompt")) < n_all);
    json_decref(all);
    shell_finish(&r.s);
}

TEST(run_says_how_it_ended)
{
    struct rig r;
    char long_text[2000];
    rig_make(t, &r, NULL, false);
    QUIP(t, &r, NULL, "run", GREEDY);
    CHECK_INT(t, r.s.code, 2);
    CHECK(t, strstr(r.s.err, "no prompt") != NULL, "%s", r.s.err);
    QUIP(t, &r, NULL, "run", "-p", "x", "--tmep", "0");
    CHECK_INT(t, r.s.code, 2);
    CHECK_TEXT(t, r.s.err, "quip: unknown option '--tmep'; did you mean '--temp'?\n");
    QUIP(t, &r, NULL, "run", "-p", "x", "-m", "nosuch");
    CHECK_INT(t, r.s.code, 3);
    CHECK_TEXT(t, r.s.out, "");
    QUIP(t, &r, NULL, "run", "-p", "x", "-m", "big");
    CHECK_INT(t, r.s.code, 3);
    CHECK(t, strstr(r.s.err, "quip pull big") != NULL, "%s", r.s.err);
    memset(long_text, 'x', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = '\0';
    QUIP(t, &r, long_text, "run");
    CHECK_INT(t, r.s.code, 4);
    CHECK(t, strstr(r.s.err, "512") != NULL, "%s", r.s.err);
    QUIP(t, &r, NULL, "run", "-p", "x", "-n", "2", GREEDY);
    CHECK_INT(t, r.s.code, 0);
    CHECK(t, strlen(r.s.out) < strlen(TINY_MODEL_REPLY), "%s", r.s.out);
    shell_finish(&r.s);
}

TEST(run_ends_an_answer_that_never_would_and_says_so)
{
    struct rig r;
    rig_make(t, &r, NULL, true);
    QUIP(t, &r, NULL, "run", "-p", "go on", GREEDY);
    CHECK_INT(t, r.s.code, 0, "%s", r.s.err);
    CHECK(t, strstr(r.s.err, "stops here, at 2048 tokens") != NULL, "%s", r.s.err);
    QUIP(t, &r, NULL, "run", "-p", "go on", "-n", "30", GREEDY);
    CHECK_INT(t, r.s.code, 0);
    CHECK_TEXT(t, r.s.err, "");
    shell_finish(&r.s);
}

TEST(run_stopped_by_ctrl_c_keeps_what_came)
{
    static const char *const argv[] = { QUIP_BINARY, "run", "-p", "go on", "-c", "65536", "-n", "-1", GREEDY, NULL };
    struct rig r;
    rig_make(t, &r, NULL, true);
    struct shell_options o = { .settings = r.home.settings, .signal_at = "quietly.", .signal_number = SIGINT };
    shell_run(t, &r.s, argv, &o);
    CHECK_INT(t, r.s.code, 130, "%s", r.s.err);
    CHECK(t, strncmp(r.s.out, TINY_MODEL_REPLY, strlen(TINY_MODEL_REPLY)) == 0, "%s", r.s.out);
    CHECK_INT(t, r.s.out[r.s.n_out - 1], '\n');
    shell_finish(&r.s);
}

/* What drafts change is the speed: with all settings the same ids come out. */
TEST(run_tells_of_drafts_and_gives_the_same_tokens)
{
    static const char *const asked[] = { "off", "auto", "8" };
    struct rig r;
    json_t *ids = NULL;
    rig_make(t, &r, NULL, true);
    for (int i = 0; i < 3; i++) {
        QUIP(t, &r, NULL, "run", "-p", "go on", "-n", "300", "--json", "--spec", asked[i], GREEDY);
        CHECK_INT(t, r.s.code, 0, "%s", r.s.err);
        json_t *all = json_loads(r.s.out, 0, NULL), *spec = json_object_get(all, "speculation");
        json_t *these = json_object_get(json_object_get(all, "tokens"), "ids"), *what = json_object_get(spec, "asked");
        CHECK_INT(t, json_array_size(these), 300);
        CHECK(t, i == 0 || json_equal(ids, these), "--spec %s", asked[i]);
        if (i == 0)
            ids = json_incref(these);
        if (i < 2)
            CHECK_TEXT(t, json_string_value(what), asked[i]);
        else
            CHECK_INT(t, json_integer_value(what), 8);
        int64_t n_drafted = json_integer_value(json_object_get(spec, "drafted"));
        int64_t n_accepted = json_integer_value(json_object_get(spec, "accepted"));
        int64_t n_passes = json_integer_value(json_object_get(spec, "passes"));
        CHECK(t, n_accepted <= n_drafted && n_accepted + n_passes >= 299, "%s", r.s.out);
        CHECK(t, json_is_real(json_object_get(spec, "saved_ms")) && json_is_string(json_object_get(spec, "note")), "%s",
              r.s.out);
        double per_pass = json_real_value(json_object_get(spec, "tokens_per_pass"));
        if (i == 0)
            CHECK(t, n_drafted == 0 && n_passes == 299 && per_pass == 1, "%s", r.s.out);
        if (i == 2)
            CHECK(t, n_accepted > 150 && per_pass > 4, "%s", r.s.out);
        json_decref(all);
    }
    json_decref(ids);
    shell_finish(&r.s);
}

/* That drafts come of it: tests/unit/test_session_spec.c. */
TEST(run_takes_files_to_draft_from)
{
    struct rig r;
    char path[512];
    rig_make(t, &r, NULL, false);
    snprintf(path, sizeof path, "%s/reply.txt", test_folder(t));
    FILE *f = fopen(path, "w");
    CHECK(t, f && fputs(TINY_MODEL_REPLY, f) >= 0 && fclose(f) == 0);
    QUIP(t, &r, NULL, "run", "-p", "go on", "--spec", "8", GREEDY, "--spec-file", path, "--spec-file", path);
    CHECK_TEXT(t, r.s.out, TINY_MODEL_REPLY "\n");
    CHECK_INT(t, r.s.code, 0, "%s", r.s.err);
    QUIP(t, &r, NULL, "run", "-p", "go on", "--spec-file", "/no/such/file");
    CHECK_INT(t, r.s.code, 1);
    CHECK_TEXT(t, r.s.err, "quip: /no/such/file: not there\n");
    QUIP(t, &r, NULL, "run", "-p", "go on", "--spec-file", "/dev/null");
    CHECK_TEXT(t, r.s.err, "quip: /dev/null: not a file\n");
    shell_finish(&r.s);
}

TEST(run_says_that_the_answer_was_repeating_itself)
{
    struct rig r;
    rig_make(t, &r, NULL, true);
    QUIP(t, &r, NULL, "run", "-p", "go on", "-n", "300", GREEDY);
    CHECK_INT(t, r.s.code, 0);
    CHECK(t, strncmp(r.s.err, "quip: the answer was repeating itself, the same ", 48) == 0, "%s", r.s.err);
    CHECK(t, strchr(r.s.err, '\n') == strrchr(r.s.err, '\n'), "one line: %s", r.s.err);
    shell_finish(&r.s);
}

TEST(run_leaves_bytes_alone_in_a_pipe_and_neutralises_them_on_a_terminal)
{
    static const char evil[] = "Look \033[2J\033]0;owned\007 done.";
    static const char *const argv[] = { QUIP_BINARY, "run", "-p", "speak", GREEDY, NULL };
    struct rig r;
    struct pty p;
    rig_make(t, &r, evil, false);
    QUIP(t, &r, NULL, "run", "-p", "speak", GREEDY);
    CHECK(t, strncmp(r.s.out, evil, strlen(evil)) == 0);
    shell_finish(&r.s);
    pty_start(t, &p, argv, r.home.settings, 24, 80);
    pty_type(t, &p, "\004");    /* stdin is the terminal: nothing is read from it */
    CHECK_INT(t, pty_wait_end(t, &p), 0, "%s", pty_screen(&p));
    CHECK(t, !pty_raw_has(&p, "\033"), "%s", pty_screen(&p));
    CHECK(t, pty_shows(&p, "done."), "%s", pty_screen(&p));
    pty_finish(&p);
}

static int64_t run_tokens(struct test *t, struct rig *r, const char *name)
{
    json_error_t error;
    CHECK_INT(t, r->s.code, 0, "%s", r->s.err);
    json_t *all = json_loads(r->s.out, 0, &error);
    json_t *value = json_object_get(json_object_get(all, "tokens"), name);
    CHECK(t, json_is_integer(value), "%s: %s", name, r->s.out);
    int64_t n = json_integer_value(value);
    json_decref(all);
    return n;
}

TEST(run_takes_the_types_of_the_cache)
{
    struct rig r;
    rig_make(t, &r, NULL, false);
    QUIP(t, &r, NULL, "run", "-p", "hello", "-ctk", "kv4", "-ctv", "kv4", GREEDY);
    CHECK_INT(t, r.s.code, 0, "%s", r.s.err);
    CHECK_TEXT(t, r.s.out, TINY_MODEL_REPLY "\n");
    QUIP(t, &r, NULL, "run", "-p", "hello", "-ctk", "q8_0", "-ctv", "f16", "--keep-kv-type", "--json", GREEDY);
    CHECK_INT(t, r.s.code, 0, "%s", r.s.err);
    json_t *all = json_loads(r.s.out, 0, NULL);
    CHECK_TEXT(t, json_string_value(json_object_get(json_object_get(all, "kv"), "type_k")), "q8_0");
    CHECK_TEXT(t, json_string_value(json_object_get(json_object_get(all, "kv"), "type_v")), "f16");
    CHECK(t, json_integer_value(json_object_get(json_object_get(all, "kv"), "bytes")) > 0, "%s", r.s.out);
    json_decref(all);
    QUIP(t, &r, NULL, "run", "-p", "hello", "-ctk", "q5_1");
    CHECK_INT(t, r.s.code, 2);
    CHECK(t, strstr(r.s.err, "'q5_1' is not one of: auto f16") != NULL, "%s", r.s.err);
    QUIP(t, &r, NULL, "run", "-p", "hello", "-ctk", "f32", "-ctv", "f16");
    CHECK_INT(t, r.s.code, 2);
    CHECK(t, strstr(r.s.err, "f32 goes with f32 alone") != NULL, "%s", r.s.err);
    shell_finish(&r.s);
}

/* A system prompt of about 1000 tokens, each letter being one, and the tier that takes longest over it. */
enum { SYSTEM_BYTES = 1000 };
#define RUN_SYSTEM "run", "--system-file", path, "-c", "4096", "--cpu", "scalar", "-t", "1", "--json", GREEDY

static void rig_make_system(struct test *t, struct rig *r, char path[HOME_PATH_BYTES])
{
    char text[SYSTEM_BYTES + 1] = "";
    rig_make(t, r, NULL, false);
    for (size_t i = 0; i < SYSTEM_BYTES; i++)
        text[i] = (char)('a' + test_below(t, 26));
    home_write(t, &r->home, "system.txt", text);
    home_path(&r->home, "system.txt", path);
}

static bool has_cache(const struct rig *r)
{
    char cache[HOME_PATH_BYTES];
    home_path(&r->home, "cache/quip/kv", cache);
    return access(cache, F_OK) == 0;
}

TEST(run_goes_on_from_the_file_of_the_system_prompt)
{
    struct rig r;
    char path[HOME_PATH_BYTES];
    rig_make_system(t, &r, path);
    QUIP(t, &r, NULL, RUN_SYSTEM, "-p", "first");
    CHECK_INT(t, run_tokens(t, &r, "loaded"), 0);
    CHECK_INT(t, run_tokens(t, &r, "reused"), 0);
    CHECK(t, has_cache(&r));
    char *first = strdup(strstr(r.s.out, "\"text\""));
    first[strcspn(first, "\n")] = '\0';
    QUIP(t, &r, NULL, RUN_SYSTEM, "-p", "second");
    CHECK(t, run_tokens(t, &r, "loaded") >= SYSTEM_BYTES, "%s", r.s.out);
    CHECK(t, run_tokens(t, &r, "reused") < run_tokens(t, &r, "prompt"), "%s", r.s.out);
    CHECK(t, strstr(r.s.out, first) != NULL, "%s: %s", first, r.s.out);
    free(first);

    /* Other types, and another tier, have other files. */
    QUIP(t, &r, NULL, RUN_SYSTEM, "-p", "second", "-ctk", "q8_0");
    CHECK_INT(t, run_tokens(t, &r, "loaded"), 0, "%s", r.s.out);
    QUIP(t, &r, NULL, RUN_SYSTEM, "-p", "second", "--cache-disk", "0");
    CHECK_INT(t, run_tokens(t, &r, "loaded"), 0, "%s", r.s.out);
    shell_finish(&r.s);
}

TEST(run_says_that_its_cache_folder_is_no_good)
{
    struct rig r;
    char path[HOME_PATH_BYTES];
    rig_make_system(t, &r, path);
    home_write(t, &r.home, "cache", "no folder");
    QUIP(t, &r, NULL, RUN_SYSTEM, "-p", "first");
    CHECK_INT(t, r.s.code, 0, "%s", r.s.err);
    CHECK(t, strstr(r.s.err, "not kept in files") != NULL, "%s", r.s.err);
    shell_finish(&r.s);
}

TEST(run_without_files_writes_none)
{
    struct rig r;
    char path[HOME_PATH_BYTES];
    rig_make_system(t, &r, path);
    QUIP(t, &r, NULL, RUN_SYSTEM, "-p", "first", "--cache-disk", "0");
    CHECK_INT(t, r.s.code, 0, "%s", r.s.err);
    CHECK(t, !has_cache(&r));
    QUIP(t, &r, "1 5 9", "logits", "-m", "small", "--ids", "-", "-o", "-");
    QUIP(t, &r, NULL, "bench", "-m", "small", "-p", "400", "-n", "0", "-r", "1");
    CHECK_INT(t, r.s.code, 0, "%s", r.s.err);
    CHECK(t, !has_cache(&r));
    shell_finish(&r.s);
}

TEST(line_mode_takes_a_script)
{
    struct rig r;
    rig_make(t, &r, NULL, false);
    QUIP(t, &r, "hello\n/temp 0.5\nagain \\\nand more\n/quit\n", "--line", GREEDY);
    CHECK_INT(t, r.s.code, 0, "%s", r.s.err);
    CHECK(t, strstr(r.s.out, "You: hello\nModel: " TINY_MODEL_REPLY "\n") != NULL, "%s", r.s.out);
    CHECK(t, strstr(r.s.out, "Set: temp is 0.5") != NULL, "%s", r.s.out);
    CHECK(t, strstr(r.s.out, "You: again \nand more\n") != NULL, "%s", r.s.out);
    QUIP(t, &r, "/help\n", "--line");    /* the end of the input ends it too */
    CHECK_INT(t, r.s.code, 0, "%s", r.s.err);
    CHECK(t, strstr(r.s.out, "/model") != NULL, "%s", r.s.out);
    shell_finish(&r.s);
}

/* On a terminal, where somebody can stop it; nothing is cut. */
TEST(line_mode_says_once_that_an_answer_repeats_itself)
{
    static const char note[] = "(it repeats itself; Ctrl+C stops it)";
    static const char *const argv[] = { QUIP_BINARY, "--line", "--spec", "8", "-n", "300", GREEDY, NULL };
    struct rig r;
    struct pty p;
    rig_make(t, &r, NULL, true);
    pty_start(t, &p, argv, r.home.settings, 50, 100);
    PTY_WAIT(t, &p, "You:");
    pty_type(t, &p, "go on\r");
    PTY_WAIT(t, &p, "(cut at the limit of -n)");
    CHECK(t, pty_shows(&p, note), "%s", pty_screen(&p));
    const char *first = strstr(pty_screen(&p), note);
    CHECK(t, strstr(first + 1, note) == NULL, "%s", pty_screen(&p));
    pty_type(t, &p, "/spec\r");
    PTY_WAIT(t, &p, "Last answer: ");
    PTY_WAIT(t, &p, "tokens a pass");
    pty_type(t, &p, "\004");
    CHECK_INT(t, pty_wait_end(t, &p), 0, "%s", pty_screen(&p));
    pty_finish(&p);
    QUIP(t, &r, "go on\n/spec\n", "--line", "-n", "300", GREEDY);
    CHECK_INT(t, r.s.code, 0, "%s", r.s.err);
    CHECK(t, strstr(r.s.out, "Ctrl+C stops it") == NULL, "%s", r.s.out);
    CHECK(t, strstr(r.s.out, "Drafts: ") != NULL, "%s", r.s.out);
    shell_finish(&r.s);
}

TEST(tokenize_shows_ids_and_pieces)
{
    struct rig r;
    rig_make(t, &r, NULL, false);
    QUIP(t, &r, "<|im_end|>", "tokenize", "-m", "small", "--ids", "--special", "--no-bos");
    CHECK_INT(t, r.s.code, 0, "%s", r.s.err);
    CHECK_INT(t, strspn(r.s.out, "0123456789") + 1, r.s.n_out, "one id: %s", r.s.out);
    QUIP(t, &r, "<|im_end|>", "tokenize", "-m", "small", "--ids", "--no-bos");
    CHECK(t, strchr(r.s.out, ' ') != NULL, "text that names a special token stays text: %s", r.s.out);
    QUIP(t, &r, NULL, "tokenize", "-m", "small", "-p", "a\nb", "--json");
    json_t *list = json_loads(r.s.out, 0, NULL);
    CHECK(t, json_is_array(list) && json_array_size(list) > 1, "%s", r.s.out);
    json_decref(list);
    shell_finish(&r.s);
}

TEST(template_prints_the_prompt)
{
    struct rig r;
    rig_make(t, &r, NULL, false);
    QUIP(t, &r, "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}", "template", "-m", "small", "-");
    CHECK_INT(t, r.s.code, 0, "%s", r.s.err);
    CHECK(t, strstr(r.s.out, "<|im_start|>user\nhi<|im_end|>") != NULL, "%s", r.s.out);
    home_write(t, &r.home, "own.jinja", "{% for m in messages %}[{{ m.role }}|{{ m.content }}]{% endfor %}");
    char path[HOME_PATH_BYTES];
    home_path(&r.home, "own.jinja", path);
    QUIP(t, &r, "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}", "template", "--template", path, "-");
    CHECK_TEXT(t, r.s.out, "[user|hi]");
    QUIP(t, &r, "{", "template", "--template", path, "-");
    CHECK_INT(t, r.s.code, 1);
    shell_finish(&r.s);
}

TEST(inspect_tells_what_is_in_a_file)
{
    struct rig r;
    rig_make(t, &r, NULL, false);
    QUIP(t, &r, NULL, "inspect", "small");
    CHECK_INT(t, r.s.code, 0, "%s", r.s.err);
    CHECK(t, strstr(r.s.out, "token_embd.weight") && strstr(r.s.out, "Memory at a context of"), "%s", r.s.out);
    QUIP(t, &r, NULL, "inspect", "small", "-c", "2048", "--json");
    json_t *all = json_loads(r.s.out, 0, NULL);
    CHECK_TEXT(t, json_string_value(json_object_get(all, "architecture")), "llama");
    CHECK(t, json_array_size(json_object_get(all, "tensors")) > 10);
    json_t *memory = json_object_get(all, "memory"), *by_type = json_object_get(memory, "cache_by_type");
    int64_t f16_bytes = json_integer_value(json_object_get(by_type, "f16"));
    CHECK(t, f16_bytes > 0);
    CHECK_INT(t, json_integer_value(json_object_get(memory, "cache")), f16_bytes);
    CHECK(t, json_integer_value(json_object_get(by_type, "q8_0")) < f16_bytes);
    json_decref(all);
    home_write(t, &r.home, "junk.gguf", "GGUFjunk");
    char path[HOME_PATH_BYTES];
    home_path(&r.home, "junk.gguf", path);
    QUIP(t, &r, NULL, "inspect", path);
    CHECK_INT(t, r.s.code, 3);
    CHECK(t, strchr(r.s.err, '\n') == r.s.err + strlen(r.s.err) - 1, "one line: %s", r.s.err);
    shell_finish(&r.s);
}

TEST(logits_writes_a_row_for_each_id)
{
    struct rig r;
    rig_make(t, &r, NULL, false);
    QUIP(t, &r, NULL, "inspect", "small", "-c", "2048", "--json");
    json_t *all = json_loads(r.s.out, 0, NULL);
    int64_t n_vocab = json_integer_value(json_object_get(all, "vocabulary"));
    json_decref(all);
    QUIP(t, &r, "1 5, 9\n12", "logits", "-m", "small", "--ids", "-", "-o", "-");
    CHECK_INT(t, r.s.code, 0, "%s", r.s.err);
    CHECK_INT(t, r.s.n_out, 4 * n_vocab * (int64_t)sizeof(float));
    QUIP(t, &r, "1 99999999", "logits", "-m", "small", "--ids", "-", "-o", "-");
    CHECK_INT(t, r.s.code, 1);
    CHECK(t, strstr(r.s.err, "'99999999'") != NULL, "%s", r.s.err);
    shell_finish(&r.s);
}

TEST(perplexity_and_its_file)
{
    struct rig r;
    char text[3000], path[HOME_PATH_BYTES], saved[HOME_PATH_BYTES];
    rig_make(t, &r, NULL, false);
    for (size_t i = 0; i < sizeof text - 1; i++)
        text[i] = (char)('a' + test_below(t, 26));
    text[sizeof text - 1] = '\0';
    home_write(t, &r.home, "text.txt", text);
    home_path(&r.home, "text.txt", path);
    home_path(&r.home, "saved.kld", saved);
    QUIP(t, &r, NULL, "perplexity", "-m", "small", "-f", path, "-c", "64", "--chunks", "3", "--save-logits", saved);
    CHECK_INT(t, r.s.code, 0, "%s", r.s.err);
    CHECK(t, strncmp(r.s.out, "Final estimate: PPL = ", 22) == 0, "%s", r.s.out);
    size_t n_bytes;
    char *file = test_read_file(saved, &n_bytes);
    CHECK(t, file && memcmp(file, "_logits_", 8) == 0);
    int32_t head[3];
    memcpy(head, file + 8, sizeof head);
    CHECK_INT(t, head[0], 64);
    CHECK_INT(t, head[2], 3);
    size_t row = (2 * (((size_t)head[1] + 1) / 2) + 4) * 2, n_rows = 3 * (64 - 1 - 32);
    CHECK_INT(t, n_bytes, 8 + 12 + 3 * 64 * 4 + n_rows * row);
    free(file);
    QUIP(t, &r, NULL, "perplexity", "-m", "small", "-f", path, "-c", "100000");
    CHECK_INT(t, r.s.code, 1);
    shell_finish(&r.s);
}

/* The number after this text. */
static double figure(struct test *t, const struct rig *r, const char *name)
{
    const char *at = strstr(r->s.out, name);
    CHECK(t, at != NULL, "%s: %s", name, r->s.out);
    return at ? strtod(at + strlen(name), NULL) : 0;
}

TEST(perplexity_against_its_own_file_and_a_changed_one)
{
    struct rig r;
    char text[2000], path[HOME_PATH_BYTES], saved[HOME_PATH_BYTES];
    rig_make(t, &r, NULL, false);
    for (size_t i = 0; i < sizeof text - 1; i++)
        text[i] = (char)('a' + test_below(t, 26));
    text[sizeof text - 1] = '\0';
    home_write(t, &r.home, "text.txt", text);
    home_path(&r.home, "text.txt", path);
    home_path(&r.home, "saved.kld", saved);
    QUIP(t, &r, NULL, "perplexity", "-m", "small", "-f", path, "-c", "64", "--chunks", "2", "--save-logits", saved);
    double ppl = figure(t, &r, "PPL = ");
    QUIP(t, &r, NULL, "perplexity", "-m", "small", "--kl-base", saved);
    CHECK_INT(t, r.s.code, 0, "%s", r.s.err);
    CHECK(t, figure(t, &r, "Final estimate: PPL = ") == ppl, "%s", r.s.out);
    CHECK(t, fabs(figure(t, &r, "Mean    KLD:")) < 1e-5, "%s", r.s.out);
    CHECK(t, figure(t, &r, "Same top p:") == 100, "%s", r.s.out);

    /* The last row says that one token is certain which is not. */
    size_t n_bytes;
    char *file = test_read_file(saved, &n_bytes);
    int32_t head[3];
    memcpy(head, file + 8, sizeof head);
    size_t row = (2 * (((size_t)head[1] + 1) / 2) + 4) * 2;
    float scale[2] = { 16.0f / 65535, -16 };
    memset(file + n_bytes - row, 0, row);
    memcpy(file + n_bytes - row, scale, sizeof scale);
    memset(file + n_bytes - row + 8, 0xff, 2);    /* token 0 */
    FILE *f = fopen(saved, "wb");
    CHECK(t, f && fwrite(file, 1, n_bytes, f) == n_bytes && fclose(f) == 0);
    QUIP(t, &r, NULL, "perplexity", "-m", "small", "--kl-base", saved);
    double worst = figure(t, &r, "Maximum KLD:"), mean = figure(t, &r, "Mean    KLD:");
    CHECK(t, worst > 1 && fabs(mean - worst / 62) < 1e-4, "%s", r.s.out);
    CHECK(t, fabs(figure(t, &r, "Same top p:") - 100 * 61.0 / 62) < 0.01, "%s", r.s.out);

    f = fopen(saved, "wb");
    CHECK(t, f && fwrite(file, 1, n_bytes - 1, f) == n_bytes - 1 && fclose(f) == 0);
    free(file);
    QUIP(t, &r, NULL, "perplexity", "-m", "small", "--kl-base", saved);
    CHECK_INT(t, r.s.code, 1);
    CHECK(t, strstr(r.s.err, "ends too early") != NULL, "%s", r.s.err);
    QUIP(t, &r, NULL, "perplexity", "-m", "small", "--kl-base", path);
    CHECK_INT(t, r.s.code, 1);
    CHECK(t, strstr(r.s.err, "not a file of --save-logits") != NULL, "%s", r.s.err);
    shell_finish(&r.s);
}

/* Letters of no meaning, long enough for some chunks of 64 tokens. */
static void write_letters(struct test *t, struct rig *r, const char *name, char path[HOME_PATH_BYTES])
{
    char text[2000];
    for (size_t i = 0; i < sizeof text - 1; i++)
        text[i] = (char)('a' + test_below(t, 26));
    text[sizeof text - 1] = '\0';
    home_write(t, &r->home, name, text);
    home_path(&r->home, name, path);
}

static double json_figure(struct test *t, const json_t *all, const char *key, const char *name)
{
    const json_t *value = json_object_get(json_object_get(all, key), name);
    CHECK(t, json_is_number(value), "%s.%s", key, name);
    return json_number_value(value);
}

TEST(perplexity_against_another_model_needs_no_file)
{
    struct rig r;
    struct tiny_model m;
    char path[HOME_PATH_BYTES], saved[HOME_PATH_BYTES];
    rig_make(t, &r, NULL, false);
    tiny_model_init(&m);
    m.weight_type = QUANT_Q4_1;    /* the same weights, coarser */
    home_add_model(t, &r.home, "coarse", &m);
    write_letters(t, &r, "text.txt", path);
    home_path(&r.home, "saved.kld", saved);

    QUIP(t, &r, NULL, "perplexity", "-m", "small", "--kl-model", "small", "-f", path, "-c", "64", "--chunks", "3",
         "--json");
    CHECK_INT(t, r.s.code, 0, "%s", r.s.err);
    json_t *all = json_loads(r.s.out, 0, NULL);
    CHECK(t, json_figure(t, all, "kl", "mean") == 0 && json_figure(t, all, "kl", "max") == 0, "%s", r.s.out);
    CHECK(t, json_figure(t, all, "kl", "high") == 0 && json_figure(t, all, "delta_p", "rms") == 0, "%s", r.s.out);
    CHECK(t, json_figure(t, all, "same_top", "mean") == 1, "%s", r.s.out);
    json_decref(all);

    /* A file of the base says the same as the base itself, up to the rounding of its codes. */
    QUIP(t, &r, NULL, "perplexity", "-m", "coarse", "--kl-model", "small", "-f", path, "-c", "64", "--chunks", "3",
         "--json");
    CHECK_INT(t, r.s.code, 0, "%s", r.s.err);
    all = json_loads(r.s.out, 0, NULL);
    double kl = json_figure(t, all, "kl", "mean"), low = json_figure(t, all, "kl", "low");
    CHECK(t, kl > 1e-5 && low < kl && json_figure(t, all, "kl", "high") > kl, "%s", r.s.out);
    CHECK_INT(t, json_integer_value(json_object_get(all, "n_positions")), 3 * 31);
    json_decref(all);
    QUIP(t, &r, NULL, "perplexity", "-m", "small", "-f", path, "-c", "64", "--chunks", "3", "--save-logits", saved);
    QUIP(t, &r, NULL, "perplexity", "-m", "coarse", "--kl-base", saved, "--json");
    all = json_loads(r.s.out, 0, NULL);
    CHECK(t, fabs(json_figure(t, all, "kl", "mean") - kl) < 1e-5 + 0.01 * kl, "%.7f, not %s", kl, r.s.out);
    json_decref(all);

    /* Two models at the same places: against itself the difference is nothing, with no interval left. */
    QUIP(t, &r, NULL, "perplexity", "-m", "coarse", "--kl-base", saved, "--versus", "coarse", "--json");
    CHECK_INT(t, r.s.code, 0, "%s", r.s.err);
    all = json_loads(r.s.out, 0, NULL);
    const json_t *less = json_object_get(all, "difference");
    CHECK(t, json_figure(t, less, "kl", "low") == 0 && json_figure(t, less, "kl", "high") == 0, "%s", r.s.out);
    json_decref(all);
    QUIP(t, &r, NULL, "perplexity", "-m", "coarse", "--versus", "small", "--kl-base", saved);
    CHECK_INT(t, r.s.code, 0, "%s", r.s.err);
    CHECK(t, fabs(figure(t, &r, "Mean KLD(V)                   :")) < 1e-5, "%s", r.s.out);
    CHECK(t, fabs(figure(t, &r, "Mean KLD(Q) - KLD(V)          :") - kl) < 1e-5 + 0.01 * kl, "%s", r.s.out);
    QUIP(t, &r, NULL, "perplexity", "-m", "coarse", "--versus", "small", "-f", path, "-c", "64", "--chunks", "3");
    CHECK_INT(t, r.s.code, 0, "%s", r.s.err);
    CHECK(t, strstr(r.s.out, "PPL(Q)/PPL(V)") && !strstr(r.s.out, "KLD"), "%s", r.s.out);

    QUIP(t, &r, NULL, "perplexity", "-m", "small", "--kl-model", "small", "--kl-base", saved);
    CHECK_INT(t, r.s.code, 2);
    QUIP(t, &r, NULL, "perplexity", "-m", "small", "--kl-model", "nowhere", "-f", path);
    CHECK_INT(t, r.s.code, 3);
    shell_finish(&r.s);
}

TEST(perplexity_takes_as_many_chunks_as_a_file_of_a_run_cut_short_has)
{
    struct rig r;
    char path[HOME_PATH_BYTES], saved[HOME_PATH_BYTES];
    rig_make(t, &r, NULL, false);
    write_letters(t, &r, "text.txt", path);
    home_path(&r.home, "saved.kld", saved);
    QUIP(t, &r, NULL, "perplexity", "-m", "small", "-f", path, "-c", "64", "--chunks", "3", "--save-logits", saved);
    size_t n_bytes;
    char *file = test_read_file(saved, &n_bytes);
    FILE *f = fopen(saved, "wb");
    CHECK(t, f && fwrite(file, 1, n_bytes - 100, f) == n_bytes - 100 && fclose(f) == 0);
    QUIP(t, &r, NULL, "perplexity", "-m", "small", "--kl-base", saved);
    CHECK_INT(t, r.s.code, 1);
    CHECK(t, strstr(r.s.err, "after 2 of 3 chunks; --chunks 2 takes those"), "%s", r.s.err);
    QUIP(t, &r, NULL, "perplexity", "-m", "small", "--kl-base", saved, "--chunks", "2");
    CHECK_INT(t, r.s.code, 0, "%s", r.s.err);

    /* The last token of a chunk is never evaluated, but its probability is looked up. */
    int32_t beyond = 0x7ffffff0;
    memcpy(file + 8 + 12 + 63 * 4, &beyond, sizeof beyond);
    f = fopen(saved, "wb");
    CHECK(t, f && fwrite(file, 1, n_bytes, f) == n_bytes && fclose(f) == 0);
    QUIP(t, &r, NULL, "perplexity", "-m", "small", "--kl-base", saved);
    CHECK_INT(t, r.s.code, 1);
    CHECK(t, strstr(r.s.err, "token 63 is 2147483632"), "%s", r.s.err);
    free(file);
    shell_finish(&r.s);
}

static const char endings[] = "A dog\n0\nsleeps.\nreads a book.\nflies.\nis blue.\n"
                              "The sun\n2\nsits.\nruns.\nsets.\nsings.\n"
                              "A door\n1\neats.\nopens.\nswims.\nis late.\n";

static int32_t lines_of(const char *text)
{
    int32_t n = 0;
    for (; *text; text++)
        n += *text == '\n';
    return n;
}

TEST(eval_hellaswag_counts_and_goes_on_where_it_was)
{
    struct rig r;
    char path[HOME_PATH_BYTES], saved[HOME_PATH_BYTES];
    size_t n_bytes;
    rig_make(t, &r, NULL, false);
    home_write(t, &r.home, "endings.txt", endings);
    home_path(&r.home, "endings.txt", path);
    home_path(&r.home, "saved.jsonl", saved);
    QUIP(t, &r, NULL, "eval", "hellaswag", path, "-m", "small", "--json", "--save", saved);
    CHECK_INT(t, r.s.code, 0, "%s", r.s.err);
    json_t *all = json_loads(r.s.out, 0, NULL);
    CHECK_INT(t, json_integer_value(json_object_get(all, "n_tasks")), 3);
    int64_t n_right = json_integer_value(json_object_get(all, "n_right"));
    CHECK(t, json_number_value(json_object_get(all, "low")) < json_number_value(json_object_get(all, "high")));
    json_decref(all);
    char *whole = test_read_file(saved, &n_bytes);
    CHECK_INT(t, lines_of(whole), 4);

    /* A run that was killed in the middle of its second answer. */
    char *second = strchr(strchr(whole, '\n') + 1, '\n') + 1;
    FILE *f = fopen(saved, "wb");
    size_t n_kept = (size_t)(second - whole) + 9;
    CHECK(t, f && fwrite(whole, 1, n_kept, f) == n_kept && fclose(f) == 0);
    QUIP(t, &r, NULL, "eval", "hellaswag", path, "-m", "small", "--json", "--save", saved);
    CHECK_INT(t, r.s.code, 0, "%s", r.s.err);
    CHECK(t, strstr(r.s.err, "going on after 1 answers"), "%s", r.s.err);
    all = json_loads(r.s.out, 0, NULL);
    CHECK_INT(t, json_integer_value(json_object_get(all, "n_right")), n_right);
    json_decref(all);
    char *again = test_read_file(saved, &n_bytes);
    CHECK_TEXT(t, again, whole);
    free(again);

    /* Fewer tasks of the same run, and other settings. */
    QUIP(t, &r, NULL, "eval", "hellaswag", path, "-m", "small", "--limit", "2", "--save", saved);
    CHECK(t, r.s.code == 0 && strstr(r.s.out, " of 2 right"), "%s", r.s.out);
    QUIP(t, &r, NULL, "eval", "hellaswag", path, "-m", "small", "--save", saved, "--seed", "2");
    CHECK_INT(t, r.s.code, 1);
    CHECK(t, strstr(r.s.err, "not of this model, tasks and settings"), "%s", r.s.err);
    again = test_read_file(saved, &n_bytes);
    CHECK_TEXT(t, again, whole, "untouched");
    free(again);
    free(whole);
    QUIP(t, &r, NULL, "eval", "hellaswag", path, "-m", "small", "--save", path);
    CHECK_INT(t, r.s.code, 1);

    home_write(t, &r.home, "endings.txt", "A dog\n7\na\nb\nc\nd\n");
    QUIP(t, &r, NULL, "eval", "hellaswag", path, "-m", "small");
    CHECK_INT(t, r.s.code, 1);
    CHECK(t, strstr(r.s.err, "endings.txt: line 2: '7'"), "%s", r.s.err);
    QUIP(t, &r, NULL, "eval", "hellaswag", "-m", "small");
    CHECK_INT(t, r.s.code, 2);
    QUIP(t, &r, NULL, "eval", "mmlu", path, "-m", "small");
    CHECK_INT(t, r.s.code, 2);
    shell_finish(&r.s);
}

TEST(eval_gsm8k_reads_the_number_of_the_answer)
{
    static const char problems[] = "{\"question\": \"How many?\", \"answer\": \"#### 1,042\"}\n"
                                   "{\"question\": \"How much?\", \"answer\": \"one and #### 7\"}\n"
                                   "{\"question\": \"How far?\", \"answer\": \"#### 1042.0\"}\n";
    struct rig r;
    char path[HOME_PATH_BYTES], saved[HOME_PATH_BYTES];
    size_t n_bytes;
    rig_make(t, &r, "It costs $1,042 today.", false);
    home_write(t, &r.home, "problems.jsonl", problems);
    home_path(&r.home, "problems.jsonl", path);
    home_path(&r.home, "saved.jsonl", saved);
    QUIP(t, &r, NULL, "eval", "gsm8k", path, "-m", "small", "--save", saved);
    CHECK_INT(t, r.s.code, 0, "%s", r.s.err);
    CHECK(t, strncmp(r.s.out, "gsm8k: 2 of 3 right, 66.67 %", 28) == 0, "%s", r.s.out);
    char *text = test_read_file(saved, &n_bytes);
    CHECK(t, strstr(text, "\"answer\":\"It costs $1,042 today.\"") && strstr(text, "\"gold\":\"7\""), "%s", text);
    free(text);
    /* An example leaves two to ask. */
    QUIP(t, &r, NULL, "eval", "gsm8k", path, "-m", "small", "--shots", "1");
    CHECK(t, r.s.code == 0 && strstr(r.s.out, " of 2 right"), "%s%s", r.s.out, r.s.err);
    QUIP(t, &r, NULL, "eval", "gsm8k", path, "-m", "small", "--shots", "3");
    CHECK_INT(t, r.s.code, 1);
    QUIP(t, &r, NULL, "eval", "gsm8k", path, "-m", "small", "--limit", "1", "-n", "1");    /* cut before the number */
    CHECK(t, strncmp(r.s.out, "gsm8k: 0 of 1 right", 19) == 0, "%s", r.s.out);
    shell_finish(&r.s);
}

TEST(eval_quick_measures_speed_and_distance_with_its_own_text)
{
    struct rig r;
    struct tiny_model m;
    rig_make(t, &r, NULL, false);
    tiny_model_init(&m);
    m.weight_type = QUANT_Q4_1;
    home_add_model(t, &r.home, "coarse", &m);
    QUIP(t, &r, NULL, "eval", "quick", "-m", "coarse");
    CHECK(t, r.s.code == 1 && strstr(r.s.err, "measure.txt"), "this root has no text: %s", r.s.err);
    size_t n_bytes;
    char *text = test_read_file("assets/measure.txt", &n_bytes);
    home_write(t, &r.home, "root/assets/measure.txt", text);
    free(text);
    QUIP(t, &r, NULL, "eval", "quick", "-m", "coarse", "--kl-model", "small", "--json", "--seconds", "2");
    CHECK_INT(t, r.s.code, 0, "%s", r.s.err);
    json_t *all = json_loads(r.s.out, 0, NULL);
    CHECK(t, json_number_value(json_object_get(all, "answer_per_second")) > 0, "%s", r.s.out);
    CHECK(t, json_figure(t, all, "kl", "mean") > 0 && json_figure(t, all, "same_top", "mean") <= 1, "%s", r.s.out);
    int64_t n_chunks = json_integer_value(json_object_get(all, "n_chunks"));
    double kl = json_figure(t, all, "kl", "mean");
    json_decref(all);

    char chunks[16];
    snprintf(chunks, sizeof chunks, "%d", (int)n_chunks);
    QUIP(t, &r, NULL, "perplexity", "-m", "coarse", "--kl-model", "small", "-f", "assets/measure.txt", "-c", "128",
         "--chunks", chunks, "--json");
    CHECK_INT(t, r.s.code, 0, "%s", r.s.err);
    all = json_loads(r.s.out, 0, NULL);
    CHECK(t, fabs(json_figure(t, all, "kl", "mean") / kl - 1) < 1e-6, "%.9f, not %s", kl, r.s.out);
    json_decref(all);
    QUIP(t, &r, NULL, "eval", "quick", "-m", "coarse", "--seconds", "1");
    CHECK(t, r.s.code == 0 && strstr(r.s.out, "perplexity:") && !strstr(r.s.out, "KLD"), "%s", r.s.out);
    shell_finish(&r.s);
}

TEST(bench_has_the_fields_of_llama_bench)
{
    static const char *const fields[] = { "build_commit", "cpu_info", "model_filename", "model_type", "model_size",
                                          "model_n_params", "n_threads", "n_prompt", "n_gen", "avg_ns", "stddev_ns",
                                          "avg_ts", "stddev_ts", "samples_ns", "samples_ts" };
    struct rig r;
    rig_make(t, &r, NULL, false);
    QUIP(t, &r, NULL, "bench", "-m", "small", "-p", "16,32", "-n", "8", "-r", "2", "-t", "1", "-o", "json");
    CHECK_INT(t, r.s.code, 0, "%s", r.s.err);
    json_t *list = json_loads(r.s.out, 0, NULL);
    CHECK_INT(t, json_array_size(list), 3);
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
        CHECK(t, json_object_get(json_array_get(list, 0), fields[i]) != NULL, "%s", fields[i]);
    CHECK_INT(t, json_array_size(json_object_get(json_array_get(list, 2), "samples_ns")), 2);
    CHECK_INT(t, json_integer_value(json_object_get(json_array_get(list, 2), "n_gen")), 8);
    json_decref(list);
    shell_finish(&r.s);
}

TEST(bench_goes_on_from_a_depth)
{
    struct rig r;
    rig_make(t, &r, NULL, false);
    QUIP(t, &r, NULL, "bench", "-m", "small", "-p", "200", "-n", "4", "-d", "0,300,100", "-r", "2", "-t", "1", "-o",
         "json");
    CHECK_INT(t, r.s.code, 0, "%s", r.s.err);
    json_t *list = json_loads(r.s.out, 0, NULL);
    CHECK_INT(t, json_array_size(list), 6);
    CHECK_INT(t, json_integer_value(json_object_get(json_array_get(list, 3), "n_depth")), 300);
    CHECK_INT(t, json_integer_value(json_object_get(json_array_get(list, 3), "n_gen")), 4);
    json_decref(list);
    QUIP(t, &r, NULL, "bench", "-m", "small", "-p", "0", "-n", "4", "-d", "100", "-r", "1", "-t", "1");
    CHECK(t, strstr(r.s.out, " tg4 @ d100 ") != NULL, "%s", r.s.out);
    QUIP(t, &r, NULL, "bench", "-m", "small", "--memory", "-d", "200,400", "-o", "json");
    CHECK_INT(t, r.s.code, 0, "%s", r.s.err);
    list = json_loads(r.s.out, 0, NULL);
    CHECK_INT(t, json_array_size(list), 2);
    CHECK(t, json_integer_value(json_object_get(json_array_get(list, 0), "computed_bytes")) > 0, "%s", r.s.out);
    json_decref(list);
    QUIP(t, &r, NULL, "bench", "-m", "small", "--memory", "-d", "400,200");
    CHECK_INT(t, r.s.code, 2);
    shell_finish(&r.s);
}

TEST(models_and_pull)
{
    struct rig r;
    rig_make(t, &r, NULL, false);
    QUIP(t, &r, NULL, "models", "--json");
    json_t *list = json_loads(r.s.out, 0, NULL);
    CHECK_INT(t, json_array_size(list), 2);
    CHECK(t, json_is_true(json_object_get(json_array_get(list, 0), "here")));
    CHECK(t, json_is_false(json_object_get(json_array_get(list, 1), "here")));
    json_decref(list);
    QUIP(t, &r, NULL, "pull", "nosuch");
    CHECK_INT(t, r.s.code, 3);
    home_write(t, &r.home, "fail", "");
    QUIP(t, &r, NULL, "pull", "big");
    CHECK_INT(t, r.s.code, 1);
    CHECK(t, strstr(r.s.err, "no network for this test") != NULL, "%s", r.s.err);
    shell_finish(&r.s);
}
