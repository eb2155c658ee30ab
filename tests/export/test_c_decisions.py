"""Decisions in C: the events of the Python ones, in every bit, for random settings, outputs and recordings."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import edgegru_export
from edgegru.data.targets import forecast_labels
from edgegru_export.c_decisions import decisions_in_c
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.decisions import Decisions
from edgegru_runtime.derivation import Derivation
from edgegru_runtime.errors import ExportError
from edgegru_runtime.model_config import DecisionConfig, ModelConfig, OutputConfig, ResidualConfig
from tests.builders import changed, quantized, random_artifact, random_config, random_floats, with_state_output

KERNEL = Path(edgegru_export.__file__).parent / "c_kernel"
WARNINGS = ("-Wall", "-Wextra", "-Wconversion", "-Wdouble-promotion", "-Wpedantic", "-Wshadow", "-Werror")
C, CPP = ("cc", "-std=c99"), ("g++", "-std=c++17", "-x", "c++")
STEPS = 60
CLASSES = random_artifact(output_size=3, rate=None)
LABELS = random_artifact(output_size=3, rate=50.0, head="sigmoid")
BOTH = random_floats(with_state_output(random_config(3, (2,), output_size=4, rate=10.0), "sigmoid"), 0)
FORECAST = random_floats(
    changed(
        random_config(3, output_size=4, head="identity", rate=None),
        outputs=(OutputConfig("output", "forecast", forecast_labels(("c2", "c0"), 2), (), 2),),
    ),
    0,
)
VALUE = random_artifact(output_size=2, head="identity", rate=None)
MIXED = random_floats(with_state_output(random_config(3, (2,), output_size=4), "identity"), 0)
numbers = count()


class Event(ctypes.Structure):
    _fields_ = [
        ("step", ctypes.c_uint64),
        ("level", ctypes.c_uint32),
        ("output", ctypes.c_uint16),
        ("label", ctypes.c_uint16),
        ("on", ctypes.c_uint16),
    ]


class Switched(NamedTuple):
    """An event, from C and from Python alike."""

    step: int
    output: int
    label: str
    on: bool
    p: float


@pytest.fixture(scope="module")
def folder() -> Any:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


class Compiled:
    """The decisions of an artifact, compiled for this machine, with a state of their own."""

    def __init__(
        self, artifact: Artifact, decision: DecisionConfig, integers: bool, folder: Path, compiler: Sequence[str] = C
    ) -> None:
        made = decisions_in_c(artifact, "gait", integers=integers, decision=decision)
        assert made is not None
        place = folder / str(next(numbers))
        place.mkdir()
        for source in made.sources:
            (place / source).write_text((KERNEL / source).read_text())
        (place / "gait_decisions.h").write_text(made.header)
        linkage = '\n#ifdef __cplusplus\nextern "C"\n#endif\n'
        size = f"{linkage}unsigned size(void);\nunsigned size(void) {{ return sizeof(gait_decisions); }}\n"
        (place / "gait_decisions.c").write_text(made.source + size)
        options = ["-O1", *WARNINGS, "-shared", "-fPIC"]
        subprocess.run([*compiler, *options, "gait_decisions.c", "-o", "a.so"], check=True, cwd=place)
        self._library = ctypes.CDLL(str(place / "a.so"))
        assert self._library.size() == made.state_bytes
        self._state = ctypes.create_string_buffer(made.state_bytes)
        self._made, self._config, self._type = made, artifact.config, ctypes.c_int32 if integers else ctypes.c_float
        self.reset()

    def reset(self) -> None:
        self._library.gait_decisions_reset(self._state)

    @property
    def state(self) -> bytes:
        return self._state.raw

    def step(self, y: Sequence[float], measured: Sequence[float] | None = None) -> list[Switched]:
        events = (Event * self._made.max_events)()
        given: list[Any] = [self._state, (self._type * len(y))(*y)]
        if self._made.measured:
            given.append(None if measured is None else (ctypes.c_float * len(measured))(*measured))
        number = self._library.gait_decide(*given, events)
        assert number <= self._made.max_events
        outputs = self._config.outputs
        labels = [("anomaly",) if output.target in ("forecast", "step_value") else output.labels for output in outputs]
        return [
            Switched(event.step, event.output, labels[event.output][event.label], bool(event.on), event.level / 2**15)
            for event in events[:number]
        ]


def expected(
    config: ModelConfig, decision: DecisionConfig, outputs: Sequence[Sequence[Sequence[float]]],
    xs: Sequence[Sequence[float]] | None = None, targets: Sequence[Sequence[float] | None] | None = None,
) -> list[Switched]:
    decisions = Decisions(config, decision)
    found = []
    for index, step in enumerate(outputs):
        x, target = () if xs is None else xs[index], None if targets is None else targets[index]
        events = decisions.step(index, x, target, step)
        found += [Switched(index, event.output, event.label, event.on, event.p) for event in events]
    return found


@st.composite
def decisions(draw: st.DrawFn, highest: float = 1.0) -> DecisionConfig:
    """Any settings, mostly such that something happens within the steps of a test."""
    threshold = draw(st.sampled_from([0.0, 0.3, 0.5, 0.75, highest]) | st.floats(0, highest))
    smoothing = st.sampled_from(["none", "mean:1", "median:1", "ema:1"])
    for kind in ("mean", "median"):
        smoothing |= st.integers(2, 9).map(lambda length, kind=kind: f"{kind}:{length}")
    smoothing |= st.sampled_from(["ema:0.00001", "ema:0.3", "ema:0.9"])
    times = st.sampled_from([0.0, 0.0, 1.0, 0.2]) | st.floats(0, 8)
    return DecisionConfig(
        threshold,
        draw(st.floats(0, 1)) * threshold,
        draw(smoothing),
        draw(st.sampled_from([0, 0, 3])),
        trigger_level=draw(st.integers(1, 4)),
        minimum_on=draw(times),
        minimum_off=draw(times),
        refractory=draw(times),
    )


def probabilities(seed: int, size: int, scale: int) -> np.ndarray:
    """Integers (STEPS, size) from 0 to ``scale``: levels that stay for a while, with noise, ties and both ends."""
    generator = np.random.default_rng(seed)
    held = np.repeat(generator.random((STEPS, size)), generator.integers(1, 8, STEPS), axis=0)[:STEPS]
    noisy = held + generator.normal(0, generator.choice([0, 0.1, 0.5]), (STEPS, size))
    steps = generator.choice([2, 4, scale])  # few of them give ties
    return np.round(np.round(np.clip(noisy, 0, 1) * steps) / steps * scale).astype(np.int64)


@settings(max_examples=60)
@given(st.sampled_from([CLASSES, LABELS, BOTH]), decisions(), st.integers(0, 10**6), st.booleans())
def test_events_are_those_of_python(
    artifact: Artifact, decision: DecisionConfig, seed: int, integers: bool
) -> None:
    with tempfile.TemporaryDirectory() as name:
        compiled = Compiled(artifact, decision, integers, Path(name))
        config = artifact.config
        units = [2**15 if config.node(output.node).kind == "softmax" else 2**16 for output in config.outputs]
        raw = [
            probabilities(seed + place, len(output.labels), unit - (unit == 2**16))
            for place, (output, unit) in enumerate(zip(config.outputs, units, strict=True))
        ]
        real = [np.float32(values / unit) for values, unit in zip(raw, units, strict=True)]
        outputs = [[values[step].tolist() for values in real] for step in range(STEPS)]
        flat = np.concatenate(raw if integers else real, axis=1).tolist()
        assert [event for y in flat for event in compiled.step(y)] == expected(config, decision, outputs)
        compiled.reset()  # forgets everything
        assert [event for y in flat for event in compiled.step(y)] == expected(config, decision, outputs)


@settings(max_examples=8)
@given(st.sampled_from(["ema:0.00001", "ema:0.5", "ema:0.3"]), st.integers(0, 99))
def test_exponential_means_keep_every_bit(smoothing: str, seed: int) -> None:
    decision = DecisionConfig(smoothing=smoothing)
    python = Decisions(CLASSES.config, decision)
    with tempfile.TemporaryDirectory() as name:
        compiled = Compiled(CLASSES, decision, True, Path(name))
        for index, y in enumerate(probabilities(seed, 3, 2**15)):
            compiled.step(y.tolist())
            python.step(index, (), None, [(y / 2**15).tolist()])
            remembered = python.saved()["deciders"][0][-1]
            assert np.array(remembered, np.uint32).tobytes() in compiled.state


def test_floats_become_levels_as_in_python(folder: Path) -> None:
    compiled = Compiled(LABELS, DecisionConfig(0.0, 0.0), False, folder)
    just = np.float32((16384 - 0.5) / 32768)
    values = [0.0, 1e-45, 1.0, 0.5, just, np.nextafter(just, np.float32(0)), 0.49999997]
    values += [float("nan"), float("inf"), -1.0]
    values += [float(np.float32((k + 0.5) / 32768)) for k in range(0, 32768, 777)]
    for value in values:
        compiled.reset()
        found = compiled.step([value] * 3)
        assert found == expected(LABELS.config, DecisionConfig(0.0, 0.0), [[[float(value)] * 3]])
        assert len(found) == 3


@settings(max_examples=60)
@given(
    st.sampled_from([FORECAST, VALUE, MIXED]), decisions(8.0), st.integers(0, 10**6),
    st.sampled_from([0.0, 0.0, 1.0, 7.0, 1e4]), st.sampled_from([1.0, 1e-3, 1e-30, 1e20]), st.booleans(),
)
def test_scores_and_their_events_are_those_of_python(
    artifact: Artifact, decision: DecisionConfig, seed: int, memory: float, size: float, integers: bool
) -> None:
    if integers:
        artifact = {id(FORECAST): INTEGER_FORECAST, id(VALUE): INTEGER_VALUE, id(MIXED): INTEGER_MIXED}[id(artifact)]
    config, generator = artifact.config, np.random.default_rng(seed)
    node = config.outputs[-1].node
    count = len(config.outputs[-1].labels) // max(config.outputs[-1].horizon, 1)
    scale = tuple(generator.choice([0.5, 0.1, 3.0, 1e-5], count).tolist())
    decision = replace(decision, residual=ResidualConfig(node, scale, memory))
    measured = np.float32(generator.normal(0, size, (STEPS, 3)) * generator.choice([1, 1, 1, 10], (STEPS, 1)))
    if integers:
        heads = [unit_of(artifact, output.node) for output in config.outputs]
        raw = [generator.integers(0, 2**15, (STEPS, len(output.labels))) for output in config.outputs]
        real = [np.float32(values) * head[0] + head[1] for values, head in zip(raw, heads, strict=True)]
    else:
        raw = real = [np.float32(generator.normal(0, size, (STEPS, len(output.labels)))) for output in config.outputs]
    targets: list[list[float] | None] | None = None
    forecasts = config.outputs[-1].target == "forecast"
    if not forecasts:
        rows = np.resize(measured, (STEPS, count)).tolist()
        targets = [row if generator.integers(8) else None for row in rows]
    if targets and targets[20]:
        targets[20][0] = float("nan")
    outputs = [[values[step].tolist() for values in real] for step in range(STEPS)]
    with tempfile.TemporaryDirectory() as name:
        compiled = Compiled(artifact, decision, integers, Path(name))
        found = []
        for step, y in enumerate(np.concatenate(raw, axis=1).tolist()):
            found += compiled.step(y, measured[step].tolist() if forecasts else targets[step])
        assert found == expected(config, decision, outputs, measured.tolist(), targets)


def unit_of(artifact: Artifact, node: str) -> tuple[np.ndarray, np.ndarray]:
    """What a unit of each integer of a head is worth, and what is added: float32."""
    head = Derivation(artifact).head[node]
    return np.float32(head.scale), np.float32(0 if head.offset is None else head.offset)


INTEGER_FORECAST, INTEGER_VALUE, INTEGER_MIXED = map(quantized, (FORECAST, VALUE, MIXED))


def test_a_root_is_that_of_ieee(folder: Path) -> None:
    place = folder / "root"
    place.mkdir()
    source = "#define EGRU_FLOATS 1\n#define EGRU_MEMORY 0\n#include <stdint.h>\n#include \"egru_scoring.h\"\n"
    (place / "root.c").write_text(source + "double root(double v);\ndouble root(double v) { return egru_root(v); }\n")
    command = ["cc", "-std=c99", "-O1", "-shared", "-fPIC", f"-I{KERNEL}", "root.c", "-o", "root.so"]
    subprocess.run(command, check=True, cwd=place)
    root = ctypes.CDLL(str(place / "root.so")).root
    root.restype, root.argtypes = ctypes.c_double, [ctypes.c_double]
    generator = np.random.default_rng(0)
    values = generator.integers(0, 0x7FF0 << 48, 20000, dtype=np.uint64).view(np.float64)
    edges = [0.0, 5e-324, 2.2250738585072014e-308, 1.7976931348623157e308, 1.0, 4.0, float("inf")]
    squares = generator.integers(0, 2**20, 999) ** 2 / 2**7
    for value in [*values.tolist(), *edges, np.nextafter(1.0, 2.0), *squares.tolist()]:
        assert root(value) == np.sqrt(value)


def test_what_decides_nothing_needs_no_decisions() -> None:
    assert decisions_in_c(VALUE, "gait", integers=False) is None


def test_residuals_that_cannot_be_are_refused() -> None:
    decision = DecisionConfig(residual=ResidualConfig("output", (1.0,)))
    with pytest.raises(ExportError, match="expected 2, one a label"):
        decisions_in_c(VALUE, "gait", integers=False, decision=decision)


def test_labels_cannot_end_a_comment(folder: Path) -> None:
    output = replace(CLASSES.config.outputs[0], labels=("*/ int x;", "??/", "/*"))
    artifact = replace(CLASSES, config=replace(CLASSES.config, outputs=(output,)))
    assert Compiled(artifact, DecisionConfig(), True, folder).step([0, 32768, 0])[0].label == "??/"


@pytest.mark.skipif(shutil.which("g++") is None, reason="Debian package g++")
@pytest.mark.parametrize("smoothing", ["mean:3", "median:4", "ema:0.5"])
def test_c_plus_plus_takes_it_too(smoothing: str, folder: Path) -> None:
    usual = DecisionConfig(0.5, 0.5, smoothing, refractory=1.0)
    scored = replace(usual, residual=ResidualConfig("output", (1.0, 2.0), 9.0))
    for artifact, decision in ((BOTH, usual), (VALUE, scored), (FORECAST, scored)):
        Compiled(artifact, decision, False, folder, CPP)
    for artifact, decision in ((BOTH, usual), (INTEGER_FORECAST, scored)):
        Compiled(artifact, decision, True, folder, CPP)
