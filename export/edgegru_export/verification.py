"""Does an exported file compute what its model computes? The one answer, for every format.

The file runs in its own runtime, closed loop, on inputs like the model's data, and the reference engine beside it. What
may differ, and by how much, is in ``tolerances.py``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgegru_export import tolerances
from edgegru_export.c_exporting import compiled, is_c_folder
from edgegru_export.c_parts import network
from edgegru_export.c_sizes import CSizes
from edgegru_export.closed_loop import Trajectory, run_parts, run_steps
from edgegru_export.closeness import OneStep, measure_one_step, other_decisions
from edgegru_export.dequantization import dequantize
from edgegru_export.identity import verify_identity
from edgegru_export.metadata import output_names, state_input_names, state_output_names
from edgegru_export.stimulus import gaussian_input, jumping_input
from edgegru_runtime.artifact import Artifact, read_artifact
from edgegru_runtime.container import read_file
from edgegru_runtime.engine import Engine, build_engine, file_engine
from edgegru_runtime.errors import ArtifactError, VerificationError
from edgegru_runtime.exported import EXPORTED_SUFFIXES, ExportedFile, read_exported
from edgegru_runtime.front_end import behind_front_end
from edgegru_runtime.integer_reference import IntegerReference
from edgegru_runtime.model_config import ConvolutionNode, GruNode, LinearNode, ModelConfig
from edgegru_runtime.plan import PLAN_SUFFIX, make_plan
from edgegru_runtime.reference import Reference


@dataclass(frozen=True)
class Deviation:
    """How far one output ("y") or state ("h0") was from the model's, and how far it may be.

    ``largest``: of a single value; ``rms``: over all steps and values. States and probabilities count as they are, the
    values of an identity head in shares of their spread (``of_spread``).
    """

    name: str
    largest: float
    largest_tolerance: float
    rms: float
    rms_tolerance: float | None  # None where the largest says enough
    of_spread: bool = False
    own_rms: float | None = None  # of the reference's own rounding, where a file is held to that

    @property
    def passed(self) -> bool:
        """Whether both are within what is allowed; not a number never is."""
        return self.largest <= self.largest_tolerance and (self.rms_tolerance is None or self.rms <= self.rms_tolerance)

    @property
    def exact(self) -> bool:
        """Whether equality was asked for and found."""
        return self.largest_tolerance == 0 and self.largest == 0

    def __str__(self) -> str:
        unit = " of its spread" if self.of_spread else ""
        text = f"{self.name} off by at most {self.largest:.2g}{unit} (allowed {self.largest_tolerance:.2g})"
        if self.rms_tolerance is not None:
            text += f", rms {self.rms:.2g} (allowed {self.rms_tolerance:.2g})"
        return text


@dataclass(frozen=True)
class VerificationReport:
    """What a verification found; ``str()`` gives one sentence."""

    file: str
    engine: str  # "onnxruntime", "litert", "kernel" for a plan, "c" for C compiled for this machine
    steps: int
    identity: str  # of the model, the same in the file and in the artifact
    deviations: tuple[Deviation, ...]  # outputs in declared order, then states in execution order
    operators: int | None = None  # of a TFLite file, that one step executes
    one_step: OneStep | None = None  # of an integer TFLite file whose states can be set
    sizes: tuple[CSizes, ...] = ()  # of C, on the processors of its target
    other_decisions: float | None = None  # the share of steps at which a rounded TFLite file decides otherwise

    @property
    def passed(self) -> bool:
        """Whether every output and state is within its tolerance."""
        steps_well = self.one_step is None or self.one_step.passed
        return steps_well and all(deviation.passed for deviation in self.deviations)

    @property
    def rms_ratio(self) -> float | None:
        """The rms error over the reference's own, the largest of all outputs and states that have one."""
        ratios = [d.rms / d.own_rms for d in self.deviations if d.own_rms]
        return max(ratios, default=None)

    @property
    def largest_error(self) -> float:
        """The largest difference of a single value in any output or state."""
        return float(np.max([deviation.largest for deviation in self.deviations]))

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data for JSON."""
        derived = {"passed": self.passed, "largest_error": self.largest_error, "rms_ratio": self.rms_ratio}
        return {**asdict(self), **derived, "sizes": [size.to_dict() for size in self.sizes]}

    def __str__(self) -> str:
        verdict = "computes" if self.passed else "does not compute"
        exact = [deviation.name for deviation in self.deviations if deviation.exact]
        shown = [str(d) for d in self.deviations if not d.exact and (self.passed or not d.passed)]
        if self.passed and exact:
            shown.append(f"{', '.join(exact)} equal in every bit")
        if self.one_step is not None and (self.passed or not self.one_step.passed):
            shown.append(str(self.one_step))
        if self.passed and self.rms_ratio is not None:
            shown.append(f"rms at most {self.rms_ratio:.2f} times the reference's own")
        if self.passed and self.other_decisions is not None:
            shown.append(f"another decision than the reference's in {self.other_decisions:.2%} of the steps")
        if self.passed and self.operators is not None:
            shown.append(f"{self.operators} operators a step")
        where = f"in {self.engine} over {self.steps} closed-loop steps"
        sentence = f"{self.file} {verdict} what its model computes {where}: {'; '.join(shown)}"
        return "\n".join([sentence, *map(str, self.sizes)])


def verify(
    file: str | os.PathLike[str], against: Artifact | str | os.PathLike[str], steps: int = tolerances.VERIFY_STEPS
) -> VerificationReport:
    """Run an exported ``.onnx``, ``.tflite`` or ``.plan`` file, or a folder of C, against the artifact that it was
    exported from.

    ``steps``: at least ``tolerances.VERIFY_STEPS``. Raises VerificationError, with the largest error, for a file that
    computes something else or belongs to another model, ArtifactError for a file that is broken, EngineError where its
    runtime is not installed or refuses it.
    """
    name = os.fspath(file)
    if steps < tolerances.VERIFY_STEPS:
        raise VerificationError(f"{steps} steps were asked for, expected at least {tolerances.VERIFY_STEPS}")
    if is_c_folder(name):
        return _verify_c(name, against if isinstance(against, Artifact) else read_artifact(against), steps)
    suffix = os.path.splitext(name)[1].lower()
    if suffix not in (*EXPORTED_SUFFIXES, PLAN_SUFFIX):
        expected = "one that ends in .onnx, .tflite or .plan, or a folder of C"
        raise VerificationError(f"{name} is no exported file, expected {expected}")
    artifact = against if isinstance(against, Artifact) else read_artifact(against)
    verify_identity(artifact)
    if suffix == PLAN_SUFFIX:
        return _verify_plan(name, artifact, steps)
    exported = read_exported(name)
    engine = file_engine(exported)
    _check_metadata(exported, artifact)
    if exported.front_end is not None:  # the rest is about the file, which has the feature for its input
        artifact = Artifact(exported.inner, artifact.tensors)
    if exported.engine == "onnxruntime" and artifact.config.scheme == "float32":
        _check_formulation(exported, artifact)
    report = VerificationReport(name, engine.name, steps, artifact.config.identity, ())
    if exported.engine == "litert" and artifact.config.scheme != "float32":
        report = _verify_rounded(report, engine, exported, artifact)
    else:
        report = replace(report, deviations=tuple(_deviations(engine, exported, artifact, steps)))
    if exported.engine == "litert":
        report = replace(report, operators=_operators(name))
    if not report.passed:
        raise VerificationError(str(report))
    return report


def _verify_plan(name: str, artifact: Artifact, steps: int) -> VerificationReport:
    """A plan has to be the artifact's, byte by byte; then the kernel is compared with the reference."""
    data, expected = read_file(name), make_plan(artifact)
    if data != expected:
        at = next((i for i, (a, b) in enumerate(zip(data, expected, strict=False)) if a != b), len(data))
        raise VerificationError(f"{name} is not the plan of this model: it differs from byte {at} on; export it again")
    deviations = tuple(_deviations(build_engine(artifact, "kernel"), None, artifact, steps))
    report = VerificationReport(name, "kernel", steps, artifact.config.identity, deviations)
    if not report.passed:
        raise VerificationError(str(report))
    return report


