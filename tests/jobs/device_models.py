"""Write a float and an integer model, samples, and the outputs that the device must give, into a folder."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from edgegru_export.saving import save_artifact
from edgegru_runtime import load
from tests.builders import random_artifact, random_integer_artifact

STEPS = 50


def main(folder: Path) -> None:
    samples = np.random.default_rng(0).normal(0, 4, (STEPS, 3)).tolist()
    expected = {}
    for name, artifact in (("float32", random_artifact(1)), ("static-w8a8", random_integer_artifact(1))):
        path = folder / f"{name}.safetensors"
        save_artifact(artifact, path)
        stream = load(path, engine="reference").stream()
        expected[name] = [stream.step(sample) for sample in samples]
    (folder / "expected.json").write_text(json.dumps({"samples": samples, "outputs": expected}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
