"""The step of a static scheme in C: each operation is a call of the kernel with its tables.

Where every rescaled number fits 32 bits before it is saturated, whatever the input, the kernel uses the high word of a
64-bit product alone. ``_Rescaling`` finds multipliers and shifts for that, of the same value to the last bit, from what
the weights of this model can reach; a model that does not allow it is written with all 64 bits (``EGRU_WIDE``).
"""

from __future__ import annotations

from dataclasses import dataclass

from edgegru_export import c_program as p
from edgegru_export.c_memory import Member
from edgegru_export.c_program import NONE, Operation, Program
from edgegru_export.c_writer import SHARED_FLAGS, CModel, Writer
from edgegru_runtime import fixed_point as fx
from edgegru_runtime.errors import ExportError
from edgegru_runtime.model_config import EmbeddingNode

_HARD = (4, 5)  # activations of a plan
_ACTIVATIONS = ("EGRU_LINEAR", "EGRU_RELU", "EGRU_TANH", "EGRU_SIGMOID", "EGRU_HARD_SIGMOID", "EGRU_HARD_SIGMOID")
_GATES = ("EGRU_SIGMOID", "EGRU_HARD_SIGMOID", "EGRU_HARD_SIGMOID")
_NARROW_SHIFT = 33  # the least with which the low word of a product decides nothing
_SPARE_BITS = 2  # of a multiplier: it is below 2^29
_NARROW_LIMIT = 2**30  # of a rescaled number: two of them may be added


class _NeedsWide(Exception):
    """Some rescaled number may need more than 32 bits."""


def write_integer(program: Program, packing: int, float_io: bool) -> CModel:
    """The C of a static model. Raises ExportError for what it has no words for."""
    try:
        return _IntegerWriter(program, packing, float_io, wide=False).write()
    except _NeedsWide:
        return _IntegerWriter(program, packing, float_io, wide=True).write()


@dataclass(frozen=True)
class _Rescaling:
    """``(v · up · M + 2^(t-1)) >> t``, for one vector or a pair of them."""

    multipliers: tuple[list[int], ...]
    shift: int
    up: int


