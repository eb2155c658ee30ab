"""On the host: ``python attention_map.py FOLDER "SENTENCE" map.png`` draws which tokens were read for which."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from edgegru_runtime import Model
from edgegru_runtime.artifact import read_artifact
from edgegru_runtime.integer_reference import IntegerReference
from edgegru_runtime.reference import Reference
from edgegru_runtime.translation import Translator


def shares(folder: Path, text: str) -> tuple[list[str], list[str], NDArray[np.float64]]:
    """Tokens read (S,), tokens said with the end (T,), how much of each was taken (T, S), in the model's arithmetic."""
    encoder, decoder = (read_artifact(folder / f"{name}.safetensors") for name in ("encoder", "decoder"))
    translator, seen = Translator(Model(encoder), Model(decoder)), dict[str, NDArray[np.float64]]()
    said = translator.translate(text).tokens
    model = Model(decoder, "reference")
    model.engine = (IntegerReference if decoder.config.static else Reference)(decoder, trace=seen.__setitem__)
    read, stream, reader = translator.source.encode(text), model.stream(), translator.encoder.stream()
    for token in read:
        stream.remember(*reader.step([token]))
    end = translator.target.config.end
    assert end is not None
    rows = []
    for token in (end, *said):
        stream.step([token])
        rows.append(seen["attention.shares"])
    names = [[tokenizer.config.tokens[number].strip("▁") or "▁" for number in numbers] for tokenizer, numbers in (
        (translator.source, read), (translator.target, (*said, end)),
    )]  # fmt: skip
    return names[0], names[1], np.array(rows)


def draw(folder: Path, text: str, path: Path) -> None:
    """Draw the shares of a sentence as a PNG."""
    read, said, taken = shares(folder, text)
    figure = Figure(figsize=(1.5 + 0.38 * len(read), 1.5 + 0.3 * len(said)), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(taken, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    axes.set_xticks(range(len(read)), read, rotation=60, ha="left", rotation_mode="anchor")
    axes.set_yticks(range(len(said)), said)
    axes.xaxis.tick_top()
    figure.colorbar(image, label="share")
    FigureCanvasAgg(figure).print_png(str(path), metadata={"Software": None})


if __name__ == "__main__":
    draw(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
