"""Evaluation streams every recording from a zero state on the engine named, and scores what it should."""

import json

import numpy as np
import pytest

import edgegru
from edgegru.data import LabelledSequence
from edgegru.evaluation import evaluate_sequences
from edgegru_export.saving import save_artifact, with_identity
from edgegru_runtime import Artifact, Model
from edgegru_runtime.errors import ArtifactError, DataError, EdgegruError, EngineError
from edgegru_runtime.model_config import OutputConfig
from tests.builders import TOKENS, changed, mixed_artifact, random_artifact
from tests.host.recordings_on_disk import write_labelled_folder

CLASSES = ("class 0", "class 1", "class 2", "class 3")


def streamed(model, x):
    """Every output (T, outputs) of one recording, by ``step`` alone."""
    stream = model.stream()
    return np.array([stream.step(row.tolist()) for row in x])


def sequence(x, target, mask=None):
    mask = np.ones(len(x), bool) if mask is None else np.array(mask)
    return LabelledSequence("r", "g", x.astype(np.float32), np.asarray(target), mask)


def with_target(artifact: Artifact, target: str) -> Artifact:
    output = artifact.config.outputs[0]
    config = changed(artifact.config, outputs=(OutputConfig(output.node, target, output.labels),))
    return with_identity(Artifact(config, artifact.tensors))


def recordings(seed, lengths=(40, 25, 31)):
    rng = np.random.default_rng(seed)
    return [rng.normal(0, 4, (length, 3)).astype(np.float32) for length in lengths]


@pytest.fixture
def artifact():
    return random_artifact(1, rate=None)


def test_a_model_that_says_the_labels_is_right_everywhere(artifact):
    model = Model(artifact)
    sequences = [sequence(x, streamed(model, x).argmax(axis=1)) for x in recordings(0)]
    evaluation = evaluate_sequences(model, sequences)
    assert evaluation.metrics == {"accuracy": 1.0, "macro_f1": 1.0}
    assert (evaluation.engine, evaluation.scheme) == ("kernel", "float32")
    assert (evaluation.recordings, evaluation.steps, evaluation.scored) == (3, 96, 96)
    assert np.trace(evaluation.confusion) == 96


def test_only_masked_steps_count(artifact):
    model, (x, *_) = Model(artifact), recordings(0)
    target = streamed(model, x).argmax(axis=1)
    wrong = (target + 1) % 4
    mask = np.arange(len(x)) == len(x) - 1
    assert evaluate_sequences(model, [sequence(x, np.where(mask, target, wrong), mask)]).metrics["accuracy"] == 1
    assert evaluate_sequences(model, [sequence(x, np.where(mask, wrong, target), mask)]).metrics["accuracy"] == 0


def test_true_classes_are_down_and_predicted_across(artifact):
    model, (x, *_) = Model(artifact), recordings(0)
    predicted = streamed(model, x).argmax(axis=1)
    confusion = np.array(evaluate_sequences(model, [sequence(x, np.full(len(x), 2))]).confusion)
    assert confusion[2].tolist() == np.bincount(predicted, minlength=4).tolist()
    assert confusion.sum() == confusion[2].sum()


def test_values_are_scored_by_squared_and_absolute_error():
    model, (x, *_) = Model(random_artifact(2, head="identity")), recordings(0)
    shifted = np.add(streamed(model, x), [0.5, -0.5, 0.5, -1.5])
    evaluation = evaluate_sequences(model, [sequence(x, shifted)])
    assert evaluation.metrics == pytest.approx({"mse": (3 * 0.25 + 2.25) / 4, "mae": 3.0 / 4})
    assert evaluation.confusion is None
    assert "mse" in str(evaluation)


def test_labels_of_which_any_number_holds_are_scored_by_likelihood_and_f1():
    artifact = with_target(random_artifact(2, head="sigmoid"), "step_labels")
    model, (x, *_) = Model(artifact), recordings(0)
    probabilities = streamed(model, x)
    likely = (probabilities >= 0.5).astype(np.float32)
    evaluation = evaluate_sequences(model, [sequence(x, likely)])
    expected = -np.log(np.maximum(probabilities, 1 - probabilities)).sum(axis=1).mean()
    assert evaluation.metrics == pytest.approx({"nll": expected, "micro_f1": 1.0})
    assert evaluation.confusion is None
    mask = np.arange(len(x)) < 7
    worst = evaluate_sequences(model, [sequence(x, 1 - likely, mask)])
    expected = -np.log(np.minimum(probabilities, 1 - probabilities)[mask]).sum(axis=1).mean()
    assert (worst.scored, worst.metrics) == (7, pytest.approx({"nll": expected, "micro_f1": 0.0}))


def test_tokens_are_scored_by_likelihood_and_accuracy():
    model, x = Model(mixed_artifact(1, **TOKENS)), np.array([[3], [0], [11], [5]], np.float32)
    y = streamed(model, x)
    target = y.argmax(axis=1)
    target[1] = y[1].argmin()
    evaluation = evaluate_sequences(model, [sequence(x, target)])
    assert evaluation.metrics["accuracy"] == 0.75
    assert evaluation.metrics["nll"] == pytest.approx(-np.mean([y[i, k] for i, k in enumerate(target)]))
    assert evaluation.confusion is None and str(evaluation).startswith("float32 on kernel")


