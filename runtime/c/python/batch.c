/* Batch: streams of one model that step together, weights read once for several. */
#include "module.h"
#include <string.h>

typedef struct {
    PyObject ob_base;
    ModelObject *model;
    void *scratch;
    void **states;
    float *ys;
    Py_ssize_t room; /* streams that states and ys have room for */
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
    free(self->states);
    free(self->ys);
    Py_XDECREF((PyObject *)self->model);
    release(self);
    Py_DECREF((PyObject *)type);
}

static int make_room(BatchObject *self, Py_ssize_t count) {
    size_t outputs = egru_output_size(self->model->model);
    if (count <= self->room)
        return 0;
    void **states = realloc(self->states, (size_t)count * sizeof(void *));
    if (states)
        self->states = states;
    float *ys = realloc(self->ys, (size_t)count * outputs * sizeof(float));
    if (ys)
        self->ys = ys;
    if (!states || !ys) {
        PyErr_NoMemory();
        return -1;
    }
    self->room = count;
    return 0;
}

/* The streams of a tuple, each entered once; how many, or -1. */
static Py_ssize_t enter_all(BatchObject *self, PyObject *streams) {
    Py_ssize_t count = PyTuple_Size(streams), entered = 0;
    for (; entered < count; entered++) {
        StreamObject *stream = (StreamObject *)PyTuple_GetItem(streams, entered);
        if (stream->busy)
            break;
        stream->busy = 1;
        self->states[entered] = stream->state;
    }
    if (entered == count)
        return count;
    PyErr_Format(egru_state_error, "stream %zd is in use by another thread; expected one stream per thread", entered);
    while (entered-- > 0)
        ((StreamObject *)PyTuple_GetItem(streams, entered))->busy = 0;
    return -1;
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

/* step(streams, xs): a tuple of bytearrays, a row for each stream; None where xs is no buffer (n, input_size).
 * step(streams, xs, out): out, filled; None also where it is not one contiguous buffer. */
static PyObject *batch_step(BatchObject *self, PyObject *const *arguments, Py_ssize_t count) {
    Py_ssize_t n;
    Py_buffer view, target;
    PyObject *out = count == 3 ? arguments[2] : NULL;
    const float *xs;
    float *made;
    size_t which = 0;
    egru_status status = EGRU_OK;
    PyObject *result = NULL, *streams;
    int read;
    if (self->busy) {
        PyErr_SetString(egru_state_error, "these streams are in use by another thread; expected one thread at a time");
        return NULL;
    }
    if (count < 2 || count > 3 || !PyList_Check(arguments[0])) {
        PyErr_SetString(PyExc_TypeError, "step takes a list of streams, their samples and, if wanted, out");
        return NULL;
    }
    streams = PyList_AsTuple(arguments[0]); /* nobody takes a stream away while it steps */
    n = streams ? PyTuple_Size(streams) : 0;
    for (Py_ssize_t i = 0; i < n; i++) {
        PyObject *stream = PyTuple_GetItem(streams, i);
        if (!PyObject_TypeCheck(stream, (PyTypeObject *)egru_stream_type) ||
            ((StreamObject *)stream)->model != self->model) {
            PyErr_SetString(PyExc_TypeError, "step takes streams of one model");
            Py_DECREF(streams);
            return NULL;
        }
    }
    read = !streams ? -1
                    : egru_floats_of(arguments[1], 2, &n, (Py_ssize_t)egru_input_size(self->model->model), &view, NULL, &xs,
                                     &made);
    if (read <= 0) {
        Py_XDECREF(streams);
        return read == 0 ? Py_NewRef(Py_None) : NULL;
    }
    if (out && (n == 0 || hold((StreamObject *)PyTuple_GetItem(streams, 0), out, n, &target) != 0)) {
        result = Py_NewRef(Py_None);
        goto read_only;
    }
    self->busy = 1;
    if (n > 0 && make_room(self, n) == 0 && enter_all(self, streams) == n) {
        Py_BEGIN_ALLOW_THREADS
        status = egru_step_many(self->model->model, self->states, (size_t)n, self->scratch, xs, self->ys, &which);
        Py_END_ALLOW_THREADS
        for (Py_ssize_t i = 0; i < n; i++)
            ((StreamObject *)PyTuple_GetItem(streams, i))->busy = 0;
        if (status != EGRU_OK) {
            egru_raise(status, "stream", (Py_ssize_t)which);
        } else if (out) {
            memcpy(target.buf, self->ys, (size_t)target.len);
            result = Py_NewRef(out);
        } else {
            result = egru_split((StreamObject *)PyTuple_GetItem(streams, 0), self->ys, n);
        }
    }
    self->busy = 0;
    if (out)
        PyBuffer_Release(&target);
read_only:
    PyMem_Free(made);
    PyBuffer_Release(&view);
    Py_DECREF(streams);
    return result;
}

static PyMethodDef methods[] = {
    {"step", (PyCFunction)(void (*)(void))batch_step, METH_FASTCALL, "One step of each stream of a list."},
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
