"""Wheels for every processor: names, contents, what they need of a system, and that they compute under emulation."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from base64 import urlsafe_b64encode
from csv import reader
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from packaging.utils import parse_wheel_filename

from edgegru_export.saving import save_artifact
from edgegru_export.stimulus import gaussian_input, jumping_input
from edgegru_runtime import Model, __version__, _kernel
from edgegru_runtime.artifact import Artifact
from edgegru_runtime.plan import make_plan
from tests.builders import mixed_artifact, quantized, random_artifact

ROOT = Path(__file__).parent.parent.parent
C = ROOT / "runtime" / "c"
PYTHON = ROOT / ".venv-wheels" / "bin" / "python"
KERNEL = "edgegru_runtime/_kernel.abi3.so"
FLAGS = ("-std=c99", "-O2", "-ffp-contract=off", "-fno-sanitize=all", f"-I{C / 'include'}", f"-I{C / 'src'}")
STEPS = 60
PLATFORMS = {
    "x86_64": {"manylinux_2_17_x86_64", "manylinux2014_x86_64"},
    "aarch64": {"manylinux_2_17_aarch64", "manylinux2014_aarch64"},
    "armv7l": {"manylinux_2_17_armv7l", "manylinux2014_armv7l"},
    "armv6l": {"linux_armv6l"},
}
MACHINES = {"x86_64": "Advanced Micro Devices X86-64", "aarch64": "AArch64", "armv7l": "ARM", "armv6l": "ARM"}
LIBC = {"__gmon_start__", "bcmp", "free", "getauxval", "malloc", "realloc", "strcmp"}
LIBC |= {"memcmp", "memcpy", "memmove", "memset"}

pytestmark = [
    pytest.mark.skipif(not PYTHON.exists(), reason=".venv-wheels (make wheels)"),
    pytest.mark.skipif("PYTEST_XDIST_WORKER" in os.environ, reason="a process alone (make test-system)"),
]


@dataclass(frozen=True)
class Emulation:
    """A Python for a wheel. ``cpu``: None for the processor that is here."""

    wheel: str
    cpu: str | None
    kernels: tuple[str, ...]  # the instruction sets that it has, fastest first


EMULATIONS = (
    Emulation("x86_64", None, tuple(_kernel.kernels())),
    Emulation("x86_64", "Nehalem", ("sse2", "portable")),  # not Haswell: QEMU 7.2 computes AVX2 wrongly
    Emulation("aarch64", "cortex-a53", ("neon", "portable")),
    Emulation("aarch64", "cortex-a76", ("dotprod", "neon", "portable")),
    Emulation("armv7l", "cortex-a7", ("neon", "portable")),
    Emulation("armv6l", "cortex-a7", ("portable",)),  # there is no Python for less; the next test has the processor
)


def required(program: str, package: str) -> str:
    """The path of a program, or a skipped test that names its package."""
    path = shutil.which(program)
    if path is None:
        pytest.skip(package)
    return path


def run(*command: str | Path) -> str:
    environment = {**os.environ, "ZIG_GLOBAL_CACHE_DIR": str(ROOT / ".venv-wheels" / "zig-cache")}
    done = subprocess.run(command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``make wheels`` leaves."""
    folder = tmp_path_factory.mktemp("built")
    run("make", "wheels", f"WHEELS={folder}")
    return folder


