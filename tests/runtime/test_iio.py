"""Industrial I/O: types of scan elements, where they lie, and devices that are asked at a rate, on plain files."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from math import isnan
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgegru_runtime.errors import InputError
from edgegru_runtime.model_config import ModelConfig
from edgegru_runtime.record import Item, Record
from edgegru_runtime.sources import iio_device
from edgegru_runtime.sources.iio import IioSource
from edgegru_runtime.sources.iio_device import Element, ElementType, IioDevice, number_reader, parse_type, scan_layout
from edgegru_runtime.sources.source import SourceOptions
from tests.runtime.iio_folder import XYZ, Device, config, values


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Polled:
    """A source whose clock the test moves."""

    def __init__(self, device: Device, model: ModelConfig = XYZ, **options: object) -> None:
        self.clock, self.warnings = Clock(), []
        self.source = IioSource(
            f"iio:{device.folder}", model, SourceOptions(**options), self.warnings.append, self.clock
        )

    def at(self, seconds: float) -> list[Item]:
        self.clock.now = 1000.0 + seconds
        items = self.source.read()
        assert items is not None
        return items


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("le:s12/16>>4", ElementType(False, True, 12, 16, 1, 4)),
        ("be:u8/8", ElementType(True, False, 8, 8, 1, 0)),
        ("le:s64/64>>0\n", ElementType(False, True, 64, 64, 1, 0)),
        ("le:s32/32X4>>0", ElementType(False, True, 32, 32, 4, 0)),
        ("be:u24/32X2>>8", ElementType(True, False, 24, 32, 2, 8)),
    ],
)
def test_types_are_parsed(text: str, expected: ElementType) -> None:
    assert parse_type(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "le:s12", "le:f32/32", "xe:s12/16", "le:s17/16>>0", "le:s12/16>>5", "le:s0/16", "le:s8/12", "le:s8/8X0",
     "LE:s12/16", "le:s12/16>>-1", "le:s1２/16", "le:s12/16X2>>4;"],
)  # fmt: skip
def test_other_types_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="expected such as le:s12/16>>4"):
        parse_type(text)


@st.composite
def element_types(draw: st.DrawFn) -> ElementType:
    storage = draw(st.sampled_from([8, 16, 32, 64, 128]))
    shift = draw(st.integers(0, storage - 1))
    return ElementType(
        draw(st.booleans()),
        draw(st.booleans()),
        draw(st.integers(1, storage - shift)),
        storage,
        draw(st.sampled_from([1, 1, 1, 2, 4])),
        shift,
    )


@given(element_types())
def test_a_type_that_is_written_is_read(kind: ElementType) -> None:
    order, sign = "be" if kind.big_endian else "le", "s" if kind.signed else "u"
    repeat = f"X{kind.repeat}" if kind.repeat > 1 else ""
    assert parse_type(f"{order}:{sign}{kind.bits}/{kind.storage_bits}{repeat}>>{kind.shift}") == kind


def packed(kinds: Sequence[ElementType], numbers: Sequence[Sequence[int]], noise: Sequence[int]) -> bytes:
    """A scan as a driver would write it: bytes put one by one into a zeroed frame, unused bits full of ``noise``."""
    frame = bytearray(4096)
    at = 0
    for kind, repeated, garbage in zip(kinds, numbers, noise, strict=True):
        width = kind.storage_bits // 8
        while at % (width * kind.repeat):
            at += 1
        for number in repeated:
            used = ((1 << kind.bits) - 1) << kind.shift
            stored = (number % (1 << kind.bits)) << kind.shift | garbage % (1 << kind.storage_bits) & ~used
            for position in range(width):
                place = width - 1 - position if kind.big_endian else position
                frame[at + place] = stored >> 8 * position & 0xFF
            at += width
    while at % max(kind.storage_bits // 8 * kind.repeat for kind in kinds):
        at += 1
    return bytes(frame[:at])


@given(st.data())
def test_what_was_packed_is_read(data: st.DataObject) -> None:
    kinds = data.draw(st.lists(element_types(), min_size=1, max_size=6))
    ranks = sorted(data.draw(st.sets(st.integers(0, 40), min_size=len(kinds), max_size=len(kinds))))
    noise = data.draw(st.lists(st.integers(0, 2**128 - 1), min_size=len(kinds), max_size=len(kinds)))
    numbers = []
    for kind in kinds:
        low = -(1 << kind.bits - 1) if kind.signed else 0
        number = st.integers(low, low + (1 << kind.bits) - 1)
        numbers.append(data.draw(st.lists(number, min_size=kind.repeat, max_size=kind.repeat)))
    scan = packed(kinds, numbers, noise)
    elements = [Element(f"c{place}", rank, kind) for place, (rank, kind) in enumerate(zip(ranks, kinds, strict=True))]
    offsets, size = scan_layout(data.draw(st.permutations(elements)))
    assert size == len(scan)
    for place, (kind, repeated) in enumerate(zip(kinds, numbers, strict=True)):
        starts = [offsets[f"c{place}"] + repetition * kind.storage_bits // 8 for repetition in range(kind.repeat)]
        assert [number_reader(kind, start)(scan) for start in starts] == repeated


def test_the_layouts_of_the_kernels_documentation() -> None:
    kinds = ["be:u16/16>>0", "be:u32/32>>0", "be:u32/32>>0", "be:u64/64>>0"]
    elements = [Element(f"c{place}", place, parse_type(kind)) for place, kind in enumerate(kinds)]
    assert scan_layout(elements) == ({"c0": 0, "c1": 4, "c2": 8, "c3": 16}, 24)
    assert scan_layout([elements[0], elements[3]]) == ({"c0": 0, "c3": 8}, 16)


def test_a_scan_ends_where_the_next_one_may_begin() -> None:
    kinds = ["le:s32/32", "le:s16/16"]
    assert scan_layout(Element(f"c{place}", place, parse_type(kind)) for place, kind in enumerate(kinds))[1] == 8


def test_values_are_raw_plus_offset_times_scale(device: Device) -> None:
    device.accelerometer()
    device.write(in_temp_raw=25, in_temp_scale=10, in_temp_offset=-3.5, in_accel_x_scale=2, in_humidityrelative_input=7)
    polled = Polled(device, config("accel_x", "accel_y", "temp", "humidityrelative"))
    assert values(polled.at(0)) == [[200, -3.5, 215, 7]]


@pytest.mark.parametrize(
    ("channel", "shared"),
    [
        ("voltage0", "in_voltage_scale"),
        ("voltage0-voltage1", "in_voltage-voltage_scale"),
        ("accel_x", "in_accel_scale"),
        ("intensity0_both", "in_intensity_scale"),
        ("rot_from_north_magnetic", "in_rot_scale"),
        ("pressure", "scale"),
        ("pressure", "in_scale"),
    ],
)
def test_a_scale_may_be_shared(device: Device, channel: str, shared: str) -> None:
    device.write(**{f"in_{channel}_raw": 3, shared: 0.25, "in_other_scale": 9})
    assert values(Polled(device, config(channel)).at(0)) == [[0.75]]


def test_a_differential_channel_does_not_take_the_scale_of_single_ones(device: Device) -> None:
    device.write(**{"in_voltage0-voltage1_raw": 3, "in_voltage_scale": 9})
    assert values(Polled(device, config("voltage0-voltage1")).at(0)) == [[3]]


def test_columns_name_the_channels_in_the_models_order(device: Device) -> None:
    device.accelerometer()
    polled = Polled(device, config("ax", "ay"), columns=("in_accel_z", "accel_x"))
    assert values(polled.at(0)) == [[1000, 50]]


def test_a_time_is_in_the_unit_of_times(device: Device) -> None:
    device.accelerometer()
    before = time.time()
    (item,) = Polled(device).at(0)
    (later,) = Polled(device, time_unit="ns").at(0)
    assert isinstance(item, Record) and isinstance(later, Record)
    assert before - 1e-5 <= item.t <= time.time()
    assert before - 1e-5 <= later.t / 1e9 <= time.time() and isinstance(later.t, int)


def test_the_schedule_does_not_drift(device: Device) -> None:
    device.accelerometer()
    polled = Polled(device, rate=3.0)  # whose period no float holds
    for number in range(3000):
        assert polled.source.due() == pytest.approx(1000 + number / 3, abs=1e-9)
        assert polled.at(number / 3 - 0.001) == []
        assert len(polled.at(number / 3 + 0.2)) == 1  # always served late, never later and later
    polled.source.close()
    assert polled.source.overflow() == 0 and polled.warnings == []


def test_late_samples_are_counted_and_not_made_up_for(device: Device) -> None:
    device.accelerometer()
    polled = Polled(device, rate=10.0)
    assert len(polled.at(0)) == 1
    assert len(polled.at(1.05)) == 1  # nine, from 0.1 to 0.9, were missed
    assert polled.at(1.06) == []
    assert len(polled.at(1.11)) == 1
    assert [polled.source.overflow(), polled.source.overflow()] == [9, 0]
    polled.source.close()
    polled.source.close()
    assert polled.warnings == [f"{device.folder}: 9 samples of 12 were late and left out"]


def test_what_cannot_be_read_is_nan_until_it_can(device: Device) -> None:
    device.accelerometer()
    device.file("in_accel_y_raw").write_text("busy")
    polled = Polled(device, rate=1.0)
    for second in range(2):
        ((x, y, z),) = values(polled.at(second))
        assert (x, z) == (50, 1000) and isnan(y)
    device.file("in_accel_y_raw").write_text("8")
    assert values(polled.at(2)) == [[50, 4, 1000]]
    polled.source.close()
    folder = device.folder
    assert polled.warnings == [
        f"{folder}: in_accel_y_raw cannot be read and is NaN meanwhile: is no number",
        f"{folder}: 0 samples of 3 were late and left out; 2 readings of in_accel_y_raw failed",
    ]


def test_an_error_of_the_bus_is_nan(device: Device) -> None:
    device.write(in_accel_x_raw=1, in_accel_z_raw=3)
    device.file("in_accel_y_raw").mkdir()  # reading a folder fails as a busy device does: with an errno
    polled = Polled(device)
    ((x, y, z),) = values(polled.at(0))
    assert (x, z) == (1, 3) and isnan(y)
    assert "Is a directory" in polled.warnings[0]


def test_a_device_that_has_gone_ends_the_run(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    device.accelerometer()
    polled = Polled(device)

    def gone(descriptor: int, size: int, place: int) -> bytes:
        raise OSError(19, os.strerror(19))

    monkeypatch.setattr(os, "pread", gone)
    with pytest.raises(InputError, match="in_accel_x_raw has gone: No such device"):
        polled.at(0)


@pytest.mark.parametrize(
    ("model", "columns", "message"),
    [
        (config("accel_x", "gyro"), (), "has no channel gyro, expected of accel_x, accel_y, accel_z"),
        (config("ax"), ("accel_w",), "has no channel accel_w, expected of accel_x, accel_y, accel_z"),
        (XYZ, ("accel_x",), "1 columns are listed, expected 3: a channel of the device for each of accel_x, accel_y"),
        (config("accel_x", rate=None), (), "neither the model nor an option says how often to read, expected a rate"),
    ],
)
def test_what_does_not_fit_is_refused(
    device: Device, model: ModelConfig, columns: tuple[str, ...], message: str
) -> None:
    device.accelerometer()
    device.write(in_timestamp_raw=4)
    with pytest.raises(InputError, match=message) as caught:
        Polled(device, model, columns=columns)
    assert str(caught.value).startswith(f"{device.folder}: ")


def test_a_scale_that_is_no_number_is_refused(device: Device) -> None:
    device.write(in_accel_x_raw=1, in_accel_scale="1 2 3")
    with pytest.raises(InputError, match="in_accel_scale: holds '1 2 3', expected a number"):
        Polled(device, config("accel_x"))


def test_devices_are_found_by_folder_and_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(iio_device, "DEVICES", str(tmp_path))
    devices = [Device(tmp_path, f"iio:device{number}") for number in range(4)]
    for device, name in zip(devices, ("bme280", "lsm6ds3", "twin", "twin"), strict=True):
        device.write(name=name)
    (tmp_path / "trigger0").mkdir()
    for place in ("iio:device1", "device1", "lsm6ds3", str(devices[1].folder)):
        assert IioDevice(place).folder == str(devices[1].folder)
    there = r"iio:device0 \(bme280\), iio:device1 \(lsm6ds3\), iio:device2 \(twin\), iio:device3 \(twin\)"
    with pytest.raises(InputError, match=f"no device is called 'bmi160', expected one of {there}"):
        IioDevice("bmi160")
    with pytest.raises(InputError, match="2 devices are called 'twin'"):
        IioDevice("twin")
    with pytest.raises(InputError, match="is not there, expected the folder of a device"):
        IioDevice(str(tmp_path / "iio:device9"))
    monkeypatch.setattr(iio_device, "DEVICES", str(tmp_path / "nothing"))
    with pytest.raises(InputError, match="nothing: cannot be read: No such file"):
        IioDevice("lsm6ds3")


def test_targets_are_read_too(device: Device) -> None:
    device.accelerometer()
    (item,) = Polled(device, config("accel_x", "accel_y"), targets=("accel_z",)).at(0)
    assert isinstance(item, Record) and (item.x, item.target) == ([50, -3.5], [1000])
    with pytest.raises(InputError, match="has no channel load, expected of accel_x"):
        Polled(device, config("accel_x"), targets=("load",))


def test_a_sensor_cannot_be_resumed(device: Device) -> None:
    device.accelerometer()
    source = Polled(device).source
    assert source.live and not source.resumable and source.fileno() is None
    with pytest.raises(InputError, match="is a sensor and cannot be read again"):
        source.resume(0, 0)
    source.close()
