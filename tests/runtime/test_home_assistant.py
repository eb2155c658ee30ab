"""What Home Assistant is told about a model, and that its templates show what is on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgegru_runtime.model_config import DecisionConfig, HeadNode, ModelConfig, OutputConfig, ResidualConfig
from edgegru_runtime.sinks.home_assistant import HomeAssistant, _quoted
from tests.builders import changed, random_config
from tests.runtime.sink_results import of_tokens

IDENTITY = "0123456789abcdef" * 4


def labelled(head: str = "softmax", *labels: str, **fields: Any) -> ModelConfig:
    config = random_config(3, output_size=len(labels), head=head)
    return changed(config, identity=IDENTITY, outputs=(replace(config.outputs[0], labels=labels, **fields),))


def entities(config: ModelConfig, emit: str = "all", key: str = "", **decision: Any) -> dict[str, Any]:
    assistant = HomeAssistant(
        config, DecisionConfig(**decision), emit, prefix="homeassistant", name="plant/pump", client_id="pump-1"
    )
    found = assistant.entities(key, "base/result", "base/state", "base/availability")
    assert all(assistant.is_entity(topic) for topic in found) and not assistant.is_entity("base/state")
    assert len({payload["unique_id"] for payload in found.values()}) == len(found)
    for topic, payload in found.items():
        prefix, component, unique_id, last = topic.split("/")
        assert (prefix, last, unique_id) == ("homeassistant", "config", payload["unique_id"])
        assert component in ("sensor", "binary_sensor") and set(unique_id) <= set(
            "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"
        )
        assert payload["availability_topic"] == "base/availability"
        assert payload["device"]["identifiers"] and payload["origin"]["name"] == "EdgeGRU"
    return found


def test_classes_are_one_sensor() -> None:
    config = labelled("softmax", "sit", "walk")
    ((topic, payload),) = entities(config).items()
    assert topic == "homeassistant/sensor/edgegru_0123456789ab_pump-1_output/config"
    assert payload["device_class"] == "enum" and payload["options"] == ["sit", "walk", "none"]
    assert payload["value_template"] == "{{ value_json.on[0] if value_json.on else 'none' }}"
    assert payload["state_topic"] == payload["json_attributes_topic"] == "base/state"
    assert payload["device"]["name"] == "plant/pump"


def test_labels_are_binary_sensors() -> None:
    found = entities(labelled("sigmoid", "leak", "it's {{ on }}"), key="3")
    assert [payload["name"] for payload in found.values()] == ["leak", "it's {{ on }}"]
    leak, other = found.values()
    assert leak["value_template"] == "{{ 'ON' if 'leak' in value_json.on else 'OFF' }}"
    assert "{{ on" not in other["value_template"]
    assert leak["device"]["name"] == "plant/pump 3"
    assert all("/binary_sensor/" in topic for topic in found)


def test_values_are_sensors_where_each_step_is_published() -> None:
    config = labelled("identity", "temperature", "load", units=("°C", ""))
    first, second = entities(config).values()
    assert (first["unit_of_measurement"], first["state_class"], first["expire_after"]) == ("°C", "measurement", 60)
    assert first["state_topic"] == "base/result" and first["value_template"] == "{{ value_json.y[0] }}"
    assert second["value_template"] == "{{ value_json.y[1] }}" and "unit_of_measurement" not in second
    assert entities(config, emit="changes") == {}
    slow = replace(config, input=replace(config.input, rate=0.01))
    assert {payload["expire_after"] for payload in entities(slow).values()} == {1000}
    unknown = replace(config, input=replace(config.input, rate=None))
    assert all("expire_after" not in payload for payload in entities(unknown).values())


def test_tokens_are_nothing_to_show() -> None:
    assert entities(of_tokens()) == {}


def test_an_anomaly_is_a_binary_sensor() -> None:
    config = labelled("identity", "c0 1", "c1 1", "c2 1", target="forecast", horizon=1)
    residual = ResidualConfig(config.outputs[0].node, (1.0, 1.0, 1.0))
    ((topic, payload),) = entities(config, residual=residual).items()
    assert "/binary_sensor/" in topic
    assert (payload["name"], payload["device_class"]) == ("anomaly", "problem")
    assert entities(config) == {}


def test_several_outputs_are_told_apart() -> None:
    one = labelled("sigmoid", "a", "b", "c", "d")
    two = replace(
        one,
        nodes=(*one.nodes, HeadNode("v", ("dense",), 4, "identity")),
        outputs=(*one.outputs, OutputConfig("v", "step_value", ("a", "b", "c", "d"))),
    )
    found = list(entities(two).values())
    assert [payload["name"] for payload in found[3:5]] == ["output: d", "v: a"]
    assert found[3]["value_template"] == "{{ 'ON' if 'd' in value_json.outputs['output'].on else 'OFF' }}"
    assert found[4]["value_template"] == "{{ value_json.outputs['v'].y[0] }}"


@given(st.text())
def test_text_is_quoted_for_jinja(text: str) -> None:
    jinja2 = pytest.importorskip("jinja2")
    assert jinja2.Environment(autoescape=False).compile_expression(_quoted(text))() == text


def test_the_templates_give_what_is_on() -> None:
    jinja2 = pytest.importorskip("jinja2")

    def shown(payload: dict[str, Any], value: Any) -> str:
        return str(jinja2.Template(payload["value_template"]).render(value_json=value))

    (classes,) = entities(labelled("softmax", "sit", "walk")).values()
    assert [shown(classes, {"on": on}) for on in (["walk"], [])] == ["walk", "none"]
    label = "it's {{ on }} \\ \"é😀"
    _, odd = entities(labelled("sigmoid", "leak", label)).values()
    assert [shown(odd, {"on": on}) for on in (["leak", label], ["leak"])] == ["ON", "OFF"]
