"""README.md of an exported folder: the sizes, how to build it, how to call it."""

from __future__ import annotations

from edgegru_export.c_sizes import CSizes, sizes
from edgegru_export.c_source import Words, input_type, output_type
from edgegru_export.c_writer import CModel

_BUILDS = {
    "plain": """Copy the folder into a project and compile `{prefix}.c` (C99 or later, or C++17), or add the folder with
CMake's `add_subdirectory` and link `{prefix}`. `{prefix}_selftest.c` holds golden steps; no build needs
it. To try it on this machine:

```sh
cmake -S . -B build && cmake --build build && ctest --test-dir build
build/{prefix}_main < samples.txt
```
""",
    "arduino": """The folder is a library: put it into the `libraries` folder of the sketchbook; the example is in the
menu File, Examples.
""",
    "zephyr": """The folder is a module: name it in `ZEPHYR_EXTRA_MODULES`, as the sample does.

```sh
west build -b BOARD sample
```
""",
    "esp-idf": """The folder is a component: put it into the `components` folder of a project, or name it in
`EXTRA_COMPONENT_DIRS`, as the example does.

```sh
idf.py -C example build flash monitor
```
""",
}


def readme(model: CModel, words: Words, layout: str) -> str:
    """The page."""
    config, prefix, macro = model.program.artifact.config, words.prefix, words.macro
    rows = "\n".join(map(_row, sizes(model, words.target)))
    numbers = "no floating point and no library but `memset` and `memcpy`"
    if words.float_io:
        numbers = "no library of mathematics"
    return f"""# {prefix}

Written by `edgegru export --format c`. Scheme {config.scheme}, weights laid out for {words.target}, identity
`{config.identity}`.

| processor | flash | of it tables | code | RAM | of it state | stack |
|---|---|---|---|---|---|---|
{rows}

Bytes. Tables and state are exact on every processor, and the code itself asserts them when it is compiled; code (GCC,
-Os, linked with --gc-sections) and stack are upper bounds. The stack holds {model.scratch_bytes:,} bytes of scratch
memory. One step has {model.program.multiply_adds:,} multiply-adds. There is no heap, no static memory,
{numbers}.

## Build

{_BUILDS[layout].format(prefix=prefix)}
## Use

```c
#include "{prefix}.h"

static {prefix}_state state; /* {model.state_bytes} bytes; one for each stream */
{input_type(model, words)} x[{macro}_INPUT_SIZE];
{output_type(words)} y[{macro}_OUTPUT_SIZE];

{prefix}_init(&state);
for (;;) {{
    /* fill x */
    if ({prefix}_step(&state, x, y) == {macro}_OK) {{
        /* use y */
    }}
}}
```

{_floats(words) if words.float_io else _integers(words)}The header says what the numbers of x and y are.

`edgegru verify` on this folder, `--against` the model, compiles it and compares every step.
"""


def _floats(words: Words) -> str:
    refused = f"`{words.prefix}_step` returns `{words.macro}_INPUT`"
    return f"For a number that is not finite {refused}, and nothing has changed.\n"


def _integers(words: Words) -> str:
    return f"""x are operands and y integers. What they are worth is in the header, as lists for initialisers:
`{words.macro}_INPUT_SLOPE` and `_INPUT_OFFSET`, `{words.macro}_OUTPUT_SCALE` and `_OUTPUT_OFFSET`.
"""


def _row(size: CSizes) -> str:
    return (
        f"| {size.processor} | at most {size.flash_bytes:,} | {size.table_bytes:,} | at most {size.code_bytes:,} | "
        f"at most {size.ram_bytes:,} | {size.state_bytes:,} | at most {size.stack_bytes:,} |"
    )
