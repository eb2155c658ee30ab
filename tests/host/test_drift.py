"""The drift check: what it measures, what it catches, what it refuses, and the command in front of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import edgegru
from edgegru import drift
from edgegru.command_line import main
from edgegru.drift import DriftReport, measure_drift
from edgegru.quantization import DEFAULT_MARGIN
from edgegru.slow_units import CANDIDATES, STARTS, TARGETS, TIME_CONSTANTS, settle_slow_units
from edgegru_export.closed_loop import Trajectory, run_steps
from edgegru_export.saving import save_artifact, with_identity
from edgegru_export.stimulus import gaussian_input
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.engine import build_engine
from edgegru_runtime.errors import ArtifactError, VerificationError
from edgegru_runtime.integer_arithmetic import rounding_shift
from edgegru_runtime.integer_reference import IntegerReference, IntegerState
from edgegru_runtime.model_config import GruNode
from edgegru_runtime.reference import Reference
from edgegru_runtime.tensor import Tensor
from tests.builders import (
    from_arrays,
    mixed_artifact,
    quantized,
    random_artifact,
    random_config,
    random_floats,
    with_initial_states,
)

STEPS = 503  # in windows of 10 and 11
UNSHORTENED = {name: vars(drift)[name] for name in ("FEWEST_STEPS", "LOOP_STEPS")}
SCHEMES = ["static-w8a8", "static-w8a16", "dynamic-w8"]
SHAPE = {"input_size": 2, "hidden_sizes": (4, 3), "output_size": 3}


@pytest.fixture(autouse=True)
def short_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drift, "FEWEST_STEPS", STEPS)
    monkeypatch.setattr(drift, "LOOP_STEPS", 90)


@pytest.fixture
def all_settle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the slow units out: they take as long as all else."""
    monkeypatch.setattr(drift, "settle_slow_units", lambda scheme: (drift.SlowUnit("tanh", 8, 0.0, 1.0, 0.0),))


def with_arrays(artifact: Artifact, edit: Callable[[dict[str, np.ndarray]], None]) -> Artifact:
    arrays = {name: artifact.array(name).copy() for name in artifact.tensors}
    edit(arrays)
    return from_arrays(artifact.config, arrays)


def both(integer: Artifact, real: Artifact, inputs: np.ndarray) -> tuple[Trajectory, Trajectory]:
    return run_steps(build_engine(integer, "reference"), integer, inputs), run_steps(Reference(real), real, inputs)


@pytest.mark.usefixtures("all_settle")
@pytest.mark.parametrize("scheme", SCHEMES)
def test_both_models_begin_with_their_h0(scheme: str) -> None:
    real = random_floats(with_initial_states(random_config(**SHAPE)), 8)
    slow = with_arrays(real, lambda arrays: arrays["gru0.bias_ih"][4:8].fill(9))  # what it begins with lasts
    other = with_arrays(slow, lambda arrays: np.negative(arrays["gru0.h0"], out=arrays["gru0.h0"]))
    assert measure_drift(quantized(slow, scheme), slow, STEPS).passed
    assert not measure_drift(quantized(other, scheme), slow, STEPS).passed


class NarrowState(IntegerReference):
    """An engine whose state has fewer fractional bits than 24."""

    bits = 24

    def step(self, state: IntegerState, x: object) -> list[list[float]]:
        outputs = super().step(state, x)  # type: ignore[arg-type]  # passed on
        unused = 24 - self.bits
        state.numbers = [rounding_shift(h, unused) << unused for h in state.numbers]
        return outputs


