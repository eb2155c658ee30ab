"""Three made-up machines in the benchmark's layout, so that the example runs without it."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

ROWS, DAY = 4000, 96  # a row every 15 minutes
START = datetime(2024, 1, 1)


def write_machines(folder: Path) -> Path:
    """A pump that stops, an oven that cools down, a valve with a spike: all have a day's rhythm. Returns ``folder``."""
    rng = np.random.default_rng(0)
    rhythm = np.sin(2 * np.pi * np.arange(ROWS) / DAY)
    pump, oven, valve = (level + size * rhythm + rng.normal(0, size / 10, ROWS) for level, size in LEVELS)
    pump[2500:2540] = pump[2499]
    oven[3000:] -= np.minimum(np.arange(ROWS - 3000) / 10, 20)
    valve[1800] += 8
    windows = {}
    for name, values, row in (("pump", pump, 2500), ("oven", oven, 3000), ("valve", valve, 1800)):
        times = [str(START + timedelta(minutes=15 * index)) for index in range(ROWS)]
        path = folder / "data" / "machines" / f"{name}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = (f"{when},{value:.3f}\n" for when, value in zip(times, values, strict=True))
        path.write_text("timestamp,value\n" + "".join(lines), encoding="utf-8")
        windows[f"machines/{name}.csv"] = [[times[row - 50], times[row + 150]]]
    (folder / "labels").mkdir(exist_ok=True)
    (folder / "labels" / "combined_windows.json").write_text(json.dumps(windows), encoding="utf-8")
    return folder


LEVELS = ((20.0, 5.0), (180.0, 8.0), (3.0, 1.0))  # level and size of the rhythm of each
