/* test_plan FILE...: plans that are torn, inconsistent or hostile are refused; what is accepted can be stepped.
 *
 * Every word in front of the data is set to numbers that plans are broken with, one at a time, under sanitizers
 * (make sanitize) and with every instruction set; then come faults that take several words, each known to be one.
 */
#include <time.h>

#include "golden.h"

#define ROOM (1u << 22) /* bytes of states and scratch memory that are stepped with */

enum { STANDARDISE = 1, EMBEDDING, LINEAR = 4, TAPS = 5, GRU = 6, COPY = 9, IDENTITY = 12, LAYER_NORMALISATION, LOG_MEL };

static unsigned long tried, accepted;

/* Exactly that much, so that sanitizers see what is out of bounds. */
static void *exactly(size_t bytes) {
    void *memory = malloc(bytes);
    if (!memory) {
        fputs("out of memory\n", stderr);
        exit(1);
    }
    return memory;
}

static void step(const egru_model *model) {
    size_t inputs = egru_input_size(model);
    void *state = exactly(egru_state_size(model)), *scratch = exactly(egru_scratch_size(model, 1));
    void *saved = exactly(egru_saved_size(model));
    float *xs = exactly(2 * inputs * 4), *ys = exactly(2 * egru_output_size(model) * 4);
    egru_status status;
    for (size_t i = 0; i < 2 * inputs; i++)
        xs[i] = i & 1 ? -1.0e18f : 1.5f;
    egru_reset(model, state);
    status = egru_run(model, state, scratch, xs, ys, 2, NULL);
    CHECK(status == EGRU_OK || status == EGRU_RANGE);
    egru_save(model, state, saved);
    CHECK(egru_load(model, state, saved, egru_saved_size(model)) == EGRU_OK);
    free(ys);
    free(xs);
    free(saved);
    free(scratch);
    free(state);
}

/* Makes a model of a plan and steps it, unless that would take long. */
static egru_status attempt(const unsigned char *plan, size_t bytes) {
    egru_model *model = NULL;
    egru_status status;
    size_t size;
    void *memory;
    tried++;
    status = egru_model_size(plan, bytes, kernel_name, &size);
    if (status != EGRU_OK)
        return status;
    CHECK(size <= (1u << 30) + 64);
    memory = exactly(size);
    status = egru_model_init(memory, size, plan, bytes, kernel_name, &model);
    CHECK((status == EGRU_OK) == (model != NULL));
    if (status == EGRU_OK) {
        accepted++;
        if (egru_state_size(model) + egru_scratch_size(model, 1) + egru_saved_size(model) < ROOM)
            step(model);
    }
    free(memory);
    return status;
}

/* One word after another, set to what breaks things. */
static void test_words(const golden *g) {
    size_t data = word_at(g->plan + 68);
    unsigned char *plan = untidy(g->plan_bytes, 0);
    memcpy(plan, g->plan, g->plan_bytes);
    for (size_t at = 0; at < data; at += 4) {
        uint32_t was = word_at(plan + at);
        const uint32_t values[] = {0,          1,          2,          was + 1,        was - 1,        was + 4,
                                   was * 2,    0x7fffffff, 0x80000000, 0xffffffff,     0xfffffffc,     1u << 24,
                                   1u << 29,   61,         62,         (uint32_t)data, 0x40000000 + was, 0x7fc00000};
        for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
            put_word(plan + at, values[i]);
            if (at < 16 && values[i] != was)
                CHECK(attempt(plan, g->plan_bytes) == EGRU_PLAN);
            else
                (void)attempt(plan, g->plan_bytes);
        }
        put_word(plan + at, was);
    }
    CHECK(attempt(plan, g->plan_bytes) == EGRU_OK);
    for (size_t i = 0; i < g->plan_bytes; i += i < 80 ? 1 : 61) {
        unsigned char *torn = malloc(i + 1); /* for AddressSanitizer: nothing behind it */
        if (!torn)
            exit(1);
        memcpy(torn, plan, i);
        if (i >= 16)
            put_word(torn + 12, (uint32_t)i); /* its length says that it is whole */
        (void)attempt(torn, i);
        if (i < data)
            CHECK(attempt(torn, i) == EGRU_PLAN);
        free(torn);
    }
    give_back();
}

/* A plan that is put together here. */
typedef struct {
    unsigned char bytes[1u << 17], *operation;
    size_t data_bytes;
} built;

