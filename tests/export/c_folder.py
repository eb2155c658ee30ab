"""Folders of C for the tests, and their engines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from edgegru_export.c_engine import FLAGS, CEngine
from edgegru_export.c_export import COptions, c_folder, c_model, c_words
from edgegru_runtime.artifact import Artifact


def write(artifact: Artifact, folder: Path, name: str = "model", **options: object) -> COptions:
    """The folder, as ``export`` writes it, but not verified."""
    given = COptions(**options)  # type: ignore[arg-type]  # fields of COptions
    for path, text in c_folder(artifact, name, given).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")
    return given


@contextmanager
def engine_of(
    artifact: Artifact,
    folder: Path,
    flags: Sequence[str] = FLAGS,
    emulator: Sequence[str] = (),
    **options: object,
) -> Iterator[CEngine]:
    """The model compiled for this machine by what CC names."""
    given = write(artifact, folder, **options)
    build = folder / "build"
    build.mkdir()
    with CEngine(c_model(artifact, given), c_words("model", given), folder, build, flags, emulator) as engine:
        yield engine
