"""The quantization report in a browser: nothing is cut off, on a screen or a phone, and every picture is there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import escape, unescape
from pathlib import Path

import pytest

from edgegru import drift, report_page
from edgegru.calibration import calibrate
from edgegru.quantization import quantize_artifact
from edgegru.quantization_report import quantization_report
from edgegru.report_page import report_html
from edgegru_export.stimulus import gaussian_input
from tests.builders import mixed_artifact

BROWSER = shutil.which("chromium")

pytestmark = pytest.mark.skipif(BROWSER is None, reason="chromium")

# The page itself has no script: the frame around it looks at it.
FRAME = """<!DOCTYPE html><iframe width="{width}" height="900" srcdoc="{page}"></iframe><pre id="seen"></pre><script>
onload = () => {{
  const page = document.querySelector("iframe").contentDocument, all = name => [...page.querySelectorAll(name)];
  const outside = text => {{ const box = text.getBBox(); return box.x < 0 || box.x + box.width > 240; }};
  document.getElementById("seen").textContent = JSON.stringify({{
    width: page.documentElement.scrollWidth,
    pictures: all("img").map(image => image.naturalWidth),
    sections: all("section").map(section => section.offsetHeight),
    figures: all("svg").map(figure => figure.clientWidth),
    cut: all("svg text").filter(outside).map(text => text.textContent),
    bars: Math.max(...all(".bars i").map(bar => bar.offsetWidth)),
  }});
}};
</script>"""


@pytest.fixture(scope="module")
def page() -> str:
    """The page of a model with every kind of node."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(report_page, "DRIFT_STEPS", 103)
        patch.setattr(drift, "FEWEST_STEPS", 103)
        before = mixed_artifact(3, reset="before", candidate="linear")
        recordings = [gaussian_input(before, 200)]
        ranges = calibrate(before, recordings)
        after = quantize_artifact(before, ranges, keep={"product": "static-w8a16"})
        return report_html(before, after, ranges, recordings, quantization_report(before, after, ranges))


@pytest.mark.parametrize("width", [400, 1200])
def test_the_report_fits_its_window(page: str, width: int, tmp_path: Path) -> None:
    file = tmp_path / "frame.html"
    file.write_text(FRAME.format(width=width, page=escape(page)), encoding="utf-8")
    command = [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    command += ["--virtual-time-budget=10000", "--dump-dom", file.as_uri()]
    printed = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    found = re.search(r'<pre id="seen">(.*?)</pre>', printed)
    assert found is not None
    seen = json.loads(unescape(found[1]))
    assert 0 < seen["width"] <= width
    assert len(seen["pictures"]) == 1 and seen["pictures"][0] > 1000
    assert len(seen["sections"]) == 6 and min(seen["sections"]) > 50
    assert len(seen["figures"]) == 12 and min(seen["figures"]) > 120
    assert seen["cut"] == []
    assert seen["bars"] > 50