def _verify_c(name: str, artifact: Artifact, steps: int) -> VerificationReport:
    """A folder of C, compiled for this machine: integers in every bit, floats within the kernel's own bound."""
    with compiled(Path(name), artifact) as engine:
        behind = network(artifact)  # the front end is in files of its own
        deviations = tuple(_deviations(engine, None, behind, steps, tolerances.C_FLOAT_TOLERANCE))
        found = engine.sizes
    report = VerificationReport(name, "c", steps, artifact.config.identity, deviations, sizes=found)
    if not report.passed:
        raise VerificationError(str(report))
    return report


def _check_metadata(exported: ExportedFile, artifact: Artifact) -> None:
    """The file says that it is this model, and describes it in the same words."""
    found, expected = exported.config, artifact.config
    if found.identity != expected.identity:
        raise VerificationError(
            f"{exported.path} was exported from another model: "
            f"its identity is {found.identity[:12]}…, expected {expected.identity[:12]}…"
        )
    for part in ("scheme", "input", "nodes", "outputs", "decision"):
        if getattr(found, part) != getattr(expected, part):
            raise VerificationError(f"{exported.path}: its metadata and the model differ in {part}; export it again")
    if expected.front_end is not None:
        assert exported.front_end is not None
        for table, tensor in exported.front_end.items():
            if bytes(tensor.data) != bytes(artifact.tensors[f"{expected.front_end.name}.{table}"].data):
                differing = f"its metadata and the model differ in the front end's {table}"
                raise VerificationError(f"{exported.path}: {differing}; export it again")
        expected = behind_front_end(expected)
    names = tuple(zip(state_input_names(expected), state_output_names(expected), strict=True))
    if exported.states != names:
        raise VerificationError(f"{exported.path}: the states are called {exported.states}, expected {names}")
    initial = tuple(artifact.initial_state(node).tobytes() for node in expected.state_nodes)
    if exported.initial != initial:
        raise VerificationError(f"{exported.path}: its metadata and the model differ in the initial state")


