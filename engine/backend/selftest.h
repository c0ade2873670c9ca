/* SPDX-License-Identifier: MIT */
#ifndef QUIP_ENGINE_BACKEND_SELFTEST_H
#define QUIP_ENGINE_BACKEND_SELFTEST_H

#include "engine/backend/backend.h"
#include "engine/base/buf.h"

/* Whether a device computes what the processor computes. Every driver compiles shaders in its own way, some compile
 * some of them wrong, and a wrong product is fluent nonsense that nothing else would notice. So a piece of the real
 * program, the embedding, a few layers and the beginning of the head, is evaluated on both, and the logits compared. Of a
 * program that is split (split.h) the device has the layers from n_first on: without an embedding then, they begin with
 * noise. */

struct selftest_result {
    double nmse;     /* of the row that is worst: squares of the differences, by those of the right logits; infinite
                      * when something is no number, the best logits are not the best, or a row ahead differs */
    double limit;    /* of what is right */
    int32_t n_rows, n_layers;
};

static inline bool selftest_passed(const struct selftest_result *r)
{
    return r->nmse <= r->limit;
}

/* Appends what is tested of a program, as text: programs with the same text need one test. */
bool selftest_kinds(const struct program *p, int32_t n_first, struct buf *out);

/* Runs the test; some 0.1 s of the processor's time for each 100 million weights of the layers taken.
 *
 * device   that is to have the layers from n_first on, and the head
 * exact    the reference, which computes in the host's memory
 * Errors   ERR_NOMEM, ERR_UNSUPPORTED, ERR_DEVICE: there is no result; what fails is said without the limit */
enum err_code selftest_run(struct backend *device, struct backend *exact, const struct program *p, int32_t n_first,
                           struct selftest_result *out, struct err *e);

/* How long the piece takes for a TURN of a chat, 256 tokens of prompt and 256 of answer, in ms: to be compared between
 * backends.
 * Errors: as selftest_run() */
enum err_code selftest_time(struct backend *b, const struct program *p, int32_t n_first, double *turn_ms,
                            struct err *e);

#endif
