"""A systemd unit that runs a stream with no more rights than it needs: systemd.service(5), systemd.exec(5)."""

from __future__ import annotations

import grp
import os
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from edgegru_runtime.errors import InputError
from edgegru_runtime.service.address import is_loopback, parse_address

_HOMES = ("/home/", "/root/", "/run/user/")
_STATES = "/var/lib/"
_SPECS = re.compile(r"(serial|tcp|tcp-listen|unix|unix-listen|mqtt|mqtts|iio|iio-buffer):")  # an input that is no file
_HOST = re.compile(r"^[a-z:-]*://(?:[^@/]*@)?(\[[^]/]*\]|[^:/?]*)")
_USB_SERIAL = {"ttyACM": ("char-ttyACM",), "ttyUSB": ("char-ttyUSB",), "serial/": ("char-ttyACM", "char-ttyUSB")}
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_PLAIN = re.compile(r"[A-Za-z0-9_./:=,@+-]+")

_ALWAYS = """NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
PrivateTmp=yes
ProtectProc=invisible
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectControlGroups=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RemoveIPC=yes
KeyringMode=private
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM
UMask=0027"""


class Touched(NamedTuple):
    """What a run's options make it reach for, each as it stands on the command line."""

    input: str
    sinks: Sequence[str] = ()
    state_file: str | None = None
    written: Sequence[str] = ()  # other files: results, records, metrics
    serve: str | None = None  # the page's address
    on_event: bool = False  # whether commands are run


def service_unit(python: str, model: str, arguments: Sequence[str], touched: Touched, *, watchdog: float = 30.0) -> str:
    """The text of a unit that does ``python -m edgegru_runtime run`` with ``arguments``, ``model`` among them.

    ``python``: the interpreter's absolute path. The names of the model and of an input that is a file become absolute;
    other names are taken from the unit's folder in /var/lib, where the state is kept. ``watchdog``: seconds without a
    sample after which systemd starts the service again. Raises InputError for what no unit can say or no service read.
    """
    if touched.input == "-":
        raise InputError("a service has no standard input, expected an INPUT such as serial:/dev/ttyACM0 or tcp://HOST:PORT")
    _check_program(python)
    located = _located(arguments, model)
    read = [os.path.dirname(os.path.abspath(model))]
    if _SPECS.match(touched.input) is None:
        located = _located(located, touched.input)
        read.append(os.path.dirname(os.path.abspath(touched.input)))
    written = [*touched.written, *_written_by(touched.input, touched.sinks)]
    command = " ".join([python.replace("%", "%%"), *map(quoted, ("-m", "edgegru_runtime", "run", *located))])
    hosts = _hosts(touched)
    here_alone = all(map(is_loopback, hosts)) and not touched.on_event
    unit = [f"Description=EdgeGRU: {_one_line(os.path.basename(model))}"]
    if not here_alone:
        unit += ["Wants=network-online.target", "After=network-online.target"]
    unit += ["# A sensor may be away for hours: systemd never gives up.", "StartLimitIntervalSec=0"]
    service = [
        "Type=notify",
        f"ExecStart={command}",
        "ExecReload=/bin/kill -HUP $MAINPID",
        "Restart=on-failure",
        "RestartSec=5",
        "# A wrong command line stays wrong.",
        "RestartPreventExitStatus=2",
        "# Fed only while samples flow: at least twice the longest time between two of them; 0 for none.",
        f"WatchdogSec={watchdog:g}",
        "DynamicUser=yes",
        *_places(python, read, touched.state_file, written),
        *_devices(touched.input),
        *_network(hosts, here_alone, touched.on_event),
        *_system(model),
        _ALWAYS,
    ]
    if touched.on_event:
        service.insert(0, "# Commands of --on-event run within these limits.")
    lines = ["[Unit]", *unit, "", "[Service]", *service, "", "[Install]", "WantedBy=multi-user.target", ""]
    return "\n".join(lines)


def quoted(argument: str) -> str:
    """One word of a command in a unit, as systemd.syntax(7) and systemd.service(5) read it back.

    Raises InputError where the word is not Unicode, which a unit has to be.
    """
    try:
        argument.encode()
    except UnicodeEncodeError:
        raise InputError(f"{argument!r} is not UTF-8, as a unit has to be") from None
    doubled = argument.replace("%", "%%").replace("$", "$$")
    if _PLAIN.fullmatch(argument):
        return doubled
    escaped = doubled.replace("\\", "\\\\").replace('"', '\\"')
    visible = _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", escaped)
    return f'"{visible}"'


def _check_program(python: str) -> None:
    if not os.path.isabs(python) or not python.isprintable() or re.search(r"[\s\"'\\$;]", python):
        expected = "an absolute path without spaces, quotes, $, ; and \\"
        raise InputError(f"{python!r} cannot be started by a unit, expected {expected}")


def _located(arguments: Sequence[str], name: str) -> list[str]:
    """``arguments`` with ``name`` made absolute where it stands first, which may be behind "--source="."""
    found = list(arguments)
    for index, argument in enumerate(found):
        option, equals, value = argument.partition("=")
        if argument == name:
            found[index] = os.path.abspath(name)
            return found
        if equals and option.startswith("--") and value == name:
            found[index] = f"{option}={os.path.abspath(name)}"
            return found
    raise InputError(f"{name!r} is not among the arguments of the service")


