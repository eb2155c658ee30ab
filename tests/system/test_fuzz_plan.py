"""A short run of the fuzzer over plans; runtime/c/README.md has the long one."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.fuzz import make_corpus

C = Path(__file__).resolve().parents[2] / "runtime" / "c"
SECONDS = 20


@pytest.mark.skipif(shutil.which("clang") is None, reason="Debian package clang")
def test_no_plan_harms_the_kernel(tmp_path: Path) -> None:
    subprocess.run(["make", "-s", "-C", str(C), "fuzz", f"BUILD={tmp_path}"], check=True)
    make_corpus.main(tmp_path / "corpus")
    (tmp_path / "found").mkdir()
    command = [str(tmp_path / "fuzz_plan"), f"-max_total_time={SECONDS}", "-max_len=20000", "-seed=1"]
    finished = subprocess.run(
        [*command, f"-artifact_prefix={tmp_path}/", str(tmp_path / "found"), str(tmp_path / "corpus")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr[-3000:]
