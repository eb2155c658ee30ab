"""Microcontrollers that QEMU emulates: programs are compiled for them, run on files, and measured.

Debian packages gcc-arm-none-eabi, libnewlib-arm-none-eabi and qemu-system-arm; for RISC-V gcc-riscv64-unknown-elf,
picolibc-riscv64-unknown-elf and qemu-system-misc.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from shutil import which
from typing import NamedTuple

BOARD = Path(__file__).resolve().parent / "board"
PACKAGES = {
    "arm-none-eabi-gcc": "gcc-arm-none-eabi",
    "qemu-system-arm": "qemu-system-arm",
    "riscv64-unknown-elf-gcc": "gcc-riscv64-unknown-elf",
    "qemu-system-riscv32": "qemu-system-misc",
}
LIBRARIES = {"arm-none-eabi-gcc": "libnewlib-arm-none-eabi", "riscv64-unknown-elf-gcc": "picolibc-riscv64-unknown-elf"}
LANGUAGE = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-ffunction-sections", "-fdata-sections", "-fstack-usage")
_LISTED = re.compile(r"^ (\.[\w.]+)\s+0x[0-9a-f]+\s+0x([0-9a-f]+) (.+)$", re.MULTILINE)  # in a linker's map


# Feeds samples to a generated model and gives its outputs out.
MODEL_FEED = """\
#include "board.h"
#include "feed.h"
#include "{prefix}.h"

static {prefix}_state state;

void feed_begin(void) {{
    {prefix}_init(&state);
}}

void feed(const void *in, void *out) {{
    int status = {prefix}_step(&state, in, out);
    if (status)
        board_exit(10 + status);
}}
"""


class Board(NamedTuple):
    """A processor and the machine of QEMU that has it."""

    processor: str
    machine: str
    compiler: str
    flags: tuple[str, ...]
    emulator: str
    flash: tuple[str, str]  # first address, size
    ram: tuple[str, str]

    @property
    def missing(self) -> str | None:
        """A Debian package that is not there but needed."""
        if not self.emulator:
            return None if which(self.compiler) else "gcc"
        for program in (self.compiler, self.emulator):
            if which(program) is None:
                return PACKAGES[program]
        return None if _has_library(self) else LIBRARIES[self.compiler]

    def tool(self, name: str) -> str:
        """Of the compiler's family, such as ``size``."""
        return self.compiler.removesuffix("gcc") + name


def _arm(processor: str, machine: str, *flags: str, flash: str = "4M", ram: str = "4M") -> Board:
    options = (f"-mcpu={processor}", "-mthumb", "--specs=nano.specs", *flags)
    return Board(processor, machine, "arm-none-eabi-gcc", options, "qemu-system-arm", ("0", flash), ("0x20000000", ram))