@pytest.mark.usefixtures("all_settle")
@pytest.mark.parametrize("head", ["softmax", "sigmoid", "identity"])
def test_windows_tell_what_a_run_in_one_piece_gives(head: str) -> None:
    real = random_artifact(8, **SHAPE, head=head)
    integer = quantized(real)
    report = measure_drift(integer, real, STEPS)
    recording = gaussian_input(integer, 90)
    assert [(found.input, found.name) for found in report.divergences] == [
        (input, name) for input in ("looped", "constant") for name in ("y", "h0", "h1")
    ]
    assert report.window_ends[-1] == STEPS
    scale = {}
    for input, repeated in (("looped", recording), ("constant", recording[-1:])):
        found, expected = both(integer, real, np.tile(repeated, (STEPS, 1))[:STEPS])
        for divergence in (d for d in report.divergences if d.input == input):
            name = divergence.name
            error = found[name] - expected[name]
            parts = list(pairwise((0, *report.window_ends)))
            rms = [np.sqrt(np.mean(error[start:stop] ** 2)) for start, stop in parts]
            assert divergence.rms == pytest.approx(rms)
            assert divergence.largest == pytest.approx([np.max(np.abs(error[start:stop])) for start, stop in parts])
            centre = expected[name].mean(axis=0) if (name, head) == ("y", "identity") else 0.0
            scale.setdefault(name, np.sqrt(np.mean((expected[name] - centre) ** 2)))
            assert divergence.scale == pytest.approx(scale[name])
            if name != "y" or head == "identity":
                assert divergence.flips is divergence.flipped is None
                continue
            if head == "softmax":
                flips = found[name].argmax(axis=1) != expected[name].argmax(axis=1)
            else:
                flips = np.any((found[name] >= 0.5) != (expected[name] >= 0.5), axis=1)
            assert divergence.flips == pytest.approx([np.mean(flips[start:stop]) for start, stop in parts])
            assert divergence.flipped == np.mean(flips)
    if head != "identity":
        assert any(found.flipped for found in report.divergences)  # so that the comparison means something


@pytest.mark.usefixtures("all_settle")
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("reset", ["after", "before"])
def test_a_quantized_model_stays_with_its_float_model(reset: str, scheme: str) -> None:
    real = random_artifact(1, **SHAPE, reset=reset)
    report = measure_drift(quantized(real, scheme), real, STEPS)
    assert report.passed
    assert report.scheme == scheme


@pytest.mark.usefixtures("all_settle")
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("shape", [{"embedding": True}, {"candidate": "relu", "reset": "before"}])
def test_every_kind_of_node_and_state(scheme: str, shape: dict[str, object]) -> None:
    """h0 is what a convolution keeps, four operands of three or one; h1 may have no bound."""
    real = mixed_artifact(1, **shape)
    integer = quantized(real, scheme)
    report = measure_drift(integer, real, STEPS)
    assert report.passed
    found, expected = both(integer, real, np.tile(gaussian_input(integer, 90), (6, 1))[:STEPS])
    assert found["h0"].shape == (STEPS, 12)
    for divergence in report.divergences[:3]:
        error, name = found[divergence.name] - expected[divergence.name], divergence.name
        assert divergence.largest == pytest.approx(
            [np.max(np.abs(error[start:stop])) for start, stop in pairwise((0, *report.window_ends))]
        )
        assert divergence.scale == pytest.approx(np.sqrt(np.mean(expected[name] ** 2)))


@pytest.mark.usefixtures("all_settle")
def test_an_unbounded_state_whose_range_is_far_too_narrow_is_caught() -> None:
    real = random_artifact(1, 2, (4,), candidate="linear")
    integer = quantized(real)
    full_scale = Tensor.from_numpy(integer.array("gru0.full_scale") / np.float32(100))
    wrong = with_identity(replace(integer, tensors={**integer.tensors, "gru0.full_scale": full_scale}))
    assert measure_drift(integer, real, STEPS).passed
    assert not measure_drift(wrong, real, STEPS).passed


@pytest.mark.usefixtures("all_settle")
def test_values_beside_an_offset_are_measured_by_how_they_move() -> None:
    real = random_artifact(1, **SHAPE, head="identity")
    bias = {"dense.bias": Tensor.from_numpy(np.full(3, 1e5, np.float32))}
    real = with_identity(replace(real, tensors={**real.tensors, **bias}))
    integer = quantized(real)
    assert measure_drift(integer, real, STEPS).passed
    scale = Tensor.from_numpy(integer.array("dense.weight_scale") * np.float32(3))
    wrong = with_identity(replace(integer, tensors={**integer.tensors, "dense.weight_scale": scale}))
    assert not measure_drift(wrong, real, STEPS).passed


@pytest.mark.usefixtures("all_settle")
def test_decisions_that_are_always_others_are_counted() -> None:
    def lead(output: int) -> Artifact:
        bias = np.full(3, -9, np.float32)
        bias[output] = 9
        return with_arrays(random_artifact(1, **SHAPE), lambda arrays: arrays["dense.bias"].__setitem__(..., bias))

    report = measure_drift(quantized(lead(0)), lead(2), STEPS)
    assert [found.flipped for found in report.divergences if found.name == "y"] == [1, 1]
    assert not report.passed


