/* SPDX-License-Identifier: MIT */
/* quip tokenize: text to ids and pieces. */
#include "app/cmd/cmd.h"

#include <jansson.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/utf8.h"

/* A piece between quotes: controls and bytes that are no character by themselves as escapes. */
static void quote(struct buf *out, const char *bytes, size_t n_bytes)
{
    buf_add_byte(out, '\'');
    for (size_t at = 0; at < n_bytes;) {
        uint32_t code_point;
        int n = utf8_decode(bytes + at, n_bytes - at, &code_point);
        unsigned char byte = (unsigned char)bytes[at];
        if (n == 1 && byte == '\n')
            buf_add_text(out, "\\n");
        else if (n == 1 && (byte == '\'' || byte == '\\'))
            buf_printf(out, "\\%c", byte);
        else if (n == 1 && (byte < 0x20 || byte >= 0x7f))
            buf_printf(out, "\\x%02x", byte);
        else
            buf_add(out, bytes + at, (size_t)n);
        at += (size_t)n;
    }
    buf_add_byte(out, '\'');
}

static void print_ids(const struct token_list *tokens)
{
    for (int32_t i = 0; i < tokens->n; i++)
        printf("%s%d", i ? " " : "", tokens->ids[i]);
    putchar('\n');
}

static void print_pieces(const struct model *m, const struct token_list *tokens)
{
    struct buf line = { 0 };
    for (int32_t i = 0; i < tokens->n; i++) {
        size_t n_bytes;
        const char *piece = model_piece(m, tokens->ids[i], &n_bytes);
        buf_clear(&line);
        buf_printf(&line, "%8d  ", tokens->ids[i]);
        quote(&line, piece, n_bytes);
        if (model_is_special(m, tokens->ids[i]))
            buf_add_text(&line, "  special");
        cmd_put(stdout, buf_text(&line), line.n_bytes);
        putchar('\n');
    }
    buf_finish(&line);
}

static void print_json(const struct model *m, const struct token_list *tokens)
{
    json_t *list = json_array();
    for (int32_t i = 0; i < tokens->n; i++) {
        size_t n_bytes;
        const char *piece = model_piece(m, tokens->ids[i], &n_bytes);
        json_array_append_new(list, json_pack("{si so sb}", "id", tokens->ids[i], "piece",
                                              cmd_json_text(piece, n_bytes), "special",
                                              (int)model_is_special(m, tokens->ids[i])));
    }
    json_dumpf(list, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(list);
}

enum exit_code cmd_tokenize(const struct app *app)
{
    const struct config *c = app->config;
    if (!c->model) {
        cmd_complain("'quip tokenize' needs -m MODEL");
        return EXIT_CODE_USAGE;
    }
    struct cmd_model cm;
    enum exit_code code = cmd_model_open(&cm, app, MODEL_VOCABULARY, 1);
    if (code != EXIT_CODE_OK)
        return code;
    struct buf text = { 0 };
    struct token_list tokens = { 0 };
    struct err e;
    enum err_code rc = ERR_OK;
    if (c->prompt)
        buf_add_text(&text, c->prompt);
    if (c->file || !c->prompt)
        rc = cmd_read(&text, c->file ? c->file : "-", &e);
    struct text_part part = { buf_text(&text), text.n_bytes, c->special };
    if (rc == ERR_OK)
        rc = model_tokenize(cm.model, &part, 1, !c->no_bos, &tokens, &e);
    if (rc != ERR_OK) {
        cmd_complain("%s", e.text);
        code = EXIT_CODE_FAILURE;
    } else if (c->json) {
        print_json(cm.model, &tokens);
    } else if (c->show_ids) {
        print_ids(&tokens);
    } else {
        print_pieces(cm.model, &tokens);
    }
    token_list_finish(&tokens);
    buf_finish(&text);
    cmd_model_close(&cm);
    return code;
}
