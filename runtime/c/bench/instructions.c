/* instructions PLAN KERNEL STEPS STREAMS: so many steps of so many streams, for an emulator that counts instructions
 * (benchmarks/instructions.py). One stream: egru_step, else egru_step_many.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "egru.h"

#define STREAMS 4u

/* A static place: where memory lies does not depend on the emulator. */
static void *get(size_t bytes) {
    static unsigned char memory[1 << 26];
    static size_t used;
    void *place = memory + used;
    used += (bytes + 63) / 64 * 64;
    if (used > sizeof memory)
        exit(1);
    return place;
}

int main(int argc, char **argv) {
    unsigned long steps = argc == 5 ? strtoul(argv[3], NULL, 10) : 0, streams = argc == 5 ? strtoul(argv[4], NULL, 10) : 0;
    FILE *file = argc == 5 ? fopen(argv[1], "rb") : NULL;
    unsigned char *plan = get(1 << 24);
    void *states[STREAMS], *scratch;
    egru_model *model;
    size_t plan_bytes, size, which;
    float *xs, *ys;
    if (!file || steps < 1 || streams < 1 || streams > STREAMS) {
        fprintf(stderr, "usage: instructions PLAN KERNEL STEPS STREAMS\n");
        return 2;
    }
    plan_bytes = fread(plan, 1, 1 << 24, file);
    fclose(file);
    if (egru_model_size(plan, plan_bytes, argv[2], &size) != EGRU_OK ||
        egru_model_init(get(size), size, plan, plan_bytes, argv[2], &model) != EGRU_OK)
        return 1;
    scratch = get(egru_scratch_size(model, streams));
    for (unsigned long s = 0; s < streams; s++)
        egru_reset(model, states[s] = get(egru_state_size(model)));
    xs = get(streams * egru_input_size(model) * sizeof *xs);
    ys = get(streams * egru_output_size(model) * sizeof *ys);
    for (size_t i = 0; i < streams * egru_input_size(model); i++)
        xs[i] = (float)(i % 17) / 8.0f - 1.0f;
    for (unsigned long step = 0; step < steps; step++)
        if (streams == 1 ? egru_step(model, states[0], scratch, xs, ys)
                         : egru_step_many(model, states, streams, scratch, xs, ys, &which))
            return 1;
    return 0;
}
