"""The options of ``run``, defined once: for the device's command line, the host's, and the service unit."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from edgegru_runtime.conditioning import ON_GAP, ON_NAN, Conditions
from edgegru_runtime.config_json import MAX_SCORE
from edgegru_runtime.decisions import changed_decision
from edgegru_runtime.engine import ENGINES
from edgegru_runtime.errors import EdgegruError, InputError
from edgegru_runtime.model_config import DecisionConfig, ResidualConfig
from edgegru_runtime.pipeline import Handling
from edgegru_runtime.running import STANDARD_INPUT, Keeping
from edgegru_runtime.sinks.sink import EMITS
from edgegru_runtime.sources.source import FORMATS, SourceOptions
from edgegru_runtime.timeline import TIME_UNITS
from edgegru_runtime.watching import Watching

DESCRIPTION = """\
Stream samples through MODEL: one JSON line for each step that they make, written as soon as it is computed.

INPUT is a file, - for standard input (default), serial:DEVICE[:BAUD], tcp://HOST:PORT, tcp-listen://HOST:PORT,
unix:PATH, unix-listen:PATH, mqtt://HOST/TOPIC, iio:DEVICE or iio-buffer:DEVICE.

CSV needs a header that names the model's channels (any order, other columns are ignored), or --columns, or exactly its
columns and no header. JSONL takes {"ax": 0.1, "ay": 0.2}, {"x": [0.1, 0.2]} or [0.1, 0.2]. A column or field t or
timestamp is the record's time. Sound is a file NAME.wav, or numbers of 16 bits in --format s16le or wav. Text is read
as it is by a model with a tokenizer: a step for each of its tokens."""

# Field of the decision → option, metavar, help.
_DECISION_OPTIONS = {
    "smoothing": ("--smoothing", "HOW", "of probabilities: none, mean:N, median:N (N steps) or ema:A (0 < A <= 1)"),
    "threshold": ("--threshold", "P", "that switches on; alone, --threshold-off too"),
    "threshold_off": ("--threshold-off", "P", "below which it switches off"),
    "trigger_level": ("--trigger-level", "N", "steps in a row at the threshold that switch on"),
    "minimum_on": ("--minimum-on", "TIME", "from on to off, at least"),
    "minimum_off": ("--minimum-off", "TIME", "from off to on, at least"),
    "refractory": ("--refractory-seconds", "TIME", "from on to the next on, at least"),
    "warm_up": ("--warm-up", "N", "steps after a reset that decide nothing"),
}

DECISION_FIELDS = tuple(_DECISION_OPTIONS)
_WIDEST = DecisionConfig(threshold=MAX_SCORE, residual=ResidualConfig("output", (1.0,)))  # takes what any model takes


def add_run_options(run: argparse.ArgumentParser) -> None:
    """Give a parser the arguments and options of ``run``."""
    run.add_argument("model", metavar="MODEL", help="an artifact, or an exported .onnx or .tflite file")
    run.add_argument("input", metavar="INPUT", nargs="?", help="where samples come from; default: standard input")
    run.add_argument("--engine", choices=("auto", *ENGINES), default="auto", help="auto: the one that fits the file")
    _add_source(run.add_argument_group("input"))
    _add_conditions(run.add_argument_group("time and bad data"))
    _add_decision(run.add_argument_group("decisions", "Times are in seconds, or in steps where the model has no rate."))
    _add_output(run.add_argument_group("output"))
    _add_state(run.add_argument_group("state"))
    _add_operation(run.add_argument_group("operation"))


def run_parameters(arguments: argparse.Namespace) -> dict[str, Any]:
    """What the parsed options say, as parameters of ``running.run``.

    Raises InputError for what does not fit together.
    """
    if arguments.input is not None and arguments.source is not None:
        raise InputError(f"INPUT is {arguments.input} and --source {arguments.source}, expected one of them")
    if arguments.reset_on_gap is not None and arguments.max_gap is not None:
        raise InputError("--reset-on-gap and --max-gap were given, expected one of them")
    every_steps, every_seconds = arguments.state_every or (None, None)
    reset_steps, reset_seconds = arguments.reset_every or (None, None)
    if arguments.state_every is not None and arguments.state_file is None:
        raise InputError("--state-every was given without --state-file, expected a file for the state")
    return {
        "model": arguments.model,
        "input": arguments.input or arguments.source or STANDARD_INPUT,
        "engine": None if arguments.engine == "auto" else arguments.engine,
        "source": SourceOptions(
            format=arguments.format,
            columns=arguments.columns,
            channels=arguments.channels,
            streams=arguments.streams,
            scale=arguments.scale,
            streams_by=arguments.streams_by,
            rate=arguments.rate,
            replay_speed=arguments.replay_speed,
            stamp=arguments.stamp,
            time_unit=arguments.time_unit or "s",
        ),
        "handling": Handling(
            conditions=Conditions(
                on_nan=arguments.on_nan,
                max_gap=arguments.max_gap if arguments.reset_on_gap is None else arguments.reset_on_gap,
                on_gap=arguments.on_gap if arguments.reset_on_gap is None else "reset",
                resample=arguments.resample,
                rate=arguments.rate,
                time_unit=arguments.time_unit,
            ),
            emit=arguments.emit,
            max_streams=arguments.max_streams,
            skip_bad=None if arguments.on_bad_record is None else arguments.on_bad_record == "skip",
            reset_every=reset_steps,
            reset_every_seconds=reset_seconds,
            timing=arguments.timing,
        ),
        "decision": {field: getattr(arguments, field) for field in _DECISION_OPTIONS if hasattr(arguments, field)},
        "keeping": Keeping(arguments.state_file, every_steps, every_seconds),
        "sinks": tuple(arguments.sink),
        "on_event": arguments.on_event,
        "output": arguments.output,
        "force": arguments.force,
        "record": arguments.record,
        "watching": Watching(
            metrics_file=arguments.metrics_file, serve=arguments.serve, stale_after=arguments.stale_after
        ),
        "counters": arguments.counters,
    }


def _add_source(group: Any) -> None:
    group.add_argument("--source", metavar="INPUT", help="the same as INPUT")
    group.add_argument(
        "--format", choices=FORMATS, default="auto", help="auto: wav by the name, text by the model, else CSV or JSONL"
    )
    group.add_argument("--columns", metavar="A,B,C", type=_names, default=(), help="of CSV without a header, or of IIO")
    group.add_argument("--channels", metavar="N", type=_positive, help="in a raw sample; has to be the model's number")
    group.add_argument("--streams", metavar="N", type=_positive, default=1, help="sensors in a raw frame (default 1)")
    group.add_argument("--scale", metavar="FACTOR", type=_number, default=1.0, help="for raw numbers and sound")
    group.add_argument("--streams-by", metavar="COLUMN", help="the column or field that names the sensor")
    group.add_argument(
        "--max-streams", metavar="N", type=_positive, default=Handling.max_streams, help="sensors that are accepted"
    )
    group.add_argument("--stamp", action="store_true", help="records without a time get the time of their arrival")
    group.add_argument("--record", metavar="FILE", help="append every record to this log, which INPUT can be later")
    group.add_argument(
        "--replay-speed", metavar="N", type=_positive_number, help="of a file: N times as fast as its times"
    )
    group.add_argument(
        "--on-bad-record",
        choices=("error", "skip"),
        help="end the run, or only count it; default: skip from sensors and peers, error from files and pipes",
    )


def _add_conditions(group: Any) -> None:
    group.add_argument("--time-unit", choices=tuple(TIME_UNITS), help="of times that are numbers (default s)")
    group.add_argument(
        "--rate", metavar="HZ", type=_positive_number, help="of records without time; default: the model's"
    )
    group.add_argument("--resample", action="store_true", help="linearly, to steps at the model's rate")
    group.add_argument(
        "--max-gap", metavar="SECONDS", type=_positive_number, help="longer between two records is a gap"
    )
    group.add_argument(
        "--on-gap",
        choices=ON_GAP,
        help="reset the stream (default), fill the gap with the last sample or with zeros, or only count it",
    )
    group.add_argument(
        "--reset-on-gap", metavar="SECONDS", type=_positive_number, help="the same as --max-gap SECONDS --on-gap reset"
    )
    group.add_argument(
        "--on-nan",
        choices=ON_NAN,
        default="error",
        help="a value is NaN, infinite, empty or null: it is a bad record (default); repeat the channel's last value; "
        "take 0; leave the record out; or leave it out and reset the stream",
    )


def _add_decision(group: Any) -> None:
    for field, (option, metavar, meaning) in _DECISION_OPTIONS.items():
        group.add_argument(
            option, metavar=metavar, dest=field, type=_decision(field), default=argparse.SUPPRESS, help=meaning
        )


def _add_output(group: Any) -> None:
    group.add_argument(
        "--emit",
        choices=EMITS,
        default="all",
        help="a line for each step, for each step that switches something, or for each label switched on or off",
    )
    group.add_argument(
        "--sink",
        metavar="SINK",
        action="append",
        default=[],
        help="jsonl, csv or influx, to standard output or with :FILE appended to it; mqtt://HOST/TOPIC; any number",
    )
    group.add_argument("--on-event", metavar="COMMAND", help="run this for each event, which is on its standard input")
    group.add_argument("--timing", action="store_true", help="say how long each step took")
    group.add_argument("-o", "--output", metavar="FILE", help="write JSON lines here, complete or not at all")
    group.add_argument("--force", action="store_true", help="replace the output if it exists")


def _add_state(group: Any) -> None:
    group.add_argument(
        "--state-file", metavar="FILE", help="continue with the state saved here, and save it at the end"
    )
    group.add_argument(
        "--state-every",
        metavar="N|TIME",
        type=_every,
        help="save the state also every N records, or every 60s, 5m or 1h",
    )
    group.add_argument(
        "--reset-every",
        metavar="N|TIME",
        type=_every,
        help="the stream begins anew after N steps, or after 60s, 5m or 1h",
    )


def _add_operation(group: Any) -> None:
    group.add_argument("--counters", action="store_true", help="print what was counted at the end, in any case")
    group.add_argument(
        "--metrics-file", metavar="FILE", help="keep the counters here, for Prometheus' textfile collector"
    )
    group.add_argument("--serve", metavar="ADDRESS:PORT", help="show the stream on a page, with /metrics and /healthz")
    group.add_argument(
        "--stale-after",
        metavar="SECONDS",
        type=_positive_number,
        default=Watching.stale_after,
        help="without samples, after which /healthz says so (default %(default)g)",
    )


def _decision(field: str) -> Callable[[str], Any]:
    """What reads an option of the decision, with the range that model files are held to."""

    def read(text: str) -> Any:
        value: Any = text  # where it is no number, it is refused as a text
        with suppress(ValueError):
            value = type(getattr(DecisionConfig, field))(text)
        try:
            return getattr(changed_decision(_WIDEST, {field: value}), field)
        except EdgegruError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return read


def steps_or_seconds(text: str) -> tuple[int | None, float | None]:
    """A number of steps, or seconds where a unit follows: "500", "60s", "5m", "1h". ValueError for all else."""
    unit = {"s": 1, "m": 60, "h": 3600}.get(text[-1:])
    if unit is None:
        return _positive(text), None
    return None, _positive_number(text[:-1]) * unit


def _every(text: str) -> tuple[int | None, float | None]:
    return steps_or_seconds(text)


_every.__name__ = "number or time"  # argparse names the type by it


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


_positive.__name__ = "positive integer"


def _positive_number(text: str) -> float:
    number = float(text)
    if not 1e-9 <= number <= 1e9:
        raise ValueError
    return number


_positive_number.__name__ = "positive number"


def _number(text: str) -> float:
    number = float(text)
    if not abs(number) <= 1e30:
        raise ValueError
    return number


_number.__name__ = "number"


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(","))
