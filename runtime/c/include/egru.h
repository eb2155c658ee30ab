/* Compact GRUs, one step at a time. C99, no allocation, no globals, no locks: all memory is the caller's.
 *
 * A plan (docs/plan.md; `edgegru export MODEL --format plan`) becomes a model: read-only, shared by any number of
 * threads. A stream is a state, which one thread at a time advances, with scratch memory that streams may share as long
 * as they do not step at the same time. Any alignment will do, but nothing may be moved once it is initialised.
 */
#ifndef EGRU_H
#define EGRU_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct egru_model egru_model;

typedef enum {
    EGRU_OK = 0,
    EGRU_PLAN,   /* no plan of this version, or one that is torn or inconsistent */
    EGRU_MEMORY, /* less memory than the size functions ask for; no room for a row: nothing was done */
    EGRU_KERNEL, /* no such instruction set in this build or on this processor */
    EGRU_INPUT,  /* a sample has a value that is not finite: nothing was done */
    EGRU_RANGE,  /* a value left the range of float32: that stream was not advanced */
    EGRU_STATE   /* no saved state of this model, or a damaged one: nothing was done */
} egru_status;

const char *egru_strerror(egru_status status);

/* Names of the instruction sets of this build, fastest first, NULL after the last; whether this processor has one. */
const char *egru_kernel_name(size_t index);
int egru_kernel_runs(const char *name);

/* Bytes that a model of this plan takes, with the kernel of that name (NULL: the fastest that runs here). */
egru_status egru_model_size(const void *plan, size_t plan_bytes, const char *kernel, size_t *size);
/* Check the plan and make the model in `memory`, with weights packed for the kernel. The plan may go afterwards. */
egru_status egru_model_init(void *memory, size_t size, const void *plan, size_t plan_bytes, const char *kernel,
                            egru_model **model);

const char *egru_model_kernel(const egru_model *model);
size_t egru_input_size(const egru_model *model);  /* numbers in a sample */
size_t egru_output_size(const egru_model *model); /* numbers in all outputs, which stand side by side */
size_t egru_state_size(const egru_model *model);  /* bytes of a stream's state */
size_t egru_scratch_size(const egru_model *model, size_t streams); /* bytes that a step of so many streams needs */
size_t egru_saved_size(const egru_model *model);  /* bytes of a saved state */

/* The state that a stream begins with, no steps, nothing clipped: for a new state, and any time later. */
void egru_reset(const egru_model *model, void *state);
/* Advance by one sample x (input_size), giving y (output_size). Values beyond +-2^60 are saturated and counted. */
egru_status egru_step(const egru_model *model, void *state, void *scratch, const float *x, float *y);
/* The same `steps` times: xs (steps, input_size), ys (steps, output_size). `done`: how many were taken. */
egru_status egru_run(const egru_model *model, void *state, void *scratch, const float *xs, float *ys, size_t steps,
                     size_t *done);
/* One step of each of n streams, weights read once for several: xs (n, input_size), ys (n, output_size). EGRU_INPUT
 * leaves all as they were, EGRU_RANGE those it concerns; `which`: the first of them. */
egru_status egru_step_many(const egru_model *model, void *const *states, size_t n, void *scratch, const float *xs,
                           float *ys, size_t *which);

#if !defined(EGRU_ATTENTION) || EGRU_ATTENTION
size_t egru_row_size(const egru_model *model); /* numbers of a row that attention reads; 0 where there is none */
/* One more row, a value and a key, until the next reset. EGRU_MEMORY: the state has no room for it. */
egru_status egru_remember(const egru_model *model, void *state, const float *row);
#endif
/* Make `state` what `other` is. */
void egru_copy(const egru_model *model, void *state, const void *other);

uint64_t egru_steps(const egru_model *model, const void *state);   /* since the last reset */
uint64_t egru_clipped(const egru_model *model, const void *state); /* values saturated since then */
/* A state as bytes, the same on every machine (docs/streaming.md), and back. */
void egru_save(const egru_model *model, const void *state, void *saved);
egru_status egru_load(const egru_model *model, void *state, const void *saved, size_t saved_bytes);

#if !defined(EGRU_TOKENS) || EGRU_TOKENS
/* Choosing of tokens (docs/choosing.md), the same on every machine: n values, natural logarithms of probabilities, finite
 * or -infinity, which is never chosen. EGRU_INPUT: there is another one, or none that can be chosen. */
typedef struct {
    int64_t score; /* log2 of a probability with 16 fractional bits */
    uint32_t parent, token;
} egru_continuation;

/* The places of the k largest (1 to n), the larger first, of equal ones the lower place. */
egru_status egru_top_k(const float *values, size_t n, size_t k, uint32_t *places);
/* Draw one of the k largest (0: of all), with probabilities to the power of 65536 / temperature; at 0 the largest.
 * `random`: any seed, then what goes on from it; `places`: room for k. */
egru_status egru_sample(const float *log_p, size_t n, size_t k, uint32_t temperature, uint32_t *places,
                        uint64_t *random, size_t *token);
/* The k continuations of the highest score, in their order, of equal ones the lower parent, then token: of n hypotheses
 * with scores within +-2^62, and a row of `size` values for each. `found`: how many there are, k at most. */
egru_status egru_beam(const int64_t *scores, size_t n, const float *log_p, size_t size, size_t k,
                      egru_continuation *best, size_t *found);
#endif

#ifdef __cplusplus
}
#endif
#endif
