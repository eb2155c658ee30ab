/* What a program needs of a bare board: files of the host by semihosting, and how deep its stack was. */
#ifndef BOARD_H
#define BOARD_H

#include <stddef.h>
#include <stdint.h>

int board_open(const char *name, int write); /* a file of the host; -1 where it cannot be opened */
size_t board_read(int file, void *bytes, size_t size); /* returns how many bytes were read */
void board_write(int file, const void *bytes, size_t size);
void board_print(const char *text);
_Noreturn void board_exit(int status);

extern uint32_t board_stack_limit[], board_stack_top[]; /* of the linker's script */

static inline uint32_t *board_stack_pointer(void) {
    uint32_t *place;
#ifdef __riscv
    __asm__ volatile("mv %0, sp" : "=r"(place));
#else
    __asm__ volatile("mov %0, sp" : "=r"(place));
#endif
    return place;
}

#define BOARD_PAINT 0xa5a5a5a5u
#define BOARD_PAINTED 2048 /* words, or what there is */

static inline volatile uint32_t *board_stack_bottom(uint32_t *end) {
    return end - board_stack_limit > BOARD_PAINTED ? end - BOARD_PAINTED : board_stack_limit;
}

/* What lies below the stack of the caller is painted; later in the same function, how many bytes below it were used. */
static inline void board_paint_stack(void) {
    uint32_t *end = board_stack_pointer();
    for (volatile uint32_t *place = board_stack_bottom(end); place < end; place++)
        *place = BOARD_PAINT;
}

static inline uint32_t board_stack_used(void) {
    uint32_t *end = board_stack_pointer();
    volatile uint32_t *place = board_stack_bottom(end);
    while (place < end && *place == BOARD_PAINT)
        place++;
    return (uint32_t)(end - place) * 4;
}

int main(void);
#endif
