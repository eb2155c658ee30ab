"""A reader of Prometheus' text format 0.0.4, written from its specification."""

from __future__ import annotations

import math
import re

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"'
SAMPLE = re.compile(rf"({NAME})(?:\{{((?:{LABEL},?)*)\}})?[ \t]+(\S+)")
SUFFIXES = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("",), "gauge": ("",)}

Labels = frozenset[tuple[str, str]]


def read_metrics(text: str) -> dict[tuple[str, Labels], float]:
    """Every sample by name and labels; asserts what the format asks for."""
    assert text.endswith("\n")
    samples: dict[tuple[str, Labels], float] = {}
    types: dict[str, str] = {}
    described: set[str] = set()
    family = ""
    for line in text.removesuffix("\n").split("\n"):
        if line.startswith("# HELP "):
            _, _, name, what = line.split(" ", 3)
            assert name not in described, f"{name} is described twice"
            assert what and not re.search(r"\\(?![\\n])", what)
            described.add(name)
            continue
        if line.startswith("# TYPE "):
            _, _, family, kind = line.split(" ")
            assert family not in types, f"{family} has two groups"
            assert kind in SUFFIXES and re.fullmatch(NAME, family)
            assert kind != "counter" or family.endswith("_total")
            types[family] = kind
            continue
        found = SAMPLE.fullmatch(line)
        assert found is not None, line
        name = found[1]
        assert name.startswith(family) and name.removeprefix(family) in SUFFIXES[types[family]], line
        pairs = re.findall(LABEL, found[2] or "")
        assert len({label for label, _ in pairs}) == len(pairs)
        labels = frozenset((label, _unescaped(value)) for label, value in pairs)
        assert (name, labels) not in samples, f"{line} is said twice"
        samples[name, labels] = float(found[5].replace("Inf", "inf"))
    for name, kind in types.items():
        if kind == "histogram":
            _check_histogram(name, samples)
    assert described == set(types)
    return samples


def _unescaped(value: str) -> str:
    return re.sub(r"\\(.)", lambda found: "\n" if found[1] == "n" else found[1], value)


def _check_histogram(name: str, samples: dict[tuple[str, Labels], float]) -> None:
    groups: dict[Labels, list[tuple[float, float]]] = {}
    for (sample, labels), value in samples.items():
        if sample == f"{name}_bucket":
            (bound,) = [float(text.replace("Inf", "inf")) for label, text in labels if label == "le"]
            groups.setdefault(frozenset(pair for pair in labels if pair[0] != "le"), []).append((bound, value))
    for labels, buckets in groups.items():
        assert buckets == sorted(buckets) and [count for _, count in buckets] == sorted(count for _, count in buckets)
        assert buckets[-1] == (math.inf, samples[f"{name}_count", labels])
        assert (f"{name}_sum", labels) in samples
