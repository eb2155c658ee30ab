"""C of a model: integers are the reference's in every bit, floats within the kernel's bound, in C and in C++."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgegru_export.c_engine import FLAGS
from edgegru_export.c_export import TARGETS, COptions, c_folder, c_model
from edgegru_export.closed_loop import run_steps
from edgegru_export.stimulus import gaussian_input, jumping_input
from edgegru_export.tolerances import C_FLOAT_TOLERANCE
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.errors import ArtifactError, ExportError
from edgegru_runtime.integer_reference import IntegerReference
from edgegru_runtime.model_config import CANDIDATE_ACTIVATIONS, GATE_ACTIVATIONS, RESETS
from edgegru_runtime.reference import Reference
from tests.builders import (
    SIZES,
    TOKENS,
    drawn_config,
    drawn_float_config,
    drawn_keep,
    mixed_artifact,
    normalised,
    quantized,
    random_artifact,
    random_config,
    random_floats,
    random_integer_artifact,
    random_integers,
)
from tests.export.c_folder import engine_of, write

STEPS = 1000
WARNINGS = FLAGS[2:]  # behind language and optimisation
COMPILERS = {
    "gcc, C99": ("gcc", "-std=c99"),
    "gcc, C11": ("gcc", "-std=c11"),
    "gcc, C++17": ("g++ -xc++", "-std=c++17"),
    "clang, C99": ("clang", "-std=c99"),
    "clang, C++17": ("clang++ -xc++", "-std=c++17"),
}


def stimulus(artifact: Artifact, steps: int) -> np.ndarray:
    """Like the data, and in the last fifth far beyond it."""
    return np.concatenate([gaussian_input(artifact, steps - steps // 5), jumping_input(artifact, steps // 5)])


def assert_equal_bits(artifact: Artifact, folder: Path, steps: int = STEPS, **options: object) -> None:
    inputs = stimulus(artifact, steps)
    expected = run_steps(IntegerReference(artifact), artifact, inputs)
    with engine_of(artifact, folder, **options) as engine:
        found = run_steps(engine, artifact, inputs)
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)


@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("size", SIZES)
def test_integers_of_every_size_are_the_references(size: int, reset: str, tmp_path: Path) -> None:
    place = SIZES.index(size)
    artifact = quantized(
        random_artifact(size, SIZES[-1 - place] % 13 + 1, (size,), output_size=place % 7 + 1, reset=reset),
        ("static-w8a8", "static-w8a16")[place % 2],
    )
    target, io = TARGETS[place % len(TARGETS)], ("float", "int")[place // 2 % 2]
    assert_equal_bits(artifact, tmp_path, target=target, io=io)


@pytest.mark.parametrize("seed", range(12))
def test_integers_of_drawn_models_are_the_references(seed: int, tmp_path: Path) -> None:
    """Every kind of node, scales and weights of any size: most of them need all 64 bits."""
    rng = np.random.default_rng(seed)
    config, scheme = drawn_config(rng, (1, 2, 3, 7, 8, 9, 17)), ("static-w8a8", "static-w8a16")[seed % 2]
    artifact = random_integers(config, seed, scheme, drawn_keep(rng, config, scheme), 3 * (seed % 3))
    target, io = TARGETS[seed % len(TARGETS)], ("float", "int")[seed // 2 % 2]
    assert_equal_bits(artifact, tmp_path, 200, target=target, io=io)


@pytest.mark.parametrize("candidate", CANDIDATE_ACTIVATIONS)
@pytest.mark.parametrize("reset", RESETS)
def test_integers_of_every_node_are_the_references(reset: str, candidate: str, tmp_path: Path) -> None:
    """Of calibrated models, whose rescaled numbers fit 32 bits where operands have 8."""
    place = CANDIDATE_ACTIVATIONS.index(candidate)
    gates, head = GATE_ACTIVATIONS[place % 3], ("softmax", "sigmoid", "identity")[place % 3]
    shape = TOKENS if place == 5 else {"head": head, "embedding": place % 2 == 1}
    scheme = ("static-w8a8", "static-w8a16")[place % 2]
    artifact = quantized(mixed_artifact(place, reset=reset, gates=gates, candidate=candidate, **shape), scheme)
    assert scheme == "static-w8a16" or c_model(artifact, COptions()).flags["EGRU_WIDE"] == 0
    assert_equal_bits(artifact, tmp_path, target=TARGETS[place % len(TARGETS)], io=("int", "float")[place % 2])


@pytest.mark.parametrize("seed", range(10))
def test_floats_are_within_the_kernels_bound(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    artifact = random_floats(drawn_float_config(rng, (1, 3, 8, 17, 33)), seed)
    inputs = gaussian_input(artifact, 300)
    expected, exact = (run_steps(Reference(artifact, dtype), artifact, inputs) for dtype in (np.float32, np.float64))
    with engine_of(artifact, tmp_path) as engine:
        found = run_steps(engine, artifact, inputs)
    for name, values in expected.items():
        largest = max(1.0, float(np.max(np.abs(values))))
        own = float(np.max(np.abs(values - exact[name])))
        assert np.max(np.abs(found[name] - values)) <= max(C_FLOAT_TOLERANCE * largest, 2 * own), name


@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("kind", ["float", "static", "static-int"])
def test_every_compiler_takes_it_without_a_warning(
    compiler: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command, language = COMPILERS[compiler]
    if shutil.which(command.split()[0]) is None:
        pytest.skip(f"Debian package {command.split()[0].replace('clang++', 'clang')}")
    monkeypatch.setenv("CC", command)
    flags = (language, "-Os", *WARNINGS, "-Wshadow")
    if kind == "float":
        artifact = random_floats(normalised(mixed_artifact(4).config), 4)
        inputs = gaussian_input(artifact, 50)
        with engine_of(artifact, tmp_path, flags) as engine:
            found = run_steps(engine, artifact, inputs)
        expected = run_steps(Reference(artifact), artifact, inputs)
        assert all(np.allclose(found[name], values, atol=1e-5) for name, values in expected.items())
        return
    io = "int" if kind == "static-int" else "float"
    models = quantized(mixed_artifact(3)), random_integer_artifact(2, octaves=3, reset="before")
    for place, artifact in enumerate(models):
        folder = tmp_path / str(place)
        folder.mkdir()
        assert_equal_bits(artifact, folder, 50, flags=flags, io=io, target="x86")


def test_a_state_moves_between_engines(tmp_path: Path) -> None:
    artifact = quantized(mixed_artifact(1))
    reference, inputs = IntegerReference(artifact), gaussian_input(artifact, 40)
    state = reference.new_state()
    for sample in inputs[:17]:
        reference.step(state, sample)
    with engine_of(artifact, tmp_path) as engine:
        engine.new_state()
        engine.load_state(None, reference.state_arrays(state))
        assert engine.state_arrays(None) == reference.state_arrays(state)
        for sample in inputs[17:]:
            assert engine.step(None, sample) == reference.step(state, sample)


@pytest.mark.parametrize("scheme", ["float32", "static-w8a8"])
def test_a_sample_that_is_not_finite_changes_nothing(scheme: str, tmp_path: Path) -> None:
    artifact = random_artifact(1) if scheme == "float32" else quantized(random_artifact(1))
    with engine_of(artifact, tmp_path) as engine:
        engine.new_state()
        engine.step(None, [0.5, 1.0, -1.0])
        before = engine.state
        for bad in (np.nan, np.inf, -np.inf):
            engine.integers(np.array([0.1, bad, 0.2], np.float32))
            assert (engine.status, engine.state) == (1, before)


def test_a_float_step_beyond_the_range_changes_nothing(tmp_path: Path) -> None:
    artifact = random_floats(random_config(candidate="linear", head="identity"), 1)
    huge = dict(artifact.tensors)
    weight = artifact.array("gru0.weight_ih").copy()
    weight[10:] = 1e36
    huge["gru0.weight_ih"] = type(huge["gru0.weight_ih"]).from_numpy(weight)
    with engine_of(replace(artifact, tensors=huge), tmp_path) as engine:
        engine.new_state()
        before = engine.state
        engine.integers(np.array([1e30, 1e30, 1e30], np.float32))
        assert (engine.status, engine.state) == (2, before)


def test_numbers_beyond_the_range_are_counted(tmp_path: Path) -> None:
    artifact = quantized(random_artifact(1))
    inputs = stimulus(artifact, 100)
    reference = IntegerReference(artifact)
    state = reference.new_state()
    with engine_of(artifact, tmp_path) as engine:
        engine.new_state()
        for sample in inputs:
            reference.step(state, sample)
            engine.step(None, sample)
        assert engine.clipped(None) == reference.clipped(state) > 0


def test_integers_in_and_out_use_no_floating_point(tmp_path: Path) -> None:
    write(quantized(mixed_artifact(3)), tmp_path, io="int")
    for line in (tmp_path / "edgegru_model.c").read_text().splitlines():
        assert not re.search(r"\d\.\d", line), line
    command = ["cc", "-E", "-P", f"-I{tmp_path}", tmp_path / "edgegru_model.c"]
    code = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    own = code[code.index("typedef struct") :]  # behind the system's headers
    assert "egru_gru" in own and not re.search(r"\b(float|double)\b", own)


def test_two_models_link_into_one_program(tmp_path: Path) -> None:
    names = ("motion", "sound 2")
    for name in names:
        write(quantized(random_artifact(len(name), output_size=2)), tmp_path / name, name)
    main = """
