/* SPDX-License-Identifier: MIT */
/* quip pull: runs app/fetch-model.sh, with a bar on stderr when that is a terminal. Ctrl+C reaches the
 * script too, which keeps what it has and goes on from there next time. */
#include "app/cmd/cmd.h"

#include <errno.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "app/config/model_table.h"

static void draw_bar(unsigned long long done, unsigned long long total)
{
    enum { BAR = 30 };
    char bar[BAR + 1], have[32], all[32];
    int filled = total ? (int)(done * BAR / total) : 0;
    if (filled > BAR)
        filled = BAR;
    memset(bar, '#', (size_t)filled);
    memset(bar + filled, '.', (size_t)(BAR - filled));
    bar[BAR] = '\0';
    fprintf(stderr, "\r  [%s] %3.0f %%  %s of %s   ", bar, total ? 100.0 * (double)done / (double)total : 0.0,
            cmd_size(done, have), cmd_size(total, all));
    fflush(stderr);
}

/* Reads "progress DONE TOTAL" lines until the script closes its end. */
static void follow(int fd, bool draw)
{
    FILE *f = fdopen(fd, "r");
    if (!f) {
        close(fd);
        return;
    }
    char line[256];
    bool drawn = false;
    while (fgets(line, sizeof line, f)) {
        unsigned long long done, total;
        if (draw && sscanf(line, "progress %llu %llu", &done, &total) == 2) {
            draw_bar(done, total);
            drawn = true;
        }
    }
    if (drawn)
        fputc('\n', stderr);
    fclose(f);
}

enum exit_code cmd_pull(const struct app *app)
{
    const char *name = app->config->args[0];
    struct model_table table;
    struct err e;
    if (model_table_read(&table, app->paths, &e) != ERR_OK) {
        cmd_complain("%s", e.text);
        return EXIT_CODE_FAILURE;
    }
    const struct model_row *row = model_table_find(&table, name);
    bool known = row && row->can_fetch;
    model_table_finish(&table);
    if (!known) {
        cmd_complain("no model '%s' to fetch; 'quip models' lists those there are", name);
        return EXIT_CODE_MODEL;
    }
    int ends[2];
    if (pipe(ends) != 0) {
        cmd_complain("no pipe to the fetch script: %s", strerror(errno));
        return EXIT_CODE_FAILURE;
    }
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], STDOUT_FILENO);
        close(ends[0]);
        close(ends[1]);
        execlp("sh", "sh", app->paths->fetch_script, "--progress", name, (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    if (child < 0) {
        close(ends[0]);
        cmd_complain("could not start the fetch script: %s", strerror(errno));
        return EXIT_CODE_FAILURE;
    }
    follow(ends[0], isatty(STDERR_FILENO));
    int status;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return EXIT_CODE_OK;
    if (WIFSIGNALED(status) || WEXITSTATUS(status) == EXIT_CODE_INTERRUPTED)
        return EXIT_CODE_INTERRUPTED;
    return EXIT_CODE_FAILURE;
}