def _check_formulation(exported: ExportedFile, artifact: Artifact) -> None:
    """The attribute of each GRU operator: in a model of one unit without bias the numbers cannot tell."""
    import onnx  # only here: a TFLite file is verified without it
    from google.protobuf.message import DecodeError

    from edgegru_export.onnx_float import LINEAR_BEFORE_RESET

    try:
        graph = onnx.load(exported.path, load_external_data=False).graph
    except DecodeError:
        raise ArtifactError(f"{exported.path} is no whole ONNX file") from None
    operators = [node for node in graph.node if node.op_type == "GRU"]
    nodes = [node for node in artifact.config.nodes if isinstance(node, GruNode)]
    if len(operators) != len(nodes):
        raise VerificationError(f"{exported.path} has {len(operators)} GRU operators, expected {len(nodes)}")
    for operator, node in zip(operators, nodes, strict=True):
        found = next((a.i for a in operator.attribute if a.name == "linear_before_reset"), 0)
        expected = LINEAR_BEFORE_RESET[node.reset]
        if found != expected:
            raise VerificationError(
                f"{exported.path}: the GRU operator of {node.name} has linear_before_reset={found}, "
                f"expected {expected} for the reset {node.reset} the recurrent product"
            )


def _deviations(
    engine: Engine,
    exported: ExportedFile | None,
    artifact: Artifact,
    steps: int,
    float_tolerance: float = tolerances.FLOAT_TOLERANCE,
) -> Iterator[Deviation]:
    """Closed loop on both sides: each output and state with what is allowed for this scheme.

    ``exported``: the file that the engine runs, None for the kernel and for C.
    """
    if artifact.config.scheme == "float32":
        yield from _float_deviations(engine, exported, artifact, steps, float_tolerance)
    elif artifact.config.static:
        yield from _integer_deviations(engine, artifact, steps)
    else:
        yield from _dynamic_deviations(engine, artifact, steps)


