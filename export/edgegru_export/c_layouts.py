"""How build systems want an exported C model laid out: files beside its C, with a small example each."""

from __future__ import annotations

from edgegru_export.c_source import Words, input_type, output_type
from edgegru_export.c_writer import CModel

PLACES = {"arduino": "src/"}  # where the C lies in a layout; elsewhere in the folder itself


def _plain(model: CModel, words: Words) -> dict[str, str]:
    prefix = words.prefix
    cmake = f"""cmake_minimum_required(VERSION 3.13)
project({prefix} C)

add_library({prefix} STATIC {" ".join(words.sources)})
target_include_directories({prefix} PUBLIC ${{CMAKE_CURRENT_SOURCE_DIR}})

# The rest is for trying it out: it is left out where another project includes this folder.
if(CMAKE_SOURCE_DIR STREQUAL CMAKE_CURRENT_SOURCE_DIR)
  add_executable({prefix}_main main.c)
  target_link_libraries({prefix}_main {prefix})
  add_executable({prefix}_test {prefix}_selftest.c)
  target_compile_definitions({prefix}_test PRIVATE EGRU_SELFTEST_MAIN)
  target_link_libraries({prefix}_test {prefix})
  enable_testing()
  add_test(NAME golden_steps COMMAND {prefix}_test)
endif()
"""
    return {"CMakeLists.txt": cmake, "main.c": _main(model, words)}


def _main(model: CModel, words: Words) -> str:
    prefix, macro = words.prefix, words.macro
    read, kind = ("float v", "%f") if words.float_io else ("long v", "%ld")
    give, shown = ("(double)y[i]", "%.9g") if words.float_io else ("(long)y[i]", "%ld")
    cast = "" if words.float_io else f"({input_type(model, words)})"
    return f"""/* Written by edgegru export: samples from standard input, {macro}_INPUT_SIZE numbers each, separated by
 * spaces, commas or ends of lines; the outputs of each step to standard output, one line a step.
 */
#include <stdio.h>

#include "{prefix}.h"

int main(void) {{
    static {prefix}_state state;
    static {input_type(model, words)} x[{macro}_INPUT_SIZE];
    static {output_type(words)} y[{macro}_OUTPUT_SIZE];
    int count = 0, found;
    {read};
    {prefix}_init(&state);
    while ((found = scanf("{kind}%*[ ,;\\t]", &v)) == 1) {{
        x[count++] = {cast}v;
        if (count < {macro}_INPUT_SIZE)
            continue;
        count = 0;
        if ({prefix}_step(&state, x, y) != {macro}_OK) {{
            fputs("a number of a sample is not finite, or a value left the range of float\\n", stderr);
            return 1;
        }}
        for (int i = 0; i < {macro}_OUTPUT_SIZE; i++)
            printf(i + 1 < {macro}_OUTPUT_SIZE ? "{shown} " : "{shown}\\n", {give});
    }}
    if (found != EOF || count) {{
        fputs("standard input does not hold whole samples of numbers\\n", stderr);
        return 1;
    }}
    return 0;
}}
"""


def _variables(model: CModel, words: Words) -> str:
    """What a firmware keeps of a model, for the examples."""
    return f"""#include "{words.prefix}.h"

static {words.prefix}_state state;
static {input_type(model, words)} x[{words.macro}_INPUT_SIZE]; /* the newest sample goes here */
static {output_type(words)} y[{words.macro}_OUTPUT_SIZE];
"""


def _arduino(model: CModel, words: Words) -> dict[str, str]:
    prefix, macro = words.prefix, words.macro
    properties = f"""name={prefix}
version=1.0.0
author=edgegru export
maintainer=edgegru export
sentence=A GRU that steps with every sample.
paragraph=Tables and step of one model; README.md has its sizes.
category=Data Processing
architectures=*
includes={prefix}.h
"""
    sketch = f"""{_variables(model, words)}
void setup() {{
    Serial.begin(115200);
    Serial.println({prefix}_selftest() == 0 ? "golden steps: equal" : "golden steps: NOT equal");
    {prefix}_init(&state);
}}

void loop() {{
    /* Fill x here. */
    if ({prefix}_step(&state, x, y) == {macro}_OK)
        Serial.println(y[0]);
    delay(20);
}}
"""
    return {"library.properties": properties, f"examples/{prefix}_stream/{prefix}_stream.ino": sketch}


def _zephyr(model: CModel, words: Words) -> dict[str, str]:
    prefix, macro = words.prefix, words.macro
    main = f"""#include <zephyr/kernel.h>

{_variables(model, words)}
int main(void) {{
    printk("golden steps: %s\\n", {prefix}_selftest() == 0 ? "equal" : "NOT equal");
    {prefix}_init(&state);
    for (;;) {{
        /* Fill x here. */
        if ({prefix}_step(&state, x, y) == {macro}_OK)
            printk("%d\\n", (int)y[0]);
        k_msleep(20);
    }}
}}
"""
    return {
        "zephyr/module.yml": f"name: {prefix}\nbuild:\n  cmake: .\n",
        "CMakeLists.txt": f"""zephyr_library_named({prefix})
zephyr_library_sources({" ".join(words.sources)})
zephyr_include_directories(.)
""",
        "sample/CMakeLists.txt": f"""cmake_minimum_required(VERSION 3.20)
list(APPEND ZEPHYR_EXTRA_MODULES ${{CMAKE_CURRENT_SOURCE_DIR}}/..)
find_package(Zephyr REQUIRED HINTS $ENV{{ZEPHYR_BASE}})
project({prefix}_sample)
target_sources(app PRIVATE src/main.c)
""",
        "sample/prj.conf": "CONFIG_PRINTK=y\n",
        "sample/src/main.c": main,
    }


def _esp_idf(model: CModel, words: Words) -> dict[str, str]:
    prefix, macro = words.prefix, words.macro
    sources = " ".join(f'"{source}"' for source in words.sources)
    main = f"""#include <stdio.h>

#include "freertos/FreeRTOS.h"
#include "freertos/task.h"

{_variables(model, words)}
void app_main(void) {{
    printf("golden steps: %s\\n", {prefix}_selftest() == 0 ? "equal" : "NOT equal");
    {prefix}_init(&state);
    for (;;) {{
        /* Fill x here. */
        if ({prefix}_step(&state, x, y) == {macro}_OK)
            printf("%f\\n", (double)y[0]);
        vTaskDelay(pdMS_TO_TICKS(20));
    }}
}}
"""
    return {
        "CMakeLists.txt": f'idf_component_register(SRCS {sources} INCLUDE_DIRS ".")\n',
        "example/CMakeLists.txt": f"""cmake_minimum_required(VERSION 3.16)
set(EXTRA_COMPONENT_DIRS ${{CMAKE_CURRENT_SOURCE_DIR}}/..)
include($ENV{{IDF_PATH}}/tools/cmake/project.cmake)
project({prefix}_example)
""",
        "example/main/CMakeLists.txt": 'idf_component_register(SRCS "main.c" INCLUDE_DIRS ".")\n',
        "example/main/main.c": main,
    }


LAYOUTS = {"plain": _plain, "arduino": _arduino, "zephyr": _zephyr, "esp-idf": _esp_idf}
