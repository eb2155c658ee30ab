"""The walk-through of docs/import-keras.md is run, in a folder of its own."""

import os
import re
import subprocess
import sys
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs" / "import-keras.md").read_text(encoding="utf-8")


def words(text: str) -> list[str]:
    """Without numbers and columns: training differs a little between processors."""
    return re.sub(r"[-+]?\d+(\.\d+)?(e[-+]?\d+)?", "N", text).split()


def test_the_walk_through(tmp_path):
    (program,) = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    (session,) = re.findall(r"```console\n(.*?)```", PAGE, re.S)
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, capture_output=True)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    for part in session.split("$ ")[1:]:
        command, _, expected = part.partition("\n")
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert words(done.stdout) == words(expected), command
