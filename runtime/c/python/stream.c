/* Stream: a state that steps. What is usual is read here; the rest by edgegru_runtime.samples, which knows the words. */
#include "module.h"

#include <string.h>

#define PATIENCE 1000 /* times what is brief: some 20 milliseconds */

static PyObject *stream_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords) {
    PyObject *sizes;
    StreamObject *self;
    ModelObject *model;
    PyObject *channels;
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    (void)keywords;
    if (!PyArg_ParseTuple(arguments, "O!O!O!", (PyTypeObject *)egru_model_type, &model, &PyTuple_Type, &channels,
                          &PyTuple_Type, &sizes))
        return NULL;
    self = (StreamObject *)allocate(type, 0);
    if (!self)
        return NULL;
    self->model = (ModelObject *)Py_NewRef((PyObject *)model);
    self->channels = Py_NewRef(channels);
    self->input_size = (Py_ssize_t)egru_input_size(model->model);
    self->output_size = (Py_ssize_t)egru_output_size(model->model);
    self->outputs = PyTuple_Size(sizes);
    self->state = malloc(egru_state_size(model->model));
    self->sample = malloc((size_t)self->input_size * sizeof(float));
    self->y = malloc((size_t)self->output_size * sizeof(float));
    self->sizes = malloc((size_t)self->outputs * sizeof(Py_ssize_t));
    if (!self->state || !self->sample || !self->y || !self->sizes) {
        Py_DECREF((PyObject *)self);
        return PyErr_NoMemory();
    }
    for (Py_ssize_t i = 0; i < self->outputs; i++)
        self->sizes[i] = PyLong_AsSsize_t(PyTuple_GetItem(sizes, i));
    egru_reset(model->model, self->state);
    return (PyObject *)self;
}

static void stream_dealloc(StreamObject *self) {
    PyTypeObject *type = Py_TYPE((PyObject *)self);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    PyObject_GC_UnTrack(self);
    free(self->state);
    free(self->scratch);
    free(self->sample);
    free(self->y);
    free(self->sizes);
    Py_XDECREF((PyObject *)self->model);
    Py_XDECREF(self->channels);
    release(self);
    Py_DECREF((PyObject *)type);
}

static int stream_traverse(StreamObject *self, visitproc visit, void *arg) {
    Py_VISIT((PyObject *)Py_TYPE((PyObject *)self));
    Py_VISIT(self->channels);
    return 0;
}

/* Begin to use the stream: nobody else may be inside. */
static int enter(StreamObject *self) {
    if (self->busy) {
        PyErr_SetString(egru_state_error, "this stream is in use by another thread; expected one stream per thread");
        return -1;
    }
    if (!self->scratch) {
        self->scratch = malloc(egru_scratch_size(self->model->model, 1));
        if (!self->scratch) {
            PyErr_NoMemory();
            return -1;
        }
    }
    self->busy = 1;
    return 0;
}

/* x as samples.py reads it, with its errors, in self->sample. */
static int floats_of_anything(StreamObject *self, PyObject *x, uint64_t *saturated) {
    PyObject *read = PyObject_CallFunctionObjArgs(egru_read_sample, x, self->channels, NULL);
    PyObject *row = read ? PyTuple_GetItem(read, 0) : NULL, *count = read ? PyTuple_GetItem(read, 1) : NULL;
    Py_buffer view;
    int result = -1;
    if (row && count && PyObject_GetBuffer(row, &view, PyBUF_SIMPLE) == 0) {
        memcpy(self->sample, view.buf, (size_t)self->input_size * sizeof(float));
        PyBuffer_Release(&view);
        *saturated = PyLong_AsUnsignedLongLong(count);
        result = PyErr_Occurred() ? -1 : 0;
    }
    Py_XDECREF(read);
    return result;
}

/* One step, inside; the result is in self->y. */
static egru_status advance(StreamObject *self, const float *x) {
    PyThreadState *others = self->model->brief > 1 ? NULL : PyEval_SaveThread();
    egru_status status = egru_step(self->model->model, self->state, self->scratch, x, self->y);
    if (others)
        PyEval_RestoreThread(others);
    return status;
}

