/* SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "app/config/model_table.h"
#include "app/config/option.h"
#include "tests/support/test.h"

/* One word per blank, as a shell would cut it. */
static enum err_code parse(const char *line, struct config *out, struct err *e)
{
    static char words[512];
    char *argv[32];
    int argc = 0;
    snprintf(words, sizeof words, "quip %s", line);
    for (char *p = strtok(words, " "); p && argc < 31; p = strtok(NULL, " "))
        argv[argc++] = p;
    argv[argc] = NULL;

    struct option_set set;
    option_set_init(&set);
    option_set_add(&set, &(struct option){ .names = "--temp --temperature", .kind = OPTION_SETTING, .value = "N",
                                           .commands = 1u << COMMAND_RUN | 1u << COMMAND_CHAT, .help = "heat",
                                           .setting = "temp", .preset = "0.8", .min = 0, .max = 100 });
    return option_parse(&set, argc, argv, out, e);
}

TEST(config_nothing_given_is_the_chat_with_presets)
{
    struct config c;
    struct err e = { 0 };
    CHECK(t, parse("", &c, &e) == ERR_OK, "%s", e.text);
    CHECK_INT(t, c.command, COMMAND_CHAT);
    CHECK_INT(t, c.n_predict, OPTION_PREDICT);
    CHECK_INT(t, c.n_settings, 0);
    CHECK(t, !c.model && !c.help);
}

TEST(config_reads_every_way_to_write_a_value)
{
    struct config c;
    struct err e = { 0 };
    CHECK(t, parse("run -m a.gguf --prompt=x=y -n 7 --temp 0.5 --temperature=1 --json -f -", &c, &e) == ERR_OK,
          "%s", e.text);
    CHECK_INT(t, c.command, COMMAND_RUN);
    CHECK_TEXT(t, c.model, "a.gguf");
    CHECK_TEXT(t, c.prompt, "x=y");
    CHECK_TEXT(t, c.file, "-");
    CHECK_INT(t, c.n_predict, 7);
    CHECK(t, c.json);
    CHECK_INT(t, c.n_settings, 2);
    CHECK_TEXT(t, c.settings[0].name, "temp");
    CHECK_TEXT(t, c.settings[1].value, "1");
}

TEST(config_a_spelling_may_mean_different_things_to_commands)
{
    struct config c;
    struct err e = { 0 };
    CHECK(t, parse("bench -m a -p 128,512 -n 16 -o json", &c, &e) == ERR_OK, "%s", e.text);
    CHECK(t, c.prompt == NULL);
    CHECK_INT(t, c.bench_prompt.n, 2);
    CHECK_INT(t, c.bench_prompt.values[1], 512);
    CHECK_INT(t, c.bench_predict.values[0], 16);
    CHECK_INT(t, c.bench_format, 1);
    CHECK_INT(t, c.bench_repeat, 5);
    CHECK(t, parse("logits -m a -o json", &c, &e) == ERR_OK, "%s", e.text);
    CHECK_TEXT(t, c.output, "json");
    CHECK(t, parse("bench -m a -d 0,4096", &c, &e) == ERR_OK, "%s", e.text);
    CHECK_INT(t, c.bench_depth.values[1], 4096);
}

TEST(config_types_of_the_cache_are_chosen_for_a_chat_and_fixed_for_measuring)
{
    struct config c;
    struct err e = { 0 };
    CHECK(t, parse("run -ctv kv4", &c, &e) == ERR_OK, "%s", e.text);
    CHECK_TEXT(t, c.kv_type_k, "auto");
    CHECK_TEXT(t, c.kv_type_v, "kv4");
    CHECK(t, !c.keep_kv_type);
    CHECK_INT(t, c.cache_ram_mib, 1024);
    CHECK_INT(t, c.cache_disk_mib, 2048);
    CHECK(t, parse("perplexity -ctk q8_0", &c, &e) == ERR_OK, "%s", e.text);
    CHECK_TEXT(t, c.kv_type_k, "q8_0");
    CHECK_TEXT(t, c.kv_type_v, "f16");
    CHECK_INT(t, c.cache_disk_mib, 0);
    CHECK(t, parse("--keep-kv-type --cache-disk 0", &c, &e) == ERR_OK && c.keep_kv_type, "%s", e.text);
    CHECK_INT(t, c.cache_disk_mib, 0);
}

