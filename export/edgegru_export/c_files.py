"""The folder of an exported C model: its texts by their path."""

from __future__ import annotations

import json
from importlib.resources import files as package_files

from edgegru_export.c_golden import golden
from edgegru_export.c_layouts import LAYOUTS, PLACES
from edgegru_export.c_parts import CParts
from edgegru_export.c_source import Words, header, input_type, output_type, source
from edgegru_export.c_writer import CModel

MANIFEST = "edgegru_export.json"  # what a folder was exported as, for ``verify``


def kernel_text(name: str) -> str:
    """A header of the kernel, which is data of this package."""
    return package_files("edgegru_export").joinpath("c_kernel", name).read_text(encoding="utf-8")


def kernel_headers(model: CModel) -> list[str]:
    """The headers that a model includes, and those that they include and do not leave out."""
    flags = {name: value for name, value in model.flags.items() if isinstance(value, int)}
    found: list[str] = []
    waiting = list(model.headers)
    while waiting:
        name = waiting.pop(0)
        if name not in found:
            found.append(name)
            waiting += _included(kernel_text(name), flags)
    return sorted(found)


def _included(text: str, flags: dict[str, int]) -> list[str]:
    """Headers between quotes in what an ``#if`` of a single flag does not leave out."""
    result, open_ifs = [], []
    for line in text.splitlines():
        words = line.split()
        if line.startswith("#if"):
            open_ifs.append(not (words[0] == "#if" and len(words) == 2 and flags.get(words[1], 1) == 0))
        elif line.startswith(("#else", "#elif")):
            open_ifs[-1] = True
        elif line.startswith("#endif"):
            open_ifs.pop()
        elif line.startswith('#include "') and all(open_ifs):
            result.append(words[1].strip('"'))
    return result


def folder(
    model: CModel, words: Words, layout: str, with_kernel: bool, readme: str, parts: CParts
) -> dict[str, str]:
    """Texts by their path in the folder."""
    place, prefix = PLACES.get(layout, ""), words.prefix
    texts = {f"{place}{prefix}.h": header(model, words), f"{place}{prefix}.c": source(model, words)}
    texts[f"{place}{prefix}_selftest.c"] = _selftest(model, words)
    texts |= {f"{place}{name}": text for name, text in parts.texts.items()}
    if with_kernel:
        headers = sorted({*kernel_headers(model), *parts.headers})
        texts |= {f"{place}{name}": kernel_text(name) for name in headers}
    texts["README.md"] = readme
    texts[MANIFEST] = manifest(model, words, layout)
    return texts | LAYOUTS[layout](model, words)


def manifest(model: CModel, words: Words, layout: str) -> str:
    """What ``verify`` has to know of a folder."""
    fields = {
        "format": "c",
        "identity": model.program.artifact.config.identity,
        "io": "float" if words.float_io else "int",
        "layout": layout,
        "prefix": words.prefix,
        "sources": PLACES.get(layout, ""),
        "target": words.target,
    }
    return json.dumps(fields, indent=2, sort_keys=True) + "\n"


def _selftest(model: CModel, words: Words) -> str:
    steps, prefix, macro = golden(model, words.float_io), words.prefix, words.macro
    exact = model.program.artifact.config.static
    check = """        if (memcmp(y, expected, sizeof y))
            return t + 1;
"""
    if not exact:
        check = f"""        for (int i = 0; i < {macro}_OUTPUT_SIZE; i++) {{
            float difference = y[i] - expected[i], size = expected[i];
            size = size < 0.0f ? -size : size;
            if (!(difference <= 1e-5f * (size + 1.0f) && difference >= -1e-5f * (size + 1.0f)))
                return t + 1;
        }}
"""
    equal = "to the last bit" if exact else "within rounding"
    return f"""/* Written by edgegru export: golden steps. {prefix}_selftest() returns 0 where this build computes
 * them {equal}, else the step that it does not. With EGRU_SELFTEST_MAIN defined it is a program of its own.
 */
#include "{prefix}.h"

#include <string.h>

static const {input_type(model, words)} golden_x[{steps.steps} * {macro}_INPUT_SIZE] = {{
{steps.x}}};

static const {output_type(words)} golden_y[{steps.steps} * {macro}_OUTPUT_SIZE] = {{
{steps.y}}};

int {prefix}_selftest(void) {{
    static {prefix}_state state;
    static {output_type(words)} y[{macro}_OUTPUT_SIZE];
    {prefix}_init(&state);
    for (int t = 0; t < {steps.steps}; t++) {{
        const {output_type(words)} *expected = golden_y + t * {macro}_OUTPUT_SIZE;
        if ({prefix}_step(&state, golden_x + t * {macro}_INPUT_SIZE, y) != {macro}_OK)
            return t + 1;
{check}    }}
    return 0;
}}

#ifdef EGRU_SELFTEST_MAIN
int main(void) {{
    return {prefix}_selftest();
}}
#endif
"""