#include <stdio.h>
#include "edgegru_motion.h"
#include "edgegru_sound_2.h"
static edgegru_motion_state a;
static edgegru_sound_2_state b;
int main(void) {
    float x[3] = {1.0f, 2.0f, 3.0f}, y[2];
    edgegru_motion_init(&a);
    edgegru_sound_2_init(&b);
    if (edgegru_motion_step(&a, x, y) || edgegru_sound_2_step(&b, x, y))
        return 1;
    return edgegru_motion_selftest() || edgegru_sound_2_selftest();
}
"""
    (tmp_path / "main.c").write_text(main)
    sources = [path for name in names for path in (tmp_path / name).glob("edgegru_*.c")]
    include = [f"-I{tmp_path / name}" for name in names]
    subprocess.run(["cc", *FLAGS, *include, tmp_path / "main.c", *sources, "-o", tmp_path / "both"], check=True)
    subprocess.run([tmp_path / "both"], check=True)


def test_the_program_reads_samples_as_text(tmp_path: Path) -> None:
    artifact = quantized(random_artifact(1))
    write(artifact, tmp_path)
    program = tmp_path / "program"
    subprocess.run(["cc", *FLAGS, tmp_path / "main.c", tmp_path / "edgegru_model.c", "-o", program], check=True)
    inputs, reference = gaussian_input(artifact, 5), IntegerReference(artifact)
    state = reference.new_state()
    text = "".join(", ".join(f"{v:.9g}" for v in sample) + "\n" for sample in inputs)
    done = subprocess.run([program], input=text, check=True, capture_output=True, text=True)
    found = np.array([line.split() for line in done.stdout.splitlines()], np.float32)
    np.testing.assert_array_equal(found, np.array([reference.step(state, x)[0] for x in inputs], np.float32))
    for bad, sentence in (("1 2", "whole samples"), ("1 2 x", "whole samples"), ("1 2 nan", "not finite")):
        failed = subprocess.run([program], input=bad, capture_output=True, text=True, check=False)
        assert failed.returncode == 1 and sentence in failed.stderr


def test_the_same_model_gives_the_same_texts() -> None:
    artifact = quantized(random_artifact(1))
    assert c_folder(artifact, "model", COptions()) == c_folder(artifact, "model", COptions())


def test_only_what_a_model_uses_is_in_its_folder() -> None:
    texts = c_folder(quantized(random_artifact(1)), "model", COptions(io="int"))
    assert {path for path in texts if path.endswith(".h")} == {
        "edgegru_model.h", "egru_arithmetic.h", "egru_bounded.h", "egru_gru.h", "egru_head.h", "egru_input.h",
        "egru_linear.h", "egru_operand.h", "egru_product.h", "egru_softmax.h",
        "edgegru_model_decisions.h", "egru_decisions.h", "egru_deciding.h",
    }  # fmt: skip
    without = c_folder(quantized(random_artifact(1)), "model", COptions(with_kernel=False))
    assert not any(path.startswith("egru_") for path in without)


@pytest.mark.parametrize(
    ("artifact", "options", "sentence"),
    [
        (quantized(mixed_artifact(1), "dynamic-w8"), {}, "C has no form for the scheme dynamic-w8"),
        (random_artifact(1), {"io": "int"}, "the model's scheme is float32, expected a static one"),
    ],
)
def test_what_c_cannot_express_is_refused_by_name(
    artifact: Artifact, options: dict[str, str], sentence: str
) -> None:
    with pytest.raises(ExportError, match=sentence):
        c_model(artifact, COptions(**options))


@pytest.mark.parametrize("field", ["target", "io", "layout"])
def test_an_unknown_choice_is_named(field: str) -> None:
    with pytest.raises(ExportError, match=f"the {field} is 'other', expected"):
        COptions(**{field: "other"})


def test_scales_beyond_the_arithmetic_are_an_error() -> None:
    artifact = random_integer_artifact(1)
    huge = dict(artifact.tensors)
    scale = np.full_like(artifact.array("gru0.weight_ih_scale"), 2.0**90)
    huge["gru0.weight_ih_scale"] = type(huge["gru0.weight_ih_scale"]).from_numpy(scale)
    with pytest.raises(ArtifactError, match="rescaling factor"):
        c_model(replace(artifact, tensors=huge), COptions())
