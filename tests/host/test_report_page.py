"""The quantization report page: what is on it, that its numbers are those measured, and that it stands alone."""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

import edgegru
from edgegru import drift, drift_plot, report_page, sensitivity, signal_to_noise, value_histograms
from edgegru.calibration import calibrate
from edgegru.quantization import quantize_artifact
from edgegru.quantization_report import WORTH_SAYING, QuantizationReport, advice, quantization_report
from edgegru.quantization_text import tensor_table
from edgegru.report_page import report_html, write_report
from edgegru.report_plots import bars, histogram_figure
from edgegru.sensitivity import measure_sensitivity
from edgegru.signal_to_noise import SignalToNoise, measure_signal_to_noise
from edgegru.value_histograms import BINS, Histogram, operand_values, weight_histograms
from edgegru_export.saving import save_artifact
from edgegru_export.stimulus import gaussian_input
from edgegru_runtime import Model, read_artifact
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.errors import ArtifactError, CalibrationError, EngineError, QuantizationError
from tests.builders import mixed_artifact, random_artifact
from tests.host.recordings_on_disk import write_labelled_folder

STEPS = 103
DRIFT_STEPS = report_page.DRIFT_STEPS
DRAW = drift_plot.drift_png
SECTIONS = [
    "Summary",
    "Noise of every node",
    "What 8 bits cost each node",
    "Ranges of values",
    "Weights and biases",
    "Drift",
]
VOID = {"meta", "img", "br"}
SCHEMES = ["static-w8a8", "static-w8a16", "dynamic-w8"]


@pytest.fixture(autouse=True)
def short_drift(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_page, "DRIFT_STEPS", STEPS)
    monkeypatch.setattr(drift, "FEWEST_STEPS", STEPS)
    monkeypatch.setattr(drift, "LOOP_STEPS", 40)
    monkeypatch.setattr(drift_plot, "drift_png", lambda report: b"a picture takes longer than all else")
    monkeypatch.setattr(drift, "settle_slow_units", lambda scheme: (drift.SlowUnit("tanh", 512, 0.5, 1.0, 0.00067),))


