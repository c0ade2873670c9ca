/* SPDX-License-Identifier: MIT */
/* What computes, in the chat: told, moved to, lost. */
#include <stdio.h>
#include <stdlib.h>

#include "app/chat/chat.h"
#include "tests/support/chat_rig.h"

TEST(chat_says_once_that_a_device_is_not_used)
{
    struct chat_rig r;
    chat_rig_begin(t, &r);
    r.device_note = "Vulkan: no device 'x' here; answering on the CPU";
    chat_rig_model(&r, "a.gguf");
    CHECK_INT(t, chat_rig_cards(&r, "Device"), 1);
    CHECK_TEXT(t, buf_text(&chat_rig_last(&r)->text), r.device_note);
    chat_rig_model(&r, "b.gguf");
    CHECK_INT(t, chat_rig_cards(&r, "Device"), 1);
    chat_rig_end(&r);
}

TEST(chat_device_that_computes_stands_where_the_processor_stood)
{
    struct chat_rig r;
    struct chat_figure rows[CHAT_FIGURES];
    char text[PORT_TEXT_BYTES];
    chat_rig_begin(t, &r);
    chat_device_text(&r.chat, text, sizeof text);
    CHECK_TEXT(t, text, "");
    chat_rig_ready(t, &r);
    snprintf(r.chat.model->cpu_tier, sizeof r.chat.model->cpu_tier, "avx2");
    chat_device_text(&r.chat, text, sizeof text);
    CHECK_TEXT(t, text, "cpu avx2");
    snprintf(r.chat.model->device, sizeof r.chat.model->device, "Big Card (open)");
    snprintf(r.chat.model->device_driver, sizeof r.chat.model->device_driver, "best 1.0");
    r.chat.stats.device_free_bytes = 21000000000;
    r.chat.stats.device_total_bytes = 24000000000;
    chat_device_text(&r.chat, text, sizeof text);
    CHECK_TEXT(t, text, "cpu avx2", "it is somewhere else now");
    r.chat.model->n_layers = r.chat.stats.n_device_layers = 30;
    r.chat.stats.device_bytes = 312000000;
    chat_device_text(&r.chat, text, sizeof text);
    CHECK_TEXT(t, text, "Big Card");
    CHECK(t, chat_figures(&r.chat, rows) > 2);
    CHECK(t, strstr(rows[0].text, ", Big Card") && !strstr(rows[0].text, "cpu"), "%s", rows[0].text);
    CHECK_TEXT(t, rows[1].name, "Device");
    CHECK_TEXT(t, rows[1].text, "best 1.0; 30 of 30 layers, 312 MB; 21.00 GB of 24.00 GB free");
    r.chat.stats.n_device_layers = 12;
    chat_device_text(&r.chat, text, sizeof text);
    CHECK_TEXT(t, text, "Big Card 12/30 layers");
    chat_device_brief(&r.chat, text, sizeof text);
    CHECK_TEXT(t, text, "gpu 12/30");
    chat_place_text(&r.chat, text, sizeof text);
    CHECK_TEXT(t, text, "Big Card, 12 of 30 layers, 312 MB");
    chat_rig_end(&r);
}

/* Figures of an answer say where it was made: a device may have failed in the midst of it. */
TEST(chat_device_that_was_lost_stands_there_no_more)
{
    struct chat_rig r;
    char text[PORT_TEXT_BYTES];
    chat_rig_ready(t, &r);
    snprintf(r.chat.model->device, sizeof r.chat.model->device, "Big Card");
    snprintf(r.chat.model->cpu_tier, sizeof r.chat.model->cpu_tier, "avx2");
    r.chat.model->n_layers = r.chat.stats.n_device_layers = 30;
    chat_rig_exchange(&r, "one", "first");
    chat_device_text(&r.chat, text, sizeof text);
    CHECK_TEXT(t, text, "Big Card");
    struct mail warning = { .kind = MAIL_WARNING, .text = "Big Card: device lost; this chat goes on on the CPU" };
    struct mail figures = { .kind = MAIL_STATS, .stats = { .resident_bytes = 1 } };
    chat_take(&r.chat, &warning);
    chat_take(&r.chat, &figures);
    CHECK_INT(t, chat_rig_last(&r)->role, MESSAGE_WARNING);
    CHECK_TEXT(t, chat_rig_text(&r), warning.text);
    chat_device_text(&r.chat, text, sizeof text);
    CHECK_TEXT(t, text, "cpu avx2");
    chat_device_brief(&r.chat, text, sizeof text);
    CHECK_TEXT(t, text, "cpu avx2");
    chat_rig_end(&r);
}

TEST(chat_memory_of_a_device_is_told_where_it_has_its_own)
{
    struct chat_rig r;
    char used[24], all[24];
    chat_rig_ready(t, &r);
    struct port_stats *s = &r.chat.stats;
    snprintf(r.chat.model->device, sizeof r.chat.model->device, "Big Card");
    s->device_bytes = 3100000000;
    s->device_total_bytes = 24000000000;
    CHECK(t, !chat_device_memory(&r.chat, used, all, sizeof used), "no layer is there");
    s->n_device_layers = 1;
    CHECK(t, chat_device_memory(&r.chat, used, all, sizeof used));
    CHECK_TEXT(t, used, "3.10 GB");
    CHECK_TEXT(t, all, "24.00 GB");
    s->device_shares = true;
    CHECK(t, !chat_device_memory(&r.chat, used, all, sizeof used), "it is the machine's");
    chat_rig_end(&r);
}

