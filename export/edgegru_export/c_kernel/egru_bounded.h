/* tanh and the sigmoids: 64 segments of second order, 16-bit coefficients, tanh's largest error 1.52 / 2^15. */
#ifndef EGRU_BOUNDED_H
#define EGRU_BOUNDED_H

#include "egru_arithmetic.h"

#if EGRU_TABLE
static const int16_t egru_tanh_segments[64][3] = {
    {0, 4105, -29}, {4075, 4041, -90}, {8025, 3859, -141}, {11743, 3573, -173}, {15143, 3223, -193},
    {18173, 2837, -198}, {20813, 2438, -185}, {23066, 2061, -171}, {24956, 1716, -153}, {26520, 1407, -131},
    {27797, 1143, -110}, {28830, 922, -92}, {29660, 736, -74}, {30322, 585, -60}, {30847, 464, -49},
    {31262, 366, -39}, {31590, 285, -29}, {31846, 227, -25}, {32048, 176, -18}, {32206, 138, -15}, {32329, 109, -12},
    {32426, 86, -11}, {32501, 67, -8}, {32560, 51, -5}, {32606, 39, -3}, {32642, 30, -2}, {32670, 24, -3},
    {32691, 21, -4}, {32708, 14, 0}, {32722, 10, 0}, {32732, 8, 0}, {32740, 6, 0}, {32746, 5, 0}, {32751, 4, 0},
    {32755, 2, 1}, {32758, 2, 0}, {32760, 2, -1}, {32762, 0, 1}, {32763, 2, -1}, {32764, 2, -1}, {32765, -1, 2},
    {32766, 0, 0}, {32766, -1, 2}, {32767, 0, 0}, {32767, 0, 0}, {32767, 0, 0}, {32767, 0, 0}, {32767, 0, 0},
    {32767, 0, 0}, {32767, 0, 0}, {32767, 0, 0}, {32767, 0, 0}, {32767, 0, 0}, {32767, 0, 0}, {32767, 0, 0},
    {32767, 0, 0}, {32767, 0, 0}, {32767, 0, 0}, {32767, 0, 0}, {32767, 0, 0}, {32767, 0, 0}, {32767, 0, 0},
    {32767, 0, 0}, {32767, 0, 0},
};
#endif

/* tanh in Q15 of an argument in Q12; sigmoid in Q16 of one in Q11; a hard sigmoid in Q16 of one in Q16. */
static EGRU_NOINLINE int32_t egru_bounded(egru_number argument, unsigned activation) {
    const egru_number magnitude = argument < 0 ? -argument : argument;
    int32_t t = magnitude > 32767 ? 32767 : (int32_t)magnitude;
#if EGRU_TABLE
    if (!EGRU_HARD || activation != EGRU_HARD_SIGMOID) {
        const int16_t *c = egru_tanh_segments[t >> 9];
        const int32_t p = (t & 511) * 64;
        t = c[1] + egru_floor32(p * c[2] + 16384, 15);
        t = c[0] + egru_floor32(p * t + 16384, 15);
    }
#endif
    t = argument < 0 ? -t : t; /* all of them are odd */
    return activation == EGRU_TANH ? t : 32768 + t;
}
#endif