static void begin(built *p, uint32_t scheme, uint32_t inputs, uint32_t outputs, uint32_t vectors, uint32_t operations) {
    memset(p, 0, sizeof *p);
    memcpy(p->bytes, "EGRUPLAN", 8);
    put_word(p->bytes + 8, 1);
    put_word(p->bytes + 48, inputs);
    put_word(p->bytes + 52, outputs);
    put_word(p->bytes + 56, scheme);
    put_word(p->bytes + 60, vectors);
    put_word(p->bytes + 64, operations);
    put_word(p->bytes + 68, 72 + 8 * vectors + 80 * operations);
    put_word(p->bytes + 76, inputs);
    p->operation = p->bytes + 72 + 8 * vectors;
    p->data_bytes = 4096; /* zeros */
}

static void set_vector(built *p, uint32_t index, uint32_t kind, uint32_t size) {
    put_word(p->bytes + 72 + 8 * index, kind);
    put_word(p->bytes + 76 + 8 * index, size);
}

static void add(built *p, uint32_t code, const uint32_t *words, size_t count) {
    put_word(p->operation, code);
    for (size_t i = 0; i < count; i++)
        put_word(p->operation + 4 + 4 * i, words[i]);
    p->operation += 80;
}
#define ADD(p, code, ...) add(p, code, (const uint32_t[]){__VA_ARGS__}, sizeof((uint32_t[]){__VA_ARGS__}) / 4)

static egru_status finish(built *p) {
    size_t bytes = word_at(p->bytes + 68) + p->data_bytes;
    put_word(p->bytes + 12, (uint32_t)bytes);
    return attempt(p->bytes, bytes);
}

static void put_float(unsigned char *bytes, float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    put_word(bytes, bits);
}

#define NONE 0xffffffffu

