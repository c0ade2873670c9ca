/* SPDX-License-Identifier: MIT */
#ifndef QUIP_APP_LEVEL_FIGURES_H
#define QUIP_APP_LEVEL_FIGURES_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/engine_fit.h"
#include "engine/engine_origin.h"

/* What was measured of files on this machine, kept in one small file of JSON: speeds, quality against another level, and
 * how fast the machine's memory is read.
 *
 * A figure belongs to a file by its content and size, so it is found wherever the file lies, and no more when the file
 * has changed; and to a place: processor or device, threads, layers, as one line of text (figures_place). What is read is
 * untrusted: figures out of range are left out, and a file that is no such file is an empty one. Each change is read,
 * made and put in place whole; of two programs that change it at once one figure may be lost, never the file. */
enum { FIGURES_MAX = 256, FIGURES_TEXT_BYTES = 128, FIGURES_TYPES_BYTES = 24 };

struct figures_file {
    uint8_t content[ORIGIN_KEY_BYTES];
    uint64_t n_bytes;
    char name[FIGURES_TEXT_BYTES];     /* the file's, without folder and .gguf: for the list */
};

struct figures_speed {
    struct figures_file file;
    char place[FIGURES_TEXT_BYTES];
    char kv_types[FIGURES_TYPES_BYTES];    /* "f16", "q8_0/kv4" */
    int32_t n_held;                    /* tokens before */
    double tokens_per_s;
    int64_t time_s;                    /* since 1970 */
};

struct figures_quality {
    struct figures_file file;
    uint8_t base[ORIGIN_KEY_BYTES];    /* content of the file it was measured against */
    char base_level[24];
    double kl, kl_error;               /* mean KL divergence, and the half of its 95 % interval; 0: not known */
    double same_top;                   /* 0 to 1 */
    int32_t n_tokens;                  /* scored */
    int64_t time_s;
};

struct figures_bandwidth {
    char place[FIGURES_TEXT_BYTES];
    double bytes_per_s;
    int64_t time_s;
};

struct figures {
    struct figures_speed speeds[FIGURES_MAX];
    struct figures_quality qualities[FIGURES_MAX];
    struct figures_bandwidth bandwidths[FIGURES_MAX];
    int32_t n_speeds, n_qualities, n_bandwidths;
    uint64_t file_bytes;               /* 0: there is no file */
    bool damaged;                      /* there is one, and it is none of these */
};

/* What figures of a model's file are known by. False: the file was cut, or there is no memory. */
bool figures_file_of(const struct model *m, struct figures_file *out);
/* "f16", or "q8_0/kv4" for keys and values apart. */
void figures_kv_types(const char *k, const char *v, char out[FIGURES_TYPES_BYTES]);

/* out is large: not for the stack. path "": there is no place for such a file, and none is read. */
void figures_read(struct figures *out, const char *path);

/* Replaces the figure of the same file and place (kv types, base), or adds one; the oldest goes where there are too many.
 * False: it could not be kept. */
bool figures_add_speed(const char *path, const struct figures_speed *s);
bool figures_add_quality(const char *path, const struct figures_quality *q);
bool figures_add_bandwidth(const char *path, const struct figures_bandwidth *b);
/* Removes all, or those of files with this name, whatever the case of letters. Tells how many.
 * Errors: ERR_IO */
enum err_code figures_clear(const char *path, const char *name, int32_t *n, struct err *e);

/* NULL: none is known. */
const struct figures_speed *figures_find_speed(const struct figures *f, const uint8_t content[ORIGIN_KEY_BYTES],
                                               uint64_t n_bytes, const char *place, const char *kv_types);
/* Against that base; base NULL: the newest against any. */
const struct figures_quality *figures_find_quality(const struct figures *f, const uint8_t content[ORIGIN_KEY_BYTES],
                                                   uint64_t n_bytes, const uint8_t *base);
const struct figures_bandwidth *figures_find_bandwidth(const struct figures *f, const char *place);

/* What computes a model of n_layers of which the device has n_device_layers; 0 of 0: the processor alone. */
void figures_place(const struct engine_info *info, int32_t n_layers, int32_t n_device_layers,
                   char out[FIGURES_TEXT_BYTES]);
/* The memory's measured speed with these threads: from the file when it is known there, else, or when again is asked for,
 * measured. What other programs take of the memory meanwhile is missing, so of several measurements the highest is kept.
 * 0: it could not be measured. */
double figures_memory_bandwidth(const char *path, struct engine *eng, bool again);

#endif
