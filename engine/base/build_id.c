/* SPDX-License-Identifier: MIT */
#include "engine/base/build_id.h"

#include <elf.h>
#include <link.h>
#include <string.h>

struct search {
    uint8_t *out;
    size_t n;
};

/* A segment of notes: head, "GNU", the id, each padded to 4 bytes. */
static void look_in(struct search *s, const char *at, size_t left)
{
    ElfW(Nhdr) note;
    while (left >= sizeof note) {
        memcpy(&note, at, sizeof note);
        size_t name = ((size_t)note.n_namesz + 3) & ~(size_t)3, id = ((size_t)note.n_descsz + 3) & ~(size_t)3;
        if (name > left - sizeof note || id > left - sizeof note - name)
            return;
        if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 && memcmp(at + sizeof note, "GNU", 4) == 0 &&
            note.n_descsz <= BUILD_ID_BYTES) {
            memcpy(s->out, at + sizeof note + name, note.n_descsz);
            s->n = note.n_descsz;
            return;
        }
        at += sizeof note + name + id;
        left -= sizeof note + name + id;
    }
}

/* The program is the first object there is. */
static int look_at_first(struct dl_phdr_info *info, size_t n_bytes, void *arg)
{
    struct search *s = arg;
    (void)n_bytes;
    for (int i = 0; i < info->dlpi_phnum && s->n == 0; i++)
        if (info->dlpi_phdr[i].p_type == PT_NOTE)
            look_in(s, (const char *)(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr), info->dlpi_phdr[i].p_memsz);
    return 1;
}

size_t build_id(uint8_t out[BUILD_ID_BYTES])
{
    struct search s = { .out = out };
    dl_iterate_phdr(look_at_first, &s);
    return s.n;
}
