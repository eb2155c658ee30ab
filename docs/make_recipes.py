"""Print the table of recipes in README.md from the numbers in benchmarks/results.

    python docs/make_recipes.py
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent.parent / "benchmarks" / "results"
SAYS = {
    "har_watch_phone": "what the wearer of a watch is doing, 25 times a second",
    "spoken_digits": "which digit was heard, and when: sound in, features made inside the model",
    "forecasting": "the coming hours, redrawn at every hour",
    "anomalies": "alarms, with their time, learned from normal values alone",
    "text_predictor": "the next word, while one types; a text that goes on",
    "sentiment": "whether a sentence praises or blames, after every word: text in, the tokenizer inside the model",
    "intent_slots": "what a spoken command wants, and which words say what: a GRU with two heads",
    "translator": "German captions in English, with attention and a beam, a sentence at a time",
    "polyphonic_music": "which keys sound next",
    "japanese_vowels": "who is speaking: `make demo`",
}


def table() -> str:
    """A row for each recipe: what it reaches in int8 on what it was not trained on, and what a simple method does."""
    rows = ["| recipe | what the device says | int8 | beside |", "|---|---|---|---|"]
    for name, (reached, beside) in reached_and_beside().items():
        rows.append(f"| [`{name}`](examples/{name}) | {SAYS[name]} | {reached} | {beside} |")
    return "\n".join(rows)


def reached_and_beside() -> dict[str, tuple[str, str]]:
    """Of each recipe, in the order of the table."""
    activity, digits, sentiment = (read(name) for name in ("activity", "spoken_digits", "sentiment"))
    text, translator, commands = read("text_predictor"), read("translator"), read("intent_slots")
    simple = commands["baseline"]
    understood = {name: shown([run["int8"][name] for run in commands["runs"]], 3) for name in ("intent", "slots")}
    hours, alarms = read("forecasting_recipe")["24"], read("anomalies")
    chorales = read("polyphonic_music")["JSB_Chorales"]["summary"]["int8_test_nll"]
    vowels = read("japanese_vowels")["summary"]["int8_accuracy"]
    ridges = [hours["baselines"][f"ridge, one {which}"]["test_mse"] for which in ("for all channels", "a channel")]
    seeds = sorted({run["seed"] for run in digits["runs"]})
    digits_of = [statistics.mean(run["int8"] for run in digits["runs"] if run["seed"] == seed) for seed in seeds]
    alarms_of = [run["labels"]["standard"] for run in alarms["GRU, int8"]]
    gaussian = alarms["windowed Gaussian"][0]["labels"]["standard"]
    return {
        "har_watch_phone": (
            f"accuracy {shown([run['int8']['accuracy'] for run in activity['runs']], 3)}",
            f"{activity['baseline']['accuracy']:.3f}, statistics and logistic regression",
        ),
        "spoken_digits": (
            f"{shown(digits_of, 3)} of digits of a new speaker",
            f"{statistics.mean(run['baseline'] for run in digits['runs']):.3f}, MFCC and logistic regression",
        ),
        "forecasting": (
            f"MSE {shown([run['int8']['mse'] for run in hours['runs']], 4)}, 24 hours ahead",
            f"{ridges[0]:.4f}, ridge on 96 hours; {ridges[1]:.4f}, one a channel",
        ),
        "anomalies": (f"NAB score {shown(alarms_of, 1)}", f"{gaussian:.1f}, windowed Gaussian"),
        "text_predictor": (
            f"{shown([run['int8'] for run in text['characters']['runs']], 3)} bits a character",
            f"{text['characters']['baselines']['5']:.3f}, n-grams with five characters of history",
        ),
        "sentiment": (
            f"accuracy {shown([run['int8'] for run in sentiment['runs']], 3)}",
            f"{sentiment['baseline']:.3f}, naive Bayes",
        ),
        "intent_slots": (
            f"intent {understood['intent']}, slot F1 {understood['slots']}",
            f"{simple['intent']:.3f}, TF-IDF and logistic regression; {simple['slots']:.3f}, a table of word pairs",
        ),
        "translator": (
            f"BLEU {shown([run['int8']['bleu'] for run in translator['runs']], 1)}",
            f"{translator['baseline']['bleu']:.1f}, the nearest sentence's translation",
        ),
        "polyphonic_music": (
            f"{chorales['mean']:.2f} ± {chorales['sd']:.2f} nats a frame of a chorale",
            "8.54, published for a GRU of this size (Chung et al. 2014)",
        ),
        "japanese_vowels": (
            f"accuracy {vowels['mean']:.3f} ± {vowels['sd']:.3f}",
            "–",
        ),
    }


def shown(values: Sequence[float], digits: int) -> str:
    """Mean ± standard deviation over seeds."""
    return f"{statistics.mean(values):.{digits}f} ± {statistics.stdev(values):.{digits}f}"


def read(name: str) -> Any:
    """What a benchmark has written."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


if __name__ == "__main__":
    print(table())
