"""On the device: ``python detect.py MODEL [FILE.csv]`` prints every alarm and its end, with time and value.

A row of the file, or of standard input, is ``timestamp,value``.
"""

import csv
import fileinput
import sys

from edgegru_runtime import load
from edgegru_runtime.decisions import Decisions

model = load(sys.argv[1])
stream = model.stream()
decisions = Decisions(model.config, model.config.decision)
with fileinput.input(sys.argv[2:], encoding="utf-8") as lines:
    rows = csv.reader(lines)
    next(rows)  # the names of the columns
    for index, (time, value) in enumerate(rows):
        sample = [float(value)]
        for event in decisions.step(index, sample, None, (stream.step(sample),)):
            print(time, value, f"alarm: {event.p:.2f} times the recent peak" if event.on else "over", flush=True)
