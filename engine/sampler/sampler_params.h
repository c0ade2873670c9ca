/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_SAMPLER_SAMPLER_PARAMS_H
#define QUIP_ENGINE_SAMPLER_SAMPLER_PARAMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/err.h"

/* What a person can set about sampling. Apart from sampler.h because front ends read it too.
 * Samplers work in this order: logit bias, penalties, DRY, top-n-sigma, top-k, typical, top-p, min-p,
 * XTC, temperature, draw; mirostat replaces what stands between DRY and temperature, and does the draw. */

enum { SAMPLER_MAX_BIAS = 64, SAMPLER_MAX_BREAKERS = 16, SAMPLER_BREAKER_BYTES = 32 };

struct sampler_bias {
    int32_t token;
    float bias;    /* added to the logit; -INFINITY forbids */
};

struct sampler_params {
    uint64_t seed;              /* the default is 0: who wants variety brings a random one */
    float temperature;          /* 0: greedy */
    float dynatemp_range, dynatemp_exponent;
    int32_t top_k;              /* 0 or less: off */
    float top_p, min_p, typical_p;
    float top_n_sigma;          /* 0 or less: off */
    float xtc_probability, xtc_threshold;
    int32_t repeat_last_n;      /* 0: off, -1: the whole context */
    float repeat_penalty, frequency_penalty, presence_penalty;
    float dry_multiplier, dry_base;
    int32_t dry_allowed_length, dry_last_n;    /* last_n -1: the whole context */
    char dry_breakers[SAMPLER_MAX_BREAKERS][SAMPLER_BREAKER_BYTES];
    int32_t n_dry_breakers;
    int32_t mirostat;           /* 0 or 2 */
    float mirostat_tau, mirostat_eta;
    int32_t min_keep;
    struct sampler_bias bias[SAMPLER_MAX_BIAS];
    int32_t n_bias;
};

enum sampler_field_kind { SAMPLER_F32, SAMPLER_I32, SAMPLER_U64 };

/* One settable number: the option tables of front ends are made from these rows. */
struct sampler_field {
    const char *name;      /* "top-p": as an option --top-p, in /set, in JSON with '_' for '-' */
    enum sampler_field_kind kind;
    size_t offset;         /* in struct sampler_params */
    double min, max;
    const char *help;      /* one line */
};

/* NULL beyond the last. */
const struct sampler_field *sampler_field(int32_t i);

void sampler_params_default(struct sampler_params *p);
/* n_vocab 0 when no model is known yet. Errors: ERR_FORMAT naming the field, the value and the range. */
enum err_code sampler_params_check(const struct sampler_params *p, int32_t n_vocab, struct err *e);
/* Sets a field from text: name as in the table, value as a person writes it. Two names stand for lists and
 * add to them: "logit-bias" (TOKEN+BIAS, TOKEN-BIAS, TOKEN-inf) and "dry-sequence-breaker" (text; "none"
 * clears the list). ERR_FORMAT as above, also for an unknown name. */
enum err_code sampler_params_set(struct sampler_params *p, const char *name, const char *value,
                                 struct err *e);

#endif
