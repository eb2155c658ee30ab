"""Run where nothing but edgegru-runtime is installed (``kernel``), without its kernel (``neither``), then with NumPy
(``reference``); see device_only.sh.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import edgegru_runtime
from edgegru_runtime import ArtifactError, EngineError, load, read_artifact

SCHEMES = ("float32", "static-w8a8")
EXPECTED = json.loads(Path("expected.json").read_text())


def command(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "edgegru_runtime", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )


def raised(kind: type[Exception], action: object, *arguments: object) -> str:
    """The message of the error of this kind that the call must raise."""
    try:
        action(*arguments)  # type: ignore[operator]  # any callable
    except kind as error:
        return str(error)
    raise AssertionError(f"no {kind.__name__}")


def check_loading() -> None:
    """Load, describe and refuse: the same with and without NumPy."""
    assert "site-packages" in edgegru_runtime.__file__, "the source tree is on the path"
    for package in ("edgegru", "edgegru_export", "torch", "onnx", "onnxruntime", "ai_edge_litert", "safetensors"):
        assert importlib.util.find_spec(package) is None, f"{package} is installed"
    for scheme in SCHEMES:
        path = f"{scheme}.safetensors"
        config = read_artifact(path).config
        assert config.scheme == scheme
        description = json.loads(command("info", path, "--json").stdout)
        assert config.identity in json.dumps(description)
        assert command("info", path).returncode == 0
        whole = Path(path).read_bytes()
        for size in (0, 7, 100, len(whole) - 1):
            Path("broken.safetensors").write_bytes(whole[:size])
            assert "broken.safetensors" in raised(ArtifactError, load, "broken.safetensors")
            result = command("info", "broken.safetensors")
            assert result.returncode == 1
            assert "Traceback" not in result.stderr


def check_refusal_of_steps() -> None:
    for scheme in SCHEMES:
        sentence = raised(EngineError, load, f"{scheme}.safetensors")
        assert "edgegru-runtime[reference]" in sentence, sentence
        assert "C compiler" in sentence, sentence
        result = command("run", f"{scheme}.safetensors", stdin="1,2,3\n")
        assert result.returncode == 1
        assert result.stdout == ""
        assert "umpy" in result.stderr or "NumPy" in result.stderr, result.stderr
        assert "Traceback" not in result.stderr
        print(f"{scheme}: {sentence}")


def check_streaming(engine: str) -> None:
    for scheme in SCHEMES:
        tolerance = 0.0 if scheme == "static-w8a8" else 1e-6
        model = load(f"{scheme}.safetensors")
        assert model.engine_name == engine, model.engine_name
        stream = model.stream()
        for index, (sample, expected) in enumerate(zip(EXPECTED["samples"], EXPECTED["outputs"][scheme], strict=True)):
            if index == 20:  # a saved state continues in another stream
                saved = stream.state
                stream = model.stream()
                stream.state = saved
            outputs = stream.step(sample)
            assert all(abs(a - b) <= tolerance for a, b in zip(outputs, expected, strict=True)), (scheme, index)
        lines = "".join(",".join(map(repr, sample)) + "\n" for sample in EXPECTED["samples"])
        result = command("run", f"{scheme}.safetensors", stdin=lines)
        assert result.returncode == 0, result.stderr
        assert len(result.stdout.splitlines()) == len(EXPECTED["samples"])
        print(f"{scheme}: {len(EXPECTED['samples'])} steps as expected")


if __name__ == "__main__":
    found = {name: importlib.util.find_spec(name) is not None for name in ("edgegru_runtime._kernel", "numpy")}
    expected = {"kernel": (True, False), "neither": (False, False), "reference": (False, True)}[sys.argv[1]]
    assert tuple(found.values()) == expected, found
    check_loading()
    if sys.argv[1] == "neither":
        check_refusal_of_steps()
    else:
        check_streaming(sys.argv[1])
    assert sys.argv[1] == "reference" or "numpy" not in sys.modules
