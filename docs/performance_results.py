"""What benchmarks/step.py found at a size, by name: for the page about it."""

from __future__ import annotations

from typing import Any

SCHEMES = {"float32": "float32", "static-w8a8": "int8"}  # and the weights that are read
RATIO_FLOAT = "float32: fastest of ONNX Runtime and LiteRT over EdgeGRU"  # titles of step.py
RATIO_INT8 = "int8: LiteRT dynamic int8 over EdgeGRU"
READING_AND_MULTIPLYING = "reading and multiplying"


def gates(found: Any, scheme: str) -> float:
    """Nanoseconds of what follows the products of the GRU."""
    return in_c(found, scheme, quantity="gates_ns")


def products(found: Any, scheme: str) -> float:
    """Nanoseconds of the products alone; older results do not have it."""
    return in_c(found, scheme, quantity="products_ns")


def shared_by_none(found: Any, scheme: str) -> float:
    """Nanoseconds of multiplying and of what follows the products: what streams that step together each need."""
    return floor(found, scheme, "multiplying") + gates(found, scheme)


def least(found: Any, scheme: str) -> float:
    """Nanoseconds of a step that reads its weights and multiplies at once, does what follows, and nothing else."""
    both = f"{READING_AND_MULTIPLYING} {SCHEMES[scheme]} weights"
    if both in found["steps"]:
        return floor(found, scheme, READING_AND_MULTIPLYING) + gates(found, scheme)
    # older results: whichever takes longer
    return max(floor(found, scheme), floor(found, scheme, "multiplying")) + gates(found, scheme)


def from_python(found: Any, scheme: str) -> float:
    """Microseconds of ``step(x, out)``."""
    return float(found["steps"][f"EdgeGRU {scheme}, step(x, out)"]["best_us"])


def fastest(found: Any, part: str) -> float:
    """Microseconds of the fastest contestant with ``part`` in its name."""
    return min(float(result["best_us"]) for name, result in found["steps"].items() if part in name)


def own_kernel(found: Any, scheme: str) -> str:
    """The instruction set that a model takes by itself: the first that runs."""
    return next(iter(found["native"][scheme]["kernels"]))


def in_c(found: Any, scheme: str, kernel: str | None = None, quantity: str = "step_ns") -> float:
    """Nanoseconds in C."""
    return float(found["native"][scheme]["kernels"][kernel or own_kernel(found, scheme)][quantity])


def best_in_c(found: Any, scheme: str, quantity: str = "step_ns") -> float:
    """Nanoseconds in C with the fastest instruction set."""
    return min(float(times[quantity]) for times in found["native"][scheme]["kernels"].values())


def floor(found: Any, scheme: str, what: str = "reading") -> float:
    """Nanoseconds of reading the weights, of multiplying as many numbers, or of both at once."""
    return 1e3 * float(found["steps"][f"{what} {SCHEMES[scheme]} weights"]["best_us"])


def gain(found: Any, scheme: str) -> float:
    """How many times as fast 64 streams are together, in C."""
    return in_c(found, scheme) / in_c(found, scheme, quantity="many_ns")


def gain_in_python(found: Any, scheme: str) -> float:
    """The same from Python."""
    return from_python(found, scheme) / float(found["steps"][f"EdgeGRU {scheme}, streams(64)"]["best_us"])
