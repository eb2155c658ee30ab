/* Batch: streams of one model that step together, weights read once for several. */
#include "module.h"
#include <string.h>

typedef struct {
    PyObject ob_base;
    ModelObject *model;
    void *scratch;
    StreamObject **streams; /* that step */
    void **states;
    Py_ssize_t *places;     /* in the list of all */
    float *ys;
    Py_ssize_t room; /* streams that these have room for */
    int busy;        /* a thread is inside */
} BatchObject;

static PyObject *batch_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords) {
    ModelObject *model;
    BatchObject *self;
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    (void)keywords;
    if (!PyArg_ParseTuple(arguments, "O!", (PyTypeObject *)egru_model_type, &model))
        return NULL;
    self = (BatchObject *)allocate(type, 0);
    if (!self)
        return NULL;
    self->model = (ModelObject *)Py_NewRef((PyObject *)model);
    self->scratch = malloc(egru_scratch_size(model->model, SIZE_MAX));
    if (!self->scratch) {
        Py_DECREF((PyObject *)self);
        return PyErr_NoMemory();
    }
    return (PyObject *)self;
}

static void batch_dealloc(BatchObject *self) {
    PyTypeObject *type = Py_TYPE((PyObject *)self);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    free(self->scratch);
    free(self->streams);
    free(self->states);
    free(self->places);
    free(self->ys);
    Py_XDECREF((PyObject *)self->model);
    release(self);
    Py_DECREF((PyObject *)type);
}

static int make_room(BatchObject *self, Py_ssize_t count) {
    size_t many = (size_t)count, outputs = egru_output_size(self->model->model);
    if (count <= self->room)
        return 0;
    void **states = realloc(self->states, many * sizeof(void *));
    if (states)
        self->states = states;
    StreamObject **streams = realloc(self->streams, many * sizeof(StreamObject *));
    if (streams)
        self->streams = streams;
    Py_ssize_t *places = realloc(self->places, many * sizeof(Py_ssize_t));
    if (places)
        self->places = places;
    float *ys = realloc(self->ys, many * outputs * sizeof(float));
    if (ys)
        self->ys = ys;
    if (!states || !streams || !places || !ys) {
        PyErr_NoMemory();
        return -1;
    }
    self->room = count;
    return 0;
}

static void leave(BatchObject *self, Py_ssize_t entered) {
    while (entered-- > 0) {
        self->streams[entered]->busy = 0;
        Py_DECREF((PyObject *)self->streams[entered]);
    }
}

/* The place in the list of streams of row `row`; -1 where `which` has no int for it. */
static Py_ssize_t place_of(PyObject *which, Py_ssize_t row) {
    PyObject *item;
    Py_ssize_t place;
    if (!which)
        return row;
    item = egru_item(which, row);
    place = item && PyLong_CheckExact(item) ? PyLong_AsSsize_t(item) : -1;
    if (place == -1)
        PyErr_Clear(); /* it may be too large */
    return place;
}

/* Enter the streams of a list, all of them or those at the places in `which`, and hold them: nobody takes one away
 * while it steps. -1 where that cannot be, with an error set, or without one where streams.py has the words. */
static int enter_all(BatchObject *self, PyObject *streams, PyObject *which, Py_ssize_t n) {
    PyTypeObject *known = NULL;
    for (Py_ssize_t row = 0; row < n; row++) {
        Py_ssize_t place = place_of(which, row), before = 0;
        StreamObject *stream = place < 0 ? NULL : (StreamObject *)egru_item(streams, place);
        if (!stream) {
            leave(self, row);
            return -1;
        }
        if ((Py_TYPE((PyObject *)stream) != known &&
             !PyObject_TypeCheck((PyObject *)stream, (PyTypeObject *)egru_stream_type)) ||
            stream->model != self->model) {
            leave(self, row);
            PyErr_SetString(PyExc_TypeError, "step takes streams of one model");
            return -1;
        }
        known = Py_TYPE((PyObject *)stream);
        if (stream->busy) {
            while (before < row && self->streams[before] != stream)
                before++;
            leave(self, row);
            if (before == row) /* it is not in `which` twice */
                PyErr_Format(egru_state_error, "stream %zd is in use by another thread; expected one stream per thread",
                             place);
            return -1;
        }
        stream->busy = 1;
        self->streams[row] = (StreamObject *)Py_NewRef((PyObject *)stream);
        self->states[row] = stream->state;
        self->places[row] = place;
    }
    return 0;
}

