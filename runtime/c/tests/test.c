/* test FILE...: golden vectors on every instruction set that runs here, and what egru.h promises of steps and states:
 * any alignment, any chunking, many streams, refusals that change nothing, no allocation.
 */
#include "golden.h"

/* The linker's --wrap counts every allocation of this program. */
static unsigned long allocations;
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

/* Every alignment of every block, which begins full of rubbish; some single steps, then the rest in one run. */
static void test_outputs(const golden *g) {
    for (size_t offset = 0; offset < 64; offset++) {
        egru_model *model = make_model(g, offset);
        size_t done = 0, first = offset % (g->steps + 1);
        void *state = untidy(egru_state_size(model), offset + 1);
        void *scratch = untidy(egru_scratch_size(model, 1), offset + 3);
        float *y = untidy(g->width * g->steps * 4, 0);
        unsigned char *saved = untidy(egru_saved_size(model), offset);
        unsigned long before = allocations;
        CHECK(strcmp(egru_model_kernel(model), kernel_name) == 0);
        CHECK(egru_input_size(model) == g->inputs && egru_output_size(model) == g->width);
        fresh(model, state);
        for (size_t t = 0; t < first; t++)
            CHECK(egru_step(model, state, scratch, g->samples + t * g->inputs, y + t * g->width) == EGRU_OK);
        CHECK(egru_run(model, state, scratch, g->samples + first * g->inputs, y + first * g->width, g->steps - first,
                       &done) == EGRU_OK);
        egru_save(model, state, saved);
        CHECK(allocations == before);
        CHECK(done == g->steps - first);
        CHECK(same(g, y, g->outputs, g->width * g->steps));
        CHECK(egru_steps(model, state) == g->steps);
        CHECK(memcmp(saved, g->state, 64) == 0); /* header: identity, counts */
        if (g->integer)
            CHECK(memcmp(saved, g->state, egru_saved_size(model)) == 0);
        give_back();
    }
}

/* Runs of every length, in the same bits as one run; reset begins again. */
static void test_chunks(const golden *g) {
    egru_model *model = make_model(g, 0);
    size_t bytes = g->width * g->steps * 4, size = egru_saved_size(model), done;
    void *state = untidy(egru_state_size(model), 0), *scratch = untidy(egru_scratch_size(model, 1), 0);
    float *whole = untidy(bytes, 0), *parts = untidy(bytes, 0);
    unsigned char *after_whole = untidy(size, 0), *after_parts = untidy(size, 0);
    fresh(model, state);
    CHECK(egru_run(model, state, scratch, g->samples, whole, g->steps, NULL) == EGRU_OK);
    egru_save(model, state, after_whole);
    for (size_t chunk = 1; chunk < g->steps; chunk++) {
        fresh(model, state);
        CHECK(egru_steps(model, state) == 0 && egru_clipped(model, state) == 0);
        for (size_t t = 0; t < g->steps; t += chunk) {
            size_t steps = g->steps - t < chunk ? g->steps - t : chunk;
            CHECK(egru_run(model, state, scratch, g->samples + t * g->inputs, parts + t * g->width, 0, &done) == EGRU_OK);
            CHECK(done == 0);
            CHECK(egru_run(model, state, scratch, g->samples + t * g->inputs, parts + t * g->width, steps, &done) ==
                  EGRU_OK);
            CHECK(done == steps);
            memset(scratch, 0x5a, egru_scratch_size(model, 1)); /* nothing is kept there */
        }
        egru_save(model, state, after_parts);
        CHECK(memcmp(whole, parts, bytes) == 0);
        CHECK(memcmp(after_whole, after_parts, size) == 0);
    }
    give_back();
}

/* Streams that step together, each at another place of the samples, in the same bits as alone. */
static void test_many_streams(const golden *g) {
    egru_model *model = make_model(g, 0);
    size_t inputs = g->inputs, width = g->width, size = egru_saved_size(model);
    for (size_t n = 1; n <= 9; n++) {
        void *states[9], *alone[9], *scratch = untidy(egru_scratch_size(model, n), n);
        float *xs = untidy(n * inputs * 4, 0), *ys = untidy(n * width * 4, 0), *y = untidy(width * 4, 0);
        unsigned char *saved = untidy(size, 0), *other = untidy(size, 0);
        size_t which = 99;
        for (size_t s = 0; s < n; s++) {
            states[s] = untidy(egru_state_size(model), s);
            alone[s] = untidy(egru_state_size(model), 0);
            fresh(model, states[s]);
            fresh(model, alone[s]);
        }
        for (size_t t = 0; t < g->steps; t++) {
            unsigned long before = allocations;
            for (size_t s = 0; s < n; s++)
                memcpy(xs + s * inputs, g->samples + (t + s) % g->steps * inputs, inputs * 4);
            CHECK(egru_step_many(model, states, n, scratch, xs, ys, &which) == EGRU_OK);
            for (size_t s = 0; s < n; s++) {
                CHECK(egru_step(model, alone[s], scratch, xs + s * inputs, y) == EGRU_OK);
                CHECK(memcmp(ys + s * width, y, width * 4) == 0);
            }
            CHECK(allocations == before);
        }
        for (size_t s = 0; s < n; s++) {
            egru_save(model, states[s], saved);
            egru_save(model, alone[s], other);
            CHECK(memcmp(saved, other, size) == 0);
        }
        xs[(n - 1) * inputs] = NAN;
        CHECK(egru_step_many(model, states, n, scratch, xs, ys, &which) == EGRU_INPUT);
        CHECK(which == n - 1);
        egru_save(model, states[0], other);
        CHECK(n > 1 || memcmp(saved, other, size) == 0);
        CHECK(egru_steps(model, states[0]) == g->steps);
    }
    CHECK(egru_step_many(model, NULL, 0, untidy(egru_scratch_size(model, 0), 0), NULL, NULL, NULL) == EGRU_OK);
    give_back();
}

