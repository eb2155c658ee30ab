"""The Arm kernels under QEMU: the reference's bits, the instruction set of each processor, states between machines."""

from __future__ import annotations

import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from edgegru_export.stimulus import gaussian_input, jumping_input
from edgegru_runtime import Model, Stream
from edgegru_runtime import fixed_point as fx
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.errors import ArtifactError, QuantizationError
from edgegru_runtime.model_config import STATIC_SCHEMES
from edgegru_runtime.plan import make_plan
from tests.builders import drawn_config, drawn_float_config, drawn_keep, quantized, random_floats, random_integers

C = Path(__file__).resolve().parents[2] / "runtime" / "c"
INTEGER_MODELS = 40
FLOAT_MODELS = 15
STEPS = 40
FLOAT_TOLERANCE = 1e-6  # of the largest output or state, or of 1
NO_KERNEL = 13  # how the driver ends where the processor has no such instruction set


class Processor(NamedTuple):
    name: str  # for QEMU
    target: str  # in the compiler's name
    package: str
    flags: str
    emulator: str
    fastest: str

    def compiled(self, folder: Path) -> Path:
        """The tests and the driver of the C library for it. Skips the test where a package is missing."""
        for program, package in ((f"{self.target}-gcc", self.package), (self.emulator, "qemu-user")):
            if shutil.which(program) is None:
                pytest.skip(f"Debian package {package}")
        build = folder / self.target
        if not build.exists():
            compiler = f"CC={self.target}-gcc -static {self.flags}"
            programs = [f"{build}/{name}" for name in ("driver", "test", "test_limits", "test_choosing")]
            command = ["make", "-s", "-C", str(C), *programs, compiler, f"AR={self.target}-ar", f"BUILD={build}"]
            subprocess.run(command, check=True)
        return build

    def run(self, program: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        command = [self.emulator, "-cpu", self.name, program, *arguments]
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)


