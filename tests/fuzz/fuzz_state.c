/* libFuzzer: a plan, and behind it bytes that claim to be a saved state of its model. A state that is refused changes
 * nothing; one that is accepted steps, is saved as it was, and integer models go on from it with the same bits on every
 * instruction set. The mutator works on the state and mends its checksum, which would hide everything else.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "egru.h"

#define LARGEST (1u << 20) /* bytes, of models and states that are run */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t most);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed);

static void expect(int condition) {
    if (!condition)
        abort();
}

static uint32_t word_at(const uint8_t *bytes) {
    uint32_t word;
    memcpy(&word, bytes, 4);
    return word;
}

/* CRC-32, independent of the library's. */
static uint32_t checksum(const uint8_t *bytes, size_t size) {
    uint32_t crc = 0xffffffffu;
    for (size_t i = 0; i < size; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
    }
    return ~crc;
}

/* Loads the state and goes on from it; 0 where it was refused. `saved` (malloc) becomes the state three steps later. */
static int go_on(const egru_model *model, const uint8_t *state, size_t size, uint8_t **saved) {
    size_t inputs = egru_input_size(model), saved_size = egru_saved_size(model);
    float *x = calloc(inputs, sizeof(float)), *y = calloc(egru_output_size(model), sizeof(float));
    uint8_t *memory = malloc(egru_state_size(model)), *before = malloc(egru_state_size(model));
    void *scratch = malloc(egru_scratch_size(model, 1));
    egru_status status;
    *saved = malloc(saved_size);
    egru_reset(model, memory);
    for (size_t i = 0; i < inputs; i++)
        x[i] = 0.75f;
    (void)egru_step(model, memory, scratch, x, y);
    memcpy(before, memory, egru_state_size(model));
    status = egru_load(model, memory, state, size);
    if (status != EGRU_OK) {
        expect(status == EGRU_STATE && memcmp(before, memory, egru_state_size(model)) == 0);
    } else {
        egru_save(model, memory, *saved);
        expect(size == saved_size && memcmp(state, *saved, size) == 0);
        for (int i = 0; i < 3; i++) {
            egru_status stepped = egru_step(model, memory, scratch, x, y);
            expect(stepped == EGRU_OK || stepped == EGRU_RANGE);
        }
        egru_save(model, memory, *saved);
        expect(egru_load(model, memory, *saved, saved_size) == EGRU_OK);
    }
    free(scratch);
    free(before);
    free(memory);
    free(y);
    free(x);
    return status == EGRU_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    uint8_t *first = NULL;
    uint32_t plan;
    if (size < 128 || (plan = word_at(data + 12)) < 128 || plan > size)
        return 0;
    for (size_t i = 0; egru_kernel_name(i); i++) {
        const char *kernel = egru_kernel_name(i);
        egru_model *model = NULL;
        size_t bytes;
        void *memory;
        if (!egru_kernel_runs(kernel) || egru_model_size(data, plan, kernel, &bytes) != EGRU_OK || bytes > LARGEST)
            continue;
        memory = malloc(bytes);
        if (egru_model_init(memory, bytes, data, plan, kernel, &model) == EGRU_OK &&
            egru_state_size(model) + egru_scratch_size(model, 1) + egru_saved_size(model) <= LARGEST) {
            uint8_t *saved, *state = malloc(size - plan + 1); /* its own block: nothing before or behind it */
            int accepted;
            memcpy(state, data + plan, size - plan);
            accepted = go_on(model, state, size - plan, &saved);
            if (accepted && word_at(data + 56) == 1 && first)
                expect(memcmp(first, saved, egru_saved_size(model)) == 0);
            free(first);
            first = accepted ? saved : NULL;
            if (!accepted)
                free(saved);
            free(state);
        }
        free(memory);
    }
    free(first);
    return 0;
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed) {
    uint32_t plan = size < 128 ? 0 : word_at(data + 12), crc;
    if (plan < 128 || plan > size || size - plan < 68)
        return LLVMFuzzerMutate(data, size, most);
    size = plan + LLVMFuzzerMutate(data + plan, size - plan, most - plan);
    if (seed % 8 && size - plan >= 68) {
        memcpy(data + plan, "EGRUSTAT\1\0\0\0", 12);
        memcpy(data + plan + 16, data + 16, 32);
        crc = checksum(data + plan, size - plan - 4);
        memcpy(data + size - 4, &crc, 4);
    }
    return size;
}
