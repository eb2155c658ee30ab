/* Packing for all x86 kernels. */
#include "x86.h"

#ifdef EGRU_X86
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("Os") /* loading is rare */
#endif

EGRU_NOINLINE size_t egru_packed_size(const egru_blocks *shape, uint32_t rows, uint32_t columns) {
    size_t count = 0;
    for (uint32_t blocks = (rows + shape->rows - 1) / shape->rows, first = 0, width; first < blocks; first += width) {
        width = egru_panel(shape, blocks - first);
        count += (size_t)width * egru_groups(shape, width, columns);
    }
    count *= shape->rows * shape->columns * shape->item;
    return (count + EGRU_ALIGN - 1) & ~(size_t)(EGRU_ALIGN - 1);
}

/* In a block: row after row, the columns of each side by side. */
void egru_pack(const egru_blocks *shape, unsigned char *packed, uint32_t *bias, const unsigned char *weights,
               uint32_t rows, uint32_t columns, uint32_t excess) {
    uint32_t blocks = (rows + shape->rows - 1) / shape->rows, item = shape->item;
    memset(packed, 0, egru_packed_size(shape, rows, columns));
    for (uint32_t first = 0, width; first < blocks; first += width) {
        uint32_t groups;
        width = egru_panel(shape, blocks - first);
        groups = egru_groups(shape, width, columns);
        for (uint32_t group = 0; group < groups; group++)
            for (uint32_t row = first * shape->rows; row < (first + width) * shape->rows; row++)
                for (uint32_t j = 0; j < shape->columns; j++, packed += item) {
                    uint32_t column = group * shape->columns + j;
                    if (row < rows && column < columns)
                        memcpy(packed, weights + ((size_t)row * columns + column) * item, item);
                }
    }
    for (size_t i = 0; excess && i < (size_t)rows * columns; i++)
        bias[i / columns] -= (uint32_t)((const int8_t *)weights)[i] * excess;
}
#endif