/* A writable float32 buffer (n, output_size), of a model with one output; -1 where it is none, without an error. */
static int hold(const StreamObject *stream, PyObject *out, Py_ssize_t n, Py_buffer *view) {
    if (stream->outputs != 1)
        return -1;
    if (PyObject_GetBuffer(out, view, PyBUF_ND | PyBUF_FORMAT | PyBUF_WRITABLE) != 0) {
        PyErr_Clear();
        return -1;
    }
    if (view->ndim == 2 && view->shape[0] == n && view->shape[1] == stream->output_size && view->format &&
        strcmp(view->format, "f") == 0)
        return 0;
    PyBuffer_Release(view);
    return -1;
}

/* The streams are entered, their samples and `out`, which may be NULL, held. NULL or None where there are no results. */
static PyObject *advance_all(BatchObject *self, Py_ssize_t n, const float *xs, PyObject *out, Py_buffer *target) {
    PyThreadState *others = (size_t)n < self->model->brief ? NULL : PyEval_SaveThread();
    size_t row = 0;
    egru_status status = egru_step_many(self->model->model, self->states, (size_t)n, self->scratch, xs, self->ys, &row);
    if (others)
        PyEval_RestoreThread(others);
    if (status == EGRU_INPUT) /* streams.py says which value */
        return Py_NewRef(Py_None);
    if (status != EGRU_OK) {
        egru_raise(status, "stream", self->places[row]);
        return NULL;
    }
    if (!out)
        return egru_split(self->streams[0], self->ys, n);
    memcpy(target->buf, self->ys, (size_t)target->len);
    return Py_NewRef(out);
}

/* The same with nothing entered, checked or held. */
static PyObject *step(BatchObject *self, PyObject *streams, PyObject *xs, PyObject *out, PyObject *which) {
    PyObject *result = NULL;
    Py_ssize_t n = egru_length(which ? which : streams);
    Py_buffer view, target;
    const float *floats;
    float *made;
    int read = 0;
    if (n > 0)
        read = egru_floats_of(xs, 2, &n, (Py_ssize_t)egru_input_size(self->model->model), &view, NULL, &floats, &made);
    if (read <= 0)
        return read == 0 ? Py_NewRef(Py_None) : NULL;
    if (make_room(self, n) == 0 && enter_all(self, streams, which, n) == 0) {
        if (!out) {
            result = advance_all(self, n, floats, NULL, NULL);
        } else if (hold(self->streams[0], out, n, &target) == 0) {
            result = advance_all(self, n, floats, out, &target);
            PyBuffer_Release(&target);
        } else {
            result = Py_NewRef(Py_None);
        }
        leave(self, n);
    } else if (!PyErr_Occurred()) {
        result = Py_NewRef(Py_None);
    }
    PyMem_Free(made);
    PyBuffer_Release(&view);
    return result;
}

/* step(streams, xs, out, which): of the list of streams those at the places in `which`, a list or tuple, or where that
 * is None all, each by its row of xs. A tuple of bytearrays, or out, filled, where that is not None. None, and nothing
 * has moved, where one of these is not as usual: streams.py reads it then, and has the words for what is wrong. */
static PyObject *batch_step(BatchObject *self, PyObject *const *arguments, Py_ssize_t count) {
    PyObject *result;
    if (count != 4 || !PyList_CheckExact(arguments[0])) {
        PyErr_SetString(PyExc_TypeError, "step takes a list of streams, their samples, out and which");
        return NULL;
    }
    if (self->busy) {
        PyErr_SetString(egru_state_error, "these streams are in use by another thread; expected one thread at a time");
        return NULL;
    }
    self->busy = 1;
    result = step(self, arguments[0], arguments[1], arguments[2] == Py_None ? NULL : arguments[2],
                  arguments[3] == Py_None ? NULL : arguments[3]);
    self->busy = 0;
    return result;
}

static PyMethodDef methods[] = {
    {"step", (PyCFunction)(void (*)(void))batch_step, METH_FASTCALL, "One step of streams of a list."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_new, (void *)batch_new},
    {Py_tp_dealloc, (void *)batch_dealloc},
    {Py_tp_methods, methods},
    {Py_tp_doc, "Steps streams of a model together."},
    {0, NULL},
};

PyType_Spec egru_batch_spec = {
    "edgegru_runtime._kernel.Batch", sizeof(BatchObject), 0, Py_TPFLAGS_DEFAULT, slots,
};
