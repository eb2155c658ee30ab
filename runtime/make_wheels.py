"""The source archive of edgegru-runtime and a wheel for every processor, made on one of them (docs/wheels.md).

    python make_wheels.py FOLDER

The interpreter needs its C headers and the packages of make_wheels.txt. Equal sources give equal bytes.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import setuptools  # provides distutils from Python 3.12 on

HERE = Path(__file__).resolve().parent
TIME = 1577836800  # of every file in an archive: 2020-01-01
KERNEL = "edgegru_runtime/_kernel.abi3.so"


@dataclass(frozen=True)
class Target:
    """A processor, in zig's words, and the platform tags of its wheel. All need glibc 2.17 or newer."""

    triple: str
    cpu: str
    platforms: tuple[str, ...]


TARGETS = (
    # LLVM 18 wants evex512 where functions choose AVX-512 themselves; by itself it adds no instruction.
    Target("x86_64-linux-gnu.2.17", "baseline+evex512", ("manylinux2014_x86_64", "manylinux_2_17_x86_64")),
    Target("aarch64-linux-gnu.2.17", "baseline", ("manylinux2014_aarch64", "manylinux_2_17_aarch64")),
    # The oldest ARMv7 processor with NEON; the one instruction that was slow there is not on those with 64 bits.
    Target("arm-linux-gnueabihf.2.17", "cortex_a8-slowfpvmlx", ("manylinux2014_armv7l", "manylinux_2_17_armv7l")),
    # Raspberry Pi 1 and Zero. There is no manylinux tag for ARMv6.
    Target("arm-linux-gnueabihf.2.17", "arm1176jzf_s", ("linux_armv6l",)),
)

# zig's own support library has all that compilers may ask for, and would export it.
EXPORTS = "{ global: PyInit_*; local: *; };"

# In place of the interpreter's own pyconfig.h, which knows one processor: what headers of the limited API ask.
PYCONFIG = """\
#define ALIGNOF_LONG __SIZEOF_LONG__
#define ALIGNOF_SIZE_T __SIZEOF_SIZE_T__
#define SIZEOF_DOUBLE __SIZEOF_DOUBLE__
#define SIZEOF_FLOAT __SIZEOF_FLOAT__
#define SIZEOF_INT __SIZEOF_INT__
#define SIZEOF_LONG __SIZEOF_LONG__
#define SIZEOF_LONG_LONG __SIZEOF_LONG_LONG__
#define SIZEOF_SHORT __SIZEOF_SHORT__
#define SIZEOF_SIZE_T __SIZEOF_SIZE_T__
#define SIZEOF_UINTPTR_T __SIZEOF_POINTER__
#define SIZEOF_VOID_P __SIZEOF_POINTER__
#define SIZEOF_WCHAR_T __SIZEOF_WCHAR_T__
#define HAVE_SSIZE_T 1
#define HAVE_WCHAR_H 1
#define STDC_HEADERS 1
#define WITH_DOC_STRINGS 1
"""


