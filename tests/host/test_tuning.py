"""Tuning finds the settings that are known to be best, reports what the device does with them, and writes just them."""

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgegru.command_line import main
from edgegru.tuning import Wish, fitting, front_of, tune
from edgegru.tuning_data import Stretch, residual_scale, split_in_time, streamed_parts
from edgegru.tuning_events import Score, SwitchedOn, TrueEvent, class_events, score
from edgegru.tuning_judge import Judge
from edgegru.tuning_search import Tried
from edgegru_export.saving import save_artifact
from edgegru_runtime import Model, load, read_artifact
from edgegru_runtime.decisions import Decisions
from edgegru_runtime.errors import DataError, EdgegruError
from edgegru_runtime.model_config import DecisionConfig
from tests.host.tuning_recordings import LABELS, RATE, labelled, logits, passing_artifact, write_csv

LENGTH = 2000
EVENTS = [(start, 12, ("clap", "shout")[start // 100 % 2]) for start in range(100, 2000, 100)]
BLIPS = [(start, 2, "clap") for start in range(150, 2000, 200)]  # what the model says, though nothing happened


@pytest.fixture
def folder(tmp_path):
    """A model that is sure of every event, and of blips that are none; 200 s of it, with the truth."""
    save_artifact(passing_artifact(), tmp_path / "model.safetensors")
    said = logits(labelled(LENGTH, EVENTS + BLIPS))
    write_csv(tmp_path / "long.csv", said | {"label": labelled(LENGTH, EVENTS)})
    return tmp_path


def tuned(folder, **options):
    files = (folder / "model.safetensors", folder / "long.csv", folder / "tuned.safetensors")
    return tune(*files, **{"force": True, "part": "all"} | options)


def on_device(file, x):
    """What the written model switches on, step by step, as a device would."""
    model = load(file)
    stream, decisions = model.stream(), Decisions(model.config, model.config.decision)
    switched = []
    for index, row in enumerate(x):
        events = decisions.step(index, row, None, (stream.step(row),))
        switched += [SwitchedOn(index, event.label) for event in events if event.on and event.label != "none"]
    return switched


def samples(folder):
    said = logits(labelled(LENGTH, EVENTS + BLIPS))
    return np.array([said[f"c{number}"] for number in range(3)], np.float32).T.tolist()


def test_the_settings_that_are_best_are_found(folder):
    report = tuned(folder)
    for outcome in (report.chosen.tuned, report.chosen.tested):
        assert (outcome.recall, outcome.false_alarms, outcome.repeats) == (1.0, 0, 0)
    assert report.before.tuned.recall == 1.0
    assert report.before.tuned.false_alarms > 0  # so the blips are there to be sorted out
    decision = report.chosen.decision
    assert decision.smoothing != "none" or decision.trigger_level > 2
    assert report.chosen.tuned.events + report.chosen.tested.events == len(EVENTS)
    assert report.chosen.tuned.duration + report.chosen.tested.duration == pytest.approx(LENGTH / RATE / 3600)


def test_the_written_model_does_what_was_reported(folder):
    report = tuned(folder, max_false_alarms_per_hour=200)
    switched = on_device(folder / "tuned.safetensors", samples(folder))
    classes = np.array([LABELS.index(label) for label in labelled(LENGTH, EVENTS)])
    events = class_events(classes, np.ones(LENGTH, bool), LABELS, "none")
    found = score(switched, events, np.ones(LENGTH, bool), 0)
    for name in ("events", "found", "missed", "false_alarms", "repeats"):
        parts = (getattr(report.chosen.tuned, name), getattr(report.chosen.tested, name))
        assert getattr(found, name) == sum(parts), name


def test_nothing_but_the_decision_is_changed(folder):
    report = tuned(folder)
    before, after = (read_artifact(folder / f"{name}.safetensors") for name in ("model", "tuned"))
    assert after.config == replace(before.config, decision=report.chosen.decision)
    assert after.config.decision != before.config.decision
    assert after.tensors == before.tensors


def test_an_output_that_exists_is_kept_without_force(folder):
    (folder / "tuned.safetensors").write_text("mine")
    with pytest.raises(EdgegruError, match="exists, expected a new name or --force"):
        tuned(folder, force=False)
    assert (folder / "tuned.safetensors").read_text() == "mine"


def noisy(folder, seed=5, target="step_label"):
    """A model that is often wrong: no setting is perfect, and more recall costs more false alarms."""
    rng = np.random.default_rng(seed)
    said = np.array(list(logits(labelled(LENGTH, EVENTS), sure=3.0).values())).T + rng.normal(0, 3.0, (LENGTH, 3))
    columns = {f"c{number}": said[:, number].round(3).tolist() for number in range(3)}
    if target == "step_label":
        return write_csv(folder / "long.csv", columns | {"label": labelled(LENGTH, EVENTS)})
    truth = {name: [int(label == name) for label in labelled(LENGTH, EVENTS)] for name in LABELS}
    return write_csv(folder / "long.csv", columns | truth)


def test_more_false_alarms_buy_more_recall(folder):
    noisy(folder)
    report = tuned(folder, max_false_alarms_per_hour=400)
    front = [setting.tuned for setting in report.front]
    assert len(front) > 3
    for fewer, more in pairwise(front):
        assert fewer.false_alarms < more.false_alarms
        assert fewer.found < more.found
    for outcome in front:
        assert outcome.found + outcome.missed == outcome.events


def test_a_higher_limit_never_finds_less(folder):
    noisy(folder)
    recalls = []
    for limit in (30, 100, 1000):
        report = tuned(folder, max_false_alarms_per_hour=limit)
        assert report.chosen.tuned.alarm_rate <= limit
        recalls.append(report.chosen.tuned.recall)
    assert recalls == sorted(recalls)
    assert recalls[0] < recalls[-1]


def test_a_recall_is_had_with_the_fewest_false_alarms(folder):
    noisy(folder)
    report = tuned(folder, min_recall=0.8)
    assert report.limit is None
    assert report.chosen.tuned.recall >= 0.8
    cheaper = [each.tuned for each in report.front if each.tuned.false_alarms < report.chosen.tuned.false_alarms]
    assert all(outcome.recall < 0.8 for outcome in cheaper)


def test_the_same_recording_gives_the_same_settings(folder):
    noisy(folder)
    assert tuned(folder).to_dict() == tuned(folder).to_dict()


def test_labels_that_hold_independently(folder):
    save_artifact(passing_artifact("step_labels"), folder / "model.safetensors")
    noisy(folder, target="step_labels")
    report = tuned(folder, max_false_alarms_per_hour=400)
    assert report.chosen.tuned.found > 0
    assert report.background is None
    total = report.chosen.tuned.events + report.chosen.tested.events
    truth = np.array(labelled(LENGTH, EVENTS))
    assert total == len(EVENTS) + np.count_nonzero(np.diff(truth == "none", prepend=False) & (truth == "none"))


def test_without_a_rate_times_are_steps(folder):
    save_artifact(passing_artifact(rate=None), folder / "model.safetensors")
    report = tuned(folder, tolerance=3)
    assert report.chosen.tuned.duration + report.chosen.tested.duration == pytest.approx(LENGTH / 1000)
    assert "alarms/1000 steps" in str(report)
    with pytest.raises(DataError, match="declares no rate, so false alarms an hour cannot be told"):
        tuned(folder, max_false_alarms_per_hour=1)


def test_parts_by_the_models_own_split(folder):
    data = {"format": "csv-directory", "options": {"validation_groups": ["b"], "test_groups": ["c"]}}
    save_artifact(passing_artifact(data=data), folder / "model.safetensors")
    columns = logits(labelled(LENGTH, EVENTS + BLIPS)) | {"label": labelled(LENGTH, EVENTS)}
    for group in "abc":
        (folder / "data" / group).mkdir(parents=True)
        write_csv(folder / "data" / group / "r.csv", columns)
    files = (folder / "model.safetensors", folder / "data", folder / "tuned.safetensors")
    report = tune(*files)
    assert (report.tuned_on, report.tested_on) == ("validation", "test")
    assert report.chosen.tuned == report.chosen.tested  # the same recording, here
    report = tune(*files, part="train", test_part="none", force=True)
    assert (report.tuned_on, report.tested_on, report.chosen.tested) == ("train", None, None)
    assert report.chosen.tuned.events == len(EVENTS)
    for part, test_part in (("all", "test"), ("train", "train")):
        with pytest.raises(DataError, match=f"the test part {test_part} is inside the part {part}"):
            tune(*files, part=part, test_part=test_part, force=True)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"background": "quiet"}, "the background is 'quiet', expected one of the model's labels none, clap, shout"),
        ({"tolerance": -1}, "the tolerance is -1, expected 0 or more"),
        ({"min_recall": 1.5}, "a recall of 1.5 was asked for, expected more than 0 and at most 1"),
        ({"max_false_alarms_per_hour": -2}, "-2 false alarms an hour were asked for, expected 0 or more"),
        ({"plot": "/nowhere/p.png"}, "/nowhere is no folder, expected one to write p.png in"),
    ],
)
def test_a_mistake_is_one_sentence(folder, options, sentence):
    with pytest.raises(EdgegruError, match=sentence):
        tuned(folder, **options)
    assert not (folder / "tuned.safetensors").exists()


