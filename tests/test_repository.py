"""What a newcomer meets first: the README's commands, links that lead somewhere, pins that are what is installed."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    path
    for folder in (ROOT, ROOT / "docs", ROOT / "runtime", ROOT / "examples", ROOT / "benchmarks")
    for path in (folder.glob("*.md") if folder in (ROOT, ROOT / "runtime") else folder.rglob("*.md"))
)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def tracked_files() -> list[Path]:
    """The files of the repository that are there."""
    listing = subprocess.run(["git", "ls-files", "-z"], capture_output=True, cwd=ROOT, check=True).stdout
    return [ROOT / name for name in listing.decode().split("\0") if name and (ROOT / name).is_file()]


def anchors(page: Path) -> set[str]:
    """The fragments that headings of a Markdown page can be linked by."""
    headings = re.findall(r"^#+ +(.*)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


def test_readme_shows_the_two_commands_first() -> None:
    blocks = re.findall(r"```\w*\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    commands = [line.split("#")[0].strip() for line in blocks[0].splitlines()]
    assert commands == ["make demo", "make test"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(page.read_text()):
        if link.startswith(("http://", "https://")):
            continue
        target, _, fragment = link.partition("#")
        file = page.parent / target if target else page
        assert file.exists(), link
        if fragment:
            assert fragment in anchors(file), link


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_make_targets_that_are_named_exist(page: str) -> None:
    named = set(re.findall(r"`make ([a-z-]+)`", (ROOT / page).read_text()))
    rules = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert named
    assert named <= rules


def test_every_page_of_the_documentation_is_listed() -> None:
    listed = LINK.findall((ROOT / "docs" / "README.md").read_text())
    pages = {str(path.relative_to(ROOT / "docs")) for path in (ROOT / "docs").rglob("*.md")}
    assert pages - {"README.md"} == {link for link in listed if not link.startswith("..")}


def test_no_tracked_file_is_large() -> None:
    assert [path.name for path in tracked_files() if path.stat().st_size > 1_000_000] == []


def test_both_distributions_carry_the_same_licence() -> None:
    licence = (ROOT / "LICENSE").read_text()
    assert "Apache License" in licence
    assert (ROOT / "runtime" / "LICENSE").read_text() == licence


def test_the_changelog_knows_the_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert re.search(rf"^## {re.escape(version)}\b", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)


def test_torch_is_pinned_first() -> None:
    assert next(iter(pins())) == "torch"


def test_installed_packages_have_their_pinned_version() -> None:
    for name, version in pins().items():
        assert importlib.metadata.version(name).split("+")[0] == version, name


def test_everything_that_is_needed_is_pinned() -> None:
    pinned = pins()
    needed = [("edgegru", extra) for extra in ("", "train", "translation", "dev")] + [("edgegru-runtime", "reference")]
    seen: set[str] = set()
    while needed:
        name, extra = needed.pop()
        for text in importlib.metadata.distribution(name).requires or []:
            requirement = Requirement(text)
            dependency = canonicalize_name(requirement.name)
            applies = requirement.marker is None or requirement.marker.evaluate({"extra": extra})
            # torch pins the GPU libraries of its own wheels exactly.
            if not applies or dependency in seen or dependency.startswith(("edgegru", "nvidia-", "cuda-", "triton")):
                continue
            seen.add(dependency)
            needed.append((dependency, ""))
    assert seen - pinned.keys() == set()
    assert pinned.keys() - seen == {"aeon", "setuptools"} - seen
