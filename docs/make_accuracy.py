"""Write docs/accuracy.md: what integers cost, from the numbers in benchmarks/results.

    python docs/make_accuracy.py
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
RESULTS = DOCS.parent / "benchmarks" / "results"

INTRODUCTION = """\
# What integers cost

Every number on this page is measured by the script that is named beside it, and every run is in
[`benchmarks/results/`](../benchmarks/results). Written by `python docs/make_accuracy.py`.

## In models trained here

Mean ± standard deviation over seeds, streamed step by step over recordings that trained nothing; calibrated on the
training recordings. JapaneseVowels and har_watch_phone: `benchmarks/accuracy.py` and `benchmarks/qat.py`; ETTh1, 24
hours ahead: `benchmarks/forecasting.py`; piano rolls: `benchmarks/polyphonic_music.py`. Subjects s13–s16 of
har_watch_phone are those that the recipe was chosen on.

"""

FOREIGN = """
## In models trained elsewhere

Signal-to-noise ratio in dB of every output against the float model's, on a part of the signal that calibration has not
seen (`benchmarks/foreign_models.py`): amplifiers of 4 to 64 units with strong feedback, and denoisers with relu and
linear candidates and reset before the product, trained without EdgeGRU. "Rounded": float arithmetic, every weight at
its nearest int8 level. "int8 weights": the same with the levels that quantization chooses for `static-w8a16`.

"""


def page() -> str:
    """The whole page."""
    return INTRODUCTION + "\n".join(_tasks()) + "\n" + FOREIGN + "\n".join(_foreign()) + "\n"


def _tasks() -> Iterator[str]:
    yield "| data | metric | seeds | float32 | `static-w8a8` | `static-w8a8`, trained in it | bytes |"
    yield "|---|---|---|---|---|---|---|"
    for name in ("japanese_vowels", "har_watch_phone"):
        results, aware = _read(name), _read(f"qat_{name}")
        for metric in ("accuracy", "macro_f1"):
            qat = [run[f"qat_{metric}"] for run in aware["runs"]]
            yield _row(name, metric, results, f"float_{metric}", f"int8_{metric}", _mean_and_deviation(qat), "int8")
    results = _read("forecasting")
    for metric in ("mse", "mae"):
        qat = _shown(results["summary"][f"qat_{metric}"])
        yield _row("ETTh1", metric, results, f"float_{metric}", f"static-w8a8_{metric}", qat, "static-w8a8")
    for name in ("JSB_Chorales", "Nottingham"):
        results = _read("polyphonic_music")[name]
        yield _row(name, "nll", results, "float_test_nll", "int8_test_nll", "–", "int8")


def _row(data: str, metric: str, results: Any, real: str, integer: str, qat: str, size: str) -> str:
    summary = results["summary"]
    sizes = f"{summary['float_bytes']['mean']:,.0f} → {summary[f'{size}_bytes']['mean']:,.0f}"
    cells = [data, metric, str(len(results["runs"])), _shown(summary[real]), _shown(summary[integer]), qat, sizes]
    return f"| {' | '.join(cells)} |"


def _foreign() -> Iterator[str]:
    yield "| model | output | rounded | int8 weights | `static-w8a16` | `static-w8a8` |"
    yield "|---|---|---|---|---|---|"
    for row in _read("foreign_models")["rows"]:
        ratios = [f"{row[name]:.1f}" for name in ("rounded", "weights", "static-w8a16", "static-w8a8")]
        yield f"| {row['model']} | {row['output']} | {' | '.join(ratios)} |"


def _read(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def _shown(value: dict[str, float]) -> str:
    return f"{value['mean']:.4f} ± {value['sd']:.4f}"


def _mean_and_deviation(values: list[float]) -> str:
    mean = sum(values) / len(values)
    deviation = (sum((value - mean) ** 2 for value in values) / (len(values) - 1)) ** 0.5
    return _shown({"mean": mean, "sd": deviation})


if __name__ == "__main__":
    (DOCS / "accuracy.md").write_text(page(), encoding="utf-8")