/* The model as it is after a move, in answer to the last request. */
static void arrive(struct chat_rig *r, const char *device, int32_t n_layers, int32_t n_again)
{
    struct mail mail = { .kind = MAIL_MODEL, .request = r->opened, .model = calloc(1, sizeof *mail.model) };
    *mail.model = *r->chat.model;
    snprintf(mail.model->device, sizeof mail.model->device, "%s", device);
    snprintf(mail.model->cpu_tier, sizeof mail.model->cpu_tier, "avx2");
    mail.model->n_layers = 30;
    mail.model->n_again = n_again;
    mail.model->load_s = 1.25;
    mail.stats = (struct port_stats){ .n_device_layers = n_layers, .device_bytes = 312000000 };
    chat_take(&r->chat, &mail);
}

TEST(chat_moves_to_a_device_and_keeps_the_chat)
{
    struct chat_rig r;
    chat_rig_ready(t, &r);
    CHECK_TEXT(t, r.chat.device.name, "auto");
    chat_enter(&r.chat, "hello");
    chat_rig_prompt(&r, 3);
    chat_rig_tokens(&r, "half");
    CHECK(t, chat_enter(&r.chat, "/device big card"));
    CHECK_TEXT(t, r.device.name, "big card");
    CHECK_INT(t, r.device.n_gpu_layers, 0);
    CHECK_INT(t, r.cancelled, r.answered);
    chat_enter(&r.chat, "and you?");
    chat_rig_done(&r, DONE_CANCELLED);
    CHECK_INT(t, r.chat.state, CHAT_LOADING);
    CHECK_INT(t, r.n_answers, 1);
    arrive(&r, "Big Card (open)", 30, 845);
    CHECK_INT(t, r.n_answers, 2);
    CHECK_TEXT(t, buf_text(&r.prompt), "user: hello\nassistant: half\nuser: and you?\n");
    const struct message *card = transcript_last(&r.chat.transcript, MESSAGE_NOTICE);
    CHECK_TEXT(t, buf_text(&card->text),
               "Now on Big Card, 30 of 30 layers, 312 MB, after 1.2 s; 845 tokens of the chat are read again.");
    CHECK_INT(t, chat_rig_cards(&r, "Model"), 0);
    chat_rig_tokens(&r, "well");
    chat_rig_done(&r, DONE_END);
    chat_enter(&r.chat, "/device cpu");
    arrive(&r, "", 0, 1);
    CHECK_TEXT(t, chat_rig_text(&r), "Now on the processor (cpu avx2), after 1.2 s; 1 token of the chat is read again.");
    CHECK_INT(t, r.chat.state, CHAT_READY);
    CHECK_INT(t, r.n_prepared, 4);
    chat_enter(&r.chat, "/device cpu");
    arrive(&r, "", 0, -1);
    CHECK_TEXT(t, chat_rig_text(&r), "The model is on the processor (cpu avx2) already.");
    chat_rig_end(&r);
}

TEST(chat_a_move_that_fails_leaves_all_as_it_was)
{
    struct chat_rig r;
    chat_rig_ready(t, &r);
    snprintf(r.chat.model->cpu_tier, sizeof r.chat.model->cpu_tier, "avx2");
    chat_enter(&r.chat, "/device nonsense");
    CHECK_INT(t, r.chat.state, CHAT_LOADING);
    chat_enter(&r.chat, "still there?");
    CHECK_INT(t, r.n_answers, 0);
    struct mail mail = { .kind = MAIL_MODEL_FAILED, .request = r.opened, .text = "no device 'nonsense' here" };
    chat_take(&r.chat, &mail);
    CHECK_TEXT(t, r.chat.device.name, "auto");
    CHECK_INT(t, chat_rig_cards(&r, "Not moved"), 1);
    const struct message *card = transcript_last(&r.chat.transcript, MESSAGE_ERROR);
    CHECK_TEXT(t, buf_text(&card->text), "no device 'nonsense' here. The model stays on the processor (cpu avx2).");
    CHECK_INT(t, r.n_answers, 1);
    CHECK_INT(t, r.chat.state, CHAT_ANSWERING);
    chat_rig_end(&r);

    chat_rig_begin(t, &r);    /* without a model there is nothing to move */
    CHECK(t, !chat_enter(&r.chat, "/device llvmpipe"));
    CHECK_TEXT(t, r.device.name, "");
    chat_rig_end(&r);
}

