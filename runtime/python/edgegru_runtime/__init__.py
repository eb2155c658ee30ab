"""EdgeGRU on the device: load a model file, step through a stream of samples, keep the state.

    >>> from edgegru_runtime import load
    >>> stream = load("model.safetensors").stream()
    >>> probabilities = stream.step([0.1, 0.2, 9.8])

Needs the standard library only. Where the package was installed without a C compiler, or for exported files, the engine
needs more (``EngineError`` names it).
"""

from edgegru_runtime.artifact import Artifact, read_artifact
from edgegru_runtime.errors import (
    ArtifactError,
    EdgegruError,
    EngineError,
    FormatVersionError,
    InputError,
    StateError,
)
from edgegru_runtime.model import Model, load
from edgegru_runtime.stream import Stream
from edgegru_runtime.streams import Streams

__version__ = "0.1.0"

__all__ = [
    "Artifact",
    "ArtifactError",
    "EdgegruError",
    "EngineError",
    "FormatVersionError",
    "InputError",
    "Model",
    "StateError",
    "Stream",
    "Streams",
    "__version__",
    "load",
    "read_artifact",
]
