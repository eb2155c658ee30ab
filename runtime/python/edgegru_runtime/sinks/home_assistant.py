"""What makes the results of a model appear in Home Assistant by themselves.

https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery and, for the fields,
https://www.home-assistant.io/integrations/binary_sensor.mqtt/ and https://www.home-assistant.io/integrations/sensor.mqtt/
"""

from __future__ import annotations

import re
from math import ceil
from typing import Any
from zlib import crc32

from edgegru_runtime import __version__
from edgegru_runtime.decisions import ANOMALY
from edgegru_runtime.model_config import DecisionConfig, ModelConfig, OutputConfig
from edgegru_runtime.sinks.readings import kind_of, unique_labels

NONE = "none"  # what a sensor of classes shows while none is on
_EXPIRES_AFTER = 60.0  # seconds without a value, or ten steps


def has_labels(config: ModelConfig, decision: DecisionConfig) -> bool:
    """Whether anything can be on or off: classes, labels, or an anomaly."""
    return decision.residual is not None or any(kind_of(config, output) != "identity" for output in config.outputs)


class HomeAssistant:
    """Entities of the device ``name`` for the outputs of a model.

    ``prefix`` is "homeassistant" unless Home Assistant was told otherwise; ids are made of the model and ``client_id``.
    Independent labels and an anomaly are binary sensors, classes one sensor that shows which is on, and values a sensor
    each where every step is published; of forecasts only the anomaly is shown.
    """

    def __init__(
        self, config: ModelConfig, decision: DecisionConfig, emit: str, *, prefix: str, name: str, client_id: str
    ) -> None:
        self.birth_topic = f"{prefix}/status"  # where Home Assistant says "online"
        self._config, self._decision, self._emit = config, decision, emit
        self._prefix, self._name, self._client_id = prefix, name, client_id

    def is_entity(self, topic: str) -> bool:
        """Whether an entity is made known at this topic."""
        return topic.startswith(f"{self._prefix}/") and topic.endswith("/config")

    def entities(self, key: str, result_topic: str, state_topic: str, availability_topic: str) -> dict[str, Any]:
        """The configurations of one sensor's entities, by the topics where they are published and retained."""
        device_id = "_".join(
            _identifier(part) for part in ("edgegru", self._config.identity[:12], self._client_id, key) if part
        )
        shared = {
            "availability_topic": availability_topic,
            "device": {
                "identifiers": [device_id],
                "name": f"{self._name} {key}" if key else self._name,
                "manufacturer": "EdgeGRU",
                "model": f"{self._config.scheme} {self._config.identity[:12]}",
                "sw_version": __version__,
            },
            "origin": {"name": "EdgeGRU", "sw_version": __version__},
        }
        found: dict[str, Any] = {}
        for output in self._config.outputs:
            several = len(self._config.outputs) > 1
            at = f"value_json.outputs[{_quoted(output.node)}]" if several else "value_json"
            for component, name, fields in self._fields(output, at, result_topic, state_topic):
                parts = (output.node, name) if several else (name,)
                unique_id = "_".join((device_id, *map(_identifier, parts)))
                found[f"{self._prefix}/{component}/{unique_id}/config"] = {
                    "name": ": ".join(parts),
                    "unique_id": unique_id,
                    **fields,
                    **shared,
                }
        return found

    def _fields(
        self, output: OutputConfig, at: str, result_topic: str, state_topic: str
    ) -> list[tuple[str, str, dict[str, Any]]]:
        """Of each entity of an output: its component, its name, and what is its own."""
        state = {"state_topic": state_topic, "json_attributes_topic": state_topic}
        kind = kind_of(self._config, output)
        if kind == "softmax":
            one_of = {
                "value_template": f"{{{{ {at}.on[0] if {at}.on else '{NONE}' }}}}",
                "device_class": "enum",
                "options": list(dict.fromkeys((*output.labels, NONE))),
            }
            return [("sensor", output.node, state | one_of)]
        if kind == "sigmoid":
            return [("binary_sensor", label, state | _is_on(at, label)) for label in output.labels]
        entities: list[tuple[str, str, dict[str, Any]]] = []
        if self._decision.residual is not None and self._decision.residual.output == output.node:
            entities.append(("binary_sensor", ANOMALY, state | _is_on(at, ANOMALY) | {"device_class": "problem"}))
        if self._emit == "all" and not output.horizon:
            entities += self._values(output, at, result_topic)
        return entities

    def _values(self, output: OutputConfig, at: str, result_topic: str) -> list[tuple[str, str, dict[str, Any]]]:
        rate = self._config.input.step_rate
        expires = ceil(max(_EXPIRES_AFTER, 10 / rate)) if rate else None
        units = output.units or ("",) * len(output.labels)
        entities = []
        for place, (label, unit) in enumerate(zip(unique_labels(output.labels), units, strict=True)):
            fields: dict[str, Any] = {
                "state_topic": result_topic,
                "value_template": f"{{{{ {at}.y[{place}] }}}}",
                "state_class": "measurement",
            }
            if unit:
                fields["unit_of_measurement"] = unit
            if expires is not None:
                fields["expire_after"] = expires
            entities.append(("sensor", label, fields))
        return entities


def _is_on(at: str, label: str) -> dict[str, str]:
    """A binary sensor's template; ON and OFF are what it expects by default."""
    return {"value_template": f"{{{{ 'ON' if {_quoted(label)} in {at}.on else 'OFF' }}}}"}


def _quoted(text: str) -> str:
    """A string in Jinja's syntax; whatever could mean something there is written as a number."""
    return "'" + re.sub(r"[^A-Za-z0-9 _.,-]", lambda match: _escape(ord(match[0])), text) + "'"


def _escape(code: int) -> str:
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _identifier(text: str) -> str:
    """A part of a topic and an id: letters, digits, _ and -; other text is told apart by its checksum."""
    plain = re.sub(r"[^A-Za-z0-9_-]", "-", text)[:60]
    return plain if plain == text else f"{plain}-{crc32(text.encode('utf-8', 'surrogatepass')):08x}"
