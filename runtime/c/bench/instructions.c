/* instructions PLAN KERNEL STEPS STREAMS: so many steps of so many streams, one by egru_step, more by egru_step_many, for
 * an emulator that counts instructions (benchmarks/instructions.py).
 */
#include <stdio.h>
#include <stdlib.h>

#include "egru.h"

#define STREAMS 4u

/* Out of one array, so that addresses are the same in every run. */
static void *get(size_t bytes) {
    static unsigned char memory[1 << 25];
    static size_t used;
    void *place = memory + used;
    used += (bytes + 63) / 64 * 64;
    if (used > sizeof memory)
        exit(1);
    return place;
}

int main(int argc, char **argv) {
    unsigned long steps = argc == 5 ? strtoul(argv[3], NULL, 10) : 0;
    unsigned long streams = argc == 5 ? strtoul(argv[4], NULL, 10) : 0;
    FILE *file = argc == 5 ? fopen(argv[1], "rb") : NULL;
    const size_t room = 1 << 23;
    unsigned char *plan = get(room);
    void *states[STREAMS], *scratch;
    egru_model *model;
    size_t bytes, size, which;
    float *xs, *ys;
    if (!file || steps < 1 || streams < 1 || streams > STREAMS) {
        fprintf(stderr, "usage: instructions PLAN KERNEL STEPS STREAMS\n");
        return 2;
    }
    bytes = fread(plan, 1, room, file);
    (void)fclose(file);
    if (egru_model_size(plan, bytes, argv[2], &size) != EGRU_OK ||
        egru_model_init(get(size), size, plan, bytes, argv[2], &model) != EGRU_OK) {
        fprintf(stderr, "no plan, or no such instruction set\n");
        return 1;
    }
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
