/* SPDX-License-Identifier: MIT */
/* The program: reads the command line and hands over to a command. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "app/chat/sampling.h"
#include "app/cmd/cmd.h"

typedef enum exit_code (*command_fn)(const struct app *app);

static const command_fn commands[COMMAND_COUNT] = {
    [COMMAND_CHAT] = cmd_chat,
    [COMMAND_RUN] = cmd_run,
    [COMMAND_MODELS] = cmd_models,
    [COMMAND_PULL] = cmd_pull,
    [COMMAND_INSPECT] = cmd_inspect,
    [COMMAND_TOKENIZE] = cmd_tokenize,
    [COMMAND_TEMPLATE] = cmd_template,
    [COMMAND_LOGITS] = cmd_logits,
    [COMMAND_PERPLEXITY] = cmd_perplexity,
    [COMMAND_BENCH] = cmd_bench,
    [COMMAND_IMATRIX] = cmd_imatrix,
    [COMMAND_QUANTIZE] = cmd_quantize,
    [COMMAND_EVAL] = cmd_eval,
    [COMMAND_LEVELS] = cmd_levels,
    [COMMAND_FIT] = cmd_fit,
    [COMMAND_CACHE] = cmd_cache,
    [COMMAND_DOCTOR] = cmd_doctor,
};

int main(int argc, char **argv)
{
    struct environment env;
    struct paths paths;
    struct option_set options;
    struct sampling_options sampling;
    struct config config;
    struct err e;

    environment_use_utf8();
    environment_read(&env);
    paths_init(&paths, &env);
    option_set_init(&options);
    sampling_add_options(&options, &sampling);
    if (option_parse(&options, argc, argv, &config, &e) != ERR_OK) {
        cmd_complain("%s", e.text);
        return EXIT_CODE_USAGE;
    }
    if (config.help) {
        option_print_help(&options, config.command, cmd_columns(stdout), stdout);
        return EXIT_CODE_OK;
    }
    if (config.version) {
        puts("quip " QUIP_VERSION);
        return EXIT_CODE_OK;
    }
    struct app app = { .config = &config, .env = &env, .paths = &paths, .options = &options };
    enum exit_code code = commands[config.command](&app);
    if (fflush(stdout) != 0 && code == EXIT_CODE_OK) {
        cmd_complain("stdout: the output could not be written");
        code = EXIT_CODE_FAILURE;
    }
    return code;
}
