"""Write docs/command-line.md from what ``--help`` says: ``python docs/make_command_line.py``."""

import contextlib
import io
import os
from pathlib import Path

import click

from edgegru.command_line import cli, main

PAGE = Path(__file__).resolve().parent / "command-line.md"
INTRODUCTION = """\
# Command line

This page is what `edgegru --help` and `edgegru COMMAND --help` print; `python docs/make_command_line.py` writes it.

- Results go to standard output; progress, warnings and errors go to standard error.
- `--json` prints exactly one JSON object. `run` prints one for each step.
- Files are written whole or not at all. An existing one is replaced only with `--force`; `train` goes on in its folder
  with `--resume` and begins anew without.
- Exit status: 0 done; 1 failed, with one sentence that says what was found and what was expected; 2 wrong usage; 130
  interrupted by Ctrl-C (`train` says how to resume; `run` ends well and exits with 0).
- `run`, `info` and `bench` are those of `python -m edgegru_runtime` on the device, with the same options.
- Only `train`, pictures and reports need the extra: `pip install "edgegru[train]"`.
- Every command is one function of the package with the same name and parameters: `edgegru.quantize(model, calibration,
  output, scheme="static-w8a8")`.
"""


def page() -> str:
    """The whole page."""
    sections = [INTRODUCTION, _block("edgegru", [])]
    for name, command in cli.commands.items():
        sections.append(f"## {name}\n\n{_block(f'edgegru {name}', [name])}")
        parts = command.commands if isinstance(command, click.Group) else ()
        sections += [_block(f"edgegru {name} {part}", [name, part]) for part in parts]
    return "\n".join(sections)


def _block(title: str, command: list[str]) -> str:
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        main([*command, "--help"])
    return f"```text\n$ {title} --help\n{printed.getvalue().strip()}\n```\n"


if __name__ == "__main__":
    os.environ["COLUMNS"] = "100"
    PAGE.write_text(page(), encoding="utf-8")
