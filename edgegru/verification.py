"""``edgegru verify``: an exported file against its artifact, or an integer artifact against its float model."""

from __future__ import annotations

import os
from pathlib import Path

from edgegru.drift import DRIFT_STEPS, DriftReport, measure_drift
from edgegru_export.c_exporting import is_c_folder
from edgegru_export.tolerances import VERIFY_STEPS
from edgegru_export.verification import VerificationReport
from edgegru_export.verification import verify as verify_exported
from edgegru_runtime.artifact import Artifact, read_artifact
from edgegru_runtime.errors import VerificationError
from edgegru_runtime.exported import EXPORTED_SUFFIXES
from edgegru_runtime.plan import PLAN_SUFFIX


def verify(
    file: str | os.PathLike[str],
    against: Artifact | str | os.PathLike[str],
    steps: int | None = None,
    plot: str | os.PathLike[str] | None = None,
) -> VerificationReport | DriftReport:
    """Run a file closed loop beside the model that it was made from, and compare.

    ``file``: an exported .onnx, .tflite or .plan file or a folder of C, held against its artifact (docs/export.md), or
    an integer artifact, held against the float32 model that it was quantized from (docs/drift.md). ``steps``: how long;
    by default ``VERIFY_STEPS`` for exported files and ``DRIFT_STEPS`` for artifacts. ``plot``: for artifacts, where to
    draw the drift as a PNG.

    Raises VerificationError, in one sentence that says where, for a file that computes something else, drifts or
    belongs to another model; ArtifactError for a file that is broken; EngineError where its runtime is not installed.
    """
    name = os.fspath(file)
    if os.path.splitext(name)[1].lower() in (*EXPORTED_SUFFIXES, PLAN_SUFFIX) or is_c_folder(name):
        if plot is not None:
            raise VerificationError(f"{name} is an exported file, but a plot shows the drift of an integer artifact")
        return verify_exported(name, against, VERIFY_STEPS if steps is None else steps)
    if plot is not None and not Path(plot).parent.is_dir():  # not after minutes of computing
        raise VerificationError(f"{Path(plot).parent} is no folder, expected one to draw {Path(plot).name} in")
    real, called = (against, "the float model") if isinstance(against, Artifact) else (read_artifact(against), against)
    names = (name, os.fspath(called))
    report = measure_drift(read_artifact(name), real, DRIFT_STEPS if steps is None else steps, names=names)
    if plot is not None:
        from edgegru.drift_plot import plot_drift  # matplotlib only where a picture is wanted

        plot_drift(report, plot)
    if not report.passed:
        raise VerificationError(str(report))
    return report
