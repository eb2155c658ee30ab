"""Generated C on emulated microcontrollers without an operating system: the bits of the reference."""

from __future__ import annotations

import re
import subprocess
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

import edgegru_export
from edgegru_export.c_decisions import decisions_in_c
from edgegru_export.c_engine import Conversion
from edgegru_export.c_export import COptions, c_folder, c_model
from edgegru_export.c_front_end import front_end_in_c
from edgegru_export.stimulus import gaussian_input, jumping_input
from edgegru_runtime import Model
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.decisions import Decisions
from edgegru_runtime.derivation import Derivation
from edgegru_runtime.errors import ArtifactError, QuantizationError
from edgegru_runtime.integer_layers import Standardise
from edgegru_runtime.log_mel import IntegerLogMel, tables_of
from edgegru_runtime.model_config import STATIC_SCHEMES, DecisionConfig, ResidualConfig
from examples.cortex_m.boards import BOARDS, HOST, MODEL_FEED, Board, build, emulate
from tests.builders import (
    drawn_config,
    quantized,
    random_artifact,
    random_config,
    random_floats,
    random_integers,
    with_log_mel,
)

KERNEL = Path(edgegru_export.__file__).parent / "c_kernel"
STEPS = 1000
FLOAT_TOLERANCE = 1e-6  # of the largest output or state, or of 1
TARGETS = ("cortex-m", "portable")  # layouts of weights: boards without the instructions of the first read it too
on_every_board = pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS)


def check_installed(board: Board) -> None:
    if board.missing is not None:
        pytest.skip(f"Debian package {board.missing}")


DECIDE = """
#include <string.h>
#include "feed.h"
#include "gait_decisions.h"
static gait_decisions state;
void feed_begin(void) { gait_decisions_reset(&state); }
void feed(const void *in, void *out) {
    egru_event events[GAIT_MAX_EVENTS];
    unsigned count;
    memset(out, 0, FEED_OUT);
    memset(events, 0, sizeof events);
    count = gait_decide(&state, in, %s events);
    memcpy(out, events, count * sizeof *events);
}
"""
EVENT = np.dtype([("step", "<u8"), ("level", "<u4"), ("output", "<u2"), ("label", "<u2"), ("on", "<u2"), ("pad", "V6")])


def decided(
    board: Board, folder: Path, artifact: Artifact, decision: DecisionConfig, integers: bool, records: np.ndarray,
    measured: str = "",
) -> list[tuple[int, int, bool, float]]:
    """(step, label, on, p) of what the board switches."""
    made = decisions_in_c(artifact, "gait", integers=integers, decision=decision)
    assert made is not None
    (folder / "gait_decisions.h").write_text(made.header)
    (folder / "gait_decisions.c").write_text(made.source)
    (folder / "decide.c").write_text(DECIDE % measured)
    feed = records.dtype.itemsize * records.shape[1], EVENT.itemsize * made.max_events
    sources = [folder / "gait_decisions.c", folder / "decide.c"]
    program = build(board, folder / "build", sources, ["-Os", f"-I{KERNEL}"], feed=feed)
    outputs, _, _ = emulate(program, records.tobytes())
    events = np.frombuffer(outputs, EVENT)
    assert len(events) == len(records) * made.max_events
    switched = events[events["level"] + events["on"] + events["step"] > 0]
    return [(int(e["step"]), int(e["label"]), bool(e["on"]), float(e["level"] / 2**15)) for e in switched]


