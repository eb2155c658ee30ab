"""A short run of the fuzzers over plans and saved states; runtime/c/README.md has the long one."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.fuzz import make_corpus

C = Path(__file__).resolve().parents[2] / "runtime" / "c"
SECONDS = 20


def has_fuzzer() -> bool:
    """Whether there is clang with the libraries that a fuzzer is linked with, which it only recommends."""
    if shutil.which("clang") is None:
        return False
    command = ["clang", "--rtlib=compiler-rt", "-print-libgcc-file-name"]
    library = Path(subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip())
    return any(library.parent.glob("libclang_rt.fuzzer*"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuzz")
    subprocess.run(["make", "-s", "-C", str(C), "fuzz", f"BUILD={folder}"], check=True)
    make_corpus.main(folder / "corpus")
    return folder


@pytest.mark.skipif(not has_fuzzer(), reason="Debian packages clang and libclang-rt-dev")
@pytest.mark.parametrize("what", ["plan", "state"])
def test_nothing_harms_the_kernel(what: str, folder: Path) -> None:
    found = folder / f"found_{what}"
    found.mkdir()
    options = [f"-max_total_time={SECONDS}", "-max_len=20000", "-seed=1", f"-artifact_prefix={folder}/"]
    command = [str(folder / f"fuzz_{what}"), *options, str(found), str(folder / "corpus" / f"{what}s")]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr[-3000:]
