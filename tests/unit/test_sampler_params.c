/* SPDX-License-Identifier: MIT */
#include "tests/support/test.h"

#include <stdio.h>

#include "engine/sampler/sampler.h"

TEST(sampler_params_defaults_are_valid)
{
    struct sampler_params p;
    struct err e;
    sampler_params_default(&p);
    CHECK(t, sampler_params_check(&p, 1, &e) == ERR_OK);
    CHECK(t, p.temperature == 0.8f && p.top_k == 40 && p.top_p == 0.95f && p.min_p == 0.05f);
    CHECK(t, p.repeat_last_n == 64 && p.repeat_penalty == 1 && p.typical_p == 1 && p.mirostat == 0);
    CHECK(t, p.dry_base == 1.75f && p.dry_allowed_length == 2 && p.n_dry_breakers == 4);
}

TEST(sampler_params_every_row_can_be_set_and_is_checked)
{
    int n = 0;
    for (const struct sampler_field *f; (f = sampler_field(n)) != NULL; n++) {
        struct sampler_params p;
        struct err e = { 0 };
        char text[64];
        sampler_params_default(&p);
        for (int k = 0; k < 3; k++) {
            double value = k == 0 ? f->min : k == 1 ? f->max : 1;
            if (f->kind == SAMPLER_U64 && k == 1)
                continue;
            if (strcmp(f->name, "mirostat") == 0 && k == 2)
                continue;
            snprintf(text, sizeof text, "%.9g", value);
            CHECK(t, sampler_params_set(&p, f->name, text, &e) == ERR_OK, "%s %s: %s", f->name, text,
                  e.text);
            CHECK(t, sampler_params_check(&p, 10, &e) == ERR_OK, "%s %s: %s", f->name, text, e.text);
        }
        snprintf(text, sizeof text, "%.9g", f->min - 1);
        struct sampler_params before = p;
        CHECK(t, sampler_params_set(&p, f->name, text, &e) == ERR_FORMAT, "%s %s", f->name, text);
        CHECK(t, strstr(e.text, f->name) != NULL, "%s", e.text);
        CHECK(t, sampler_params_set(&p, f->name, "nan", &e) == ERR_FORMAT, "%s", f->name);
        CHECK(t, sampler_params_set(&p, f->name, "1x", &e) == ERR_FORMAT, "%s", f->name);
        CHECK(t, sampler_params_set(&p, f->name, "", &e) == ERR_FORMAT, "%s", f->name);
        if (f->kind == SAMPLER_I32)
            CHECK(t, sampler_params_set(&p, f->name, "0.5", &e) == ERR_FORMAT, "%s", f->name);
        CHECK(t, memcmp(&p, &before, sizeof p) == 0, "%s: what failed changed nothing", f->name);
        CHECK(t, f->help && f->help[0]);
    }
    CHECK(t, n > 20 && sampler_field(-1) == NULL);
}

TEST(sampler_params_texts_say_what_is_wanted)
{
    struct sampler_params p;
    struct err e;
    sampler_params_default(&p);
    CHECK(t, sampler_params_set(&p, "top-p", "1.5", &e) == ERR_FORMAT);
    CHECK_TEXT(t, e.text, "top-p: 1.5 is out of range, 0 to 1 wanted");
    CHECK(t, sampler_params_set(&p, "topp", "1", &e) == ERR_FORMAT);
    CHECK_TEXT(t, e.text, "'topp' is no sampling setting");
    CHECK(t, sampler_params_set(&p, "mirostat", "1", &e) == ERR_FORMAT);
    CHECK_TEXT(t, e.text, "mirostat: version 1 is not offered, 0 or 2 wanted");
    p.min_p = NAN;
    CHECK(t, sampler_params_check(&p, 10, &e) == ERR_FORMAT);
}

TEST(sampler_params_seed_has_all_its_bits)
{
    struct sampler_params p;
    struct err e;
    sampler_params_default(&p);
    CHECK(t, sampler_params_set(&p, "seed", "18446744073709551615", &e) == ERR_OK && p.seed == UINT64_MAX);
    CHECK(t, sampler_params_set(&p, "seed", "9007199254740993", &e) == ERR_OK && p.seed == 9007199254740993u);
    CHECK(t, sampler_params_set(&p, "seed", "18446744073709551616", &e) == ERR_FORMAT);
    CHECK(t, sampler_params_set(&p, "seed", "-1", &e) == ERR_FORMAT);
}

TEST(sampler_params_bias_and_breakers_from_text)
{
    struct sampler_params p;
    struct err e;
    sampler_params_default(&p);
    CHECK(t, sampler_params_set(&p, "logit-bias", "15043+1.5", &e) == ERR_OK);
    CHECK(t, sampler_params_set(&p, "logit-bias", "7-inf", &e) == ERR_OK);
    CHECK(t, p.n_bias == 2 && p.bias[0].token == 15043 && p.bias[0].bias == 1.5f);
    CHECK(t, p.bias[1].token == 7 && p.bias[1].bias == -INFINITY);
    static const char *const wrong[] = { "", "7", "+1", "7+", "7-", "7+x", "7+inf", "7+nan", "-3+1", "7+1e9",
                                         "99999999999+1", "7+1 " };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        CHECK(t, sampler_params_set(&p, "logit-bias", wrong[i], &e) == ERR_FORMAT, "'%s'", wrong[i]);
    CHECK_INT(t, p.n_bias, 2);
    CHECK(t, sampler_params_check(&p, 15043, &e) == ERR_FORMAT);
    CHECK_TEXT(t, e.text, "logit-bias: token 15043, 0 to 15042 exist");
    while (p.n_bias < SAMPLER_MAX_BIAS)
        CHECK(t, sampler_params_set(&p, "logit-bias", "1+1", &e) == ERR_OK);
    CHECK(t, sampler_params_set(&p, "logit-bias", "1+1", &e) == ERR_FORMAT);

    CHECK(t, sampler_params_set(&p, "dry-sequence-breaker", "none", &e) == ERR_OK && p.n_dry_breakers == 0);
    CHECK(t, sampler_params_set(&p, "dry-sequence-breaker", "###", &e) == ERR_OK && p.n_dry_breakers == 1);
    CHECK(t, sampler_params_set(&p, "dry-sequence-breaker", "0123456789012345678901234567890", &e) == ERR_OK);
    CHECK(t, sampler_params_set(&p, "dry-sequence-breaker", "01234567890123456789012345678901", &e) == ERR_FORMAT);
    CHECK(t, sampler_params_set(&p, "dry-sequence-breaker", "", &e) == ERR_FORMAT);
}

TEST(sampler_create_refuses_what_the_check_refuses)
{
    struct sampler_params p;
    struct sampler *s;
    struct err e;
    sampler_params_default(&p);
    CHECK(t, sampler_create(&s, &p, 0, &e) == ERR_FORMAT);
    p.temperature = -1;
    CHECK(t, sampler_create(&s, &p, 10, &e) == ERR_FORMAT);
    sampler_destroy(NULL);
}