def _float_deviations(
    engine: Engine, exported: ExportedFile | None, artifact: Artifact, steps: int, share: float
) -> Iterator[Deviation]:
    inputs = gaussian_input(artifact, steps)
    expected = run_steps(Reference(artifact), artifact, inputs)
    exact = run_steps(Reference(artifact, np.float64), artifact, inputs)
    if exported is not None and exported.form == "sequence":
        cuts = (0, 1, steps // 3)
        found = run_parts(exported, inputs, cuts)
        last_of_parts = [*(cut - 1 for cut in cuts[1:]), -1]
        for name in state_input_names(artifact.config):
            expected[name], exact[name] = expected[name][last_of_parts], exact[name][last_of_parts]
    else:
        found = run_steps(engine, artifact, inputs, states=exported is None or exported.state == "io")
    measures = measures_by_name(artifact.config, expected)
    own = {name: measures[name].errors(expected[name], exact[name])[0] for name in found}
    deviations = list(_held_to_own_error(found, expected, own, measures, share))
    if not all(deviation.passed for deviation in deviations):
        # Where a model magnifies rounding, its largest error is made in a few moments, which a short walk may miss.
        longer = gaussian_input(artifact, steps * tolerances.FLOAT_OWN_WALK)
        single, double = (run_steps(Reference(artifact, d), artifact, longer) for d in (np.float32, np.float64))
        own = {name: max(own[name], measures[name].errors(single[name], double[name])[0]) for name in found}
        deviations = list(_held_to_own_error(found, expected, own, measures, share))
    yield from deviations


def _held_to_own_error(
    found: Trajectory,
    expected: Trajectory,
    own: Mapping[str, float],
    measures: Mapping[str, Measure],
    share: float,
) -> Iterator[Deviation]:
    """Float files: ``own`` is the largest difference of the float32 reference from the float64 one, by name; at least
    ``share`` of the largest magnitude is allowed.
    """
    for name, values in found.items():
        measure = measures[name]
        largest, rms = measure.errors(values, expected[name])
        tolerance = share * measure.magnitude
        allowed = max(tolerance, tolerances.FLOAT_OWN_FACTOR * own[name]) + measure.resolution
        yield Deviation(name, largest, allowed, rms, None, measure.of_spread)


def _integer_deviations(engine: Engine, artifact: Artifact, steps: int) -> Iterator[Deviation]:
    jumps = steps // 5
    inputs = np.concatenate([gaussian_input(artifact, steps - jumps), jumping_input(artifact, jumps)])
    expected = run_steps(IntegerReference(artifact), artifact, inputs)
    measures = measures_by_name(artifact.config, expected)
    for name, values in run_steps(engine, artifact, inputs).items():
        largest, rms = measures[name].errors(values, expected[name])
        yield Deviation(name, largest, tolerances.INTEGER_TOLERANCE, rms, None, measures[name].of_spread)


def _dynamic_deviations(engine: Engine, artifact: Artifact, steps: int) -> Iterator[Deviation]:
    """After a step that rounded a value the other way the reference's state is taken over: the difference would go
    around for many steps.
    """
    inputs = gaussian_input(artifact, steps)
    expected = run_steps(Reference(artifact), artifact, inputs)
    dequantized = dequantize(artifact)
    unrounded = run_steps(Reference(dequantized), dequantized, inputs, along=expected)
    measures = measures_by_name(artifact.config, expected)
    for name, values in run_steps(engine, artifact, inputs, along=expected).items():
        measure = measures[name]
        rounding_largest, rounding_rms = measure.errors(unrounded[name], expected[name])
        largest, rms = measure.errors(values, expected[name])
        floor = tolerances.FLOAT_TOLERANCE * measure.magnitude + measure.resolution
        largest_tolerance = tolerances.DYNAMIC_LARGEST_FACTOR * rounding_largest + floor
        rms_tolerance = tolerances.DYNAMIC_RMS_FACTOR * rounding_rms + floor
        yield Deviation(name, largest, largest_tolerance, rms, rms_tolerance, measure.of_spread)


def _verify_rounded(
    report: VerificationReport, engine: Engine, exported: ExportedFile, artifact: Artifact
) -> VerificationReport:
    """TFLite files that round in their own way: file and reference are compared with the same third."""
    inputs = gaussian_input(artifact, report.steps)
    dequantized = dequantize(artifact)
    expected = run_steps(Reference(dequantized), dequantized, inputs)
    reference = IntegerReference(artifact) if artifact.config.static else Reference(artifact)
    own = run_steps(reference, artifact, inputs)
    found = run_steps(engine, artifact, inputs, states=exported.state == "io")
    one_step = None
    if artifact.config.static and exported.state == "io":
        first = inputs[: tolerances.SINGLE_STEPS]
        one_step = measure_one_step(engine, exported, artifact, first)
    return replace(
        report,
        deviations=tuple(_held_to_reference(found, expected, own, artifact.config, exported.state_dtype)),
        one_step=one_step,
        other_decisions=other_decisions(artifact.config, found, own),
    )


def _held_to_reference(
    found: Trajectory, expected: Trajectory, own: Trajectory, config: ModelConfig, state_dtype: str
) -> Iterator[Deviation]:
    """``expected``: of the float model; ``own``: of the reference."""
    largest_floor, rms_floor = tolerances.TFLITE_LARGEST_FLOOR, tolerances.TFLITE_RMS_FLOOR
    if state_dtype == "int8":
        largest_floor, rms_floor = tolerances.INT8_STATE_LARGEST_FLOOR, tolerances.INT8_STATE_RMS_FLOOR
    measures, factor = measures_by_name(config, expected), tolerances.TFLITE_FACTOR
    for name, values in found.items():
        measure = measures[name]
        own_largest, own_rms = measure.errors(own[name], expected[name])
        largest, rms = measure.errors(values, expected[name])
        largest_tolerance = factor * own_largest + largest_floor * measure.magnitude + measure.resolution
        rms_tolerance = factor * own_rms + rms_floor * measure.magnitude + measure.resolution
        yield Deviation(name, largest, largest_tolerance, rms, rms_tolerance, measure.of_spread, own_rms)


def _operators(path: str) -> int:
    from edgegru_export.tflite_model import operator_count  # only here: tflite-runtime brings no schema

    with open(path, "rb") as file:
        return operator_count(file.read())


@dataclass(frozen=True)
class Measure:
    """What the errors of one output or state are measured by.

    ``unit`` divides errors, a number a column; ``magnitude``: of the values in that unit, at least 1; ``resolution``:
    what rounding to float32 beside an offset can cost, in that unit.
    """

    unit: NDArray[np.float64]
    magnitude: float
    resolution: float = 0.0
    of_spread: bool = False

    def errors(self, found: NDArray[np.float64], expected: NDArray[np.float64]) -> tuple[float, float]:
        """Largest and rms difference."""
        difference = (found - expected) / self.unit
        return float(np.max(np.abs(difference))), float(np.sqrt(np.mean(difference**2)))


def measures_by_name(config: ModelConfig, expected: Trajectory) -> dict[str, Measure]:
    """By name. The values of an identity head have any unit and offset: only how far they move says what is much."""
    heads = dict(zip(output_names(config), (config.node(output.node) for output in config.outputs), strict=True))
    measures = {}
    for name, values in expected.items():
        largest = np.max(np.abs(values), axis=0)
        head = heads.get(name)
        if head is not None and head.kind == "identity":
            moves = np.max(np.abs(values - np.mean(values, axis=0)), axis=0)
            unit = np.maximum(np.maximum(moves, tolerances.SMALLEST_SPREAD * largest), np.finfo(np.float32).tiny)
            # A runtime may begin a sum with the bias: then every product added rounds by half a step of the offset.
            source = config.node(head.inputs[0])
            columns = source.input_size if isinstance(source, (LinearNode, ConvolutionNode)) else 0
            roundings = columns * (source.kernel_size if isinstance(source, ConvolutionNode) else 1) / 2
            step = float(np.max(np.spacing(largest.astype(np.float32)) / unit))
            measures[name] = Measure(unit, 1.0, (1 + roundings) * step, of_spread=True)
        else:
            measures[name] = Measure(np.ones(values.shape[1]), max(1.0, float(np.max(largest))))
    return measures