/* y = x, the float model that all others here are variations of. */
static void test_built_plans(void) {
    static built p;
    clock_t began;
    begin(&p, 0, 2, 2, 1, 1);
    ADD(&p, IDENTITY, 0, 0);
    CHECK(finish(&p) == EGRU_OK);

    begin(&p, 0, 2, 2, 2, 1); /* a vector that nothing fills */
    set_vector(&p, 1, 0, 1u << 20);
    ADD(&p, IDENTITY, 0, 0);
    CHECK(finish(&p) == EGRU_PLAN);

    for (uint32_t dynamic = 0; dynamic < 2; dynamic++) /* scales of one of a GRU's matrices alone */
        for (uint32_t which = 1; which < 3; which++) {
            begin(&p, dynamic ? 2 : 0, 2, 2, 2, 2);
            set_vector(&p, 1, 0, 2);
            ADD(&p, GRU, 0, 1, NONE, 0, 2, 0, 256, NONE, NONE, which & 1 ? 0 : NONE, which & 2 ? 0 : NONE);
            ADD(&p, IDENTITY, 1, 0);
            CHECK(finish(&p) == EGRU_PLAN);
        }
    for (uint32_t before = 0; before < 2; before++) { /* both or none are accepted */
        begin(&p, 2, 2, 2, 2, 2);
        set_vector(&p, 1, 0, 2);
        ADD(&p, GRU, 0, 1, NONE, before, 2, 0, 256, NONE, NONE, 512, 768);
        ADD(&p, IDENTITY, 1, 0);
        CHECK(finish(&p) == EGRU_OK);
    }

    for (int i = 0; i < 8; i++) { /* epsilons that are none, weights that are no numbers, integers */
        static const float numbers[][2] = {{1, 1}, {1, 0}, {1, -1}, {1, 1e-40f}, {1, INFINITY}, {NAN, 1}, {INFINITY, 1}, {1, 1}};
        uint32_t integers = i == 7;
        begin(&p, integers, 2, 2, 2, 2);
        set_vector(&p, 1, integers, 2);
        ADD(&p, LAYER_NORMALISATION, 0, 1, 0, 8, 16);
        ADD(&p, IDENTITY, 1, 0, NONE, 0, 24);
        put_float(p.bytes + word_at(p.bytes + 68), numbers[i][0]);
        put_float(p.bytes + word_at(p.bytes + 68) + 16, numbers[i][1]);
        CHECK(finish(&p) == (i ? EGRU_PLAN : EGRU_OK));
    }

    for (int i = 0; i < 6; i++) { /* deviations that are no numbers to divide by */
        static const float deviations[] = {1, 0, -1, 1e-40f, -0.0f, NAN};
        begin(&p, 0, 1, 1, 2, 2);
        set_vector(&p, 1, 0, 1);
        ADD(&p, STANDARDISE, 1, 0, 4);
        ADD(&p, IDENTITY, 1, 0);
        put_float(p.bytes + word_at(p.bytes + 68) + 4, deviations[i]);
        CHECK(finish(&p) == (i ? EGRU_PLAN : EGRU_OK));
    }

    for (int i = 0; i < 3; i++) { /* a table with a number that is none; weights of -128 */
        begin(&p, i < 2 ? 0 : 2, 1, 1, 2, 2);
        set_vector(&p, 1, 0, 1);
        ADD(&p, EMBEDDING, 1, 4, 0, i < 2 ? NONE : 16);
        ADD(&p, IDENTITY, 1, 0);
        if (i == 1)
            put_float(p.bytes + word_at(p.bytes + 68) + 8, -INFINITY);
        if (i == 2)
            p.bytes[word_at(p.bytes + 68) + 1] = 0x80;
        CHECK(finish(&p) == (i ? EGRU_PLAN : EGRU_OK));
    }

    begin(&p, 0, 2, 2, 2, 2); /* a vector copied onto itself, and one that is read while it is filled */
    set_vector(&p, 1, 0, 2);
    ADD(&p, COPY, 1, 1, 0);
    ADD(&p, IDENTITY, 1, 0);
    CHECK(finish(&p) == EGRU_PLAN);
    begin(&p, 0, 1, 2, 2, 2);
    set_vector(&p, 1, 0, 2);
    ADD(&p, COPY, 0, 1, 0);
    ADD(&p, IDENTITY, 1, 0);
    CHECK(finish(&p) == EGRU_PLAN);

    for (uint32_t copies = 0; copies < 2; copies++) { /* more numbers than a sample has; the rest from elsewhere */
        begin(&p, 0, 2, 2000, 2 + copies, 2 + 2 * copies);
        set_vector(&p, 1, 0, 2000);
        if (copies) {
            set_vector(&p, 2, 0, 1998);
            ADD(&p, LINEAR, 0, 2, 0, 0, NONE, NONE);
        }
        ADD(&p, STANDARDISE, 1, 16000, 24000);
        if (copies)
            ADD(&p, COPY, 2, 1, 2);
        ADD(&p, IDENTITY, 1, 0);
        p.data_bytes = 32768;
        for (size_t i = 0; i < 2000; i++)
            put_float(p.bytes + word_at(p.bytes + 68) + 24000 + 4 * i, 1);
        CHECK(finish(&p) == EGRU_PLAN);
    }

    for (uint32_t i = 0; i < 3; i++) { /* written twice, in part twice, and once */
        begin(&p, 0, 2, 4, 2, 3);
        set_vector(&p, 1, 0, 4);
        ADD(&p, COPY, 0, 1, 0);
        ADD(&p, COPY, 0, 1, i);
        ADD(&p, IDENTITY, 1, 0);
        CHECK(finish(&p) == (i < 2 ? EGRU_PLAN : EGRU_OK));
    }
    begin(&p, 0, 2, 2, 2, 3);
    set_vector(&p, 1, 0, 2);
    ADD(&p, COPY, 0, 1, 0);
    ADD(&p, LINEAR, 0, 1, 0, 0, NONE, NONE);
    ADD(&p, IDENTITY, 1, 0);
    CHECK(finish(&p) == EGRU_PLAN);

    /* sizes whose products do not fit 32 bits, or 64 */
    static const uint32_t taps[][3] = {{1u << 24, 1u << 24, 1u << 16}, {1u << 16, 1u << 16, 1},   {65537, 65536, 1},
                                       {2, 1u << 24, 2},               {1u << 24, 2, 1u << 24},   {2, 0, 1},
                                       {0, 1, 1},                      {1, 1, 1},                 {2, NONE, 1},
                                       {NONE, 1, 1},                   {1u << 23, 1u << 23, 2}};
    for (size_t i = 0; i < sizeof taps / sizeof *taps; i++) {
        begin(&p, 0, taps[i][2], taps[i][2] * taps[i][0], 2, 2);
        set_vector(&p, 1, 0, taps[i][2] * taps[i][0]);
        ADD(&p, TAPS, 0, 1, taps[i][0], taps[i][1]);
        ADD(&p, IDENTITY, 1, 0);
        CHECK(finish(&p) == EGRU_PLAN);
    }
    static const uint32_t matrices[][2] = {{1u << 16, 1u << 16}, {1u << 24, 1u << 24}, {1u << 24, 256}, {1u << 8, 1u << 24}};
    for (size_t i = 0; i < sizeof matrices / sizeof *matrices; i++) {
        begin(&p, 2, matrices[i][1], matrices[i][0], 2, 2);
        set_vector(&p, 1, 0, matrices[i][0]);
        ADD(&p, LINEAR, 0, 1, 0, 0, NONE, 0);
        ADD(&p, IDENTITY, 1, 0);
        CHECK(finish(&p) == EGRU_PLAN);
    }

    /* 700 vectors of 64 MiB each: more than a step may take, and than a size_t of 32 bits counts to */
    begin(&p, 0, 1u << 23, 1u << 23, 701, 701);
    for (uint32_t i = 1; i < 701; i++) {
        set_vector(&p, i, 0, 1u << 23);
        ADD(&p, COPY, 0, i, 0);
    }
    ADD(&p, IDENTITY, 0, 0);
    CHECK(word_at(p.bytes + 68) < sizeof p.bytes - 4096);
    CHECK(finish(&p) == EGRU_PLAN);

    /* many rings: saved states beyond what their length can say */
    begin(&p, 0, 1u << 22, 1u << 22, 301, 301);
    for (uint32_t i = 1; i < 301; i++) {
        set_vector(&p, i, 0, 1u << 23);
        ADD(&p, TAPS, 0, i, 2, 2);
    }
    ADD(&p, IDENTITY, 0, 0);
    CHECK(finish(&p) == EGRU_PLAN);

    /* the same weights for many layers: a small plan, a large model */
    begin(&p, 2, 900, 4, 401, 401);
    for (uint32_t i = 1; i < 401; i++) {
        set_vector(&p, i, 0, 4);
        ADD(&p, LINEAR, 0, i, 0, 0, NONE, 3900);
    }
    ADD(&p, IDENTITY, 400, 0);
    CHECK(finish(&p) == EGRU_PLAN);

    /* more heads than can be compared with each other in reasonable time, and heads on top of each other */
    {
        uint32_t heads = 65535;
        size_t bytes = 72 + 8 + 80 * (size_t)heads;
        unsigned char *large = calloc(bytes, 1);
        built *q = malloc(sizeof *q);
        if (!large || !q)
            exit(1);
        begin(q, 0, 1, heads, 1, heads);
        memcpy(large, q->bytes, 80);
        put_word(large + 12, (uint32_t)bytes);
        for (uint32_t i = 0; i < heads; i++) {
            put_word(large + 80 + 80 * (size_t)i, IDENTITY);
            put_word(large + 88 + 80 * (size_t)i, i);
        }
        began = clock();
        (void)attempt(large, bytes);
        CHECK((double)(clock() - began) / CLOCKS_PER_SEC < 0.5);
        free(large);
        free(q);
    }
    for (uint32_t outputs = 3; outputs < 5; outputs++) {
        begin(&p, 0, 2, outputs, 1, 2);
        ADD(&p, IDENTITY, 0, 0);
        ADD(&p, IDENTITY, 0, 1);
        CHECK(finish(&p) == EGRU_PLAN);
    }
    begin(&p, 0, 2, 4, 1, 2);
    ADD(&p, IDENTITY, 0, 2);
    ADD(&p, IDENTITY, 0, 0);
    CHECK(finish(&p) == EGRU_OK);
}