@pytest.mark.parametrize("board", [*BOARDS.values(), HOST], ids=[*BOARDS, "host"])
@pytest.mark.parametrize("smoothing", ["none", "mean:5", "median:4", "ema:0.1"])
def test_decisions_are_those_of_python(board: Board, smoothing: str, tmp_path: Path) -> None:
    check_installed(board)
    artifact = random_artifact(output_size=4, rate=10.0)
    decision = DecisionConfig(0.5, 0.4, smoothing, 5, trigger_level=2, minimum_on=0.7, minimum_off=0.3, refractory=1.1)
    generator = np.random.default_rng(0)
    arguments = np.repeat(generator.normal(0, 3, (STEPS // 8, 4)), 8, axis=0) + generator.normal(0, 0.7, (STEPS, 4))
    shares = np.exp(arguments - arguments.max(axis=1, keepdims=True))
    levels = np.round(shares / shares.sum(axis=1, keepdims=True) * 2**15).astype("<i4")
    decisions, expected = Decisions(artifact.config, decision), []
    labels = artifact.config.outputs[0].labels
    for index, step in enumerate((levels / 2**15).tolist()):
        events = decisions.step(index, (), None, [step])
        expected += [(index, labels.index(event.label), event.on, event.p) for event in events]
    assert len(expected) > 20
    assert decided(board, tmp_path, artifact, decision, True, levels) == expected


@on_every_board
def test_scores_are_those_of_python(board: Board, tmp_path: Path) -> None:
    check_installed(board)
    artifact = random_artifact(output_size=2, head="identity", rate=None)
    residual = ResidualConfig("output", (0.3, 1e-3), 4.0)
    decision = DecisionConfig(1.2, 1.0, "median:3", 2, trigger_level=2, residual=residual)
    generator = np.random.default_rng(1)
    loudness = np.repeat(generator.choice([1, 9], (STEPS // 4, 1), p=[0.9, 0.1]), 4, axis=0)
    records = (generator.normal(0, 1, (STEPS, 4)) * loudness).astype("<f4")
    decisions, expected = Decisions(artifact.config, decision), []
    for index, record in enumerate(records.tolist()):
        events = decisions.step(index, (), record[2:], [record[:2]])
        expected += [(index, 0, event.on, event.p) for event in events]
    assert len(expected) > 20
    measured = "(const float *)in + 2,"
    assert decided(board, tmp_path, artifact, decision, False, records, measured) == expected


HEAR = """
#include "feed.h"
#include "ear_log_mel.h"
static ear_log_mel_state state;
static int32_t work[EAR_LOG_MEL_WORK];
void feed_begin(void) { }
void feed(const void *in, void *out) { ear_log_mel(&state, in, work, out); }
"""


@on_every_board
def test_operands_of_sound_are_those_of_the_reference(board: Board, tmp_path: Path) -> None:
    check_installed(board)
    artifact = random_integers(with_log_mel(random_config(20), 80, 200, 256, 32768.0), 0, "static-w8a16")
    made, node = front_end_in_c(artifact, "ear", integers=True), artifact.config.front_end
    assert made is not None and node is not None
    (tmp_path / "ear_log_mel.h").write_text(made.header)
    (tmp_path / "ear_log_mel.c").write_text(made.source)
    (tmp_path / "hear.c").write_text(HEAR)
    generator = np.random.default_rng(2)
    loudness = 10 ** generator.uniform(0, 5, (STEPS // 10, 1))
    sound = np.clip(np.round(generator.normal(0, loudness, (STEPS // 10, 80))), -32767, 32767).astype("<i2")
    sources = [tmp_path / "ear_log_mel.c", tmp_path / "hear.c"]
    program = build(board, tmp_path / "build", sources, ["-Os", f"-I{KERNEL}"], feed=(160, 40))
    operands = np.frombuffer(emulate(program, sound.tobytes())[0], "<i2").reshape(-1, 20)
    padded = np.concatenate([np.zeros(200, np.int64), sound.ravel().astype(np.int64)])
    frames = np.array([padded[end - 200 : end] for end in 200 + 80 * np.arange(1, STEPS // 10 + 1)])
    features = IntegerLogMel(node, tables_of(artifact, node))(frames).astype(np.float32) * np.float32(2**-16)
    expected, _ = Standardise(artifact, artifact.config.entry, Derivation(artifact))(features)
    np.testing.assert_array_equal(operands, expected)


class Trajectory(NamedTuple):
    """A model, samples (T, I), the outputs (T, ΣO) of the reference, and the largest of them and the states, or 1."""

    artifact: Artifact
    inputs: np.ndarray
    outputs: np.ndarray
    largest: float


@cache
def integer_trajectories() -> list[Trajectory]:
    """Models of every kind of node, small enough for the smallest board."""
    found: list[Trajectory] = []
    seed = 0
    while len(found) < 4:
        rng = np.random.default_rng(seed)
        config, scheme = drawn_config(rng, (1, 3, 8, 17)), str(rng.choice(STATIC_SCHEMES))
        seed += 1
        with suppress(ArtifactError, QuantizationError):  # scales beyond the arithmetic's range
            artifact = quantized(random_floats(config, seed), scheme)
            inputs = gaussian_input(artifact, STEPS // 2), jumping_input(artifact, STEPS // 2)
            found.append(trajectory(artifact, np.concatenate(inputs)))
    return found


@cache
def float_trajectories() -> list[Trajectory]:
    configs = [drawn_config(np.random.default_rng(seed), (1, 3, 8, 17)) for seed in range(2)]
    artifacts = [random_floats(config, seed) for seed, config in enumerate(configs)]
    return [trajectory(artifact, gaussian_input(artifact, STEPS)) for artifact in artifacts]


def trajectory(artifact: Artifact, inputs: np.ndarray) -> Trajectory:
    stream, outputs, largest = Model(artifact, "reference").stream(), [], 1.0
    for x in inputs:
        y = stream.step(x)
        outputs.append(np.concatenate(y) if isinstance(y, tuple) else y)
        if artifact.config.scheme == "float32":
            state = np.frombuffer(stream.state[64:-4], "<f4")
            largest = max(largest, float(np.max(np.abs(state), initial=0.0)), float(np.max(np.abs(outputs[-1]))))
    return Trajectory(artifact, inputs, np.array(outputs, "<f4"), largest)


def stepped(
    board: Board, folder: Path, artifact: Artifact, options: COptions, inputs: np.ndarray
) -> np.ndarray:
    """The outputs (T, ΣO) of the model on the board, as float32."""
    model = c_model(artifact, options)
    for name, text in c_folder(artifact, "gait", options).items():
        (folder / name).write_text(text)
    (folder / "feed_gait.c").write_text(MODEL_FEED.format(prefix="edgegru_gait"))
    integers = options.io == "int"
    if integers:
        conversion, kind = Conversion(model), model.flags["EGRU_INPUT"]
        dtype = {"int8_t": "<i1", "int16_t": "<i2", "int32_t": "<i4"}[str(kind)]
        inputs = np.array([conversion.take(x) for x in inputs]).astype(dtype)
    else:
        inputs = inputs.astype("<f4")
    feed = inputs.dtype.itemsize * inputs.shape[1], 4 * model.program.output_size
    sources = [folder / "edgegru_gait.c", folder / "feed_gait.c"]
    program = build(board, folder / "build", sources, ["-Os"], feed=feed)
    outputs = np.frombuffer(emulate(program, inputs.tobytes())[0], "<i4" if integers else "<f4")
    outputs = outputs.reshape(len(inputs), -1)
    return conversion.give(outputs) if integers else outputs


@on_every_board
@pytest.mark.parametrize("io", ["float", "int"])
def test_integer_models_give_the_bits_of_the_reference(board: Board, io: str, tmp_path: Path) -> None:
    check_installed(board)
    for number, (artifact, inputs, expected, _) in enumerate(integer_trajectories()):
        folder = tmp_path / str(number)
        folder.mkdir()
        outputs = stepped(board, folder, artifact, COptions(target=TARGETS[number % 2], io=io), inputs)
        assert outputs.tobytes() == expected.tobytes(), f"model {number}: {artifact.config}"


@on_every_board
def test_float_models_stay_within_the_tolerance(board: Board, tmp_path: Path) -> None:
    check_installed(board)
    for number, (artifact, inputs, expected, largest) in enumerate(float_trajectories()):
        folder = tmp_path / str(number)
        folder.mkdir()
        outputs = stepped(board, folder, artifact, COptions(), inputs)
        assert np.max(np.abs(outputs - expected)) <= FLOAT_TOLERANCE * largest, f"model {number}: {artifact.config}"


ALL_OF_IT = """
#include "feed.h"
#include "edgegru_ear.h"
#include "edgegru_ear_decisions.h"
#include "edgegru_ear_log_mel.h"
static edgegru_ear_state state;
static edgegru_ear_log_mel_state sound;
static edgegru_ear_decisions decisions;
static int32_t work[EDGEGRU_EAR_LOG_MEL_WORK];
static int32_t y[EDGEGRU_EAR_OUTPUT_SIZE];
static int16_t x[EDGEGRU_EAR_INPUT_SIZE];
void feed_begin(void) { edgegru_ear_init(&state); edgegru_ear_decisions_reset(&decisions); }
void feed(const void *in, void *out) {
    edgegru_ear_log_mel(&sound, in, work, x);
    edgegru_ear_step(&state, x, y);
    edgegru_ear_decide(&decisions, y, out);
}
"""


@on_every_board
def test_integers_from_sound_to_events_need_no_floating_point(board: Board, tmp_path: Path) -> None:
    check_installed(board)
    config = with_log_mel(random_config(6, output_size=3), 40, 60, 64, 32768.0)
    config = replace(config, decision=DecisionConfig(0.6, 0.4, "ema:0.2", trigger_level=2, refractory=0.5))
    texts = c_folder(quantized(random_floats(config, 0), "static-w8a16"), "ear", COptions(io="int"))
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "all.c").write_text(ALL_OF_IT)
    sources = [tmp_path / f"edgegru_ear{part}.c" for part in ("", "_log_mel", "_decisions")]
    program = build(board, tmp_path / "build", [*sources, tmp_path / "all.c"], feed=(80, 48))
    command = [board.tool("nm"), "--defined-only", program.file]
    names = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "edgegru_ear_decide" in names
    assert re.findall(r"\b__(?:aeabi_[df]\w+|\w+[sd]f[23]?)\b", names) == []
    command = [board.tool("objdump"), "-d", program.file]
    instructions = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    if board.processor != "cortex-m55":  # which moves whole vectors by such instructions
        assert not re.search(r"\t(vadd|vsub|vmul|vdiv|vcvt|vfma)\.f", instructions)
    usage = "".join(path.read_text() for path in (tmp_path / "build").glob("edgegru*.su")).splitlines()
    assert usage and {line.split("\t")[-1] for line in usage} == {"static"}  # no stack that depends on data
    emulate(program, np.zeros((STEPS, 40), "<i2").tobytes())
