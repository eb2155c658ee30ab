"""On the device: ``python compose.py MODEL BEGINNING.mid -o WHOLE.mid`` goes on with a piece.

The first frames of the beginning (``--prime``) are played to the model, then every frame is drawn: each key by its own
probability, which the model gives, and the frame that was drawn is the model's next input. The same seed gives the same
piece on every machine. Needs edgegru-runtime and midi.py.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import midi

from edgegru_runtime import load
from edgegru_runtime.errors import EdgegruError


def continued(
    stream, keys: Sequence[int], beginning: Sequence[set[int]], seed: int, least: float
) -> Iterator[set[int]]:
    """Frames that follow a beginning, without end. ``keys``: the MIDI numbers of the model's inputs and outputs.

    A key that is less likely than ``least`` does not sound. Probabilities are taken in units of 2^-16, which those of
    an integer head are.
    """
    numbers = random.Random(seed)
    probabilities = [0.0] * len(keys)
    for frame in beginning:
        probabilities = stream.step([float(key in frame) for key in keys])
    while True:
        drawn = [numbers.getrandbits(16) < round(2**16 * p) and p >= least for p in probabilities]
        yield {key for key, sounds in zip(keys, drawn, strict=True) if sounds}
        probabilities = stream.step([float(sounds) for sounds in drawn])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="an artifact, or an exported .onnx or .tflite file")
    parser.add_argument("beginning", type=Path, help="a MIDI file")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the MIDI file to write")
    parser.add_argument("--prime", type=int, default=16, metavar="N", help="frames of the beginning (default: 16)")
    parser.add_argument("--frames", type=int, default=48, metavar="N", help="to add (default: 48)")
    parser.add_argument("--quarters", type=float, default=1.0, help="quarter notes that a frame lasts (default: 1)")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn (default: 0)")
    parser.add_argument("--least", type=float, default=0.05, help="probability of a key that sounds (default: 0.05)")
    parser.add_argument("--engine", help="which computes the model (default: the one that fits the file)")
    options = parser.parse_args()
    model = load(options.model, options.engine)
    channels, output = model.config.input.channels, model.config.outputs[0]
    if output.labels != channels or not all(name.removeprefix("note").isdigit() for name in channels):
        raise EdgegruError(f"{options.model} does not say which keys sound next, expected inputs and labels note21, …")
    keys = [int(name.removeprefix("note")) for name in channels]
    beginning = midi.read(options.beginning, options.quarters)[: options.prime]
    if not beginning:
        raise EdgegruError(f"{options.beginning} has no frames, expected the beginning of a piece")
    following = continued(model.stream(), keys, beginning, options.seed, options.least)
    frames = [*beginning, *(next(following) for _ in range(options.frames))]
    midi.write(options.output, frames, options.quarters)
    print(f"{options.output}: {len(beginning)} frames as they were, {options.frames} that follow")


if __name__ == "__main__":
    try:
        main()
    except (EdgegruError, OSError, midi.MidiError) as error:
        sys.exit(f"error: {error}")