/* self->y as a list of floats, or a tuple of lists. */
static PyObject *lists(const StreamObject *self) {
    PyObject *all = self->outputs == 1 ? NULL : PyTuple_New(self->outputs);
    const float *y = self->y;
    if (self->outputs != 1 && !all)
        return NULL;
    for (Py_ssize_t o = 0; o < self->outputs; o++) {
        PyObject *list = PyList_New(self->sizes[o]);
        for (Py_ssize_t i = 0; list && i < self->sizes[o]; i++) {
            PyObject *number = PyFloat_FromDouble((double)*y++);
            if (!number)
                Py_CLEAR(list);
            else
                PyList_SetItem(list, i, number);
        }
        if (!list) {
            Py_XDECREF(all);
            return NULL;
        }
        if (self->outputs == 1)
            return list;
        PyTuple_SetItem(all, o, list);
    }
    return all;
}

/* A writable float32 buffer of `size` numbers; -1 where it is none, without an error. */
static int writable(PyObject *out, Py_ssize_t size, Py_buffer *view) {
    if (PyObject_GetBuffer(out, view, PyBUF_ND | PyBUF_FORMAT | PyBUF_WRITABLE) != 0) {
        PyErr_Clear();
        return -1;
    }
    if (view->ndim == 1 && view->shape[0] == size && view->format && strcmp(view->format, "f") == 0)
        return 0;
    PyBuffer_Release(view);
    return -1;
}

static PyObject *sizes_of(const StreamObject *self) {
    PyObject *sizes = PyTuple_New(self->outputs);
    for (Py_ssize_t i = 0; sizes && i < self->outputs; i++)
        PyTuple_SetItem(sizes, i, PyLong_FromSsize_t(self->sizes[i]));
    return sizes;
}

/* Hold `out`, so that it keeps its size while the step runs: in `view` where it is one contiguous buffer, else in the
 * `views` that samples.py makes of it. */
static int hold(const StreamObject *self, PyObject *out, Py_buffer *view, PyObject **views) {
    PyObject *sizes;
    *views = NULL;
    if (self->outputs == 1 && writable(out, self->sizes[0], view) == 0)
        return 0;
    sizes = sizes_of(self);
    if (sizes)
        *views = PyObject_CallFunctionObjArgs(egru_check_out, out, sizes, NULL);
    Py_XDECREF(sizes);
    return *views ? 0 : -1;
}

/* self->y into what is held. */
static int fill(const StreamObject *self, Py_buffer *view, PyObject *views) {
    size_t bytes = (size_t)self->output_size * sizeof(float);
    PyObject *numbers, *filled;
    if (!views) {
        memcpy(view->buf, self->y, bytes);
        return 0;
    }
    numbers = PyBytes_FromStringAndSize((const char *)self->y, (Py_ssize_t)bytes);
    filled = numbers ? PyObject_CallFunctionObjArgs(egru_fill, views, numbers, NULL) : NULL;
    Py_XDECREF(numbers);
    Py_XDECREF(filled);
    return filled ? 0 : -1;
}

/* A step with the sample `from`, inside; the result is in self->y. The kernel, which reads every number anyway, says
 * whether one is not finite. */
static int take(StreamObject *self, PyObject *from) {
    Py_ssize_t rows = 1;
    Py_buffer view;
    const float *x;
    float *made;
    uint64_t saturated = 0;
    egru_status status = EGRU_INPUT;
    if (egru_floats_of(from, 1, &rows, self->input_size, &view, self->sample, &x, &made) == 1) {
        status = advance(self, x);
        PyBuffer_Release(&view);
    }
    if (status == EGRU_INPUT) { /* it needs words, or a second look */
        if (floats_of_anything(self, from, &saturated) != 0)
            return -1;
        status = advance(self, self->sample);
    }
    if (status != EGRU_OK) {
        egru_raise(status, "step", (Py_ssize_t)egru_steps(self->model->model, self->state));
        return -1;
    }
    self->saturated += saturated;
    return 0;
}

static PyObject *stream_step(StreamObject *self, PyObject *const *arguments, Py_ssize_t count, PyObject *names) {
    PyObject *out = count > 1 ? arguments[1] : NULL;
    PyObject *x = count > 0 ? arguments[0] : NULL, *views, *result = NULL;
    Py_ssize_t named = names ? PyTuple_Size(names) : 0;
    Py_buffer view;
    for (Py_ssize_t i = 0; i < named; i++) {
        PyObject *name = PyTuple_GetItem(names, i);
        if (!x && PyUnicode_CompareWithASCIIString(name, "x") == 0)
            x = arguments[count + i];
        else if (!out && PyUnicode_CompareWithASCIIString(name, "out") == 0)
            out = arguments[count + i];
        else
            count = 3;
    }
    if (!x || count > 2) {
        PyErr_SetString(PyExc_TypeError, "step takes a sample x and, if wanted, out");
        return NULL;
    }
    if (enter(self) != 0)
        return NULL;
    if (!out || out == Py_None) {
        result = take(self, x) == 0 ? lists(self) : NULL;
    } else if (hold(self, out, &view, &views) == 0) {
        if (take(self, x) == 0 && fill(self, &view, views) == 0)
            result = Py_NewRef(out);
        if (views)
            Py_DECREF(views);
        else
            PyBuffer_Release(&view);
    }
    self->busy = 0;
    return result;
}

