"""From recordings of a smartwatch to models that stream on a device: ``python run.py --data DIR [--test DIR]``.

Trains by ``config.toml``, quantizes to int8, exports ONNX and TFLite in both precisions, and, where ``--test`` names a
folder of the same layout with other subjects, streams it through every file.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import edgegru
from edgegru_runtime.errors import EdgegruError

CONFIG = Path(__file__).resolve().parent / "config.toml"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of recordings to train on")
    parser.add_argument("--test", type=Path, help="folder of recordings of other subjects, to score")
    parser.add_argument("--seed", type=int, default=0, help="of the training (default: 0)")
    parser.add_argument("-o", "--output", type=Path, default=Path("demo-output/har_watch_phone"), help="folder")
    options = parser.parse_args(arguments)
    float_model = edgegru.train(CONFIG, data=options.data, seed=options.seed, output=options.output)
    int8_model = options.output / "int8.safetensors"
    edgegru.quantize(float_model, options.data, int8_model, force=True)
    files = []
    for precision, model in (("float32", float_model), ("int8", int8_model)):
        files.append(model)
        for extension in ("onnx", "tflite"):
            files.append(options.output / f"{precision}.{extension}")
            print(edgegru.export(model, files[-1], format=extension, force=True), file=sys.stderr)
    for file in files:
        line = f"{file}  {file.stat().st_size} bytes"
        if options.test is not None:
            scores = edgegru.evaluate(file, options.test, part="all").metrics
            line += f"  accuracy {scores['accuracy']:.4f}  macro-F1 {scores['macro_f1']:.4f}"
        print(line, flush=True)


if __name__ == "__main__":
    try:
        main()
    except EdgegruError as error:
        sys.exit(f"error: {error}")
