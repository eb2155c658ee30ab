/* test_limits FILE...: golden models at the limits of a machine: the caller's floating-point modes, denormals, values that
 * leave float32, and how much stack is used.
 */
#define _POSIX_C_SOURCE 200112L
#include <pthread.h>

#include "golden.h"
#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

#define STACK (1u << 20)
#define MOST 4096       /* bytes that the library may use of it, for a step, a saved state or a model */
#define MOST_SIMD 32768 /* the same; clang 14 keeps AVX-512 accumulators there, others stay below MOST */

/* Modes that a caller may have set: rounding, denormals as zero, flags, traps. */
#if defined(__SSE2__)
typedef unsigned mode;
static const mode modes[] = {0x1f80, 0x9fc0, 0x1f80 | 0x2000, 0x1f80 | 0x4000, 0x9fc0 | 0x6000, 0x1fbf, 0x1d00};
static mode get_mode(void) {
    return _mm_getcsr();
}
static void set_mode(mode m) {
    _mm_setcsr(m);
}
#elif defined(__aarch64__)
typedef uint64_t mode;
static const mode modes[] = {0, 1u << 24, 1u << 22, 2u << 22, 1u << 24 | 3u << 22};
static mode get_mode(void) {
    mode m;
    __asm__ volatile("mrs %0, fpcr" : "=r"(m));
    return m;
}
static void set_mode(mode m) {
    __asm__ volatile("msr fpcr, %0" : : "r"(m));
}
#elif defined(__arm__) && defined(__ARM_FP) && !defined(__SOFTFP__)
typedef uint32_t mode;
static const mode modes[] = {0, 1u << 24, 1u << 22, 2u << 22, 1u << 24 | 3u << 22};
static mode get_mode(void) {
    mode m;
    __asm__ volatile("vmrs %0, fpscr" : "=r"(m));
    return m & (1u << 24 | 3u << 22); /* without the flags that comparisons leave there */
}
static void set_mode(mode m) {
    __asm__ volatile("vmsr fpscr, %0" : : "r"(m));
}
#else
typedef int mode;
static const mode modes[] = {0};
static mode get_mode(void) {
    return 0;
}
static void set_mode(mode m) {
    (void)m;
}
#endif

/* The words of a plan where an array of its first standardisation is. */
static unsigned char *coefficients(const golden *g, size_t word) {
    unsigned char *standardise = operation(g, 1);
    return standardise ? array_of(g, standardise, word) : NULL;
}

/* The same bits in every mode, which is as it was afterwards. */
static void test_modes(const golden *g, const float *samples) {
    egru_model *model = make_model(g, 0);
    size_t outputs = g->width * g->steps * 4, size = egru_saved_size(model), which;
    void *scratch = untidy(egru_scratch_size(model, 1), 0), *state = untidy(egru_state_size(model), 0);
    float *y = untidy(outputs, 0), *first = untidy(outputs, 0);
    unsigned char *saved = untidy(size, 0), *first_saved = untidy(size, 0);
    mode usual = get_mode();
    for (size_t m = 0; m < sizeof modes / sizeof *modes; m++) {
        egru_status alone, together;
        mode between, after;
        fresh(model, state);
        set_mode(modes[m]);
        alone = egru_run(model, state, scratch, samples, y, g->steps - 1, NULL);
        between = get_mode();
        together = egru_step_many(model, &state, 1, scratch, samples + (g->steps - 1) * g->inputs,
                                  y + (g->steps - 1) * g->width, &which);
        after = get_mode();
        set_mode(usual);
        CHECK(alone == EGRU_OK && together == EGRU_OK);
        CHECK(between == modes[m] && after == modes[m]);
        egru_save(model, state, m ? saved : first_saved);
        if (m == 0)
            memcpy(first, y, outputs);
        else
            CHECK(memcmp(first, y, outputs) == 0 && memcmp(first_saved, saved, size) == 0);
    }
    give_back();
}

/* Integer models see the sign of a denormal: -1e-40 is below zero, whatever the caller makes of denormals. */
static void test_denormal_samples(const golden *g) {
    unsigned char *b = coefficients(g, 2);
    float *tiny = malloc(g->inputs * g->steps * 4), *small = malloc(g->inputs * g->steps * 4);
    float *y = malloc(g->width * g->steps * 8);
    if (!b || !tiny || !small || !y)
        exit(1);
    for (size_t i = 0; i < g->inputs * g->steps; i++) {
        tiny[i] = i & 1 ? 1e-40f : -1e-40f;
        small[i] = i & 1 ? 1e-25f : -1e-25f;
    }
    if (g->integer)
        memset(b, 0, g->inputs * 4); /* no 0.5 to round by: floor(a x) */
    test_modes(g, tiny);
    for (int k = 0; k < 2; k++) {
        egru_model *model = make_model(g, 0);
        void *state = untidy(egru_state_size(model), 0), *scratch = untidy(egru_scratch_size(model, 1), 0);
        fresh(model, state);
        CHECK(egru_run(model, state, scratch, k ? small : tiny, y + (size_t)k * g->width * g->steps, g->steps, NULL) ==
              EGRU_OK);
        give_back();
    }
    CHECK(same(g, y, y + g->width * g->steps, g->width * g->steps));
    free(y);
    free(small);
    free(tiny);
}

