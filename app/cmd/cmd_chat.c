/* SPDX-License-Identifier: MIT */
/* quip without a command: the chat. */
#include "app/cmd/cmd.h"

#include <unistd.h>

enum exit_code cmd_chat(const struct app *app)
{
    return cmd_run(app);
}
