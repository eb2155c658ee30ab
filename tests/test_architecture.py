"""Who may import whom, what an import really loads, how long a module may be, and that all versions agree."""

from __future__ import annotations

import ast
import importlib.metadata
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = {
    "edgegru": ROOT / "edgegru",
    "edgegru_export": ROOT / "export" / "edgegru_export",
    "edgegru_runtime": ROOT / "runtime" / "python" / "edgegru_runtime",
}
MAX_LINES = 500

# What a package may import besides the standard library and itself.
ALLOWED = {
    "edgegru_runtime": set(),
    "edgegru_export": {
        "edgegru_runtime", "ai_edge_litert", "flatbuffers", "google", "numpy", "onnx", "onnxruntime", "safetensors",
    },
    "edgegru": {
        "edgegru_runtime", "edgegru_export", "click", "google", "h5py", "numpy", "onnx", "onnxruntime", "safetensors",
    },
}  # fmt: skip
# What single modules may import beyond that.
ALLOWED_IN = {
    "edgegru_runtime.tensor": {"numpy"},
    "edgegru_runtime.artifact": {"numpy"},
    "edgegru_runtime.reference": {"numpy"},
    "edgegru_runtime.integer_arithmetic": {"numpy"},
    "edgegru_runtime.integer_layers": {"numpy"},
    "edgegru_runtime.integer_reference": {"numpy"},
    "edgegru_runtime.log_mel": {"numpy"},
    "edgegru_runtime.memory": {"numpy"},
    "edgegru_runtime.front_end_engine": {"numpy"},
    "edgegru_runtime.onnxruntime_engine": {"numpy", "onnxruntime"},
    "edgegru_runtime.litert_engine": {"numpy", "ai_edge_litert", "tflite_runtime"},
    "edgegru_runtime.mqtt_connection": {"paho"},
    "edgegru_runtime.sinks.mqtt": {"paho"},
    "edgegru_runtime.sources.serial_line": {"serial"},
    "edgegru.comparison": {"torch", "tqdm"},
    "edgegru.comparison_cells": {"torch"},
    "edgegru.comparison_plot": {"matplotlib"},
    "edgegru.logistic_regression": {"torch"},
    "edgegru.epoch_trainer": {"torch"},
    "edgegru.network": {"torch"},
    "edgegru.ridge_skip": {"torch"},
    "edgegru.objective": {"torch"},
    "edgegru.trainer": {"torch"},
    "edgegru.training": {"torch", "tqdm"},
    "edgegru.checkpoint": {"torch"},
    "edgegru.freezing": {"torch"},
    "edgegru.integer_torch": {"torch"},
    "edgegru.quantized_gradients": {"torch"},
    "edgegru.quantized_network": {"torch"},
    "edgegru.quantized_trainer": {"torch"},
    "edgegru.starting_model": {"torch"},
    "edgegru.translation.evaluation": {"sacrebleu"},
    "edgegru.translation.freezing": {"torch"},
    "edgegru.translation.network": {"torch"},
    "edgegru.translation.trainer": {"torch"},
    "edgegru.imports.torch_example": {"torch"},
    "edgegru.imports.torch_graph": {"torch"},
    "edgegru.imports.torch_module": {"torch"},
    "edgegru.imports.torch_weights": {"torch"},
    "edgegru.imports.saved_model": {"tensorflow"},
    "edgegru.plotting": {"matplotlib"},
    "edgegru.evaluation_plots": {"matplotlib"},
    "edgegru.drift_plot": {"matplotlib"},
    "edgegru.tuning_plot": {"matplotlib"},
}
# Modules of the device that are imported only when a model is first stepped: what they compute with, they import.
REFERENCES = {
    f"edgegru_runtime.{name}"
    for name in (
        "reference", "log_mel", "integer_arithmetic", "integer_layers", "integer_reference", "front_end_engine",
        "memory",
    )
}
ENGINES = REFERENCES | {"edgegru_runtime.onnxruntime_engine", "edgegru_runtime.litert_engine"}
FOREIGN = {"torch", "matplotlib", "numpy", "onnx", "onnxruntime", "ai_edge_litert", "tflite_runtime", "safetensors"}


