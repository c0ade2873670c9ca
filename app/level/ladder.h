/* SPDX-License-Identifier: MIT */
#ifndef QUIP_APP_LEVEL_LADDER_H
#define QUIP_APP_LEVEL_LADDER_H

#include "app/config/paths.h"
#include "app/level/figures.h"
#include "app/level/roofline.h"
#include "engine/engine_fit.h"
#include "engine/engine_origin.h"

/* The ladder of a model: the levels it can have here, best first. Files of the same origin (engine_origin.h) that lie in
 * the model folder or beside the given file, and what can be made of the best of them.
 *
 *       ladder_open     looks at the files, plans what could be made; tenths of a second, most of it for reading heads
 *       ladder_price    memory, speed and quality of each row for a context, types and what computes now; milliseconds,
 *                       again whenever one of these has changed
 *
 * Figures are marked: measured ones are of this file on this machine, estimated ones are rough (roofline.h, quality.h).
 *
 * Thread  the engine's, for the pricing; nothing here is slow because of weights
 * Text    names of files and models are not safe for a terminal */

enum { LADDER_MAX_ROWS = 64, LADDER_MAX_STRAYS = 64, LADDER_LEVEL_BYTES = 24, LADDER_TEXT_BYTES = 256 };

enum ladder_state {
    LADDER_HERE,       /* a file */
    LADDER_MAKE,       /* none, but it can be made from the source */
    LADDER_DAMAGED     /* a file named like these that cannot be read, or a level that cannot be run: see problem */
};

enum ladder_kind { LADDER_UNKNOWN, LADDER_ESTIMATED, LADDER_MEASURED };

struct ladder_row {
    enum ladder_state state;
    char level[LADDER_LEVEL_BYTES];
    char path[PATHS_BYTES];              /* MAKE: where it would go; "": no place for it */
    char problem[LADDER_TEXT_BYTES];     /* "": none */
    char warning[LADDER_TEXT_BYTES];     /* MAKE: what is lost beforehand; "" */
    bool is_given;                       /* the file that was asked about */
    bool is_best;                        /* others are compared with it and made from it */
    uint64_t file_bytes, tensor_bytes;
    double bits;                         /* per weight */
    struct figures_file id;              /* HERE: for figures_add_...() */

    /* From ladder_price(): */
    struct fit fit;                      /* meaningful where fits_known */
    bool fits_known;
    enum ladder_kind speed;
    double tokens_per_s;                 /* after few tokens; measured: after as many as were measured after */
    uint64_t token_bytes;                /* read for a token then */
    enum ladder_kind quality;            /* of the best UNKNOWN: it is what others are measured against */
    double kl;                           /* mean KL divergence from the best */
    double kl_error, same_top;           /* measured: half of the 95 % interval, 0 to 1; 0: not known */

    double kl_estimate;                  /* from weights that were never quantised; -1: not known */
    struct model *model;                 /* HERE: open for inspecting */
    struct fit_shape *shape;
};

/* A file that was looked at and has no row. */
struct ladder_stray {
    char path[PATHS_BYTES];
    char why[LADDER_TEXT_BYTES];
};

struct ladder {
    char name[LADDER_TEXT_BYTES];        /* of the model */
    struct ladder_row *rows;             /* [LADDER_MAX_ROWS] */
    int32_t n_rows;
    int32_t given, best;                 /* rows */
    bool best_is_quantised;
    int32_t n_other;                     /* files looked at that are other models */
    struct ladder_stray *strays;         /* damaged ones whose name is no level of this model; [LADDER_MAX_STRAYS] */
    int32_t n_strays;
    struct figures figures;              /* as ladder_open() or ladder_read_figures() found them */
    char figures_path[PATHS_BYTES];
};

/* Looks at the given file, at all others in its folder, and at those in the model folder (models "": none).
 * Errors   those of opening the given file; ERR_NOMEM. Other files cause none */
enum err_code ladder_open(struct ladder **out, const char *path, const char *models, const char *figures_path,
                          struct err *e);
void ladder_close(struct ladder *l);     /* takes NULL */
/* Measured figures anew, after some were added. */
void ladder_read_figures(struct ladder *l);

/* eng: what computes; where roof is not known, speeds are not estimated. n_held: tokens before the one that a speed is
 * about; 0: a few.
 * Errors   those of fit_price() for the wish itself: types, context; then no row is priced */
enum err_code ladder_price(struct ladder *l, const struct engine *eng, const struct fit_want *want,
                           const struct roofline *roof, int32_t n_held, struct err *e);

/* What would fit where a row does not: up to n texts in out, the most useful first ("level Q4_K_M, which is here, takes
 * 1.2 GB"). After ladder_price(), with the same wish. Returns how many. */
enum { LADDER_ADVICE = 4 };
int32_t ladder_advise(const struct ladder *l, int32_t row, const struct engine *eng, const struct fit_want *want,
                      char out[LADDER_ADVICE][LADDER_TEXT_BYTES]);
/* The longest context, in whole pages of 64 tokens, that fits with these types; 0: none does. */
int32_t ladder_longest(const struct ladder_row *row, const struct engine *eng, const struct fit_want *want);

/* "1.24 GB": as listings have it. */
void ladder_size(uint64_t n_bytes, char out[32]);

#endif
