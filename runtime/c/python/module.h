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
    size_t brief; /* fewer steps than these take less than some 20 microseconds: no other thread gets its turn */
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
    int busy;                /* a thread is inside */
} StreamObject;

extern PyType_Spec egru_model_spec, egru_stream_spec, egru_batch_spec;
extern PyObject *egru_model_type, *egru_stream_type;
/* From edgegru_runtime: what reads unusual samples, and the errors. */
extern PyObject *egru_read_sample, *egru_check_out, *egru_fill;
extern PyObject *egru_input_error, *egru_state_error, *egru_engine_error;

/* An item, borrowed, of a list or tuple, or NULL without an error; the length, or -1 of anything else. */
PyObject *egru_item(PyObject *sequence, Py_ssize_t index);
Py_ssize_t egru_length(PyObject *sequence);
/* A sample (`dimensions` 1, with `room` for it) or rows of samples (2, `room` NULL) of `columns` numbers, as float32:
 * of a C-contiguous buffer of float32, float64 or int16, or of lists and tuples of floats and ints within 2^60, rows
 * also of buffers. Whether a buffer's are finite is not looked at; what float64 has beyond float32 is infinite.
 * `rows`: -1 for any number. Returns 1 and the floats (in the buffer itself, in `room`, or in `*made`, to be freed), 0
 * where x is something else, -1 with an error set. After 1, `view` is to be released. */
int egru_floats_of(PyObject *x, int dimensions, Py_ssize_t *rows, Py_ssize_t columns, Py_buffer *view, float *room,
                   const float **floats, float **made);
/* In choosing.c. */
PyObject *egru_python_top_k(PyObject *module, PyObject *arguments);
PyObject *egru_python_sample(PyObject *module, PyObject *arguments);
PyObject *egru_python_beam(PyObject *module, PyObject *arguments);
/* Raise EngineError for what a step or run returned. */
void egru_raise(egru_status status, const char *what, Py_ssize_t which);
/* A tuple of bytearrays, one an output: the columns of ys (rows, output_size). */
PyObject *egru_split(const StreamObject *stream, const float *ys, Py_ssize_t rows);
#endif
