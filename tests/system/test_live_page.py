"""The page of a running stream in a browser: it shows the board, follows what happens, and calls nobody else."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from edgegru_runtime.model_config import InputConfig, OutputConfig
from edgegru_runtime.service.board import Board
from edgegru_runtime.service.metrics import Snapshot, StepTimes
from edgegru_runtime.service.server import Server
from tests.builders import changed, random_config
from tests.system.browser import Browser

CHROMIUM = shutil.which("chromium")
LABELS = ("stand", "walk", "<b>run</b>")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium")

BASE = random_config(2, (5,), 3)
CONFIG = changed(
    BASE,
    input=InputConfig(2, ("accelerometer", "gyroscope"), ("m/s²", "°/s"), 50.0),
    outputs=(OutputConfig(BASE.outputs[0].node, "step_label", LABELS),),
)
TEXT = "document.body.innerText"
# Ink on each curve: pixels that are not transparent.
INK = """[...document.querySelectorAll("canvas")].map(canvas =>
  canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data
    .filter((value, index) => index % 4 === 3 && value > 0).length)"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    browser = Browser(str(CHROMIUM), tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


def snapshot(steps: int, **sensors: dict[str, int]) -> Snapshot:
    times = StepTimes()
    times.add(1.5e-6)
    now = time.monotonic()
    counters = {"steps": steps, "dropped_late": 3}
    info = {"engine": "kernel", "identity": 64 * "e"}
    return Snapshot(now - 3700, now, 2, counters, times, sensors, {}, info, 13_400_000)


@pytest.fixture
def board() -> Board:
    return Board(CONFIG, "gait.safetensors", snapshot(1234))


@pytest.fixture
def server(board: Board) -> Iterator[Server]:
    server = Server("127.0.0.1:0", board, warn=print)
    yield server
    server.close()


def feed(board: Board, key: str, on: tuple[str, ...], probabilities: tuple[float, ...]) -> None:
    board.sample(key, 12.5, [9.81, -250.0], (probabilities,), (on,))


def switch(board: Board, key: str, label: str) -> None:
    board.event({"event": "on", "key": key, "t": 12.5, "label": label, "p": 0.93, "output": BASE.outputs[0].node})


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_a_stream_is_shown(width: int, scheme: str, browser: Browser, board: Board, server: Server) -> None:
    feed(board, "", ("walk",), (0.05, 0.93, 0.02))
    switch(board, "", "walk")
    board.event({"event": "gap", "key": "", "t": 11.0, "seconds": 1.25})
    browser.requests.clear()
    browser.open(f"http://{server.address}/", width, scheme=scheme)
    browser.wait(f"{TEXT}.includes('93 %') && {TEXT}.includes('live')")
    text = browser.evaluate(TEXT)
    for shown in (
        *("gait.safetensors", "2 channels at 50 Hz", "3 classes"),
        *("accelerometer", "gyroscope", "9.810", "m/s²", "−250.0", "°/s"),
        *("93 %", "gap seconds 1.250", "1,234", "dropped late", "1.50 µs", "1 h 1 min", "13.4 MB", "kernel"),
        "<b>run</b>",  # a name is no HTML
    ):
        assert shown in text, shown
    assert browser.evaluate("document.getElementById('decisions').innerText").startswith("walk")
    names = "[...document.querySelectorAll('.strip.on > span')].map(name => name.innerText)"
    assert browser.evaluate(names) == ["walk"]
    assert browser.evaluate("document.getElementById('rows').innerText").count("walk on") == 1
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    pixels = browser.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (pixels == "rgb(255, 255, 255)") is (scheme == "light")
    assert {urlsplit(url).netloc for url in browser.requests} == {server.address}
    assert browser.errors == []


