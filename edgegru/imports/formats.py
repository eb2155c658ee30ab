"""Which format a file has, told from its first bytes, never from its name."""

from __future__ import annotations

import json
import os
import struct
import zipfile
from pathlib import Path

from edgegru_runtime.errors import ImportModelError

KERAS_ZIP, KERAS_HDF5, KERAS_JSON = "a .keras file", "an HDF5 file", "a Keras JSON file"
TORCH_ZIP, SAFETENSORS, NPZ = "a PyTorch file", "a safetensors file", "an .npz file"
AUDIO_JSON = "the JSON of an audio model"
ONNX, SAVED_MODEL = "an ONNX file", "a SavedModel"
LARGEST_FILE = 2**31  # bytes: what protobuf can hold
_TORCH_BEFORE_1_6 = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # its magic number, pickled
_PROTOBUF_FIRST_FIELDS = (0x08, 0x12, 0x1A, 0x22, 0x2A, 0x32, 0x38, 0x3A, 0x42)  # of an ONNX ModelProto


def recognise(path: Path) -> str:
    """One of the formats above. Raises ImportModelError for any other content, naming it where it is known."""
    try:
        if path.is_dir():
            return _folder(path)
        if not path.is_file():
            reason = "is not a regular file" if path.exists() else "does not exist"
            raise ImportModelError(f"{path}: {reason}; expected a model file")
        size = os.stat(path).st_size
        if size > LARGEST_FILE:
            raise ImportModelError(f"{path}: has {size:,} bytes, expected at most {LARGEST_FILE:,}")
        with open(path, "rb") as file:
            head = file.read(512)
    except OSError as error:
        raise ImportModelError(f"{path}: cannot be read: {error.strerror}") from None
    if not head:
        raise ImportModelError(f"{path}: is empty, expected a model file")
    if head.startswith(b"PK\x03\x04"):
        return _zip(path)
    return _plain(path, head, size)


def read_bounded(path: Path, largest: int) -> bytes:
    """The bytes of a file. Raises ImportModelError for one of more than ``largest``, which is not read to its end."""
    with open(path, "rb") as file:
        content = file.read(largest + 1)
    if len(content) > largest:
        raise ImportModelError(f"{path.name} has more than {largest:,} bytes")
    return content


def _folder(path: Path) -> str:
    if (path / "saved_model.pb").is_file():
        return SAVED_MODEL
    raise ImportModelError(f"{path}: is a folder without a saved_model.pb, expected a model file or a SavedModel")


def _zip(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise ImportModelError(f"{path}: is a damaged zip file: {error}") from None
    if "config.json" in names and "model.weights.h5" in names:
        return KERAS_ZIP
    if (
        any(name.endswith(("/data.pkl", "/archive_format", "/archive_version")) for name in names)
        or "data.pkl" in names
    ):
        return TORCH_ZIP
    if any("serialized_exported_program" in name for name in names):
        return TORCH_ZIP
    if names and all(name.endswith(".npy") for name in names):
        return NPZ
    expected = "a .keras file, a PyTorch state dict or an .npz file"
    raise ImportModelError(f"{path}: is a zip file without a model in it, expected {expected}")


def _plain(path: Path, head: bytes, size: int) -> str:
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return KERAS_HDF5
    if head[4:8] == b"TFL3":
        raise ImportModelError(f"{path}: is a TFLite file, which `edgegru info` describes but nothing imports")
    if head.startswith(b"version https://git-lfs"):
        found = "is a Git LFS pointer, a text of a few lines in place of the model"
        raise ImportModelError(f"{path}: {found}; expected the file itself (git lfs pull)")
    if head.startswith(_TORCH_BEFORE_1_6):
        raise ImportModelError(
            f"{path}: is a PyTorch file in the format from before 1.6, a pickle, which is never opened; expected it "
            "saved anew: torch.save(torch.load(..., weights_only=True), ...)"
        )
    if head[0] == 0x80 and head[1] in range(2, 6):
        raise ImportModelError(
            f"{path}: is a pickle, which can run any code when it is read and is never opened; expected weights alone, "
            "such as torch.save(model.state_dict(), ...) or a .safetensors file"
        )
    if len(head) > 8 and head[8] == ord("{") and struct.unpack("<Q", head[:8])[0] <= size - 8:
        return SAFETENSORS
    if head.lstrip().startswith(b"{"):
        return _json(path)
    if head[0] in _PROTOBUF_FIRST_FIELDS:
        return ONNX  # whose reader knows whether it is one
    raise ImportModelError(
        f"{path}: is of no known format, expected Keras (.keras, .h5), ONNX, PyTorch weights, safetensors or .npz"
    )


def _json(path: Path) -> str:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        content = None
    if isinstance(content, dict) and "class_name" in content:
        return KERAS_JSON
    if isinstance(content, dict) and "model_data" in content and "state_dict" in content:
        return AUDIO_JSON
    expected = "an object with class_name, or with model_data and state_dict"
    raise ImportModelError(f"{path}: is JSON but no Keras architecture and no audio model, expected {expected}")
