/* The equations of docs/deciding.md in integers, for one model. Whoever includes it says first what the model needs:
 *
 *   EGRU_LEVEL      uint16_t for probabilities alone, uint32_t where scores are decided on too
 *   EGRU_SUM        as wide as a sum of levels, or a level with 16 bits more: uint32_t or uint64_t
 *   EGRU_THRESHOLD, EGRU_THRESHOLD_OFF, EGRU_TRIGGER_LEVEL, EGRU_MINIMUM_ON, EGRU_MINIMUM_OFF, EGRU_REFRACTORY
 *                   levels and steps
 *   EGRU_MEAN, EGRU_MEDIAN or EGRU_SHARE: the length of a window or the share of the newest step (2^15: all); or none
 *   EGRU_CLASSES, EGRU_LABELS, EGRU_SCORE, EGRU_FLOATS: 1 where there are such outputs, a score, outputs in float32
 *
 * and EGRU_WIDE 1. Functions are static, so that a compiler leaves out what a setting makes unnecessary.
 */
#include "egru_arithmetic.h"
#include "egru_decisions.h"

typedef EGRU_LEVEL egru_level;
typedef EGRU_SUM egru_sum;

static const uint32_t threshold = EGRU_THRESHOLD, threshold_off = EGRU_THRESHOLD_OFF, trigger_level = EGRU_TRIGGER_LEVEL,
                      minimum_on = EGRU_MINIMUM_ON, minimum_off = EGRU_MINIMUM_OFF, refractory = EGRU_REFRACTORY;

/* A step has passed. */
static inline void egru_count_down(uint32_t *steps, uint32_t count) {
    while (count--) {
        if (*steps)
            --*steps;
        steps++;
    }
}

#if EGRU_FLOATS
/* floor(p 2^15 + 1/2), saturated; 0 of what is not positive, or not finite. */
static inline egru_level egru_level_of(float p) {
    float scaled = p * 32768.0f, whole; /* a power of two: exact, or infinite */
    uint32_t level;
    if (!(scaled > 0.0f && p <= 3.40282347e38f))
        return 0;
    if (scaled >= 2147483648.0f)
        return (egru_level)INT32_MAX;
    level = (uint32_t)scaled;
    whole = (float)level;
    return (egru_level)(level + (scaled - whole >= 0.5f));
}
#endif

#ifdef EGRU_MEAN
#define EGRU_WINDOW EGRU_MEAN
/* Of `count` levels of one label, every `labels`th: their mean, rounded half up. */
static egru_level egru_middle(const egru_level *window, uint32_t count, uint32_t labels) {
    egru_sum sum = 0;
    for (uint32_t i = 0; i < count; i++)
        sum += window[i * labels];
    return (egru_level)((2 * sum + count) / (2 * count));
}
#endif

#ifdef EGRU_MEDIAN
#define EGRU_WINDOW EGRU_MEDIAN
/* The level that has `rank` others before it in order, found bit by bit: it needs no memory, and always as long. */
static egru_level egru_ranked(const egru_level *window, uint32_t count, uint32_t labels, uint32_t rank) {
    uint32_t level = 0;
    for (uint32_t bit = sizeof(egru_level) == 2 ? 1u << 15 : 1u << 30; bit; bit >>= 1) {
        uint32_t below = 0;
        for (uint32_t i = 0; i < count; i++)
            below += window[i * labels] < (level | bit);
        if (below <= rank)
            level |= bit;
    }
    return (egru_level)level;
}

static egru_level egru_middle(const egru_level *window, uint32_t count, uint32_t labels) {
    egru_level upper = egru_ranked(window, count, labels, count / 2);
    if (count & 1)
        return upper;
    return (egru_level)(((egru_sum)egru_ranked(window, count, labels, count / 2 - 1) + upper + 1) >> 1);
}
#endif

#ifdef EGRU_WINDOW
/* The levels `v` of a step enter the window (EGRU_WINDOW steps of `labels`) and become what it makes of them. */
static void egru_smooth(egru_window *state, egru_level *window, egru_level *v, uint32_t labels) {
    egru_level *newest = window + state->next * labels;
    state->next = (uint16_t)(state->next + 1 == EGRU_WINDOW ? 0 : state->next + 1);
    state->count = (uint16_t)(state->count + (state->count < EGRU_WINDOW));
    for (uint32_t k = 0; k < labels; k++) {
        newest[k] = v[k];
        v[k] = egru_middle(window + k, state->count, labels);
    }
}
#endif