@pytest.mark.usefixtures("all_settle")
def test_a_memory_that_leaks_is_caught_while_it_grows() -> None:
    """σ(20) keeps a float unit for ever; the widest integer gate still lets 1/65536 of the candidate in each step."""

    def keep(arrays: dict[str, np.ndarray]) -> None:
        arrays["gru0.bias_ih"][4:7] = 20  # three of four: what never moves has no range
        arrays["gru0.bias_ih"][8:] = 2

    real = with_arrays(random_artifact(1, 2, (4,)), keep)
    report = measure_drift(quantized(real), real, 2 * STEPS)
    state = next(found for found in report.divergences if found.name == "h0")
    assert 3 * state.early < state.late < 0.02
    assert not state.passed
    assert re.search(r"drifts from .* on looped input the rms error of .*h0 went from .* to", str(report))


@pytest.mark.usefixtures("all_settle")
@pytest.mark.parametrize("seed", [7, 8])
def test_another_model_of_the_same_shape_is_no_source(seed: int) -> None:
    report = measure_drift(quantized(random_artifact(seed, **SHAPE)), random_artifact(1, **SHAPE), STEPS)
    assert not report.passed


@pytest.mark.parametrize("scheme", SCHEMES)
def test_slow_units_arrive_from_both_sides(scheme: str) -> None:
    units = settle_slow_units(scheme)
    assert {(u.candidate, u.time_constant, u.target, u.start) for u in units} == {
        (candidate, constant, target, start)
        for candidate in ("tanh", "linear")
        for constant in (8, 64, 512)
        for target in TARGETS
        for start in (-1, 1)
    }
    assert set(TARGETS) == {1, 0.5, 0.1, 0, -0.1, -0.5, -1}
    assert len(units) == len(CANDIDATES) * len(TIME_CONSTANTS) * len(TARGETS) * len(STARTS)
    assert max(unit.error for unit in units) < 0.001
    # What 8 time constants leave of a way of 2 is 2 e^-8: the time constant is the one that was asked for.
    farthest = [u for u in units if (u.time_constant, u.target, u.start) == (512, 1, -1)]
    assert [unit.error for unit in farthest] == pytest.approx([2 * np.exp(-8)] * 2, rel=0.1)


@pytest.mark.parametrize(("bits", "short"), [(15, 512 / 2**16), (8, 512 / 2**9)])
def test_a_state_of_too_few_bits_is_caught(monkeypatch: pytest.MonkeyPatch, bits: int, short: float) -> None:
    monkeypatch.setattr(NarrowState, "bits", bits)
    monkeypatch.setattr("edgegru_runtime.integer_reference.IntegerReference", NarrowState)
    real = random_artifact(1, 2, (3,))
    report = measure_drift(quantized(real), real, STEPS)
    assert not report.passed
    # T · 2^-(b+1), of the full scale, which is 1 for tanh and margin · target for linear: docs/decisions/0003
    for candidate, full_scale in (("tanh", 1.0), ("linear", DEFAULT_MARGIN)):
        worst = max(unit.error for unit in report.slow_units if unit.candidate == candidate)
        assert worst == pytest.approx(short * full_scale, rel=0.1)
    assert "with a time constant of 512 steps ended" in str(report)
    assert {(unit.candidate, unit.time_constant) for unit in report.slowest} == {
        (candidate, constant) for candidate in CANDIDATES for constant in TIME_CONSTANTS
    }
    assert max(unit.error for unit in report.slowest) == report.farthest.error


def test_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    real = random_artifact(1, **SHAPE)
    integer = quantized(real)

    def refused(file: Artifact, against: Artifact, sentence: str, steps: int = STEPS) -> None:
        with pytest.raises(VerificationError, match=sentence):
            measure_drift(file, against, steps, names=("A", "B"))

    monkeypatch.setattr(drift, "_follow", lambda *_: pytest.fail("ran"))
    refused(integer, real, f"{STEPS - 1} steps were asked for, expected at least {STEPS}", STEPS - 1)
    refused(real, real, "A is a float32 model, expected the integer model")
    refused(integer, integer, "B is a static-w8a8 model, expected the float32 model")
    refused(integer, random_artifact(1, 5, (4, 3)), "A takes 2 input values and B 5")
    refused(integer, random_artifact(1, 2, (4, 4), output_size=3), "node gru1 of A differs from B's")
    refused(integer, random_artifact(1, 2, (4,), output_size=3), "node gru1 of A differs from B's")
    refused(integer, random_artifact(1, **SHAPE, reset="before"), "node gru0 of A differs from B's")
    outputs = (replace(real.config.outputs[0], labels=("a", "b", "c")),)
    refused(integer, replace(real, config=replace(real.config, outputs=outputs)), "outputs of A differ from those of B")
    with pytest.raises(ArtifactError, match="identity"):
        measure_drift(replace(integer, config=replace(integer.config, identity="0" * 64)), real, STEPS)
    assert isinstance(real.config.node("gru1"), GruNode)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    real = random_artifact(1, **SHAPE)
    save_artifact(real, tmp_path / "float.safetensors")
    save_artifact(quantized(real), tmp_path / "int8.safetensors")
    return tmp_path


