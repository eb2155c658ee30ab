"""On the watch: ``python watch.py MODEL [FILE.csv]`` prints every change of activity, with its time.

The file, or standard input, has columns of the model's channels and ``timestamp`` in ms; samples are interpolated to
the model's rate.
"""

import csv
import fileinput
import sys

from edgegru_runtime import load
from edgegru_runtime.decisions import Decisions

model = load(sys.argv[1])
stream, sensor = model.stream(), model.config.input
decisions = Decisions(model.config, model.config.decision)
start = before = None
due, block, step = 0.0, [], 0
with fileinput.input(sys.argv[2:], encoding="utf-8") as lines:
    for row in csv.DictReader(lines):
        now, x = float(row["timestamp"]), [float(row[channel]) for channel in sensor.channels]
        if before is None:
            start, before = now, (now, x)
        while start + due <= now:
            share = (start + due - before[0]) / max(now - before[0], 1.0)
            block += [a + share * (b - a) for a, b in zip(before[1], x, strict=True)]
            if len(block) == sensor.step_size:
                for event in decisions.step(step, block, None, (stream.step(block),)):
                    if event.on:
                        print(f"{due / 1000:8.2f} s  {event.label}", flush=True)
                step, block = step + 1, []
            due += 1000 / sensor.rate
        before = now, x