_RISC_V = ("-march=rv32imac", "-mabi=ilp32", "--specs=picolibc.specs")
BOARDS = {
    board.processor: board
    for board in (
        _arm("cortex-m0", "microbit", flash="256K", ram="16K"),
        _arm("cortex-m3", "mps2-an385"),
        _arm("cortex-m4", "mps2-an386", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"),
        _arm("cortex-m7", "mps2-an500", "-mfloat-abi=hard", "-mfpu=fpv5-d16"),
        _arm("cortex-m55", "mps3-an547", "-mfloat-abi=hard", flash="512K", ram="512K"),
        Board(
            "rv32imac", "virt", "riscv64-unknown-elf-gcc", _RISC_V, "qemu-system-riscv32",
            ("0x80000000", "4M"), ("0x80400000", "4M"),
        ),
    )
}  # fmt: skip


HOST = Board("this machine", "", "cc", (), "", ("", ""), ("", ""))  # compiled and run as any program


class Program(NamedTuple):
    """A linked program, and the map that the linker wrote."""

    board: Board
    file: Path
    map: Path

    def bytes_of(self, objects: str, sections: str = r"\.(text|rodata|srodata|data|sdata|ARM)") -> int:
        """Bytes of the sections that the linker kept of the object files whose names match: flash, if not told else."""
        listed = self.map.read_text(encoding="utf-8").partition("Linker script and memory map")[2]
        kept = listed.partition("/DISCARD/")[0]
        return sum(
            int(size, 16)
            for section, size, file in _LISTED.findall(kept)
            if re.match(sections, section) and re.search(objects, file)
        )


def build(
    board: Board, folder: Path, sources: Iterable[Path], options: Sequence[str] = ("-Os",), *, feed: tuple[int, int],
    repeat: int = 1,
) -> Program:
    """The program that feeds records (bytes of an input, of an output) to ``feed`` of the ``sources``, in ``folder``.

    Each source becomes an object file of its name. Raises CalledProcessError where a compiler complains.
    """
    folder.mkdir(parents=True, exist_ok=True)
    compiler = [board.compiler, *board.flags, *LANGUAGE, *options, f"-I{BOARD}"]
    given = [f"-DFEED_IN={feed[0]}", f"-DFEED_OUT={feed[1]}", f"-DFEED_REPEAT={repeat}"]
    objects = []
    board_sources = [BOARD / "host.c"] if board is HOST else [BOARD / "feed.c", BOARD / "board.c"]
    for source in (*sources, *board_sources):
        objects.append(folder / f"{source.stem}.o")
        # Of the C library the board itself uses nothing: what is linked of it is the model's.
        own = ["-fno-tree-loop-distribute-patterns"] if source.parent == BOARD else []
        _run([*compiler, *given, *own, f"-I{source.parent}", "-c", source, "-o", objects[-1]])
    program = Program(board, folder / "program.elf", folder / "program.map")
    places = {"FLASH": board.flash[0], "FLASH_SIZE": board.flash[1], "RAM": board.ram[0], "RAM_SIZE": board.ram[1]}
    linking = ["-nostartfiles", "-Wl,--gc-sections", f"-Wl,-Map={program.map}", f"-T{BOARD / 'board.ld'}"]
    linking += [f"-Wl,--defsym={name}={value}" for name, value in places.items()]
    if board is HOST:
        linking = []
    _run([board.compiler, *board.flags, *linking, *objects, "-o", program.file])
    return program


def emulate(program: Program, inputs: bytes, plugin: Path | None = None, seconds: int = 300) -> tuple[bytes, int, str]:
    """What the program makes of ``inputs``: its outputs, the bytes of stack that a record took (on this machine nobody
    counts them: 0), and what QEMU said.

    Raises CalledProcessError where the program ends with another status than 0.
    """
    folder = program.file.parent
    (folder / "inputs").write_bytes(inputs)
    if program.board is HOST:
        subprocess.run([program.file], cwd=folder, check=True, timeout=seconds)
        return (folder / "outputs").read_bytes(), 0, ""
    quiet = ["-nographic", "-monitor", "none", "-serial", "none"]
    if program.board.machine == "virt":
        quiet += ["-bios", "none"]
    counting = [] if plugin is None else ["-plugin", str(plugin), "-d", "plugin"]
    host = ["-semihosting-config", "enable=on,target=native", "-kernel", program.file.name]
    command = [program.board.emulator, "-M", program.board.machine, *quiet, *counting, *host]
    done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=seconds)
    stack = int.from_bytes((folder / "stack").read_bytes(), "little")
    return (folder / "outputs").read_bytes(), stack, done.stderr


def _has_library(board: Board) -> bool:
    command = [board.compiler, *board.flags, "-E", "-x", "c", "-"]
    done = subprocess.run(command, check=False, input="#include <string.h>\n", capture_output=True, text=True)
    return done.returncode == 0


def _run(command: Sequence[str | Path]) -> None:
    subprocess.run([str(part) for part in command], check=True)
