"""What exported C takes on microcontrollers is no more than it says, and what small devices have room for."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from benchmarks.c_code_sizes import COMPILERS, drawn, measure
from edgegru_export.c_export import COptions, c_model
from edgegru_export.c_sizes import CSizes, sizes
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.errors import EdgegruError
from tests.builders import quantized, random_artifact
from tests.export.c_folder import write

SEEDS = range(1000, 1020)  # others than those that the parts were fitted to
MARGIN = 1.1  # over the sum of the parts: what was never seen together may take more
PROCESSORS = ("cortex-m0", "cortex-m4")
on_every_processor = pytest.mark.parametrize("processor", PROCESSORS)


@pytest.fixture(autouse=True)
def _compiler() -> None:
    if shutil.which("arm-none-eabi-gcc") is None:
        pytest.skip("Debian packages gcc-arm-none-eabi and libnewlib-arm-none-eabi")


def said_and_measured(artifact: Artifact, folder: Path, processor: str, io: str) -> tuple[CSizes, int, int]:
    """What it says, then bytes of code and of stack."""
    options = write(artifact, folder, target="cortex-m", io=io)
    model = c_model(artifact, options)
    (said,) = (size for size in sizes(model, "cortex-m") if size.processor == processor)
    return (said, *measure(COMPILERS[processor], folder, model.table_bytes))


@on_every_processor
def test_models_of_all_kinds_take_no_more_than_they_say(processor: str, tmp_path: Path) -> None:
    compared = 0
    for seed in SEEDS:
        try:
            artifact, io = drawn(seed)
            c_model(artifact, COptions("cortex-m", io))
        except EdgegruError:  # scales beyond the arithmetic
            continue
        said, code, stack = said_and_measured(artifact, tmp_path / str(seed), processor, io)
        assert code <= said.code_bytes * MARGIN, seed
        assert stack <= said.stack_bytes + 64, seed
        compared += 1
    assert compared > len(SEEDS) / 2


def test_a_classifier_fits_a_cortex_m4(tmp_path: Path) -> None:
    """20,900 parameters: in 30 KB of flash and 2 KB of RAM."""
    artifact = quantized(random_artifact(0, 9, (77,), output_size=6))
    said, code, stack = said_and_measured(artifact, tmp_path, "cortex-m4", "float")
    assert code <= said.code_bytes and stack <= said.stack_bytes
    assert said.flash_bytes <= 30 * 1024 and said.ram_bytes < 2 * 1024


def test_a_keyword_model_fits_a_cortex_m0_without_floating_point(tmp_path: Path) -> None:
    """10 KB of flash and 512 bytes of RAM, and no routine of floating point is linked."""
    artifact = quantized(random_artifact(0, 20, (24,), output_size=6))
    said, code, stack = said_and_measured(artifact, tmp_path, "cortex-m0", "int")
    assert code <= said.code_bytes and stack <= said.stack_bytes
    assert said.flash_bytes <= 10 * 1024 and said.ram_bytes < 512
    listing = [COMPILERS["cortex-m0"].tool("nm"), tmp_path / "program"]
    names = subprocess.run(listing, check=True, capture_output=True, text=True).stdout
    assert "edgegru_model_step" in names
    assert not any(f"__aeabi_{kind}" in names for kind in ("f", "d2", "dadd", "dmul", "ddiv", "i2f", "i2d", "ui2f"))