TEST(config_device_is_auto_unless_named)
{
    struct config c;
    struct err e = { 0 };
    CHECK(t, parse("", &c, &e) == ERR_OK, "%s", e.text);
    CHECK_TEXT(t, c.device, "auto");
    CHECK(t, parse("perplexity --device vulkan:1", &c, &e) == ERR_OK, "%s", e.text);
    CHECK_TEXT(t, c.device, "vulkan:1");
    CHECK(t, parse("doctor --json --vulkan-validate", &c, &e) == ERR_OK, "%s", e.text);
    CHECK_INT(t, c.command, COMMAND_DOCTOR);
    CHECK_TEXT(t, c.device, "auto");
    CHECK(t, c.json && c.vulkan_validate && !c.vulkan_loader);
    CHECK(t, parse("tokenize --device cpu", &c, &e) == ERR_FORMAT);
}

TEST(config_quantize_takes_three_words_and_llama_quantize_s_options)
{
    struct config c;
    struct err e = { 0 };
    CHECK(t, parse("quantize in out q4_k_m --tensor-type a=q8_0 --tensor-type b=q6_k --output-tensor-type q8_0 --pure "
                   "--token-embedding-type q4_k --imatrix m.gguf --allow-requantize --dry-run --force -t 3", &c, &e) == ERR_OK,
          "%s", e.text);
    CHECK_INT(t, c.command, COMMAND_QUANTIZE);
    CHECK_INT(t, c.n_args, 3);
    CHECK_INT(t, c.tensor_types.n, 2);
    CHECK_TEXT(t, c.tensor_types.values[1], "b=q6_k");
    CHECK_TEXT(t, c.output_type, "q8_0");
    CHECK_TEXT(t, c.embedding_type, "q4_k");
    CHECK_TEXT(t, c.imatrix, "m.gguf");
    CHECK(t, c.pure && c.allow_requantize && c.dry_run && c.force);
    CHECK_INT(t, c.n_threads, 3);
    CHECK(t, parse("quantize in out --target-size 900M", &c, &e) == ERR_OK && c.n_args == 2, "%s", e.text);
    CHECK_TEXT(t, c.target_size, "900M");
    CHECK(t, parse("quantize", &c, &e) == ERR_FORMAT);
    CHECK(t, parse("quantize a b c d", &c, &e) == ERR_FORMAT);
}

TEST(config_layers_of_the_device_have_the_usual_names)
{
    static const char *const lines[] = { "run -ngl 22", "--gpu-layers 22", "bench --n-gpu-layers=22" };
    struct config c;
    struct err e = { 0 };
    CHECK(t, parse("", &c, &e) == ERR_OK && c.n_gpu_layers == -1, "%s", e.text);
    CHECK(t, parse("logits -ngl 0", &c, &e) == ERR_OK && c.n_gpu_layers == 0, "%s", e.text);
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        CHECK(t, parse(lines[i], &c, &e) == ERR_OK, "%s", e.text);
        CHECK_INT(t, c.n_gpu_layers, 22, "%s", lines[i]);
    }
    CHECK(t, parse("run -ngl -2", &c, &e) == ERR_FORMAT);
    CHECK(t, parse("tokenize -ngl 1", &c, &e) == ERR_FORMAT);
}

TEST(config_a_number_may_have_words_beside_it)
{
    static const struct {
        const char *line;
        int32_t spec;
    } cases[] = { { "run", 0 }, { "", 0 }, { "run --spec auto", 0 }, { "--spec off", -1 }, { "run --spec=1", 1 },
                  { "run --spec off --spec 31", 31 } };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct config c;
        struct err e = { 0 };
        CHECK(t, parse(cases[i].line, &c, &e) == ERR_OK, "%s: %s", cases[i].line, e.text);
        CHECK_INT(t, c.spec, cases[i].spec, "%s", cases[i].line);
    }
}

