/* edgegru_runtime._kernel: the C kernel in Python, without NumPy. */
#include "module.h"

#include <string.h>

#define INPUT_LIMIT 1152921504606846976.0 /* 2^60 */

PyObject *egru_model_type, *egru_stream_type;
PyObject *egru_read_sample, *egru_check_out, *egru_fill;
PyObject *egru_input_error, *egru_state_error, *egru_engine_error;

PyObject *egru_item(PyObject *sequence, Py_ssize_t index) {
    PyObject *item = PyList_CheckExact(sequence) ? PyList_GetItem(sequence, index) : PyTuple_GetItem(sequence, index);
    if (!item)
        PyErr_Clear();
    return item;
}

Py_ssize_t egru_length(PyObject *sequence) {
    if (PyList_CheckExact(sequence))
        return PyList_Size(sequence);
    return PyTuple_CheckExact(sequence) ? PyTuple_Size(sequence) : -1;
}

/* A float or an int within the limit; 0 where it is something else. */
static int read_number(PyObject *item, float *number) {
    double value;
    if (PyFloat_CheckExact(item))
        value = PyFloat_AsDouble(item);
    else if (PyLong_CheckExact(item))
        value = PyLong_AsDouble(item);
    else
        return 0;
    *number = (float)value;
    if (value == -1.0 && PyErr_Occurred()) { /* beyond float64 */
        PyErr_Clear();
        return 0;
    }
    return value >= -INPUT_LIMIT && value <= INPUT_LIMIT;
}

static int read_numbers(PyObject *x, Py_ssize_t columns, float *row) {
    PyObject *(*item_of)(PyObject *, Py_ssize_t) = PyList_CheckExact(x) ? PyList_GetItem : PyTuple_GetItem;
    if (egru_length(x) != columns)
        return 0;
    for (Py_ssize_t i = 0; i < columns; i++)
        if (!read_number(item_of(x, i), &row[i])) /* its length stays: no Python runs here */
            return 0;
    return 1;
}

/* A list or tuple of samples. */
static int read_rows(PyObject *xs, Py_ssize_t *rows, Py_ssize_t columns, float **made) {
    Py_ssize_t height = egru_length(xs);
    if (*rows >= 0 && height != *rows)
        return 0;
    *made = PyMem_Malloc((size_t)(height ? height : 1) * (size_t)columns * sizeof(float));
    if (!*made) {
        PyErr_NoMemory();
        return -1;
    }
    for (Py_ssize_t i = 0; i < height; i++) {
        PyObject *row = egru_item(xs, i);
        float *to = *made + i * columns, *unused;
        const float *floats;
        Py_ssize_t one = 1;
        Py_buffer view;
        int read = 0;
        if (row) {
            Py_INCREF(row); /* what gives its buffer may take it away */
            read = egru_floats_of(row, 1, &one, columns, &view, to, &floats, &unused);
            if (read == 1) {
                if (floats != to)
                    memcpy(to, floats, (size_t)columns * sizeof(float));
                PyBuffer_Release(&view);
            }
            Py_DECREF(row);
        }
        if (read != 1) {
            PyMem_Free(*made);
            *made = NULL;
            return 0;
        }
    }
    *rows = height;
    return 1;
}

static int has_format(const Py_buffer *view, char code) {
    const char *format = view->format ? view->format : "B";
    return format[0] == code && format[1] == '\0';
}

int egru_floats_of(PyObject *x, int dimensions, Py_ssize_t *rows, Py_ssize_t columns, Py_buffer *view, float *room,
                   const float **floats, float **made) {
    Py_ssize_t count, height;
    *made = NULL;
    if (PyList_CheckExact(x) || PyTuple_CheckExact(x)) {
        int read = dimensions == 1 ? read_numbers(x, columns, room) : read_rows(x, rows, columns, made);
        *floats = room ? room : *made;
        view->obj = NULL; /* nothing to release */
        return read;
    }
    if (PyObject_GetBuffer(x, view, PyBUF_ND | PyBUF_FORMAT) != 0) {
        PyErr_Clear();
        return 0;
    }
    height = dimensions == 2 && view->ndim == 2 ? view->shape[0] : 1;
    if (view->ndim != dimensions || view->shape[dimensions - 1] != columns || (*rows >= 0 && height != *rows))
        goto other;
    count = height * columns;
    if (has_format(view, 'f')) {
        *floats = view->buf;
    } else if (has_format(view, 'd') || has_format(view, 'h')) {
        float *converted = room ? room : PyMem_Malloc((size_t)(count ? count : 1) * sizeof(float));
        if (!converted) {
            PyBuffer_Release(view);
            PyErr_NoMemory();
            return -1;
        }
        *made = room ? NULL : converted;
        *floats = converted;
        if (has_format(view, 'h')) {
            for (Py_ssize_t i = 0; i < count; i++)
                converted[i] = ((const int16_t *)view->buf)[i];
        } else {
            for (Py_ssize_t i = 0; i < count; i++)
                converted[i] = (float)((const double *)view->buf)[i];
        }
    } else {
        goto other;
    }
    *rows = height;
    return 1;
other:
    PyBuffer_Release(view);
    return 0;
}

