"""Compare the built distributions in a folder with the source tree: nothing missing, nothing that does not belong."""

from __future__ import annotations

import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
SOURCES = {
    "edgegru": {"edgegru": ROOT / "edgegru", "edgegru_export": ROOT / "export" / "edgegru_export"},
    "edgegru_runtime": {"edgegru_runtime": ROOT / "runtime" / "python" / "edgegru_runtime"},
}


def expected_files(distribution: str) -> set[str]:
    return {
        f"{package}/{path.relative_to(folder).as_posix()}"
        for package, folder in SOURCES[distribution].items()
        for path in folder.rglob("*")
        if path.name == "py.typed" or path.suffix in (".py", ".pyi", ".h", ".json")
    }


def check_wheel(path: Path, distribution: str) -> None:
    with zipfile.ZipFile(path) as wheel:
        names = set(wheel.namelist())
        information = next(name.split("/")[0] for name in names if name.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(wheel.read(f"{information}/METADATA").decode())
    inside = {name for name in names if not name.startswith(f"{information}/")}
    expected = expected_files(distribution)
    if distribution == "edgegru_runtime":
        assert "-cp311-abi3-" in path.name, f"{path.name} is not for every Python from 3.11 on"
        expected |= {"edgegru_runtime/_kernel.abi3.so"}
    assert inside == expected, f"{path.name}: {sorted(inside ^ expected)} differ from the source tree"
    assert f"{information}/licenses/LICENSE" in names, f"{path.name} carries no licence"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata.get_payload(), f"{path.name} has no description"
    always = [need for need in metadata.get_all("Requires-Dist") or [] if "extra ==" not in need]
    if distribution == "edgegru_runtime":
        assert always == [], f"the device distribution needs {always}"
    else:
        assert f"edgegru-runtime=={metadata['Version']}" in always
        assert not any(need.startswith(("torch", "matplotlib")) for need in always)
        with zipfile.ZipFile(path) as wheel:
            assert "edgegru = edgegru.command_line:main" in wheel.read(f"{information}/entry_points.txt").decode()


def check_source_archive(path: Path, distribution: str) -> None:
    with tarfile.open(path) as archive:
        names = {name.split("/", 1)[-1] for name in archive.getnames()}
    prefixes = {"edgegru": "", "edgegru_export": "export/", "edgegru_runtime": "python/"}
    expected = {prefixes[name.split("/")[0]] + name for name in expected_files(distribution)}
    if distribution == "edgegru_runtime":
        runtime = ROOT / "runtime"
        expected |= {path.relative_to(runtime).as_posix() for path in (runtime / "c").rglob("*.[ch]")} | {"setup.py"}
    missing = (expected | {"LICENSE", "README.md", "pyproject.toml"}) - names
    assert not missing, f"{path.name} lacks {sorted(missing)}"


def main(folder: Path) -> None:
    for distribution in SOURCES:
        (wheel,) = folder.glob(f"{distribution}-[0-9]*.whl")
        (archive,) = folder.glob(f"{distribution}-[0-9]*.tar.gz")
        check_wheel(wheel, distribution)
        check_source_archive(archive, distribution)
        print(f"{wheel.name}: {wheel.stat().st_size} bytes; {archive.name}: {archive.stat().st_size} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
