"""The page about tuning shows what its script measured, and its example runs."""

import json
import re
from pathlib import Path

from edgegru.tuning_data import TUNED_SHARE, USUAL_BACKGROUNDS
from edgegru.tuning_search import GAPS
from edgegru_export.saving import save_artifact
from tests.host.tuning_recordings import labelled, logits, passing_artifact, write_csv

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "tuning.md").read_text(encoding="utf-8")


def test_the_page_tells_the_numbers_that_were_measured():
    measured = json.loads((ROOT / "benchmarks" / "results" / "tuning.json").read_text(encoding="utf-8"))
    assert "\n".join(["```text", *measured["text"], "```"]) in PAGE
    chosen, before = measured["chosen"], measured["before"]
    assert before["tuned"]["alarm_rate"] > max(setting["tuned"]["alarm_rate"] for setting in measured["front"])
    assert before["tuned"]["found"] < max(setting["tuned"]["found"] for setting in measured["front"])
    assert chosen["tuned"]["alarm_rate"] <= measured["limit"]


def test_the_page_tells_the_rules():
    assert f"the last {1 - TUNED_SHARE:.0%}".replace("%", " %") in PAGE
    assert f"equal to the threshold or {min(GAPS):g} of it" in PAGE
    for name in USUAL_BACKGROUNDS:
        assert f"`{name}`" in PAGE


def test_the_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_artifact(passing_artifact(), tmp_path / "model.safetensors")
    labels = labelled(1000, [(start, 10, "clap") for start in range(50, 1000, 90)])
    write_csv(tmp_path / "recording.csv", logits(labels) | {"label": labels})
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, object] = {}
    exec(example, names)
    assert names["report"].chosen.tuned.recall == 1.0
    assert (tmp_path / "tuned.safetensors").is_file()
