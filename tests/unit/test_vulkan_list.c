/* SPDX-License-Identifier: MIT */
/* What is made of what devices say of themselves, with the devices of tests/support/fake_vulkan.c. */
#include "engine/vulkan/vulkan_pipeline.h"
#include "tests/support/test.h"

static struct vulkan_list *open_list_for(struct test *t, enum vulkan_tiles tiles)
{
    struct vulkan_list *list = NULL;
    struct err e = { 0 };
    const struct vulkan_list_options o = { .library = FAKE_VULKAN, .tiles = tiles };
    CHECK(t, vulkan_list_open(&list, &o, &e) == ERR_OK, "%s", e.text);
    return list;
}

static struct vulkan_list *open_list(struct test *t)
{
    return open_list_for(t, VULKAN_TILES_BY_DEVICE);
}

static const struct vulkan_card *card(struct test *t, const struct vulkan_list *list, const char *name)
{
    for (int32_t i = 0; i < list->n_cards; i++)
        if (strcmp(list->cards[i].name, name) == 0)
            return &list->cards[i];
    CHECK(t, false, "no '%s'", name);
    return NULL;
}

TEST(vulkan_list_has_the_best_first)
{
    static const char *const order[] = { "Big Card (open)", "Big Card", "Mac Card", "Small Inside", "Loose Inside",
                                         "Plain Software", "Bare Card", "Old Card", "Narrow Card", "Shallow Card",
                                         "Painter" };
    struct vulkan_list *list = open_list(t);
    CHECK_INT(t, list->n_cards, sizeof order / sizeof *order);
    for (int32_t i = 0; i < list->n_cards; i++)
        CHECK_TEXT(t, list->cards[i].name, order[i], "place %d", i);
    CHECK_TEXT(t, vulkan_api_path(&list->api), FAKE_VULKAN);
    vulkan_list_close(list);
}

TEST(vulkan_list_says_why_a_device_cannot_be_used)
{
    static const struct {
        const char *name, *why;
    } cases[] = {
        { "Big Card (open)", "" },
        { "Big Card", "is here through a better driver too" },
        { "Mac Card", "" },
        { "Small Inside", "" },
        { "Plain Software", "" },
        { "Bare Card", "lacks storageBuffer8BitAccess" },
        { "Old Card", "has Vulkan 1.1, 1.2 is wanted" },
        { "Painter", "has no queue that computes" },
        { "Narrow Card", "shaders see too few buffers" },
        { "Shallow Card", "workgroups or push constants are too small" },
        { "Loose Inside", "" },
    };
    struct vulkan_list *list = open_list(t);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct vulkan_card *c = card(t, list, cases[i].name);
        CHECK_TEXT(t, c->why, cases[i].why, "%s", cases[i].name);
        CHECK_INT(t, c->usable, !cases[i].why[0], "%s", cases[i].name);
    }
    vulkan_list_close(list);
}

TEST(vulkan_list_takes_off_what_a_driver_does_badly)
{
    struct vulkan_list *list = open_list(t);
    CHECK(t, card(t, list, "Big Card (open)")->features & VULKAN_SUBGROUP_ADD);
    CHECK(t, !(card(t, list, "Mac Card")->features & VULKAN_SUBGROUP_ADD), "sums of subgroups are wrong there");
    CHECK_INT(t, card(t, list, "Small Inside")->subgroup, 16);
    CHECK_INT(t, card(t, list, "Plain Software")->subgroup, 32);
    vulkan_list_close(list);
}

/* Sums over subgroups of any size would come out in any order, and overrun the room for their parts. */
TEST(vulkan_list_adds_over_subgroups_only_where_their_size_is_certain)
{
    struct vulkan_list *list = open_list(t);
    const struct vulkan_card *loose = card(t, list, "Loose Inside"), *inside = card(t, list, "Small Inside");
    CHECK(t, inside->features & VULKAN_SUBGROUP_SIZE && inside->features & VULKAN_SUBGROUP_ADD);
    CHECK(t, !(loose->features & (VULKAN_SUBGROUP_SIZE | VULKAN_SUBGROUP_ADD)), "not for compute shaders");
    CHECK(t, !(card(t, list, "Big Card")->features & VULKAN_SUBGROUP_ADD), "no such extension");
    vulkan_list_close(list);
}

TEST(vulkan_list_takes_the_largest_cooperative_matrices_that_fit)
{
    struct vulkan_list *list = open_list(t);
    const struct vulkan_card *big = card(t, list, "Big Card (open)");
    CHECK(t, big->features & VULKAN_COOP);
    CHECK(t, big->coop.m == 16 && big->coop.n == 8 && big->coop.k == 16, "%u x %u x %u", big->coop.m, big->coop.n,
          big->coop.k);
    CHECK(t, !(card(t, list, "Big Card")->features & VULKAN_COOP), "no such extension");
    CHECK(t, !(card(t, list, "Small Inside")->features & VULKAN_COOP), "no size fits");
    CHECK(t, !(card(t, list, "Loose Inside")->features & VULKAN_COOP), "subgroups of any size");
    vulkan_list_close(list);
}

