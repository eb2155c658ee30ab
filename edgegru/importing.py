"""``edgegru import``: a GRU trained elsewhere as an artifact, kept only if it computes what its source computes."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from edgegru.imports import formats
from edgegru.imports.assembling import Naming, assemble
from edgegru.imports.parity import check_parity
from edgegru.imports.source import ForeignModel, Options
from edgegru_export.saving import save_artifact
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.errors import EdgegruError, ImportModelError

# A module for each format, imported where one is met; its ``read(path, options)`` gives a ForeignModel.
_READERS = {
    formats.KERAS_ZIP: "keras_file",
    formats.KERAS_HDF5: "keras_file",
    formats.KERAS_JSON: "keras_file",
    formats.SAVED_MODEL: "saved_model",
    formats.ONNX: "onnx_file",
    formats.TORCH_ZIP: "state_dict",
    formats.SAFETENSORS: "state_dict",
    formats.AUDIO_JSON: "audio_json",
    formats.NPZ: "npz_weights",
}
_TAKEN_BY = {"layout": (formats.NPZ,), "node": (formats.ONNX,), "weights": (formats.KERAS_JSON,)}  # options


@dataclass(frozen=True)
class ImportReport:
    """What was imported, and how near it is to its source."""

    file: str
    format: str
    output: str
    identity: str
    layers: tuple[str, ...]
    checked_against: str
    steps: int
    largest_error: float
    allowed_error: float

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        return "\n".join(
            [
                f"{self.output}: imported from {self.file} ({self.format})",
                f"layers      {', '.join(self.layers)}",
                f"checked     {self.steps} steps against {self.checked_against}",
                f"error       {self.largest_error:.2g} at most, {self.allowed_error:.2g} allowed",
            ]
        )


def import_model(
    file: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    rate: float | None = None,
    channels: Sequence[str] | None = None,
    units: Sequence[str] | None = None,
    labels: Sequence[Sequence[str]] | None = None,
    layout: str | None = None,
    node: str | None = None,
    weights: str | os.PathLike[str] | None = None,
    force: bool = False,
) -> ImportReport:
    """Read a model of another maker and write it as an artifact.

    ``file``: Keras (.keras, .h5, or the JSON of an architecture with ``weights``), TensorFlow's SavedModel, ONNX, a
    PyTorch state dict, .safetensors or .npz; told from its content. ``rate``: samples a second; ``channels``,
    ``units``: of the input; ``labels``: names of every output's numbers, a list an output. ``layout``: of an .npz file,
    "lasagne" or "dl4mt"; ``node``: one GRU of a larger ONNX model.

    Raises ImportModelError, in one sentence, for what cannot be imported exactly, and where the artifact differs from
    its source by more than float32's rounding (docs/importing.md); nothing is written then.
    """
    path, target = Path(file), Path(output)
    options = Options(layout, node, None if weights is None else Path(weights))
    if target.exists() and not force:
        raise ImportModelError(f"{target}: exists, expected a new name (or --force)")
    if not target.parent.is_dir():
        raise ImportModelError(f"{target.parent} is no folder, expected one to write {target.name} in")
    format = formats.recognise(path)
    _check_options(path, format, options)
    try:
        model = _reader(format)(path, options)
        artifact, report = convert(model, Naming(channels, units, rate, labels))
        save_artifact(artifact, target)
    except EdgegruError as error:
        raise ImportModelError(str(error) if str(error).startswith(str(path)) else f"{path}: {error}") from error
    return replace(report, file=os.fspath(path), output=os.fspath(target))


def from_torch(
    module: Any,
    example: Any = None,
    *,
    rate: float | None = None,
    channels: Sequence[str] | None = None,
    units: Sequence[str] | None = None,
    labels: Sequence[Sequence[str]] | None = None,
) -> Artifact:
    """``module``, a torch.nn.Module or a program of ``torch.export``, as an artifact, checked against torch itself.

    ``example``: what the module is called with, a tensor or a tuple of them: a sequence (batch, T, channels), (T,
    batch, channels) or one of row numbers; left out, it is taken from the first layer where that tells. The other
    parameters are those of ``import_model``. Raises ImportModelError for what cannot be imported exactly.
    """
    from edgegru.imports.torch_module import read_module

    return convert(read_module(module, example), Naming(channels, units, rate, labels))[0]


def convert(model: ForeignModel, naming: Naming) -> tuple[Artifact, ImportReport]:
    """The artifact of a foreign model, once it has been compared with it; ``file`` and ``output`` are empty."""
    artifact = assemble(model.layers, naming, {"imported_from": model.format})
    parity = check_parity(artifact, model.source)
    layers = tuple(node.name for node in artifact.config.nodes)
    report = ImportReport(
        "",
        model.format,
        "",
        artifact.config.identity,
        layers,
        parity.against,
        parity.steps,
        parity.largest_error,
        parity.allowed_error,
    )
    return artifact, report


def _reader(format: str) -> Callable[[Path, Options], ForeignModel]:
    module = import_module(f"edgegru.imports.{_READERS[format]}")
    return cast(Callable[[Path, Options], ForeignModel], module.read)


def _check_options(path: Path, format: str, options: Options) -> None:
    for name, takers in _TAKEN_BY.items():
        if getattr(options, name) is not None and format not in takers:
            raise ImportModelError(f"{path}: is {format}, but --{name} is for {' or '.join(takers)}")
