/* SPDX-License-Identifier: MIT */
#include "app/chat/sampling.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Spellings beside the field's own name. */
static const struct {
    const char *field, *spellings;
} aliases[] = {
    { "seed", "-s" },
    { "temp", "--temperature" },
    { "dynatemp-exp", "--dynatemp-exponent" },
    { "typical", "--typical-p" },
    { "top-nsigma", "--top-n-sigma" },
};

static const char *alias_of(const char *field)
{
    for (size_t i = 0; i < sizeof aliases / sizeof aliases[0]; i++)
        if (strcmp(aliases[i].field, field) == 0)
            return aliases[i].spellings;
    return NULL;
}

static double value_of(const struct sampler_params *p, const struct sampler_field *f)
{
    const void *at = (const char *)p + f->offset;
    switch (f->kind) {
    case SAMPLER_F32:
        return (double)*(const float *)at;
    case SAMPLER_I32:
        return (double)*(const int32_t *)at;
    case SAMPLER_U64:
        return (double)*(const uint64_t *)at;
    }
    return 0;
}

void sampling_text(const struct sampler_params *p, const struct sampler_field *field,
                   char out[SAMPLING_PRESET_BYTES])
{
    if (field->kind == SAMPLER_U64)
        snprintf(out, SAMPLING_PRESET_BYTES, "%llu",
                 (unsigned long long)*(const uint64_t *)(const void *)((const char *)p + field->offset));
    else
        snprintf(out, SAMPLING_PRESET_BYTES, "%g", value_of(p, field));
}

void sampling_add_options(struct option_set *set, struct sampling_options *texts)
{
    const uint32_t commands = 1u << COMMAND_CHAT | 1u << COMMAND_RUN;
    struct sampler_params preset;
    sampler_params_default(&preset);
    const struct sampler_field *f;
    for (int32_t i = 0; (f = sampler_field(i)); i++) {
        assert(i < SAMPLING_MAX_FIELDS);
        const char *alias = alias_of(f->name);
        if (alias && alias[1] != '-')    /* short spellings stand first */
            snprintf(texts->names[i], SAMPLING_NAMES_BYTES, "%s --%s", alias, f->name);
        else
            snprintf(texts->names[i], SAMPLING_NAMES_BYTES, "--%s%s%s", f->name, alias ? " " : "",
                     alias ? alias : "");
        sampling_text(&preset, f, texts->presets[i]);
        option_set_add(set, &(struct option){
            .names = texts->names[i], .kind = OPTION_SETTING, .value = "N", .commands = commands,
            .help = f->help, .setting = f->name, .preset = texts->presets[i], .min = f->min, .max = f->max,
            .whole = f->kind != SAMPLER_F32 });
    }
    option_set_add(set, &(struct option){
        .names = "-l --logit-bias", .kind = OPTION_BIAS, .value = "ID(+/-)BIAS", .commands = commands,
        .help = "make token ID likelier or rarer: 15043+1; ID-inf forbids it; may be given several times" });
    option_set_add(set, &(struct option){
        .names = "--dry-sequence-breaker", .kind = OPTION_BREAKER, .value = "TEXT", .commands = commands,
        .help = "text at which DRY stops matching; replaces the usual ones; may be given several times" });
}

const struct sampler_field *sampling_field(const char *name)
{
    char word[64];
    while (*name == '-')
        name++;
    snprintf(word, sizeof word, "%s", name);
    for (char *p = word; *p; p++)
        if (*p == '_')
            *p = '-';
    const struct sampler_field *f;
    for (int32_t i = 0; (f = sampler_field(i)); i++) {
        const char *alias = alias_of(f->name);
        if (strcmp(f->name, word) == 0 || (alias && strcmp(alias + strspn(alias, "-"), word) == 0))
            return f;
    }
    return NULL;
}

enum err_code sampling_set(struct sampler_params *p, const char *name, const char *value, struct err *e)
{
    const struct sampler_field *f = sampling_field(name);
    if (f)
        return sampler_params_set(p, f->name, value, e);
    int best = 3;
    const char *near = NULL;
    for (int32_t i = 0; (f = sampler_field(i)); i++) {
        int distance = option_distance(name, f->name);
        if (distance < best) {
            best = distance;
            near = f->name;
        }
    }
    if (near)
        return err_set(e, ERR_FORMAT, "no sampling setting '%s'; did you mean '%s'?", name, near);
    return err_set(e, ERR_FORMAT, "no sampling setting '%s'", name);
}

/* "ID+VALUE" or "ID-VALUE". */
static enum err_code add_bias(struct sampler_params *p, const char *text, struct err *e)
{
    char *end;
    errno = 0;
    long id = strtol(text, &end, 10);
    bool ok = end != text && !errno && id >= 0 && id <= INT32_MAX && (*end == '+' || *end == '-');
    char *rest = end;
    double bias = ok ? strtod(end, &rest) : 0;
    if (!ok || rest == end || *rest || isnan(bias))
        return err_set(e, ERR_FORMAT, "--logit-bias: '%s' found, a token's id with +VALUE or -VALUE wanted", text);
    if (p->n_bias == SAMPLER_MAX_BIAS)
        return err_set(e, ERR_FORMAT, "--logit-bias: more than %d", SAMPLER_MAX_BIAS);
    p->bias[p->n_bias++] = (struct sampler_bias){ (int32_t)id, (float)bias };
    return ERR_OK;
}

static enum err_code add_breaker(struct sampler_params *p, const char *text, struct err *e)
{
    if (p->n_dry_breakers == SAMPLER_MAX_BREAKERS || strlen(text) >= SAMPLER_BREAKER_BYTES)
        return err_set(e, ERR_FORMAT, "--dry-sequence-breaker: at most %d of up to %d bytes", SAMPLER_MAX_BREAKERS,
                       SAMPLER_BREAKER_BYTES - 1);
    snprintf(p->dry_breakers[p->n_dry_breakers++], SAMPLER_BREAKER_BYTES, "%s", text);
    return ERR_OK;
}

enum err_code sampling_apply(struct sampler_params *p, const struct config *c, struct err *e)
{
    enum err_code rc = ERR_OK;
    for (int32_t i = 0; rc == ERR_OK && i < c->n_settings; i++)
        rc = sampling_set(p, c->settings[i].name, c->settings[i].value, e);
    for (int32_t i = 0; rc == ERR_OK && i < c->n_bias; i++)
        rc = add_bias(p, c->bias[i], e);
    if (c->n_dry_breakers > 0)
        p->n_dry_breakers = 0;
    for (int32_t i = 0; rc == ERR_OK && i < c->n_dry_breakers; i++)
        rc = add_breaker(p, c->dry_breakers[i], e);
    return rc;
}
