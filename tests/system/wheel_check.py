"""Streams models with an unpacked wheel, alone and under an emulator: wheel_check.py WHEEL MODELS RESULTS.

For every instruction set that runs here, writes what MODELS/NAME.x gives, the state after it, and what the second half
gives after MODELS/NAME.half is restored. Prints what ran. Standard library only.
"""

from __future__ import annotations

import json
import platform
import sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])

from edgegru_runtime import Model, _kernel, load, read_artifact
from edgegru_runtime.kernel_engine import KernelEngine

STREAMS = 5


def check_together(model: Model, samples: memoryview[float], alone: memoryview[float]) -> None:
    """Streams that step together give what one gives alone."""
    streams = model.streams(STREAMS)
    for sample, expected in zip(samples.tolist(), alone.tolist(), strict=True):
        assert streams.step([sample] * STREAMS).tolist() == [expected] * STREAMS


def main(models: Path, results: Path) -> None:
    for file in models.glob("*.safetensors"):
        artifact, half = read_artifact(file), file.with_suffix(".half").read_bytes()
        samples = memoryview(file.with_suffix(".x").read_bytes()).cast("f")
        samples = samples.cast("B").cast("f", (len(samples) // artifact.config.input.size, artifact.config.input.size))
        for kernel in _kernel.kernels():
            stream = KernelEngine(artifact, kernel).stream()
            result = results / f"{file.stem} {kernel}"
            result.with_suffix(".y").write_bytes(stream.run(samples))
            result.with_suffix(".state").write_bytes(stream.state)
            stream.state = half
            result.with_suffix(".rest").write_bytes(stream.run(samples[len(samples) // 2 :]))
        model = load(file)
        assert model.engine_name == "kernel"
        check_together(model, samples, model.stream().run(samples))
    seen = {"machine": platform.machine(), "kernels": _kernel.kernels(), "numpy": "numpy" in sys.modules}
    print(json.dumps(seen))


if __name__ == "__main__":
    main(Path(sys.argv[2]), Path(sys.argv[3]))