/* Integers that leave the arithmetic's range, in the first GRU of a static model. */
static void test_integers(const golden *g) {
    static const struct {
        size_t word; /* of the operation */
        int in_data;
        uint32_t value;
    } faults[] = {{5, 1, 0x80818283}, {6, 1, 0x80818283}, {7, 1, 0x7fffffff}, {7, 1, 0x80000000}, {9, 1, 1u << 29},
                  {9, 1, NONE},       {10, 1, 1u << 29},  {11, 0, 0},         {11, 0, 62},        {12, 0, 63},
                  {13, 0, 1u << 29},  {14, 0, 0},         {15, 0, NONE},      {16, 0, 62},        {3, 0, 4},
                  {4, 0, 6},          {4, 0, 24},         {2, 0, 0}};
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        unsigned char *gru = operation(g, GRU), *place = gru + 4 + 4 * faults[i].word;
        uint32_t was;
        if (faults[i].in_data)
            place = array_of(g, gru, faults[i].word);
        was = word_at(place);
        put_word(place, faults[i].value);
        CHECK(attempt(g->plan, g->plan_bytes) == EGRU_PLAN);
        put_word(place, was);
    }
    CHECK(attempt(g->plan, g->plan_bytes) == EGRU_OK);
}

/* A first GRU that begins with h0: numbers that no state can have, and an h0 that is not there. */
static void test_initial_state(const golden *g) {
    static const uint32_t beyond[2][3] = {{0x3f800009, 0xff800000, 0x7fc00000}, {0x40000001, 0xbfffffff, 0x80000000}};
    unsigned char *gru = operation(g, GRU), *place = gru + 4 + 4 * 17, *h0;
    uint32_t was;
    if (word_at(gru + 4 + 4 * 3) < 2)
        return;
    h0 = array_of(g, gru, 17);
    was = word_at(h0 + 4);
    for (int i = 0; i < 3; i++) {
        put_word(h0 + 4, beyond[g->integer][i]);
        CHECK(attempt(g->plan, g->plan_bytes) == EGRU_PLAN);
    }
    put_word(h0 + 4, was);
    CHECK(attempt(g->plan, g->plan_bytes) == EGRU_OK);
    was = word_at(place);
    put_word(place, NONE);
    CHECK(attempt(g->plan, g->plan_bytes) == EGRU_PLAN);
    put_word(place, was);
}

