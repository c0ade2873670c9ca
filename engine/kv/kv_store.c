/* SPDX-License-Identifier: MIT */
/* A store is a list of heads, read when the folder has changed, and a thread that writes.
 *
 *   caller's thread                              writer
 *   kv_store_save_take    image -> waiting ----> kv_folder_create, kv_file_write, fsync
 *                                                reads it back from the disk, notes how long that took
 *                                                takes the folder's lock, makes room, renames
 *   kv_store_poll      drops <- finished <------ image
 *
 * The writer touches files, the two lists of jobs and the warnings, nothing else; so the list of heads needs no
 * lock. It learns of new files as it does of those other programs write: the folder's time has changed.
 *
 * The time to load a file decides whether loading pays, so it is measured and not derived: the system is asked
 * to forget its copy of the new file before it is read back, which makes the first figure that of a start after
 * a reboot; each load puts its own in its place. */
#include "engine/kv/kv_store.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/kv/kv_file.h"
#include "engine/kv/kv_folder.h"

enum { MAX_WAITING = 8, MAX_WARNINGS = 16, TICK_S = 1 };

/* A file whose note is damaged: what a slow disk would do. */
static const double cautious_bytes_per_ms = 100e3;

struct head {
    struct kv_store_entry entry;
    int32_t *tokens;    /* NULL: of no use, until another file has its name */
    ino_t inode;
    int64_t changed_ns;
    bool seen;
};

struct job {
    struct kv_image *image;
    double compute_ms;
    struct job *next;
};

struct kv_store {
    struct kv_store_options options;    /* its texts and layers are the store's */
    int dir_fd;

    struct head *heads;
    int32_t n_heads, cap_heads;
    uint64_t file_bytes;
    struct timespec scanned;            /* the folder's time at the last look; 0: to be looked at again */

    pthread_mutex_t lock;               /* guards what follows */
    pthread_cond_t changed;             /* a job came, one was done, or quit */
    struct job *waiting, *writing, *finished;
    int32_t n_waiting;                  /* the one being written among them */
    bool quit;
    char warnings[MAX_WARNINGS][ERR_TEXT_BYTES];    /* all there ever were, so that none is given twice */
    int32_t n_warnings, n_given;

    bool started;
    pthread_t writer;
};

/* ---- warnings --------------------------------------------------------------------------------------- */

