"""What an engine is, and which one runs a model.

``kernel`` (C) and ``reference`` (NumPy) compute artifacts; ``onnxruntime`` and ``litert`` run exported files in the
runtime they were exported for. An engine is built once per model and is shared by all its streams; a stream owns one of
its states.
"""

from __future__ import annotations

from edgegru_runtime.artifact import Artifact
from edgegru_runtime.errors import EngineError
from edgegru_runtime.exported import ExportedFile

TYPE_CHECKING = False  # see plain_data.py
if TYPE_CHECKING:
    from array import array
    from collections.abc import Sequence
    from typing import Any, Protocol
else:
    Protocol = object

Source = Artifact | ExportedFile
ENGINES = ("kernel", "reference", "onnxruntime", "litert")


class Engine(Protocol):
    """One way to compute a model. A state is opaque; whoever made it passes it back."""

    name: str

    def new_state(self) -> Any:
        """The state that a stream begins with: zeros, or h0 of a GRU that has one."""

    def step(self, state: Any, x: array[float]) -> list[list[float]]:
        """Advance ``state`` in place by one sample.

        ``x``: float32, (input_size,), finite. Returns the outputs in declared order, (output_size,)
        float32 values each.
        """

    def state_arrays(self, state: Any) -> list[bytes]:
        """The numbers of every state node in execution order, little-endian: float32, or int32 in static schemes."""

    def load_state(self, state: Any, blobs: Sequence[bytes]) -> None:
        """Replace the contents of ``state`` by blobs as from ``state_arrays``, their sizes and values checked."""

    def clipped(self, state: Any) -> int:
        """How many input values were saturated since the state was made."""


def engine_name(source: Source, requested: str | None = None) -> str:
    """The engine that runs ``source``: what is ``requested``, or the first that can.

    An artifact is computed by the kernel, or by the reference where the package was installed without a compiler.
    Raises EngineError where the engine that is requested cannot run it.
    """
    fitting = (source.engine,) if isinstance(source, ExportedFile) else ("kernel", "reference")
    if requested is None:
        return "reference" if fitting[0] == "kernel" and not _kernel_installed() else fitting[0]
    if requested not in fitting:
        known = f"expected {' or '.join(fitting)}" if requested in ENGINES else f"expected one of {', '.join(ENGINES)}"
        raise EngineError(f"engine {requested} cannot run this model, {known}")
    return requested


def _kernel_installed() -> bool:
    try:
        import edgegru_runtime._kernel  # noqa: F401  # whether it can be imported is the question
    except ImportError:
        return False
    return True


def build_engine(source: Source, requested: str | None = None) -> Engine:
    """The engine for ``source``. Only here, and below here, are the kernel, NumPy and the runtimes imported.

    Raises EngineError where the package that it needs is not installed; ArtifactError where an exported file is not
    what its metadata says.
    """
    name = engine_name(source, requested)
    try:
        return _exported_engine(source) if isinstance(source, ExportedFile) else _artifact_engine(source, name)
    except ImportError as error:
        raise EngineError(f"engine {name} cannot start ({error}), expected it after: {_REMEDIES[name]}") from error


_NUMPY = 'pip install "edgegru-runtime[reference]"'
_REMEDIES = {
    "kernel": "installing edgegru-runtime from a wheel or with a C compiler",
    "reference": f"{_NUMPY}, or installing edgegru-runtime from a wheel or with a C compiler, for the kernel",
    "onnxruntime": "pip install onnxruntime",
    "litert": "pip install ai-edge-litert",
}


def _artifact_engine(artifact: Artifact, name: str) -> Engine:
    if name == "kernel":
        from edgegru_runtime.kernel_engine import KernelEngine

        return KernelEngine(artifact)
    if artifact.config.static:
        from edgegru_runtime.integer_reference import IntegerReference

        return IntegerReference(artifact)
    from edgegru_runtime.reference import Reference

    return Reference(artifact)


def _exported_engine(source: ExportedFile) -> Engine:
    engine = file_engine(source)
    if source.front_end is None:
        return engine
    from edgegru_runtime.front_end_engine import FrontEndEngine

    return FrontEndEngine(source.config, source.front_end, engine)


def file_engine(source: ExportedFile) -> Engine:
    """What runs an exported file alone, whose input is the feature where the model has a front end."""
    if source.engine == "onnxruntime":
        from edgegru_runtime.onnxruntime_engine import OnnxRuntimeEngine

        return OnnxRuntimeEngine(source)
    from edgegru_runtime.litert_engine import LitertEngine

    return LitertEngine(source)