def wheel_for(built: Path, processor: str) -> Path:
    (path,) = built.glob(f"*{processor}.whl")
    return path


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders with what pip picks out of all wheels for each processor."""
    folders = {}
    for processor, platforms in PLATFORMS.items():
        folders[processor] = tmp_path_factory.mktemp(processor)
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-compile"]
        pip += ["--only-binary=:all:", f"--find-links={built}", f"--platform={min(platforms)}"]
        run(*pip, f"--target={folders[processor]}", "edgegru-runtime")
    return folders


def models() -> dict[str, Artifact]:
    mixed = mixed_artifact(hidden_size=37)
    wide = random_artifact(1, 5, (33, 18), reset="before", input_linear=(9, "relu"), head="identity")
    return {"int8": quantized(mixed), "int16": quantized(wide, "static-w8a16"), "float": mixed}


@pytest.fixture(scope="module")
def streamed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models and plans, inputs, and what the NumPy reference makes of them here."""
    folder = tmp_path_factory.mktemp("models")
    for name, artifact in models().items():
        file, half = folder / name, STEPS // 2
        save_artifact(artifact, file.with_suffix(".safetensors"))
        file.with_suffix(".plan").write_bytes(make_plan(artifact))
        x = np.concatenate([gaussian_input(artifact, half), jumping_input(artifact, STEPS - half)])
        file.with_suffix(".x").write_bytes(x.tobytes())
        stream = Model(artifact, "reference").stream()
        first = np.asarray(stream.run(x[:half]))
        file.with_suffix(".half").write_bytes(stream.state)
        rest = np.asarray(stream.run(x[half:]))
        file.with_suffix(".y").write_bytes(first.tobytes() + rest.tobytes())
        file.with_suffix(".rest").write_bytes(rest.tobytes())
        file.with_suffix(".state").write_bytes(stream.state)
    return folder


def compare(streamed: Path, name: str, found: Path) -> None:
    """Integer models: every bit. Float models: closely."""
    for suffix in (".y", ".rest", ".state"):
        expected, result = ((path.parent / f"{path.name}{suffix}").read_bytes() for path in (streamed / name, found))
        if name != "float":
            assert result == expected, found.name + suffix
        elif suffix != ".state":
            expected_y, y = np.frombuffer(expected, "<f4"), np.frombuffer(result, "<f4")
            np.testing.assert_allclose(y, expected_y, rtol=0, atol=1e-6, err_msg=found.name)


def interpreter(emulation: Emulation) -> list[str]:
    """The command that runs Python for that processor."""
    if emulation.wheel == "x86_64":
        if platform.machine() != "x86_64":
            pytest.skip("an x86-64 machine")
        if emulation.cpu is None:
            return [sys.executable]
        return [required("qemu-x86_64", "qemu-user"), "-cpu", emulation.cpu, sys.executable]
    architecture, emulator = ("arm64", "qemu-aarch64") if emulation.wheel == "aarch64" else ("armhf", "qemu-arm")
    emulator = required(emulator, "qemu-user")
    root = ROOT / ".venv-foreign" / architecture
    if not root.is_dir():
        required("apt-get", "apt")
        if not Path("/usr/share/keyrings/debian-archive-keyring.gpg").exists():
            pytest.skip("debian-archive-keyring")
        run(Path(__file__).with_name("foreign_python.sh"), architecture, root)
    return [emulator, "-cpu", str(emulation.cpu), "-L", str(root), str(root / "usr/bin/python3.11")]


@pytest.mark.parametrize("emulation", EMULATIONS, ids=lambda emulation: f"{emulation.wheel}-{emulation.cpu}")
def test_a_wheel_computes_what_the_reference_does(
    emulation: Emulation, installed: dict[str, Path], streamed: Path, tmp_path: Path
) -> None:
    check = Path(__file__).with_name("wheel_check.py")
    command = [*interpreter(emulation), "-I", "-S", "-W", "error", str(check)]
    seen = json.loads(run(*command, installed[emulation.wheel], streamed, tmp_path))
    machine = {"armv6l": "armv7l"}.get(emulation.wheel, emulation.wheel)
    assert seen == {"machine": machine, "kernels": list(emulation.kernels), "numpy": False}
    for name in models():
        for kernel in emulation.kernels:
            compare(streamed, name, tmp_path / f"{name} {kernel}")


@pytest.mark.parametrize("version", ["3.12", "3.13", "3.14"])
def test_newer_pythons_load_the_same_wheel(
    version: str, installed: dict[str, Path], streamed: Path, tmp_path: Path
) -> None:
    python = required(f"python{version}", f"python{version}")
    if subprocess.run([python, "-c", ""], check=False, capture_output=True).returncode != 0:
        pytest.skip(f"python{version}")
    check = Path(__file__).with_name("wheel_check.py")
    run(python, "-I", "-S", "-W", "error", check, installed[platform.machine()], streamed, tmp_path)
    compare(streamed, "int8", tmp_path / f"int8 {_kernel.kernels()[0]}")


