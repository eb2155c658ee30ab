"""Write plans of small models of every kind into a folder, for the fuzzer to begin with.

    python tests/fuzz/make_corpus.py FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from edgegru_runtime.errors import ArtifactError
from edgegru_runtime.model_config import STATIC_SCHEMES
from edgegru_runtime.plan import make_plan
from tests.builders import drawn_config, drawn_keep, quantized, random_floats, random_integers

SIZES = (1, 2, 3, 5)
MODELS = 60


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(MODELS):
        rng = np.random.default_rng(seed)
        config = drawn_config(rng, SIZES)
        scheme = ("float32", "dynamic-w8", *STATIC_SCHEMES, *STATIC_SCHEMES)[seed % 6]
        artifact = random_floats(config, seed)
        if scheme == "dynamic-w8":
            artifact = quantized(artifact, scheme)
        elif scheme != "float32":
            artifact = random_integers(config, seed, scheme, drawn_keep(rng, config, scheme), 4)
        try:
            (folder / f"{seed:02}.plan").write_bytes(make_plan(artifact))
        except ArtifactError:  # its scales leave the arithmetic's range
            continue


if __name__ == "__main__":
    main(Path(sys.argv[1]))
