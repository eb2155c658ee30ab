/* Model: a plan, checked, with its weights packed. */
#include "module.h"

#include <string.h>

/* Bytes of a model that a kernel gets through in some 20 microseconds. */
static double read_in_20_us(const char *kernel) {
    static const struct {
        const char *kernel;
        double bytes;
    } measured[] = {{"avx512", 2000000}, {"avx2", 1200000}, {"sse2", 300000}, {"portable", 40000}};
    for (size_t i = 0; i < sizeof measured / sizeof *measured; i++)
        if (strcmp(kernel, measured[i].kernel) == 0)
            return measured[i].bytes;
    return 100000;
}

static PyObject *model_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords) {
    static char *names[] = {"plan", "kernel", "besides", NULL};
    const char *plan, *kernel = NULL;
    Py_ssize_t bytes, besides = 0;
    size_t size;
    egru_status status;
    ModelObject *self;
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "y#|zn", names, &plan, &bytes, &kernel, &besides))
        return NULL;
    self = (ModelObject *)allocate(type, 0);
    if (!self)
        return NULL;
    status = egru_model_size(plan, (size_t)bytes, kernel, &size);
    if (status == EGRU_OK) {
        self->memory = malloc(size);
        if (!self->memory) {
            Py_DECREF((PyObject *)self);
            return PyErr_NoMemory();
        }
        status = egru_model_init(self->memory, size, plan, (size_t)bytes, kernel, &self->model);
    }
    if (status != EGRU_OK) {
        Py_DECREF((PyObject *)self);
        PyErr_Format(egru_engine_error, "the kernel refuses the model: %s", egru_strerror(status));
        return NULL;
    }
    self->brief = (size_t)(20000.0 / (20000.0 * (double)size / read_in_20_us(egru_model_kernel(self->model)) +
                                      (double)besides)) + 1;
    return (PyObject *)self;
}

static void model_dealloc(ModelObject *self) {
    PyTypeObject *type = Py_TYPE((PyObject *)self);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    free(self->memory);
    release(self);
    Py_DECREF((PyObject *)type);
}

static PyObject *model_kernel(ModelObject *self, void *unused) {
    (void)unused;
    return PyUnicode_FromString(egru_model_kernel(self->model));
}

static PyObject *model_state_size(ModelObject *self, void *unused) {
    (void)unused;
    return PyLong_FromSize_t(egru_state_size(self->model));
}

static PyObject *model_scratch_size(ModelObject *self, void *unused) {
    (void)unused;
    return PyLong_FromSize_t(egru_scratch_size(self->model, 1));
}

static PyGetSetDef properties[] = {
    {"kernel", (getter)model_kernel, NULL, "Name of the instruction set that computes.", NULL},
    {"state_size", (getter)model_state_size, NULL, "Bytes of the state of a stream.", NULL},
    {"scratch_size", (getter)model_scratch_size, NULL, "Bytes that a step needs besides.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_new, (void *)model_new},
    {Py_tp_dealloc, (void *)model_dealloc},
    {Py_tp_getset, properties},
    {Py_tp_doc, "A model made of the bytes of a plan; kernel: the name of an instruction set; besides: nanoseconds of a step that do "
                         "not grow with the size of the model."},
    {0, NULL},
};

PyType_Spec egru_model_spec = {
    "edgegru_runtime._kernel.Model", sizeof(ModelObject), 0, Py_TPFLAGS_DEFAULT, slots,
};