void egru_raise(egru_status status, const char *what, Py_ssize_t which) {
    if (status == EGRU_RANGE)
        PyErr_Format(egru_engine_error, "%s %zd: a value left the range of float32; the step was not taken", what, which);
    else
        PyErr_Format(egru_engine_error, "%s %zd: %s", what, which, egru_strerror(status));
}

PyObject *egru_split(const StreamObject *stream, const float *ys, Py_ssize_t rows) {
    PyObject *result = PyTuple_New(stream->outputs);
    Py_ssize_t first = 0;
    for (Py_ssize_t o = 0; result && o < stream->outputs; first += stream->sizes[o], o++) {
        size_t bytes = (size_t)stream->sizes[o] * sizeof(float);
        PyObject *part = PyByteArray_FromStringAndSize(NULL, rows * (Py_ssize_t)bytes);
        if (!part) {
            Py_CLEAR(result);
            break;
        }
        char *to = PyByteArray_AsString(part);
        for (Py_ssize_t t = 0; t < rows; t++)
            memcpy(to + (size_t)t * bytes, ys + t * stream->output_size + first, bytes);
        PyTuple_SetItem(result, o, part);
    }
    return result;
}

static PyObject *kernels(PyObject *module, PyObject *unused) {
    PyObject *names = PyList_New(0);
    (void)module;
    (void)unused;
    for (size_t i = 0; names && egru_kernel_name(i); i++) {
        PyObject *name;
        if (!egru_kernel_runs(egru_kernel_name(i)))
            continue;
        name = PyUnicode_FromString(egru_kernel_name(i));
        if (!name || PyList_Append(names, name) != 0)
            Py_CLEAR(names);
        Py_XDECREF(name);
    }
    return names;
}

static PyMethodDef functions[] = {
    {"kernels", kernels, METH_NOARGS, "Names of the instruction sets that run here, fastest first."},
    {"top_k", egru_python_top_k, METH_VARARGS, "top_k(values, k): the places of the k largest."},
    {"sample", egru_python_sample, METH_VARARGS, "sample(values, k, temperature, places, random): token, random."},
    {"beam", egru_python_beam, METH_VARARGS, "beam(scores, rows, k): (parent, token, score) of each."},
    {NULL, NULL, 0, NULL},
};

/* A name of a module of edgegru_runtime. */
static int import_name(const char *module, const char *name, PyObject **place) {
    PyObject *imported = PyImport_ImportModule(module);
    if (!imported)
        return -1;
    *place = PyObject_GetAttrString(imported, name);
    Py_DECREF(imported);
    return *place ? 0 : -1;
}

static int add_type(PyObject *module, const char *name, PyType_Spec *spec, PyObject **place) {
    PyObject *type = PyType_FromSpec(spec);
    if (!type || PyModule_AddObjectRef(module, name, type) != 0) {
        Py_XDECREF(type);
        return -1;
    }
    if (place)
        *place = type;
    else
        Py_DECREF((PyObject *)type);
    return 0;
}

static int execute(PyObject *module) {
    static const struct {
        const char *module, *name;
        PyObject **place;
    } imports[] = {
        {"edgegru_runtime.samples", "read_sample", &egru_read_sample},
        {"edgegru_runtime.samples", "writable", &egru_check_out},
        {"edgegru_runtime.samples", "fill", &egru_fill},
        {"edgegru_runtime.errors", "InputError", &egru_input_error},
        {"edgegru_runtime.errors", "StateError", &egru_state_error},
        {"edgegru_runtime.errors", "EngineError", &egru_engine_error},
    };
    for (size_t i = 0; i < sizeof imports / sizeof *imports; i++)
        if (import_name(imports[i].module, imports[i].name, imports[i].place) != 0)
            return -1;
    if (add_type(module, "Model", &egru_model_spec, &egru_model_type) != 0 ||
        add_type(module, "Stream", &egru_stream_spec, &egru_stream_type) != 0 ||
        add_type(module, "Batch", &egru_batch_spec, NULL) != 0)
        return -1;
    return 0;
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, (void *)execute},
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_kernel", "Compact GRUs in C, one step at a time.", 0, functions, slots, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__kernel(void) {
    return PyModuleDef_Init(&definition);
}