/* A saved state goes on where it was; every byte of it counts. */
static void test_states(const golden *g) {
    egru_model *model = make_model(g, 5);
    size_t size = egru_saved_size(model);
    void *state = untidy(egru_state_size(model), 9), *scratch = untidy(egru_scratch_size(model, 1), 0);
    void *other = untidy(egru_state_size(model), 2);
    unsigned char *saved = untidy(size, 3), *broken = untidy(size + 1, 0);
    float *y = untidy(g->width * 4, 0), *again = untidy(g->width * 4, 0);
    CHECK(egru_load(model, state, g->state, size) == EGRU_OK); /* into memory that was never reset */
    egru_save(model, state, saved);
    CHECK(memcmp(saved, g->state, size) == 0);
    CHECK(egru_step(model, state, scratch, g->samples, y) == EGRU_OK);
    CHECK(egru_load(model, other, saved, size) == EGRU_OK);
    CHECK(egru_step(model, other, scratch, g->samples, again) == EGRU_OK);
    CHECK(memcmp(y, again, g->width * 4) == 0);
    egru_save(model, state, saved);
    memcpy(broken, saved, size);
    for (size_t i = 0; i < size; i++) {
        for (int bit = 0; bit < 8; bit++) {
            broken[i] = (unsigned char)(saved[i] ^ 1 << bit);
            CHECK(egru_load(model, state, broken, size) == EGRU_STATE);
        }
        broken[i] = saved[i];
        CHECK(egru_load(model, state, saved, i) == EGRU_STATE);
    }
    CHECK(egru_load(model, state, broken, size + 1) == EGRU_STATE);
    egru_save(model, state, broken);
    CHECK(memcmp(saved, broken, size) == 0);
    give_back();
}

/* Whenever a state is saved, another stream goes on from it in the same bits. */
static void test_resuming(const golden *g) {
    egru_model *model = make_model(g, 0);
    size_t row = g->width * 4, size = egru_saved_size(model);
    void *first = untidy(egru_state_size(model), 0), *second = untidy(egru_state_size(model), 7);
    void *scratch = untidy(egru_scratch_size(model, 1), 0);
    float *whole = untidy(row * g->steps, 0), *rest = untidy(row * g->steps, 0);
    unsigned char *saved = untidy(size, 0), *end = untidy(size, 0);
    fresh(model, first);
    CHECK(egru_run(model, first, scratch, g->samples, whole, g->steps, NULL) == EGRU_OK);
    egru_save(model, first, end);
    fresh(model, first);
    for (size_t t = 0; t < g->steps; t++) {
        egru_save(model, first, saved);
        CHECK(egru_load(model, second, saved, size) == EGRU_OK);
        CHECK(egru_run(model, second, scratch, g->samples + t * g->inputs, rest, g->steps - t, NULL) == EGRU_OK);
        CHECK(memcmp(rest, whole + t * g->width, row * (g->steps - t)) == 0);
        egru_save(model, second, saved);
        CHECK(memcmp(saved, end, size) == 0);
        CHECK(egru_step(model, first, scratch, g->samples + t * g->inputs, rest) == EGRU_OK);
    }
    give_back();
}

/* States that are not damaged but forged: their checksum is right. */
static void test_forged_states(const golden *g) {
    static const struct {
        size_t place;
        uint32_t value;
    } forgeries[] = {{0, 0x55524744}, {8, 2}, {12, 4}, {16, 1}, {44, 1}, {64, 0x7fffffff}, {64, 0x80000000}, {64, 0x7f800000}};
    egru_model *model = make_model(g, 0);
    size_t size = egru_saved_size(model);
    void *state = untidy(egru_state_size(model), 0);
    unsigned char *forged = untidy(size, 0), *after = untidy(size, 0);
    CHECK(egru_load(model, state, g->state, size) == EGRU_OK);
    for (size_t i = 0; i < sizeof forgeries / sizeof *forgeries; i++) {
        memcpy(forged, g->state, size);
        put_word(forged + forgeries[i].place, forgeries[i].value);
        put_word(forged + size - 4, crc_of(forged, size - 4));
        if (forgeries[i].value != 0x80000000 || g->integer) /* -0 as a float */
            CHECK(egru_load(model, state, forged, size) == EGRU_STATE);
        egru_save(model, state, after);
        CHECK(memcmp(after, g->state, size) == 0 || forgeries[i].value == 0x80000000);
    }
    give_back();
}

