"""Writing and verifying a folder of C: it is there whole, and computes what its model computes, or it is not there."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from edgegru_export.c_engine import FLAGS, CEngine, compile_c
from edgegru_export.c_export import COptions, c_folder, c_model
from edgegru_export.c_files import MANIFEST, kernel_headers, kernel_text
from edgegru_export.c_layouts import PLACES
from edgegru_export.c_parts import CParts, parts
from edgegru_export.c_source import Words
from edgegru_export.identity import verify_identity
from edgegru_runtime.artifact import Artifact, read_artifact
from edgegru_runtime.errors import EdgegruError, ExportError, VerificationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from edgegru_export.verification import VerificationReport

_FIELDS = {"format", "identity", "io", "layout", "prefix", "sources", "target"}


def export_c(
    model: Artifact | str | os.PathLike[str], place: Path, name: str | None, options: COptions, force: bool
) -> VerificationReport:
    """Write ``model`` as the folder ``place``, verified. Raises like ``export``."""
    from edgegru_export.verification import verify

    _check_place(place, force)
    artifact = model if isinstance(model, Artifact) else read_artifact(model)
    texts = c_folder(artifact, place.name if name is None else name, options)
    try:
        with tempfile.TemporaryDirectory(prefix=".edgegru-", dir=place.parent) as temporary:
            written = Path(temporary, place.name)
            for path, text in texts.items():
                file = written / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text, encoding="utf-8", newline="\n")
            try:
                report = verify(written, artifact)
            except EdgegruError as error:
                message = str(error).replace(os.fspath(written), os.fspath(place))
                raise type(error)(f"{message}; no folder was kept") from error
            if place.exists():
                os.rename(place, Path(temporary, "before"))
            os.rename(written, place)
    except OSError as error:
        raise ExportError(f"{place}: cannot be written: {error.strerror}") from error
    return replace(report, file=os.fspath(place))


def _check_place(place: Path, force: bool) -> None:
    if not place.name:
        raise ExportError(f"the output {place} has no name, expected that of a folder")
    if not place.parent.is_dir():
        raise ExportError(f"the output's folder {place.parent} does not exist, expected an existing one")
    if not os.path.lexists(place):
        return
    if not force:
        raise ExportError(f"the output {place} exists already, expected a new name or force")
    if place.is_symlink() or not (place / MANIFEST).is_file():  # never take away what is not ours
        raise ExportError(f"the output {place} is no folder that was exported as C, expected one to replace")


def is_c_folder(path: str | os.PathLike[str]) -> bool:
    """Whether a path is a folder that was exported as C."""
    return Path(path, MANIFEST).is_file()


def read_manifest(folder: Path) -> tuple[Words, COptions, str]:
    """What a folder was exported as, and the identity it carries. Raises VerificationError for a broken manifest."""
    try:
        fields = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if not isinstance(fields, dict) or set(fields) != _FIELDS or fields["format"] != "c":
            raise ValueError
        if not all(isinstance(value, str) for value in fields.values()):
            raise ValueError
        options = COptions(fields["target"], fields["io"], fields["layout"])
        if not re.fullmatch("edgegru_[a-z0-9_]{1,64}", fields["prefix"]):
            raise ValueError
    except (OSError, ValueError, ExportError) as error:
        raise VerificationError(f"{folder}: {MANIFEST} is not what edgegru export writes; export it again") from error
    return Words(fields["prefix"], options.io == "float", options.target), options, fields["identity"]


@contextmanager
def compiled(folder: Path, artifact: Artifact) -> Iterator[CEngine]:
    """The folder as an engine, once it is known to be of this model, its golden steps and its programs in order.

    Raises VerificationError for what is of another model, refused by the compiler or fails its golden steps.
    """
    verify_identity(artifact)
    words, options, identity = read_manifest(folder)
    if identity != artifact.config.identity:
        raise VerificationError(
            f"{folder} was exported from another model: "
            f"its identity is {identity[:12]}…, expected {artifact.config.identity[:12]}…"
        )
    model, beside = c_model(artifact, options), parts(artifact, words)
    with tempfile.TemporaryDirectory(prefix="edgegru-") as temporary:
        sources = Path(temporary, "sources")
        shutil.copytree(folder / PLACES.get(options.layout, ""), sources)
        _complete(sources, {*kernel_headers(model), *beside.headers})
        try:
            _check_parts(sources, beside)
            if (sources / "main.c").exists():
                compile_c([sources / "main.c"], sources, (*FLAGS, "-fsyntax-only"))
            engine = CEngine(model, words, sources, Path(temporary))
        except VerificationError as error:
            raise VerificationError(f"{folder}: {error}") from None
        with engine:
            if failed := engine.failed_golden_step():
                raise VerificationError(f"{folder}: golden step {failed} of {words.prefix}_selftest.c is not computed")
            yield engine


def _complete(sources: Path, headers: Iterable[str]) -> None:
    """The kernel's headers, where they were left out."""
    for name in headers:
        if not (sources / name).exists():
            (sources / name).write_text(kernel_text(name), encoding="utf-8")


def _check_parts(sources: Path, beside: CParts) -> None:
    """The front end and the decisions are this model's, letter by letter, and compile."""
    for name, text in beside.texts.items():
        if not (sources / name).is_file() or (sources / name).read_text(encoding="utf-8") != text:
            raise VerificationError(f"{name} is not what this model is written as; export it again")
    for name in beside.sources:
        compile_c([sources / name], sources, (*FLAGS, "-fsyntax-only"))
