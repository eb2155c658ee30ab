"""A model as a folder of C for any build: ``edgegru export --format c`` (docs/export-c.md)."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from edgegru_export.c_files import folder
from edgegru_export.c_float import write_float
from edgegru_export.c_integer import write_integer
from edgegru_export.c_layouts import LAYOUTS
from edgegru_export.c_parts import network, parts
from edgegru_export.c_program import decode
from edgegru_export.c_readme import readme
from edgegru_export.c_sizes import CSizes, sizes
from edgegru_export.c_source import Words
from edgegru_export.c_text import identifier
from edgegru_export.c_writer import PACKINGS, CModel
from edgegru_runtime.artifact import Artifact, read_artifact
from edgegru_runtime.errors import ExportError

TARGETS = tuple(PACKINGS)
INPUTS = ("float", "int")


@dataclass(frozen=True)
class COptions:
    """How a model is written. ``io``: "float", or "int" for operands in and integers out, without floating point."""

    target: str = "portable"
    io: str = "float"
    layout: str = "plain"
    with_kernel: bool = True  # without: another folder on the include path has the kernel's headers

    def __post_init__(self) -> None:
        for name, value, known in (
            ("target", self.target, TARGETS), ("io", self.io, INPUTS), ("layout", self.layout, tuple(LAYOUTS)),
        ):  # fmt: skip
            if value not in known:
                raise ExportError(f"the {name} is {value!r}, expected {' or '.join(known)}")


def c_model(artifact: Artifact, options: COptions) -> CModel:
    """Tables, memory and statements. Raises ExportError, by name, for what C cannot express."""
    config = artifact.config
    if config.scheme == "float32":
        if options.io == "int":
            raise ExportError("the model's scheme is float32, expected a static one for integers in and out")
        return write_float(decode(network(artifact)))
    if not config.static:
        raise ExportError(f"C has no form for the scheme {config.scheme}, expected float32 or a static one")
    return write_integer(decode(network(artifact)), PACKINGS[options.target], options.io == "float")


def c_folder(artifact: Artifact, name: str, options: COptions) -> dict[str, str]:
    """The texts of the folder by their path; ``name``: of the model. Raises ExportError like ``c_model``."""
    model, words = c_model(artifact, options), c_words(name, options)
    beside = parts(artifact, words)
    words = replace(words, parts=beside.sources)
    page = readme(model, words, options.layout) + beside.readme
    return folder(model, words, options.layout, options.with_kernel, page, beside)


def c_sizes(
    model: Artifact | str | os.PathLike[str], target: str = "portable", io: str = "float"
) -> tuple[CSizes, ...]:
    """What ``model`` takes as C on each processor of a target. Raises ExportError like ``c_model``."""
    artifact = model if isinstance(model, Artifact) else read_artifact(model)
    return sizes(c_model(artifact, COptions(target, io)), target)


def c_words(name: str, options: COptions) -> Words:
    """What texts are filled with."""
    return Words(identifier(name), options.io == "float", options.target)
