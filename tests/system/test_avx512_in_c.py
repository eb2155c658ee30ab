"""The AVX-512 kernel on processors without AVX-512: its source with every intrinsic in plain C, on the golden models.

That the kernel packs, multiplies and rounds right is shown by this, not what a processor does with its instructions.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
C = HERE.parents[1] / "runtime" / "c"
GOLDEN = sorted((C / "tests" / "golden").glob("*.golden"))
FLAGS = ("-O1", "-std=gnu99", "-ffp-contract=off", "-w", f"-I{C / 'include'}", f"-I{C / 'src'}", f"-I{HERE}")
WRAP = ("-Wl,--wrap=malloc", "-Wl,--wrap=calloc", "-Wl,--wrap=realloc")
# What only compiles or runs where there is AVX-512, and what stands in its place.
REPLACED = {
    '__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")))': "",
    "return egru_x86_has(EGRU_ZMM": "return 1 || egru_x86_has(EGRU_ZMM",
    '__asm__("" : "+v"(v));': "",
    '#include "x86.h"\n': '#include "x86.h"\n#include "avx512_in_c.h"\n',
}
pytestmark = [
    pytest.mark.skipif(platform.machine() != "x86_64" or shutil.which("cc") is None, reason="cc on x86-64"),
    pytest.mark.skipif(not Path("/usr/include/simde/x86/avx512.h").exists(), reason="Debian package libsimde-dev"),
]


def compiled(source: Path, folder: Path) -> Path:
    """The object of a file."""
    found = folder / f"{source.stem}.o"
    subprocess.run(["cc", *FLAGS, "-c", str(source), "-o", str(found)], check=True)
    return found


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """All objects of the test program but the kernel's."""
    sources = [*(path for path in (C / "src").glob("*.c") if path.stem != "x86_avx512"), C / "tests" / "test.c"]
    folder = tmp_path_factory.mktemp("others")
    return [compiled(source, folder) for source in sources]


def run_golden(others: list[Path], folder: Path, replaced: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """The tests of the library, in which the kernel is made of its source with these replacements."""
    text = (C / "src" / "x86_avx512.c").read_text()
    for old, new in replaced.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    source, program = folder / "x86_avx512.c", folder / "test"
    source.write_text(text)
    objects = [str(path) for path in (*others, compiled(source, folder))]
    subprocess.run(["cc", *objects, *WRAP, "-lm", "-o", str(program)], check=True)
    return subprocess.run([str(program), *map(str, GOLDEN)], capture_output=True, text=True, check=False)


def test_the_library_passes_its_tests(others: list[Path], tmp_path: Path) -> None:
    absent = {**REPLACED, "return egru_x86_has(EGRU_ZMM": "return 0 && egru_x86_has(EGRU_ZMM"}
    both = [run_golden(others, tmp_path, replaced) for replaced in (REPLACED, absent)]
    assert [finished.returncode for finished in both] == [0, 0], both[0].stdout + both[0].stderr
    models, models_without = (int(finished.stdout.split(maxsplit=1)[0]) for finished in both)
    assert models == models_without + len(GOLDEN)  # the kernel took part


@pytest.mark.parametrize(
    ("old", "wrong"),
    [
        ("_mm512_set1_epi16(511)", "_mm512_set1_epi16(510)"),
        ("(int)0x80808080u", "(int)0x80818081u"),
        ("v_set(32768), t, _mm512_and", "v_set(0), t, _mm512_and"),
        ("(long long)1 << (shift - 1)", "(long long)1 << shift"),
        ("f_set(2.0f)", "f_set(2.1f)"),
    ],
    ids=["tanh", "operand", "gate", "unbounded", "inverse"],
)
def test_a_mistake_in_it_shows(old: str, wrong: str, others: list[Path], tmp_path: Path) -> None:
    assert run_golden(others, tmp_path, {**REPLACED, old: wrong}).returncode != 0