def test_a_recording_without_labels(folder, capsys):
    write_csv(folder / "long.csv", logits(labelled(LENGTH, EVENTS)))
    files = [str(folder / name) for name in ("model.safetensors", "long.csv", "tuned.safetensors")]
    assert main(["tune", *files[:2], "-o", files[2], "--part", "all"]) == 1
    assert capsys.readouterr().err == f"error: {files[1]}, line 1: no column 'label', the columns are c0, c1, c2\n"


def test_a_background_that_is_not_known(folder):
    save_artifact(passing_artifact(labels=("sit", "walk", "run")), folder / "model.safetensors")
    with pytest.raises(DataError, match="which of the labels sit, walk, run is no event is not known"):
        tuned(folder)


def test_a_target_without_events(folder):
    save_artifact(passing_artifact("recording_label"), folder / "model.safetensors")
    with pytest.raises(DataError, match="the model's target is recording_label, which has no events"):
        tuned(folder)


def test_a_recording_without_events(folder):
    write_csv(folder / "long.csv", logits(["none"] * LENGTH) | {"label": ["none"] * LENGTH})
    with pytest.raises(DataError, match=r"1400 steps \(part all, first 70%\) hold no event"):
        tuned(folder)


def test_what_nothing_can_do_is_said(folder):
    rng = np.random.default_rng(0)
    noise = {f"c{number}": rng.normal(0, 1, LENGTH).round(3).tolist() for number in range(3)}
    write_csv(folder / "long.csv", noise | {"label": labelled(LENGTH, EVENTS)})
    sentence = r"none of \d+ settings finds 0.99 of the events and stays within 1 false alarms an hour; expected less"
    with pytest.raises(DataError, match=sentence):
        tuned(folder, min_recall=0.99, max_false_alarms_per_hour=1)
    assert not (folder / "tuned.safetensors").exists()


