"""On the device: ``python forecast.py MODEL < hours.csv`` redraws the coming hours at every hour.

A line of standard input has a number for each channel, as the model names them.
"""

import sys

from edgegru_runtime import load

model = load(sys.argv[1])
stream, output = model.stream(), model.config.outputs[0]
channels = len(output.labels) // output.horizon
BARS = "▁▂▃▄▅▆▇█"
for line in sys.stdin:
    values = stream.step([float(cell) for cell in line.split(",")])
    first = values[::channels]  # of the first channel, hour after hour
    low, span = min(first), max(max(first) - min(first), 1e-9)
    curve = "".join(BARS[int(7.99 * (value - low) / span)] for value in first)
    print(f"{output.labels[0].split('+')[0]} {low:8.3f} … {low + span:8.3f}  {curve}", flush=True)
