"""Hours for a run without a download: three temperatures that follow the day, the week and the weather."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

HOURS = 14_400


def write_hours(file: Path) -> Path:
    """A file in the layout of ETTh1.csv: a date, then a column a channel."""
    file.parent.mkdir(parents=True, exist_ok=True)
    generator, t = np.random.default_rng(0), np.arange(HOURS)
    weather = np.zeros(HOURS)
    for hour in range(1, HOURS):
        weather[hour] = 0.98 * weather[hour - 1] + 0.2 * generator.standard_normal()
    columns = []
    for channel in range(3):
        day = (1 + 0.2 * channel) * np.sin(2 * np.pi * (t / 24 + 0.1 * channel))
        columns.append(20 + 5 * day + np.sin(2 * np.pi * t / 168) + weather + 0.3 * generator.standard_normal(HOURS))
    dates = np.datetime64("2024-01-01T00", "h") + t
    with open(file, "w", newline="") as target:
        writer = csv.writer(target)
        writer.writerow(["date", "oil", "winding", "load"])
        writer.writerows(zip(dates.astype(str), *(column.round(3).tolist() for column in columns), strict=True))
    return file