def test_the_page_follows(browser: Browser, board: Board, server: Server) -> None:
    board.snapshot(snapshot(0)._replace(last_sample=None))
    browser.open(f"http://{server.address}/", 1280)
    browser.wait("document.getElementById('state').innerText === 'waiting for samples'")
    assert "None yet." in browser.evaluate(TEXT)
    feed(board, "", (), (0.4, 0.3, 0.3))
    browser.wait(f"{TEXT}.includes('nothing is on')")
    switch(board, "", "stand")
    browser.wait("document.getElementById('decisions').innerText.startsWith('stand')")
    board.snapshot(snapshot(77_000))
    browser.wait(f"{TEXT}.includes('77,000')")
    before = browser.evaluate(INK)
    assert len(before) == 5 and min(before) > 0
    for _ in range(8):
        time.sleep(0.11)  # samples are shown ten times a second
        feed(board, "", (), (0.4, 0.3, 0.3))
    browser.wait(f"{INK}.every((ink, index) => ink > {json.dumps(before)}[index])")
    board.model(changed(CONFIG, input=InputConfig(2, ("flow", "pressure"), ("l/s", "bar"), None)), "pump.onnx")
    browser.wait(f"{TEXT}.includes('pump.onnx') && {TEXT}.includes('pressure')")
    assert "accelerometer" not in browser.evaluate(TEXT)
    assert browser.errors == []


def test_one_of_many_sensors_is_chosen(browser: Browser, board: Board, server: Server) -> None:
    for index in range(12):
        feed(board, f"pump-{index}", ("walk",) if index == 10 else (), (0.2, 0.5, 0.3))
    board.snapshot(snapshot(120, **{"pump-0": {"steps": 9}, "pump-10": {"steps": 8}}))
    browser.open(f"http://{server.address}/", 360)
    browser.wait("document.querySelectorAll('#sensors button').length === 12")
    browser.wait(f"{TEXT}.includes('nothing is on')")
    names = browser.evaluate("[...document.querySelectorAll('#sensors button')].map(button => button.innerText.trim())")
    assert names[2] == "pump-2" and names[10].split() == ["pump-10", "walk"]
    browser.evaluate("document.querySelectorAll('#sensors button')[10].click()")
    browser.wait("document.getElementById('decisions').innerText.startsWith('walk')")
    pressed = "[...document.querySelectorAll('[aria-pressed=true]')].map(button => button.dataset.key)"
    assert browser.evaluate(pressed) == ["pump-10"]
    assert browser.evaluate("document.getElementById('own').innerText") == "pump-10"
    assert browser.errors == []


def test_a_page_finds_its_stream_again(browser: Browser, board: Board, server: Server) -> None:
    feed(board, "", (), (0.2, 0.5, 0.3))
    browser.open(f"http://{server.address}/", 1280)
    browser.wait("document.getElementById('state').innerText === 'live'")
    server.close()
    browser.wait("document.getElementById('state').innerText === 'not connected'")
    fresh = Board(CONFIG, "gait.safetensors", snapshot(5))
    feed(fresh, "", ("walk",), (0.02, 0.97, 0.01))
    again = Server(server.address, fresh, warn=print)
    browser.wait("document.getElementById('decisions').innerText.startsWith('walk')")
    assert browser.evaluate("document.getElementById('rows').childElementCount") == 0
    again.close()


def test_values_are_drawn_with_their_units(browser: Browser) -> None:
    base = random_config(2, (5,), 4, head="identity")
    labels, units = ("a+1", "b+1", "a+2", "b+2"), ("V", "A", "V", "A")
    config = changed(base, outputs=(OutputConfig(base.outputs[0].node, "forecast", labels, units, 2),))
    board = Board(config, "forecast.safetensors", snapshot(1))
    server = Server("127.0.0.1:0", board, warn=print)
    board.sample("", "2026-01-01T00:00:00Z", [1.0, 2.0], ([0.5, -1234.5, 1e-5, float("nan")],), ((),), 3.25)
    browser.open(f"http://{server.address}/", 1280)
    browser.wait(f"{TEXT}.includes('3.250')")
    text = browser.evaluate(TEXT)
    for shown in ("forecast of 2 steps", "b+2", "0.500", "−1235", "1.00e−5", "–", "score"):
        assert shown in text, shown
    assert browser.evaluate("document.getElementById('decided').hidden") is True
    server.close()