def test_the_library_computes_on_the_smallest_processor(streamed: Path, tmp_path: Path) -> None:
    emulator, driver = required("qemu-arm", "qemu-user"), tmp_path / "driver"
    target = ["-target", "arm-linux-musleabihf", "-mcpu=arm1176jzf_s", "-static"]
    sources = [C / "tests" / "driver.c", *sorted(C.glob("src/*.c"))]
    run(PYTHON, "-m", "ziglang", "cc", *target, *FLAGS, *sources, "-o", driver)
    command = [emulator, "-cpu", "arm1176", str(driver)]
    for name in models():
        plan, x, found = streamed / f"{name}.plan", streamed / f"{name}.x", tmp_path / name
        run(*command, plan, x, str(STEPS), "portable", "-", f"{found}.state", f"{found}.y")
        half = tmp_path / "half.x"
        half.write_bytes(x.read_bytes()[x.stat().st_size // 2 :])
        before = streamed / f"{name}.half"
        run(*command, plan, half, str(STEPS // 2), "-", before, tmp_path / "end.state", f"{found}.rest")
        assert (tmp_path / "end.state").read_bytes() == Path(f"{found}.state").read_bytes() or name == "float"
        compare(streamed, name, found)


@pytest.mark.parametrize("processor", PLATFORMS)
def test_a_wheel_says_what_it_is(processor: str, built: Path) -> None:
    path = wheel_for(built, processor)
    name, version, _, tags = parse_wheel_filename(path.name)
    assert (name, str(version)) == ("edgegru-runtime", __version__)
    assert {str(tag) for tag in tags} == {f"cp311-abi3-{platform}" for platform in PLATFORMS[processor]}
    information = f"edgegru_runtime-{version}.dist-info"
    package = ROOT / "runtime" / "python"
    modules = (package / "edgegru_runtime").rglob("*")
    files = {str(file.relative_to(package)) for file in modules if file.suffix in (".py", ".pyi", ".typed")}
    files |= {f"{information}/{name}" for name in ("METADATA", "RECORD", "WHEEL", "top_level.txt", "licenses/LICENSE")}
    with zipfile.ZipFile(path) as wheel:
        contents = {name: wheel.read(name) for name in wheel.namelist()}
        assert len(contents) == len(wheel.namelist())
    assert contents.keys() == files | {KERNEL}
    said = re.findall(r"^Tag: (.*)$", contents[f"{information}/WHEEL"].decode(), flags=re.MULTILINE)
    assert sorted(said) == sorted(map(str, tags))
    assert b"Root-Is-Purelib: false" in contents[f"{information}/WHEEL"]
    record = {name: (digest, size) for name, digest, size in reader(contents[f"{information}/RECORD"].decode().split())}
    assert record.pop(f"{information}/RECORD") == ("", "")
    hashes = {name: urlsafe_b64encode(sha256(data).digest()).rstrip(b"=").decode() for name, data in contents.items()}
    del contents[f"{information}/RECORD"]
    assert record == {name: (f"sha256={hashes[name]}", str(len(data))) for name, data in contents.items()}


@pytest.mark.parametrize("processor", PLATFORMS)
def test_a_kernel_needs_no_more_than_it_may(processor: str, built: Path, tmp_path: Path) -> None:
    readelf = required("readelf", "binutils")
    with zipfile.ZipFile(wheel_for(built, processor)) as wheel:
        kernel = wheel.extract(KERNEL, tmp_path)
    header = dict(re.findall(r"^ *(.+?): +(.*)$", run(readelf, "-h", kernel), flags=re.MULTILINE))
    assert header["Machine"] == MACHINES[processor]
    assert ("hard-float ABI" in header["Flags"]) == (header["Machine"] == "ARM")
    dynamic = run(readelf, "-d", "-W", kernel)
    assert re.findall(r"\(NEEDED\) .*\[(.*)\]", dynamic) == ["libc.so.6"]
    assert not {"RPATH", "RUNPATH", "TEXTREL"} & set(re.findall(r"\((\w+)\)", dynamic))
    assert not re.findall(r"\.symtab|\.debug\w*", run(readelf, "-S", "-W", kernel))
    symbols = [line.split()[6:8] for line in run(readelf, "--dyn-syms", "-W", kernel).splitlines()[4:]]
    assert [name for section, name in symbols if section != "UND"] == ["PyInit__kernel"]
    wanted = {name for section, name in symbols if section == "UND"}
    python = {name for name in wanted if name.startswith(("Py", "_Py"))}
    assert python <= stable_names()
    assert {name.split("@")[0] for name in wanted - python} <= LIBC
    versions = [tuple(map(int, version.split("."))) for version in re.findall(r"@GLIBC_([\d.]+)", " ".join(wanted))]
    assert max(versions) <= (2, 17), wanted
    attributes = set(re.findall(r"(Tag_\w+): (.*)", run(readelf, "-A", kernel)))
    if processor == "armv6l":
        assert {("Tag_CPU_arch", "v6"), ("Tag_THUMB_ISA_use", "Thumb-1"), ("Tag_FP_arch", "VFPv2")} <= attributes
        assert "Tag_Advanced_SIMD_arch" not in dict(attributes)
    if processor == "armv7l":
        assert {("Tag_CPU_arch", "v7"), ("Tag_Advanced_SIMD_arch", "NEONv1")} <= attributes
        assert "Tag_DIV_use" not in dict(attributes)


def test_armv7_computes_floats_one_by_one(tmp_path: Path) -> None:
    """NEON would flush denormals; only the kernel made for it, for float models, may use it on floats."""
    (cpu,) = re.findall(r'"(cortex_a8[^"]*)"', (ROOT / "runtime" / "make_wheels.py").read_text())
    command = [PYTHON, "-m", "ziglang", "cc", "-target", "arm-linux-gnueabihf.2.17", f"-mcpu={cpu}", *FLAGS]
    vectors = {}
    for name in ("float_nodes", "integer_nodes", "neon", "portable", "step"):
        run(*command, "-S", "-g0", "-fPIC", C / "src" / f"{name}.c", "-o", tmp_path / name)
        assembly = (tmp_path / name).read_text()
        assert "vfma" not in assembly and "vfms" not in assembly
        vectors[name] = len(re.findall(r"\tv[a-z]+\.(?:f32|f32\.[su]32|[su]32\.f32)\t[dq]\d", assembly))
    assert vectors.pop("neon") > 0
    assert set(vectors.values()) == {0}


def stable_names() -> set[str]:
    """The limited API of Python 3.11."""
    program = """if True:
        from abi3info import DATAS, FUNCTIONS
        from abi3info.models import PyVersion
        print(*(symbol.name for part in (DATAS, FUNCTIONS) for symbol, entry in part.items()
                if entry.added <= PyVersion(3, 11)))"""
    return set(run(PYTHON, "-c", program).split())


def test_equal_sources_give_equal_bytes(built: Path, tmp_path: Path) -> None:
    umask = os.umask(0o077)
    try:
        run(PYTHON, ROOT / "runtime" / "make_wheels.py", tmp_path)
    finally:
        os.umask(umask)
    first, second = ({path.name: path.read_bytes() for path in folder.iterdir()} for folder in (built, tmp_path))
    assert first.keys() == second.keys()
    assert [name for name, data in first.items() if second[name] != data] == []


def test_the_source_archive_has_all_sources(built: Path) -> None:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    runtime = ROOT / "runtime"
    sources = [*runtime.glob("c/*/*.[ch]"), *runtime.glob("python/edgegru_runtime/*.py"), runtime / "setup.py"]
    assert {path.relative_to(runtime).as_posix() for path in sources} - names == set()
