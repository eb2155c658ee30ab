"""The page that shows a running stream: one document that needs nothing from elsewhere."""

from __future__ import annotations

from edgegru_runtime.service.page_script import SCRIPT
from edgegru_runtime.service.page_style import STYLE

_BODY = """<header><div>
<h1 id="model">EdgeGRU</h1>
<span id="about" class="quiet"></span>
<span id="state" role="status">connecting</span>
</div></header>
<main>
<section id="fleet" class="whole" hidden><h2>Sensors</h2><div id="sensors"></div></section>
<section id="decided" class="whole" hidden><h2>Decided</h2><div id="decisions" aria-live="polite"></div></section>
<section><h2>Input</h2><div id="input"></div>
<div class="axis"><div><span></span><span></span><span></span></div></div></section>
<section><h2>Output</h2><div id="output"></div>
<div class="axis"><div><span></span><span></span><span></span></div></div></section>
<section><h2>Events</h2><p id="nothing" class="quiet">None yet.</p><div class="list"><table>
<thead><tr><th>at</th><th>what</th><th class="number">p</th><th class="number">t</th></tr></thead>
<tbody id="rows"></tbody></table></div></section>
<section><h2>Process</h2><dl id="facts" class="facts"></dl><table>
<thead><tr><th>counter</th><th class="number">count</th><th id="own" class="number"></th></tr></thead>
<tbody id="counts"></tbody></table></section>
</main>
<noscript><main><p class="whole">This page draws with JavaScript; its numbers are also at <a href="metrics">metrics</a>.
</p></main></noscript>
"""


def page_html(nonce: str) -> str:
    """The page. ``nonce``: by which the browser knows that its script and style are ours."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<title>EdgeGRU</title>\n<link rel="icon" href="data:,">\n'
        f'<style nonce="{nonce}">{STYLE}</style>\n</head>\n<body>\n{_BODY}'
        f'<script nonce="{nonce}">{SCRIPT}</script>\n</body>\n</html>\n'
    )