def verify(folder: Path, *arguments: object, file: str = "int8.safetensors") -> int:
    command = ("verify", folder / file, "--against", folder / "float.safetensors", "--steps", STEPS, *arguments)
    return main([str(argument) for argument in command])


@pytest.mark.usefixtures("all_settle")
def test_the_command_prints_a_table_and_draws(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(folder, "--plot", folder / "drift.png") == 0
    printed = capsys.readouterr()
    assert "int8.safetensors stays with" in printed.out
    assert re.search(r"^looped +y +[\d.e-]+ +[\d.e-]+ +[\d.e-]+ +[\d.e-]+ +[\d.]+%$", printed.out, re.MULTILINE)
    assert re.search(r"^constant +h1 .* –$", printed.out, re.MULTILINE)
    assert "farthest of 1: a slow tanh unit on its way from 1 to 0" in printed.out
    assert printed.err == ""
    assert (folder / "drift.png").stat().st_size > 10_000


@pytest.mark.usefixtures("all_settle")
def test_json_has_the_windows_and_what_is_allowed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(folder, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["steps"], report["passed"], report["slow_tolerance"]) == (STEPS, True, 0.002)
    for divergence in report["divergences"]:
        assert len(divergence["rms"]) == len(divergence["largest"]) == len(report["window_ends"]) == 50
        assert divergence["late"] <= divergence["allowed"]


def test_drift_is_one_sentence_and_its_picture(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck = drift.SlowUnit("linear", 512, 0.5, 1.0, 0.0078)
    monkeypatch.setattr(drift, "settle_slow_units", lambda scheme: (stuck,))
    assert verify(folder, "--plot", folder / "drift.png") == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    assert "drifts from" in printed.err
    assert "from 1 to 0.5 with a time constant of 512 steps ended 0.0078 from its target (allowed 0.002)" in printed.err
    assert (folder / "drift.png").exists()


@pytest.mark.usefixtures("all_settle")
def test_long_runs_say_how_far_they_are(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drift, "SECONDS_BETWEEN_NEWS", 0.0)
    assert verify(folder, "--json") == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["passed"] is True
    assert printed.err.splitlines()[-1] == f"drift: {2 * STEPS} of {2 * STEPS} steps"


def test_a_picture_that_cannot_be_drawn_is_refused_at_once(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drift, "_follow", lambda *_: pytest.fail("ran"))
    assert verify(folder, "--plot", folder / "missing" / "drift.png") == 1
    assert "missing is no folder" in capsys.readouterr().err
    assert verify(folder, "--plot", folder / "drift.png", file="model.onnx") == 1
    assert "a plot shows the drift of an integer artifact" in capsys.readouterr().err


@pytest.mark.usefixtures("all_settle")
def test_the_function_takes_an_artifact_in_memory(folder: Path) -> None:
    report = edgegru.verify(folder / "int8.safetensors", random_artifact(1, **SHAPE), STEPS)
    assert isinstance(report, DriftReport)
    assert report.passed


def test_the_page_names_every_constant_with_its_value() -> None:
    page = (Path(__file__).parents[2] / "docs" / "drift.md").read_text()
    table = dict(re.findall(r"^\| `([A-Z_]+)` \| ([\d.,]+) \|", page, re.MULTILINE))
    names = {*UNSHORTENED, "DRIFT_STEPS", "WINDOWS", "GROWTH_FACTOR", "GROWTH_FLOOR", "DEPARTURE", "SLOW_TOLERANCE"}
    assert {name: float(value.replace(",", "")) for name, value in table.items()} == {
        name: vars(drift)[name] for name in names
    } | UNSHORTENED
