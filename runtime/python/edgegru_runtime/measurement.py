"""How long a step takes and how much memory the process has: ``bench``.

Each model is measured in a process of its own, so that memory is that of the device program with this one engine.
"""

from __future__ import annotations

import math
import os
import sys
from time import perf_counter, perf_counter_ns

from edgegru_runtime.errors import EdgegruError, EngineError
from edgegru_runtime.model import load
from edgegru_runtime.plain_data import dataclass

TYPE_CHECKING = False  # see plain_data.py
if TYPE_CHECKING:
    from typing import Any

WARM_UP_STEPS = 100
_SAMPLES = 256  # made once and used in turn


@dataclass(frozen=True)
class Measurement:
    """One model on its engine. ``load_ms``: from the file to the first result, imports included.

    ``memory_bytes``: resident memory of the process after the last step, None where the system does not tell.
    """

    file: str
    engine: str
    scheme: str
    steps: int
    median_us: float
    p99_us: float
    steps_per_second: float
    load_ms: float
    memory_bytes: int | None

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain data for JSON."""
        return dict(vars(self))


def measure(path: str, engine: str | None = None, steps: int = 2000) -> Measurement:
    """Load and step a model in this process; raises what ``load`` and ``Stream.step`` raise."""
    started = perf_counter()
    model = load(path, engine)
    stream = model.stream()
    samples = [[2 * math.sin(t * (1 + channel)) for channel in range(model.input_size)] for t in range(_SAMPLES)]
    stream.step(samples[0])
    load_ms = (perf_counter() - started) * 1e3
    for index in range(WARM_UP_STEPS):
        stream.step(samples[index % _SAMPLES])
    times = []
    for index in range(steps):
        sample = samples[index % _SAMPLES]
        before = perf_counter_ns()
        stream.step(sample)
        times.append(perf_counter_ns() - before)
    times.sort()
    return Measurement(
        file=path,
        engine=model.engine_name,
        scheme=model.config.scheme,
        steps=steps,
        median_us=times[steps // 2] / 1e3,
        p99_us=times[min(steps - 1, steps * 99 // 100)] / 1e3,
        steps_per_second=steps / (sum(times) / 1e9),
        load_ms=load_ms,
        memory_bytes=resident_memory(),
    )


def bench(paths: list[str], engine: str | None = None, steps: int = 2000) -> list[Measurement]:
    """Measure each model in a new process. Raises what ``measure`` raises."""
    for path in paths:  # what is wrong with a file is said here, by its own name
        load(path, engine)
    return [_measured_elsewhere(path, engine, steps) for path in paths]


def resident_memory() -> int | None:
    """VmRSS of this process in bytes, None where there is no /proc."""
    try:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS:"))
    except (OSError, StopIteration):
        return None


def _measured_elsewhere(path: str, engine: str | None, steps: int) -> Measurement:
    import json  # not in the process that is measured, nor is what comes with subprocess
    import subprocess

    package_root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    paths = [package_root, os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    command = [sys.executable, "-m", "edgegru_runtime.measurement", path, engine or "", str(steps)]
    finished = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if finished.returncode != 0:
        said = finished.stderr.strip().splitlines() or [f"the measuring process ended with {finished.returncode}"]
        raise EngineError(said[-1])
    return Measurement(**json.loads(finished.stdout))


def bench_text(measurements: list[Measurement]) -> str:
    """The measurements as a table."""
    rows = [("file", "engine", "scheme", "median µs", "p99 µs", "steps/s", "load ms", "memory MB")]
    for m in measurements:
        memory = "-" if m.memory_bytes is None else f"{m.memory_bytes / 1e6:.1f}"
        numbers = (f"{m.median_us:.1f}", f"{m.p99_us:.1f}", f"{m.steps_per_second:.0f}", f"{m.load_ms:.1f}", memory)
        rows.append((m.file, m.engine, m.scheme, *numbers))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    names, lines = 3, []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row[:names], widths, strict=False)]
        cells += [cell.rjust(width) for cell, width in zip(row[names:], widths[names:], strict=True)]
        lines.append("  ".join(cells))
    return "\n".join(lines)


def _main() -> int:
    path, engine, steps = sys.argv[1:]
    try:
        measured = measure(path, engine or None, int(steps))
        import json

        print(json.dumps(measured.to_dict()))
    except EdgegruError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_main())