/* What is not finite is refused wherever it stands, and nothing has happened. */
static void test_bad_samples(const golden *g) {
    static const float bad[] = {NAN, -NAN, INFINITY, -INFINITY};
    egru_model *model = make_model(g, 0);
    size_t size = egru_saved_size(model), done;
    void *state = untidy(egru_state_size(model), 0), *scratch = untidy(egru_scratch_size(model, 1), 0);
    unsigned char *saved = untidy(size, 0), *after = untidy(size, 0);
    float *xs = untidy(3 * g->inputs * 4, 0), *y = untidy(3 * g->width * 4, 0);
    fresh(model, state);
    for (size_t i = 0; i < g->inputs; i++)
        for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
            memcpy(xs, g->samples, 3 * g->inputs * 4);
            xs[2 * g->inputs + i] = bad[k];
            egru_save(model, state, saved);
            CHECK(egru_step(model, state, scratch, xs + 2 * g->inputs, y) == EGRU_INPUT);
            egru_save(model, state, after);
            CHECK(memcmp(saved, after, size) == 0);
            CHECK(egru_run(model, state, scratch, xs, y, 3, &done) == EGRU_INPUT); /* those before it are taken */
            CHECK(done == 2 && egru_steps(model, state) == 2);
            fresh(model, state);
        }
    give_back();
}

/* 2^61 is taken as 2^60, which is counted; twice where an integer model saturates it again. */
static void test_saturation(const golden *g) {
    egru_model *model = make_model(g, 0);
    size_t size = egru_saved_size(model);
    void *state = untidy(egru_state_size(model), 0), *scratch = untidy(egru_scratch_size(model, 1), 0);
    unsigned char *first = untidy(size, 0), *second = untidy(size, 0);
    float *x = untidy(g->inputs * 4, 0), *y = untidy(g->width * 4, 0), *again = untidy(g->width * 4, 0);
    for (int sign = -1; sign <= 1; sign += 2) {
        egru_status statuses[2];
        uint64_t counts[2];
        for (int far = 0; far < 2; far++) {
            for (size_t i = 0; i < g->inputs; i++)
                x[i] = (float)sign * (far ? 0x1p61f : 0x1p60f);
            fresh(model, state);
            statuses[far] = egru_step(model, state, scratch, x, far ? again : y);
            counts[far] = egru_clipped(model, state);
            egru_save(model, state, far ? second : first);
        }
        CHECK(statuses[0] == statuses[1]);
        if (statuses[0] != EGRU_OK)
            continue;
        CHECK(memcmp(y, again, g->width * 4) == 0);
        if (g->integer && operation(g, 14)) /* features of it are beyond their range too, perhaps */
            CHECK(counts[0] >= g->inputs);
        else
            CHECK(counts[0] == (g->integer ? g->inputs : 0));
        CHECK(counts[1] == counts[0] + g->inputs);
        CHECK(memcmp(first + 64, second + 64, size - 68) == 0);
    }
    give_back();
}

static void test_refusals(const golden *g) {
    size_t size = 0;
    egru_model *model = NULL;
    CHECK(egru_model_size(g->plan, g->plan_bytes, "none", &size) == EGRU_KERNEL);
    CHECK(egru_model_size(g->plan, g->plan_bytes, kernel_name, &size) == EGRU_OK);
    CHECK(egru_model_init(untidy(size, 0), size - 1, g->plan, g->plan_bytes, kernel_name, &model) == EGRU_MEMORY);
    CHECK(egru_model_init(untidy(size, 0), size, g->plan, g->plan_bytes, "", &model) == EGRU_KERNEL);
    CHECK(model == NULL);
    CHECK(!egru_kernel_runs(NULL) && !egru_kernel_runs("none") && egru_kernel_runs(kernel_name));
    for (int status = EGRU_OK; status <= EGRU_STATE + 1; status++)
        CHECK(strlen(egru_strerror((egru_status)status)) > 5);
    give_back();
}

int main(int argc, char **argv) {
    int tested = 0;
    for (int i = 1; i < argc; i++) {
        golden g = load_golden(argv[i]);
        for (size_t k = 0; egru_kernel_name(k); k++) {
            kernel_name = egru_kernel_name(k);
            if (!egru_kernel_runs(kernel_name) || !built_for(&g))
                continue;
            test_outputs(&g);
            test_chunks(&g);
            test_many_streams(&g);
            test_states(&g);
            test_resuming(&g);
            test_forged_states(&g);
            test_bad_samples(&g);
            test_saturation(&g);
            test_refusals(&g);
            tested++;
        }
        free(g.bytes);
    }
    printf("%d golden models on instruction sets, %d failures\n", tested, failures);
    return failures || !tested;
}
