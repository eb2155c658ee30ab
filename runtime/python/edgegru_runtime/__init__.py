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

TYPE_CHECKING = False  # see plain_data.py
if TYPE_CHECKING:
    from edgegru_runtime.stream import Stream
    from edgegru_runtime.streams import Streams
else:

    def __getattr__(name):  # a program that has a stream rarely needs its class
        if name == "Stream":
            from edgegru_runtime.stream import Stream as found
        elif name == "Streams":
            from edgegru_runtime.streams import Streams as found
        else:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return found


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
