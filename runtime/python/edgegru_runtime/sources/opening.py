"""A source from what the command line calls it; only the kind that is needed is imported."""

from __future__ import annotations

from dataclasses import replace

from edgegru_runtime.errors import InputError
from edgegru_runtime.model_config import ModelConfig
from edgegru_runtime.sources.file import FileSource
from edgegru_runtime.sources.source import (
    FORMATS,
    RAW_FORMATS,
    STEADY_FORMATS,
    TEXT_FORMATS,
    Source,
    SourceOptions,
    Warn,
)

__all__ = ["SourceOptions", "format_of", "open_source"]

_KINDS = (
    "serial:", "tcp://", "unix:", "tcp-listen://", "unix-listen:", "mqtt://", "mqtts://", "iio:", "iio-buffer:"
)  # fmt: skip
_BYTES = ("tcp", "unix")  # what sends them without any frame around, as a file has them


def open_source(spec: str, config: ModelConfig, options: SourceOptions, warn: Warn) -> Source:
    """The source that ``spec`` names: "-", a file's path, or one of the kinds in docs/sources.md.

    ``warn`` is told when a device or a peer is lost, and when it is back. Raises InputError where ``options`` do not
    fit the model or the kind of source, or it cannot be opened; EngineError where it needs a package.
    """
    kind = next((kind for kind in _KINDS if spec.startswith(kind)), None)
    options = replace(options, format=format_of(spec, options.format))
    of_text = config.input.tokenizer is not None
    if of_text and options.format == "auto" and not options.columns and (kind is None or kind.startswith(_BYTES)):
        options = replace(options, format="text")
    _check(options)
    if of_text and options.format in STEADY_FORMATS:
        raise InputError(f"the format is {options.format} and the model reads tokens, expected text, or csv or jsonl")
    if options.format == "text" and kind is not None and not kind.startswith(_BYTES):
        raise InputError(f"{spec}: the format is text, expected a file, a pipe or a socket")
    if kind is None:
        if "://" in spec:
            raise InputError(f"{spec}: is no known kind of input, expected a file, -, or one of {', '.join(_KINDS)}")
        if options.replay_speed is None:
            return FileSource(spec, config, options)
        source = FileSource(spec, config, replace(options, samples_at_once=1))
        if not source.resumable:  # what waits for its time would be lost where the run is stopped
            source.close()
            raise InputError(f"{source.name}: cannot be replayed, expected a file")
        from edgegru_runtime.sources.replay import ReplaySource

        return ReplaySource(source, options.replay_speed, options.time_unit, options.rate or config.input.rate)
    if options.replay_speed is not None:
        raise InputError(f"{spec}: cannot be replayed, expected a file")
    if options.format == "wav":
        raise InputError(f"{spec}: sends no WAV, expected a file or a pipe, or s16le")
    if kind.startswith("mqtt"):
        from edgegru_runtime.sources.mqtt import MqttSource

        return MqttSource(spec, config, options, warn)
    if kind == "iio:":
        from edgegru_runtime.sources.iio import IioSource

        return IioSource(spec, config, options, warn)
    if kind == "iio-buffer:":
        from edgegru_runtime.sources.iio_buffer import IioBufferSource

        return IioBufferSource(spec, config, options, warn)
    if kind == "serial:":
        from edgegru_runtime.sources.serial_line import SerialSource

        if options.format in RAW_FORMATS:
            raise InputError(f"{spec}: sends no {options.format}, which nothing in it could align; expected lines")
        return SerialSource(spec, config, options, warn)
    from edgegru_runtime.sources.sockets import ConnectSource, ListenSource

    return (ListenSource if "listen" in kind else ConnectSource)(spec, config, options, warn)


def format_of(spec: str, format: str) -> str:
    """The format of what ``spec`` names, where it is to be found out by the name: that of a WAV file."""
    return "wav" if format == "auto" and spec.lower().endswith(".wav") else format


def _check(options: SourceOptions) -> None:
    """What contradicts itself in options."""
    if options.format not in FORMATS:
        raise InputError(f"format is {options.format!r}, expected one of {', '.join(FORMATS)}")
    fitting: dict[str, tuple[str, ...]] = dict.fromkeys(("columns", "streams_by", "targets"), TEXT_FORMATS)
    fitting |= {"channels": RAW_FORMATS, "streams": RAW_FORMATS, "scale": STEADY_FORMATS}
    for name, formats in fitting.items():
        if getattr(options, name) != getattr(SourceOptions, name, None) and options.format not in formats:
            expected = "CSV or JSONL" if formats is TEXT_FORMATS else f"{', '.join(formats[:-1])} or {formats[-1]}"
            raise InputError(f"{name} is given and the format is {options.format}, expected {expected}")
    if options.format == "text" and (options.stamp or options.replay_speed is not None):
        name = "stamp" if options.stamp else "replay_speed"
        raise InputError(f"{name} is given and the format is text, which has no times, expected another format")
    if options.columns and options.format == "jsonl":
        raise InputError("columns is given and the format is jsonl, expected CSV")
    for name, value in (("streams", options.streams), ("chunk", options.chunk)):
        if value < 1:
            raise InputError(f"{name} is {value}, expected at least 1")
    if options.replay_speed is not None and not options.replay_speed > 0:
        raise InputError(f"replay_speed is {options.replay_speed:g}, expected more than 0")
