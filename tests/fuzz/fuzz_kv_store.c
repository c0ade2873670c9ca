/* SPDX-License-Identifier: MIT */
/* The reader of files of cached prefixes on any bytes: refused in one line, or everything it says of them is
 * within them. A second time with sizes and checksum put right, or nothing would get past them. */
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/kv/kv_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes);

static void check_texts(enum err_code rc, const struct err *e)
{
    if (rc != e->code || !e->text[0] || strpbrk(e->text, "\n\r\x1b"))
        abort();
}

static void check_file(const struct kv_file *f, int fd, size_t n_bytes)
{
    struct err e = { 0 };
    uint64_t end = f->head.head_bytes;
    for (uint32_t i = 0; i < f->head.n_pieces; i++)
        end += f->pieces[i].n_bytes;
    for (uint32_t i = 0; i < f->head.n_tokens; i++)
        if (f->tokens[i] < 0)
            abort();
    for (uint32_t i = 0; i < f->head.n_layers; i++)
        if (f->layers[i].type_k >= KV_N_TYPES || f->layers[i].type_v >= KV_N_TYPES)
            abort();
    if (end != n_bytes || !kv_file_is_name(f->name, f->head.key) || strlen(f->head.model) >= sizeof f->head.model ||
        strlen(f->head.file) >= sizeof f->head.file || strlen(f->head.level) >= sizeof f->head.level)
        abort();
    enum err_code rc = kv_file_read_pieces(f, fd, NULL, 0, NULL, &e);
    if (rc != ERR_OK)
        check_texts(rc, &e);
    struct kv_piece none = { NULL, SIZE_MAX };
    if (f->head.n_pieces > 0 && kv_file_read_pieces(f, fd, &none, 1, NULL, &e) != ERR_FORMAT)
        abort();    /* another number or size than wanted: nothing is read */
}

static void run(int fd, const uint8_t *data, size_t n_bytes)
{
    struct kv_file f;
    struct err e = { 0 };
    if (ftruncate(fd, (off_t)n_bytes) != 0 || pwrite(fd, data, n_bytes, 0) != (ssize_t)n_bytes)
        abort();
    enum err_code rc = kv_file_read_head(&f, fd, &e);
    if (rc == ERR_OK)
        check_file(&f, fd, n_bytes);
    else
        check_texts(rc, &e);
    kv_file_finish(&f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    struct kv_file_head h;
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    uint8_t *copy = malloc(n_bytes + 1);
    if (fd < 0 || !copy)
        abort();
    run(fd, data, n_bytes);
    if (n_bytes >= sizeof h + sizeof(struct kv_file_note)) {
        memcpy(copy, data, n_bytes);
        memcpy(&h, data, sizeof h);
        h.file_bytes = n_bytes;
        h.head_bytes = sizeof h + sizeof(struct kv_file_note) + (uint64_t)h.n_layers * sizeof(struct kv_file_layer) +
                       (uint64_t)h.n_tokens * sizeof(int32_t) + (uint64_t)h.n_pieces * sizeof(struct kv_file_piece);
        memcpy(copy, &h, sizeof h);
        if (h.head_bytes <= n_bytes) {
            h.checksum = kv_file_checksum(copy, h.head_bytes);
            memcpy(copy, &h, sizeof h);
        }
        run(fd, copy, n_bytes);
    }
    free(copy);
    close(fd);
    return 0;
}