def modules(package: str) -> dict[str, Path]:
    """Every module of a package by its full name."""
    folder = PACKAGES[package]
    found = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported_packages(source: str) -> Iterator[str]:
    """Top-level names of every import statement in ``source``, inside functions too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield str(node.module).split(".")[0]


def loaded_after_importing(names: list[str]) -> set[str]:
    """Top-level names in ``sys.modules`` of a fresh interpreter that has imported these modules (not programs)."""
    names = [name for name in names if not name.endswith(".__main__")]
    program = (
        f"import importlib, json, sys\nfor name in {names!r}: importlib.import_module(name)\n"
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False)
    assert result.returncode == 0, result.stderr
    return set(json.loads(result.stdout))


ALL_MODULES = [(package, name, path) for package in PACKAGES for name, path in modules(package).items()]


@pytest.mark.parametrize(("package", "name", "path"), ALL_MODULES, ids=[name for _, name, _ in ALL_MODULES])
def test_a_module_imports_only_what_it_may(package: str, name: str, path: Path) -> None:
    allowed = ALLOWED[package] | ALLOWED_IN.get(name, set()) | {package} | set(sys.stdlib_module_names)
    assert set(imported_packages(path.read_text())) - allowed == set()


def test_exceptions_name_modules_that_exist_and_need_them() -> None:
    for name, exceptions in ALLOWED_IN.items():
        path = {module: file for _, module, file in ALL_MODULES}[name]
        assert exceptions <= set(imported_packages(path.read_text())), name


def test_importing_the_device_package_loads_nothing_foreign() -> None:
    loaded = loaded_after_importing(["edgegru_runtime"])
    assert loaded & (FOREIGN | {"edgegru", "edgegru_export", "hashlib", "argparse"}) == set()


def test_device_modules_load_without_numpy() -> None:
    light = [name for name in modules("edgegru_runtime") if name not in ENGINES]
    assert loaded_after_importing(light) & (FOREIGN | {"edgegru", "edgegru_export", "hashlib"}) == set()


def test_the_references_load_only_numpy() -> None:
    loaded = loaded_after_importing(sorted(REFERENCES))
    assert "numpy" in loaded
    assert loaded & ((FOREIGN - {"numpy"}) | {"edgegru", "edgegru_export"}) == set()


def test_exporters_load_neither_torch_nor_the_host() -> None:
    loaded = loaded_after_importing(list(modules("edgegru_export")))
    assert loaded & {"torch", "matplotlib", "edgegru", "tensorflow"} == set()


def test_importing_the_host_package_is_light() -> None:
    assert loaded_after_importing(["edgegru"]) & FOREIGN == set()


def test_host_modules_other_than_training_load_without_torch() -> None:
    needing = {name for name, packages in ALLOWED_IN.items() if packages & {"torch", "matplotlib"}}
    loaded = loaded_after_importing([name for name in modules("edgegru") if name not in needing])
    assert loaded & {"torch", "matplotlib", "aeon"} == set()


@pytest.mark.parametrize(
    ("file", "forbidden"),
    [
        ("runtime/python/edgegru_runtime/stream.py", "numpy"),
        ("runtime/python/edgegru_runtime/stream.py", "edgegru.evaluation"),
        ("runtime/python/edgegru_runtime/model.py", "edgegru_export.saving"),
        ("runtime/python/edgegru_runtime/model.py", "hashlib"),
        ("export/edgegru_export/exporting.py", "torch"),
        ("export/edgegru_export/exporting.py", "edgegru.training"),
        ("edgegru/evaluation.py", "torch"),
        ("edgegru/quantization.py", "matplotlib.pyplot"),
    ],
)
def test_the_linter_refuses_the_same_with_a_sentence(file: str, forbidden: str) -> None:
    command = [sys.executable, "-m", "ruff", "check", "--select", "TID251", "--stdin-filename", file, "-"]
    result = subprocess.run(
        command, input=f"import {forbidden}\n", capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert result.returncode == 1
    assert f"`{forbidden.partition('.')[0]}" in result.stdout
    assert "is banned: " in result.stdout


@pytest.mark.parametrize(
    "path",
    [
        path
        for folder in ("edgegru", "export", "runtime", "tests", "examples", "benchmarks")
        for path in sorted((ROOT / folder).rglob("*.py"))
        if "build" not in path.relative_to(ROOT).parts
    ],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_a_module_can_be_read_in_one_sitting(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MAX_LINES


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_tells_type_checkers_that_it_is_typed(package: str) -> None:
    assert (PACKAGES[package] / "py.typed").is_file()


def test_all_versions_are_equal() -> None:
    host = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    device = tomllib.loads((ROOT / "runtime" / "pyproject.toml").read_text())["project"]
    program = "import edgegru, edgegru_runtime; print(edgegru.__version__, edgegru_runtime.__version__)"
    imported = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert imported.stdout.split() == [host["version"]] * 2
    assert device["version"] == host["version"]
    assert f"edgegru-runtime=={host['version']}" in host["dependencies"]
    for distribution in ("edgegru", "edgegru-runtime"):
        assert importlib.metadata.version(distribution) == host["version"]


def test_the_device_distribution_has_no_dependency() -> None:
    device = tomllib.loads((ROOT / "runtime" / "pyproject.toml").read_text())["project"]
    assert device["dependencies"] == []