class _IntegerWriter(Writer):
    def __init__(self, program: Program, packing: int, float_io: bool, wide: bool) -> None:
        super().__init__(program, packing)
        self._float_io, self._wide = float_io, wide
        self._reach: dict[int, list[int]] = {}  # of every vector: the largest magnitude of each number
        self._output = 0
        self.flags = {
            **dict.fromkeys((*SHARED_FLAGS, "EGRU_TABLE", "EGRU_HARD", "EGRU_BOUNDED", "EGRU_UNBOUNDED"), 0),
            "EGRU_WIDE": int(wide),
            "EGRU_PACKING": packing,
            "EGRU_FLOAT_IO": int(float_io),
        }
        self.state.append(Member("uint32_t", "clipped"))
        self._write = {
            p.STANDARDISE: self._standardise,
            p.EMBEDDING: self._embedding,
            p.OPERAND: self._operand,
            p.LINEAR: self._linear,
            p.TAPS: self._taps,
            p.GRU: self._gru,
            p.ADD: self._add,
            p.MULTIPLY: self._multiply,
            p.COPY: self._copy,
            **dict.fromkeys(p.HEADS, self._head),
        }

    def write(self) -> CModel:
        for operation in self.program.operations:
            if operation.code not in self._write:
                name = operation.node.name if operation.node else "x"
                raise ExportError(f"node {name}: C has no log_mel of integers, expected a model without a front end")
            self._write[operation.code](operation)
            self.release(operation)
        return self.model()

    def _limit(self, vector: int) -> int:
        return fx.OPERAND_LIMIT[8 if self.program.vectors[vector].kind == p.Q8 else 16]

    def _new_operand(self, vector: int) -> str:
        size = self.program.size(vector)
        self._reach[vector] = [self._limit(vector)] * size
        return self.take(vector, "int16_t", size)

    def _new_value(self, vector: int, reach: list[int]) -> str:
        self._reach[vector] = reach
        return self.take(vector, "int32_t", self.program.size(vector))

    def _columns(self, size: int) -> int:
        return size + -size % self.packing

    def _packed(self, weights: list[int], columns: int) -> list[int]:
        """Rows filled with zeros to whole groups; in fours the two in the middle change places."""
        wide = self._columns(columns)
        rows = [
            weights[start : start + columns] + [0] * (wide - columns) for start in range(0, len(weights), columns)
        ]
        packed = [number for row in rows for number in row]
        if self.packing == 4:
            for start in range(0, len(packed), 4):
                packed[start + 1], packed[start + 2] = packed[start + 2], packed[start + 1]
        return packed

    def _rescaling(self, shift: int, *pairs: tuple[list[int], list[int]]) -> _Rescaling:
        """``pairs``: multipliers and the reach of what each multiplies, one pair or two that are added."""
        multipliers = tuple(m for m, _ in pairs)
        if self._wide:
            return _Rescaling(multipliers, shift, 1)
        extra = max(0, _NARROW_SHIFT - shift)
        more = min(_SPARE_BITS, extra)
        up = 1 << (extra - more)
        shift += extra
        for row in range(max(len(m) for m, _ in pairs)):
            products = [reach[row] * up * (m[row % len(m)] << more) for m, reach in pairs]
            if any(reach[row] * up >= 2**31 for _, reach in pairs):
                raise _NeedsWide
            if (sum(products) >> shift) + 1 >= _NARROW_LIMIT or sum(products) + (1 << (shift - 1)) >= 2**63:
                raise _NeedsWide
        return _Rescaling(tuple([number << more for number in m] for m in multipliers), shift, up)

    def _standardise(self, operation: Operation) -> None:
        out, a, b, source = operation.words[:4]
        size = self.program.size(out)
        if source != 0:
            raise ExportError("node log_mel: C has no front end of integers, expected a model without one")
        self.use("egru_input.h")
        q, limit = self._new_operand(out), self._limit(out)
        if self._float_io:
            a_table = self.table("float", f"{operation.label}_a", self.program.floats(a, size))
            b_table = self.table("float", f"{operation.label}_b", self.program.floats(b, size))
            self.body.append(f"egru_standardise({a_table}, {b_table}, x, {size}, {limit}, {q}, &state->clipped);")
        else:
            self.flags["EGRU_INPUT"] = "int8_t" if limit == 127 else "int16_t"
            self.body.append(f"egru_take(x, {size}, {limit}, {q}, &state->clipped);")

    def _embedding(self, operation: Operation) -> None:
        out, rows, weights, m, shift = operation.words[:5]
        size, node = self.program.size(out), operation.node
        assert isinstance(node, EmbeddingNode)
        q, numbers = self._new_operand(out), self.program.bytes_(weights, rows * size)
        multipliers = self.program.integers(m, rows)
        row = f"egru_row(x[0], {rows}, &state->clipped)"
        self.flags["EGRU_INPUT"] = "int32_t"
        if self._limit(out) == 127:  # the operands themselves take no more room than the weights
            half = 1 << (shift - 1)
            rounded = [(number * multipliers[i // size] + half) >> shift for i, number in enumerate(numbers)]
            table = [max(-127, min(127, number)) for number in rounded]
            self.use("egru_input.h", EGRU_EMBEDDING=8)
            name = self.table("int8_t", f"{operation.label}_rows", table)
            self.body.append(f"egru_embed({name}, {row}, {size}, {q});")
            return
        by = self._rescaling(shift, (multipliers, [127] * rows))
        if by.up != 1:
            raise _NeedsWide
        self.use("egru_input.h", EGRU_EMBEDDING=16)
        name = self.table("int8_t", f"{operation.label}_weight", numbers)
        m_table = self.table("int32_t", f"{operation.label}_m", by.multipliers[0])
        self.body.append(f"egru_embed({name}, {m_table}, {by.shift}, {row}, {size}, {q});")

    def _operand(self, operation: Operation) -> None:
        value, out, count, m, shift = operation.words[:5]
        m_of = self.program.integers(m, count)
        by = self._operand_fields(operation, "operand", self._reach[value], self._limit(out), m_of, shift)
        name = self.structure("egru_operand_of", f"{operation.label}_operand", by)
        self.body.append(f"egru_operand({name}, {self.places[value]}, {self._new_operand(out)});")

    def _operand_of_h(self, operation: Operation, role: str, reach: list[int], limit: int, m: int, shift: int) -> str:
        """Fields of the operand of h, or of r * h."""
        fields = self._operand_fields(operation, role, reach, limit, [m], shift)
        return "{" + ", ".join(str(value) for value in fields.values()) + "}"

    def _operand_fields(
        self, operation: Operation, role: str, reach: list[int], limit: int, multipliers: list[int], shift: int
    ) -> dict[str, str | int]:
        self.use("egru_operand.h")
        by = self._rescaling(shift, (multipliers, reach))
        table = self.table("int32_t", f"{operation.label}_{role}_m", by.multipliers[0])
        each = int(len(by.multipliers[0]) > 1)
        return {"m": table, "size": len(reach), "up": by.up, "limit": limit, "shift": by.shift, "each": each}

    def _linear(self, operation: Operation) -> None:
        source, out, activation, weight, bias, m, shift = operation.words[:7]
        rows, columns = self.program.size(out), self.program.size(source)
        weights = self.program.bytes_(weight, rows * columns)
        biases = self.program.integers(bias, rows) if bias != NONE else None
        reach = self._accumulators(weights, columns, self._reach[source], biases)
        label = operation.label
        self.use("egru_linear.h")
        up, m_table = 1, "0"
        if m != NONE:
            by = self._rescaling(shift, (self.program.integers(m, rows), reach))
            shift, up = by.shift, by.up
            m_table = self.table("int32_t", f"{label}_m", by.multipliers[0])
            reach = [2**15 if activation == 2 else 2**16] * rows
            self._bounded(activation)
        fields: dict[str, str | int] = {
            "weight": self.table("int8_t", f"{label}_weight", self._packed(weights, columns)),
            "bias": "0" if biases is None else self.table("int32_t", f"{label}_bias", biases),
            "m": m_table, "rows": rows, "up": up, "columns": self._columns(columns), "shift": shift,
            "activation": _ACTIVATIONS[activation],
        }  # fmt: skip
        name = self.structure("egru_linear_of", f"{label}_linear", fields)
        self.body.append(f"egru_linear({name}, {self.places[source]}, {self._new_value(out, reach)});")

    def _bounded(self, *activations: int) -> None:
        """Activations of a plan that need the table, or are hard."""
        for activation in activations:
            hard = activation in _HARD
            self.use("egru_bounded.h", **{"EGRU_HARD" if hard else "EGRU_TABLE": 1, "EGRU_BOUNDED": 1})

    @staticmethod
    def _accumulators(weights: list[int], columns: int, reach: list[int], biases: list[int] | None) -> list[int]:
        """The largest magnitude of every accumulator."""
        result = []
        for row, start in enumerate(range(0, len(weights), columns)):
            terms = zip(weights[start : start + columns], reach, strict=True)
            result.append(sum(abs(w) * q for w, q in terms) + abs(biases[row] if biases else 0))
        return result

    def _taps(self, operation: Operation) -> None:
        source, out, kernel_size, dilation = operation.words[:4]
        size, frames = self.program.size(source), (kernel_size - 1) * dilation
        kept = "int8_t" if self.program.vectors[source].kind == p.Q8 else "int16_t"
        self.use("egru_taps.h", **{f"EGRU_KEEPS_{kept.upper()}": 1})
        ring, oldest = f"{operation.label}_ring", f"{operation.label}_oldest"
        node = self.reader(out)
        self.state += [Member(kept, ring, frames * size, node, "ring"), Member("uint32_t", oldest, 0, node, "oldest")]
        fields: dict[str, str | int] = {
            "size": size, "kernel_size": kernel_size, "dilation": dilation, "frames": frames,
        }  # fmt: skip
        name = self.structure("egru_taps_of", f"{operation.label}_taps", fields)
        now, taps = self.places[source], self._new_operand(out)
        self.body += [
            f"egru_taps_{kept}({name}, state->{ring}, state->{oldest}, {now}, {taps});",
            f"egru_pad({taps}, {self.program.size(out)});",
            f"egru_keep_{kept}({name}, state->{ring}, &state->{oldest}, {now});",
        ]

    def _gru(self, operation: Operation) -> None:
        (source, h, q, reset, forms, weight_ih, weight_hh, bias_ih, bias_hh, m_ih, m_hh, rz_shift, n_shift, *of_h) = (
            operation.words[:17]
        )
        program, size, label, node = self.program, self.program.size(h), operation.label, operation.node
        assert node is not None
        before, candidate, gates = reset & 1, forms & 7, forms >> 3
        columns = program.size(source)
        limit = self._limit(q)
        w_ih, w_hh = (program.bytes_(place, 3 * size * n) for place, n in ((weight_ih, columns), (weight_hh, size)))
        b_ih = program.integers(bias_ih, 3 * size) if bias_ih != NONE else None
        b_hh = program.integers(bias_hh, 3 * size) if bias_hh != NONE else None
        by_ih, by_hh = program.integers(m_ih, 3 * size), program.integers(m_hh, 3 * size)
        ih = self._accumulators(w_ih, columns, self._reach[source], b_ih)
        hh = self._accumulators(w_hh, size, [limit] * size, b_hh)
        rz, n = 2 * size, slice(2 * size, None)
        of_rz = self._rescaling(rz_shift, (by_ih[:rz], ih[:rz]), (by_hh[:rz], hh[:rz]))
        of_n = self._rescaling(n_shift, (by_ih[n], ih[n]), (by_hh[n], hh[n]))
        h_reach = [2**24 if candidate >= 2 else 2**30] * size
        self.use("egru_gru.h", **{"EGRU_BEFORE" if before else "EGRU_AFTER": 1})
        self._bounded((3, 4, 5)[gates], *((candidate,) if candidate >= 2 else ()))
        if candidate < 2:
            self.flags["EGRU_UNBOUNDED"] = 1
        operands = [self._operand_of_h(operation, "h", h_reach, limit, of_h[0], of_h[1])]
        if before:
            operands.append(self._operand_of_h(operation, "rh", h_reach, limit, of_h[2], of_h[3]))
        fields: dict[str, str | int] = {
            "weight_ih": self.table("int8_t", f"{label}_weight_ih", self._packed(w_ih, columns)),
            "weight_hh": self.table("int8_t", f"{label}_weight_hh", self._packed(w_hh, size)),
            "bias_ih": "0" if b_ih is None else self.table("int32_t", f"{label}_bias_ih", b_ih),
            "bias_hn": "0" if b_hh is None else self.table("int32_t", f"{label}_bias_hn", b_hh[n]),
            "m_ih": self.table("int32_t", f"{label}_m_ih", of_rz.multipliers[0] + of_n.multipliers[0]),
            "m_hh": self.table("int32_t", f"{label}_m_hh", of_rz.multipliers[1] + of_n.multipliers[1]),
            "h": operands[0], "rh": operands[-1], "size": size, "x_columns": self._columns(columns),
            "h_columns": self._columns(size), "rz_up": of_rz.up, "n_up": of_n.up, "rz_shift": of_rz.shift,
            "n_shift": of_n.shift, "gates": _GATES[gates], "candidate": _ACTIVATIONS[candidate],
        }  # fmt: skip
        name = self.structure("egru_gru", f"{label}_gru", fields)
        member = Member("int32_t", f"{label}_h", size, node.name, "h")
        self.state.append(member)
        self._reach[h], self.places[h] = h_reach, f"state->{member.name}"
        room = self._new_operand(q)
        if before:
            rh = self.take(-1, "int16_t", size)
            self.body.append(f"egru_gru_before({name}, {self.places[source]}, {self.places[h]}, {room}, {rh});")
            self.pools["int16_t"].free(-1)
        else:
            self.body.append(f"egru_gru_after({name}, {self.places[source]}, {self.places[h]}, {room});")
        if program.is_read(q):
            self.body.append(f"egru_operand({name}.h, {self.places[h]}, {room});")
        if reset & 2:
            table = self.table("int32_t", f"{label}_h0", program.integers(operation.words[17], size))
            self.begin.append(f"memcpy(state->{member.name}, {table}, sizeof {table});")

    def _add(self, operation: Operation) -> None:
        a, b, out, m_a, m_b, shift = operation.words[:6]
        self._elementwise(operation, "egru_add", (a, b, out), {"m_a": m_a, "m_b": m_b}, shift)

    def _multiply(self, operation: Operation) -> None:
        a, b, out, m, _, shift = operation.words[:6]
        self._elementwise(operation, "egru_multiply", (a, b, out), {"m_a": m}, shift)

    def _elementwise(
        self, operation: Operation, function: str, vectors: tuple[int, int, int], places: dict[str, int], shift: int
    ) -> None:
        a, b, out = vectors
        size, label = self.program.size(out), operation.label
        self.use("egru_elementwise.h")
        fields: dict[str, str | int] = {"m_a": "0", "m_b": "0", "size": size, "shift": shift}
        for role, place in places.items():
            fields[role] = self.table("int32_t", f"{label}_{role}", self.program.integers(place, size))
        name = self.structure("egru_elementwise_of", f"{label}_by", fields)
        value = self._new_value(out, [fx.VALUE_LIMIT] * size)
        self.body.append(f"{function}({name}, {self.places[a]}, {self.places[b]}, {value});")

    def _copy(self, operation: Operation) -> None:
        """Numbers side by side, perhaps of an operand into a value; the first piece takes room for all."""
        source, out, place = operation.words[:3]
        kinds = [self.program.vectors[vector].kind for vector in (source, out)]
        size, whole = self.program.size(source), self.program.size(out)
        if place == 0:
            if kinds[1] == p.VALUE:
                self._new_value(out, [0] * whole)
            else:
                self._new_operand(out)
        self._reach[out][place : place + size] = self._reach[source]
        function = "egru_widen" if kinds[0] != p.VALUE and kinds[1] == p.VALUE else "egru_copy"
        kind = "_operand" if kinds[1] != p.VALUE else "_value" if function == "egru_copy" else ""
        self.use("egru_copy.h")
        self.body.append(f"{function}{kind}({self.places[source]}, {size}, {self.places[out]} + {place});")
        if kinds[1] != p.VALUE and place + size == whole:
            self.body.append(f"egru_pad({self.places[out]}, {whole});")

    def _head(self, operation: Operation) -> None:
        source, place, m, shift, scale, offset = operation.words[:6]
        size, label, reach = self.program.size(source), operation.label, self._reach[source]
        header, function, flag = {
            p.SOFTMAX: ("egru_softmax.h", "egru_softmax", "EGRU_SOFTMAX_HEAD"),
            p.LOG_SOFTMAX: ("egru_softmax.h", "egru_log_softmax", "EGRU_LOG_SOFTMAX_HEAD"),
            p.SIGMOID: ("egru_head.h", "egru_sigmoid", "EGRU_SIGMOID_HEAD"),
            p.IDENTITY: ("egru_head.h", "egru_identity", "EGRU_IDENTITY_HEAD"),
        }[operation.code]
        self.use(header, **{flag: 1})
        if operation.code == p.SIGMOID:
            self._bounded(3)
        fields: dict[str, str | int] = {"m": "0"}
        up = 1
        if m != NONE:
            by = self._rescaling(shift, (self.program.integers(m, size), reach))
            shift, up = by.shift, by.up
            fields["m"] = self.table("int32_t", f"{label}_m", by.multipliers[0])
        if self._float_io:
            scales = self.program.floats(scale, size)
            same = len(set(scales)) == 1
            fields["scale"] = self.table("float", f"{label}_scale", scales[:1] if same else scales)
            fields["offset"] = "0"
            if offset != NONE:
                fields["offset"] = self.table("float", f"{label}_offset", self.program.floats(offset, size))
            fields["scales"] = int(not same)
        fields |= {"shift": shift, "size": size, "up": up}
        name = self.structure("egru_head_of", f"{label}_head", fields)
        self.body.append(f"{function}({name}, {self.places[source]}, y + {place});")
