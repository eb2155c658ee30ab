"""What a frame of sound costs: docs/front-ends.md.

Nanoseconds of a step of the kernel, measured by runtime/c/bench, of models that are little more than their front end.

    python benchmarks/front_end.py             half a minute
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from edgegru_runtime.plan import make_plan
from tests.builders import random_config, random_floats, random_integers, with_log_mel

ROOT = Path(__file__).resolve().parent.parent
LIBRARY = Path(__file__).resolve().parent.parent / "runtime" / "c"
SIZES = {"8 kHz, 25 ms every 10 ms": (80, 200, 256, 20), "16 kHz, 25 ms every 10 ms": (160, 400, 512, 40)}
STEPS = 20_000


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["make", "-s", "-C", LIBRARY, "bench", f"BUILD={folder}"], check=True)
        for name, (hop, frame_length, fft_size, bands) in SIZES.items():
            config = with_log_mel(random_config(bands, (1,)), hop, frame_length, fft_size, 32768.0)
            for artifact in (random_integers(config, 0), random_floats(config, 0)):
                plan = Path(folder, "model.plan")
                plan.write_bytes(make_plan(artifact))
                command = [Path(folder, "bench"), plan, str(STEPS)]
                measured = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)["kernels"]
                kernels = {kernel: f"{times['step_ns']:.0f}" for kernel, times in measured.items()}
                print(f"{name}, FFT {fft_size}, {bands} bands, {artifact.config.scheme}: {kernels} ns")


if __name__ == "__main__":
    main()