TEST(config_says_what_was_found_and_what_was_wanted)
{
    static const struct {
        const char *line, *text;
    } cases[] = {
        { "run -n many", "-n: 'many' is not a whole number; -1 to 16777216 wanted" },
        { "run -n -5", "-n: -5 is out of range; -1 to 16777216 wanted" },
        { "run --temp hot", "--temp: 'hot' is not a number" },
        { "run --temp 101", "--temp: 101 is out of range; 0 to 100 wanted" },
        { "run --tmp 1", "unknown option '--tmp'; did you mean '--temp'?" },
        { "run -r 5", "option '-r' is not for 'quip run'; it belongs to 'quip bench'" },
        { "run --zzzzzz", "unknown option '--zzzzzz'; 'quip run --help' lists those there are" },
        { "run -n", "-n: a value is missing (N)" },
        { "run --json=1", "--json: takes no value, '1' found" },
        { "run --cpu sse", "--cpu: 'sse' is not one of: exact scalar avx2 avx512" },
        { "run -ctk q5_1", "-ctk: 'q5_1' is not one of: auto f16 q8_0 q4_0 kv4 kv3 f32" },
        { "bench -ctv auto", "-ctv: 'auto' is not one of: f16 q8_0 q4_0 kv4 kv3 f32" },
        { "run --cache-disk -1", "--cache-disk: -1 is out of range; 0 to 16777216 wanted" },
        { "run --spec max", "--spec: 'max' is not a whole number; 1 to 31, auto or off wanted" },
        { "run --spec 32", "--spec: 32 is out of range; 1 to 31, auto or off wanted" },
        { "run --spec 0", "--spec: 0 is out of range; 1 to 31, auto or off wanted" },
        { "run --spec", "--spec: a value is missing (N)" },
        { "bench -p auto", "-p: 'auto' is not a whole number; 0 to 1048576 wanted" },
        { "run extra", "'extra': an argument too many for 'quip run'" },
        { "bench -p 1,x", "-p: 'x' is not a whole number; 0 to 1048576 wanted" },
        { "bnech", "unknown command 'bnech'; did you mean 'bench'?" },
        { "model.gguf", "'model.gguf' is no command; to chat with this file: quip -m model.gguf" },
        { "pull", "'quip pull' needs NAME" },
        { "perplexity -c 7", "-c: 7 is out of range; 8 to 1048576 wanted" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct config c;
        struct err e = { 0 };
        CHECK(t, parse(cases[i].line, &c, &e) == ERR_FORMAT, "%s", cases[i].line);
        CHECK_TEXT(t, e.text, cases[i].text, "%s", cases[i].line);
    }
}

TEST(config_arguments_after_two_dashes_are_no_options)
{
    struct config c;
    struct err e = { 0 };
    CHECK(t, parse("inspect -- -odd.gguf", &c, &e) == ERR_OK, "%s", e.text);
    CHECK_TEXT(t, c.args[0], "-odd.gguf");
    CHECK(t, parse("help bench", &c, &e) == ERR_OK && c.help && c.command == COMMAND_BENCH);
}

TEST(config_help_of_every_command_fits_the_columns_and_names_each_option)
{
    struct option_set set;
    option_set_init(&set);
    for (int command = 0; command < COMMAND_COUNT; command++) {
        char *text;
        size_t n;
        FILE *f = open_memstream(&text, &n);
        option_print_help(&set, command, 80, f);
        fclose(f);
        for (const char *p = text; *p;) {
            size_t line = strcspn(p, "\n");
            CHECK(t, line <= 80, "command %d: %.*s", command, (int)line, p);
            p += line + (p[line] != '\0');
        }
        for (int32_t i = 0; i < set.n; i++) {
            size_t n_first = strcspn(set.rows[i].names, " ");
            char name[64];
            snprintf(name, sizeof name, "  %.*s", (int)n_first, set.rows[i].names);
            if (set.rows[i].commands >> command & 1)
                CHECK(t, strstr(text, name) != NULL, "command %d: %s", command, name);
        }
        CHECK(t, strstr(text, "130") != NULL);
        free(text);
    }
}

TEST(config_distance_counts_edits)
{
    CHECK_INT(t, option_distance("", ""), 0);
    CHECK_INT(t, option_distance("abc", ""), 3);
    CHECK_INT(t, option_distance("", "abc"), 3);
    CHECK_INT(t, option_distance("--temp", "--tmep"), 1);
    CHECK_INT(t, option_distance("kitten", "sitting"), 3);
}

static void put_file(const char *folder, const char *name, const char *text)
{
    char path[1200];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "w");
    if (f) {
        fputs(text, f);
        fclose(f);
    }
}

