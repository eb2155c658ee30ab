/* test FILE...: golden vectors (tests/golden/make_kernel_vectors.py) on every instruction set that runs here, and what
 * egru.h promises: any alignment, any chunking, many streams, states, refusals, no allocation, float modes restored.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "egru.h"
#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

static int failures;
static unsigned long allocations;

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: %s, %s: %s\n", __FILE__, __LINE__, file_name, kernel_name, #condition);            \
            failures++;                                                                                                \
        }                                                                                                              \
    } while (0)

static const char *file_name = "", *kernel_name = "";

/* The linker's --wrap counts every allocation of this program. */
void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__wrap_malloc(size_t size) {
    allocations++;
    return __real_malloc(size);
}
void *__wrap_calloc(size_t count, size_t size) {
    allocations++;
    return __real_calloc(count, size);
}
void *__wrap_realloc(void *old, size_t size) {
    allocations++;
    return __real_realloc(old, size);
}

typedef struct {
    unsigned char *bytes;
    const unsigned char *plan, *state;
    const float *samples, *outputs;
    size_t plan_bytes, steps;
    int integer;
} golden;

/* Memory at an odd place, full of what was there before. */
static void *untidy(size_t size, size_t offset) {
    unsigned char *memory = malloc(size + offset);
    if (!memory)
        exit(1);
    memset(memory, 0xa5, size + offset);
    return memory + offset;
}

static uint32_t word(const unsigned char *bytes) {
    uint32_t value;
    memcpy(&value, bytes, 4);
    return value;
}

static golden load_golden(const char *path) {
    golden g;
    FILE *file = fopen(path, "rb");
    uint32_t inputs, outputs;
    size_t room = 1u << 20, used;
    if (!file)
        exit(1);
    g.bytes = untidy(room, 0);
    used = fread(g.bytes, 1, room, file);
    fclose(file);
    if (used < 100)
        exit(1);
    g.plan_bytes = word(g.bytes);
    g.steps = word(g.bytes + 4);
    g.plan = g.bytes + 8;
    inputs = word(g.plan + 48);
    outputs = word(g.plan + 52);
    g.integer = word(g.plan + 56) == 1;
    g.samples = (const float *)(const void *)(g.plan + g.plan_bytes);
    g.outputs = g.samples + inputs * g.steps;
    g.state = (const unsigned char *)(g.outputs + outputs * g.steps);
    return g;
}

/* Whether values are the expected ones: integer models in every bit. */
static int same(const golden *g, const float *found, const float *expected, size_t count) {
    float largest = 1;
    if (g->integer)
        return memcmp(found, expected, count * 4) == 0;
    for (size_t i = 0; i < count; i++)
        largest = fmaxf(largest, fabsf(expected[i]));
    for (size_t i = 0; i < count; i++)
        if (!(fabsf(found[i] - expected[i]) <= 1e-6f * largest))
            return 0;
    return 1;
}

static egru_model *make_model(const golden *g, size_t offset) {
    egru_model *model = NULL;
    size_t size = 0;
    CHECK(egru_model_size(g->plan, g->plan_bytes, kernel_name, &size) == EGRU_OK);
    CHECK(egru_model_init(untidy(size, offset), size - 1, g->plan, g->plan_bytes, kernel_name, &model) == EGRU_MEMORY);
    CHECK(egru_model_init(untidy(size, offset), size, g->plan, g->plan_bytes, kernel_name, &model) == EGRU_OK);
    if (!model)
        exit(1);
    CHECK(strcmp(egru_model_kernel(model), kernel_name) == 0);
    return model;
}

static void test_outputs(const golden *g) {
    for (size_t offset = 0; offset < 64; offset += 7) {
        egru_model *model = make_model(g, offset);
        size_t width = egru_output_size(model), inputs = egru_input_size(model), done = 0, first = offset % g->steps;
        void *state = untidy(egru_state_size(model), offset + 1);
        void *scratch = untidy(egru_scratch_size(model, 1), offset + 3);
        float *y = untidy(width * g->steps * 4, 0);
        unsigned char *saved = untidy(egru_saved_size(model), offset);
        unsigned long before;
        egru_reset(model, state);
        before = allocations;
        for (size_t t = 0; t < first; t++) /* some steps, then the rest in one run */
            CHECK(egru_step(model, state, scratch, g->samples + t * inputs, y + t * width) == EGRU_OK);
        CHECK(egru_run(model, state, scratch, g->samples + first * inputs, y + first * width, g->steps - first, &done) ==
              EGRU_OK);
        egru_save(model, state, saved);
        CHECK(allocations == before);
        CHECK(done == g->steps - first);
        CHECK(same(g, y, g->outputs, width * g->steps));
        CHECK(egru_steps(model, state) == g->steps);
        CHECK(memcmp(saved, g->state, 64) == 0); /* header: identity, counts */
        if (g->integer)
            CHECK(memcmp(saved, g->state, egru_saved_size(model)) == 0);
    }
}

static void test_many_streams(const golden *g) {
    egru_model *model = make_model(g, 0);
    size_t width = egru_output_size(model), inputs = egru_input_size(model), which = 0;
    for (size_t n = 1; n <= 9; n++) {
        void *states[9], *scratch = untidy(egru_scratch_size(model, n), n);
        float *xs = untidy(n * inputs * 4, 0), *ys = untidy(n * width * 4, 0);
        for (size_t s = 0; s < n; s++) {
            states[s] = untidy(egru_state_size(model), s);
            egru_reset(model, states[s]);
        }
        for (size_t t = 0; t < g->steps; t++) {
            unsigned long before = allocations;
            for (size_t s = 0; s < n; s++)
                memcpy(xs + s * inputs, g->samples + t * inputs, inputs * 4);
            CHECK(egru_step_many(model, states, n, scratch, xs, ys, &which) == EGRU_OK);
            CHECK(allocations == before);
            for (size_t s = 0; s < n; s++) {
                CHECK(same(g, ys + s * width, g->outputs + t * width, width));
                CHECK(memcmp(ys + s * width, ys, width * 4) == 0); /* wherever in the batch it is */
            }
        }
        memcpy(xs + (n - 1) * inputs, &(float){NAN}, 4);
        CHECK(egru_step_many(model, states, n, scratch, xs, ys, &which) == EGRU_INPUT);
        CHECK(which == n - 1);
        CHECK(egru_steps(model, states[0]) == g->steps);
    }
}

