"""Quantization of a translator: the encoder first, then the decoder on what the quantized encoder gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgegru.calibration import calibrate
from edgegru.quantization import DEFAULT_MARGIN, check_request, quantize_artifact
from edgegru.translation.pairs import TokenPair, in_tokens, read_pairs
from edgegru_export.saving import save_artifact
from edgegru_runtime.artifact import Artifact, read_artifact
from edgegru_runtime.errors import CalibrationError, QuantizationError
from edgegru_runtime.model import Model
from edgegru_runtime.translation import DECODER, ENCODER, SUFFIX, Translator

CALIBRATION_PAIRS = 300  # by default


def quantize_translator(
    folder: str | Path,
    calibration: str | Path,
    output: str | Path,
    *,
    scheme: str = "static-w8a8",
    observer: str = "minmax",
    margin: float = DEFAULT_MARGIN,
    pairs: int = CALIBRATION_PAIRS,
    force: bool = False,
) -> Path:
    """Quantize the float32 translator in ``folder`` and write encoder and decoder into the folder ``output``.

    ``calibration``: a folder of pairs, of whose training part the first ``pairs`` are looked at. Raises ArtifactError,
    DataError, CalibrationError and QuantizationError.
    """
    folder, output = Path(folder), Path(output)
    if output.resolve() == folder.resolve():
        raise QuantizationError(f"{output} has the float32 models, expected another folder")
    for name in (ENCODER, DECODER):
        if (output / f"{name}{SUFFIX}").exists() and not force:
            raise QuantizationError(f"{output / name}{SUFFIX} exists already, expected a new folder or --force")
    encoder, decoder = (read_artifact(folder / f"{name}{SUFFIX}") for name in (ENCODER, DECODER))
    for artifact in (encoder, decoder):
        check_request(artifact, scheme, margin)
    translator = Translator(Model(encoder), Model(decoder))
    options = decoder.config.data["options"]
    found = read_pairs(Path(calibration), "train", options["source"], options["target"])[:pairs]
    tokens = in_tokens(found, translator.source.config, translator.target.config, translator.length)
    if not tokens:
        raise CalibrationError(f"{calibration} has no pair to calibrate with, expected files of a training part")
    models = quantized_pair(encoder, decoder, tokens, scheme, observer, margin)
    output.mkdir(parents=True, exist_ok=True)
    for name, model in zip((ENCODER, DECODER), models, strict=True):
        save_artifact(model, output / f"{name}{SUFFIX}")
    return output


def quantized_pair(
    encoder: Artifact,
    decoder: Artifact,
    pairs: Sequence[TokenPair],
    scheme: str = "static-w8a8",
    observer: str = "minmax",
    margin: float = DEFAULT_MARGIN,
) -> tuple[Artifact, Artifact]:
    """Both models in an integer scheme, calibrated on ``pairs``; raises as ``quantize_artifact`` does."""
    sources = [column(pair.source) for pair in pairs]
    ranges = None if scheme == "dynamic-w8" else calibrate(encoder, sources, observer)
    small_encoder = quantize_artifact(encoder, ranges, scheme=scheme, margin=margin)
    if scheme != "dynamic-w8":
        assert decoder.config.input.tokenizer is not None
        end = decoder.config.input.tokenizer.end
        assert end is not None
        rows = remembered(small_encoder, sources)
        said = [column((end, *pair.target)) for pair in pairs]
        ranges = calibrate(decoder, said, observer, rows)
    small_decoder = quantize_artifact(decoder, ranges, scheme=scheme, margin=margin)
    config = replace(small_decoder.config, encoder=small_encoder.config.identity)
    return small_encoder, Artifact(config, small_decoder.tensors)


def remembered(encoder: Artifact, sources: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    """The rows (n, row_size) that a decoder is given for each source (n, 1)."""
    stream, rows = Model(encoder).stream(), []
    for source in sources:
        stream.reset()
        rows.append(np.concatenate([np.asarray(part) for part in stream.run(source)], axis=1))
    return rows


def column(tokens: Sequence[int]) -> NDArray[np.float32]:
    """Tokens (n,) as what a model reads, (n, 1)."""
    return np.array(tokens, np.float32)[:, np.newaxis]