def anomalies(folder, target="forecast", labels=True):
    """A signal that wanders, and now and then is torn away for a few steps: (events of it)."""
    rng = np.random.default_rng(2)
    x = np.cumsum(rng.normal(0, 0.1, (LENGTH, 3)), axis=0)
    truth = np.full(LENGTH, "normal", object)
    for start in range(60, LENGTH - 20, 90):
        x[start : start + 8] += rng.normal(0, 3.0, (8, 3))
        truth[start : start + 8] = "anomaly"
    columns = {f"c{number}": x[:, number].round(4).tolist() for number in range(3)}
    if target == "step_value":
        steady = np.cumsum(rng.normal(0, 0.1, (LENGTH, 3)), axis=0)
        columns = {f"c{number}": steady[:, number].round(4).tolist() for number in range(3)}
        jumps = np.where(truth[:, None] == "anomaly", rng.normal(0, 3.0, (LENGTH, 3)), rng.normal(0, 0.1, (LENGTH, 3)))
        columns |= {f"y{number}": (steady + jumps)[:, number].round(4).tolist() for number in range(3)}
    write_csv(folder / "long.csv", columns | ({"label": truth.tolist()} if labels else {}))
    names = ("c0+1", "c1+1", "c2+1") if target == "forecast" else ("y0", "y1", "y2")
    save_artifact(passing_artifact(target, names), folder / "model.safetensors")


