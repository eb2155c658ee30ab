/* Products with a packed matrix, for one kind of operand of one instruction set; included once for each. Before the
 * inclusion are defined, beside what x86.h says of blocks: P(name); P_ROWS, P_COLUMNS, P_WIDE, P_FILLED, P_PADDED and
 * P_ITEM, the shape; P_ELEMENT (of operands), P_RESULT (of accumulators in memory), P_ACC, P_OPERAND (in registers);
 * P(zero)(), P(start)(bias), P(spread)(elements), P(add)(acc, operand, weights), P(sum)(acc, acc), P(store)(to, acc);
 * P_TILE, the blocks of a panel that four streams share at a time, 0 where they share none. With P_LACKS, all sums of
 * P(add) in a panel are short by P(lack)(elements, groups), which follows from the operand; P(add_exactly) is slower.
 */
#ifdef P_LACKS
#define P_ADD(acc, operand, w) (split == 1 ? P(add)(acc, operand, w) : P(add_exactly)(acc, operand, w))
#define P_LACK(width) ((width) > 1 ? lack[s] : P(zero)())
#else
#define P_LACKS 0
#define P_ADD P(add)
#define P_LACK(width) P(zero)()
#endif
#define P_BYTES (P_ROWS * P_COLUMNS * P_ITEM)

static const egru_blocks P(shape) = {P_ROWS, P_COLUMNS, P_WIDE, P_FILLED, P_PADDED, P_ITEM};

/* `blocks` neighbouring blocks of a panel, whose groups are `stride` bytes apart, for `count` streams. */
P_TARGET EGRU_INLINE void P(part)(const unsigned char *w, size_t stride, uint32_t groups, const P_RESULT *bias,
                                  const P_ELEMENT *const *q, P_RESULT *const *result, size_t row, P_ACC lack,
                                  const uint32_t blocks, const uint32_t count, const uint32_t split) {
    P_ACC acc[EGRU_TILE][P_WIDE][4];
    const P_ELEMENT *from[EGRU_TILE];
    size_t column = 0;
    bias += row;
    EGRU_UNROLL for (uint32_t s = 0; s < count; s++) {
        from[s] = q[s];
        EGRU_UNROLL for (uint32_t b = 0; b < blocks; b++)
            EGRU_UNROLL for (uint32_t k = 0; k < split; k++)
                acc[s][b][k] = k ? P(zero)() : P(start)(bias + b * P_ROWS);
    }
    for (; groups >= split; groups -= split)
        EGRU_UNROLL for (uint32_t k = 0; k < split; k++, w += stride, column += P_COLUMNS)
            EGRU_UNROLL for (uint32_t s = 0; s < count; s++) {
                P_OPERAND operand = P(spread)(from[s] + column);
                EGRU_UNROLL for (uint32_t b = 0; b < blocks; b++)
                    acc[s][b][k] = P_ADD(acc[s][b][k], operand, w + b * P_BYTES);
            }
    if (!P_PADDED && split > 1)
        for (; groups; groups--, w += stride, column += P_COLUMNS)
            EGRU_UNROLL for (uint32_t s = 0; s < count; s++) {
                P_OPERAND operand = P(spread)(from[s] + column);
                EGRU_UNROLL for (uint32_t b = 0; b < blocks; b++)
                    acc[s][b][0] = P_ADD(acc[s][b][0], operand, w + b * P_BYTES);
            }
    EGRU_UNROLL for (uint32_t s = 0; s < count; s++) {
        P_RESULT *to = result[s] + row;
        EGRU_UNROLL for (uint32_t b = 0; b < blocks; b++) {
            P_ACC total = acc[s][b][0];
            EGRU_UNROLL for (uint32_t k = 1; k < split; k++) total = P(sum)(total, acc[s][b][k]);
            if (P_LACKS && split == 1)
                total = P(sum)(total, lack);
            P(store)(to + b * P_ROWS, total);
        }
    }
}

#define P_PANEL(width)                                                                                                 \
    for (size_t s = 0; s < count; s++)                                                                                 \
    P(part)(w, (width) * P_BYTES, groups, m->bias, q + s, result + s, row, P_LACK(width), width, 1, egru_split(width))

/* Sums of floats are made in one order, however many streams there are: it follows from the panel. */
P_TARGET static void P(product)(const egru_matrix *m, const P_ELEMENT *const *q, P_RESULT *const *result,
                                size_t count) {
    const uint32_t blocks = (m->rows + P_ROWS - 1) / P_ROWS, whole = (blocks + (P_FILLED ? P_WIDE - 1 : 0)) / P_WIDE;
    uint32_t groups = egru_groups(&P(shape), P_WIDE, m->columns);
    const size_t bytes = (size_t)groups * P_WIDE * P_BYTES;
    const int backwards = (count & EGRU_BACKWARDS) != 0;
    const unsigned char *w;
#if P_LACKS
    P_ACC lack[EGRU_TILE];
#endif
    size_t row;
    count &= ~(size_t)EGRU_BACKWARDS;
#if P_LACKS
    for (size_t s = 0; whole && s < count; s++)
        lack[s] = P(lack)(q[s], groups);
#endif
    for (uint32_t i = 0; i < whole; i++) {
        uint32_t panel = backwards ? whole - 1 - i : i;
        w = (const unsigned char *)m->weights + panel * bytes;
        row = (size_t)panel * (P_WIDE * P_ROWS);
#if P_TILE
        if (count == EGRU_TILE) {
            for (uint32_t b = 0; b < P_WIDE; b += P_TILE, w += P_TILE * P_BYTES, row += P_TILE * P_ROWS)
                P(part)(w, P_WIDE * P_BYTES, groups, m->bias, q, result, row, P(zero)(), P_TILE, EGRU_TILE, 1);
            continue;
        }
#endif
        P_PANEL(P_WIDE);
    }
#if !P_FILLED && P_WIDE > 1
    w = (const unsigned char *)m->weights + whole * bytes;
    row = (size_t)whole * (P_WIDE * P_ROWS);
    groups = egru_groups(&P(shape), 1, m->columns);
    for (uint32_t i = whole * P_WIDE; i < blocks; i++, w += (size_t)groups * P_BYTES, row += P_ROWS) P_PANEL(1);
#endif
}

#undef P
#undef P_PANEL
#undef P_ADD
#undef P_LACKS
#undef P_LACK
#undef P_ROWS
#undef P_COLUMNS
#undef P_ITEM
#undef P_BYTES
#undef P_ELEMENT
#undef P_RESULT
#undef P_ACC
#undef P_OPERAND
#undef P_WIDE
#undef P_TILE
#undef P_PADDED
#undef P_FILLED
