"""systemd itself reads the units that we write."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgegru_runtime.service.unit import Touched, service_unit

ANALYZE = shutil.which("systemd-analyze")
EXPOSURE = 2.0  # of 10, by systemd's own measure; a service without any protection has 9.6

pytestmark = pytest.mark.skipif(ANALYZE is None, reason="systemd")

SERVICES = {
    "serial": (
        ["--state-file", "state.bin", "--state-every", "60s"],
        Touched("serial:/dev/ttyACM0:115200", (), "state.bin"),
    ),
    "buffer": ([], Touched("iio-buffer:iio:device0")),
    "page": (["--serve", "8080"], Touched("tcp-listen://127.0.0.1:7000", (), None, (), "8080")),
    "broker": (
        ["--sink", "mqtt://broker/out", "--metrics-file", "/var/lib/node/a.prom"],
        Touched("mqtt://broker/in", ["mqtt://broker/out"], "/var/lib/pump/state", ["/var/lib/node/a.prom"]),
    ),
    "hook": (
        ["--on-event", """logger "$EDGEGRU_LABEL" 'is on'; echo 100% \\; # done"""],
        Touched("unix:/run/sensor.sock", on_event=True),
    ),
}


def analyze(*arguments: str) -> str:
    finished = subprocess.run([str(ANALYZE), *arguments], capture_output=True, text=True, check=False, timeout=60)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert finished.stderr == ""
    return finished.stdout


@pytest.mark.parametrize("home", [False, True])
@pytest.mark.parametrize("name", SERVICES)
def test_systemd_accepts_the_unit(name: str, home: bool, tmp_path: Path) -> None:
    arguments, touched = SERVICES[name]
    model = "/home/pi/my models/100%.onnx" if home else "/srv/gait.safetensors"
    text = service_unit(sys.executable, model, [model, touched.input, *arguments], touched)
    unit = tmp_path / f"edgegru-{name}.service"
    unit.write_text(text)
    assert analyze("verify", "--man=no", str(unit)) == ""
    found = re.search(r"Overall exposure level for .*: (\d+\.\d)", analyze("security", "--offline=yes", str(unit)))
    assert found is not None
    print(f"{name}: exposure {found[1]}")
    assert float(found[1]) <= EXPOSURE


def test_systemd_refuses_what_is_wrong(tmp_path: Path) -> None:
    unit = tmp_path / "wrong.service"
    unit.write_text("[Service]\nExecStart=/nowhere/at/all\nProtectSystm=strict\n")
    finished = subprocess.run([str(ANALYZE), "verify", str(unit)], capture_output=True, text=True, check=False)
    assert finished.returncode != 0 and "'ProtectSystm'" in finished.stderr
