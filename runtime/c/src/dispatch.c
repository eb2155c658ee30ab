/* Which instruction set computes. */
#include "internal.h"

#include <string.h>

static const egru_kernel *const kernels[] = {
#ifdef EGRU_X86
    &egru_avx512, &egru_avx2, &egru_sse2,
#endif
#ifdef EGRU_DOTPROD
    &egru_dotprod,
#endif
#ifdef EGRU_NEON
    &egru_neon,
#endif
    &egru_portable, NULL,
};

const char *egru_kernel_name(size_t index) {
    return index < sizeof kernels / sizeof *kernels && kernels[index] ? kernels[index]->name : NULL;
}

const egru_kernel *egru_find_kernel(const char *name) {
    for (size_t i = 0; kernels[i]; i++)
        if ((!name || strcmp(name, kernels[i]->name) == 0) && kernels[i]->runs())
            return kernels[i];
    return NULL;
}

int egru_kernel_runs(const char *name) {
    return name && egru_find_kernel(name) != NULL;
}