/* A state that dies away, as all weights are zero and h is halved at every step, never holds denormals: those are slow. */
static void test_silence(const golden *g) {
    static const size_t arrays[] = {5, 6, 7, 8};
    egru_model *model;
    size_t size, numbers = word_at(operation(g, 6) + 4 + 4 * 1);
    void *state, *scratch;
    unsigned char *saved, *plan = malloc(g->plan_bytes);
    float *x, *y;
    if (!plan)
        exit(1);
    memcpy(plan, g->plan, g->plan_bytes);
    numbers = word_at(g->plan + 76 + 8 * numbers); /* of h */
    for (size_t i = 0; i < 4; i++)
        memset(array_of(g, operation(g, 6), arrays[i]), 0, 4 * 3 * numbers * (i > 1 ? 1 : i ? numbers : g->inputs));
    model = make_model(g, 0);
    size = egru_saved_size(model);
    state = untidy(egru_state_size(model), 0);
    scratch = untidy(egru_scratch_size(model, 1), 0);
    saved = untidy(size, 0);
    x = untidy(g->inputs * 4, 0);
    y = untidy(g->width * 4, 0);
    memset(x, 0, g->inputs * 4);
    CHECK(egru_load(model, state, g->state, size) == EGRU_OK);
    for (int t = 0; t < 160; t++) {
        CHECK(egru_step(model, state, scratch, x, y) == EGRU_OK);
        egru_save(model, state, saved);
        for (size_t i = 0; i < numbers; i++) {
            uint32_t bits = word_at(saved + 64 + 4 * i) & 0x7fffffff;
            CHECK(bits == 0 || (bits >= 0x00800000 && t < 130));
        }
    }
    memcpy(g->plan, plan, g->plan_bytes);
    free(plan);
    give_back();
}

/* A float model whose values overflow at one sample: that step was not taken, by that stream alone. */
static void test_overflow(const golden *g) {
    unsigned char *std = coefficients(g, 2);
    size_t done = 99, which = 99;
    egru_model *model;
    float *xs, *ys, *y;
    unsigned char *before, *after;
    void *states[6], *alone, *scratch;
    const float divisor = 1e-30f;
    for (size_t i = 0; i < g->inputs; i++)
        memcpy(std + 4 * i, &divisor, 4);
    model = make_model(g, 0);
    alone = untidy(egru_state_size(model), 0);
    scratch = untidy(egru_scratch_size(model, 6), 0);
    before = untidy(egru_saved_size(model), 0);
    after = untidy(egru_saved_size(model), 0);
    xs = untidy(6 * g->inputs * 4, 0);
    ys = untidy(6 * g->width * 4, 0);
    y = untidy(g->width * 4, 0);
    for (size_t s = 0; s < 6; s++) {
        for (size_t i = 0; i < g->inputs; i++) /* the mean, but for the streams 2 and 5 */
            memcpy(&xs[s * g->inputs + i], coefficients(g, 1) + 4 * i, 4);
        for (size_t i = 0; i < g->inputs && s % 3 == 2; i++)
            xs[s * g->inputs + i] = 0x1p61f;
        states[s] = untidy(egru_state_size(model), s);
        fresh(model, states[s]);
    }
    fresh(model, alone);
    CHECK(egru_run(model, alone, scratch, xs, ys, 6, &done) == EGRU_RANGE);
    CHECK(done == 2 && egru_steps(model, alone) == 2);
    egru_save(model, alone, before);
    CHECK(egru_step(model, alone, scratch, xs + 2 * g->inputs, y) == EGRU_RANGE);
    egru_save(model, alone, after);
    CHECK(memcmp(before, after, egru_saved_size(model)) == 0);
    CHECK(egru_clipped(model, alone) == 0);
    fresh(model, alone);
    CHECK(egru_step(model, alone, scratch, xs, y) == EGRU_OK); /* as if nothing had been */
    egru_save(model, alone, before);
    CHECK(egru_step_many(model, states, 6, scratch, xs, ys, &which) == EGRU_RANGE);
    CHECK(which == 2);
    for (size_t s = 0; s < 6; s++) {
        egru_save(model, states[s], after);
        CHECK(egru_steps(model, states[s]) == (s % 3 != 2));
        CHECK(s % 3 == 2 || memcmp(before, after, egru_saved_size(model)) == 0);
        CHECK(s % 3 == 2 || memcmp(ys + s * g->width, y, g->width * 4) == 0);
    }
    give_back();
}

