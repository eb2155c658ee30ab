"""The unit that runs a stream: its command says what was typed, and it may do what the run needs and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgegru_runtime import InputError
from edgegru_runtime.service import unit as module
from edgegru_runtime.service.unit import Touched, quoted, service_unit
from tests.runtime.systemd_syntax import command

SERIAL = "serial:/dev/ttyACM0:115200"


@pytest.fixture(autouse=True)
def _outside_of_homes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "__file__", "/usr/lib/python3/dist-packages/edgegru_runtime/service/unit.py")


def settings(text: str) -> dict[str, list[str]]:
    """The values of each setting of a unit."""
    found: dict[str, list[str]] = {}
    for line in text.split("\n"):
        if line and line[0] not in "[#":
            name, equals, value = line.partition("=")
            assert equals and name.isalpha()
            found.setdefault(name, []).append(value)
    return found


def made(
    *arguments: str, model: str = "/srv/m.safetensors", python: str = "/usr/bin/python3", **touched: object
) -> dict[str, list[str]]:
    """The settings of a unit for these arguments behind the model and its input."""
    touched = {"input": SERIAL, **touched}
    given_ = [model, str(touched["input"]), *arguments]
    return settings(service_unit(python, model, given_, Touched(**touched)))  # type: ignore[arg-type]


@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), max_size=5))
@example(["$HOME ${HOME} $$", "%h %%", 'a "b" \'c\'', "\\n \\", "", " ", ";", "\n\t\x7f", "#", "-", "@x", "ü 𝄞"])
def test_words_survive(arguments: list[str]) -> None:
    line = " ".join(map(quoted, arguments))
    assert command(line) == arguments
    assert "\n" not in line


@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1), max_size=4))
def test_the_command_is_what_was_typed(arguments: list[str]) -> None:
    (line,) = made(*arguments)["ExecStart"]
    expected = ["/usr/bin/python3", "-m", "edgegru_runtime", "run", "/srv/m.safetensors", SERIAL, *arguments]
    assert command(line) == expected


def test_names_do_not_depend_on_where_it_was_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["-o", "out.jsonl", "gait.onnx", "--source=log.csv", "--state-file", "state"]
    text = service_unit("/usr/bin/python3", "gait.onnx", arguments, Touched("log.csv", (), "state", ["out.jsonl"]))
    (line,) = settings(text)["ExecStart"]
    folder = str(tmp_path)
    assert command(line)[4:] == [
        *("-o", "out.jsonl", f"{folder}/gait.onnx", f"--source={folder}/log.csv", "--state-file", "state")
    ]


def test_a_service_is_watched_and_comes_back() -> None:
    found = made()
    assert found["Type"] == ["notify"] and found["WatchdogSec"] == ["30"]
    assert found["Restart"] == ["on-failure"] and found["StartLimitIntervalSec"] == ["0"]
    assert found["RestartPreventExitStatus"] == ["2"]
    assert found["ExecReload"] == ["/bin/kill -HUP $MAINPID"]
    text = service_unit("/usr/bin/python3", "m", ["m", SERIAL], Touched(SERIAL), watchdog=0)
    assert settings(text)["WatchdogSec"] == ["0"]


def test_what_every_service_gives_up() -> None:
    found = made()
    for name in ("DynamicUser", "NoNewPrivileges", "PrivateTmp", "MemoryDenyWriteExecute", "LockPersonality"):
        assert found[name] == ["yes"]
    assert found["ProtectSystem"] == ["strict"] and found["ProtectHome"] == ["yes"]
    assert found["CapabilityBoundingSet"] == [""] and found["SystemCallFilter"][0] == "@system-service"
    assert found["ProcSubset"] == ["pid"]


@pytest.mark.parametrize("name", ["m.onnx", "m.tflite"])
def test_engines_of_exported_files_may_look_up_the_processor(name: str) -> None:
    found = made(model=f"/srv/{name}")
    assert "ProcSubset" not in found and found["SystemCallFilter"] == ["@system-service", "~@privileged"]


@pytest.mark.parametrize(
    ("source", "allowed"),
    [
        ("serial:/dev/ttyACM0:115200", ["char-ttyACM rw"]),
        ("serial:/dev/ttyUSB12", ["char-ttyUSB rw"]),
        ("serial:/dev/serial/by-path/pci-0000:01:00.0-usb-0:1.2:1.0-port0:9600", ["char-ttyACM rw", "char-ttyUSB rw"]),
        ("serial:/dev/edgegru-no-such-device", ["/dev/edgegru-no-such-device rw"]),
        ("iio-buffer:iio:device0", ["char-iio rw"]),
        ("iio:iio:device0", []),
        ("tcp://sensor:7000", []),
    ],
)
def test_only_the_sensor_is_reached(source: str, allowed: list[str]) -> None:
    found = made(input=source)
    assert found.get("DeviceAllow", []) == allowed
    assert found.get("PrivateDevices") == (None if allowed else ["yes"])
    assert found.get("SupplementaryGroups") == (["dialout"] if source.startswith("serial:") else None)
    assert found["ProtectKernelTunables"] == ["no" if source.startswith("iio-buffer") else "yes"]


@pytest.mark.parametrize(
    ("touched", "network"),
    [
        ({}, "none"),
        ({"input": "unix:/run/sensor.sock"}, "none"),
        ({"sinks": ["jsonl", "csv:out.csv"]}, "none"),
        ({"serve": "8080"}, "here"),
        ({"serve": "[::1]:8080", "sinks": ["mqtt://user:p%40ss@localhost:1883/a"]}, "here"),
        ({"input": "tcp-listen://127.0.0.1:7000"}, "here"),
        ({"serve": "0.0.0.0:8080"}, "any"),
        ({"input": "mqtts://broker/topic"}, "any"),
        ({"input": "tcp://[fe80::1]:7000"}, "any"),
        ({"input": "tcp://localhost.example:7000"}, "any"),
        ({"sinks": ["influx:udp://localhost:8089", "mqtt://broker/a"]}, "any"),
        ({"sinks": ["influx:udp://127.0.0.1:8089"]}, "here"),
        ({"on_event": True}, "any"),
    ],
)
def test_only_the_network_that_is_used(touched: dict[str, object], network: str) -> None:
    found = made(**touched)  # type: ignore[arg-type]
    families = "AF_UNIX" if network == "none" else "AF_UNIX AF_INET AF_INET6"
    assert found["RestrictAddressFamilies"] == [families]
    assert found.get("PrivateNetwork") == (["yes"] if network == "none" else None)
    assert found.get("IPAddressAllow") == (["localhost"] if network == "here" else None)
    assert found.get("IPAddressDeny") == (["any"] if network == "here" else None)
    assert found.get("After") == (["network-online.target"] if network == "any" else None)


def test_the_state_has_a_folder() -> None:
    assert "StateDirectory" not in made()
    found = made(state_file="state.bin")
    assert found["StateDirectory"] == ["%N"] and found["WorkingDirectory"] == ["%S/%N"]
    found = made(state_file="/var/lib/plant/pumps/state.bin")
    assert found["StateDirectory"] == ["plant/pumps"] and "WorkingDirectory" not in found
    assert "ReadWritePaths" not in found
    found = made(state_file="/srv/state.bin")
    assert found["ReadWritePaths"] == ["/srv"] and "StateDirectory" not in found


def test_what_is_written_may_be_written() -> None:
    found = made(
        input="unix-listen:/run/edgegru/in.sock",
        sinks=["csv:/srv/a b/out.csv", "jsonl:/srv/100%/out", "influx:lines.txt", "influx:udp://host:1", "jsonl:-"],
        written=["/srv/metrics/pump.prom", "/srv/metrics/other"],
    )
    assert found["ReadWritePaths"] == ["/srv/metrics", "/run/edgegru", '"/srv/a b"', "/srv/100%%"]
    assert found["StateDirectory"] == ["%N"]  # for lines.txt


def test_a_group_that_may_write_there_is_ours(tmp_path: Path) -> None:
    import grp

    folder = tmp_path / "collector"
    folder.mkdir()
    group = next(found for found in grp.getgrall() if found.gr_gid == 1)
    try:
        os.chown(folder, -1, group.gr_gid)
    except PermissionError:
        pytest.skip("only root gives files away, as whom .ci/run runs")
    folder.chmod(0o775)
    assert group.gr_name in made(written=[f"{folder}/a.prom"])["SupplementaryGroups"]
    folder.chmod(0o755)
    assert group.gr_name not in made(written=[f"{folder}/a.prom"])["SupplementaryGroups"]


def test_of_homes_only_what_is_needed_is_seen() -> None:
    found = made(model="/home/pi/models/m.safetensors", python="/home/pi/venv/bin/python", written=["/home/pi/out/a"])
    assert found["ProtectHome"] == ["tmpfs"]
    assert found["BindReadOnlyPaths"] == ["/home/pi/venv", "/home/pi/models"]
    assert found["BindPaths"] == ["/home/pi/out"] and "ReadWritePaths" not in found


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"input": "-"}, "a service has no standard input, expected an INPUT such as "),
        ({"python": "python3"}, "'python3' cannot be started by a unit, expected an absolute path without spaces"),
        ({"python": "/opt/my python"}, "'/opt/my python' cannot be started by a unit"),
        ({"python": "/opt/$x"}, "cannot be started by a unit"),
        ({"written": ['/srv/"/x']}, "cannot stand in a unit, expected a path without quotes"),
        ({"model": "/home/a:b/m"}, "'/home/a:b' cannot stand in a unit"),
        ({"model": "/srv/\udcff"}, "'/srv/\\udcff' is not UTF-8, as a unit has to be"),
    ],
)
def test_what_no_unit_can_say(changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(InputError) as raised:
        made(**changes)  # type: ignore[arg-type]
    assert str(raised.value).startswith(sentence) or sentence in str(raised.value)


def test_a_description_is_one_line() -> None:
    assert made(model="/srv/50%\nExecStart=x")["Description"] == ["EdgeGRU: 50%%?ExecStart=x"]