@pytest.mark.parametrize("target", ["forecast", "step_value"])
def test_anomalies_are_found_by_residuals(folder, target):
    anomalies(folder, target)
    report = tuned(folder, background="normal", tolerance=0.2)
    assert report.before is None
    assert report.chosen.tuned.recall > 0.8
    assert report.chosen.tested.recall > 0.8
    assert report.chosen.tuned.false_alarms == 0
    residual = read_artifact(folder / "tuned.safetensors").config.decision.residual
    assert residual.output == "output"
    assert residual.scale == pytest.approx((0.1,) * 3, rel=0.2)  # anomalies do not move it


def test_the_written_model_finds_the_anomalies_that_were_reported(folder):
    anomalies(folder)
    report = tuned(folder, background="normal", test_part="none")
    lines = (folder / "long.csv").read_text().splitlines()[1:]
    rows = np.array([line.split(",")[:3] for line in lines], np.float32).tolist()
    truth = np.array([line.rsplit(",", 1)[1] == "anomaly" for line in lines])
    events = class_events(truth.astype(int), np.ones(LENGTH, bool), ("normal", "anomaly"), "normal")
    found = score(on_device(folder / "tuned.safetensors", rows), events, np.ones(LENGTH, bool), 0)
    chosen = report.chosen.tuned
    assert (found.found, found.false_alarms, found.repeats) == (chosen.found, chosen.false_alarms, chosen.repeats)


def test_without_labels_normal_data_sets_the_threshold(folder):
    anomalies(folder, labels=False)
    strict, lenient = (tuned(folder, max_false_alarms_per_hour=limit) for limit in (30, 300))
    assert strict.chosen.tuned.alarm_rate <= 30
    assert lenient.chosen.tuned.alarm_rate <= 300
    assert lenient.chosen.decision.threshold < strict.chosen.decision.threshold
    assert strict.chosen.tuned.recall is None
    with pytest.raises(DataError, match="which a recall needs; expected --background"):
        tuned(folder, min_recall=0.5)


def test_other_labels_than_anomalies_are_refused(folder):
    anomalies(folder)
    with pytest.raises(DataError, match="has the label 'normal', expected one of usual, anomaly"):
        tuned(folder, background="usual")


def test_the_usual_size_of_a_residual_is_that_of_noise():
    rng = np.random.default_rng(0)
    values = rng.normal(0, (1.0, 0.01, 0.0, 0.0), (20_000, 4))
    values[::3, 2] = 2.0  # mostly 0: the median says nothing
    values[:300] = 1000  # an anomaly that is labelled
    values[400:500] = 1000  # and one that is not
    stretch = Stretch(values, np.ones(20_000, bool), (TrueEvent(0, 290, "anomaly"),))
    scale = residual_scale([stretch], tolerance=10)
    assert scale[:2] == pytest.approx((1.0, 0.01), rel=0.03)
    assert scale[2] > 1
    quiet = Stretch(np.zeros((10, 1)), np.ones(10, bool), ())
    assert residual_scale([quiet], 0) == (1.0,)
    with pytest.raises(DataError, match="no step is normal"):
        residual_scale([Stretch(np.zeros((10, 1)), np.zeros(10, bool), ())], 0)


@st.composite
def split_cases(draw):
    stretches = []
    for _ in range(draw(st.integers(1, 4))):
        holds = np.array(draw(st.lists(st.booleans(), min_size=1, max_size=40)))
        events = class_events(holds.astype(int), np.ones(len(holds), bool), ("none", "a"), "none")
        stretches.append(Stretch(np.zeros((len(holds), 2)), np.ones(len(holds), bool), events))
    return stretches, draw(st.integers(0, 5))


