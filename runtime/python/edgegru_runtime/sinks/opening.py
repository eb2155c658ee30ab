"""From the name of a sink on the command line to the sink."""

from __future__ import annotations

from edgegru_runtime.errors import InputError
from edgegru_runtime.model_config import DecisionConfig, ModelConfig
from edgegru_runtime.sinks.lines import AppendedFile, Lines, StandardOutput
from edgegru_runtime.sinks.sink import Dropped, Sink, Warn

_EXPECTED = '"jsonl", "csv" or "influx", alone or as "jsonl:FILE", or "mqtt://HOST/TOPIC"'
_MEASUREMENT_OPTION = "?measurement="


def open_sink(
    spec: str,
    config: ModelConfig,
    decision: DecisionConfig,
    emit: str,
    warn: Warn,
    dropped: Dropped,
    *,
    time_unit: str = "s",
    keyed: bool = False,
) -> Sink:
    """The sink that ``spec`` names (docs/sinks.md). ``time_unit``: of times that are numbers; ``keyed``: there are
    several sensors.

    Raises InputError for a name that is none, EdgegruError where it cannot be opened, EngineError where it needs a
    package that is missing.
    """
    if spec.startswith(("mqtt://", "mqtts://")):
        from edgegru_runtime.sinks.mqtt import MqttSink

        return MqttSink(spec, config, decision, emit, warn, dropped, keyed=keyed)
    influx = spec.startswith("influx")
    named, option, measurement = spec.partition(_MEASUREMENT_OPTION) if influx else (spec, "", "")
    form, colon, target = named.partition(":")
    if colon and not target:
        raise InputError(f"the sink is {spec!r}, expected the name of a file behind the colon")
    formatter: Lines
    if form == "jsonl":
        from edgegru_runtime.sinks.jsonl import JsonLines

        formatter = JsonLines(config, decision, emit)
    elif form == "csv":
        from edgegru_runtime.sinks.csv_lines import CsvLines

        formatter = CsvLines(config, decision, emit)
    elif form == "influx":
        from edgegru_runtime.sinks.influx import MEASUREMENT, Datagrams, InfluxLines

        formatter = InfluxLines(config, decision, emit, measurement if option else MEASUREMENT, time_unit)
        if target.startswith("udp://"):
            return Datagrams(target.removeprefix("udp://"), formatter, warn, dropped)
    else:
        raise InputError(f"the sink is {spec!r}, expected {_EXPECTED}")
    return StandardOutput(formatter) if not target or target == "-" else AppendedFile(target, formatter, warn)