def run_module(module: str, *arguments: str | Path, folder: Path, **variables: str) -> None:
    """Run ``python -m module`` quietly; its output is shown where it fails."""
    result = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=folder,
        env={**os.environ, "SOURCE_DATE_EPOCH": str(TIME), **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        sys.exit(f"{result.stdout}\n{module} {' '.join(map(str, arguments))}: exit status {result.returncode}")


def build_archive(source: Path, folder: Path) -> Path:
    """The source archive, with its files in order and without times and owners."""
    run_module("build", "--sdist", "--no-isolation", "--outdir", folder, source, folder=source)
    (path,) = folder.glob("*.tar.gz")
    plain = io.BytesIO()
    with tarfile.open(path) as old, tarfile.open(fileobj=plain, mode="w", format=tarfile.GNU_FORMAT) as new:
        for member in sorted(old.getmembers(), key=lambda member: member.name):
            clean = tarfile.TarInfo(member.name)
            clean.type, clean.size, clean.mtime = member.type, member.size, TIME
            clean.mode = 0o755 if member.isdir() else 0o644
            new.addfile(clean, old.extractfile(member) if member.isfile() else None)
    path.write_bytes(gzip.compress(plain.getvalue(), mtime=TIME))
    return path


def build_content(source: Path, work: Path) -> Path:
    """A folder with what all wheels share: all but the kernel."""
    run_module("build", "--wheel", "--no-isolation", "--outdir", work, source, folder=source, CC="false")
    (wheel,) = work.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(work / "content")
    assert not (work / "content" / KERNEL).exists()
    return work / "content"


def copy_headers(folder: Path) -> Path:
    """The headers of this interpreter, for any processor."""
    include = sysconfig.get_path("include")
    if not Path(include, "Python.h").is_file():
        sys.exit(f"{include}/Python.h is missing: expected the C headers of {sys.executable} (apt: python3-dev)")
    shutil.copytree(include, folder)
    folder.joinpath("pyconfig.h").write_text(PYCONFIG)
    return folder


def read_extension(source: Path) -> setuptools.Extension:
    """The extension as setup.py declares it."""
    from distutils.core import run_setup

    with contextlib.chdir(source):
        (extension,) = run_setup("setup.py", stop_after="init").ext_modules
    return extension


def build_kernel(source: Path, extension: setuptools.Extension, headers: Path, target: Target, path: Path) -> None:
    """The extension module for a processor, with the sources and flags of setup.py."""
    cache = os.environ.get("ZIG_GLOBAL_CACHE_DIR", f"{sys.prefix}/zig-cache")
    exports = path.parent / "exports"
    exports.write_text(EXPORTS)
    flags = [*extension.extra_compile_args, "-fno-sanitize=all", "-fPIC", "-shared"]
    flags += ["-Wl,--gc-sections", f"-Wl,--version-script={exports}"]
    flags += [f"-D{name}={value}" for name, value in extension.define_macros]
    flags += [f"-I{folder}" for folder in (*extension.include_dirs, headers)]
    arguments = ["cc", "-target", target.triple, f"-mcpu={target.cpu}", *flags, *extension.sources]
    arguments += [*extension.extra_link_args, "-o", str(path)]
    run_module("ziglang", *arguments, folder=source, ZIG_GLOBAL_CACHE_DIR=cache, ZIG_LOCAL_CACHE_DIR=cache)


def set_tags(content: Path, platforms: Iterable[str]) -> None:
    """Say in the file WHEEL what the wheel is for."""
    (path,) = content.glob("*.dist-info/WHEEL")
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("Tag:")]
    lines += [f"Tag: cp311-abi3-{platform}" for platform in platforms]
    path.write_text("\n".join(lines) + "\n")


def make_wheels(folder: Path) -> None:
    """The source archive, and from it a wheel for every target. Those of an earlier time are replaced."""
    os.umask(0o022)  # permissions are part of a wheel
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("edgegru_runtime-*"):
        path.unlink()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        leftovers = shutil.ignore_patterns("build", "*.egg-info", "*.so", "__pycache__")
        archive = build_archive(shutil.copytree(HERE, work / "tree", ignore=leftovers), folder)
        with tarfile.open(archive) as unpacked:
            unpacked.extractall(work, filter="data")
        source = work / archive.name.removesuffix(".tar.gz")
        content, headers = build_content(source, work), copy_headers(work / "include")
        extension = read_extension(source)
        for target in TARGETS:
            build_kernel(source, extension, headers, target, work / "kernel.so")
            shutil.copy(work / "kernel.so", content / KERNEL)
            set_tags(content, target.platforms)
            run_module("wheel", "pack", content, "--dest-dir", folder, folder=work)
    for path in sorted(folder.glob("edgegru_runtime-*")):
        print(f"{path}: {path.stat().st_size} bytes")


if __name__ == "__main__":
    make_wheels(Path(sys.argv[1]).resolve())