TEST(vulkan_list_chooses_tiles_by_device_and_cooperative_matrices_by_name_alone)
{
    struct vulkan_list *list = open_list(t);
    CHECK_INT(t, card(t, list, "Big Card (open)")->tiles, VULKAN_TILES_F32);
    CHECK_INT(t, card(t, list, "Plain Software")->tiles, VULKAN_TILES_NONE);
    vulkan_list_close(list);
    list = open_list_for(t, VULKAN_TILES_COOP);
    CHECK_INT(t, card(t, list, "Big Card (open)")->tiles,
              vulkan_coop_compiled() ? VULKAN_TILES_COOP : VULKAN_TILES_F32);
    CHECK_INT(t, card(t, list, "Small Inside")->tiles, VULKAN_TILES_F32);
    CHECK_INT(t, card(t, list, "Plain Software")->tiles, VULKAN_TILES_NONE);
    vulkan_list_close(list);
    list = open_list_for(t, VULKAN_TILES_INT8);
    CHECK_INT(t, card(t, list, "Plain Software")->tiles, VULKAN_TILES_INT8);
    vulkan_list_close(list);
}

TEST(vulkan_list_asks_for_layered_devices_and_knows_them)
{
    struct vulkan_list *list = open_list(t);
    CHECK(t, card(t, list, "Mac Card")->portable && !card(t, list, "Big Card")->portable);
    vulkan_list_close(list);
}

TEST(vulkan_list_looks_at_the_largest_heap_of_the_card_itself)
{
    const uint64_t gib = 1u << 30;
    uint64_t free_bytes[VK_MAX_MEMORY_HEAPS];
    struct vulkan_list *list = open_list(t);
    const struct vulkan_card *big = card(t, list, "Big Card (open)"), *mac = card(t, list, "Mac Card");
    CHECK_INT(t, vulkan_card_heap(big), 1);
    CHECK_INT(t, big->local_bytes, 24 * gib);
    vulkan_card_free_bytes(&list->api, big, free_bytes);
    CHECK_INT(t, free_bytes[1], 21 * gib);
    CHECK_INT(t, free_bytes[2], 128 * gib);
    vulkan_card_free_bytes(&list->api, mac, free_bytes);
    CHECK_INT(t, free_bytes[vulkan_card_heap(mac)], 16 * gib, "nobody knows what is free");
    CHECK_INT(t, big->queue_family, 1, "the one that does not paint");
    CHECK(t, !big->unified && card(t, list, "Small Inside")->unified);
    vulkan_list_close(list);
}

TEST(vulkan_list_finds_what_a_person_names)
{
    static const struct {
        const char *name, *found, *text;
    } cases[] = {
        { "vulkan", "Big Card (open)", NULL },
        { "Vulkan:2", "Mac Card", NULL },
        { "inside", "Small Inside", NULL },
        { "SOFTWARE", "Plain Software", NULL },
        { "soft", "Plain Software", NULL },
        { "big", "Big Card (open)", NULL },
        { "second best", NULL, "Big Card cannot be used: is here through a better driver too" },
        { "vulkan:7", NULL, "Old Card cannot be used: has Vulkan 1.1, 1.2 is wanted" },
        { "bare", NULL, "Bare Card cannot be used: lacks storageBuffer8BitAccess" },
        { "vulkan:11", NULL, "no device 'vulkan:11' here; there is cpu, vulkan:0 (Big Card (open)), vulkan:1 (Big" },
        { "vulkan:", NULL, "no device 'vulkan:' here; there is cpu, " },
        { "vulkan:2x", NULL, "no device 'vulkan:2x' here; there is cpu, " },
    };
    struct vulkan_list *list = open_list(t);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct vulkan_card *c = NULL;
        struct err e = { 0 };
        enum err_code rc = vulkan_list_find(list, cases[i].name, &c, &e);
        CHECK_INT(t, rc, cases[i].found ? ERR_OK : ERR_DEVICE, "%s: %s", cases[i].name, e.text);
        if (cases[i].found)
            CHECK_TEXT(t, c->name, cases[i].found, "%s", cases[i].name);
        else
            CHECK(t, strncmp(e.text, cases[i].text, strlen(cases[i].text)) == 0, "%s: %s", cases[i].name, e.text);
    }
    vulkan_list_close(list);
}
