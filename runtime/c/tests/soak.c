/* soak STEPS FILE...: golden models over STEPS pseudo-random samples on every instruction set. Integer models must give
 * the same checksum everywhere, all outputs must be finite, and memory must not grow.
 */
#define _POSIX_C_SOURCE 200112L
#include <sys/resource.h>

#include "golden.h"

#define CHUNK 1000u

static long resident(void) {
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? usage.ru_maxrss : 0;
}

/* Steps of one model; the checksum of all outputs and of the state. */
static uint64_t soak(const golden *g, unsigned long steps) {
    egru_model *model = make_model(g, 0);
    size_t size = egru_saved_size(model), inputs = g->inputs * CHUNK;
    void *state = untidy(egru_state_size(model), 0), *scratch = untidy(egru_scratch_size(model, 1), 0);
    unsigned char *saved = untidy(size, 0);
    float *xs = untidy(inputs * 4, 0), *ys = untidy(g->width * CHUNK * 4, 0);
    uint64_t checksum = 14695981039346656037u, random = 1;
    long before = 0;
    fresh(model, state);
    for (unsigned long t = 0; t < steps; t += CHUNK) {
        size_t count = steps - t < CHUNK ? (size_t)(steps - t) : CHUNK;
        for (size_t i = 0; i < inputs; i++) { /* a golden sample, moved a little, and sometimes far away */
            float x = g->samples[i % (g->inputs * g->steps)];
            random = random * 6364136223846793005u + 1442695040888963407u;
            x += (float)(int32_t)(random >> 32) * (random >> 20 & 1023 ? 0x1p-31f : 0x1p-20f);
            xs[i] = x;
        }
        CHECK(egru_run(model, state, scratch, xs, ys, count, NULL) == EGRU_OK);
        egru_save(model, state, saved);
        CHECK(egru_load(model, state, saved, size) == EGRU_OK);
        for (size_t i = 0; i < count * g->width; i++) {
            uint32_t bits;
            memcpy(&bits, &ys[i], 4);
            CHECK(isfinite(ys[i]));
            checksum = (checksum ^ bits) * 1099511628211u;
        }
        if (t == 0)
            before = resident();
    }
    CHECK(egru_steps(model, state) == steps);
    CHECK(resident() == before);
    for (size_t i = 0; i < size; i++)
        checksum = (checksum ^ saved[i]) * 1099511628211u;
    give_back();
    return checksum;
}

int main(int argc, char **argv) {
    unsigned long steps = argc > 1 ? strtoul(argv[1], NULL, 10) : 0;
    if (!steps || argc < 3) {
        fputs("soak STEPS FILE...\n", stderr);
        return 2;
    }
    for (int i = 2; i < argc; i++) {
        golden g = load_golden(argv[i]);
        uint64_t first = 0;
        for (size_t k = 0; built_for(&g) && egru_kernel_name(k); k++) {
            uint64_t checksum;
            kernel_name = egru_kernel_name(k);
            if (!egru_kernel_runs(kernel_name))
                continue;
            checksum = soak(&g, steps);
            CHECK(!first || !g.integer || checksum == first);
            first = checksum;
            printf("%s: %s: %016llx\n", argv[i], kernel_name, (unsigned long long)checksum);
        }
        free(g.bytes);
    }
    printf("soak: %d failures\n", failures);
    return failures != 0;
}
