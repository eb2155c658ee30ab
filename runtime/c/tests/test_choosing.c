/* test_choosing: tokens that are chosen, against what is chosen slowly, and a digest that tests/runtime/test_choosing.py
 * has too: the same on every machine. Needs no files. */
#include "golden.h"

#if EGRU_TOKENS
#define DIGEST 0x3bba3456baacb7e3u
#define VALUES 96u
#define MOST 12u

static uint64_t digest, seed = 1;

static void mix(uint64_t number) {
    digest = digest * 0x100000001b3u ^ number;
}

/* SplitMix64 again. */
static uint64_t next(void) {
    uint64_t z = seed += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static void draw(float *values, size_t n) {
    for (size_t i = 0; i < n; i++) {
        uint64_t number = next();
        values[i] = number % 23 == 0 ? -INFINITY : -(float)(number >> 40) / 1048576.0f;
    }
}

static void test_top_k(const float *values, size_t n, size_t k) {
    uint32_t places[MOST + 1];
    places[k] = 77;
    CHECK(egru_top_k(values, n, k, places) == EGRU_OK);
    for (size_t i = 0; i < k; i++) { /* so many are in front of it */
        size_t before = 0;
        for (size_t j = 0; j < n; j++)
            before += values[j] > values[places[i]] || (!(values[j] < values[places[i]]) && j < places[i]);
        CHECK(before == i);
        mix(places[i]);
    }
    CHECK(places[k] == 77);
}

static void test_sample(const float *values, size_t n, size_t k, uint64_t random) {
    static const uint32_t temperatures[] = {0, 1000, 65536, 200000};
    uint32_t places[MOST];
    size_t token = n;
    for (size_t i = 0; i < 4; i++) {
        uint64_t before = random;
        size_t larger = 0;
        CHECK(egru_sample(values, n, k, temperatures[i], places, &random, &token) == EGRU_OK);
        CHECK(token < n && values[token] > -INFINITY && (random == before) == (i == 0));
        for (size_t j = 0; j < n; j++)
            larger += values[j] > values[token];
        CHECK(larger < (i == 0 ? 1 : k ? k : n));
        mix(token);
    }
}

static void test_beam(const float *values, size_t size, size_t k, const int64_t *scores, size_t n) {
    egru_continuation best[MOST + 1];
    size_t found = 0, all = 0;
    best[k].token = 77;
    for (size_t i = 0; i < n * size; i++)
        all += values[i] > -INFINITY;
    CHECK(egru_beam(scores, n, values, size, k, best, &found) == EGRU_OK && found == (all < k ? all : k));
    CHECK(best[k].token == 77);
    for (size_t i = 0; i < found; i++) {
        const egru_continuation *b = &best[i];
        double exact = (double)scores[b->parent] + (double)values[b->parent * size + b->token] * 94548.5;
        CHECK(fabs((double)b->score - exact) < 2);
        CHECK(i == 0 || best[i - 1].score > b->score ||
              (best[i - 1].score == b->score && best[i - 1].parent * size + best[i - 1].token < b->parent * size + b->token));
        mix(b->parent);
        mix(b->token);
        mix((uint64_t)b->score);
    }
    for (size_t i = 0, better = 0; i < n * size; i++) { /* nothing better was left out */
        better += (double)scores[i / size] + (double)values[i] * 94548.5 > (double)best[k - 1].score + 2;
        CHECK(better < k);
    }
}

static void test_refused(void) {
    static const float wrong[] = {NAN, -NAN, INFINITY};
    float values[4] = {-1, -2, -3, -4};
    uint32_t places[4];
    uint64_t random = 5;
    size_t token = 9, found;
    int64_t scores[2] = {0, ((int64_t)1 << 62) + 1};
    egru_continuation best[4];
    for (size_t i = 0; i < 3; i++) {
        values[3] = wrong[i];
        CHECK(egru_top_k(values, 4, 2, places) == EGRU_INPUT);
        CHECK(egru_sample(values, 4, 0, 65536, places, &random, &token) == EGRU_INPUT);
        CHECK(egru_beam(scores, 1, values, 4, 2, best, &found) == EGRU_INPUT);
    }
    values[3] = -4;
    CHECK(egru_beam(scores, 2, values, 2, 2, best, &found) == EGRU_INPUT);
    scores[1] = -scores[1];
    CHECK(egru_beam(scores, 2, values, 2, 2, best, &found) == EGRU_INPUT);
    for (size_t i = 0; i < 4; i++)
        values[i] = -INFINITY;
    CHECK(egru_top_k(values, 4, 2, places) == EGRU_OK && places[0] == 0 && places[1] == 1);
    CHECK(egru_sample(values, 4, 0, 0, places, &random, &token) == EGRU_INPUT);
    CHECK(egru_sample(values, 4, 2, 65536, places, &random, &token) == EGRU_INPUT);
    CHECK(egru_sample(values, 0, 0, 65536, places, &random, &token) == EGRU_INPUT);
    CHECK(egru_beam(scores, 1, values, 4, 2, best, &found) == EGRU_INPUT);
    CHECK(random == 5 && token == 9);
}

/* The ends of the arithmetic: the farthest logarithms, the lowest and the highest temperature, many equal tokens. */
static void test_extremes(void) {
    static float many[16384];
    const float ends[3] = {-3.4e38f, 3.4e38f, -1e-45f};
    const int64_t scores[1] = {-((int64_t)1 << 62)}, equal[2] = {0, 0};
    uint32_t places[3];
    uint64_t random = 1;
    size_t token, found, seen[2] = {0, 0};
    egru_continuation best[3];
    CHECK(egru_beam(scores, 1, ends, 3, 3, best, &found) == EGRU_OK && found == 3);
    CHECK(best[0].token == 1 && best[0].score == scores[0] + ((int64_t)1 << 32));
    CHECK(best[1].token == 2 && best[1].score == scores[0]);
    CHECK(best[2].token == 0 && best[2].score == scores[0] - ((int64_t)1 << 32));
    CHECK(egru_beam(equal, 2, many, 2, 3, best, &found) == EGRU_OK && found == 3);
    for (uint32_t i = 0; i < 3; i++) /* the first of equal ones, in their order */
        CHECK(best[i].parent == i / 2 && best[i].token == i % 2);
    for (uint32_t temperature = 1; temperature; temperature = temperature == 1 ? 0xffff0000u : 0)
        for (int i = 0; i < 50; i++) {
            CHECK(egru_sample(ends, 3, 0, temperature, places, &random, &token) == EGRU_OK);
            CHECK(temperature > 1 ? token < 3 : token == 1);
        }
    for (int i = 0; i < 200; i++) {
        CHECK(egru_sample(many, 16384, 0, 65536, places, &random, &token) == EGRU_OK);
        seen[token >= 8192]++;
    }
    CHECK(seen[0] > 60 && seen[1] > 60);
}

int main(void) {
    float values[VALUES];
    kernel_name = "portable";
    file_name = "choosing";
    for (size_t round = 0; round < 64; round++) {
        size_t k = round % 8;
        const int64_t scores[3] = {-1000 * (int64_t)round, 0, -50 * (int64_t)round};
        draw(values, VALUES);
        test_top_k(values, VALUES, k + 1);
        test_sample(values, VALUES, k, round);
        test_beam(values, VALUES / 3, k + 1, scores, 3);
    }
    if (digest != DIGEST)
        fprintf(stderr, "digest 0x%llx\n", (unsigned long long)digest);
    CHECK(digest == DIGEST);
    test_refused();
    test_extremes();
    printf("choosing: %d failures\n", failures);
    return failures != 0;
}
#else
int main(void) {
    printf("choosing: left out, 0 failures\n");
    return 0;
}
#endif
