"""A model ready to stream: shared, read-only, with the engine that runs it."""

from __future__ import annotations

import os
from _thread import allocate_lock  # threading's Lock, without what importing threading brings

from edgegru_runtime.artifact import Artifact, read_artifact
from edgegru_runtime.engine import Engine, Source, build_engine, engine_name
from edgegru_runtime.exported import EXPORTED_SUFFIXES, read_exported

TYPE_CHECKING = False  # see plain_data.py
if TYPE_CHECKING:
    from edgegru_runtime.kernel_engine import KernelEngine
    from edgegru_runtime.model_config import ModelConfig
    from edgegru_runtime.stream import Stream
    from edgegru_runtime.streams import Streams


class Model:
    """An artifact or an exported file, and its engine. Any number of threads may share it, with a stream each."""

    def __init__(self, source: Source, engine: str | None = None) -> None:
        """``engine``: a name from ``engine.ENGINES``, or None for the one that fits (EngineError for another one)."""
        self.source = source
        self.engine_name = engine_name(source, engine)
        self._engine: Engine | None = None
        self._building = allocate_lock()

    @property
    def config(self) -> ModelConfig:
        """All that the file says about the model."""
        return self.source.config

    @property
    def artifact(self) -> Artifact | None:
        """The artifact, or None where the model is an exported file."""
        return self.source if isinstance(self.source, Artifact) else None

    @property
    def input_size(self) -> int:
        """Numbers in a sample."""
        return self.config.input.size

    @property
    def output_sizes(self) -> tuple[int, ...]:
        """Numbers in each output, in declared order."""
        return tuple(self.config.node(output.node).output_size for output in self.config.outputs)

    @property
    def engine(self) -> Engine:
        """The engine, built when first asked for: loading and describing a model needs neither NumPy nor a runtime.

        Raises EngineError where a package that it needs is missing.
        """
        if self._engine is None:
            with self._building:
                if self._engine is None:
                    self._engine = build_engine(self.source, self.engine_name)
        return self._engine

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


def load(path: str | os.PathLike[str], engine: str | None = None) -> Model:
    """Read and check a model file: ``.onnx`` and ``.tflite`` as exported by EdgeGRU, anything else as an artifact.

    Raises ArtifactError (FormatVersionError for another format version) for a file that is no whole model of ours, and
    EngineError where ``engine`` cannot run such a file.
    """
    suffix = os.path.splitext(os.fspath(path))[1].lower()
    source: Source = read_exported(path) if suffix in EXPORTED_SUFFIXES else read_artifact(path)
    return Model(source, engine)