static void test_states(const golden *g) {
    egru_model *model = make_model(g, 5);
    size_t size = egru_saved_size(model), width = egru_output_size(model), inputs = egru_input_size(model);
    void *state = untidy(egru_state_size(model), 9), *scratch = untidy(egru_scratch_size(model, 1), 0);
    unsigned char *saved = untidy(size, 3), *broken = untidy(size + 1, 0);
    float *y = untidy(width * 4, 0), *again = untidy(width * 4, 0);
    egru_reset(model, state);
    CHECK(egru_load(model, state, g->state, size) == EGRU_OK);
    egru_save(model, state, saved);
    CHECK(memcmp(saved, g->state, size) == 0);
    CHECK(egru_step(model, state, scratch, g->samples, y) == EGRU_OK);
    CHECK(egru_load(model, state, saved, size) == EGRU_OK);
    CHECK(egru_step(model, state, scratch, g->samples, again) == EGRU_OK);
    CHECK(memcmp(y, again, width * 4) == 0);
    egru_save(model, state, saved);
    for (size_t i = 0; i < size; i++) {
        memcpy(broken, saved, size);
        broken[i] ^= 0x41;
        CHECK(egru_load(model, state, broken, size) == EGRU_STATE);
        CHECK(egru_load(model, state, saved, i) == EGRU_STATE);
    }
    CHECK(egru_load(model, state, broken, size + 1) == EGRU_STATE);
    egru_save(model, state, broken);
    CHECK(memcmp(saved, broken, size) == 0);
    for (int k = 0; k < 3; k++) {
        float *x = untidy(inputs * 4, 0), bad[] = {NAN, INFINITY, -INFINITY};
        memcpy(x, g->samples, inputs * 4);
        x[inputs - 1] = bad[k];
        CHECK(egru_step(model, state, scratch, x, y) == EGRU_INPUT);
        egru_save(model, state, broken);
        CHECK(memcmp(saved, broken, size) == 0);
    }
    egru_reset(model, state);
    CHECK(egru_steps(model, state) == 0 && egru_clipped(model, state) == 0);
}

static void test_float_modes(const golden *g) {
#if defined(__SSE2__)
    static const unsigned modes[] = {0x1f80, 0x9fc0, 0x1f80 | 0x2000, 0x1f80 | 0x4000, 0x1f80 | 0x6000};
    egru_model *model = make_model(g, 0);
    size_t width = egru_output_size(model);
    void *scratch = untidy(egru_scratch_size(model, 1), 0), *state = untidy(egru_state_size(model), 0);
    float *y = untidy(width * g->steps * 4, 0), *first = untidy(width * g->steps * 4, 0);
    unsigned usual = _mm_getcsr();
    for (size_t m = 0; m < sizeof modes / sizeof *modes; m++) {
        egru_status status;
        unsigned after;
        egru_reset(model, state);
        _mm_setcsr(modes[m]);
        status = egru_run(model, state, scratch, g->samples, y, g->steps, NULL);
        after = _mm_getcsr();
        _mm_setcsr(usual);
        CHECK(status == EGRU_OK);
        CHECK(after == modes[m]);
        if (m == 0)
            memcpy(first, y, width * g->steps * 4);
        CHECK(memcmp(first, y, width * g->steps * 4) == 0);
    }
#else
    (void)g;
#endif
}

static void test_refusals(const golden *g) {
    size_t size = 0;
    unsigned char *plan = untidy(g->plan_bytes + 1, 0);
    memcpy(plan, g->plan, g->plan_bytes);
    CHECK(egru_model_size(plan, g->plan_bytes, "none", &size) == EGRU_KERNEL);
    for (size_t i = 0; i < g->plan_bytes; i += i < 80 ? 1 : 97)
        CHECK(egru_model_size(plan, i, kernel_name, &size) == EGRU_PLAN);
    CHECK(egru_model_size(plan, g->plan_bytes + 1, kernel_name, &size) == EGRU_PLAN);
    for (size_t i = 0; i < 16; i++) {
        plan[i] ^= 0x10;
        CHECK(egru_model_size(plan, g->plan_bytes, kernel_name, &size) == EGRU_PLAN);
        plan[i] ^= 0x10;
    }
    for (int status = EGRU_OK; status <= EGRU_STATE; status++)
        CHECK(strlen(egru_strerror((egru_status)status)) > 5);
}

int main(int argc, char **argv) {
    int tested = 0;
    for (int i = 1; i < argc; i++) {
        golden g = load_golden(argv[i]);
        file_name = argv[i];
        for (size_t k = 0; egru_kernel_name(k); k++) {
            kernel_name = egru_kernel_name(k);
            if (!egru_kernel_runs(kernel_name))
                continue;
            test_outputs(&g);
            test_many_streams(&g);
            test_states(&g);
            test_float_modes(&g);
            test_refusals(&g);
            tested++;
        }
    }
    printf("%d models on instruction sets, %d failures\n", tested, failures);
    return failures || !tested;
}
