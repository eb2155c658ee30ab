"""Devices of Industrial I/O in folders of plain files."""

from __future__ import annotations

from pathlib import Path

from edgegru_runtime.model_config import ModelConfig
from edgegru_runtime.record import Item, Record
from tests.builders import changed, random_config


def config(*channels: str, rate: float | None = 50.0) -> ModelConfig:
    made = random_config(len(channels))
    return changed(made, input=type(made.input)(len(channels), channels, ("",) * len(channels), rate))


XYZ = config("accel_x", "accel_y", "accel_z")


class Device:
    """A device in a folder of plain files, and a FIFO for what it captures."""

    def __init__(self, folder: Path, name: str = "iio:device0") -> None:
        self.folder = folder / name
        self.folder.mkdir(parents=True)

    def write(self, **files: object) -> None:
        for name, value in files.items():
            self.file(name).write_text(f"{value}\n")

    def file(self, name: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        return path

    def accelerometer(self) -> None:
        self.write(name="lsm6ds3", in_accel_x_raw=100, in_accel_y_raw=-7, in_accel_z_raw=2000, in_accel_scale=0.5)

    def element(self, name: str, index: int, kind: str, enabled: int = 0, folder: str = "buffer0") -> None:
        for ending, value in (("en", enabled), ("index", index), ("type", kind)):
            self.file(f"{folder}/in_{name}_{ending}").write_text(f"{value}\n")

    def buffer(self, folder: str = "buffer0", enable: int = 0, length: int = 2) -> None:
        self.file(f"{folder}/enable").write_text(f"{enable}\n")
        self.file(f"{folder}/length").write_text(f"{length}\n")

    def text(self, name: str) -> str:
        return (self.folder / name).read_text().strip()


def values(items: list[Item] | None) -> list[list[float]]:
    assert items is not None
    assert all(isinstance(item, Record) for item in items)
    return [list(item.x) for item in items if isinstance(item, Record)]
