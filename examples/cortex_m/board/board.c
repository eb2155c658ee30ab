/* Start-up and semihosting of Cortex-M and RISC-V processors, as QEMU and debuggers offer it. */
#include "board.h"

extern uint32_t board_data_start[], board_data_end[], board_data_load[], board_bss_start[], board_bss_end[];

enum { SYS_OPEN = 1, SYS_WRITE0 = 4, SYS_WRITE = 5, SYS_READ = 6, SYS_EXIT_EXTENDED = 0x20 };
enum { OPEN_READ = 1, OPEN_WRITE = 5, APPLICATION_EXIT = 0x20026 };

static uintptr_t host(uintptr_t operation, const void *parameters) {
#ifdef __riscv
    register uintptr_t a0 __asm__("a0") = operation;
    register const void *a1 __asm__("a1") = parameters;
    __asm__ volatile(".option push\n.option norvc\n.balign 16\n"
                     "slli x0, x0, 0x1f\nebreak\nsrai x0, x0, 7\n.option pop"
                     : "+r"(a0) : "r"(a1) : "memory");
    return a0;
#else
    register uintptr_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = parameters;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
#endif
}

int board_open(const char *name, int write) {
    uintptr_t length = 0;
    while (name[length])
        length++;
    uintptr_t parameters[] = {(uintptr_t)name, write ? OPEN_WRITE : OPEN_READ, length};
    return (int)host(SYS_OPEN, parameters);
}

size_t board_read(int file, void *bytes, size_t size) {
    uintptr_t parameters[] = {(uintptr_t)file, (uintptr_t)bytes, size};
    return size - host(SYS_READ, parameters); /* which says how many are missing */
}

void board_write(int file, const void *bytes, size_t size) {
    uintptr_t parameters[] = {(uintptr_t)file, (uintptr_t)bytes, size};
    if (host(SYS_WRITE, parameters))
        board_exit(3);
}

void board_print(const char *text) {
    host(SYS_WRITE0, text);
}

_Noreturn void board_exit(int status) {
    uintptr_t parameters[] = {APPLICATION_EXIT, (uintptr_t)status};
    for (;;)
        host(SYS_EXIT_EXTENDED, parameters);
}

/* Memory as C expects it, then main. */
static _Noreturn __attribute__((used)) void start(void) {
    const uint32_t *from = board_data_load;
    for (uint32_t *to = board_data_start; to < board_data_end; to++)
        *to = *from++;
    for (uint32_t *to = board_bss_start; to < board_bss_end; to++)
        *to = 0;
#if defined(__ARM_FP) || defined(__ARM_FEATURE_MVE)
    *(volatile uint32_t *)0xe000ed88u |= 0xfu << 20; /* CPACR: the floating-point unit is on */
    __asm__ volatile("dsb\n\tisb" ::: "memory");
#endif
    board_exit(main());
}

#ifdef __riscv
static void fault(void) __attribute__((aligned(4)));
static void fault(void) {
    board_exit(4);
}

__attribute__((naked, section(".start"))) void board_entry(void);
void board_entry(void) {
    __asm__ volatile("la sp, board_stack_top\n\tla t0, %0\n\t.insn i 0x73, 1, x0, t0, 0x305\n\tj %1" ::"i"(fault), "i"(start));
}
#else
static void fault(void) {
    board_exit(4);
}

typedef union {
    const void *stack;
    void (*handler)(void);
} vector;
extern const vector board_entry[16];
const vector board_entry[16] __attribute__((section(".start"), used)) = {
    {board_stack_top},
    {.handler = start},
    {.handler = fault}, {.handler = fault}, {.handler = fault}, {.handler = fault}, {.handler = fault},
};
#endif
