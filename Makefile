# make demo         train, quantize, export, verify and stream on real speech data; prints one table (under 3 minutes)
# make test         every test that needs nothing but PyPI
# make test-system  the tests that need Python 3.11 with tflite-runtime, a browser, clang, an MQTT broker or systemd
#                   (on Debian 12: apt-get install $(cat .ci/apt-packages.txt))
# make examples     every example, small, on data that comes with dependencies or is made up
# make wheels       source archive and wheels of edgegru-runtime for x86-64, aarch64, armv7l and armv6l, in dist/wheels
# make lint, types  ruff; mypy
# make clean        remove environments and everything generated
#
# Each target works alone on a fresh clone: the environment .venv is made from constraints.txt when it is first needed
# and brought up to date when the pins or the dependencies change. Another interpreter: make PYTHON=python3.12 test

PYTHON ?= python3
PYTHON311 ?= python3.11
VENV := .venv
INSTALLED := $(VENV)/.installed
TFLITE_VENV := .venv-tflite
TFLITE_INSTALLED := $(TFLITE_VENV)/.installed
WHEELS := dist/wheels
WHEELS_VENV := .venv-wheels
WHEELS_INSTALLED := $(WHEELS_VENV)/.installed
TORCH := $(shell grep '^torch==' constraints.txt)
WORKERS ?= 2
KERNEL := $(wildcard runtime/c/src/*.[ch] runtime/c/include/*.h runtime/c/python/*.[ch])

export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_ROOT_USER_ACTION := ignore

.PHONY: demo examples test test-system wheels lint types clean

demo: $(INSTALLED)
	$(VENV)/bin/python examples/japanese_vowels/demo.py

examples: $(INSTALLED)
	$(VENV)/bin/python examples/japanese_vowels/demo.py
	$(VENV)/bin/python examples/har_watch_phone/run.py
	$(VENV)/bin/python examples/spoken_digits/run.py
	$(VENV)/bin/python examples/sentiment/run.py
	$(VENV)/bin/python examples/forecasting/run.py
	$(VENV)/bin/python examples/anomalies/run.py
	$(VENV)/bin/python examples/cortex_m/run.py

test: $(INSTALLED)
	$(VENV)/bin/python -m pytest -n $(WORKERS)

test-system: $(INSTALLED) $(TFLITE_INSTALLED)
	EDGEGRU_TFLITE_RUNTIME_PYTHON="$(CURDIR)/$(TFLITE_VENV)/bin/python" $(VENV)/bin/python -m pytest tests/system

wheels: $(WHEELS_INSTALLED)
	$(WHEELS_VENV)/bin/python runtime/make_wheels.py $(WHEELS)

lint: $(INSTALLED)
	$(VENV)/bin/ruff check .

types: $(INSTALLED)
	$(VENV)/bin/mypy

clean:
	rm -rf $(VENV) $(TFLITE_VENV) $(WHEELS_VENV) .venv-foreign build dist demo-output .pytest_cache .ruff_cache .mypy_cache .hypothesis
	rm -rf edgegru.egg-info runtime/build runtime/c/build runtime/python/edgegru_runtime.egg-info
	rm -f runtime/python/edgegru_runtime/_kernel*.so
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# aeon is installed without its dependencies: the demo and the tests read its data files and never import it.
$(INSTALLED): constraints.txt pyproject.toml runtime/pyproject.toml runtime/setup.py $(KERNEL)
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not installed; EdgeGRU needs Python 3.11 or newer" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "%s is Python %d.%d; EdgeGRU needs 3.11 or newer (make PYTHON=python3.12)" % ((sys.executable,) + sys.version_info[:2]))'
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install $(TORCH) -c constraints.txt
	$(VENV)/bin/python -m pip install setuptools -c constraints.txt
	$(VENV)/bin/python -m pip install --no-build-isolation -e runtime -e '.[train,dev]' -c constraints.txt
	$(VENV)/bin/python -m pip install --no-deps aeon -c constraints.txt
	@touch $@

# tflite-runtime 2.14 is what 32-bit boards have: its last wheels are for Python 3.11 and it needs NumPy below 2.
$(TFLITE_INSTALLED): runtime/pyproject.toml
	@command -v $(PYTHON311) >/dev/null || { echo "$(PYTHON311) is not installed; tflite-runtime has wheels up to Python 3.11 (make PYTHON311=/path/to/python3.11)" >&2; exit 1; }
	$(PYTHON311) -m venv $(TFLITE_VENV)
	$(TFLITE_VENV)/bin/python -m pip install numpy==1.26.4 tflite-runtime==2.14.0 -e runtime
	@touch $@

# ziglang is a C compiler for every processor (docs/wheels.md).
$(WHEELS_INSTALLED): runtime/make_wheels.txt constraints.txt
	$(PYTHON) -m venv $(WHEELS_VENV)
	$(WHEELS_VENV)/bin/python -m pip install -r runtime/make_wheels.txt -c constraints.txt
	@touch $@