def _written_by(input: str, sinks: Iterable[str]) -> list[str]:
    """Files that inputs and sinks make."""
    found = [input.removeprefix("unix-listen:")] if input.startswith("unix-listen:") else []
    for sink in sinks:
        form, colon, target = sink.partition(":")
        if form in ("jsonl", "csv", "influx") and colon and target != "-" and not target.startswith("udp://"):
            found.append(target.partition("?")[0])
    return found


def _places(python: str, read: Iterable[str], state_file: str | None, written: Sequence[str]) -> list[str]:
    """Folders: one in /var/lib for relative names and the state, others that are written, and what is read at home."""
    lines, owned, writable = [], [], []
    if any(not os.path.isabs(path) for path in (*written, state_file or "/")):
        owned.append("%N")
        lines.append("WorkingDirectory=%S/%N")
    if state_file is not None and os.path.isabs(state_file):
        folder = os.path.dirname(os.path.normpath(state_file))
        if folder.startswith(_STATES):
            owned.append(_path(folder.removeprefix(_STATES)))
        else:
            writable.append(folder)
    if owned:
        lines.append(f"StateDirectory={' '.join(owned)}")
    writable += [os.path.dirname(os.path.normpath(path)) for path in written if os.path.isabs(path)]
    outside = [folder for folder in dict.fromkeys(writable) if not _at_home(folder)]
    lines += [f"ReadWritePaths={_path(folder)}" for folder in outside]
    lines += [f"SupplementaryGroups={group}" for group in dict.fromkeys(filter(None, map(_writing_group, outside)))]
    environments = (os.path.dirname(os.path.dirname(path)) for path in (python, os.path.realpath(python)))
    modules = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    at_home = [folder for folder in dict.fromkeys((*environments, modules, *read)) if _at_home(folder)]
    written_at_home = [folder for folder in dict.fromkeys(writable) if _at_home(folder)]
    if not at_home and not written_at_home:
        return [*lines, "ProtectHome=yes"]
    lines += ["# Of home folders, it sees only these.", "ProtectHome=tmpfs"]
    lines += [f"BindReadOnlyPaths={_path(folder)}" for folder in at_home if folder not in written_at_home]
    return lines + [f"BindPaths={_path(folder)}" for folder in written_at_home]


def _at_home(folder: str) -> bool:
    return f"{folder}/".startswith(_HOMES)


def _writing_group(folder: str) -> str | None:
    """The group that may write in ``folder`` as it is now, so that the service can be in it."""
    try:
        found = os.stat(folder)
        return grp.getgrgid(found.st_gid).gr_name if found.st_gid and found.st_mode & 0o020 else None
    except (OSError, KeyError):
        return None


def _devices(input: str) -> list[str]:
    """What may be opened in /dev, and what in /sys may be written."""
    allowed: tuple[str, ...] = ()
    group = None
    buffered = input.startswith("iio-buffer:")
    if input.startswith("serial:"):
        device = re.sub(r":\d+$", "", input.removeprefix("serial:"))
        name = device.removeprefix("/dev/")
        # By its kind, a device may come later, and come back.
        kinds = [kinds for start, kinds in _USB_SERIAL.items() if name.startswith(start)]
        allowed = kinds[0] if kinds else (_path(device),)
        group = _group_of(device) or "dialout"
    elif buffered:
        allowed, group = ("char-iio",), None
    lines = [f"DeviceAllow={device} rw" for device in allowed]
    if group is not None:
        lines.append(f"SupplementaryGroups={group}")
    # Enabling a buffer writes in /sys, where a rule of udev has to permit it.
    lines.append(f"ProtectKernelTunables={'no' if buffered else 'yes'}")
    return [*lines, "DevicePolicy=closed"] if allowed else [*lines, "PrivateDevices=yes", "PrivateUsers=yes"]


def _group_of(device: str) -> str | None:
    try:
        found = os.stat(device).st_gid
        return grp.getgrgid(found).gr_name if found else None
    except (OSError, KeyError):
        return None


def _hosts(touched: Touched) -> list[str]:
    """The machines that are talked to."""
    specs = [touched.input, *(sink.removeprefix("influx:") for sink in touched.sinks)]
    hosts = [found[1].strip("[]") for found in map(_HOST.match, specs) if found is not None]
    return hosts if touched.serve is None else [*hosts, parse_address(touched.serve)[0]]


def _network(hosts: Sequence[str], here_alone: bool, on_event: bool) -> list[str]:
    if not hosts and not on_event:
        return ["PrivateNetwork=yes", "RestrictAddressFamilies=AF_UNIX"]
    families = "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6"
    return [families, "IPAddressDeny=any", "IPAddressAllow=localhost"] if here_alone else [families]


def _system(model: str) -> list[str]:
    """Of the system itself. The engines of exported files look up the processor and place their threads on it."""
    if model.endswith((".onnx", ".tflite")):
        return ["SystemCallFilter=@system-service", "SystemCallFilter=~@privileged"]
    return ["ProcSubset=pid", "SystemCallFilter=@system-service", "SystemCallFilter=~@privileged @resources"]


def _path(path: str) -> str:
    """A path in a setting. Raises InputError for one that settings cannot name."""
    if not path.isprintable() or re.search(r"[\"'\\:]", path):
        expected = "a path without quotes, colons, \\ and control characters"
        raise InputError(f"{path!r} cannot stand in a unit, expected {expected}")
    escaped = path.replace("%", "%%")
    return f'"{escaped}"' if " " in path else escaped


def _one_line(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text).replace("%", "%%")
