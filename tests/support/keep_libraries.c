/* SPDX-License-Identifier: MIT */
/* For programs with AddressSanitizer that load Vulkan. Drivers, layers and the loader keep memory in variables of
 * their own; once they are unloaded nothing points to it, and LeakSanitizer reports a leak in an unknown module, which
 * no suppression can name. So nothing is unloaded: this stands before the C library's dlclose() for all libraries.
 * Mesa's drivers are clean then. The validation layer is not, and is named. */
#include <dlfcn.h>

const char *__lsan_default_suppressions(void);
const char *__lsan_default_options(void);

int dlclose(void *handle)
{
    (void)handle;
    return 0;
}

const char *__lsan_default_suppressions(void)
{
    return "leak:libVkLayer_khronos_validation.so\n";
}

const char *__lsan_default_options(void)
{
    return "print_suppressions=0";    /* stderr belongs to the program */
}
