/* SPDX-License-Identifier: MIT */
/* quip template: the prompt that a chat template makes of messages. */
#include "app/cmd/cmd.h"

#include <string.h>

enum exit_code cmd_template(const struct app *app)
{
    const struct config *c = app->config;
    if (!c->model && !c->template_file) {
        cmd_complain("'quip template' needs -m MODEL or --template FILE");
        return EXIT_CODE_USAGE;
    }
    struct cmd_model cm = { 0 };
    if (c->model) {
        enum exit_code code = cmd_model_open(&cm, app, MODEL_VOCABULARY, 1);
        if (code != EXIT_CODE_OK)
            return code;
    }
    struct buf template_text = { 0 }, json = { 0 }, prompt = { 0 };
    struct err e;
    enum err_code rc = ERR_OK;
    if (c->template_file)
        rc = cmd_read(&template_text, c->template_file, &e);
    if (rc == ERR_OK)
        rc = cmd_read(&json, c->args[0], &e);
    if (rc == ERR_OK && strlen(buf_text(&json)) != json.n_bytes)
        rc = err_set(&e, ERR_FORMAT, "%s: a NUL byte in it", c->args[0]);
    if (rc == ERR_OK)
        rc = model_render(cm.model, c->template_file ? buf_text(&template_text) : NULL, buf_text(&json), &prompt,
                          &e);
    if (rc == ERR_OK)
        cmd_put(stdout, buf_text(&prompt), prompt.n_bytes);
    else
        cmd_complain("%s", e.text);
    buf_finish(&template_text);
    buf_finish(&json);
    buf_finish(&prompt);
    cmd_model_close(&cm);
    return rc == ERR_OK ? EXIT_CODE_OK : EXIT_CODE_FAILURE;
}
