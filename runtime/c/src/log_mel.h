/* The front end of sound: logarithms of energies in mel bands (docs/front-ends.md). */
#ifndef EGRU_LOG_MEL_H
#define EGRU_LOG_MEL_H

#include "internal.h"

#if EGRU_LOG_MEL
/* The values (bands) of a frame: of `in_size` samples, the last ones. `work`: as many numbers as the spectrum has. */
void egru_log_mel(const egru_operation *op, const int16_t *samples, uint32_t in_size, int32_t *work, float *value);
#if EGRU_FLOAT
void egru_log_mel_float(const egru_operation *op, const float *samples, uint32_t in_size, float *work, float *value);
#endif
#endif
#endif