/* Whether all numbers are finite. Two at a time: what is added carries the largest exponent into the sign's bit. */
static int all_finite(const float *numbers, size_t count) {
    uint64_t beyond = 0, two;
    uint32_t bits;
    for (; count >= 2; count -= 2, numbers += 2) {
        memcpy(&two, numbers, 8);
        beyond |= (two & 0x7fffffff7fffffffu) + 0x0080000000800000u;
    }
    if (count) {
        memcpy(&bits, numbers, 4);
        beyond |= (bits & 0x7fffffffu) + 0x00800000u;
    }
    return !(beyond & 0x8000000080000000u);
}

/* Of T samples that egru_floats_of reads: a tuple of bytearrays, T rows of every output. None where it does not, or
 * where a value is not finite. */
static PyObject *stream_run_rows(StreamObject *self, PyObject *xs) {
    Py_ssize_t rows = -1;
    Py_buffer view;
    const float *floats;
    float *made, *ys;
    size_t done = 0;
    egru_status status = EGRU_OK;
    PyObject *result = NULL;
    int interrupted = 0;
    int read = egru_floats_of(xs, 2, &rows, self->input_size, &view, NULL, &floats, &made);
    if (read <= 0)
        return read == 0 ? Py_NewRef(Py_None) : NULL;
    if (!all_finite(floats, (size_t)rows * (size_t)self->input_size)) {
        PyMem_Free(made);
        PyBuffer_Release(&view);
        return Py_NewRef(Py_None);
    }
    ys = PyMem_Malloc((size_t)(rows ? rows : 1) * (size_t)self->output_size * sizeof(float));
    if (!ys)
        PyErr_NoMemory();
    if (ys && enter(self) == 0) {
        while (done < (size_t)rows && status == EGRU_OK && !interrupted) { /* in parts, for Ctrl-C to be heard */
            size_t part = (size_t)rows - done, taken;
            PyThreadState *others;
            if (part > PATIENCE * self->model->brief)
                part = PATIENCE * self->model->brief;
            others = part < self->model->brief ? NULL : PyEval_SaveThread();
            status = egru_run(self->model->model, self->state, self->scratch, floats + done * (size_t)self->input_size,
                              ys + done * (size_t)self->output_size, part, &taken);
            if (others)
                PyEval_RestoreThread(others);
            done += taken;
            interrupted = PyErr_CheckSignals() != 0;
        }
        self->busy = 0;
        if (status != EGRU_OK && !interrupted)
            egru_raise(status, "row", (Py_ssize_t)done);
        else if (!interrupted)
            result = egru_split(self, ys, rows);
    }
    PyMem_Free(ys);
    PyMem_Free(made);
    PyBuffer_Release(&view);
    return result;
}

/* remember(row): a buffer of row_size finite float32 numbers. */
static PyObject *stream_remember(StreamObject *self, PyObject *row) {
    Py_buffer view;
    egru_status status = EGRU_INPUT;
    size_t size = egru_row_size(self->model->model);
    if (PyObject_GetBuffer(row, &view, PyBUF_SIMPLE) != 0)
        return NULL;
    if ((size_t)view.len != size * sizeof(float) || size == 0) {
        PyErr_SetString(PyExc_TypeError, "remember takes a row of the model's attention");
    } else if (enter(self) == 0) {
        status = egru_remember(self->model->model, self->state, view.buf);
        self->busy = 0;
        if (status == EGRU_MEMORY)
            PyErr_SetString(egru_input_error, "the stream remembers as many rows as it can, expected no more than that");
        else if (status != EGRU_OK)
            PyErr_SetString(egru_input_error, egru_strerror(status));
    }
    PyBuffer_Release(&view);
    return status == EGRU_OK ? Py_NewRef(Py_None) : NULL;
}

