/* SPDX-License-Identifier: MIT */
#include "engine/sampler/sampler_params.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/sampler/sampler.h"

#define ROW(field_name, kind_of, member, low, high, help_text)                                          \
    { .name = (field_name), .kind = (kind_of), .offset = offsetof(struct sampler_params, member),       \
      .min = (low), .max = (high), .help = (help_text) }

/* Names as llama.cpp's options have them. */
static const struct sampler_field fields[] = {
    ROW("seed", SAMPLER_U64, seed, 0, 18446744073709551615.0, "seed of the draws: same seed, same text"),
    ROW("temp", SAMPLER_F32, temperature, 0, 100, "temperature; 0 always takes the likeliest token"),
    ROW("dynatemp-range", SAMPLER_F32, dynatemp_range, 0, 100,
        "temperature follows the entropy, this far up and down; 0 is off"),
    ROW("dynatemp-exp", SAMPLER_F32, dynatemp_exponent, 0, 100, "exponent of that dependence"),
    ROW("top-k", SAMPLER_I32, top_k, -1, 1 << 30, "keep the k likeliest tokens; 0 is off"),
    ROW("top-p", SAMPLER_F32, top_p, 0, 1, "keep the likeliest tokens that make up p together; 1 is off"),
    ROW("min-p", SAMPLER_F32, min_p, 0, 1,
        "keep tokens of at least p times the best one's probability; 0 is off"),
    ROW("typical", SAMPLER_F32, typical_p, 0, 1, "keep the p most typical tokens; 1 is off"),
    ROW("top-nsigma", SAMPLER_F32, top_n_sigma, -1, 1e6,
        "keep logits within n deviations of the best; -1 is off"),
    ROW("xtc-probability", SAMPLER_F32, xtc_probability, 0, 1,
        "chance of taking all top choices but the last away; 0 is off"),
    ROW("xtc-threshold", SAMPLER_F32, xtc_threshold, 0, 1,
        "probability that makes a token a top choice; above 0.5 is off"),
    ROW("repeat-last-n", SAMPLER_I32, repeat_last_n, -1, SAMPLER_MAX_HISTORY,
        "tokens that penalties look back; 0 is off, -1 the whole context"),
    ROW("repeat-penalty", SAMPLER_F32, repeat_penalty, 0.01, 100,
        "divides logits of tokens seen, multiplies negative ones; 1 is off"),
    ROW("frequency-penalty", SAMPLER_F32, frequency_penalty, -100, 100,
        "taken off per time a token was seen; 0 is off"),
    ROW("presence-penalty", SAMPLER_F32, presence_penalty, -100, 100,
        "taken off once for a token seen; 0 is off"),
    ROW("dry-multiplier", SAMPLER_F32, dry_multiplier, 0, 100,
        "strength of the penalty on going on with a repeat; 0 is off"),
    ROW("dry-base", SAMPLER_F32, dry_base, 0, 100, "its growth per repeated token; below 1 is off"),
    ROW("dry-allowed-length", SAMPLER_I32, dry_allowed_length, 1, 1 << 20,
        "repeats shorter than this are free"),
    ROW("dry-penalty-last-n", SAMPLER_I32, dry_last_n, -1, SAMPLER_MAX_HISTORY,
        "tokens that it looks back; 0 is off, -1 the whole context"),
    ROW("mirostat", SAMPLER_I32, mirostat, 0, 2,
        "2 steers the surprise of the text in place of the cuts; 0 is off"),
    ROW("mirostat-ent", SAMPLER_F32, mirostat_tau, 0, 100, "the surprise to steer to, in bits"),
    ROW("mirostat-lr", SAMPLER_F32, mirostat_eta, 0, 10, "how fast it steers"),
    ROW("min-keep", SAMPLER_I32, min_keep, 0, 1 << 30, "tokens that cuts leave at least"),
};
enum { N_FIELDS = sizeof fields / sizeof *fields };

const struct sampler_field *sampler_field(int32_t i)
{
    return i >= 0 && i < N_FIELDS ? &fields[i] : NULL;
}