static void make_paths(struct test *t, struct paths *p, const char *list)
{
    memset(p, 0, sizeof *p);
    const char *folder = test_folder(t);
    snprintf(p->models, sizeof p->models, "%s", folder);
    snprintf(p->model_table, sizeof p->model_table, "%s/models.txt", folder);
    snprintf(p->fetch_script, sizeof p->fetch_script, "fetch");
    put_file(folder, "models.txt", list);
}

static const char list[] = "# a comment\n\nname   small\ntitle  Small Q4_1\ngood   quick\nrole   default\n"
                           "licence MIT\nbytes  1000\nsha256 00\n\nname  big\nrole  recommended\nlicence MIT\nbytes 2000\n";

TEST(config_models_are_the_list_and_the_folder)
{
    struct paths p;
    struct model_table table;
    struct err e = { 0 };
    make_paths(t, &p, list);
    put_file(p.models, "small.gguf", "x");
    put_file(p.models, "other.gguf", "xyz");
    CHECK(t, model_table_read(&table, &p, &e) == ERR_OK, "%s", e.text);
    CHECK_INT(t, table.n, 3);
    CHECK_TEXT(t, model_table_default(&table)->name, "small");
    CHECK(t, model_table_default(&table)->is_here);
    CHECK_TEXT(t, model_table_recommended(&table)->name, "big");
    CHECK(t, !model_table_recommended(&table)->is_here);
    CHECK_INT(t, model_table_find(&table, "other")->n_bytes, 3);

    char path[PATHS_BYTES], want[PATHS_BYTES];
    snprintf(want, sizeof want, "%s/other.gguf", p.models);
    CHECK(t, model_table_resolve(&table, "other", path, &e) == ERR_OK, "%s", e.text);
    CHECK_TEXT(t, path, want);
    CHECK(t, model_table_resolve(&table, "other.gguf", path, &e) == ERR_OK, "%s", e.text);
    CHECK_TEXT(t, path, want);
    CHECK(t, model_table_resolve(&table, want, path, &e) == ERR_OK, "%s", e.text);
    CHECK(t, model_table_resolve(&table, "big", path, &e) == ERR_IO);
    CHECK(t, strstr(e.text, "quip pull big") != NULL, "%s", e.text);
    CHECK(t, model_table_resolve(&table, "smal", path, &e) == ERR_IO);
    CHECK(t, strstr(e.text, "'small'") != NULL, "%s", e.text);
    CHECK(t, model_table_resolve(&table, "no/such.gguf", path, &e) == ERR_IO);
    CHECK_TEXT(t, e.text, "no/such.gguf: no such file");
    CHECK(t, model_table_resolve(&table, "/", path, &e) == ERR_IO);
    CHECK_TEXT(t, e.text, "/: not a regular file");
    model_table_finish(&table);
}

TEST(config_a_broken_model_list_is_named_by_line)
{
    struct paths p;
    struct model_table table;
    struct err e = { 0 };
    make_paths(t, &p, "title orphan\n");
    CHECK(t, model_table_read(&table, &p, &e) == ERR_FORMAT);
    CHECK(t, strstr(e.text, "models.txt line 1: 'title' found") != NULL, "%s", e.text);
}

TEST(config_paths_come_from_xdg_or_home)
{
    struct paths p;
    struct environment env = { .home = "/h", .data_home = "", .state_home = "/s", .cache_home = "", .root = "" };
    paths_init(&p, &env);
    CHECK_TEXT(t, p.models, "/h/.local/share/quip/models");
    CHECK_TEXT(t, p.history, "/s/quip/history");
    CHECK_TEXT(t, p.kv_cache, "/h/.cache/quip/kv");
    env.home = "";
    paths_init(&p, &env);
    CHECK_TEXT(t, p.models, "");

    char file[PATHS_BYTES];
    struct err e = { 0 };
    struct stat st;
    snprintf(file, sizeof file, "%s/a/b/history", test_folder(t));
    CHECK(t, paths_make_parents(file, &e) == ERR_OK, "%s", e.text);
    *strrchr(file, '/') = '\0';
    CHECK(t, stat(file, &st) == 0 && (st.st_mode & 0777) == 0700);
}
