/* driver PLAN INPUTS STEPS KERNEL|- STATE_IN|- STATE_OUT OUTPUTS: a model over a file, for tests under emulation.
 *
 * INPUTS and OUTPUTS are little-endian float32, STEPS rows each; STATE_IN is loaded first, STATE_OUT is saved at the end.
 * `-` takes the fastest instruction set, or no state. Prints the instruction set. Exit status: 1 for files, 2 for usage,
 * 10 + egru_status where the library refuses (OUTPUTS then has the steps that were taken).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "egru.h"

static void *allocate(size_t bytes) {
    void *memory = calloc(1, bytes ? bytes : 1);
    if (!memory) {
        fputs("out of memory\n", stderr);
        exit(1);
    }
    return memory;
}

static void *read_file(const char *path, size_t *bytes) {
    FILE *file = fopen(path, "rb");
    void *content;
    long end;
    if (!file || fseek(file, 0, SEEK_END) != 0 || (end = ftell(file)) < 0 || fseek(file, 0, SEEK_SET) != 0) {
        perror(path);
        exit(1);
    }
    *bytes = (size_t)end;
    content = allocate(*bytes);
    if (fread(content, 1, *bytes, file) != *bytes) {
        perror(path);
        exit(1);
    }
    (void)fclose(file);
    return content;
}

static void write_file(const char *path, const void *content, size_t bytes) {
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(content, 1, bytes, file) != bytes || fclose(file) != 0) {
        perror(path);
        exit(1);
    }
}

static void check(egru_status status) {
    if (status != EGRU_OK) {
        fprintf(stderr, "%s\n", egru_strerror(status));
        exit(10 + (int)status);
    }
}

int main(int count, char **arguments) {
    size_t plan_bytes, input_bytes, model_bytes, steps, done;
    void *plan, *memory, *state, *scratch, *saved;
    float *xs, *ys;
    const char *kernel;
    egru_model *model;
    egru_status status;
    if (count != 8) {
        fputs("driver PLAN INPUTS STEPS KERNEL|- STATE_IN|- STATE_OUT OUTPUTS\n", stderr);
        return 2;
    }
    plan = read_file(arguments[1], &plan_bytes);
    xs = read_file(arguments[2], &input_bytes);
    steps = (size_t)strtoul(arguments[3], NULL, 10);
    kernel = strcmp(arguments[4], "-") == 0 ? NULL : arguments[4];
    check(egru_model_size(plan, plan_bytes, kernel, &model_bytes));
    memory = allocate(model_bytes);
    check(egru_model_init(memory, model_bytes, plan, plan_bytes, kernel, &model));
    free(plan);
    if (steps * egru_input_size(model) * 4 != input_bytes) {
        fputs("INPUTS has another number of steps\n", stderr);
        return 2;
    }
    state = allocate(egru_state_size(model));
    scratch = allocate(egru_scratch_size(model, 1));
    ys = allocate(steps * egru_output_size(model) * 4);
    egru_reset(model, state);
    if (strcmp(arguments[5], "-") != 0) {
        size_t saved_bytes;
        saved = read_file(arguments[5], &saved_bytes);
        check(egru_load(model, state, saved, saved_bytes));
        free(saved);
    }
    status = egru_run(model, state, scratch, xs, ys, steps, &done);
    saved = allocate(egru_saved_size(model));
    egru_save(model, state, saved);
    write_file(arguments[6], saved, egru_saved_size(model));
    write_file(arguments[7], ys, done * egru_output_size(model) * 4);
    puts(egru_model_kernel(model));
    check(status);
    free(memory);
    free(state);
    free(scratch);
    free(saved);
    free(xs);
    free(ys);
    return 0;
}
