/* SPDX-License-Identifier: MIT */
#include "engine/kv/kv_file.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "engine/base/size.h"

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "files are read and written as they lie in memory");
static_assert(sizeof(struct kv_file_head) == 368, "no gaps in what is stored");
static_assert(sizeof(struct kv_file_note) == 16 && sizeof(struct kv_file_layer) == 20 &&
              sizeof(struct kv_file_piece) == 16, "no gaps in what is stored");

enum {
    NOTE_AT = sizeof(struct kv_file_head),
    REST_AT = NOTE_AT + sizeof(struct kv_file_note),
    MAX_HEADS = 1 << 14,
    MAX_HEAD_SIZE = 1 << 14,
    SCRATCH_BYTES = 1 << 20,
    NAME_CHARS = 16 + 1 + 32 + 3,    /* hash of the key, '-', hash of the tokens, ".kv" */
};

static const char magic[] = "quipkv\r\n";

/* ---- names and checksums ---------------------------------------------------------------------------- */

uint64_t kv_file_name(char out[KV_STORE_NAME_BYTES], const uint8_t key[KV_STORE_KEY_BYTES], const int32_t *tokens,
                      int32_t n_tokens)
{
    uint64_t whose = XXH3_64bits(key, KV_STORE_KEY_BYTES);
    XXH128_hash_t what = XXH3_128bits_withSeed(tokens, (size_t)n_tokens * sizeof *tokens, whose);
    snprintf(out, KV_STORE_NAME_BYTES, "%016" PRIx64 "-%016" PRIx64 "%016" PRIx64 ".kv", whose, (uint64_t)what.high64,
             (uint64_t)what.low64);
    return what.low64;
}

bool kv_file_is_name(const char *name, const uint8_t *key)
{
    if (strlen(name) != NAME_CHARS || name[16] != '-' || strcmp(name + NAME_CHARS - 3, ".kv") != 0 ||
        strspn(name, "0123456789abcdef") != 16 || strspn(name + 17, "0123456789abcdef") != 32)
        return false;
    char whose[17];
    if (key)
        snprintf(whose, sizeof whose, "%016" PRIx64, (uint64_t)XXH3_64bits(key, KV_STORE_KEY_BYTES));
    return !key || memcmp(name, whose, 16) == 0;
}

static uint64_t head_checksum(const struct kv_file_head *head, const uint8_t *rest, size_t n_rest)
{
    struct kv_file_head plain = *head;
    plain.checksum = 0;
    return XXH3_64bits_withSeed(rest, n_rest, XXH3_64bits(&plain, sizeof plain));
}

uint64_t kv_file_checksum(const void *bytes, size_t n_bytes)
{
    struct kv_file_head head;
    assert(n_bytes >= REST_AT);
    memcpy(&head, bytes, sizeof head);
    return head_checksum(&head, (const uint8_t *)bytes + REST_AT, n_bytes - REST_AT);
}

/* ---- bytes ------------------------------------------------------------------------------------------ */

