/* What the parts of the Python extension share. Only the limited API of Python 3.11 is used. */
#ifndef EGRU_PYTHON_MODULE_H
#define EGRU_PYTHON_MODULE_H

#define PY_SSIZE_T_CLEAN
#ifndef Py_LIMITED_API
#define Py_LIMITED_API 0x030B0000
#endif
#include <Python.h>
#include <stdlib.h>

#include "egru.h"

/* A model in memory of its own. */
typedef struct {
    PyObject ob_base;
    void *memory;
    egru_model *model;
    size_t patience; /* steps of some tens of milliseconds */
} ModelObject;

/* A stream: base of edgegru_runtime.stream.KernelStream. */
typedef struct {
    PyObject ob_base;
    ModelObject *model;
    PyObject *channels;      /* the names, for errors */
    void *state, *scratch;   /* scratch: made at the first step */
    float *sample, *y;       /* of one step */
    Py_ssize_t input_size, output_size, outputs;
    Py_ssize_t *sizes;       /* of every output */
    uint64_t saturated;      /* values that were saturated before the kernel saw them */
    int release;             /* whether a step is long enough to let other threads run */
    int busy;                /* a thread is inside */
} StreamObject;

extern PyType_Spec egru_model_spec, egru_stream_spec, egru_batch_spec;
extern PyObject *egru_model_type, *egru_stream_type;
/* From edgegru_runtime: what reads unusual samples, and the errors. */
extern PyObject *egru_read_sample, *egru_read_samples, *egru_check_out, *egru_fill;
extern PyObject *egru_input_error, *egru_state_error, *egru_engine_error;

/* Rows of float32 in a C-contiguous buffer of float32, float64 or int16 of `columns` columns, finite. `rows`: -1 for any
 * number. Returns 1 and the floats (where they had to be converted, in `room` or, where that is NULL, in `*made`, to be
 * freed), 0 where x is something else or not finite, -1 with an error set. The buffer stays exported in `view` after 1. */
int egru_floats_of(PyObject *x, int dimensions, Py_ssize_t *rows, Py_ssize_t columns, Py_buffer *view, float *room,
                   const float **floats, float **made);
/* Raise EngineError for what a step or run returned. */
void egru_raise(egru_status status, const char *what, Py_ssize_t which);
/* A tuple of bytearrays, one an output: the columns of ys (rows, output_size). */
PyObject *egru_split(const StreamObject *stream, const float *ys, Py_ssize_t rows);
#endif
