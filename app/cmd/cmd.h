/* SPDX-License-Identifier: MIT */
#ifndef QUIP_APP_CMD_CMD_H
#define QUIP_APP_CMD_CMD_H

#include <stdio.h>

#include <jansson.h>

#include "app/config/environment.h"
#include "app/config/exit_code.h"
#include "app/config/option.h"
#include "app/config/paths.h"
#include "engine/engine.h"

/* The commands of the shell, one file each, and what they share. A command gets everything it depends on
 * in one struct and returns the program's exit status. */
struct app {
    const struct config *config;
    const struct environment *env;
    const struct paths *paths;
    const struct option_set *options;
};

enum exit_code cmd_chat(const struct app *app);
enum exit_code cmd_run(const struct app *app);
enum exit_code cmd_models(const struct app *app);
enum exit_code cmd_pull(const struct app *app);
enum exit_code cmd_inspect(const struct app *app);
enum exit_code cmd_tokenize(const struct app *app);
enum exit_code cmd_template(const struct app *app);
enum exit_code cmd_logits(const struct app *app);
enum exit_code cmd_perplexity(const struct app *app);
enum exit_code cmd_bench(const struct app *app);
enum exit_code cmd_imatrix(const struct app *app);
enum exit_code cmd_quantize(const struct app *app);
enum exit_code cmd_eval(const struct app *app);
enum exit_code cmd_levels(const struct app *app);
enum exit_code cmd_fit(const struct app *app);
enum exit_code cmd_cache(const struct app *app);
enum exit_code cmd_doctor(const struct app *app);

/* ---- Shared ---------------------------------------------------------------------------------- */

/* An engine and a model in it; a zeroed struct holds neither. */
struct cmd_model {
    struct engine *eng;
    struct model *model;
    char path[PATHS_BYTES];
};

/* An engine as the options want it; with_device false: the processor alone. Says on stderr what failed. */
enum exit_code cmd_engine_create(struct engine **out, const struct app *app, bool with_device, int32_t n_threads);
/* Finds the model of -m (or the default one), makes an engine and opens the file; says on stderr what
 * failed, and the model's warnings. Returns EXIT_CODE_OK, _MODEL or _FAILURE. */
enum exit_code cmd_model_open(struct cmd_model *out, const struct app *app, enum model_use use,
                              int32_t n_threads);
/* Another model, a file or a name as for -m, opened in the engine of the first; model_close() before that is closed.
 * Says on stderr what failed, and when the two together are more than the memory there is. */
enum exit_code cmd_model_beside(struct model **out, const struct app *app, const struct cmd_model *first,
                                const char *name);
/* Says the warnings of a model from the first-th on; returns how many there are. INT32_MAX: only counts. */
int32_t cmd_warn(const struct model *m, int32_t first);
/* Says why a device is not used that was asked for, or that would have been taken. */
void cmd_note_device(const struct engine *eng);
/* Says what the validation layer found, if it was asked. Takes a zeroed one. */
void cmd_model_close(struct cmd_model *cm);

/* A session of one sequence; n_ctx 0: the engine's default. Where an answer is wanted it keeps what it read, in
 * memory and in files, as far as the options allow; measuring keeps nothing and takes the types of the cache as
 * asked for. Says on stderr what failed. */
enum exit_code cmd_session(struct session **out, const struct app *app, struct model *m, int32_t n_ctx,
                           int32_t n_batch);

/* The token that the vocabulary puts before a text; -1: none. Errors: ERR_NOMEM */
enum err_code cmd_bos(const struct model *m, int32_t *bos, struct err *e);

/* The whole of a file, or of stdin for "-", appended. Errors: ERR_IO, ERR_NOMEM beyond 1 GiB. */
enum err_code cmd_read(struct buf *out, const char *path, struct err *e);

/* "quip: ..." on stderr, safe for a terminal. */
void cmd_complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Text of models and files: as it is, but made harmless when out is a terminal. */
void cmd_put(FILE *out, const char *text, size_t n_bytes);
/* The same where one line is wanted: newlines and tabs are made visible too. */
void cmd_put_line(FILE *out, const char *text);
/* A JSON string; bytes that are no UTF-8 become U+FFFD. Never NULL but for want of memory. */
json_t *cmd_json_text(const char *bytes, size_t n_bytes);
/* null where JSON has no such number. */
json_t *cmd_json_number(double value);
/* Columns of the terminal behind out; 100 when there is none. */
int cmd_columns(FILE *out);
/* "98.4 MB": decimal units, as file listings have them. */
const char *cmd_size(uint64_t n_bytes, char out[32]);

#endif
