/* Choosing of tokens (docs/choosing.md): the bits of floats are read, and the rest is integers. */
#include "arithmetic.h"

#if !EGRU_SIMD && defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("Os") /* small devices have to hold it */
#endif

#if EGRU_TOKENS

#include <string.h>

#define INFINITE 0x7f800000 /* as rank_of has it */
#define FARTHEST ((uint64_t)1 << 32)     /* a logarithm in Q16 that is farther from 0 counts as this */
#define LARGEST_SCORE ((int64_t)1 << 62) /* and any logarithm still fits beside it */

/* The bits of a float as an integer in the same order, 0 and -0 being equal; NaNs are beyond both infinities. */
static int32_t rank_of(float v) {
    uint32_t bits;
    memcpy(&bits, &v, 4);
    return bits >> 31 ? -(int32_t)(bits & 0x7fffffffu) : (int32_t)bits;
}

static int is_good(int32_t rank) {
    return rank >= -INFINITE && rank < INFINITE;
}

/* The logarithm of that rank as one to the base 2 in Q16, to nearest, halves away from 0. */
static int64_t in_octaves(int32_t rank) {
    uint32_t magnitude = (uint32_t)(rank < 0 ? -rank : rank);
    int32_t shift = 164 - (int32_t)(magnitude >> 23);
    uint64_t octaves = FARTHEST;
    if (shift > 63)
        return 0;
    if (shift > 20) /* the mantissa times log2(e) in Q30, below 2^55 */
        octaves = ((uint64_t)((magnitude & 0x7fffffu) | 0x800000u) * 1549082005u + ((uint64_t)1 << (shift - 1))) >> shift;
    if (octaves > FARTHEST)
        octaves = FARTHEST;
    return rank < 0 ? -(int64_t)octaves : (int64_t)octaves;
}

/* Whether value i comes behind value j. */
static int is_behind(const float *values, size_t i, size_t j) {
    int32_t a = rank_of(values[i]), b = rank_of(values[j]);
    return a < b || (a == b && i > j);
}

egru_status egru_top_k(const float *values, size_t n, size_t k, uint32_t *places) {
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        size_t at = count;
        if (!is_good(rank_of(values[i])))
            return EGRU_INPUT;
        while (at > 0 && is_behind(values, places[at - 1], i))
            at--;
        if (at == k)
            continue;
        count += count < k;
        memmove(places + at + 1, places + at, (count - 1 - at) * sizeof *places);
        places[at] = (uint32_t)i;
    }
    return EGRU_OK;
}

/* SplitMix64: G. Steele, D. Lea, C. Flood 2014, "Fast splittable pseudorandom number generators". */
static uint64_t next_random(uint64_t *random) {
    uint64_t z = *random += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

egru_status egru_sample(const float *log_p, size_t n, size_t k, uint32_t temperature, uint32_t *places,
                        uint64_t *random, size_t *token) {
    uint64_t total = 0, drawn = 0;
    uint32_t best, last = 0;
    int64_t most;
    if (n == 0 || egru_top_k(log_p, n, 1, &best) != EGRU_OK || rank_of(log_p[best]) == -INFINITE)
        return EGRU_INPUT;
    *token = best;
    if (temperature == 0)
        return EGRU_OK;
    if (k > 0 && k < n) {
        (void)egru_top_k(log_p, n, k, places);
        last = places[k - 1];
    }
    most = in_octaves(rank_of(log_p[best]));
    for (int draws = 0; draws < 2; draws++) { /* the weights are added up, then gone through again */
        if (draws) {
            uint64_t least = (0 - total) % total; /* what 2^64 has too much for all to be equally likely */
            do
                drawn = next_random(random);
            while (drawn < least);
            drawn %= total;
        }
        for (size_t i = 0; i < n; i++) {
            int32_t rank = rank_of(log_p[i]);
            uint64_t distance, weight;
            if (rank == -INFINITE || (k > 0 && k < n && is_behind(log_p, i, last)))
                continue;
            distance = (uint64_t)(most - in_octaves(rank)) * 65536 + temperature / 2; /* below 2^50 */
            weight = (uint64_t)egru_power((int64_t)(distance / temperature));
            if (draws && drawn < weight) {
                *token = i;
                return EGRU_OK;
            }
            drawn -= draws ? weight : 0;
            total += weight;
        }
    }
    return EGRU_OK;
}

egru_status egru_beam(const int64_t *scores, size_t n, const float *log_p, size_t size, size_t k,
                      egru_continuation *best, size_t *found) {
    size_t count = 0;
    for (size_t parent = 0; parent < n; parent++, log_p += size) {
        if (scores[parent] > LARGEST_SCORE || scores[parent] < -LARGEST_SCORE)
            return EGRU_INPUT;
        for (size_t token = 0; token < size; token++) {
            int32_t rank = rank_of(log_p[token]);
            int64_t score;
            size_t at = count;
            if (!is_good(rank))
                return EGRU_INPUT;
            if (rank == -INFINITE)
                continue;
            score = scores[parent] + in_octaves(rank);
            while (at > 0 && best[at - 1].score < score)
                at--;
            if (at == k)
                continue;
            count += count < k;
            memmove(best + at + 1, best + at, (count - 1 - at) * sizeof *best);
            best[at] = (egru_continuation){score, (uint32_t)parent, (uint32_t)token};
        }
    }
    *found = count;
    return count ? EGRU_OK : EGRU_INPUT;
}
#endif