/* What a thread runs on a painted stack. */
typedef struct {
    const golden *g;
    egru_model *model;
    void *memory, *states[5], *scratch, *saved;
    float *xs, *ys;
    size_t size;
    int what;
    uintptr_t top;
} job;

static void *work(void *argument) {
    job *j = argument;
    volatile unsigned char here = 0;
    size_t which;
    j->top = (uintptr_t)&here;
    if (j->what == 0) {
        (void)egru_step(j->model, j->states[0], j->scratch, j->xs, j->ys);
        (void)egru_step_many(j->model, j->states, 5, j->scratch, j->xs, j->ys, &which);
        egru_save(j->model, j->states[0], j->saved);
        (void)egru_load(j->model, j->states[0], j->saved, egru_saved_size(j->model));
    } else if (j->what == 1) {
        (void)egru_model_init(j->memory, j->size, j->g->plan, j->g->plan_bytes, kernel_name, &j->model);
    }
    return NULL;
}

/* Bytes of stack below `work`. */
static size_t depth(job *j) {
    size_t size = STACK, lowest = 0;
    unsigned char *stack = NULL;
    pthread_attr_t attributes;
    pthread_t thread;
    if (posix_memalign((void **)&stack, 65536, size) != 0)
        exit(1);
    memset(stack, 0xc3, size);
    (void)pthread_attr_init(&attributes);
    if (pthread_attr_setstack(&attributes, stack, size) != 0 ||
        pthread_create(&thread, &attributes, work, j) != 0 || pthread_join(thread, NULL) != 0)
        exit(1);
    (void)pthread_attr_destroy(&attributes);
    while (lowest < size && stack[lowest] == 0xc3)
        lowest++;
    size = (size_t)(j->top - (uintptr_t)stack) - lowest;
    free(stack);
    return size;
}

static void test_stack(const golden *g, size_t *of_step, size_t *of_model) {
    job j;
    size_t outside;
    j.g = g;
    j.model = make_model(g, 0);
    CHECK(egru_model_size(g->plan, g->plan_bytes, kernel_name, &j.size) == EGRU_OK);
    j.memory = untidy(j.size, 0);
    j.scratch = untidy(egru_scratch_size(j.model, 5), 0);
    j.saved = untidy(egru_saved_size(j.model), 0);
    j.xs = untidy(5 * g->inputs * 4, 0);
    j.ys = untidy(5 * g->width * 4, 0);
    for (size_t s = 0; s < 5; s++) {
        j.states[s] = untidy(egru_state_size(j.model), 0);
        fresh(j.model, j.states[s]);
        memcpy(j.xs + s * g->inputs, g->samples, g->inputs * 4);
    }
    for (j.what = 0; j.what < 2; j.what++)
        work(&j); /* so that the dynamic linker has bound everything */
    j.what = 2;
    outside = depth(&j);
    for (j.what = 0; j.what < 2; j.what++) {
        size_t used = depth(&j), *most = j.what ? of_model : of_step;
        CHECK(outside < MOST);
        *most = used > *most ? used : *most;
    }
    give_back();
}

int main(int argc, char **argv) {
    for (size_t k = 0; egru_kernel_name(k); k++) {
        size_t of_step = 0, of_model = 0;
        kernel_name = egru_kernel_name(k);
        if (!egru_kernel_runs(kernel_name))
            continue;
        for (int i = 1; i < argc; i++) {
            golden g = load_golden(argv[i]);
            if (built_for(&g)) {
                test_modes(&g, g.samples);
                if (strstr(argv[i], "/float.golden")) /* one GRU behind the standardisation */
                    test_silence(&g);
                test_stack(&g, &of_step, &of_model);
                if (coefficients(&g, 2)) {
                    test_denormal_samples(&g); /* changes the plan */
                    if (!g.integer && !operation(&g, 14)) /* which reads another number of samples than it standardises */
                        test_overflow(&g);
                }
            }
            free(g.bytes);
        }
        printf("%s: at most %zu bytes of stack for steps and states, %zu for a model\n", kernel_name, of_step, of_model);
#if !defined(__SANITIZE_ADDRESS__) && !defined(SANITIZED)
        CHECK(of_step <= (strcmp(kernel_name, "portable") == 0 ? MOST : MOST_SIMD) && of_model <= MOST);
#endif
    }
    printf("limits: %d failures\n", failures);
    return failures != 0;
}