static void warn(struct kv_store *st, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void warn(struct kv_store *st, const char *format, ...)
{
    char text[ERR_TEXT_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    pthread_mutex_lock(&st->lock);
    int32_t i = 0;
    while (i < st->n_warnings && strcmp(st->warnings[i], text) != 0)
        i++;
    if (i == st->n_warnings && i < MAX_WARNINGS)
        memcpy(st->warnings[st->n_warnings++], text, sizeof text);
    pthread_mutex_unlock(&st->lock);
}

bool kv_store_warning(struct kv_store *st, char out[ERR_TEXT_BYTES])
{
    pthread_mutex_lock(&st->lock);
    bool any = st->n_given < st->n_warnings;
    if (any)
        memcpy(out, st->warnings[st->n_given++], ERR_TEXT_BYTES);
    pthread_mutex_unlock(&st->lock);
    return any;
}

/* ---- the list of heads ------------------------------------------------------------------------------ */

/* Whether a file is one of this store's. */
static enum err_code check_ours(const struct kv_store *st, const struct kv_file *f, const char *name, struct err *e)
{
    if (strcmp(f->name, name) != 0)
        return err_set(e, ERR_FORMAT, "the name of what is in it would be %s", f->name);
    if (memcmp(f->head.key, st->options.key.bytes, KV_STORE_KEY_BYTES) != 0)
        return err_set(e, ERR_FORMAT, "it belongs to another model");
    if (!kv_file_has_layers(f, st->options.layers, st->options.n_layers))
        return err_set(e, ERR_FORMAT, "its layers are not the model's");
    return ERR_OK;
}

static void set_entry(struct kv_store_entry *out, const struct kv_file *f)
{
    *out = (struct kv_store_entry){ .n_tokens = (int32_t)f->head.n_tokens, .file_bytes = f->head.file_bytes,
                                    .compute_ms = (double)f->head.compute_us / 1e3, .load_ms = f->load_ms };
    if (f->load_ms < 0)
        out->load_ms = (double)f->head.file_bytes / cautious_bytes_per_ms;
    memcpy(out->name, f->name, sizeof out->name);
}

/* A file of the folder with its head. */
struct opened {
    struct kv_file file;
    int fd;
    ino_t inode;
    bool gone;    /* why it could not be opened: it is not there any more */
};

static void close_head(struct opened *o)
{
    kv_file_finish(&o->file);
    if (o->fd >= 0)
        close(o->fd);
}

/* To be closed in every case. */
static enum err_code open_head(struct kv_store *st, const char *name, struct opened *o, struct err *e)
{
    struct stat stat;
    *o = (struct opened){ .fd = kv_folder_open_file(st->dir_fd, name) };
    if (o->fd < 0 || fstat(o->fd, &stat) != 0) {
        o->gone = errno == ENOENT;
        return err_set(e, ERR_IO, "cannot be opened: %s", strerror(errno));
    }
    o->inode = stat.st_ino;
    enum err_code rc = kv_file_read_head(&o->file, o->fd, e);
    return rc == ERR_OK ? check_ours(st, &o->file, name, e) : rc;
}

/* What to do about a file that was not believed: one line for a person, unless it is nobody's fault. True when
 * the file is there no more. */
static bool reject(struct kv_store *st, const char *name, const struct opened *o, const struct err *e)
{
    if (o->gone || e->code == ERR_NOMEM || e->code == ERR_CANCELLED)
        return o->gone;
    bool removed = e->code == ERR_FORMAT && kv_folder_remove(st->dir_fd, name, o->inode);
    warn(st, "cached prefix %s is %s: %s", name, removed ? "damaged and was removed" : "ignored", e->text);
    return removed;
}

static struct head *add_head(struct kv_store *st)
{
    if (st->n_heads == st->cap_heads) {
        int32_t cap = st->cap_heads ? 2 * st->cap_heads : 16;
        struct head *heads = realloc(st->heads, (size_t)cap * sizeof *heads);
        if (!heads)
            return NULL;
        st->heads = heads;
        st->cap_heads = cap;
    }
    struct head *h = &st->heads[st->n_heads++];
    memset(h, 0, sizeof *h);
    return h;
}

/* A file that is new. One that is not believed is listed without tokens, so that it is not looked at again;
 * without memory it is not known, which does no harm. */
static void read_new(struct kv_store *st, const struct kv_folder_file *file)
{
    struct opened o;
    struct err e;
    enum err_code rc = open_head(st, file->name, &o, &e);
    bool gone = rc != ERR_OK && reject(st, file->name, &o, &e);
    struct head *h = !gone && rc != ERR_NOMEM ? add_head(st) : NULL;
    if (h) {
        h->inode = file->inode;
        h->changed_ns = file->changed_ns;
        h->seen = true;
        memcpy(h->entry.name, file->name, sizeof h->entry.name);
        size_t n_bytes = o.file.head.n_tokens * sizeof *h->tokens;
        if (rc == ERR_OK && (h->tokens = malloc(n_bytes))) {
            memcpy(h->tokens, o.file.tokens, n_bytes);
            set_entry(&h->entry, &o.file);
        }
    }
    close_head(&o);
}

static struct head *known(struct kv_store *st, const char *name)
{
    for (int32_t i = 0; i < st->n_heads; i++)
        if (strcmp(st->heads[i].entry.name, name) == 0)
            return &st->heads[i];
    return NULL;
}

static void drop_unseen(struct kv_store *st)
{
    int32_t n = 0;
    for (int32_t i = 0; i < st->n_heads; i++) {
        if (st->heads[i].seen)
            st->heads[n++] = st->heads[i];
        else
            free(st->heads[i].tokens);
    }
    st->n_heads = n;
}

static enum err_code scan(struct kv_store *st, struct err *e)
{
    struct kv_folder_list list;
    struct stat dir;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    memset(&st->scanned, 0, sizeof st->scanned);
    /* Before reading: what comes meanwhile is looked at next time. A change in the same tick of the clock as the
     * last one leaves no trace, so a folder that has just changed is looked at again in any case. */
    if (fstat(st->dir_fd, &dir) == 0 && now.tv_sec - dir.st_mtim.tv_sec > TICK_S)
        st->scanned = dir.st_mtim;
    enum err_code rc = kv_folder_read(&list, st->dir_fd, e);
    if (rc != ERR_OK)
        return rc;
    for (int32_t i = 0; i < st->n_heads; i++)
        st->heads[i].seen = false;
    st->file_bytes = list.n_bytes;
    for (int32_t i = 0; i < list.n; i++) {
        const struct kv_folder_file *f = &list.files[i];
        if (!kv_file_is_name(f->name, st->options.key.bytes))
            continue;
        struct head *h = known(st, f->name);
        if (h && h->inode == f->inode && (h->tokens || h->changed_ns == f->changed_ns))
            h->seen = true;
        else    /* one that was replaced is listed twice until drop_unseen() */
            read_new(st, f);
    }
    drop_unseen(st);
    kv_folder_list_finish(&list);
    return ERR_OK;
}

static void scan_if_changed(struct kv_store *st)
{
    struct stat dir;
    struct err e;
    if (fstat(st->dir_fd, &dir) == 0 && (dir.st_mtim.tv_sec != st->scanned.tv_sec ||
                                         dir.st_mtim.tv_nsec != st->scanned.tv_nsec))
        scan(st, &e);    /* what was known before serves as well: a load checks again */
}

bool kv_store_find(struct kv_store *st, const int32_t *tokens, int32_t n_tokens, struct kv_store_entry *out)
{
    const struct head *best = NULL;
    scan_if_changed(st);
    for (int32_t i = 0; i < st->n_heads; i++) {
        const struct head *h = &st->heads[i];
        if (h->tokens && h->entry.n_tokens <= n_tokens && (!best || h->entry.n_tokens > best->entry.n_tokens) &&
            memcmp(h->tokens, tokens, (size_t)h->entry.n_tokens * sizeof *tokens) == 0)
            best = h;
    }
    if (best)
        *out = best->entry;
    return best != NULL;
}

void kv_store_stats(struct kv_store *st, struct kv_store_stats *out)
{
    scan_if_changed(st);
    *out = (struct kv_store_stats){ .file_bytes = st->file_bytes };
    for (int32_t i = 0; i < st->n_heads; i++)
        out->n_files += st->heads[i].tokens != NULL;
    pthread_mutex_lock(&st->lock);
    out->n_writing = st->n_waiting;
    pthread_mutex_unlock(&st->lock);
}

/* ---- loading ---------------------------------------------------------------------------------------- */

static enum err_code load_pieces(const struct opened *o, struct kv_image *image, const atomic_bool *cancel,
                                 struct err *e)
{
    const struct kv_file *f = &o->file;
    if (f->head.n_tokens != (uint32_t)image->n_tokens ||
        memcmp(f->tokens, image->tokens, f->head.n_tokens * sizeof *f->tokens) != 0)
        return err_set(e, ERR_FORMAT, "its tokens are not those wanted");
    return kv_file_read_pieces(f, o->fd, image->pieces, image->n_pieces, cancel, e);
}

enum err_code kv_store_load(struct kv_store *st, const struct kv_store_entry *entry, struct kv_image *image,
                            const atomic_bool *cancel, struct err *e)
{
    struct opened o;
    struct err own;
    double begin_ms = clock_ms();
    struct head *h = known(st, entry->name);
    enum err_code rc = open_head(st, entry->name, &o, &own);
    if (rc == ERR_OK)
        rc = load_pieces(&o, image, cancel, &own);
    if (rc == ERR_OK) {
        double took_ms = clock_ms() - begin_ms;
        kv_file_write_note(o.fd, took_ms);    /* marks the file as used, too; without it little is lost */
        if (h)
            h->entry.load_ms = took_ms;
    } else {
        bool gone = reject(st, entry->name, &o, &own);
        err_set(e, rc, "cached prefix %s: %s", entry->name, own.text);
        if (h && rc != ERR_CANCELLED && rc != ERR_NOMEM) {
            free(h->tokens);
            h->tokens = NULL;
            if (gone)    /* the next file of this name may get its inode */
                *h = st->heads[--st->n_heads];
        }
    }
    close_head(&o);
    return rc;
}

/* ---- writing ---------------------------------------------------------------------------------------- */

/* Reads a new file as the next start will, and notes how long that took. */
static enum err_code read_back(int fd, struct err *e)
{
    struct kv_file f;
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    double begin_ms = clock_ms();
    enum err_code rc = kv_file_read_head(&f, fd, e);
    if (rc == ERR_OK)
        rc = kv_file_read_pieces(&f, fd, NULL, 0, NULL, e);
    kv_file_finish(&f);
    if (rc == ERR_OK && !kv_file_write_note(fd, clock_ms() - begin_ms))
        rc = err_set(e, ERR_IO, "%s", strerror(errno));
    return rc;
}

/* The file's bytes are on the disk already. The folder is not told to be: a new name that a loss of power takes
 * away is a file that is not there. */
static enum err_code put_in_place(const struct kv_store *st, const char *new_name, const char *name,
                                  uint64_t n_bytes, struct err *e)
{
    enum err_code rc = ERR_OK;
    int lock = kv_folder_lock(st->dir_fd, true);
    kv_folder_make_room(st->dir_fd, st->options.cap_bytes, n_bytes, name);
    if (renameat(st->dir_fd, new_name, st->dir_fd, name) != 0)
        rc = err_set(e, ERR_IO, "%s", strerror(errno));
    if (lock >= 0)
        close(lock);
    return rc;
}

static void write_image(struct kv_store *st, const struct kv_image *image, double compute_ms)
{
    const struct kv_store_options *o = &st->options;
    char new_name[KV_STORE_NAME_BYTES], name[KV_STORE_NAME_BYTES];
    struct err e;
    uint64_t n_bytes = kv_file_bytes(image, o->n_layers);
    if (n_bytes > o->cap_bytes) {
        warn(st, "%s: a prefix of %.1f MB is not kept, the files may have %.1f MB", o->dir, (double)n_bytes / 1e6,
             (double)o->cap_bytes / 1e6);
        return;
    }
    int fd = kv_folder_create(st->dir_fd, new_name, &e);
    enum err_code rc = fd < 0 ? ERR_IO : kv_file_write(fd, o, image, compute_ms, &e);
    if (rc == ERR_OK && fsync(fd) != 0)
        rc = err_set(&e, ERR_IO, "%s", strerror(errno));
    if (rc == ERR_OK)
        rc = read_back(fd, &e);
    kv_file_name(name, o->key.bytes, image->tokens, image->n_tokens);
    if (rc == ERR_OK)
        rc = put_in_place(st, new_name, name, n_bytes, &e);
    if (rc != ERR_OK) {
        if (fd >= 0)
            unlinkat(st->dir_fd, new_name, 0);
        warn(st, "%s: prefixes cannot be kept: %s", o->dir, e.text);
    }
    if (fd >= 0)
        close(fd);
}

static void *run_writer(void *arg)
{
    struct kv_store *st = arg;
    pthread_mutex_lock(&st->lock);
    for (;;) {
        while (!st->waiting && !st->quit)
            pthread_cond_wait(&st->changed, &st->lock);
        struct job *job = st->waiting;
        if (!job)
            break;
        st->waiting = job->next;
        st->writing = job;
        pthread_mutex_unlock(&st->lock);
        write_image(st, job->image, job->compute_ms);
        pthread_mutex_lock(&st->lock);
        st->writing = NULL;
        job->next = st->finished;
        st->finished = job;
        st->n_waiting--;
        pthread_cond_broadcast(&st->changed);
    }
    pthread_mutex_unlock(&st->lock);
    return NULL;
}

/* The first job starts the writer. It takes no signals: those are for threads that know what to do. */
static bool start_writer(struct kv_store *st)
{
    sigset_t all, before;
    if (st->started)
        return true;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    st->started = pthread_create(&st->writer, NULL, run_writer, st) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return st->started;
}

static bool same_tokens(const struct job *job, const struct kv_image *image)
{
    return job && job->image->n_tokens == image->n_tokens &&
           memcmp(job->image->tokens, image->tokens, (size_t)image->n_tokens * sizeof *image->tokens) == 0;
}

/* With the lock held: two sequences may come to the end of the same system prompt. */
static bool is_waiting(const struct kv_store *st, const struct kv_image *image)
{
    bool found = same_tokens(st->writing, image);
    for (const struct job *job = st->waiting; job && !found; job = job->next)
        found = same_tokens(job, image);
    return found;
}

/* False when there is no room. */
static bool append_job(struct kv_store *st, struct job *job)
{
    struct job **end = &st->waiting;
    if (st->n_waiting == MAX_WAITING)
        return false;
    while (*end)
        end = &(*end)->next;
    *end = job;
    st->n_waiting++;
    pthread_cond_broadcast(&st->changed);
    return true;
}

void kv_store_save_take(struct kv_store *st, struct kv_image *image, double compute_ms)
{
    struct job *job = calloc(1, sizeof *job);
    if (!job || !start_writer(st)) {
        warn(st, "%s: prefixes cannot be kept: no memory to write them", st->options.dir);
        free(job);
        kv_image_drop(image);
        return;
    }
    *job = (struct job){ .image = image, .compute_ms = compute_ms };
    pthread_mutex_lock(&st->lock);
    bool is_new = !is_waiting(st, image), taken = is_new && append_job(st, job);
    pthread_mutex_unlock(&st->lock);
    if (taken)
        return;
    if (is_new)
        warn(st, "%s: more than %d prefixes wait to be written; the last is not kept", st->options.dir, MAX_WAITING);
    free(job);
    kv_image_drop(image);
}

int32_t kv_store_poll(struct kv_store *st)
{
    pthread_mutex_lock(&st->lock);
    struct job *done = st->finished;
    int32_t n = st->n_waiting;
    st->finished = NULL;
    pthread_mutex_unlock(&st->lock);
    while (done) {
        struct job *next = done->next;
        kv_image_drop(done->image);
        free(done);
        done = next;
    }
    return n;
}

bool kv_store_flush(struct kv_store *st, int32_t timeout_ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    if (timeout_ms > 0) {
        until.tv_sec += timeout_ms / 1000;
        until.tv_nsec += timeout_ms % 1000 * 1000000L;
        until.tv_sec += until.tv_nsec / 1000000000L;
        until.tv_nsec %= 1000000000L;
    }
    pthread_mutex_lock(&st->lock);
    while (st->n_waiting > 0)
        if (timeout_ms < 0)
            pthread_cond_wait(&st->changed, &st->lock);
        else if (pthread_cond_timedwait(&st->changed, &st->lock, &until) == ETIMEDOUT)
            break;
    pthread_mutex_unlock(&st->lock);
    return kv_store_poll(st) == 0;
}

/* ---- open and close --------------------------------------------------------------------------------- */

static bool copy_options(struct kv_store *st, const struct kv_store_options *o)
{
    struct kv_store_options *own = &st->options;
    struct kv_layer *layers = calloc((size_t)o->n_layers, sizeof *layers);
    *own = *o;
    own->layers = layers;
    own->dir = strdup(o->dir);
    own->model = strdup(o->model ? o->model : "");
    own->file = strdup(o->file ? o->file : "");
    own->level = strdup(o->level ? o->level : "");
    if (!layers || !own->dir || !own->model || !own->file || !own->level)
        return false;
    memcpy(layers, o->layers, (size_t)o->n_layers * sizeof *layers);
    return true;
}

static void init_lock(struct kv_store *st)
{
    pthread_condattr_t monotonic;
    pthread_mutex_init(&st->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&st->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

/* What others have left behind. When somebody else is at it, the next start does it. */
static void tidy(struct kv_store *st)
{
    int lock = kv_folder_lock(st->dir_fd, false);
    if (lock < 0)
        return;
    kv_folder_clean(st->dir_fd);
    kv_folder_make_room(st->dir_fd, st->options.cap_bytes, 0, NULL);
    close(lock);
}

enum err_code kv_store_open(struct kv_store **out, const struct kv_store_options *o, struct err *e)
{
    assert(o->n_layers > 0 && o->n_layers <= KV_FILE_MAX_LAYERS);
    struct kv_store *st = calloc(1, sizeof *st);
    if (!st)
        return err_set(e, ERR_NOMEM, "%s: no memory for the store", o->dir);
    init_lock(st);
    st->dir_fd = -1;
    enum err_code rc = copy_options(st, o) ? ERR_OK : err_set(e, ERR_NOMEM, "%s: no memory for the store", o->dir);
    if (rc == ERR_OK && (st->dir_fd = kv_folder_open(o->dir, e)) < 0)
        rc = ERR_IO;
    if (rc == ERR_OK) {
        tidy(st);
        rc = scan(st, e);
    }
    if (rc != ERR_OK) {
        kv_store_close(st);
        return rc;
    }
    *out = st;
    return ERR_OK;
}

void kv_store_close(struct kv_store *st)
{
    if (!st)
        return;
    if (st->started) {
        pthread_mutex_lock(&st->lock);
        st->quit = true;
        pthread_cond_broadcast(&st->changed);
        pthread_mutex_unlock(&st->lock);
        pthread_join(st->writer, NULL);
    }
    kv_store_poll(st);
    for (int32_t i = 0; i < st->n_heads; i++)
        free(st->heads[i].tokens);
    free(st->heads);
    if (st->dir_fd >= 0)
        close(st->dir_fd);
    pthread_cond_destroy(&st->changed);
    pthread_mutex_destroy(&st->lock);
    free((void *)st->options.layers);
    free((void *)st->options.dir);
    free((void *)st->options.model);
    free((void *)st->options.file);
    free((void *)st->options.level);
    free(st);
}
