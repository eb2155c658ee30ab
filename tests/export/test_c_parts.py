"""The front end and the decisions of an exported folder of C: written, compiled, compared when it is verified."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgegru_export.c_layouts import LAYOUTS
from edgegru_export.exporting import export
from edgegru_export.stimulus import gaussian_input
from edgegru_export.verification import verify
from edgegru_runtime import Model
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.decisions import Decisions
from edgegru_runtime.errors import ExportError, VerificationError
from edgegru_runtime.model_config import DecisionConfig
from tests.builders import quantized, random_artifact, random_config, random_floats, with_log_mel

DECISION = DecisionConfig(0.3, 0.25, "mean:3", trigger_level=2, refractory=0.1)
SOUND = quantized(random_floats(with_log_mel(random_config(6, output_size=3), 40, 60, 64, 32768.0), 3))
STEPS = 300
HEARS = """
#include <stdio.h>
#include <string.h>
#include "edgegru_ear.h"
#include "edgegru_ear_decisions.h"
#include "edgegru_ear_log_mel.h"
int main(void) {
    static edgegru_ear_state state;
    static edgegru_ear_log_mel_state sound;
    static edgegru_ear_decisions decisions;
    int16_t samples[EDGEGRU_EAR_LOG_MEL_SAMPLES];
    int32_t work[EDGEGRU_EAR_LOG_MEL_WORK];
    %s x[EDGEGRU_EAR_INPUT_SIZE];
    %s y[EDGEGRU_EAR_OUTPUT_SIZE];
    egru_event events[EDGEGRU_EAR_MAX_EVENTS];
    edgegru_ear_init(&state);
    edgegru_ear_decisions_reset(&decisions);
    while (fread(samples, sizeof samples, 1, stdin) == 1) {
        edgegru_ear_log_mel(&sound, samples, work, x);
        if (edgegru_ear_step(&state, x, y))
            return 1;
        unsigned count = edgegru_ear_decide(&decisions, y, events);
        for (unsigned i = 0; i < count; i++)
            printf("%%lu %%u %%u\\n", (unsigned long)events[i].step, events[i].label, events[i].on);
    }
    return 0;
}
"""


def decided(artifact: Artifact, decision: DecisionConfig) -> Artifact:
    return replace(artifact, config=replace(artifact.config, decision=decision))


@pytest.mark.parametrize("io", ["float", "int"])
def test_from_samples_to_events(io: str, tmp_path: Path) -> None:
    artifact = decided(SOUND, DECISION)
    folder = tmp_path / "ear"
    export(artifact, folder, format="c", io=io)
    operand = "int16_t" if "const int16_t x[]" in (folder / "edgegru_ear.h").read_text() else "int8_t"
    (folder / "hears.c").write_text(HEARS % (("float", "float") if io == "float" else (operand, "int32_t")))
    names = ["edgegru_ear.c", "edgegru_ear_log_mel.c", "edgegru_ear_decisions.c", "hears.c"]
    subprocess.run(["cc", "-std=c99", "-Wall", "-Werror", *names, "-o", "hears"], check=True, cwd=folder)
    sound = gaussian_input(artifact, STEPS).astype("<i2")
    found = subprocess.run([folder / "hears"], input=sound.tobytes(), check=True, capture_output=True)
    stream, decisions, expected = Model(artifact).stream(), Decisions(artifact.config, DECISION), []
    labels = artifact.config.outputs[0].labels
    for step, samples in enumerate(sound.astype(np.float32)):
        for event in decisions.step(step, samples, None, [stream.step(samples)]):
            expected.append(f"{step} {labels.index(event.label)} {int(event.on)}")  # noqa: PERF401
    assert len(expected) > 10
    assert found.stdout.decode().split("\n")[:-1] == expected


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_compiles_the_parts(layout: str, tmp_path: Path) -> None:
    folder = tmp_path / "ear"
    export(SOUND, folder, format="c", layout=layout)
    place = folder / "src" if layout == "arduino" else folder
    assert {path.name for path in place.glob("edgegru_ear_*.c")} == {
        f"edgegru_ear_{name}.c" for name in ("selftest", "log_mel", "decisions")
    }
    if layout != "arduino":  # which compiles what is there
        text = (folder / "CMakeLists.txt").read_text()
        assert "edgegru_ear_log_mel.c" in text and "edgegru_ear_decisions.c" in text
    text = (folder / "README.md").read_text()
    assert "edgegru_ear_log_mel(" in text and "edgegru_ear_decide(" in text


def test_a_model_without_either_has_neither(tmp_path: Path) -> None:
    export(random_artifact(head="identity"), tmp_path / "value", format="c")
    assert not list((tmp_path / "value").glob("*_decisions.*")) and not list((tmp_path / "value").glob("*_log_mel.*"))


def test_other_decisions_are_another_folder(tmp_path: Path) -> None:
    artifact = random_artifact()
    export(artifact, tmp_path / "gait", format="c")
    verify(tmp_path / "gait", artifact)
    with pytest.raises(VerificationError, match=r"edgegru_gait_decisions\.[ch] is not what this model is written as"):
        verify(tmp_path / "gait", decided(artifact, DECISION))


def test_a_changed_table_of_the_front_end_is_found(tmp_path: Path) -> None:
    export(SOUND, tmp_path / "ear", format="c")
    file = tmp_path / "ear" / "edgegru_ear_log_mel.c"
    file.write_text(file.read_text().replace("1073741824", "1073741823", 1))
    with pytest.raises(VerificationError, match=r"edgegru_ear_log_mel\.c is not what this model is written as"):
        verify(tmp_path / "ear", SOUND)


def test_sound_in_floats_is_refused(tmp_path: Path) -> None:
    artifact = random_floats(with_log_mel(random_config(6), 40, 60, 64), 0)
    with pytest.raises(ExportError, match="in C front ends are integers"):
        export(artifact, tmp_path / "ear", format="c")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(shutil.which("cmake") is None, reason="Debian package cmake")
def test_the_folder_builds_with_cmake(tmp_path: Path) -> None:
    export(SOUND, tmp_path / "ear", format="c")
    subprocess.run(["cmake", "-S", tmp_path / "ear", "-B", tmp_path / "build"], check=True, capture_output=True)
    subprocess.run(["cmake", "--build", tmp_path / "build"], check=True, capture_output=True)