class Page(HTMLParser):
    """What a browser would find: tables as text, and everything that a page should not have."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.headings: list[str] = []
        self.text = ""
        self.references: list[str] = []
        self.tags: set[str] = set()
        self._open: list[str] = []
        assert text.startswith("<!DOCTYPE html>\n")
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.references += [value or "" for name, value in attributes if name in ("src", "href", "action", "data")]
        assert not [name for name, _ in attributes if name.startswith("on")]
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        elif tag == "h2":
            self.headings.append("")
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        assert "svg" in self._open, f"<{tag}/> closes itself in SVG only"
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._open and self._open[-1] in ("td", "th"):
            self.tables[-1][-1][-1] += data
        elif self._open and self._open[-1] == "h2":
            self.headings[-1] += data

    def table(self, heading: str) -> list[list[str]]:
        """The one table whose first heading is this, by rows, headings first."""
        (found,) = [table for table in self.tables if table[0][0] == heading]
        return found


def reported(
    artifact: Artifact, scheme: str = "static-w8a8", keep: dict[str, str] | None = None, observer: str = "minmax"
) -> tuple[Page, QuantizationReport, Artifact]:
    """The page of a quantized model, what the page is about, and the integer model."""
    recordings = [gaussian_input(artifact, 150), gaussian_input(artifact, 90)[::-1]]
    ranges = calibrate(artifact, recordings, observer)
    after = quantize_artifact(artifact, ranges, scheme=scheme, keep=keep)
    noise = measure_signal_to_noise(artifact, after, recordings)
    result = replace(quantization_report(artifact, after, ranges), signal_to_noise=noise)
    return Page(report_html(artifact, after, ranges, recordings, result)), result, after


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    artifact = random_artifact(1, rate=None)
    save_artifact(artifact, tmp_path / "float.safetensors")
    write_labelled_folder(tmp_path / "data", Model(artifact))
    return tmp_path


def quantize(folder: Path, **options: object) -> QuantizationReport:
    arguments = {"data": folder / "data", "report": folder / "report.html", **options}
    return edgegru.quantize(folder / "float.safetensors", folder / "data", folder / "new.safetensors", **arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_page_has_the_numbers_of_the_report(folder: Path, scheme: str) -> None:
    result = quantize(folder, scheme=scheme)
    page = Page((folder / "report.html").read_text(encoding="utf-8"))
    assert page.headings == SECTIONS
    assert f"Quantization report: {scheme}" in page.text
    for file in ("float", "new"):
        assert read_artifact(folder / f"{file}.safetensors").config.identity in page.text
    assert f"{result.file_bytes_before:,} → {result.file_bytes_after:,} bytes" in page.text
    assert result.file_bytes_before and result.file_bytes_after
    assert f"{result.file_bytes_before / result.file_bytes_after:.2f} × smaller" in page.text
    assert result.metrics_before and result.metrics_after and result.signal_to_noise
    for name, value in result.metrics_before.items():
        assert f"{value:.6g} → {result.metrics_after[name]:.6g}" in page.text
    assert page.table("tensor") == [list(row) for row in tensor_table(result)]
    noise = result.signal_to_noise
    rows = {row[0]: row for row in page.table("node")} if scheme == "dynamic-w8" else noise_rows(page)
    for name, ratio in noise.model.items():
        assert rows[name][3] == ("exact" if ratio == 200 else f"{ratio:.1f} dB")
        assert rows[name][4] == ("0" if ratio == 200 else f"{10 ** (-ratio / 20):.2%}")
        assert rows[name][2] == ("exact" if noise.weights[name] == 200 else f"{noise.weights[name]:.1f} dB")
    if scheme == "dynamic-w8":
        assert "no value has a fixed range" in page.text
        assert "anew at every step" in page.text
    else:
        ranges = {row[0]: row for row in page.table("value")}
        assert list(ranges)[1:] == [operand.name for operand in result.operands]
        for operand in result.operands:
            bits, reach, _, step, clips = ranges[operand.name][1:6]
            assert (bits, reach, step) == (str(operand.bits), f"{operand.reach:.4g}", f"{operand.scale:.3g}")
            assert clips == "0"


def noise_rows(page: Page) -> dict[str, list[str]]:
    (table,) = [table for table in page.tables if table[0][:2] == ["node", "kind"]]
    return {row[0]: row for row in table}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_page_needs_nothing_else(folder: Path, scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drift_plot, "drift_png", DRAW)
    quantize(folder, scheme=scheme, data=None)
    text = (folder / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.tags & {"script", "link", "iframe", "object", "embed", "form", "a"} == set()
    assert len(page.references) == 1
    kind, _, picture = page.references[0].partition(",")
    assert kind == "data:image/png;base64"
    assert b64decode(picture, validate=True).startswith(b"\x89PNG")
    assert re.search(r"url\(|@import|https?:", text) is None
    assert str(folder) not in text


def test_the_same_model_gives_the_same_bytes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drift_plot, "drift_png", DRAW)
    quantize(folder)
    first = (folder / "report.html").read_bytes()
    quantize(folder, force=True)
    assert (folder / "report.html").read_bytes() == first


@pytest.mark.parametrize(
    ("shape", "scheme", "keep", "observer"),
    [
        ({"reset": "before"}, "static-w8a8", {"conv0": "static-w8a16"}, "mse"),
        ({"candidate": "relu", "head": "sigmoid"}, "static-w8a16", {"conv0": "static-w8a8"}, "percentile"),
        ({"candidate": "linear", "head": "identity", "embedding": True}, "static-w8a8", {}, "minmax"),
        ({"embedding": True}, "dynamic-w8", {"dense": "float32"}, "minmax"),
        ({"gates": "hard_sigmoid_5", "convolution": "hard_sigmoid_6"}, "static-w8a8", {"gate": "static-w8a16"}, "mse"),
    ],
)
def test_every_kind_of_node(shape: dict[str, object], scheme: str, keep: dict[str, str], observer: str) -> None:
    page, result, after = reported(mixed_artifact(3, **shape), scheme, keep, observer)
    assert page.headings == SECTIONS
    assert result.signal_to_noise is not None
    assert list(noise_rows(page))[1:] == list(result.signal_to_noise.model)
    for name, kept in keep.items():
        assert f"{name} kept at {kept}" in page.text
    if scheme != "dynamic-w8":
        assert [row[0] for row in page.table("value")[1:]] == [operand.name for operand in result.operands]
    for name, tensor in after.tensors.items():
        assert (f"{name} {'×'.join(map(str, tensor.shape))}" in page.text) == (tensor.dtype == "int8")


def test_each_node_alone_is_what_quantizing_it_alone_says() -> None:
    before = random_artifact(2, 3, (6,), hidden_linear=(4, "relu"))
    recordings = [gaussian_input(before, 300)]
    ranges = calibrate(before, recordings)
    after = quantize_artifact(before, ranges, keep={"gru0": "static-w8a16"})
    found = measure_sensitivity(before, after, ranges, recordings, steps=200)

    def noise(scheme: str, keep: dict[str, str]) -> float:
        model = quantize_artifact(before, ranges, scheme=scheme, keep=keep)
        return measure_signal_to_noise(before, model, recordings, 200).model["dense"]

    wide = noise("static-w8a16", {})
    assert found.steps == 200
    assert {node.name: node.alone for node in found.nodes} == {
        name: wide - noise("static-w8a16", {name: "static-w8a8"}) for name in ("standardise", "gru0", "hidden0")
    }
    assert [node.alone for node in found.nodes] == sorted((node.alone for node in found.nodes), reverse=True)
    present = noise("static-w8a8", {"gru0": "static-w8a16"})
    assert {node.name: node.gain for node in found.nodes} == {
        "gru0": None,
        "standardise": noise("static-w8a8", {"gru0": "static-w8a16", "standardise": "static-w8a16"}) - present,
        "hidden0": noise("static-w8a8", {"gru0": "static-w8a16", "hidden0": "static-w8a16"}) - present,
    }
    best = found.most_gained
    assert best is not None and best.gain == max(node.gain for node in found.nodes if node.gain is not None)


def test_widths_that_the_arithmetic_refuses_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse_wide(
        artifact: Artifact, ranges: object, *, scheme: str, margin: float, keep: dict[str, str]
    ) -> Artifact:
        if scheme == "static-w8a16" or keep["gru0"] == "static-w8a16":
            raise ArtifactError("row 0 of 'gru0.weight_hh' lets an accumulator reach 3000000000; expected less")
        return quantize_artifact(artifact, ranges, scheme=scheme, margin=margin, keep=keep)

    monkeypatch.setattr(sensitivity, "quantize_artifact", refuse_wide)
    page, _, _ = reported(random_artifact(2, 3, (6,)), keep={"standardise": "static-w8a8"})
    rows = next(table for table in page.tables if table[0][:2] == ["node", "now"])
    assert {row[0]: row[2] for row in rows[1:]} == {"standardise": "–", "gru0": "–"}
    gains = {row[0]: row[3] for row in rows[1:]}
    assert gains["gru0"] == "–"
    assert gains["standardise"].endswith(" dB")
    assert "would not fit 32 bits" in page.text


def test_the_command_that_is_shown_is_one_that_helps() -> None:
    before = random_artifact(2, 3, (6,))
    page, result, _ = reported(before)
    command = re.search(r"edgegru quantize MODEL[^<]*?-o OUTPUT", page.text)
    assert command is not None
    rows = next(table for table in page.tables if table[0][:2] == ["node", "now"])
    assert [row[1] for row in rows[1:]] == ["8 bits", "8 bits"]
    keep = re.findall(r"--keep (\w+)=([\w-]+)", command[0])
    assert keep[0][0] == max(rows[1:], key=lambda row: float(row[3].removesuffix(" dB")))[0]
    assert len(keep) == 1
    _, better, _ = reported(before, keep=dict(keep))
    assert result.signal_to_noise and better.signal_to_noise
    assert better.signal_to_noise.model["dense"] > result.signal_to_noise.model["dense"] + 0.1
    wide, _, _ = reported(before, "static-w8a16")
    assert "edgegru quantize MODEL" not in wide.text


def test_values_beyond_the_range_are_counted() -> None:
    before = random_artifact(2, 3, (6,))
    quiet = gaussian_input(before, 400)
    after = quantize_artifact(before, calibrate(before, [quiet]))
    mean, std = before.array("standardise.mean"), before.array("standardise.std")
    loud = ((quiet - mean) * 3 + mean).astype(np.float32)
    first, state = operand_values(before, after, ["standardise", "gru0"], [loud[:150], loud[150:]], steps=300)
    assert after.config.quantization is not None
    scale = after.config.quantization.operand_scale["standardise"]
    standardised = (loud[:300] - mean) / std
    assert first.ranges == (127 * scale, 127 * scale)
    assert first.saturated == np.mean(np.abs(standardised) >= 127.5 * scale) > 0
    assert (first.relative, state.relative) == (False, False)
    assert state.saturated == 0
    assert first.histogram.counts.sum() == 3 * 300
    outermost = 2 * 127 * scale * (1 - 2 / BINS)
    assert first.histogram.counts[[0, -1]].sum() == np.count_nonzero(np.abs(standardised) >= outermost) > 0


def test_weights_are_counted_in_threes() -> None:
    _, _, after = reported(random_artifact(2, 3, (6,)), "dynamic-w8")
    found = weight_histograms(after)
    assert set(found) == {"gru0.weight_ih", "gru0.weight_hh", "dense.weight"}
    for name, histogram in found.items():
        weights = after.array(name).reshape(-1)
        middles = np.arange(-126, 127, 3)
        assert histogram.counts.tolist() == [np.count_nonzero(np.abs(weights - middle) <= 1) for middle in middles]


@pytest.mark.parametrize(
    ("weights", "model", "sentence"),
    [
        (50.0, 45.0, "Int8 values cost 5.0 dB on the calibration data (dense: 45.0 dB, 50.0 dB with int8 weights"),
        (50.0, 48.5, "Int8 values cost 1.5 dB at dense on top of int8 weights; 16 bits are recommended from 3 dB on."),
        (50.0, 50.5, "dense is no worse than with int8 weights rounded to the nearest alone; 16 bits are recommended"),
    ],
)
def test_the_page_advises(weights: float, model: float, sentence: str) -> None:
    before = random_artifact(2, 3, (4,))
    ranges = calibrate(before, [gaussian_input(before, 50)])
    after = quantize_artifact(before, ranges)
    noise = SignalToNoise({"dense": weights}, {"dense": model}, ("dense",), 50)
    result = replace(quantization_report(before, after, ranges), signal_to_noise=noise)
    result = replace(result, advice=advice("static-w8a8", noise))
    page = Page(report_html(before, after, ranges, None, result))
    assert sentence in page.text
    assert ("--scheme static-w8a16 is recommended." in page.text) == (weights - model > 3)
    assert f"{model:.1f} dB{weights:.1f} dB with int8 weights alone" in page.text


def test_pictures_are_drawn_to_scale() -> None:
    counts = np.zeros(4, np.int64)
    counts[1], counts[2] = 9, 99
    figure = histogram_figure(Histogram(counts, 2.0, 1.0), "a<b", "note", "1")
    assert "histogram of a&lt;b" in figure
    assert 'd="M14 92V92.0H67.0V49.0H120.0V6.0H173.0V92.0H226.0V92Z"' in figure
    assert re.findall(r'class="range" x1="([\d.]+)"', figure) == ["67.0", "173.0"]
    assert re.findall(r"width:([\d.]+)%", bars((5.0, -1.0, 10.0), 10.0)) == ["50.0", "0.0", "100.0"]
    assert "width:0.0%" in bars((0.0,), 0.0)


def test_without_calibration_the_page_says_what_is_missing(folder: Path) -> None:
    path = folder / "report.html"
    model = folder / "float.safetensors"
    result = edgegru.quantize(model, None, folder / "new.safetensors", scheme="dynamic-w8", report=path)
    page = Page(path.read_text(encoding="utf-8"))
    assert "not calibrated" in page.text
    assert "Without --calibration there are no recordings" in page.text
    assert page.table("tensor") == [list(row) for row in tensor_table(result)]
    with pytest.raises(CalibrationError, match="static-w8a8 has no calibration data, expected recordings"):
        edgegru.quantize(model, None, folder / "other.safetensors", report=folder / "other.html")
    assert not list(folder.glob("other*"))


def test_drift_is_told_in_red(monkeypatch: pytest.MonkeyPatch) -> None:
    page, _, _ = reported(random_artifact(2, 3, (4,)))
    assert f"No drift over {STEPS} steps." in page.text
    assert [row[:2] for row in page.table("input")[1:]] == [
        [input, name] for input in ("looped", "constant") for name in ("y", "h0")
    ]
    assert page.table("slow units")[1:] == [["tanh", "512", "0.00067", "0.002"]]
    stuck = drift.SlowUnit("linear", 512, 0.5, 1.0, 0.0078)
    monkeypatch.setattr(drift, "settle_slow_units", lambda scheme: (stuck,))
    page, _, _ = reported(random_artifact(2, 3, (4,)))
    assert "The integer model drifts from its float model" in page.text
    assert "No drift" not in page.text


def test_a_float_model_that_cannot_run_long_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def overflow(*arguments: object, **options: object) -> None:
        raise EngineError("node gru0: a value left the range of float32; the step was not taken")

    monkeypatch.setattr(report_page, "measure_drift", overflow)
    page, _, _ = reported(random_artifact(2, 3, (4,)))
    assert "Not measured: node gru0: a value left the range of float32; the step was not taken." in page.text


def test_the_document_tells_what_is_on_the_page_and_how_long_it_is_measured() -> None:
    document = (Path(__file__).parents[2] / "docs" / "quantization-report.md").read_text(encoding="utf-8")
    table = re.findall(r"^\| (.*?) \| .* \| (.*?) \|$", document, re.MULTILINE)
    assert [section for section, _ in table[1:]] == SECTIONS
    measured = dict(table)
    for section, steps in (
        ("Noise of every node", signal_to_noise.STEPS),
        ("What 8 bits cost each node", sensitivity.STEPS),
        ("Ranges of values", value_histograms.STEPS),
        ("Drift", DRIFT_STEPS),
    ):
        assert f"{steps:,} steps" in measured[section]
    assert f"more than {WORTH_SAYING:g} dB" in document


def test_nothing_is_replaced_or_half_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = folder / "report.html"
    report.write_text("mine")

    def refused(sentence: str, **options: object) -> None:
        with pytest.raises(QuantizationError, match=sentence):
            quantize(folder, **options)
        assert not (folder / "new.safetensors").exists()

    monkeypatch.setattr(report_page, "report_html", lambda *_: pytest.fail("measured"))
    refused("report.html exists already, expected a new file or --force")
    refused("missing is no folder, expected one to write page.html in", report=folder / "missing" / "page.html")
    refused("float.safetensors is a model in this call", report=folder / "float.safetensors", force=True)
    refused("new.safetensors is a model in this call", report=folder / "data" / ".." / "new.safetensors")
    assert report.read_text() == "mine"


def test_a_page_that_cannot_be_written_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_page, "report_html", lambda *_: "page")
    page: Callable[..., None] = write_report
    with pytest.raises(QuantizationError, match=r"page.html: cannot be written: No such file or directory$"):
        page(tmp_path / "missing" / "page.html", None, None, None, None, None)
    (tmp_path / "folder").mkdir()
    with pytest.raises(QuantizationError, match="folder: cannot be written: exists and is not a regular file"):
        page(tmp_path / "folder", None, None, None, None, None)
