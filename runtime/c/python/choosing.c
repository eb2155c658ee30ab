/* Choosing of tokens, for edgegru_runtime.choosing, which has checked everything but the values of floats: they are None. */
#include "module.h"

PyObject *egru_python_top_k(PyObject *module, PyObject *arguments) {
    Py_buffer values;
    Py_ssize_t k;
    uint32_t *places;
    PyObject *result = NULL;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "y*n", &values, &k))
        return NULL;
    places = PyMem_Malloc((size_t)k * sizeof *places);
    if (!places) {
        PyErr_NoMemory();
    } else if (egru_top_k(values.buf, (size_t)values.len / sizeof(float), (size_t)k, places) != EGRU_OK) {
        result = Py_NewRef(Py_None);
    } else {
        result = PyList_New(k);
        for (Py_ssize_t i = 0; result && i < k; i++) {
            PyObject *place = PyLong_FromUnsignedLong(places[i]);
            if (!place || PyList_SetItem(result, i, place) != 0)
                Py_CLEAR(result);
        }
    }
    PyMem_Free(places);
    PyBuffer_Release(&values);
    return result;
}

PyObject *egru_python_sample(PyObject *module, PyObject *arguments) {
    Py_buffer values, places;
    Py_ssize_t k;
    unsigned long temperature;
    unsigned long long given;
    uint64_t random;
    size_t token;
    PyObject *result;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "y*nkw*K", &values, &k, &temperature, &places, &given))
        return NULL;
    random = given;
    if (egru_sample(values.buf, (size_t)values.len / sizeof(float), (size_t)k, (uint32_t)temperature, places.buf, &random,
                    &token) == EGRU_OK)
        result = Py_BuildValue("nK", (Py_ssize_t)token, (unsigned long long)random);
    else
        result = Py_NewRef(Py_None);
    PyBuffer_Release(&places);
    PyBuffer_Release(&values);
    return result;
}

PyObject *egru_python_beam(PyObject *module, PyObject *arguments) {
    Py_buffer scores, rows;
    Py_ssize_t k;
    size_t n, found;
    egru_continuation *best;
    PyObject *result = NULL;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "y*y*n", &scores, &rows, &k))
        return NULL;
    n = (size_t)scores.len / sizeof(int64_t);
    best = PyMem_Malloc((size_t)k * sizeof *best);
    if (!best) {
        PyErr_NoMemory();
    } else if (egru_beam(scores.buf, n, rows.buf, (size_t)rows.len / sizeof(float) / n, (size_t)k, best, &found) != EGRU_OK) {
        result = Py_NewRef(Py_None);
    } else {
        result = PyList_New((Py_ssize_t)found);
        for (size_t i = 0; result && i < found; i++) {
            PyObject *one = Py_BuildValue("IIL", best[i].parent, best[i].token, (long long)best[i].score);
            if (!one || PyList_SetItem(result, (Py_ssize_t)i, one) != 0)
                Py_CLEAR(result);
        }
    }
    PyMem_Free(best);
    PyBuffer_Release(&rows);
    PyBuffer_Release(&scores);
    return result;
}
