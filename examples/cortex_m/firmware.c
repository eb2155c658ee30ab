/* The firmware's part: every sample steps the model, and what its outputs switch is given out. */
#include "edgegru_motion.h"
#include "edgegru_motion_decisions.h"
#include "feed.h"

static edgegru_motion_state state;
static edgegru_motion_decisions decisions;

void feed_begin(void) {
    edgegru_motion_init(&state);
    edgegru_motion_decisions_reset(&decisions);
}

/* `sample`: float32 numbers in the units of the data. `switched`: int32 numbers, for each event its label, counted from
 * 1, negative where it is switched off; zeros behind them. */
void feed(const void *sample, void *switched) {
    float y[EDGEGRU_MOTION_OUTPUT_SIZE];
    egru_event events[EDGEGRU_MOTION_MAX_EVENTS];
    int32_t *out = switched;
    unsigned count = 0;
    if (edgegru_motion_step(&state, sample, y) == EDGEGRU_MOTION_OK)
        count = edgegru_motion_decide(&decisions, y, events);
    for (unsigned i = 0; i < EDGEGRU_MOTION_MAX_EVENTS; i++) {
        out[i] = i < count ? events[i].label + 1 : 0;
        if (i < count && !events[i].on)
            out[i] = -out[i];
    }
}
