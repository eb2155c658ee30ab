/* Decisions: what the outputs of successive steps switch on and off (docs/deciding.md), for generated C. */
#ifndef EGRU_DECISIONS_H
#define EGRU_DECISIONS_H

#include <stdint.h>

typedef struct {
    uint64_t step;  /* counted from 0 at the reset */
    uint32_t level; /* the smoothed probability, or score, with 15 fractional bits */
    uint16_t output, label;
    uint16_t on; /* 1: switched on; 0: off */
} egru_event;

/* Classes, of which at most one is on. */
typedef struct {
    uint16_t on;        /* 0: none is; else the number of the label, counted from 1 */
    uint16_t candidate; /* counted from 0: whose row it is */
    uint32_t row;       /* steps in a row at the threshold */
    uint32_t until_off; /* steps before the one that is on may be switched off */
} egru_classes;

/* A label that is on or off by itself. */
typedef struct {
    uint32_t row;       /* steps in a row at the threshold, or EGRU_ON */
    uint32_t until_off; /* steps before it may be switched off */
} egru_label;

#define EGRU_ON UINT32_MAX

/* What a mean or a median looks back on. */
typedef struct {
    uint16_t count; /* of the steps kept */
    uint16_t next;  /* where the next one goes */
} egru_window;
#endif
