/* SPDX-License-Identifier: MIT */
/* quip without a command: the chat, as far as there is somebody to chat with. */
#include "app/cmd/cmd.h"

#include <string.h>
#include <unistd.h>

#include "app/chat/drafts.h"
#include "app/config/model_table.h"
#include "app/loop/full_screen.h"
#include "app/loop/line_mode.h"

/* A model that was asked for by name and is not there is said before any screen comes up. */
static bool model_is_there(const struct app *app)
{
    char path[PATHS_BYTES];
    struct err e;
    if (!app->config->model || model_table_choose(app->paths, app->config->model, path, &e) == ERR_OK)
        return true;
    cmd_complain("%s", e.text);
    return false;
}

enum exit_code cmd_chat(const struct app *app)
{
    const struct config *c = app->config;
    bool from_terminal = isatty(STDIN_FILENO), to_terminal = isatty(STDOUT_FILENO);
    if (!from_terminal && !c->line_mode)
        return cmd_run(app);    /* what is piped in is the prompt */
    if (c->system && c->system_file) {
        cmd_complain("--system and --system-file: one of them");
        return EXIT_CODE_USAGE;
    }
    struct err e;
    if (drafts_files_there(&c->spec_files, &e) != ERR_OK) {
        cmd_complain("%s", e.text);
        return EXIT_CODE_FAILURE;
    }
    if (!model_is_there(app))
        return EXIT_CODE_MODEL;

    enum exit_code code = EXIT_CODE_FAILURE;
    enum err_code rc = ERR_UNSUPPORTED;
    bool lines = c->line_mode || app->env->accessible || !to_terminal || strcmp(app->env->term, "dumb") == 0;
    if (!lines)
        rc = full_screen_run(c, app->env, app->paths, &code, &e);
    if (lines || rc == ERR_UNSUPPORTED)
        rc = line_mode_run(c, app->paths, &code, &e);
    if (rc != ERR_OK) {
        cmd_complain("%s", e.text);
        return rc == ERR_FORMAT || rc == ERR_UNSUPPORTED ? EXIT_CODE_USAGE : EXIT_CODE_FAILURE;
    }
    return code;
}