def test_a_picture_needs_classes(tmp_path):
    artifact = with_target(random_artifact(2, head="sigmoid"), "step_labels")
    with pytest.raises(DataError, match="a confusion matrix needs classes, but the model's target is step_labels"):
        edgegru.evaluate(artifact, tmp_path, plot=tmp_path / "confusion.png")


def test_clipped_values_are_counted_over_all_recordings(artifact):
    sequences = [sequence(np.full((5, 3), 3e38), np.zeros(5, int)) for _ in range(2)]
    evaluation = evaluate_sequences(Model(artifact), sequences)
    assert evaluation.clipped == 30
    assert "30 input values clipped" in str(evaluation)


def test_nothing_to_score_is_an_error(artifact):
    x = recordings(0)[0]
    with pytest.raises(DataError, match="no target to score"):
        evaluate_sequences(Model(artifact), [sequence(x, np.zeros(len(x), int), np.zeros(len(x), bool))])
    with pytest.raises(DataError, match="no target to score"):
        evaluate_sequences(Model(artifact), [])


def test_a_folder_is_read_as_the_model_says(artifact, tmp_path):
    data = write_labelled_folder(tmp_path / "data", Model(artifact), wrong=4)
    evaluation = edgegru.evaluate(artifact, data)
    assert evaluation.metrics["accuracy"] == pytest.approx(1 - 12 / 96)
    assert (evaluation.recordings, evaluation.part, evaluation.labels) == (3, "auto", CLASSES)


def test_path_artifact_and_model_are_the_same_thing(artifact, tmp_path):
    data = write_labelled_folder(tmp_path / "data", Model(artifact), wrong=4)
    save_artifact(artifact, tmp_path / "m.safetensors")
    expected = edgegru.evaluate(tmp_path / "m.safetensors", data)
    assert edgegru.evaluate(artifact, data) == expected
    assert edgegru.evaluate(Model(artifact), data, engine="kernel") == expected
    assert json.loads(json.dumps(expected.to_dict()))["metrics"] == expected.metrics


@pytest.mark.parametrize(("format", "engine"), [("onnx", "onnxruntime"), ("tflite", "litert")])
def test_an_exported_file_is_evaluated_on_its_own_engine(artifact, tmp_path, format, engine):
    data = write_labelled_folder(tmp_path / "data", Model(artifact), wrong=4)
    edgegru.export(artifact, tmp_path / f"m.{format}", format=format)
    evaluation = edgegru.evaluate(tmp_path / f"m.{format}", data, engine=engine)
    assert evaluation.engine == engine
    assert evaluation.metrics["accuracy"] == pytest.approx(1 - 12 / 96)


def test_an_engine_that_cannot_run_the_file_is_refused(artifact, tmp_path):
    data = write_labelled_folder(tmp_path / "data", Model(artifact))
    with pytest.raises(EngineError, match="litert"):
        edgegru.evaluate(artifact, data, engine="litert")


def test_the_picture_of_the_confusion(artifact, tmp_path):
    data = write_labelled_folder(tmp_path / "data", Model(artifact), wrong=4)
    edgegru.evaluate(artifact, data, plot=tmp_path / "confusion.png")
    picture = (tmp_path / "confusion.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    edgegru.evaluate(artifact, data, plot=tmp_path / "again.png")
    assert (tmp_path / "again.png").read_bytes() == picture


def test_a_picture_that_cannot_be_written_is_one_sentence(artifact, tmp_path):
    data = write_labelled_folder(tmp_path / "data", Model(artifact))
    with pytest.raises(EdgegruError, match="cannot write the picture"):
        edgegru.evaluate(artifact, data, plot=tmp_path / "no such folder" / "confusion.png")


def test_values_have_no_confusion_to_draw(tmp_path):
    with pytest.raises(DataError, match="step_value"):
        edgegru.evaluate(random_artifact(head="identity"), tmp_path, plot=tmp_path / "confusion.png")


def test_a_recording_target_reads_the_last_step(artifact, tmp_path):
    model = Model(with_target(artifact, "recording_label"))
    folder = write_labelled_folder(tmp_path / "data", model)
    for file in folder.iterdir():  # one label all along: what the model says at the end
        head, *rows = file.read_text().splitlines()
        last = rows[-1].rsplit(",", 1)[1]
        file.write_text("\n".join([head, *(f"{row.rsplit(',', 1)[0]},{last}" for row in rows)]))
    evaluation = edgegru.evaluate(model, folder)
    assert (evaluation.scored, evaluation.metrics["accuracy"]) == (3, 1.0)


def test_a_file_that_is_no_model(tmp_path):
    (tmp_path / "m.safetensors").write_bytes(b"nothing")
    with pytest.raises(ArtifactError):
        edgegru.evaluate(tmp_path / "m.safetensors", tmp_path)
