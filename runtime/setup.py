"""The C kernel as an extension. Where no compiler is, the package installs without it and NumPy computes."""

import sysconfig
from pathlib import Path

from setuptools import Extension, setup

HERE = Path(__file__).parent
SOURCES = sorted(path.relative_to(HERE).as_posix() for path in (*HERE.glob("c/src/*.c"), *HERE.glob("c/python/*.c")))
HEADERS = sorted(path.relative_to(HERE).as_posix() for path in HERE.glob("c/*/*.h"))

setup(
    ext_modules=[
        Extension(
            "edgegru_runtime._kernel",
            SOURCES,
            include_dirs=["c/include", "c/src"],
            depends=HEADERS,
            # Products and sums of floats are rounded one by one: the bits of integer models depend on it.
            # Functions begin on cache lines: where they happen to lie costs small models a fifth of a step.
            extra_compile_args=[
                *("-std=c99", "-O2", "-ffp-contract=off", "-falign-functions=64", "-fvisibility=hidden"),
                "-Werror=implicit",
            ],
            extra_link_args=["-s"],
            define_macros=[("Py_LIMITED_API", "0x030B0000")],
            py_limited_api=True,
            optional=True,
        )
    ],
    # A free-threaded Python has no limited API: what is installed there computes with NumPy.
    options={} if sysconfig.get_config_var("Py_GIL_DISABLED") else {"bdist_wheel": {"py_limited_api": "cp311"}},
)
