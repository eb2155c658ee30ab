"""A step from Python into a buffer allocates nothing, counted in the allocator of the process."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgegru_export.saving import save_artifact
from edgegru_runtime.artifact import Artifact
from tests.builders import random_artifact, random_integer_artifact

# glibc's own names of the functions that it lets a program replace
COUNTER = """
#include <stddef.h>
extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
unsigned long allocations;
void *malloc(size_t size) { allocations++; return __libc_malloc(size); }
void *calloc(size_t count, size_t size) { allocations++; return __libc_calloc(count, size); }
void *realloc(void *old, size_t size) { allocations++; return __libc_realloc(old, size); }
"""
STEPS = """
import ctypes, sys
from array import array
from itertools import repeat
from edgegru_runtime import load
counter = ctypes.c_ulong.in_dll(ctypes.CDLL(None), "allocations")
stream, out = load(sys.argv[1]).stream(), array("f", bytes(16))
values = [0.5, -1.0, 2.0]
samples = (array("f", values), memoryview(array("f", values)), array("d", values), array("h", [1, 2, 3]), values)
for sample in samples:
    counts = []
    for steps in map(repeat, [None] * 4, (10, 10, 10, 1010)):  # the first ones warm up
        before = counter.value
        for _ in steps:
            stream.step(sample, out)
        counts.append(counter.value - before)
    print(counts[-1] - counts[-2])
"""


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="counts in glibc's allocator")
@pytest.mark.parametrize("artifact", [random_artifact(), random_integer_artifact()], ids=["float", "integer"])
def test_a_step_into_a_buffer_allocates_nothing(artifact: Artifact, tmp_path: Path) -> None:
    save_artifact(artifact, tmp_path / "model.safetensors")
    (tmp_path / "counter.c").write_text(COUNTER)
    command = ["cc", "-shared", "-fPIC", "-O1", "-fno-builtin", "counter.c", "-o", "counter.so"]
    subprocess.run(command, cwd=tmp_path, check=True)
    environment = {**os.environ, "LD_PRELOAD": str(tmp_path / "counter.so"), "PYTHONMALLOC": "malloc"}
    command = [sys.executable, "-c", STEPS, str(tmp_path / "model.safetensors")]
    counted = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split()
    assert [int(count) for count in counted] == [0] * 5