#ifdef EGRU_SHARE
/* The same with an exponential mean, which has 16 bits more than a level. */
static void egru_smooth(egru_window *state, egru_sum *smoothed, egru_level *v, uint32_t labels) {
    for (uint32_t k = 0; k < labels; k++) {
        egru_sum newest = (egru_sum)v[k] << 16;
        if (state->count)
            newest = (egru_sum)((int64_t)smoothed[k] +
                                egru_floor64(EGRU_SHARE * ((int64_t)newest - (int64_t)smoothed[k]) + 16384, 15));
        smoothed[k] = newest;
        v[k] = (egru_level)((newest + 32768) >> 16);
    }
    state->count = 1;
}
#endif

static inline egru_event *egru_tell(egru_event *event, uint32_t label, unsigned on, egru_level level) {
    event->label = (uint16_t)label;
    event->on = (uint16_t)on;
    event->level = level;
    return event + 1;
}

/* The events of an output, all of one step. */
static inline egru_event *egru_date(egru_event *first, egru_event *end, uint64_t step, uint16_t output) {
    for (; first != end; first++) {
        first->step = step;
        first->output = output;
    }
    return end;
}

#define EGRU_WAITS (EGRU_REFRACTORY > 0 || EGRU_MINIMUM_OFF > 0) /* whether there are `until_on` */

/* A label that is switched off has at least so many steps before it may be switched on. */
static inline void egru_wait(uint32_t *until_on) {
    if (EGRU_WAITS && *until_on < minimum_off)
        *until_on = minimum_off;
}

#if EGRU_CLASSES
/* What the levels of classes switch, told from `event` on; returns where the next event goes. `until_on`: steps before
 * each may be switched on. */
static egru_event *egru_switch_classes(egru_classes *state, uint32_t *until_on, const egru_level *v, uint32_t labels,
                                       egru_event *event) {
    uint32_t before = state->on, best = before ? before - 1 : 0; /* in a tie the one that is on stays */
    egru_count_down(&state->until_off, 1);
    egru_count_down(until_on, EGRU_WAITS ? labels : 0);
    for (uint32_t k = 0; k < labels; k++)
        if (v[k] > v[best])
            best = k;
    if (best + 1 == before || v[best] < threshold)
        state->row = 0;
    else
        state->row = best != state->candidate ? 1 : state->row + (state->row < trigger_level);
    state->candidate = (uint16_t)best;
    if (state->row >= trigger_level && !(EGRU_WAITS && until_on[best]) && !state->until_off) {
        state->on = (uint16_t)(best + 1);
        state->row = 0;
        state->until_off = minimum_on;
        if (EGRU_WAITS)
            until_on[best] = refractory;
    } else if (before && v[before - 1] < threshold_off && !state->until_off) {
        state->on = 0;
    }
    if (state->on == before)
        return event;
    if (before) {
        egru_wait(until_on + before - 1);
        event = egru_tell(event, before - 1, 0, v[before - 1]);
    }
    return state->on ? egru_tell(event, best, 1, v[best]) : event;
}
#endif

#if EGRU_LABELS || EGRU_SCORE
/* A step has passed, whether or not it decides. */
static void egru_pass_labels(egru_label *state, uint32_t *until_on, uint32_t labels) {
    egru_count_down(until_on, EGRU_WAITS ? labels : 0);
    for (uint32_t k = 0; k < labels; k++)
        egru_count_down(&state[k].until_off, 1);
}

/* The same of labels that are on or off each by itself. */
static egru_event *egru_switch_labels(egru_label *state, uint32_t *until_on, const egru_level *v, uint32_t labels,
                                      egru_event *event) {
    for (uint32_t k = 0; k < labels; k++, state++) {
        if (state->row == EGRU_ON) {
            if (v[k] < threshold_off && !state->until_off) {
                state->row = 0;
                egru_wait(until_on + k);
                event = egru_tell(event, k, 0, v[k]);
            }
            continue;
        }
        state->row = v[k] < threshold ? 0 : state->row + (state->row < trigger_level);
        if (state->row >= trigger_level && !(EGRU_WAITS && until_on[k])) {
            state->row = EGRU_ON;
            state->until_off = minimum_on;
            if (EGRU_WAITS)
                until_on[k] = refractory;
            event = egru_tell(event, k, 1, v[k]);
        }
    }
    return event;
}
#endif
