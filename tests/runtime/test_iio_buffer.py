"""Industrial I/O that a device captures: how its buffer is set up and put back, and what scans become."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgegru_runtime.errors import InputError
from edgegru_runtime.model_config import ModelConfig
from edgegru_runtime.record import Record
from edgegru_runtime.sources.iio_buffer import IioBufferSource
from edgegru_runtime.sources.source import SourceOptions
from tests.runtime.iio_folder import XYZ, Device, config, values


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


@pytest.fixture
def fifo(tmp_path: Path) -> Iterator[int]:
    """Where scans are written; the file is ``captured``."""
    os.mkfifo(tmp_path / "captured")
    descriptor = os.open(tmp_path / "captured", os.O_RDWR)  # also holds the reading end, so that it can be opened
    yield descriptor
    os.close(descriptor)


def captured(
    device: Device, model: ModelConfig = XYZ, warnings: list[str] | None = None, **options: object
) -> IioBufferSource:
    spec = f"iio-buffer:{device.folder}?device={device.folder.parent / 'captured'}"
    return IioBufferSource(spec, model, SourceOptions(**options), ([] if warnings is None else warnings).append)


def capturing(device: Device, folder: str = "buffer0", **settings: int) -> None:
    """An accelerometer of 12 bits in big-endian words, with a time."""
    device.accelerometer()
    for index, axis in enumerate("xyz"):
        device.element(f"accel_{axis}", index, "be:s12/16>>4", folder="scan_elements" if folder == "buffer" else folder)
    device.element("timestamp", 3, "le:s64/64>>0", folder="scan_elements" if folder == "buffer" else folder)
    device.buffer(folder, **settings)


def scan(x: int, y: int, z: int, t: int) -> bytes:
    words = b"".join((number % 4096 << 4 | 0xF).to_bytes(2, "big") for number in (x, y, z))
    return words + b"\xee\xee" + t.to_bytes(8, "little", signed=True)


@pytest.mark.parametrize("folder", ["buffer0", "buffer"])
def test_scans_become_records(device: Device, fifo: int, folder: str) -> None:
    capturing(device, folder)
    source = captured(device, time_unit="ns")
    assert source.fileno() is not None and source.due() is None
    assert source.read() == []
    os.write(fifo, scan(1, -2048, 2047, 1_700_000_000_123_456_789) + scan(-1, 0, 5, 1_700_000_000_133_456_789)[:9])
    assert source.read() == [Record([0.5, -1024, 1023.5], 1_700_000_000_123_456_789, "", 1)]
    os.write(fifo, scan(-1, 0, 5, 1_700_000_000_133_456_789)[9:])
    assert source.read() == [Record([-0.5, 0, 2.5], 1_700_000_000_133_456_789, "", 2)]
    source.close()


def test_a_buffer_is_set_up_and_put_back(device: Device, fifo: int) -> None:
    capturing(device)
    device.element("accel_y", 1, "be:s12/16>>4", enabled=1)
    source = captured(device, config("accel_x", "accel_y", rate=100.0))
    settings = ["in_accel_x_en", "in_accel_y_en", "in_accel_z_en", "in_timestamp_en", "length", "enable"]
    assert [device.text(f"buffer0/{name}") for name in settings] == ["1", "1", "0", "1", "200", "1"]
    os.write(fifo, scan(1, 2, 0, 5)[:4] + bytes(4) + (5).to_bytes(8, "little"))
    assert source.read() == [Record([0.5, 1], 5e-9, "", 1)]
    source.close()
    source.close()
    assert [device.text(f"buffer0/{name}") for name in settings] == ["0", "1", "0", "0", "2", "0"]


def test_a_buffer_that_runs_as_needed_is_left_alone(device: Device, fifo: int) -> None:
    capturing(device, enable=1)
    for axis in "xyz":
        device.element(f"accel_{axis}", "xyz".index(axis), "be:s12/16>>4", enabled=1)
    device.element("timestamp", 3, "le:s64/64>>0", enabled=1)
    for file in (device.folder / "buffer0").iterdir():
        file.chmod(0o444)
    stamps = {file: file.stat().st_mtime_ns for file in (device.folder / "buffer0").iterdir()}
    source = captured(device)
    os.write(fifo, scan(2, 4, 6, 0))
    assert values(source.read()) == [[1, 2, 3]]
    source.close()
    assert {file: file.stat().st_mtime_ns for file in (device.folder / "buffer0").iterdir()} == stamps


def test_a_buffer_that_runs_otherwise_is_stopped_first(device: Device, fifo: int) -> None:
    capturing(device, enable=1, length=500)
    source = captured(device)
    assert device.text("buffer0/enable") == "1" and device.text("buffer0/length") == "500"
    source.close()
    assert device.text("buffer0/enable") == "1" and device.text("buffer0/in_accel_x_en") == "0"


def test_what_cannot_be_set_is_named_and_the_rest_put_back(device: Device, fifo: int) -> None:
    capturing(device)
    length = device.folder / "buffer0" / "length"
    length.unlink()
    length.symlink_to("/dev/full")
    with pytest.raises(InputError, match="buffer0/length: 128 cannot be written: No space left on device; expected"):
        captured(device)
    assert device.text("buffer0/in_accel_x_en") == "0"


def test_a_missing_trigger_is_named(device: Device, fifo: int) -> None:
    capturing(device)
    device.file("trigger/current_trigger").write_text("\n")
    with pytest.raises(InputError, match="has no trigger, expected the name of one in trigger/current_trigger"):
        captured(device)
    assert device.text("buffer0/in_accel_x_en") == "0" and device.text("buffer0/length") == "2"


def test_repeated_numbers_have_numbered_names(device: Device, fifo: int) -> None:
    device.element("rot_quaternion", 0, "le:s16/16X4>>0")
    device.write(in_rot_quaternion_raw="0 0 0 0", in_rot_scale=0.5)
    device.buffer()
    source = captured(device, config("w", "z"), columns=("in_rot_quaternion_0", "rot_quaternion_3"))
    os.write(fifo, b"".join(number.to_bytes(2, "little", signed=True) for number in (2, 4, 6, -8)))
    assert source.read() == [Record([1, -4], None, "", 1)]
    source.close()


def test_another_rate_than_the_models_is_told(device: Device, fifo: int) -> None:
    capturing(device)
    device.write(in_accel_sampling_frequency=104)
    warnings: list[str] = []
    captured(device, warnings=warnings).close()
    assert warnings == [
        f"{device.folder.parent / 'captured'}: in_accel_sampling_frequency is 104 Hz, expected 50 Hz as the model's"
    ]
    captured(device, warnings=warnings, rate=104.0).close()
    assert len(warnings) == 1


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("iio-buffer:{folder}", "/dev/iio:device0: cannot be opened: No such file"),
        ("iio-buffer:{folder}?device=", "expected .device=/dev/iio:deviceN or nothing behind it"),
        ("iio-buffer:{folder}?length=5", "expected .device=/dev/iio:deviceN or nothing behind it"),
    ],
)
def test_the_device_file_is_derived_or_given(device: Device, spec: str, message: str) -> None:
    capturing(device)
    with pytest.raises(InputError, match=message):
        IioBufferSource(spec.format(folder=device.folder), XYZ, SourceOptions(), lambda text: None)


def test_a_device_without_a_buffer_can_be_polled(device: Device) -> None:
    device.accelerometer()
    with pytest.raises(InputError, match=f"has no buffer, expected a device that captures, or iio:{device.folder}"):
        captured(device)


def test_a_broken_type_is_named(device: Device) -> None:
    capturing(device)
    device.element("accel_z", 2, "le:q12/16")
    with pytest.raises(InputError, match="buffer0/in_accel_z_type: the type is 'le:q12/16', expected such as"):
        captured(device)


def test_a_device_that_ends_ends_the_input(device: Device, tmp_path: Path) -> None:
    capturing(device)
    os.mkfifo(tmp_path / "captured")
    source = captured(device)
    assert source.read() is None  # nobody holds the writing end
    source.close()


def test_targets_are_read_too(device: Device, fifo: int) -> None:
    capturing(device)
    source = captured(device, config("accel_x", "accel_y"), targets=("accel_z",))
    os.write(fifo, scan(1, 2, 3, 0))
    assert source.read() == [Record([0.5, 1], 0.0, "", 1, 0, [1.5])]
    source.close()


def test_no_scan_is_read_ahead_where_none_may_be(device: Device, fifo: int) -> None:
    capturing(device)
    source = captured(device, chunk=1)
    os.write(fifo, scan(1, 2, 3, 0) + scan(4, 5, 6, 0))
    assert [values(source.read()), values(source.read()), values(source.read())] == [[[0.5, 1, 1.5]], [[2, 2.5, 3]], []]
    source.close()


def test_a_sensor_cannot_be_resumed(device: Device, fifo: int) -> None:
    capturing(device)
    source = captured(device)
    assert source.live and not source.resumable and source.overflow() == 0
    with pytest.raises(InputError, match="is a sensor and cannot be read again"):
        source.resume(0, 0)
    source.close()
