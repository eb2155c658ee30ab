"""The C library by itself: its own tests, its golden files and tables, its header in other languages."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from edgegru_runtime import fixed_point as fx
from edgegru_runtime.plan import make_plan
from tests.builders import random_artifact
from tests.golden import make_kernel_vectors as vectors

C = Path(__file__).resolve().parents[2] / "runtime" / "c"
needs_make = pytest.mark.skipif(
    shutil.which("make") is None or shutil.which("cc") is None, reason="needs make and a C compiler"
)


def make(target: str, build: Path, *variables: str) -> subprocess.CompletedProcess[str]:
    command = ["make", "-s", "-C", str(C), target, "CC=cc", f"BUILD={build}", *variables]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the library is built once for all tests."""
    return tmp_path_factory.mktemp("build")


@needs_make
def test_its_own_tests_pass(build: Path) -> None:
    finished = make("test", build)
    assert finished.returncode == 0, finished.stderr
    assert len(re.findall(r"\b0 failures\n", finished.stdout)) == 4


@needs_make
@pytest.mark.parametrize(
    "smaller",
    [
        ("SIMD=0", "FLOAT=0"),
        ("SIMD=0", "Q16=0"),
        ("SIMD=0", "LOG_MEL=0"),
        ("SIMD=0", "TOKENS=0"),
        ("SIMD=0", "FLOAT=0", "Q16=0", "LOG_MEL=0", "TOKENS=0"),
    ],
    ids="-".join,
)
def test_they_pass_where_parts_are_left_out(smaller: tuple[str, ...], tmp_path: Path) -> None:
    finished = make("test", tmp_path, *smaller)
    assert finished.returncode == 0, finished.stderr


@needs_make
def test_many_steps_give_the_same_bits_on_every_instruction_set(build: Path) -> None:
    finished = make("soak", build, "STEPS=5000")
    assert finished.returncode == 0, finished.stderr


@needs_make
def test_a_program_of_its_page_compiles_and_runs(build: Path, tmp_path: Path) -> None:
    programs = re.findall(r"```c\n(.*?)```", (C / "README.md").read_text(), flags=re.DOTALL)
    assert len(programs) == 1
    (tmp_path / "program.c").write_text(programs[0])
    (tmp_path / "model.plan").write_bytes(make_plan(random_artifact()))
    assert make("all", build).returncode == 0
    command = ["cc", "-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror", f"-I{C / 'include'}"]
    subprocess.run([*command, "program.c", str(build / "libegru.a"), "-o", "program"], cwd=tmp_path, check=True)
    for steps in ("2", "4"):  # the second run goes on from the saved state
        run = subprocess.run(
            ["./program", "model.plan"],
            input="1 2 3\n4 5 6\n",
            capture_output=True,
            text=True,
            cwd=tmp_path,
            check=False,
        )
        assert run.returncode == 0
        assert len(run.stdout.splitlines()) == 2
        assert run.stderr == f"{steps} steps\n"


def test_golden_files_are_those_of_the_script() -> None:
    models = vectors.models()
    assert {path.stem for path in vectors.FOLDER.iterdir()} == set(models)
    assert sum(path.stat().st_size for path in vectors.FOLDER.iterdir()) < 200_000
    for name, artifact in models.items():
        committed, made = (vectors.FOLDER / f"{name}.golden").read_bytes(), vectors.contents(artifact)
        if name.startswith("int"):
            assert committed == made
            continue
        assert committed[:8] == made[:8]  # another machine's NumPy rounds otherwise
        plan = int.from_bytes(committed[:4], "little")
        inputs, outputs = (int.from_bytes(committed[8 + place : 12 + place], "little") for place in (48, 52))
        numbers = vectors.STEPS * (inputs + outputs)
        expected, found = (np.frombuffer(data, "<f4", numbers, 8 + plan) for data in (committed, made))
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_the_bytes_of_avx2_are_those_of_the_tables() -> None:
    source = (C / "src" / "x86_avx2.c").read_text()
    found = re.search(r"tanh_bytes\[256\] = \{([^}]*)\}", source)
    assert found is not None
    numbers = [int(number) for number in found[1].replace("\n", " ").split(",") if number.strip()]
    expected = {
        "c2": [c + 198 for c in fx.TANH_C2],
        "low bytes of c1": [(c + 1) % 256 for c in fx.TANH_C1],
        "high bytes of c1": [(c + 1) // 256 for c in fx.TANH_C1],
        "low bytes of c0": [c % 256 for c in fx.TANH_C0],
        "high bytes of c0": [127 - c // 256 for c in fx.TANH_C0],
    }
    for name, values in expected.items():
        if name.startswith("high"):  # the second half is left out
            assert not any(values[32:]), name
            del values[32:]
        assert numbers[: len(values)] == values, name
        del numbers[: len(values)]
    assert not numbers


def test_its_tables_are_those_of_the_reference() -> None:
    source = (C / "src" / "tables.c").read_text()
    tables = re.findall(r"egru_(\w+)\[\d+\] = \{([^}]*)\}", source)
    assert len(tables) == 6
    for name, numbers in tables:
        found = tuple(int(number) for number in numbers.replace("\n", " ").split(",") if number.strip())
        assert found == tuple(getattr(fx, name.upper()))


@pytest.mark.parametrize("compiler", [["cc", "-std=c99", "-xc"], ["c++", "-std=c++17", "-xc++"]], ids=["C", "C++"])
def test_its_header_compiles_alone(compiler: list[str]) -> None:
    if shutil.which(compiler[0]) is None:
        pytest.skip(f"needs the compiler {compiler[0]}")
    warnings = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror", "-fsyntax-only"]
    source = '#include "egru.h"\nint main(void) { return (int)egru_kernel_runs("portable") - 1; }\n'
    subprocess.run([*compiler, *warnings, f"-I{C / 'include'}", "-"], input=source.encode(), check=True)