/* Tables of a spectrum that would let a sum leave its range, or read what is not there. */
static void test_log_mel(const golden *g) {
    static const struct {
        size_t word, at; /* of the operation, and a word of its array from 1 on; 0: the word itself */
        int float_too;
        uint32_t value;
    } faults[] = {{5, 1, 0, 0x40000401},  {5, 1, 0, 0xbffffbff}, {5, 2, 0, 0x3fffffff}, {5, 1, 1, 0x7fc00000},
                  {6, 1, 1, 0xffffffff},  {6, 1, 1, 0x7fffffff}, {6, 2, 1, 0},          {7, 1, 0, 0x00008000},
                  {7, 1, 0, 0x80000000},  {8, 1, 1, 0},          {8, 2, 0, 0x20000001}, {8, 2, 0, 0xffffffff},
                  {3, 0, 1, 0},           {3, 0, 1, 0xffffffff}, {3, 0, 1, 33},         {2, 0, 1, 0},
                  {4, 0, 1, 0x7ffffffc},  {0, 0, 1, 0xffffffff}, {4, 1, 0, 0x40000001},
                  {4, 1, 0, 0xbfffffff},  {4, 1, 0, 0x80000000}, {4, 1, 1, 0x7fc00000}};
    unsigned char *op = operation(g, LOG_MEL);
    uint32_t vectors = word_at(g->plan + 60);
    if (!op)
        return;
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        size_t word = faults[i].word;
        unsigned char *place = faults[i].at ? array_of(g, op, word) + 4 * (faults[i].at - 1) : op + 4 + 4 * word;
        uint32_t was = word_at(place), value = faults[i].value, before = word_at(array_of(g, op, 6));
        if (!g->integer && !faults[i].float_too && value < 0x7f800000)
            continue;
        if (!g->integer && !faults[i].float_too)
            value = 0x7fc00000;
        if (word == 8 && faults[i].at == 2 && !g->integer)
            continue;
        if (word == 6 && faults[i].at == 2)
            put_word(array_of(g, op, 6), 1); /* edges that fall */
        if (word == 8 && faults[i].at == 1 && g->integer)
            CHECK(word_at(place + 4) == 0);
        put_word(place, value);
        CHECK(attempt(g->plan, g->plan_bytes) == EGRU_PLAN);
        put_word(place, was);
        put_word(array_of(g, op, 6), before);
    }
    for (uint32_t size = 0; size < 64; size++) { /* spectra that are no powers of two, or smaller than the window */
        unsigned char *place = g->plan + 72 + 8 * word_at(op + 12) + 4;
        uint32_t was = word_at(place);
        put_word(place, size);
        if (size < 8 || size < word_at(op + 4 + 4 * 3) || (size & (size - 1)))
            CHECK(attempt(g->plan, g->plan_bytes) == EGRU_PLAN);
        put_word(place, was);
    }
    CHECK(word_at(op + 12) < vectors);
    CHECK(attempt(g->plan, g->plan_bytes) == EGRU_OK);
}

int main(int argc, char **argv) {
    for (size_t k = 0; egru_kernel_name(k); k++) {
        kernel_name = egru_kernel_name(k);
        if (!egru_kernel_runs(kernel_name))
            continue;
        file_name = "plans made here";
        if (EGRU_FLOAT)
            test_built_plans();
        for (int i = 1; i < argc; i++) {
            golden g = load_golden(argv[i]);
            if (built_for(&g)) {
                test_words(&g);
                test_initial_state(&g);
                test_log_mel(&g);
                if (g.integer)
                    test_integers(&g);
            } else { /* what was left out of the library is refused, not stepped over */
                CHECK(attempt(g.plan, g.plan_bytes) != EGRU_OK);
            }
            free(g.bytes);
        }
    }
    printf("%lu broken plans, %lu of them models after all, %d failures\n", tried, accepted, failures);
    return failures != 0;
}
