"""What an engine is, and which one runs a model.

``reference`` computes artifacts with NumPy; ``onnxruntime`` and ``litert`` run exported files in the runtime they were
exported for. An engine is built once per model and is shared by all its streams; a stream owns one of its states.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol, Union

from edgegru_runtime.errors import EngineError

if TYPE_CHECKING:
    from edgegru_runtime.artifact import Artifact
    from edgegru_runtime.exported import ExportedFile

    Source = Union[Artifact, ExportedFile]

ENGINES = ("reference", "onnxruntime", "litert")


class Engine(Protocol):
    """One way to compute a model. A state is opaque; whoever made it passes it back."""

    name: str

    def new_state(self) -> Any:
        """A zero state."""

    def step(self, state: Any, x: array[float]) -> list[list[float]]:
        """Advance ``state`` in place by one sample.

        ``x``: float32, (input_size,), finite. Returns the outputs in declared order, float32 values (output_size,) each.
        """

    def state_arrays(self, state: Any) -> list[bytes]:
        """h of every GRU in execution order, little-endian: float32, or int32 with 24 fractional bits (integer schemes)."""

    def load_state(self, state: Any, blobs: Sequence[bytes]) -> None:
        """Replace the contents of ``state`` by blobs of the form of ``state_arrays``, their sizes and values checked."""

    def clipped(self, state: Any) -> int:
        """How many input values were saturated since the state was made."""


def engine_name(source: Source, requested: str | None = None) -> str:
    """The engine that runs ``source``: the only one that can, for every kind of model there is now.

    Raises EngineError where another one is ``requested``.
    """
    fitting = getattr(source, "engine", "reference")  # an exported file names its own
    if requested is not None and requested != fitting:
        known = f"expected {fitting}" if requested in ENGINES else f"expected one of {', '.join(ENGINES)}"
        raise EngineError(f"engine {requested} cannot run this model, {known}")
    return fitting


def build_engine(source: Source) -> Engine:
    """The engine for ``source``. Only here, and below here, are NumPy and the runtimes imported.

    Raises EngineError where the package that it needs is not installed; ArtifactError where an exported file is not
    what its metadata says.
    """
    name = engine_name(source)
    try:
        if name == "onnxruntime":
            from edgegru_runtime.onnxruntime_engine import OnnxRuntimeEngine

            return OnnxRuntimeEngine(source)
        if name == "litert":
            from edgegru_runtime.litert_engine import LitertEngine

            return LitertEngine(source)
        if source.config.scheme == "float32":
            from edgegru_runtime.reference import Reference

            return Reference(source)
        from edgegru_runtime.integer_reference import IntegerReference

        return IntegerReference(source)
    except ImportError as error:
        package = "edgegru-runtime[reference]" if name == "reference" else name
        raise EngineError(f"engine {name} cannot start: {error}") from error
