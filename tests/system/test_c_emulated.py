"""Exported C under QEMU: the reference's bits with the instructions of each processor."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from edgegru_export.c_engine import FLAGS
from edgegru_export.closed_loop import run_steps
from edgegru_export.stimulus import gaussian_input, jumping_input
from edgegru_runtime.integer_reference import IntegerReference
from tests.builders import SIZES, mixed_artifact, quantized, random_artifact
from tests.export.c_folder import engine_of

STEPS = 1000
# Compiler and its package, its flags, the emulator, the layout of the weights. Thumb code of ARMv7-A has the dual
# multiplies of Cortex-M4 and M7 too.
MACHINES = {
    "aarch64": ("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu", "", ("qemu-aarch64",), "aarch64"),
    "armv7": (
        "arm-linux-gnueabihf-gcc", "gcc-arm-linux-gnueabihf", "-march=armv7-a -mfpu=neon -mfloat-abi=hard",
        ("qemu-arm", "-cpu", "cortex-a7"), "armv7",
    ),
    "dsp": (
        "arm-linux-gnueabihf-gcc", "gcc-arm-linux-gnueabihf", "-march=armv7-a -mthumb -mfpu=vfpv3-d16 -mfloat-abi=hard",
        ("qemu-arm", "-cpu", "cortex-a7"), "cortex-m",
    ),
}  # fmt: skip


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("scheme", ["static-w8a8", "static-w8a16"])
def test_integers_are_the_references(
    scheme: str, machine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler, package, options, emulator, target = MACHINES[machine]
    for program, needed in ((compiler, package), (emulator[0], "qemu-user")):
        if shutil.which(program) is None:
            pytest.skip(f"Debian package {needed}")
    monkeypatch.setenv("CC", f"{compiler} -static {options}")
    resets = ("after", "before")
    models = [random_artifact(size, size % 13 + 1, (size,), reset=resets[size % 2]) for size in SIZES[:14:3]]
    for place, model in enumerate([mixed_artifact(1), mixed_artifact(2, candidate="relu", head="identity"), *models]):
        artifact = quantized(model, scheme)
        inputs = np.concatenate([gaussian_input(artifact, STEPS // 2), jumping_input(artifact, STEPS // 2)])
        expected = run_steps(IntegerReference(artifact), artifact, inputs)
        folder = tmp_path / str(place)
        folder.mkdir()
        with engine_of(artifact, folder, FLAGS, emulator, target=target, io=("float", "int")[place % 2]) as engine:
            found = run_steps(engine, artifact, inputs)
        for name, values in expected.items():
            np.testing.assert_array_equal(found[name], values, err_msg=f"model {place}, {name}")
