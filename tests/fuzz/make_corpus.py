"""Write what the fuzzers begin with: plans of small models of every kind, and the same with a saved state behind them.

    python -m tests.fuzz.make_corpus FOLDER    # FOLDER/plans for fuzz_plan, FOLDER/states for fuzz_state
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from edgegru_export.stimulus import gaussian_input
from edgegru_runtime import Model
from edgegru_runtime.errors import ArtifactError
from edgegru_runtime.model_config import STATIC_SCHEMES
from edgegru_runtime.plan import make_plan
from tests.builders import (
    drawn_config,
    drawn_float_config,
    drawn_keep,
    quantized,
    random_config,
    random_floats,
    random_integers,
    with_log_mel,
)

SIZES = (1, 2, 3, 5)
MODELS = 60
STEPS = 5  # before a state is saved


def main(folder: Path) -> None:
    plans, states = folder / "plans", folder / "states"
    plans.mkdir(parents=True, exist_ok=True)
    states.mkdir(exist_ok=True)
    for seed in range(MODELS):
        rng = np.random.default_rng(seed)
        scheme = ("float32", "dynamic-w8", *STATIC_SCHEMES, *STATIC_SCHEMES)[seed % 6]
        config = (drawn_config if scheme in STATIC_SCHEMES else drawn_float_config)(rng, SIZES)
        if seed % 10 == 9:
            config = with_log_mel(random_config(3, (2,)), 4, 10, 16)
        artifact = random_floats(config, seed)
        if scheme == "dynamic-w8":
            artifact = quantized(artifact, scheme)
        elif scheme != "float32":
            artifact = random_integers(config, seed, scheme, drawn_keep(rng, config, scheme), 4)
        try:
            plan = make_plan(artifact)
        except ArtifactError:  # its scales leave the arithmetic's range
            continue
        (plans / f"{seed:02}.plan").write_bytes(plan)
        stream = Model(artifact, "reference").stream()
        for sample in gaussian_input(artifact, STEPS):
            stream.step(sample)
        (states / f"{seed:02}.state").write_bytes(plan + stream.state)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
