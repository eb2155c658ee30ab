"""The C library by itself: its own tests, its tables, its header in other languages."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from edgegru_runtime import fixed_point as fx

C = Path(__file__).resolve().parents[2] / "runtime" / "c"


@pytest.mark.skipif(shutil.which("make") is None or shutil.which("cc") is None, reason="make or cc")
def test_its_own_tests_pass(tmp_path: Path) -> None:
    command = ["make", "-s", "-C", str(C), "test", f"BUILD={tmp_path}"]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.endswith(" 0 failures\n")


def test_its_tables_are_those_of_the_reference() -> None:
    source = (C / "src" / "tables.c").read_text()
    for name, numbers in re.findall(r"egru_(\w+)\[\d+\] = \{([^}]*)\}", source):
        found = tuple(int(number) for number in numbers.replace("\n", " ").split(",") if number.strip())
        assert found == getattr(fx, name.upper())


@pytest.mark.parametrize("compiler", [["cc", "-std=c99", "-xc"], ["c++", "-std=c++17", "-xc++"]], ids=["C", "C++"])
def test_its_header_compiles_alone(compiler: list[str]) -> None:
    if shutil.which(compiler[0]) is None:
        pytest.skip(compiler[0])
    warnings = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror", "-fsyntax-only"]
    source = '#include "egru.h"\nint main(void) { return (int)egru_kernel_runs("portable") - 1; }\n'
    subprocess.run([*compiler, *warnings, f"-I{C / 'include'}", "-"], input=source.encode(), check=True)
