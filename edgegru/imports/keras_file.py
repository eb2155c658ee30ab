"""Keras models: .keras files, HDF5 files of ``model.save("x.h5")``, the JSON of an architecture with its weights."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import h5py

from edgegru.imports import formats
from edgegru.imports.keras_config import flatten, parse, read_model
from edgegru.imports.keras_equations import KerasEquations
from edgegru.imports.keras_layers import build_layers
from edgegru.imports.keras_runtime import keras_source
from edgegru.imports.keras_steps import check_kinds, read_steps
from edgegru.imports.keras_version import Version
from edgegru.imports.keras_weights import attribute, opened, read_weights
from edgegru.imports.source import ForeignModel, Options, Source
from edgegru_runtime.errors import ImportModelError

_LARGEST_JSON = 2**26  # bytes
_LARGEST_WEIGHTS = 2**30  # bytes, those of the optimizer included
_DAMAGED = (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, NotImplementedError, RuntimeError)


def read(path: Path, options: Options) -> ForeignModel:
    """The model of a file. Raises ImportModelError for what is damaged, custom or cannot be streamed exactly."""
    format = formats.recognise(path)
    if format == formats.KERAS_HDF5:
        with opened(path) as file:
            return _read(parse(_architecture(file)), _stored_version(file), "HDF5", path)
    if format == formats.KERAS_ZIP:
        metadata = parse(_member(path, "metadata.json", _LARGEST_JSON))
        weights = _member(path, "model.weights.h5", _LARGEST_WEIGHTS)
        return _read(
            parse(_member(path, "config.json", _LARGEST_JSON)), metadata.get("keras_version"), ".keras", weights
        )
    config = parse(formats.read_bounded(path, _LARGEST_JSON))
    return _read(config, config.get("keras_version"), "architecture and weights", _weights_beside(options))


def _read(config: dict[str, object], version: object, layout: str, weights: Path | bytes) -> ForeignModel:
    model = read_model(config)
    check_kinds(model)
    program = flatten(model)
    with opened(weights) as file:
        text = version if isinstance(version, str) else _stored_version(file)
        read_weights(model, file)
    written_by = Version.read(text, model)
    steps = read_steps(program, written_by)
    layers = build_layers(steps)
    equations = KerasEquations(steps, f"the equations of {written_by} in NumPy")
    source: Source = keras_source(config, written_by, weights, equations) or equations
    return ForeignModel(f"{written_by}, {layout}", layers, source)


def _architecture(file: h5py.File) -> str:
    text = attribute(file, "model_config")
    if text is None:
        found = "weights alone" if "layer_names" in file.attrs or "layers" in file else "no model"
        raise ImportModelError(
            f"the HDF5 file has {found}, expected a file of model.save; weights are imported with the JSON of their "
            "architecture (model.to_json) and --weights"
        )
    return text


def _stored_version(file: h5py.File) -> str | None:
    """Where a file with weights says it: at its root, or beside the weights."""
    text = attribute(file, "keras_version")
    group = file.get("model_weights")
    return attribute(group, "keras_version") if text is None and isinstance(group, h5py.Group) else text


def _member(path: Path, name: str, limit: int) -> bytes:
    """One file of a zip archive, its size bounded before and while it is unpacked."""
    try:
        with zipfile.ZipFile(path) as archive:
            if name not in archive.namelist():
                raise ImportModelError(f"the .keras file has no {name}")
            with archive.open(name) as file:
                content = file.read(limit + 1)
    except _DAMAGED as error:
        raise ImportModelError(f"{name} in the .keras file is damaged: {error}") from None
    if len(content) > limit:
        raise ImportModelError(f"{name} in the .keras file has more than {limit:,} bytes")
    return content


def _weights_beside(options: Options) -> Path | bytes:
    """The weights file of an architecture: HDF5, or a .keras file."""
    if options.weights is None:
        raise ImportModelError("is an architecture without weights, expected their .h5 file with --weights")
    format = formats.recognise(options.weights)
    if format == formats.KERAS_ZIP:
        return _member(options.weights, "model.weights.h5", _LARGEST_WEIGHTS)
    if format != formats.KERAS_HDF5:
        raise ImportModelError(f"{options.weights}: is {format}, expected weights of Keras in HDF5")
    return options.weights
