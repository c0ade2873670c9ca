/* SPDX-License-Identifier: MIT */
#include "app/config/environment.h"

#include <langinfo.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>

static const char *text_of(const char *name)
{
    const char *value = getenv(name);
    return value ? value : "";
}

/* The XDG specification wants relative paths ignored. */
static const char *folder_of(const char *name)
{
    const char *value = text_of(name);
    return value[0] == '/' ? value : "";
}

void environment_read(struct environment *env)
{
    const char *accessible = text_of("ACCESSIBLE");
    *env = (struct environment){
        .home = text_of("HOME"),
        .data_home = folder_of("XDG_DATA_HOME"),
        .state_home = folder_of("XDG_STATE_HOME"),
        .cache_home = folder_of("XDG_CACHE_HOME"),
        .root = folder_of("QUIP_ROOT"),
        .term = text_of("TERM"),
        .no_color = text_of("NO_COLOR")[0] != '\0',
        .accessible = accessible[0] && strcmp(accessible, "0") != 0,
        .over_ssh = text_of("SSH_TTY")[0] != '\0',
    };
}

bool environment_is_utf8(void)
{
    locale_t own = newlocale(LC_CTYPE_MASK, "", (locale_t)0);
    bool is_utf8 = own && strcmp(nl_langinfo_l(CODESET, own), "UTF-8") == 0;
    if (own)
        freelocale(own);
    return is_utf8;
}

bool environment_use_utf8(void)
{
    if (setlocale(LC_CTYPE, "") && strcmp(nl_langinfo(CODESET), "UTF-8") == 0)
        return true;
    return setlocale(LC_CTYPE, "C.UTF-8") != NULL;
}
