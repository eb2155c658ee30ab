"""EdgeGRU on the host: train, evaluate, quantize, export and verify compact GRUs that stream one step at a time.

Every command of ``edgegru`` is one function here with the same name and parameters. Importing this package is light: a
name is fetched from its module when it is first used, so that nothing but ``train`` ever needs torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgegru.comparison import compare
    from edgegru.evaluation import evaluate
    from edgegru.importing import from_torch, import_model
    from edgegru.on_device import bench, info, run, translate
    from edgegru.quantization import quantize
    from edgegru.training import train
    from edgegru.translation.evaluation import evaluate_translator
    from edgegru.translation.quantization import quantize_translator
    from edgegru.translation.trainer import train_translator
    from edgegru.tuning import tune
    from edgegru.verification import verify
    from edgegru_export.exporting import export
    from edgegru_runtime import load
    from edgegru_runtime.errors import EdgegruError

__version__ = "0.1.0"

_MODULES = {
    "EdgegruError": "edgegru_runtime.errors",
    "bench": "edgegru.on_device",
    "compare": "edgegru.comparison",
    "evaluate": "edgegru.evaluation",
    "evaluate_translator": "edgegru.translation.evaluation",
    "export": "edgegru_export.exporting",
    "from_torch": "edgegru.importing",
    "import_model": "edgegru.importing",
    "info": "edgegru.on_device",
    "load": "edgegru_runtime",
    "quantize": "edgegru.quantization",
    "quantize_translator": "edgegru.translation.quantization",
    "run": "edgegru.on_device",
    "train": "edgegru.training",
    "train_translator": "edgegru.translation.trainer",
    "translate": "edgegru.on_device",
    "tune": "edgegru.tuning",
    "verify": "edgegru.verification",
}
__all__ = [
    "EdgegruError",
    "__version__",
    "bench",
    "compare",
    "evaluate",
    "evaluate_translator",
    "export",
    "from_torch",
    "import_model",
    "info",
    "load",
    "quantize",
    "quantize_translator",
    "run",
    "train",
    "train_translator",
    "translate",
    "tune",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
