"""Samples as lines of JSON: an object with a number for each channel, an object {"x": [...]}, or a list."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from edgegru_runtime.errors import InputError
from edgegru_runtime.record import Item, Record, Refusal
from edgegru_runtime.samples import shortened
from edgegru_runtime.sources.fields import TIME_NAMES, control_line, control_object, is_text, json_float, json_time
from edgegru_runtime.sources.source import SourceOptions
from edgegru_runtime.strict_json import NotAccepted, shown, unique_names


class JsonLines:
    """Lines of JSON for a model with these channels. null, NaN and Infinity are values that are missing or infinite."""

    def __init__(self, channels: tuple[str, ...], options: SourceOptions) -> None:
        self._channels = channels
        self._targets = options.targets
        self._streams_by = options.streams_by
        taken = {*channels, *options.targets, options.streams_by}
        self._times = tuple(name for name in TIME_NAMES if name not in taken)
        self._decode = json.JSONDecoder(object_pairs_hook=unique_names, parse_constant=float).raw_decode

    def items(self, lines: list[bytes], place: int, end: int) -> list[Item]:
        """What is in lines that follow on ``place`` and ``end``."""
        items: list[Item] = []
        for line in lines:
            place += 1
            end += len(line) + 1
            item = self.item(line, place, end)
            if item is not None:
                items.append(item)
        return items

    def item(self, line: bytes, place: int, end: int) -> Item | None:
        """What one line holds; None where it is blank."""
        try:
            text = line.decode().strip(" \t\r\n")
            if not text:
                return None
            if text[0] == "!":
                control = control_line(line, place, end)
                if control is not None:
                    return control
            value, behind = self._decode(text)
            if behind != len(text):
                raise InputError(f"the line is not JSON: more follows at character {behind}")
            return self._item(value, place, end)
        except UnicodeDecodeError as error:
            reason = f"byte {error.start} is not UTF-8"
        except json.JSONDecodeError as error:
            reason = f"the line is not JSON: {error.msg} at character {error.pos}"
        except RecursionError:
            reason = "the line is nested too deeply"
        except NotAccepted as error:
            reason = f"the line {error}"
        except InputError as error:
            reason = str(error)
        except ValueError:  # an integer of more digits than Python converts
            reason = "the line holds a number with too many digits"
        return Refusal(reason, place, end)

    def _item(self, value: Any, place: int, end: int) -> Item:
        if isinstance(value, list):
            if self._targets or self._streams_by is not None:
                names = (*self._targets, *(() if self._streams_by is None else (self._streams_by,)))
                raise InputError(f"the line is a list, expected an object with {shortened(names)}")
            return Record(_numbers(value, self._channels, "channel"), place=place, end=end)
        if not isinstance(value, dict):
            raise InputError(f"the line is {shown(value)}, expected an object or a list")
        x = value.get("x")
        if not isinstance(x, list):
            try:
                x = [value[channel] for channel in self._channels]
            except KeyError:
                control = control_object(value, self._streams_by or "stream", place, end)
                if control is not None:
                    return control
                missing = tuple(channel for channel in self._channels if channel not in value)
                expected = f'{shortened(self._channels)}, or "x"'
                raise InputError(f"the object has no {shortened(missing)}; expected {expected}") from None
        t = None
        for name in self._times:
            if name in value:
                t = json_time(value[name])
                break
        key = "" if self._streams_by is None else self._key(value, self._streams_by)
        target = self._target(value) if self._targets else None
        return tuple.__new__(Record, (_numbers(x, self._channels, "channel"), t, key, place, end, target))

    def _key(self, value: dict[str, Any], name: str) -> str:
        key = value.get(name)
        if isinstance(key, int) and not isinstance(key, bool):
            return str(key)
        if not is_text(key) or not key:
            found = f"is {shown(key)}" if name in value else "is missing"
            raise InputError(f"field {name} {found}, expected the sensor's name")
        return key

    def _target(self, value: dict[str, Any]) -> list[float]:
        missing = tuple(name for name in self._targets if name not in value)
        if missing:
            raise InputError(f"the object has no {shortened(missing)}; expected {shortened(self._targets)}")
        return _numbers([value[name] for name in self._targets], self._targets, "field")


def _numbers(values: list[Any], names: Sequence[str], what: str) -> list[float]:
    """The values as floats, NaN for null. Raises InputError where one is something else, or their count is wrong."""
    if len(values) != len(names):
        raise InputError(f"{len(values)} values arrived, expected {len(names)}: {shortened(tuple(names))}")
    kinds = set(map(type, values))
    if kinds == {float}:
        return values
    if not kinds <= {float, int, type(None)}:
        name, value = next(
            pair for pair in zip(names, values, strict=True) if type(pair[1]) not in (float, int, type(None))
        )
        raise InputError(f"{what} {name} is {shown(value)}, expected a number")
    return [float("nan") if value is None else json_float(value) for value in values]

