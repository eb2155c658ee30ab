"""Write a folder of CSV recordings with a label per row, and a training configuration for them, into a folder.

Two channels at 20 Hz, a turning pointer with noise: once a second where the label is "slow", three times where it is
"fast". The label changes inside a recording.
"""

from __future__ import annotations

import math
import random
import sys
from pathlib import Path

RECORDINGS, STEPS, RATE = 16, 160, 20
CONFIG = """\
[data]
target = "step_label"
validation_fraction = 0.25

[model]
hidden_size = 8

[training]
epochs = 20
"""


def main(folder: Path) -> None:
    rng = random.Random(0)
    recordings = folder / "recordings"
    recordings.mkdir()
    (folder / "config.toml").write_text(CONFIG)
    for number in range(RECORDINGS):
        change = rng.randrange(STEPS // 4, 3 * STEPS // 4)
        lines = ["t,a,b,label"]
        for step in range(STEPS):
            fast = (step < change) == (number % 2 == 0)
            angle = 2 * math.pi * (3 if fast else 1) * step / RATE
            a, b = math.sin(angle) + rng.gauss(0, 0.1), math.cos(angle) + rng.gauss(0, 0.1)
            lines.append(f"{step / RATE:.3f},{a:.5f},{b:.5f},{'fast' if fast else 'slow'}")
        (recordings / f"r{number:02}.csv").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