AARCH64 = ("aarch64-linux-gnu", "gcc-aarch64-linux-gnu", "", "qemu-aarch64")
ARMV7 = ("arm-linux-gnueabihf", "gcc-arm-linux-gnueabihf", "-march=armv7-a -mfpu=neon -mfloat-abi=hard", "qemu-arm")
PROCESSORS = (
    Processor("cortex-a53", *AARCH64, "neon"),
    Processor("cortex-a76", *AARCH64, "dotprod"),
    Processor("cortex-a7", *ARMV7, "neon"),
)
on_every_processor = pytest.mark.parametrize("processor", PROCESSORS, ids=lambda processor: processor.name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("arm")


class Trajectory(NamedTuple):
    """A model's plan, samples, and what the reference makes of them."""

    artifact: Artifact
    plan: bytes
    samples: np.ndarray
    outputs: np.ndarray
    middle: bytes  # the state after half of the samples
    end: bytes


def steps_of(stream: Stream, samples: np.ndarray) -> np.ndarray:
    """All outputs of every step side by side, (T, ΣO)."""
    results = (stream.step(sample) for sample in samples)
    return np.array([np.concatenate(y) if isinstance(y, tuple) else y for y in results], "<f4")


def trajectory(artifact: Artifact, samples: np.ndarray) -> Trajectory:
    stream = Model(artifact, "reference").stream()
    half = len(samples) // 2
    first = steps_of(stream, samples[:half])
    middle = stream.state
    outputs = np.concatenate([first, steps_of(stream, samples[half:])])
    return Trajectory(artifact, make_plan(artifact), samples.astype("<f4"), outputs, middle, stream.state)


@cache
def integer_trajectories() -> list[Trajectory]:
    """Both schemes and mixes of them, values that saturate, a walk inside the input's range and then jumps."""
    found: list[Trajectory] = []
    seed = 0
    while len(found) < INTEGER_MODELS:
        rng = np.random.default_rng(seed)
        config, scheme = drawn_config(rng), str(rng.choice(STATIC_SCHEMES))
        keep = drawn_keep(rng, config, scheme)
        seed += 1
        try:
            if seed % 3 == 0:
                artifact = quantized(random_floats(config, seed), scheme, keep)
            else:
                artifact = random_integers(config, seed, scheme, keep, octaves=float(rng.choice([0, 4, 8])))
            walk = gaussian_input(artifact, STEPS // 2), jumping_input(artifact, STEPS // 2)
            found.append(trajectory(artifact, np.concatenate(walk)))
        except (ArtifactError, QuantizationError):  # scales beyond the arithmetic's range
            continue
    return found


@cache
def float_trajectories() -> list[Trajectory]:
    artifacts = [random_floats(drawn_float_config(np.random.default_rng(seed)), seed) for seed in range(FLOAT_MODELS)]
    return [trajectory(artifact, gaussian_input(artifact, STEPS)) for artifact in artifacts]


def drive(
    processor: Processor, folder: Path, plan: bytes, samples: np.ndarray, kernel: str = "-", state: bytes | None = None
) -> tuple[np.ndarray, bytes, str]:
    """Outputs, the state at the end and the instruction set that computed them."""
    build = processor.compiled(folder)
    (folder / "plan").write_bytes(plan)
    (folder / "inputs").write_bytes(samples.tobytes())
    (folder / "before").write_bytes(state or b"")
    before = folder / "before" if state else "-"
    files = folder / "plan", folder / "inputs", str(len(samples)), kernel, before, folder / "after", folder / "outputs"
    done = processor.run(build / "driver", *files)
    assert done.returncode == 0, done.stderr
    outputs = np.fromfile(folder / "outputs", "<f4").reshape(len(samples), -1)
    return outputs, (folder / "after").read_bytes(), done.stdout.strip()


def numbers(state: bytes) -> np.ndarray:
    return np.frombuffer(state[64:-4], "<f4")


@on_every_processor
def test_the_tests_of_the_library_pass(processor: Processor, folder: Path) -> None:
    build = processor.compiled(folder)
    for name in ("test", "test_limits", "test_choosing"):
        done = processor.run(build / name, *sorted((C / "tests" / "golden").iterdir()))
        assert done.returncode == 0, done.stdout + done.stderr
        assert re.search(r"\b0 failures\n", done.stdout)


@on_every_processor
def test_the_fastest_instruction_set_is_chosen(processor: Processor, folder: Path) -> None:
    model = integer_trajectories()[0]
    assert drive(processor, folder, model.plan, model.samples)[2] == processor.fastest
    if processor.name == "cortex-a53":  # the instructions would end the process
        build = processor.compiled(folder)
        files = folder / "plan", folder / "inputs", str(STEPS), "dotprod", "-", folder / "after", folder / "outputs"
        assert processor.run(build / "driver", *files).returncode == NO_KERNEL


@on_every_processor
def test_integer_models_give_the_bits_of_the_reference(processor: Processor, folder: Path) -> None:
    for number, model in enumerate(integer_trajectories()):
        outputs, end, _ = drive(processor, folder, model.plan, model.samples)
        assert outputs.tobytes() == model.outputs.tobytes(), f"model {number}: {model.artifact.config}"
        assert end == model.end, f"model {number}: {model.artifact.config}"


def test_dotprod_processors_give_the_same_bits_with_neon(folder: Path) -> None:
    for model in integer_trajectories()[:5]:
        outputs, end, _ = drive(PROCESSORS[1], folder, model.plan, model.samples, "neon")
        assert (outputs.tobytes(), end) == (model.outputs.tobytes(), model.end)


@on_every_processor
def test_float_models_stay_within_the_tolerance(processor: Processor, folder: Path) -> None:
    for number, model in enumerate(float_trajectories()):
        outputs, end, _ = drive(processor, folder, model.plan, model.samples)
        for found, expected in ((outputs, model.outputs), (numbers(end), numbers(model.end))):
            allowed = FLOAT_TOLERANCE * max(1.0, float(np.max(np.abs(expected), initial=0.0)))
            assert np.max(np.abs(found - expected), initial=0.0) <= allowed, f"model {number}: {model.artifact.config}"


@on_every_processor
def test_a_state_moves_to_the_processor_and_back(processor: Processor, folder: Path) -> None:
    half = STEPS // 2
    for model in integer_trajectories()[:10]:
        outputs, end, _ = drive(processor, folder, model.plan, model.samples[half:], state=model.middle)
        assert (outputs.tobytes(), end) == (model.outputs[half:].tobytes(), model.end)
        _, middle, _ = drive(processor, folder, model.plan, model.samples[:half])
        stream = Model(model.artifact).stream()  # the kernel of this machine
        stream.state = middle
        rest = steps_of(stream, model.samples[half:])
        assert (rest.tobytes(), stream.state) == (model.outputs[half:].tobytes(), model.end)


def test_its_bytes_of_coefficients_are_those_of_the_reference() -> None:
    source = (C / "src" / "neon_vectors.h").read_text()
    table = source[source.index("} tanh_table = {") :].split("}};\n")[0]
    planes = [[int(number) for number in row.split(",")] for row in re.findall(r"\{([\d,\s]+)\}", table)]
    pairs = zip(planes[::2], planes[1::2], strict=True)
    coefficients = [[low | high << 8 for low, high in zip(*pair, strict=True)] for pair in pairs]
    expected = [[number & 0xFFFF for number in numbers] for numbers in (fx.TANH_C2, fx.TANH_C1, fx.TANH_C0)]
    assert coefficients == expected