static PyObject *stream_copy_state(StreamObject *self, PyObject *from) {
    StreamObject *other = (StreamObject *)from;
    if (!PyObject_TypeCheck(from, (PyTypeObject *)egru_stream_type) || other->model != self->model) {
        PyErr_SetString(egru_state_error, "the other stream is of another model; expected one of the same");
        return NULL;
    }
    if (other == self)
        return Py_NewRef(Py_None);
    if (enter(self) != 0)
        return NULL;
    if (other->busy) {
        PyErr_SetString(egru_state_error, "the other stream is in use by another thread; expected one stream per thread");
        self->busy = 0;
        return NULL;
    }
    egru_copy(self->model->model, self->state, other->state);
    self->saturated = other->saturated;
    self->busy = 0;
    return Py_NewRef(Py_None);
}

static PyObject *stream_reset(StreamObject *self, PyObject *unused) {
    (void)unused;
    if (enter(self) != 0)
        return NULL;
    egru_reset(self->model->model, self->state);
    self->saturated = 0;
    self->busy = 0;
    return Py_NewRef(Py_None);
}

static PyObject *stream_save(StreamObject *self, PyObject *unused) {
    PyObject *saved = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)egru_saved_size(self->model->model));
    (void)unused;
    if (!saved || enter(self) != 0) {
        Py_XDECREF(saved);
        return NULL;
    }
    egru_save(self->model->model, self->state, PyBytes_AsString(saved));
    self->busy = 0;
    return saved;
}

static PyObject *stream_load(StreamObject *self, PyObject *saved) {
    char *bytes;
    Py_ssize_t count;
    egru_status status;
    if (PyBytes_AsStringAndSize(saved, &bytes, &count) != 0 || enter(self) != 0)
        return NULL;
    status = egru_load(self->model->model, self->state, bytes, (size_t)count);
    self->busy = 0;
    if (status != EGRU_OK) {
        PyErr_SetString(egru_state_error, egru_strerror(status));
        return NULL;
    }
    self->saturated = 0;
    return Py_NewRef(Py_None);
}

static PyObject *stream_count_saturated(StreamObject *self, PyObject *count) {
    unsigned long long more = PyLong_AsUnsignedLongLong(count);
    if (PyErr_Occurred())
        return NULL;
    self->saturated += more;
    return Py_NewRef(Py_None);
}

static PyObject *stream_steps(StreamObject *self, void *unused) {
    (void)unused;
    return PyLong_FromUnsignedLongLong(egru_steps(self->model->model, self->state));
}

static PyObject *stream_clipped(StreamObject *self, void *unused) {
    (void)unused;
    return PyLong_FromUnsignedLongLong(egru_clipped(self->model->model, self->state) + self->saturated);
}

static PyMethodDef methods[] = {
    {"step", (PyCFunction)(void (*)(void))stream_step, METH_FASTCALL | METH_KEYWORDS, "Advance by one sample."},
    {"run_rows", (PyCFunction)stream_run_rows, METH_O, "A step for each row: a bytearray for every output, or None."},
    {"remember_row", (PyCFunction)stream_remember, METH_O, "One more row for attention."},
    {"copy_state", (PyCFunction)stream_copy_state, METH_O, "Go on from where another stream of the model is."},
    {"reset", (PyCFunction)stream_reset, METH_NOARGS, "Back to the state the stream was born with."},
    {"save", (PyCFunction)stream_save, METH_NOARGS, "The state as bytes, without values saturated before the kernel."},
    {"load", (PyCFunction)stream_load, METH_O, "Take over a state as bytes."},
    {"count_saturated", (PyCFunction)stream_count_saturated, METH_O, "Count values saturated before the kernel."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef properties[] = {
    {"steps", (getter)stream_steps, NULL, "Steps taken since the last reset.", NULL},
    {"clipped", (getter)stream_clipped, NULL, "Input values saturated since the last reset.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_new, (void *)stream_new},
    {Py_tp_dealloc, (void *)stream_dealloc},
    {Py_tp_traverse, (void *)stream_traverse},
    {Py_tp_methods, methods},
    {Py_tp_getset, properties},
    {Py_tp_doc, "A stream of a model: channels, sizes of the outputs."},
    {0, NULL},
};

PyType_Spec egru_stream_spec = {
    "edgegru_runtime._kernel.Stream",
    sizeof(StreamObject),
    0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
    slots,
};
