/* Products with a packed matrix on Arm, for one kind of operand of one instruction set; included once for each.
 *
 * A block is P_ROWS rows by P_COLUMNS columns in P_BYTES bytes. Blocks stand side by side in panels: for the columns
 * from left to right all blocks of the panel, so that weights are read from front to back, each operand is spread over
 * a register once for the whole panel, and its accumulators do not wait for each other. Before the inclusion are
 * defined: these three; P(name); P_ELEMENT (of operands), P_RESULT (of accumulators in memory), P_ACC, P_OPERAND (in
 * registers); P(zero)(), P(start)(bias), P(spread)(elements), P(add)(acc, operand, weights), P(sum)(acc, acc),
 * P(store)(result, acc); P_WIDE, the blocks of the widest panel, and P_TILE, those that four streams share at a time, 0
 * where it is better that they do not; P_EXACT: 1 where sums may be made in any order.
 *
 * Where instructions pick operands out of a register: P_TURN, the groups that fill one; P(spread_turn)(elements);
 * P(add_turn)(acc, operand, group, weights) with a group of that register; P_READ(weights, place, blocks), which loads
 * P_WEIGHTS (in registers) of up to P_LOAD blocks and returns where the next ones are.
 */

#ifndef P_SIDE
#define P_SIDE P_COLUMNS
#endif

/* Blocks of the next panel: the widest of three that is not too wide. */
static uint32_t P(panel)(uint32_t blocks) {
    return blocks >= P_WIDE ? P_WIDE : blocks >= P_WIDE / 4 ? P_WIDE / 4 : 1;
}

static size_t P(size)(uint32_t rows, uint32_t columns) {
    size_t blocks = ((size_t)rows + P_ROWS - 1) / P_ROWS, groups = ((size_t)columns + P_COLUMNS - 1) / P_COLUMNS;
    return (blocks * groups * P_BYTES + EGRU_ALIGN - 1) & ~(size_t)(EGRU_ALIGN - 1);
}

/* In a block: row after row, P_SIDE columns of each side by side, then the next columns; numbers of `item` bytes. */
static void P(pack)(unsigned char *packed, const unsigned char *weights, uint32_t rows, uint32_t columns, size_t item) {
    uint32_t blocks = (rows + P_ROWS - 1) / P_ROWS, groups = (columns + P_COLUMNS - 1) / P_COLUMNS;
    memset(packed, 0, P(size)(rows, columns));
    for (uint32_t first = 0, width; first < blocks; first += width) {
        width = P(panel)(blocks - first);
        for (uint32_t group = 0; group < groups; group++)
            for (uint32_t block = 0; block < width; block++, packed += P_BYTES)
                for (uint32_t i = 0; i < P_ROWS * P_COLUMNS; i++) {
                    uint32_t row = (first + block) * P_ROWS + i / P_SIDE % P_ROWS;
                    uint32_t column = group * P_COLUMNS + i / (P_ROWS * P_SIDE) * P_SIDE + i % P_SIDE;
                    if (row < rows && column < columns)
                        memcpy(packed + i * item, weights + ((size_t)row * columns + column) * item, item);
                }
    }
}

/* `blocks` neighbouring blocks of a panel, whose groups are `stride` bytes apart, for `count` streams. Where few
 * accumulators would wait for each other there are `split` of each, for every split-th group of columns. */
EGRU_INLINE P_TARGET void P(part)(const unsigned char *w, size_t stride, uint32_t groups, const P_RESULT *bias,
                                  const P_ELEMENT *const *q, P_RESULT *const *result, uint32_t row,
                                  const uint32_t blocks, const uint32_t count, const uint32_t split) {
    P_ACC acc[EGRU_TILE][P_WIDE][4];
    uint32_t group = 0;
    bias += row;
    EGRU_UNROLL for (uint32_t s = 0; s < count; s++)
        EGRU_UNROLL for (uint32_t b = 0; b < blocks; b++)
            EGRU_UNROLL for (uint32_t k = 0; k < split; k++)
                acc[s][b][k] = k ? P(zero)() : P(start)(bias + b * P_ROWS);
#ifdef P_TURN
    for (uint32_t turns = groups / P_TURN; turns; turns--, group += P_TURN) {
        P_OPERAND turn[EGRU_TILE];
        EGRU_UNROLL for (uint32_t s = 0; s < count; s++) turn[s] = P(spread_turn)(q[s] + group * P_COLUMNS);
        EGRU_UNROLL for (uint32_t k = 0; k < P_TURN; k++, w += stride - blocks * P_BYTES)
            EGRU_UNROLL for (uint32_t b = 0; b < blocks; b += P_LOAD) {
                const uint32_t loaded = blocks - b < P_LOAD ? blocks - b : P_LOAD;
                P_WEIGHTS weights[P_LOAD];
                w = P_READ(weights, w, loaded);
                EGRU_UNROLL for (uint32_t s = 0; s < count; s++)
                    EGRU_UNROLL for (uint32_t i = 0; i < loaded; i++)
                        acc[s][b + i][k % split] = P(add_turn)(acc[s][b + i][k % split], turn[s], k, weights[i]);
            }
    }
#endif
    for (; group + split <= groups; group += split, w += split * stride)
        EGRU_UNROLL for (uint32_t k = 0; k < split; k++)
            EGRU_UNROLL for (uint32_t s = 0; s < count; s++) {
                P_OPERAND operand = P(spread)(q[s] + (group + k) * P_COLUMNS);
                EGRU_UNROLL for (uint32_t b = 0; b < blocks; b++)
                    acc[s][b][k] = P(add)(acc[s][b][k], operand, w + k * stride + b * P_BYTES);
            }
    for (; split > 1 && group < groups; group++, w += stride)
        EGRU_UNROLL for (uint32_t s = 0; s < count; s++) {
            P_OPERAND operand = P(spread)(q[s] + group * P_COLUMNS);
            EGRU_UNROLL for (uint32_t b = 0; b < blocks; b++)
                acc[s][b][0] = P(add)(acc[s][b][0], operand, w + b * P_BYTES);
        }
    EGRU_UNROLL for (uint32_t s = 0; s < count; s++) {
        P_RESULT *to = result[s] + row;
        EGRU_UNROLL for (uint32_t b = 0; b < blocks; b++) {
            P_ACC total = acc[s][b][0];
            EGRU_UNROLL for (uint32_t k = 1; k < split; k++)
                total = P(sum)(total, acc[s][b][k]);
            P(store)(to + b * P_ROWS, total);
        }
    }
}

