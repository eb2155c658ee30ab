"""Recordings written to disk for tests that need a folder of them."""

from pathlib import Path

import numpy as np

from edgegru_runtime import Model


def write_labelled_folder(folder: Path, model: Model, lengths: tuple[int, ...] = (40, 25, 31), wrong: int = 0) -> Path:
    """CSV files with a label a row, as ``model`` itself says; the first ``wrong`` of each moved on by one class."""
    folder.mkdir()
    rng = np.random.default_rng(3)
    classes = model.config.outputs[0].labels
    for index, length in enumerate(lengths):
        x = rng.normal(0, 4, (length, model.input_size)).astype(np.float32)
        said = np.asarray(model.stream().run(x)).argmax(axis=1)
        said[:wrong] = (said[:wrong] + 1) % len(classes)
        lines = [",".join([*model.config.input.channels, "label"])]
        lines += [",".join([*map(repr, row.tolist()), classes[c]]) for row, c in zip(x, said, strict=True)]
        (folder / f"r{index}.csv").write_text("\n".join(lines) + "\n")
    return folder