void sampler_params_default(struct sampler_params *p)
{
    *p = (struct sampler_params){
        .temperature = 0.8f,
        .dynatemp_exponent = 1.0f,
        .top_k = 40,
        .top_p = 0.95f,
        .min_p = 0.05f,
        .typical_p = 1.0f,
        .top_n_sigma = -1.0f,
        .xtc_threshold = 0.1f,
        .repeat_last_n = 64,
        .repeat_penalty = 1.0f,
        .dry_base = 1.75f,
        .dry_allowed_length = 2,
        .dry_last_n = 64,
        .dry_breakers = { "\n", ":", "\"", "*" },
        .n_dry_breakers = 4,
        .mirostat_tau = 5.0f,
        .mirostat_eta = 0.1f,
    };
}

static double value_of(const struct sampler_params *p, const struct sampler_field *f)
{
    const char *at = (const char *)p + f->offset;
    switch (f->kind) {
    case SAMPLER_F32: {
        float value;
        memcpy(&value, at, sizeof value);
        return value;
    }
    case SAMPLER_I32: {
        int32_t value;
        memcpy(&value, at, sizeof value);
        return value;
    }
    default: {
        uint64_t value;
        memcpy(&value, at, sizeof value);
        return (double)value;
    }
    }
}

static enum err_code check_range(const struct sampler_field *f, double value, struct err *e)
{
    /* a float that came from text may lie a rounding below a bound like 0.01 */
    double slack = f->kind == SAMPLER_F32 ? 1e-7 * fabs(f->min) : 0;
    if (!(value >= f->min - slack && value <= f->max))    /* NaN is neither */
        return err_set(e, ERR_FORMAT, "%s: %g is out of range, %g to %g wanted", f->name, value, f->min,
                       f->max);
    return ERR_OK;
}

static enum err_code check_mirostat(int32_t mirostat, struct err *e)
{
    if (mirostat == 1)
        return err_set(e, ERR_FORMAT, "mirostat: version 1 is not offered, 0 or 2 wanted");
    return ERR_OK;
}

static enum err_code check_bias(const struct sampler_bias *b, int32_t n_vocab, struct err *e)
{
    if (b->token < 0 || (n_vocab > 0 && b->token >= n_vocab))
        return err_set(e, ERR_FORMAT, "logit-bias: token %d, 0 to %d exist", b->token,
                       n_vocab > 0 ? n_vocab - 1 : INT32_MAX);
    if (!(b->bias <= 1e6f && (b->bias >= -1e6f || b->bias == -INFINITY)))
        return err_set(e, ERR_FORMAT, "logit-bias: token %d has %g, -1e6 to 1e6 or -inf wanted", b->token,
                       (double)b->bias);
    return ERR_OK;
}

enum err_code sampler_params_check(const struct sampler_params *p, int32_t n_vocab, struct err *e)
{
    enum err_code rc = check_mirostat(p->mirostat, e);
    for (int32_t i = 0; rc == ERR_OK && i < N_FIELDS; i++)
        rc = check_range(&fields[i], value_of(p, &fields[i]), e);
    if (rc == ERR_OK && (p->n_bias < 0 || p->n_bias > SAMPLER_MAX_BIAS))
        rc = err_set(e, ERR_FORMAT, "logit-bias: %d entries, 0 to %d allowed", p->n_bias,
                     SAMPLER_MAX_BIAS);
    for (int32_t i = 0; rc == ERR_OK && i < p->n_bias; i++)
        rc = check_bias(&p->bias[i], n_vocab, e);
    if (rc == ERR_OK && (p->n_dry_breakers < 0 || p->n_dry_breakers > SAMPLER_MAX_BREAKERS))
        rc = err_set(e, ERR_FORMAT, "dry-sequence-breaker: %d entries, 0 to %d allowed", p->n_dry_breakers,
                     SAMPLER_MAX_BREAKERS);
    for (int32_t i = 0; rc == ERR_OK && i < p->n_dry_breakers; i++)
        if (!p->dry_breakers[i][0] || !memchr(p->dry_breakers[i], 0, SAMPLER_BREAKER_BYTES))
            rc = err_set(e, ERR_FORMAT, "dry-sequence-breaker: 1 to %d bytes wanted", SAMPLER_BREAKER_BYTES - 1);
    return rc;
}

