"""A model ready to stream: shared, read-only, with the engine that runs it."""

from __future__ import annotations

import os

from edgegru_runtime.artifact import Artifact, read_artifact
from edgegru_runtime.engine import Source, build_engine
from edgegru_runtime.exported import EXPORTED_SUFFIXES, read_exported

TYPE_CHECKING = False  # see plain_data.py
if TYPE_CHECKING:
    from edgegru_runtime.kernel_engine import KernelEngine
    from edgegru_runtime.model_config import ModelConfig
    from edgegru_runtime.stream import Stream
    from edgegru_runtime.streams import Streams
    from edgegru_runtime.tokenizer import Tokenizer


class Model:
    """An artifact or an exported file, and its engine. Any number of threads may share it, with a stream each."""

    def __init__(self, source: Source, engine: str | None = None) -> None:
        """``engine``: a name from ``engine.ENGINES``, or None for the one that fits.

        Raises EngineError where another one is asked for, or where a package that it needs is not installed.
        """
        self.source = source
        self.engine = build_engine(source, engine)

    @property
    def config(self) -> ModelConfig:
        """All that the file says about the model."""
        return self.source.config

    @property
    def artifact(self) -> Artifact | None:
        """The artifact, or None where the model is an exported file."""
        return self.source if isinstance(self.source, Artifact) else None

    @property
    def tokenizer(self) -> Tokenizer | None:
        """What makes tokens of text; None where the input is numbers."""
        if self.config.input.tokenizer is None:
            return None
        from edgegru_runtime.tokenizer import Tokenizer

        return Tokenizer(self.config.input.tokenizer)

    @property
    def input_size(self) -> int:
        """Numbers that a step takes."""
        return self.config.input.step_size

    @property
    def output_sizes(self) -> tuple[int, ...]:
        """Numbers in each output, in declared order."""
        return tuple(self.config.node(output.node).output_size for output in self.config.outputs)

    @property
    def engine_name(self) -> str:
        """What computes: a name from ``engine.ENGINES``."""
        return self.engine.name

    def stream(self) -> Stream:
        """A new stream, in the state that it begins with."""
        if self.engine_name == "kernel":
            return self._kernel().stream(self)
        from edgegru_runtime.stream import EngineStream

        return EngineStream(self)

    def streams(self, count: int) -> Streams:
        """``count`` new streams that step together, more or fewer later."""
        from edgegru_runtime.streams import KernelStreams, Streams

        return Streams(self, count) if self.engine_name != "kernel" else KernelStreams(self, count, self._kernel())

    def _kernel(self) -> KernelEngine:
        return self.engine  # type: ignore[return-value]  # by its name


def read_source(path: str | os.PathLike[str]) -> Source:
    """Read and check a model file, which needs no engine: ``.onnx`` and ``.tflite`` as exported by EdgeGRU, anything
    else as an artifact.

    Raises ArtifactError (FormatVersionError for another format version) for a file that is no whole model of ours.
    """
    suffix = os.path.splitext(os.fspath(path))[1].lower()
    return read_exported(path) if suffix in EXPORTED_SUFFIXES else read_artifact(path)


def load(path: str | os.PathLike[str], engine: str | None = None) -> Model:
    """A model file with its engine, ready to stream.

    Raises ArtifactError as ``read_source`` does, and EngineError where ``engine`` cannot run such a file, or nothing on
    this machine can: it says what to install.
    """
    return Model(read_source(path), engine)
