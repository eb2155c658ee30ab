"""The C library under the other compiler: no warning, whatever is left out of it, and its own tests pass."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

C = Path(__file__).resolve().parents[2] / "runtime" / "c"
pytestmark = pytest.mark.skipif(shutil.which("clang") is None, reason="Debian package clang")


@pytest.mark.parametrize("smaller", [(), ("FLOAT=0",), ("Q16=0",), ("SIMD=0", "FLOAT=0")], ids="-".join)
def test_it_warns_of_nothing(smaller: tuple[str, ...], tmp_path: Path) -> None:
    command = ["make", "-s", "-C", str(C), "all", "CC=clang", f"BUILD={tmp_path}", *smaller]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (finished.returncode, finished.stderr) == (0, "")


def test_the_tests_of_the_library_pass(tmp_path: Path) -> None:
    command = ["make", "-s", "-C", str(C), "test", "CC=clang", f"BUILD={tmp_path}"]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