/* TOKEN+BIAS or TOKEN-BIAS: "15043+1", "15043-inf". */
static enum err_code add_bias(struct sampler_params *p, const char *value, struct err *e)
{
    char *end, *last;
    errno = 0;
    long token = strtol(value, &end, 10);
    if (end == value || errno || token < 0 || token > INT32_MAX || (*end != '+' && *end != '-'))
        return err_set(e, ERR_FORMAT, "logit-bias: '%s' is not TOKEN+BIAS or TOKEN-BIAS", value);
    struct sampler_bias b = { .token = (int32_t)token, .bias = strtof(end, &last) };
    if (last == end + 1 || last == end || *last)
        return err_set(e, ERR_FORMAT, "logit-bias: '%s' is not TOKEN+BIAS or TOKEN-BIAS", value);
    if (p->n_bias == SAMPLER_MAX_BIAS)
        return err_set(e, ERR_FORMAT, "logit-bias: more than %d entries", SAMPLER_MAX_BIAS);
    enum err_code rc = check_bias(&b, 0, e);
    if (rc == ERR_OK)
        p->bias[p->n_bias++] = b;
    return rc;
}

/* "none" clears the list, any other text joins it. */
static enum err_code add_breaker(struct sampler_params *p, const char *value, struct err *e)
{
    if (strcmp(value, "none") == 0) {
        p->n_dry_breakers = 0;
        return ERR_OK;
    }
    size_t n = strlen(value);
    if (n < 1 || n >= SAMPLER_BREAKER_BYTES)
        return err_set(e, ERR_FORMAT, "dry-sequence-breaker: %zu bytes, 1 to %d wanted", n,
                       SAMPLER_BREAKER_BYTES - 1);
    if (p->n_dry_breakers == SAMPLER_MAX_BREAKERS)
        return err_set(e, ERR_FORMAT, "dry-sequence-breaker: more than %d entries", SAMPLER_MAX_BREAKERS);
    memcpy(p->dry_breakers[p->n_dry_breakers++], value, n + 1);
    return ERR_OK;
}

static enum err_code set_u64(struct sampler_params *p, const struct sampler_field *f, const char *value,
                             struct err *e)
{
    char *end;
    errno = 0;
    unsigned long long number = strtoull(value, &end, 10);
    if (value[0] < '0' || value[0] > '9' || *end || errno)    /* strtoull would take " -1" */
        return err_set(e, ERR_FORMAT, "%s: '%s' is not a whole number from 0 to 18446744073709551615",
                       f->name, value);
    uint64_t whole = number;
    memcpy((char *)p + f->offset, &whole, sizeof whole);
    return ERR_OK;
}

enum err_code sampler_params_set(struct sampler_params *p, const char *name, const char *value,
                                 struct err *e)
{
    if (strcmp(name, "logit-bias") == 0)
        return add_bias(p, value, e);
    if (strcmp(name, "dry-sequence-breaker") == 0)
        return add_breaker(p, value, e);
    const struct sampler_field *f = fields;
    while (f < fields + N_FIELDS && strcmp(f->name, name) != 0)
        f++;
    if (f == fields + N_FIELDS)
        return err_set(e, ERR_FORMAT, "'%s' is no sampling setting", name);
    if (f->kind == SAMPLER_U64)
        return set_u64(p, f, value, e);

    char *end;
    double number = strtod(value, &end);
    if (end == value || *end)
        return err_set(e, ERR_FORMAT, "%s: '%s' is not a number", name, value);
    enum err_code rc = check_range(f, number, e);
    if (rc != ERR_OK)
        return rc;
    char *at = (char *)p + f->offset;
    if (f->kind == SAMPLER_F32) {
        float narrow = (float)number;
        memcpy(at, &narrow, sizeof narrow);
        return ERR_OK;
    }
    int32_t whole = (int32_t)number;
    if (whole != number)
        return err_set(e, ERR_FORMAT, "%s: '%s' is not a whole number", name, value);
    if (strcmp(name, "mirostat") == 0 && check_mirostat(whole, e) != ERR_OK)
        return ERR_FORMAT;
    memcpy(at, &whole, sizeof whole);
    return ERR_OK;
}
