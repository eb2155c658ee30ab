"""``python -m edgegru_runtime``: run, service, translate, info and bench. Standard library only.

Results go to standard output, everything else to standard error. Exit status: 0, 1 where something failed (one sentence
says what), 2 for a wrong command line.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from edgegru_runtime.engine import ENGINES
from edgegru_runtime.errors import EdgegruError
from edgegru_runtime.standard_output import ReaderGone, print_line


def main(argv: Sequence[str] | None = None, prog: str = "python -m edgegru_runtime") -> int:
    """Run one command and return its exit status. ``prog`` is what help and usage call the program."""
    try:
        words = sys.argv[1:] if argv is None else list(argv)
        arguments = _parser(prog).parse_args(words)
        arguments.words = words[1:]  # behind the command
    except SystemExit as stop:  # argparse has printed help or what is wrong
        return int(stop.code or 0)
    try:
        _COMMANDS[arguments.command](arguments)
    except EdgegruError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except MemoryError:
        print("error: there is not enough memory", file=sys.stderr)
        return 1
    except ReaderGone:
        pass
    return 0


def _run(arguments: argparse.Namespace) -> None:
    from edgegru_runtime.run_options import run_parameters
    from edgegru_runtime.running import run

    run(**run_parameters(arguments))


def _service(arguments: argparse.Namespace) -> None:
    from edgegru_runtime.run_options import run_parameters
    from edgegru_runtime.running import run_touches
    from edgegru_runtime.service.unit import service_unit

    run = run_parameters(arguments)
    words = _without_watchdog(arguments.words)
    print_line(
        service_unit(sys.executable, run["model"], words, run_touches(**run), watchdog=arguments.watchdog).rstrip()
    )


def _without_watchdog(words: Sequence[str]) -> list[str]:
    """The words of the command line that are for ``run``."""
    kept = list(words)
    if "--watchdog" in kept:
        at = kept.index("--watchdog")
        del kept[at : at + 2]
    return [word for word in kept if not word.startswith("--watchdog=")]


def _info(arguments: argparse.Namespace) -> None:
    from edgegru_runtime.description import describe, description_text
    from edgegru_runtime.model import read_source

    description = describe(arguments.model, read_source(arguments.model))
    _print(description if arguments.json else description_text(description))


def _bench(arguments: argparse.Namespace) -> None:
    from edgegru_runtime.measurement import bench, bench_text

    measurements = bench(arguments.model, _engine(arguments), arguments.steps)
    results = {"results": [measurement.to_dict() for measurement in measurements]}
    _print(results if arguments.json else bench_text(measurements))


def _translate(arguments: argparse.Namespace) -> None:
    from edgegru_runtime.translation import translate_file

    translate_file(arguments.folder, arguments.input, _engine(arguments), arguments.beam)


_COMMANDS = {"run": _run, "service": _service, "translate": _translate, "info": _info, "bench": _bench}


def _engine(arguments: argparse.Namespace) -> str | None:
    return None if arguments.engine == "auto" else str(arguments.engine)


def _print(result: object) -> None:
    if not isinstance(result, str):
        import json

        result = json.dumps(result)
    print_line(result)


class _AnyOrder(argparse.ArgumentParser):
    """Options may also stand between arguments: ``run MODEL --state-file FILE INPUT``."""

    _intermixing = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """What parses a command; argparse's own ``parse_known_intermixed_args`` comes back here for its passes."""
        if self._intermixing:
            return super().parse_known_args(args, namespace)
        self._intermixing = True
        return self.parse_known_intermixed_args(args, namespace)


def _parser(prog: str) -> argparse.ArgumentParser:
    from edgegru_runtime import run_options

    parser = argparse.ArgumentParser(prog=prog, description="Stream a compact GRU on this device.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_AnyOrder)

    run = commands.add_parser(
        "run",
        help="stream samples through a model",
        description=run_options.DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    run_options.add_run_options(run)

    service = commands.add_parser(
        "service",
        help="print a systemd unit that runs a model",
        description="Print a systemd unit for the same run: a service with no more rights than the options need.",
        allow_abbrev=False,
    )
    run_options.add_run_options(service)
    service.add_argument(
        "--watchdog",
        metavar="SECONDS",
        type=float,
        default=30.0,
        help="without a sample, after which the service is started again; 0: never (default %(default)g)",
    )

    translate = commands.add_parser("translate", help="translate sentences, a line each")
    translate.add_argument("folder", metavar="FOLDER", help="encoder and decoder: artifacts or exported files")
    translate.add_argument("input", metavar="INPUT", nargs="?", help="a file of sentences (default: standard input)")
    _add_engine(translate)
    translate.add_argument(
        "--beam", metavar="N", type=_positive, default=4, help="hypotheses kept; 1: greedy (default %(default)d)"
    )

    on_host = "With --target TARGET [--io int]: the flash, RAM and stack that an artifact takes as exported C."
    info = commands.add_parser(
        "info", help="show what a model file holds", epilog=on_host if prog == "edgegru" else None
    )
    info.add_argument("model", metavar="MODEL", help="an artifact, or an exported .onnx or .tflite file")
    info.add_argument("--json", action="store_true", help="print one JSON object instead of text")

    bench = commands.add_parser("bench", help="time one step and measure memory")
    bench.add_argument("model", metavar="MODEL", nargs="+", help="artifacts, or exported .onnx or .tflite files")
    _add_engine(bench)
    bench.add_argument("--steps", metavar="N", type=_positive, default=2000, help="timed steps (default 2000)")
    bench.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    return parser


def _add_engine(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--engine", choices=("auto", *ENGINES), default="auto", help="auto: the one that fits the file")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


_positive.__name__ = "positive integer"  # argparse names the type by it: "invalid positive integer value: '0'"
