/* SPDX-License-Identifier: MIT */
#ifndef QUIP_APP_CONFIG_OPTION_H
#define QUIP_APP_CONFIG_OPTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "engine/base/err.h"

/* The command line: a table of commands, a table of options, and what a parse of them leaves.
 *
 * Options follow llama.cpp's names where they mean the same. A spelling may mean different things to
 * different commands (-p is a prompt for `run` and a count for `bench`): then it has a row for each, and
 * the rows' command masks do not meet. Rows for sampling are added by whoever knows the sampler. */

enum command {
    COMMAND_CHAT,    /* no command given: the full-screen chat */
    COMMAND_RUN,
    COMMAND_MODELS,
    COMMAND_PULL,
    COMMAND_INSPECT,
    COMMAND_TOKENIZE,
    COMMAND_TEMPLATE,
    COMMAND_LOGITS,
    COMMAND_PERPLEXITY,
    COMMAND_BENCH,
    COMMAND_IMATRIX,
    COMMAND_QUANTIZE,
    COMMAND_EVAL,
    COMMAND_LEVELS,
    COMMAND_FIT,
    COMMAND_CACHE,
    COMMAND_DOCTOR,
    COMMAND_COUNT
};

struct command_row {
    const char *name;        /* "" for the chat */
    const char *synopsis;    /* what may follow the name */
    const char *help;        /* one line */
    const char *text;        /* a paragraph for `quip NAME --help`, or "" */
    int32_t n_args_min, n_args_max;    /* arguments that are no options */
    const char *arg_name;    /* of these arguments */
};

const struct command_row *command_row(enum command c);

enum think_mode {
    THINK_FOLD,    /* the model may think; the screen shows that it does, not what */
    THINK_ON,      /* thoughts are shown */
    THINK_OFF      /* the template is told that no thinking is wanted */
};

enum { CONFIG_MAX_SETTINGS = 64, CONFIG_MAX_LIST = 8, CONFIG_MAX_ARGS = 4, CONFIG_MAX_BIAS = 64 };

struct config_setting {
    const char *name;     /* of the sampler's field */
    const char *value;
};

enum { CONFIG_MAX_TEXTS = 64 };

struct config_texts {
    int32_t n;
    const char *values[CONFIG_MAX_TEXTS];
};

struct config_list {
    int32_t n;
    int32_t values[CONFIG_MAX_LIST];
};

/* Tokens of an answer when -n says nothing: a small model can repeat itself for ever. This ends it in
 * seconds, and well before the context is full, so that a chat can go on. */
#define OPTION_PREDICT 2048

/* SPEC_MOST of engine.h, which is not for this folder; drafts.c holds the two together. */
#define OPTION_SPEC_MOST 31

/* Everything the command line says. Texts belong to argv. Numbers not given have the table's default. */
struct config {
    enum command command;
    bool help, version;
    const char *args[CONFIG_MAX_ARGS];
    int32_t n_args;

    const char *model, *cpu_tier, *device, *kv_type_k, *kv_type_v;
    const char *vulkan_loader;
    bool vulkan_validate;
    int32_t n_ctx, n_threads, n_predict;
    int32_t n_gpu_layers;      /* -1: as many as fit */
    int32_t cache_ram_mib, cache_disk_mib;    /* prefixes kept in memory, in files; 0: none */
    bool keep_kv_type;
    const char *prompt, *file, *system, *system_file;
    bool json, raw, ignore_end, line_mode, no_warmup;
    int32_t think;            /* enum think_mode */
    int32_t spec;             /* as in struct generate_options */
    struct config_texts spec_files;    /* drafts are taken from these too, */
    bool spec_chats;          /* and from closed chats */

    bool show_ids, no_bos, special;
    const char *template_file;
    const char *ids_file, *output;
    int32_t n_chunks;
    int32_t held;             /* tokens before the one whose speed is wanted; 0: a few */
    const char *save_logits, *kl_base, *kl_model, *versus;
    int32_t eval_limit, eval_seed, eval_seconds, n_shots;
    const char *eval_save;
    struct config_list bench_prompt, bench_predict, bench_depth, bench_threads;
    bool bench_memory, bench_passes;
    int32_t bench_repeat;
    int32_t bench_format;     /* 0 md, 1 json */
    struct config_texts in_files;        /* of imatrix: matrices to be added */
    bool process_output, show_statistics;
    int32_t imatrix_format;   /* enum imatrix_format */
    int32_t first_chunk, save_every;     /* chunks left out before; chunks between two savings, 0: only at the end */
    const char *output_type, *embedding_type, *imatrix, *target_size, *target_bpw;    /* of quantize */
    struct config_texts tensor_types;            /* "PATTERN=TYPE" */
    bool pure, dry_run, allow_requantize, force;

    /* Sampling, in the order given; applied over the model's own defaults. */
    struct config_setting settings[CONFIG_MAX_SETTINGS];
    int32_t n_settings;
    const char *bias[CONFIG_MAX_BIAS];    /* "ID+VALUE" or "ID-VALUE" */
    int32_t n_bias;
    const char *dry_breakers[16];
    int32_t n_dry_breakers;
};

enum option_kind {
    OPTION_FLAG,       /* bool at offset becomes true */
    OPTION_TEXT,       /* const char * */
    OPTION_INT,        /* int32_t within min..max, or one of choices: the first is 0, the next -1 ... */
    OPTION_CHOICE,     /* int32_t: index into choices */
    OPTION_CHOICE_TEXT,/* const char *: one of choices */
    OPTION_LIST,       /* struct config_list: numbers separated by commas */
    OPTION_TEXTS,      /* appended to a struct config_texts */
    OPTION_SETTING,    /* appended to settings */
    OPTION_BIAS,       /* appended to bias */
    OPTION_BREAKER     /* appended to dry_breakers */
};

struct option {
    const char *names;       /* "-c --ctx-size": all spellings, a space between */
    enum option_kind kind;
    size_t offset;           /* in struct config */
    const char *value;       /* what stands for the value in the help: "N", "FILE"; NULL for a flag */
    const char *choices;     /* "md json", for the choices; words beside the numbers of OPTION_INT */
    double min, max;         /* for numbers and settings; equal: no limit */
    const char *preset;      /* the default as text, parsed like a value; NULL: zero */
    uint32_t commands;       /* bit 1 << command */
    const char *help;        /* one line */
    const char *setting;     /* name of the sampler's field */
    bool whole;              /* a setting that is a whole number */
};

enum { OPTION_SET_MAX = 160 };

struct option_set {
    struct option rows[OPTION_SET_MAX];
    int32_t n;
};

/* The program's own rows. */
void option_set_init(struct option_set *set);
/* One more; a bug if it does not fit. */
void option_set_add(struct option_set *set, const struct option *row);

/* Fills out from argv (argv[0] is the program).
 * Errors   ERR_FORMAT naming the option, the value found and what was wanted; for an unknown spelling
 *          the nearest one there is */
enum err_code option_parse(const struct option_set *set, int argc, char **argv, struct config *out,
                           struct err *e);

/* Prints help for one command (COMMAND_CHAT: for the program) within n_columns. */
void option_print_help(const struct option_set *set, enum command c, int n_columns, FILE *out);

/* The row of this spelling for this command, or NULL. */
const struct option *option_find(const struct option_set *set, enum command c, const char *name,
                                 size_t n_bytes);
/* How many edits (insert, delete, replace, swap of neighbours) lie between two words; for suggestions
 * everywhere. */
int option_distance(const char *a, const char *b);

#endif
