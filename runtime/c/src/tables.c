/* Second-order interpolation, as in fixed_point.py; a test compares them. The two numbers more in
 * those of tanh are read by gathers of 32 bits, and not used. */
#include "internal.h"

#if !EGRU_SIMD && defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("Os") /* small devices have to hold it */
#endif

#include "arithmetic.h"

const int16_t egru_tanh_c0[66] = {
    0, 4075, 8025, 11743, 15143, 18173, 20813, 23066, 24956, 26520, 27797, 28830, 29660, 30322, 30847, 31262,
    31590, 31846, 32048, 32206, 32329, 32426, 32501, 32560, 32606, 32642, 32670, 32691, 32708, 32722, 32732,
    32740, 32746, 32751, 32755, 32758, 32760, 32762, 32763, 32764, 32765, 32766, 32766, 32767, 32767, 32767,
    32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767, 32767,
    32767, 32767, 32767,
};

const int16_t egru_tanh_c1[66] = {
    4105, 4041, 3859, 3573, 3223, 2837, 2438, 2061, 1716, 1407, 1143, 922, 736, 585, 464, 366, 285, 227, 176,
    138, 109, 86, 67, 51, 39, 30, 24, 21, 14, 10, 8, 6, 5, 4, 2, 2, 2, 0, 2, 2, -1, 0, -1, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
};

const int16_t egru_tanh_c2[66] = {
    -29, -90, -141, -173, -193, -198, -185, -171, -153, -131, -110, -92, -74, -60, -49, -39, -29, -25, -18, -15,
    -12, -11, -8, -5, -3, -2, -3, -4, 0, 0, 0, 0, 0, 0, 1, 0, -1, 1, -1, -1, 2, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
};

const int16_t egru_exp2_c0[16] = {
    16384, 15689, 15024, 14387, 13777, 13193, 12634, 12098, 11585, 11094, 10623, 10173, 9742, 9329, 8933, 8555,
};

const int16_t egru_exp2_c1[16] = {
    -708, -677, -649, -621, -595, -572, -547, -522, -501, -480, -457, -440, -422, -402, -387, -371,
};

const int16_t egru_exp2_c2[16] = {
    13, 12, 12, 11, 11, 13, 11, 9, 10, 10, 7, 9, 9, 6, 9, 8,
};

int32_t egru_bounded(int64_t argument, uint32_t activation) {
    int32_t t = (int32_t)egru_clamp(argument, EGRU_ARGUMENT_LIMIT), u = t < 0 ? -t : t;
    int32_t k = u >> 9, p = (u & 511) << 6;
    if (activation <= EGRU_SIGMOID) {
        int32_t inner = egru_tanh_c1[k] + (int32_t)egru_round(p * egru_tanh_c2[k], 15);
        u = egru_tanh_c0[k] + (int32_t)egru_round(p * inner, 15);
        t = t < 0 ? -u : u;
    }
    return activation == EGRU_TANH ? t : 32768 + t;
}