static enum err_code read_all(int fd, void *into, uint64_t n_bytes, uint64_t at, struct err *e)
{
    uint8_t *p = into;
    while (n_bytes > 0) {
        ssize_t n = pread(fd, p, n_bytes < SSIZE_MAX ? n_bytes : SSIZE_MAX, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_set(e, ERR_IO, "cannot be read: %s", strerror(errno));
        if (n == 0)
            return err_set(e, ERR_FORMAT, "ends at byte %" PRIu64 ", %" PRIu64 " more wanted", at, n_bytes);
        p += n;
        at += (uint64_t)n;
        n_bytes -= (uint64_t)n;
    }
    return ERR_OK;
}

static enum err_code write_all(int fd, const void *from, uint64_t n_bytes, uint64_t at, struct err *e)
{
    const uint8_t *p = from;
    while (n_bytes > 0) {
        ssize_t n = pwrite(fd, p, n_bytes < SSIZE_MAX ? n_bytes : SSIZE_MAX, (off_t)at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return err_set(e, ERR_IO, "%s", strerror(n ? errno : ENOSPC));
        p += n;
        at += (uint64_t)n;
        n_bytes -= (uint64_t)n;
    }
    return ERR_OK;
}

/* ---- reading ---------------------------------------------------------------------------------------- */

/* Bytes between the note and the pieces. The counts are within their limits, so nothing overflows. */
static uint64_t rest_bytes(uint64_t n_layers, uint64_t n_tokens, uint64_t n_pieces)
{
    return n_layers * sizeof(struct kv_file_layer) + n_tokens * sizeof(int32_t) +
           n_pieces * sizeof(struct kv_file_piece);
}

static bool text_ends(const char text[KV_STORE_TEXT_BYTES])
{
    return memchr(text, '\0', KV_STORE_TEXT_BYTES) != NULL;
}

/* What can be said before anything else of the file is read. */
static enum err_code check_counts(const struct kv_file_head *h, uint64_t n_bytes, struct err *e)
{
    if (memcmp(h->magic, magic, sizeof h->magic) != 0)
        return err_set(e, ERR_UNSUPPORTED, "not a file of cached keys and values");
    if (h->version != KV_FILE_VERSION || h->page_tokens != KV_PAGE)
        return err_set(e, ERR_UNSUPPORTED, "format %u with pages of %u tokens, this program reads format %d with %d",
                       h->version, h->page_tokens, KV_FILE_VERSION, KV_PAGE);
    if (h->file_bytes != n_bytes)
        return err_set(e, ERR_FORMAT, "%" PRIu64 " bytes, its head says %" PRIu64, n_bytes, h->file_bytes);
    if (h->n_tokens < 1 || h->n_tokens > KV_FILE_MAX_TOKENS || h->n_layers < 1 || h->n_layers > KV_FILE_MAX_LAYERS ||
        h->n_pieces > KV_FILE_MAX_PIECES)
        return err_set(e, ERR_FORMAT, "%u tokens, %u layers, %u pieces: at least 1 and at most %d, %d, %d allowed",
                       h->n_tokens, h->n_layers, h->n_pieces, KV_FILE_MAX_TOKENS, KV_FILE_MAX_LAYERS,
                       KV_FILE_MAX_PIECES);
    uint64_t wanted = REST_AT + rest_bytes(h->n_layers, h->n_tokens, h->n_pieces);
    if (h->head_bytes != wanted || wanted > n_bytes)
        return err_set(e, ERR_FORMAT, "a head of %" PRIu64 " bytes in a file of %" PRIu64 ", its counts make %" PRIu64,
                       h->head_bytes, n_bytes, wanted);
    return ERR_OK;
}

static enum err_code check_content(const struct kv_file *f, struct err *e)
{
    const struct kv_file_head *h = &f->head;
    if (h->checksum != head_checksum(h, f->rest, h->head_bytes - REST_AT))
        return err_set(e, ERR_FORMAT, "the head's checksum is wrong");
    if (!text_ends(h->model) || !text_ends(h->file) || !text_ends(h->level) || h->zero != 0)
        return err_set(e, ERR_FORMAT, "a text without an end");
    for (uint32_t i = 0; i < h->n_layers; i++) {
        const struct kv_file_layer *l = &f->layers[i];
        if (l->type_k >= KV_N_TYPES || l->type_v >= KV_N_TYPES || l->n_head < 1 || l->n_head > MAX_HEADS ||
            l->d_head < 1 || l->d_head > MAX_HEAD_SIZE || l->window > INT32_MAX)
            return err_set(e, ERR_FORMAT, "layer %u: types %u and %u, %u heads of %u", i, l->type_k, l->type_v,
                           l->n_head, l->d_head);
    }
    for (uint32_t i = 0; i < h->n_tokens; i++)
        if (f->tokens[i] < 0)
            return err_set(e, ERR_FORMAT, "token %u is %d", i, f->tokens[i]);
    uint64_t end = h->head_bytes;
    for (uint32_t i = 0; i < h->n_pieces; i++)
        if (!size_add(end, f->pieces[i].n_bytes, &end) || end > h->file_bytes)
            return err_set(e, ERR_FORMAT, "piece %u ends beyond the file", i);
    if (end != h->file_bytes)
        return err_set(e, ERR_FORMAT, "%" PRIu64 " bytes after the last piece", h->file_bytes - end);
    return ERR_OK;
}

enum err_code kv_file_read_head(struct kv_file *f, int fd, struct err *e)
{
    struct {
        struct kv_file_head head;
        struct kv_file_note note;
    } begin;
    struct stat st;
    memset(f, 0, sizeof *f);
    if (fstat(fd, &st) != 0)
        return err_set(e, ERR_IO, "cannot be read: %s", strerror(errno));
    if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size < sizeof begin)
        return err_set(e, ERR_FORMAT, "%lld bytes, at least %zu wanted", (long long)st.st_size, sizeof begin);
    enum err_code rc = read_all(fd, &begin, sizeof begin, 0, e);
    if (rc == ERR_OK)
        rc = check_counts(&begin.head, (uint64_t)st.st_size, e);
    if (rc != ERR_OK)
        return rc;
    uint64_t n_rest = begin.head.head_bytes - REST_AT;    /* bounded by the file's size */
    f->head = begin.head;
    f->rest = malloc(n_rest);
    if (!f->rest)
        return err_set(e, ERR_NOMEM, "no memory for a head of %" PRIu64 " bytes", n_rest);
    size_t tokens_at = f->head.n_layers * sizeof *f->layers;
    size_t pieces_at = tokens_at + f->head.n_tokens * sizeof *f->tokens;
    struct kv_file_piece *pieces = NULL;
    rc = read_all(fd, f->rest, n_rest, REST_AT, e);
    f->layers = (const void *)f->rest;
    f->tokens = (const void *)(f->rest + tokens_at);
    if (rc == ERR_OK && f->head.n_pieces > 0 && !(pieces = calloc(f->head.n_pieces, sizeof *pieces)))
        rc = err_set(e, ERR_NOMEM, "no memory for %u pieces", f->head.n_pieces);
    if (rc == ERR_OK && pieces)    /* in memory of their own: they lie at any multiple of 4 */
        memcpy(pieces, f->rest + pieces_at, f->head.n_pieces * sizeof *pieces);
    f->pieces = pieces;
    if (rc == ERR_OK)
        rc = check_content(f, e);
    if (rc != ERR_OK) {
        kv_file_finish(f);
        return rc;
    }
    f->seed = kv_file_name(f->name, f->head.key, f->tokens, (int32_t)f->head.n_tokens);
    bool noted = begin.note.checksum == XXH3_64bits(&begin.note.load_us, sizeof begin.note.load_us);
    f->load_ms = noted ? (double)begin.note.load_us / 1e3 : -1;
    return ERR_OK;
}

void kv_file_finish(struct kv_file *f)
{
    free(f->rest);
    free((void *)f->pieces);
    memset(f, 0, sizeof *f);
}

bool kv_file_has_layers(const struct kv_file *f, const struct kv_layer *layers, int32_t n_layers)
{
    if (f->head.n_layers != (uint32_t)n_layers)
        return false;
    for (int32_t i = 0; i < n_layers; i++) {
        const struct kv_file_layer *a = &f->layers[i];
        const struct kv_layer *b = &layers[i];
        if (a->type_k != (uint32_t)b->k || a->type_v != (uint32_t)b->v || a->n_head != (uint32_t)b->n_head ||
            a->d_head != (uint32_t)b->d_head || a->window != (uint32_t)b->window)
            return false;
    }
    return true;
}

/* What reading pieces needs; scratch is where those go that are only looked at. */
struct reader {
    int fd;
    const atomic_bool *cancel;
    XXH3_state_t *hash;
    uint8_t *scratch;
};

/* Bit by bit: a slow disk is no reason to miss a cancel, and what was just read is hashed out of the cache. */
static enum err_code read_piece(const struct reader *r, uint8_t *into, uint64_t n_bytes, uint64_t at, uint64_t seed,
                                uint64_t *sum, struct err *e)
{
    XXH3_64bits_reset_withSeed(r->hash, seed);
    for (uint64_t done = 0; done < n_bytes;) {
        uint64_t n = n_bytes - done < SCRATCH_BYTES ? n_bytes - done : SCRATCH_BYTES;
        uint8_t *to = into ? into + done : r->scratch;
        if (r->cancel && atomic_load_explicit(r->cancel, memory_order_relaxed))
            return err_set(e, ERR_CANCELLED, "cancelled");
        enum err_code rc = read_all(r->fd, to, n, at + done, e);
        if (rc != ERR_OK)
            return rc;
        XXH3_64bits_update(r->hash, to, n);
        done += n;
    }
    *sum = XXH3_64bits_digest(r->hash);
    return ERR_OK;
}

static enum err_code same_sizes(const struct kv_file *f, const struct kv_piece *into, int32_t n_pieces, struct err *e)
{
    if (f->head.n_pieces != (uint32_t)n_pieces)
        return err_set(e, ERR_FORMAT, "%u pieces, %d wanted", f->head.n_pieces, n_pieces);
    for (int32_t i = 0; i < n_pieces; i++)
        if (f->pieces[i].n_bytes != into[i].n_bytes)
            return err_set(e, ERR_FORMAT, "piece %d: %" PRIu64 " bytes, %zu wanted", i, f->pieces[i].n_bytes,
                           into[i].n_bytes);
    return ERR_OK;
}

enum err_code kv_file_read_pieces(const struct kv_file *f, int fd, const struct kv_piece *into, int32_t n_pieces,
                                  const atomic_bool *cancel, struct err *e)
{
    enum err_code rc = into ? same_sizes(f, into, n_pieces, e) : ERR_OK;
    if (rc != ERR_OK)
        return rc;
    struct reader r = { .fd = fd, .cancel = cancel, .hash = XXH3_createState() };
    if (!into)
        r.scratch = malloc(SCRATCH_BYTES);
    if (!r.hash || (!into && !r.scratch))
        rc = err_set(e, ERR_NOMEM, "no memory to read it");
    uint64_t at = f->head.head_bytes;
    for (uint32_t i = 0; rc == ERR_OK && i < f->head.n_pieces; i++) {
        uint64_t sum = 0;
        rc = read_piece(&r, into ? into[i].bytes : NULL, f->pieces[i].n_bytes, at, f->seed + i, &sum, e);
        if (rc == ERR_OK && sum != f->pieces[i].checksum)
            rc = err_set(e, ERR_FORMAT, "the checksum of piece %u of %u is wrong", i + 1, f->head.n_pieces);
        at += f->pieces[i].n_bytes;
    }
    XXH3_freeState(r.hash);
    free(r.scratch);
    return rc;
}

/* ---- writing ---------------------------------------------------------------------------------------- */

static uint64_t head_bytes(const struct kv_image *image, int32_t n_layers)
{
    return REST_AT + rest_bytes((uint64_t)n_layers, (uint64_t)image->n_tokens, (uint64_t)image->n_pieces);
}

uint64_t kv_file_bytes(const struct kv_image *image, int32_t n_layers)
{
    uint64_t n = head_bytes(image, n_layers);
    for (int32_t i = 0; i < image->n_pieces; i++)
        n += image->pieces[i].n_bytes;
    return n;
}

static void set_text(char to[KV_STORE_TEXT_BYTES], const char *from)
{
    snprintf(to, KV_STORE_TEXT_BYTES, "%s", from ? from : "");
}

/* All before the pieces' bytes, their checksums still to come. Returns where in it those go. */
static size_t fill_head(uint8_t *bytes, const struct kv_store_options *o, const struct kv_image *image,
                        double compute_ms)
{
    struct kv_file_head h = {
        .version = KV_FILE_VERSION, .page_tokens = KV_PAGE, .head_bytes = head_bytes(image, o->n_layers),
        .file_bytes = kv_file_bytes(image, o->n_layers), .compute_us = compute_ms > 0 ? (uint64_t)(compute_ms * 1e3) : 0,
        .n_tokens = (uint32_t)image->n_tokens, .n_layers = (uint32_t)o->n_layers, .n_pieces = (uint32_t)image->n_pieces,
    };
    memcpy(h.magic, magic, sizeof h.magic);
    memcpy(h.key, o->key.bytes, sizeof h.key);
    set_text(h.model, o->model);
    set_text(h.file, o->file);
    set_text(h.level, o->level);
    memcpy(bytes, &h, sizeof h);
    size_t at = REST_AT;
    for (int32_t i = 0; i < o->n_layers; i++, at += sizeof(struct kv_file_layer)) {
        const struct kv_layer *l = &o->layers[i];
        struct kv_file_layer stored = { (uint32_t)l->k, (uint32_t)l->v, (uint32_t)l->n_head, (uint32_t)l->d_head,
                                        (uint32_t)l->window };
        memcpy(bytes + at, &stored, sizeof stored);
    }
    memcpy(bytes + at, image->tokens, (size_t)image->n_tokens * sizeof *image->tokens);
    return at + (size_t)image->n_tokens * sizeof *image->tokens;
}

enum err_code kv_file_write(int fd, const struct kv_store_options *o, const struct kv_image *image,
                            double compute_ms, struct err *e)
{
    size_t n_head = head_bytes(image, o->n_layers);
    uint8_t *head = calloc(1, n_head);
    if (!head)
        return err_set(e, ERR_NOMEM, "no memory for a head of %zu bytes", n_head);
    char name[KV_STORE_NAME_BYTES];
    uint64_t seed = kv_file_name(name, o->key.bytes, image->tokens, image->n_tokens), end = n_head;
    size_t at = fill_head(head, o, image, compute_ms);
    enum err_code rc = ERR_OK;
    /* A full disk is better noticed now; a file system that cannot say is asked by writing. */
    if (fallocate(fd, 0, 0, (off_t)kv_file_bytes(image, o->n_layers)) != 0 && errno != EOPNOTSUPP && errno != ENOSYS &&
        errno != EINTR)
        rc = err_set(e, ERR_IO, "%s", strerror(errno));
    for (int32_t i = 0; rc == ERR_OK && i < image->n_pieces; i++, at += sizeof(struct kv_file_piece)) {
        const struct kv_piece *p = &image->pieces[i];
        struct kv_file_piece stored = { p->n_bytes, XXH3_64bits_withSeed(p->bytes, p->n_bytes, seed + (uint32_t)i) };
        memcpy(head + at, &stored, sizeof stored);
        rc = write_all(fd, p->bytes, p->n_bytes, end, e);
        end += p->n_bytes;
    }
    if (rc == ERR_OK) {
        uint64_t checksum = kv_file_checksum(head, n_head);
        memcpy(head + offsetof(struct kv_file_head, checksum), &checksum, sizeof checksum);
        rc = write_all(fd, head, n_head, 0, e);
    }
    free(head);
    return rc;
}

bool kv_file_write_note(int fd, double load_ms)
{
    struct kv_file_note note = { .load_us = load_ms > 0 ? (uint64_t)(load_ms * 1e3) : 0 };
    struct err e;
    note.checksum = XXH3_64bits(&note.load_us, sizeof note.load_us);
    return write_all(fd, &note, sizeof note, NOTE_AT, &e) == ERR_OK;
}
