"""Run the commands of README.md's transcript in a scratch folder and write what they print below them.

    .venv/bin/python benchmarks/readme_transcript.py

Only standard output is shown: progress goes to standard error. The environment ``.venv`` must exist (``make test``).
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
BLOCK = re.compile(r"(<!-- transcript.*?-->\n```console\n)(.*?)(```)", re.DOTALL)
MARK = "::end of command::"


def run(commands: list[str]) -> list[str]:
    """The standard output of each command, all run in one shell whose folder sees the repository's."""
    with tempfile.TemporaryDirectory() as folder:
        for name in (".venv", "examples"):
            (Path(folder) / name).symlink_to(ROOT / name)
        script = "set -e\n" + "".join(f"{command}\necho '{MARK}'\n" for command in commands)
        result = subprocess.run(["bash", "-c", script], cwd=folder, stdout=subprocess.PIPE, text=True, check=True)
    return result.stdout.split(f"{MARK}\n")[: len(commands)]


def main() -> None:
    text = README.read_text()
    match = BLOCK.search(text)
    assert match is not None, "README.md has no transcript block"
    commands = [line.removeprefix("$ ") for line in match[2].splitlines() if line.startswith("$ ")]
    body = "".join(f"$ {command}\n{output}" for command, output in zip(commands, run(commands), strict=True))
    README.write_text(text[: match.start(2)] + body + text[match.end(2) :])


if __name__ == "__main__":
    main()
