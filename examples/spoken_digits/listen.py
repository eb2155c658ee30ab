"""On the device: ``python listen.py MODEL sound.wav``, or from a microphone, with ``-`` for the sound:

    arecord -t wav -f S16_LE -r 8000 | python listen.py MODEL -

Prints every digit that is heard, and when.
"""

import sys
import wave
from array import array

from edgegru_runtime import load
from edgegru_runtime.decisions import Decisions

model = load(sys.argv[1])
stream, hop = model.stream(), model.config.input.samples_per_step
decisions = Decisions(model.config, model.config.decision)
with wave.open(sys.stdin.buffer if sys.argv[2] == "-" else sys.argv[2], "rb") as sound:
    step = 0
    while len(block := array("h", sound.readframes(hop))) == hop:
        for event in decisions.step(step, block, None, (stream.step(block),)):
            if event.on:
                print(f"{(step + 1) * hop / sound.getframerate():7.2f} s  {event.label}", flush=True)
        step += 1