/* Another model comes while the one there is moves: what waits, waits for the move. */
TEST(chat_moves_and_opens_in_any_order)
{
    struct chat_rig r;
    char path[PATHS_BYTES];
    chat_rig_ready(t, &r);
    snprintf(path, sizeof path, "%s/n.gguf", test_folder(t));
    chat_rig_put_file(path, "x");
    chat_enter(&r.chat, "/device llvmpipe");
    uint64_t moved = r.opened;
    chat_enter(&r.chat, "/model n");
    uint64_t opened = r.opened;
    chat_enter(&r.chat, "hello");
    r.opened = moved;
    arrive(&r, "llvmpipe", 30, 0);
    CHECK_INT(t, chat_rig_cards(&r, "Device"), 1);
    CHECK_INT(t, r.n_answers, 1);
    chat_rig_done(&r, DONE_END);
    chat_enter(&r.chat, "/device cpu");
    moved = r.opened;
    r.opened = opened;
    struct mail mail = { .kind = MAIL_MODEL_FAILED, .request = opened, .text = "n.gguf: not a GGUF file" };
    chat_take(&r.chat, &mail);
    CHECK_INT(t, r.chat.state, CHAT_LOADING);
    chat_enter(&r.chat, "and now?");
    CHECK_INT(t, r.n_answers, 1);
    r.opened = moved;
    arrive(&r, "", 0, 0);
    CHECK_INT(t, r.n_answers, 2);
    chat_rig_end(&r);
}

TEST(chat_layers_of_the_device_are_set)
{
    static const char *const bad[] = { "x", "-2", "12x", "1048577" };
    struct chat_rig r;
    char text[16];
    chat_rig_ready(t, &r);
    chat_enter(&r.chat, "/set device llvmpipe");
    CHECK_TEXT(t, r.device.name, "llvmpipe");
    arrive(&r, "llvmpipe", 30, 0);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char line[32];
        snprintf(line, sizeof line, "/set gpu-layers %s", bad[i]);
        CHECK(t, !chat_enter(&r.chat, line), "%s", line);
    }
    CHECK(t, chat_enter(&r.chat, "/set gpu-layers 12"));
    CHECK_TEXT(t, r.device.name, "llvmpipe");
    CHECK_INT(t, r.device.n_gpu_layers, 12);
    arrive(&r, "llvmpipe", 12, 7);
    chat_gpu_layers_text(&r.chat, text, sizeof text);
    CHECK_TEXT(t, text, "12");
    CHECK(t, chat_enter(&r.chat, "/set gpu-layers auto"));
    CHECK_INT(t, r.device.n_gpu_layers, 0);
    arrive(&r, "llvmpipe", 30, 7);
    chat_gpu_layers_text(&r.chat, text, sizeof text);
    CHECK_TEXT(t, text, "auto");
    CHECK(t, chat_enter(&r.chat, "/set gpu-layers 0"));
    CHECK_TEXT(t, r.device.name, "cpu");
    arrive(&r, "", 0, 7);
    CHECK(t, !chat_enter(&r.chat, "/set gpu-layers 12"), "on the processor");
    chat_rig_end(&r);
}

TEST(chat_lists_devices)
{
    struct chat_rig r;
    chat_rig_ready(t, &r);
    CHECK(t, chat_enter(&r.chat, "/device"));
    CHECK_INT(t, r.n_listed, 1);
    r.chat.model->n_layers = 30;
    r.chat.stats.n_device_layers = 12;
    struct mail mail = { .kind = MAIL_DEVICES, .devices = calloc(1, sizeof *mail.devices) };
    *mail.devices = (struct port_devices){
        .n = 4,
        .rows = { { .id = "cpu", .name = "A processor, avx2", .n_bytes = 16000000000, .free_bytes = 8000000000 },
                  { .id = "vulkan:0", .name = "Big Card", .kind = "discrete", .n_bytes = 24000000000, .in_use = true },
                  { .id = "vulkan:1", .name = "Old Card", .kind = "integrated", .problem = "has Vulkan 1.1" },
                  { .id = "vulkan:2", .name = "llvmpipe", .kind = "software" } },
    };
    chat_take(&r.chat, &mail);
    CHECK_TEXT(t, chat_rig_last(&r)->title, "Devices");
    CHECK_TEXT(t, chat_rig_text(&r), "cpu: A processor, avx2, 16.00 GB (8.00 GB free)\n"
                                 "vulkan:0: Big Card, discrete, 24.00 GB; in use for 12 of 30 layers\n"
                                 "vulkan:1: Old Card, integrated; cannot be used: has Vulkan 1.1\n"
                                 "vulkan:2: llvmpipe, software");
    r.chat.stats.n_device_layers = 0;
    mail.devices = calloc(1, sizeof *mail.devices);
    *mail.devices = (struct port_devices){ .n = 1, .rows = { { .id = "cpu", .name = "avx2", .in_use = true } },
                                           .problem = "no Vulkan loader" };
    chat_take(&r.chat, &mail);
    CHECK_TEXT(t, chat_rig_text(&r), "cpu: avx2; in use\nno Vulkan loader");
    chat_enter(&r.chat, "hello");
    chat_enter(&r.chat, "/device");
    CHECK_TEXT(t, chat_rig_text(&r), "They are listed when the answer has ended.");
    CHECK_INT(t, r.n_listed, 2);
    chat_rig_end(&r);
}