/* Sums of floats are made in one order, however many streams there are: it follows from the panel. */
#define P_SPLIT(blocks) ((blocks) == 1 ? 4 : 1)

#if P_TILE
/* Streams that share weights while they are in registers: few blocks at a time. */
P_TARGET static void P(tile)(const egru_matrix *m, const P_ELEMENT *const *q, P_RESULT *const *result) {
    const unsigned char *w = m->weights;
    const P_RESULT *bias = m->bias;
    uint32_t blocks = (m->rows + P_ROWS - 1) / P_ROWS, groups = (m->columns + P_COLUMNS - 1) / P_COLUMNS;
    for (uint32_t first = 0, width; first < blocks; first += width, w += (size_t)width * groups * P_BYTES) {
        uint32_t row = first * P_ROWS, part;
        size_t stride;
        width = P(panel)(blocks - first);
        stride = (size_t)width * P_BYTES;
        part = width < P_TILE ? width : P_TILE;
        for (uint32_t b = 0; b < width; b += part, row += part * P_ROWS) {
            if (part == P_TILE)
                P(part)(w + b * P_BYTES, stride, groups, bias, q, result, row, P_TILE, EGRU_TILE,
                        P_EXACT ? 1 : P_SPLIT(P_TILE));
            else if (part == P_WIDE / 4)
                P(part)(w + b * P_BYTES, stride, groups, bias, q, result, row, P_WIDE / 4, EGRU_TILE,
                        P_EXACT ? 1 : P_SPLIT(P_WIDE / 4));
            else
                P(part)(w + b * P_BYTES, stride, groups, bias, q, result, row, 1, EGRU_TILE,
                        P_EXACT ? 1 : P_SPLIT(1));
        }
    }
}
#endif

/* A panel of `width` blocks for one stream, and on to what is behind it. */
#define P_PANEL(width, split)                                                                                          \
    do {                                                                                                               \
        P(part)(w, (width) * P_BYTES, groups, bias, &q, &result, 0, width, 1, split);                                  \
        w += (size_t)(width) * groups * P_BYTES;                                                                       \
        bias += (width) * P_ROWS;                                                                                      \
        result += (width) * P_ROWS;                                                                                    \
        blocks -= width;                                                                                               \
    } while (0)

P_TARGET static EGRU_NOINLINE void P(single)(const unsigned char *w, const P_RESULT *bias, uint32_t blocks,
                                             uint32_t groups, const P_ELEMENT *q, P_RESULT *result) {
    while (blocks >= P_WIDE)
        P_PANEL(P_WIDE, 1);
    while (blocks >= P_WIDE / 4)
        P_PANEL(P_WIDE / 4, P_SPLIT(P_WIDE / 4));
    while (blocks)
        P_PANEL(1, P_SPLIT(1));
}

P_TARGET static void P(product)(const egru_matrix *m, const P_ELEMENT *const *q, P_RESULT *const *result,
                                size_t count) {
    const unsigned char *w = m->weights;
    const P_RESULT *bias = m->bias;
    uint32_t blocks = (m->rows + P_ROWS - 1) / P_ROWS, groups = (m->columns + P_COLUMNS - 1) / P_COLUMNS, some;
    if (count == 1) {
        P(single)(w, bias, blocks, groups, q[0], result[0]);
        return;
    }
#if P_TILE
    if (count == EGRU_TILE) {
        P(tile)(m, q, result);
        return;
    }
#endif
    for (uint32_t row = 0; blocks; blocks -= some, row += some * P_ROWS, w += (size_t)some * groups * P_BYTES) {
        some = blocks < P_WIDE ? blocks : P_WIDE; /* a panel for all streams, while its weights are near */
        for (size_t s = 0; s < count; s++)
            P(single)(w, bias + row, some, groups, q[s], result[s] + row);
    }
}

#undef P
#undef P_SPLIT
#undef P_PANEL
#undef P_ROWS
#undef P_COLUMNS
#undef P_SIDE
#undef P_TURN
#undef P_BYTES
#undef P_ELEMENT
#undef P_RESULT
#undef P_ACC
#undef P_OPERAND
#undef P_WIDE
#undef P_TILE
#undef P_EXACT