@given(split_cases())
def test_a_split_in_time_loses_nothing_and_shares_nothing(case):
    stretches, tolerance = case
    before, after = split_in_time(stretches, tolerance)
    judged = [sum(int(stretch.judged.sum()) for stretch in part) for part in (before, after)]
    total = sum(len(stretch.judged) for stretch in stretches)
    assert sum(judged) == total
    assert judged[0] >= min(round(0.7 * total), total) - 1
    assert sum(len(stretch.events) for part in (before, after) for stretch in part) == sum(
        len(stretch.events) for stretch in stretches
    )
    for stretch in before:
        for event in stretch.events:  # whoever finds it, late, is judged where it belongs
            assert stretch.judged[event.start : event.stop + tolerance].all()
    for stretch in after:
        for event in stretch.events:
            assert stretch.judged[event.start : event.stop].all()


def test_equal_settings_are_told_apart_by_repeats_latency_effort_and_the_middle():
    def tried(threshold, repeats=0, latency=4, **fields):
        decision = DecisionConfig(threshold=threshold, threshold_off=threshold, **fields)
        return Tried(decision, Score(1, 0, repeats, 100, (latency,)))

    middle = tried(0.5)
    others = [tried(0.4), tried(0.9), tried(0.3), tried(0.6, repeats=1), tried(0.6, latency=14)]
    others += [tried(0.6, trigger_level=2), tried(0.7, smoothing="mean:3"), tried(0.8)]
    assert front_of([middle, *others], 5.0) == [tried(0.5)]


def test_what_fits_is_the_best_within_the_limit():
    judge = Judge(passing_artifact().config, "none", 0)
    hour = round(3600 * RATE)
    front = [
        Tried(DecisionConfig(threshold=1 - found / 10), Score(4, alarms, 0, hour, (0,) * found))
        for alarms, found in ((0, 0), (1, 2), (3, 3), (9, 4))
    ]
    assert fitting(judge, front, Wish(1, None)) is front[1]
    assert fitting(judge, front, Wish(8.9, None)) is front[2]
    assert fitting(judge, front, Wish(None, 0.75)) is front[2]
    assert fitting(judge, front, Wish(100, 0.75)) is front[3]
    assert fitting(judge, front, Wish(1, 0.75)) is None
    assert fitting(judge, front, Wish(0, None)) is None  # what finds nothing fits nobody


def test_steps_that_are_not_labelled_are_not_judged(folder):
    labels = labelled(LENGTH, EVENTS)
    labels[:500] = [""] * 500
    write_csv(folder / "long.csv", logits(labelled(LENGTH, EVENTS + BLIPS)) | {"label": labels})
    judge_parts = streamed_parts(
        Model(passing_artifact()),
        folder / "long.csv",
        part="all",
        test_part="none",
        background="none",
        tolerance=0,
    )
    (stretch,) = judge_parts.tuned
    assert int(stretch.judged.sum()) == 1500
    assert all(event.start >= 500 for event in stretch.events)


def test_the_command_prints_a_table_and_draws_a_picture(folder, capsys):
    noisy(folder)
    files = [str(folder / name) for name in ("model.safetensors", "long.csv", "tuned.safetensors", "p.png")]
    command = ["tune", *files[:2], "-o", files[2], "--part", "all", "--plot", files[3], "--force"]
    assert main([*command, "--max-false-alarms-per-hour", "400"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("tuned on    all, first 70%: ")
    assert text.count("\n*") == 1
    picture = (folder / "p.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert main([*command, "--max-false-alarms-per-hour", "400", "--json"]) == 0
    assert (folder / "p.png").read_bytes() == picture
    report = json.loads(capsys.readouterr().out)
    assert report["chosen"]["tuned"]["alarm_rate"] <= 400
    assert report["chosen"] in report["front"]


def test_a_picture_without_events(folder):
    anomalies(folder, labels=False)
    tuned(folder, plot=folder / "p.png")
    assert (folder / "p.png").read_bytes().startswith(b"\x89PNG")
