"""A folder of C is kept whole and verified, or not at all; verification finds what was changed in it."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

import edgegru
from edgegru.command_line import main
from edgegru.verification import verify
from edgegru_export import c_exporting
from edgegru_export.c_files import MANIFEST
from edgegru_export.exporting import export
from edgegru_export.saving import save_artifact, with_identity
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.errors import EngineError, ExportError, VerificationError
from edgegru_runtime.model_config import GruNode
from tests.builders import mixed_artifact, quantized, random_artifact, random_integer_artifact

INTEGER = quantized(random_artifact(1))
FLOAT = random_artifact(1)
NO_TEST = "int edgegru_model_selftest(void);\nint edgegru_model_selftest(void) { return 0; }\n"


def changed(folder: Path, pattern: str, replacement: str, file: str = "edgegru_model.c") -> None:
    """One place of a file is made another."""
    path = folder / file
    text, count = re.subn(pattern, replacement, path.read_text(), count=1)
    assert count == 1
    path.write_text(text)


@pytest.mark.parametrize("layout", ["plain", "arduino", "zephyr", "esp-idf"])
def test_a_folder_is_written_and_verified_in_every_layout(layout: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    report = export(INTEGER, folder, format="c", layout=layout, target="cortex-m", io="int")
    assert (report.passed, report.file, report.engine, report.steps) == (True, str(folder), "c", 500)
    assert all(deviation.exact for deviation in report.deviations)
    assert [size.processor for size in report.sizes] == ["cortex-m0", "cortex-m4"]
    assert os.listdir(tmp_path) == ["model"]
    examples = {
        "plain": "main.c", "arduino": "examples/edgegru_model_stream/edgegru_model_stream.ino",
        "zephyr": "sample/src/main.c", "esp-idf": "example/main/main.c",
    }  # fmt: skip
    assert (folder / examples[layout]).is_file()
    assert verify(folder, INTEGER).deviations == report.deviations  # type: ignore[union-attr]  # of a folder


def test_sizes_are_said_and_plain_data(tmp_path: Path) -> None:
    report = export(INTEGER, tmp_path / "model", format="c", target="cortex-m")
    text, (small, large) = (tmp_path / "model" / "README.md").read_text(), report.sizes
    assert f"{small.flash_bytes:,}" in text and f"{large.ram_bytes:,}" in text
    assert f"{small.flash_bytes:,}" in str(report)
    data = json.loads(json.dumps(report.to_dict()))
    assert data["sizes"][0]["flash_bytes"] == small.table_bytes + small.code_bytes
    assert small.ram_bytes == small.state_bytes + small.stack_bytes > small.scratch_bytes


@pytest.mark.parametrize("artifact", [INTEGER, FLOAT], ids=["integer", "float"])
def test_a_changed_weight_is_found(artifact: Artifact, tmp_path: Path) -> None:
    export(artifact, tmp_path / "model", format="c")
    changed(tmp_path / "model", r"(n1_gru0_weight_hh\[\d+\] = \{\n\s+)[^,]+,", r"\g<1>99,")
    with pytest.raises(VerificationError, match=r"/model: golden step \d of edgegru_model_selftest.c is not computed"):
        verify(tmp_path / "model", artifact)
    (tmp_path / "model" / "edgegru_model_selftest.c").write_text(NO_TEST)
    with pytest.raises(VerificationError, match="/model does not compute what its model computes in c"):
        verify(tmp_path / "model", artifact)


@pytest.mark.parametrize("reset", ["after", "before"])
@pytest.mark.parametrize("scheme", ["float32", "static-w8a8"])
def test_the_other_formulation_is_found(scheme: str, reset: str, tmp_path: Path) -> None:
    """The folder of a model that differs in nothing else, and says that it is the right one."""
    artifact = random_artifact(1, reset=reset, bias=False)
    if scheme != "float32":
        artifact = random_integer_artifact(1, reset=reset, bias=False)
    nodes = tuple(
        replace(node, reset="before" if reset == "after" else "after") if isinstance(node, GruNode) else node
        for node in artifact.config.nodes
    )
    quantization = artifact.config.quantization
    if quantization is not None:
        scales = {name: scale for name, scale in quantization.operand_scale.items() if name != "gru0.rh"}
        if reset == "after":
            scales["gru0.rh"] = scales["gru0"]
        quantization = replace(quantization, operand_scale=scales)
    config = replace(artifact.config, nodes=nodes, quantization=quantization, identity="")
    other = with_identity(Artifact(config, artifact.tensors))
    export(other, tmp_path / "model", format="c")
    changed(tmp_path / "model", other.config.identity, artifact.config.identity, MANIFEST)
    (tmp_path / "model" / "edgegru_model_selftest.c").write_text(NO_TEST)
    with pytest.raises(VerificationError, match="does not compute"):
        verify(tmp_path / "model", artifact)


@pytest.mark.parametrize("file", ["egru_bounded.h", "egru_operand.h", "egru_gru.h"])
def test_a_changed_kernel_is_found(file: str, tmp_path: Path) -> None:
    export(INTEGER, tmp_path / "model", format="c")
    pattern = {"egru_bounded.h": "23066", "egru_operand.h": "by->limit", "egru_gru.h": r"\(h - n\) \+ 32768"}[file]
    changed(tmp_path / "model", pattern, {"egru_gru.h": "(h + n) + 32768"}.get(file, "100"), file)
    with pytest.raises(VerificationError, match=r"golden step \d"):
        verify(tmp_path / "model", INTEGER)


@pytest.mark.parametrize("macro", ["STATE_BYTES", "SCRATCH_BYTES", "TABLE_BYTES"])
def test_sizes_are_asserted_where_it_is_compiled(macro: str, tmp_path: Path) -> None:
    export(INTEGER, tmp_path / "model", format="c")
    changed(tmp_path / "model", rf"(EDGEGRU_MODEL_{macro}) \d+", r"\1 8", "edgegru_model.h")
    with pytest.raises(VerificationError, match=r"refuses it: edgegru_model.c.*egru_assert"):
        verify(tmp_path / "model", INTEGER)


def test_what_the_compiler_refuses_is_said(tmp_path: Path) -> None:
    export(INTEGER, tmp_path / "model", format="c")
    changed(tmp_path / "model", r"egru_finite", "nothing", "edgegru_model.c")
    with pytest.raises(VerificationError, match=r"/model: .*refuses it: edgegru_model.c:\d+"):
        verify(tmp_path / "model", INTEGER)


def test_a_folder_of_another_model_is_refused(tmp_path: Path) -> None:
    export(INTEGER, tmp_path / "model", format="c")
    with pytest.raises(VerificationError, match="was exported from another model: its identity is"):
        verify(tmp_path / "model", FLOAT)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"format": "c"}', "\xff"],
)
def test_a_broken_manifest_is_refused(text: str, tmp_path: Path) -> None:
    export(INTEGER, tmp_path / "model", format="c")
    (tmp_path / "model" / MANIFEST).write_text(text, encoding="latin-1")
    with pytest.raises(VerificationError, match="is not what edgegru export writes; export it again"):
        verify(tmp_path / "model", INTEGER)


def test_a_manifest_cannot_name_another_place(tmp_path: Path) -> None:
    export(INTEGER, tmp_path / "model", format="c")
    changed(tmp_path / "model", "edgegru_model", "../../edgegru_model", MANIFEST)
    with pytest.raises(VerificationError, match="is not what edgegru export writes"):
        verify(tmp_path / "model", INTEGER)


def test_without_the_kernel_it_is_verified_all_the_same(tmp_path: Path) -> None:
    assert export(quantized(mixed_artifact(1)), tmp_path / "model", format="c", with_kernel=False).passed
    assert not list((tmp_path / "model").glob("egru_*"))


def test_a_name_of_its_own(tmp_path: Path) -> None:
    export(INTEGER, tmp_path / "model", format="c", name="Motion 2")
    assert (tmp_path / "model" / "edgegru_motion_2.h").is_file()


def test_a_folder_is_replaced_only_by_force_and_only_if_it_was_exported(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "work").write_text("of weeks")
    for force, sentence in ((False, "exists already"), (True, "is no folder that was exported as C")):
        with pytest.raises(ExportError, match=sentence):
            export(INTEGER, folder, format="c", force=force)
        assert (folder / "work").read_text() == "of weeks"
    export(INTEGER, tmp_path / "other", format="c")
    export(FLOAT, tmp_path / "other", format="c", force=True)
    assert verify(tmp_path / "other", FLOAT).passed
    assert sorted(os.listdir(tmp_path)) == ["model", "other"]


def test_nothing_is_kept_of_a_folder_that_computes_something_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(c_exporting, "c_folder", _with_another_weight)
    with pytest.raises(VerificationError, match=r"^\S+/model: golden step .*; no folder was kept$"):
        export(INTEGER, tmp_path / "model", format="c")
    assert os.listdir(tmp_path) == []


_c_folder = c_exporting.c_folder


def _with_another_weight(*given: object) -> dict[str, str]:
    texts = _c_folder(*given)  # type: ignore[arg-type]  # as they come
    source = texts["edgegru_model.c"]
    texts["edgegru_model.c"] = re.sub(r"(n1_gru0_bias_ih\[\d+\] = \{\n\s+)[^,]+,", r"\g<1>-99999,", source, count=1)
    return texts


def test_without_a_compiler_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler")
    with pytest.raises(EngineError, match="no C compiler 'no-such-compiler' was found"):
        export(INTEGER, tmp_path / "model", format="c")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("option", [{"name": "motion"}, {"target": "x86"}, {"io": "int"}, {"with_kernel": False}])
def test_options_of_c_are_refused_for_other_formats(option: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="was chosen for the format onnx, expected c"):
        export(INTEGER, tmp_path / "model.onnx", format="onnx", **option)  # type: ignore[arg-type]  # of its options


def test_info_says_what_it_would_take(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "int8.safetensors"
    save_artifact(INTEGER, model)
    report = export(model, tmp_path / "model", format="c", target="cortex-m", io="int")
    capsys.readouterr()
    assert main(["info", str(model), "--target", "cortex-m", "--io=int", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == edgegru.info(model, target="cortex-m", io="int") == {"sizes": [s.to_dict() for s in report.sizes]}
    assert main(["info", str(model), "--target=cortex-m", "--io", "int"]) == 0
    assert capsys.readouterr().out.splitlines() == list(map(str, report.sizes))
    assert main(["info", str(model), "--target", "z80"]) == 2


def test_the_command_line_writes_and_verifies_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, folder = tmp_path / "int8.safetensors", tmp_path / "model"
    save_artifact(INTEGER, model)
    options = ["--target", "x86", "--io", "int", "--name", "gait"]
    command = ["export", str(model), "--format", "c", *options, "-o", str(folder)]
    assert main([*command, "--without-kernel"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{folder} computes what its model computes in c over 500 closed-loop steps: y, h0 equal")
    assert second.startswith("x86-64: flash at most ")
    assert (folder / "edgegru_gait.c").is_file()
    assert main(["verify", str(folder), "--against", str(model)]) == 0
    assert main(command) == 1
    assert capsys.readouterr().err == f"error: the output {folder} exists already, expected a new name or force\n"
