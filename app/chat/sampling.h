/* SPDX-License-Identifier: MIT */
#ifndef QUIP_APP_CHAT_SAMPLING_H
#define QUIP_APP_CHAT_SAMPLING_H

#include "app/config/option.h"
#include "engine/engine.h"

/* Sampling as a person sets it: the sampler's own table of fields becomes options of the command line and
 * names for /set, so that neither lists them again. */

enum { SAMPLING_MAX_FIELDS = 48, SAMPLING_NAMES_BYTES = 80, SAMPLING_PRESET_BYTES = 24 };

/* Storage of the options' texts; lives as long as the option set. */
struct sampling_options {
    char names[SAMPLING_MAX_FIELDS][SAMPLING_NAMES_BYTES];
    char presets[SAMPLING_MAX_FIELDS][SAMPLING_PRESET_BYTES];
};

void sampling_add_options(struct option_set *set, struct sampling_options *texts);

/* The command line's settings over what p holds, usually the model's own recommendation. Errors: ERR_FORMAT
 * naming the option; p may have changed then. */
enum err_code sampling_apply(struct sampler_params *p, const struct config *c, struct err *e);

/* Sets one by any spelling that the command line knows ("temp", "--temp", "top_p"). Errors: ERR_FORMAT. */
enum err_code sampling_set(struct sampler_params *p, const char *name, const char *value, struct err *e);
/* The value as text. */
void sampling_text(const struct sampler_params *p, const struct sampler_field *field,
                   char out[SAMPLING_PRESET_BYTES]);
/* The field of a spelling, or NULL. */
const struct sampler_field *sampling_field(const char *name);

#endif
