"""The step of a float32 model in C: each operation is a call of the kernel with its tables.

The state takes over what it keeps only at the end of a step whose numbers all are finite.
"""

from __future__ import annotations

from edgegru_export import c_program as p
from edgegru_export.c_memory import Member
from edgegru_export.c_program import NONE, Operation, Program
from edgegru_export.c_text import float_literal
from edgegru_export.c_writer import SHARED_FLAGS, CModel, Writer
from edgegru_runtime.errors import ExportError

_ACTIVATIONS = (
    "EGRU_LINEAR", "EGRU_RELU", "EGRU_TANH", "EGRU_SIGMOID", "EGRU_HARD_SIGMOID_5", "EGRU_HARD_SIGMOID_6",
)  # fmt: skip
_GATES = _ACTIVATIONS[3:]
_HEADS = {p.SOFTMAX: "softmax", p.LOG_SOFTMAX: "log_softmax", p.SIGMOID: "sigmoid", p.IDENTITY: "identity"}


def write_float(program: Program) -> CModel:
    """The C of a float32 model. Raises ExportError for what it has no words for."""
    return _FloatWriter(program).write()


class _FloatWriter(Writer):
    def __init__(self, program: Program) -> None:
        super().__init__(program, packing=1)
        self._checked: list[tuple[str, int]] = []  # what has to be finite
        self._commit: list[str] = []
        self.flags = {**dict.fromkeys((*SHARED_FLAGS, "EGRU_STANDARDISE", "EGRU_NORMALISATION"), 0), "EGRU_RANGE": 2}
        self.state.append(Member("uint32_t", "clipped"))
        self.use("egru_float_layers.h")
        self._write = {
            p.STANDARDISE: self._standardise,
            p.EMBEDDING: self._embedding,
            p.LINEAR: self._linear,
            p.TAPS: self._taps,
            p.GRU: self._gru,
            p.ADD: self._elementwise,
            p.MULTIPLY: self._elementwise,
            p.COPY: self._copy,
            p.LAYER_NORMALISATION: self._normalisation,
            **dict.fromkeys(p.HEADS, self._head),
        }
        # What the state takes over at the end has to be there until then.
        self._kept = {operation.words[0] for operation in program.operations if operation.code == p.TAPS}
        self._kept |= {operation.words[1] for operation in program.operations if operation.code == p.GRU}

    def write(self) -> CModel:
        for operation in self.program.operations:
            if operation.code not in self._write:
                name = operation.node.name if operation.node else "x"
                raise ExportError(f"node {name}: C has no log_mel, expected a model without a front end")
            self._write[operation.code](operation)
            self.release(operation)
        checks = [f"egru_finite({place}, {size})" for place, size in self._checked]
        checks.append(f"egru_finite(y, {self.program.output_size})")
        self.body.append(f"if (!({' && '.join(checks)}))\n        return EGRU_RANGE;")
        self.body += [*self._commit, "state->clipped += clipped;"]
        return self.model()

    def release(self, operation: Operation) -> None:
        """As in other models, but for what the state takes over at the end."""
        held = {v: self.pools["float"].taken[v] for v in self._kept if v in self.pools["float"].taken}
        super().release(operation)
        self.pools["float"].taken |= held

    def _new(self, vector: int) -> str:
        return self.take(vector, "float", self.program.size(vector))

    def _table(self, operation: Operation, role: str, place: int, count: int) -> str:
        if place == NONE:
            return "0"
        return self.table("float", f"{operation.label}_{role}", self.program.floats(place, count))

    def _standardise(self, operation: Operation) -> None:
        out, mean, std = operation.words[:3]
        size = self.program.size(out)
        self.flags["EGRU_STANDARDISE"] = 1
        tables = f"{self._table(operation, 'mean', mean, size)}, {self._table(operation, 'std', std, size)}"
        self.body.append(f"egru_standardise({tables}, x, {size}, {self._new(out)}, &clipped);")

    def _embedding(self, operation: Operation) -> None:
        out, rows, weights = operation.words[:3]
        size = self.program.size(out)
        self.flags["EGRU_EMBEDDING"] = 1
        table = self._table(operation, "weight", weights, rows * size)
        self.body.append(f"egru_embed({table}, {rows}, {size}, x[0], {self._new(out)}, &clipped);")

    def _linear(self, operation: Operation) -> None:
        source, out, activation, weight, bias = operation.words[:5]
        rows, columns = self.program.size(out), self.program.size(source)
        w = self._table(operation, "weight", weight, rows * columns)
        b = self._table(operation, "bias", bias, rows)
        value = self._new(out)
        shape = f"{rows}, {columns}, {_ACTIVATIONS[activation]}"
        self.body.append(f"egru_linear({w}, {b}, {self.places[source]}, {shape}, {value});")

    def _taps(self, operation: Operation) -> None:
        source, out, kernel_size, dilation = operation.words[:4]
        size, frames = self.program.size(source), (kernel_size - 1) * dilation
        self.use("egru_taps.h", EGRU_KEEPS_FLOAT=1)
        ring, oldest = f"{operation.label}_ring", f"{operation.label}_oldest"
        node = self.reader(out)
        self.state += [
            Member("float", ring, frames * size, node, "ring"), Member("uint32_t", oldest, 0, node, "oldest"),
        ]  # fmt: skip
        fields: dict[str, str | int] = {
            "size": size, "kernel_size": kernel_size, "dilation": dilation, "frames": frames,
        }  # fmt: skip
        name = self.structure("egru_taps_of", f"{operation.label}_taps", fields)
        now = self.places[source]
        self.body.append(f"egru_taps_float({name}, state->{ring}, state->{oldest}, {now}, {self._new(out)});")
        self._checked.append((now, size))
        self._commit.append(f"egru_keep_float({name}, state->{ring}, &state->{oldest}, {now});")

    def _gru(self, operation: Operation) -> None:
        source, h, _, reset, forms, weight_ih, weight_hh, bias_ih, bias_hh = operation.words[:9]
        size, columns, label, node = self.program.size(h), self.program.size(source), operation.label, operation.node
        assert node is not None
        self.use("egru_float_gru.h", **{"EGRU_BEFORE" if reset & 1 else "EGRU_AFTER": 1})
        fields: dict[str, str | int] = {
            "weight_ih": self._table(operation, "weight_ih", weight_ih, 3 * size * columns),
            "weight_hh": self._table(operation, "weight_hh", weight_hh, 3 * size * size),
            "bias_ih": self._table(operation, "bias_ih", bias_ih, 3 * size),
            "bias_hh": self._table(operation, "bias_hh", bias_hh, 3 * size),
            "size": size, "columns": columns, "gates": _GATES[forms >> 3], "candidate": _ACTIVATIONS[forms & 7],
        }  # fmt: skip
        name = self.structure("egru_gru", f"{label}_gru", fields)
        member = Member("float", f"{label}_h", size, node.name, "h")
        self.state.append(member)
        arguments = f"{name}, {self.places[source]}, state->{member.name}, {self._new(h)}"
        if reset & 1:
            rh = self.take(-1, "float", size)
            self.body.append(f"egru_gru_before({arguments}, {rh});")
            self.pools["float"].free(-1)
        else:
            self.body.append(f"egru_gru_after({arguments});")
        self._checked.append((self.places[h], size))
        self._commit.append(f"memcpy(state->{member.name}, {self.places[h]}, sizeof state->{member.name});")
        if reset & 2:
            table = self._table(operation, "h0", operation.words[17], size)
            self.begin.append(f"memcpy(state->{member.name}, {table}, sizeof {table});")

    def _elementwise(self, operation: Operation) -> None:
        a, b, out = operation.words[:3]
        function = "egru_add" if operation.code == p.ADD else "egru_multiply"
        places = f"{self.places[a]}, {self.places[b]}"
        self.body.append(f"{function}({places}, {self.program.size(out)}, {self._new(out)});")

    def _copy(self, operation: Operation) -> None:
        source, out, place = operation.words[:3]
        if place == 0:
            self._new(out)
        self.use("egru_copy.h")
        size = self.program.size(source)
        self.body.append(f"egru_copy_real({self.places[source]}, {size}, {self.places[out]} + {place});")

    def _normalisation(self, operation: Operation) -> None:
        source, out, weight, bias, epsilon = operation.words[:5]
        size = self.program.size(out)
        self.flags["EGRU_NORMALISATION"] = 1
        tables = f"{self._table(operation, 'weight', weight, size)}, {self._table(operation, 'bias', bias, size)}"
        (small,) = self.program.floats(epsilon, 1)
        arguments = f"{tables}, (double){float_literal(small)}, {self.places[source]}, {size}"
        self.body.append(f"egru_normalise({arguments}, {self._new(out)});")

    def _head(self, operation: Operation) -> None:
        source, place = operation.words[:2]
        function = _HEADS[operation.code]
        self.flags[f"EGRU_{function.upper()}_HEAD"] = 1
        self.body.append(f"egru_{function}({self.places[source]}, {self.program.size(source)}, y + {place});")
