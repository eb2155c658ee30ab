"""Exhibits whose shell is sound and whose configuration or tensors are not."""

from __future__ import annotations

import json
import math

from edgegru_runtime.errors import FormatVersionError
from tests.attacks.museum import (
    GOOD_DYNAMIC,
    GOOD_EMBEDDING,
    GOOD_INITIAL_STATE,
    GOOD_INTEGER,
    GOOD_INTEGER_AFTER,
    GOOD_MIXED,
    GOOD_NORMALISED,
    GOOD_TOKENS,
    GOOD_WIDE,
    Parts,
    exhibit,
    setting,
    without,
)

# The configuration's text


@exhibit("configuration is not JSON")
def _empty_configuration(parts: Parts) -> bytes:
    parts.header["__metadata__"]["edgegru"] = ""
    return parts.pack_header()


@exhibit("configuration is nested too deeply")
def _deeply_nested_configuration(parts: Parts) -> bytes:
    parts.header["__metadata__"]["edgegru"] = '{"format":' * 50_000
    return parts.pack_header()


@exhibit("configuration has half a surrogate pair")
def _configuration_with_half_a_character(parts: Parts) -> bytes:
    parts.header["__metadata__"]["edgegru"] = "\ud800"
    return parts.pack_header()


@exhibit("configuration has the name 'scheme' twice in one object")
def _duplicate_field(parts: Parts) -> bytes:
    parts.header["__metadata__"]["edgegru"] = json.dumps(parts.config)[:-1] + ', "scheme": "float32"}'
    return parts.pack_header()


@exhibit("configuration holds -Infinity")
def _infinity_in_the_configuration(parts: Parts) -> None:
    parts.config["input"]["rate"] = -math.inf


@exhibit('configuration is not of format "edgegru"')
def _configuration_is_a_list(parts: Parts) -> None:
    parts.config = [parts.config]


# Top level

setting("another format", "format", "gguf", 'not of format "edgegru"')
without("format", 'not of format "edgegru"')
setting(
    "version of the future",
    "format_version",
    2,
    "format version 2; this reader knows version 1",
    error=FormatVersionError,
)
setting("version 0", "format_version", 0, "has format version 0", error=FormatVersionError)
setting("version is true", "format_version", True, "has format version true", error=FormatVersionError)
setting("version is a fraction", "format_version", 1.0, "has format version 1.0", error=FormatVersionError)
setting("version is text", "format_version", "1", "has format version '1'", error=FormatVersionError)
setting("unknown field", "licence", "MIT", "configuration has an unknown field 'licence'")
setting("terminal escape in a field name", "\x1b[2J", 1, r"unknown field '\x1b[2J'")
for _name in ("scheme", "identity", "input", "nodes", "outputs", "decision"):
    without(_name, f"configuration has no field '{_name}'")
setting("unknown scheme", "scheme", "static-w4a4", "scheme is 'static-w4a4'; expected one of float32, static-w8a8")
setting("scheme is a list", "scheme", ["float32"], "scheme is a list of 1")
setting("short identity", "identity", "ab12", "identity is 'ab12'; expected 64 lower-case hexadecimal digits")
setting("identity in upper case", "identity", "AB" * 32, "expected 64 lower-case hexadecimal digits")
setting("identity with a line end", "identity", "ab" * 32 + "\n", "expected 64 lower-case hexadecimal digits")
setting("identity is a number", "identity", 10**63, "expected 64 lower-case hexadecimal digits")

# Input

setting("no channels", "input.channels", [], "input.channels is a list of 0; expected a list of 2")
setting("too few channels", "input.channels", ["c0"], "input.channels is a list of 1; expected a list of 2")
setting("repeated channel", "input.channels", ["c0", "c0"], "input.channels has an empty or repeated name")
setting("empty channel", "input.channels", ["c0", ""], "input.channels has an empty or repeated name")
setting("channel is a number", "input.channels", ["c0", 1], "input.channels holds 1; expected text")
setting(
    "terminal escape in a channel", "input.channels", ["c0", "\x1b]0;x\x07"], r"input.channels holds '\x1b]0;x\x07'"
)
setting("half a character in a channel", "input.channels", ["c0", "\udc00"], r"input.channels holds '\udc00'")
setting("endless channel name", "input.channels", ["c0", "c" * 201], "text of at most 200 characters")
setting("units of another length", "input.units", ["g"], "input.units is a list of 1; expected a list of 2")
setting("input size zero", "input.size", 0, "input.size is 0; expected an integer from 1 to 16384")
setting("input size true", "input.size", True, "input.size is true; expected an integer")
setting("huge input size", "input.size", 2**31, "input.size is 2147483648; expected an integer from 1 to 16384")
setting("steps of no sample", "input.samples_per_step", 0, "input.samples_per_step is 0; expected an integer from 1")
setting("steps of true samples", "input.samples_per_step", True, "input.samples_per_step is true; expected an integer")
setting("endless steps", "input.samples_per_step", 8193, "samples_per_step is 8193; expected an integer from 1 to 8192")
setting("steps of two samples", "input.samples_per_step", 2, "node 'standardise' reads 2 values; expected the input")
setting("rate zero", "input.rate", 0, "input.rate is 0; expected a number")
setting("rate is text", "input.rate", "50", "input.rate is '50'; expected a number")
setting("rate beyond double precision", "input.rate", 10**400, "input.rate is 1000")
setting("input has an unknown field", "input.gain", 1, "input has an unknown field 'gain'")
setting("input is null", "input", None, "input is null; expected an object")

# Nodes: 0 standardise, 1 gru0 (2 → 3), 2 gru1 (3 → 2), 3 hidden0 (2 → 4), 4 dense (4 → 3), 5 output

setting("nodes are an object", "nodes", {}, "nodes is an object; expected a list of 1 to 256")
setting("no nodes", "nodes", [], "nodes is a list of 0")
setting("too many nodes", "nodes", [{}] * 257, "nodes is a list of 257; expected a list of 1 to 256")
setting("node is text", "nodes.1", "gru", "nodes[1].kind is null")
setting("unknown kind", "nodes.1.kind", "lstm", "nodes[1].kind is 'lstm'; expected one of log_mel, standardise")
setting("kind is a list", "nodes.1.kind", ["gru"], "nodes[1].kind is a list of 1")
setting("kind of another node", "nodes.1.kind", "linear", "nodes[1] has an unknown field")
setting("unknown field of a node", "nodes.1.dropout", 0.5, "nodes[1] has an unknown field 'dropout'")
without("nodes.1.reset", "nodes[1] has no field 'reset'")
without("nodes.4.bias", "nodes[4] has no field 'bias'")
setting("unknown formulation", "nodes.1.reset", "both", "nodes[1].reset is 'both'; expected one of after, before")
setting(
    "unknown activation", "nodes.3.activation", "gelu", "nodes[3].activation is 'gelu'; expected one of linear, relu"
)
setting("unknown gate activation", "nodes.1.gate_activation", "relu", "nodes[1].gate_activation is 'relu'")
setting("unknown candidate", "nodes.1.candidate_activation", "gelu", "nodes[1].candidate_activation is 'gelu'")
setting("bias is a number", "nodes.1.bias", 1, "nodes[1].bias is 1; expected true or false")
setting("epsilon zero", "nodes.2.epsilon", 0, "nodes[2].epsilon is 0; expected a number", good=GOOD_NORMALISED)
without("nodes.2.epsilon", "nodes[2] has no field 'epsilon'", good=GOOD_NORMALISED)
setting(
    "layer normalisation in integers", "scheme", "static-w8a8", "'gru0_normalised' is of kind layer", GOOD_NORMALISED
)
setting("initial state is a number", "nodes.1.initial_state", 1, "nodes[1].initial_state is 1; expected true or false")
setting("initial state without h0", "nodes.1.initial_state", True, "has no tensor 'gru0.h0'")
setting(
    "h0 that nobody asks for", "nodes.1.initial_state", False, "has an unused tensor 'gru0.h0'", good=GOOD_INITIAL_STATE
)
setting("hidden size negative", "nodes.1.hidden_size", -3, "nodes[1].hidden_size is -3; expected an integer from 1")
setting("hidden size fractional", "nodes.1.hidden_size", 3.0, "nodes[1].hidden_size is 3.0; expected an integer")
setting("hidden size huge", "nodes.1.hidden_size", 10**100, "nodes[1].hidden_size is 1000000")
setting("name in upper case", "nodes.1.name", "GRU0", "nodes[1].name is 'GRU0'")
setting("name with a dot", "nodes.1.name", "gru.0", "nodes[1].name is 'gru.0'")
setting("node named x", "nodes.1.name", "x", 'nodes[1].name is "x"')
setting("empty name", "nodes.1.name", "", "nodes[1].name is ''")
setting("two inputs", "nodes.1.inputs", ["standardise", "x"], "nodes[1].inputs is a list of 2; expected a list of 1")
setting("no inputs", "nodes.1.inputs", [], "nodes[1].inputs is a list of 0; expected a list of 1")
setting("inputs are text", "nodes.1.inputs", "standardise", "nodes[1].inputs is 'standardise'; expected a list of 1")
setting("input is a number", "nodes.1.inputs", [0], "nodes[1].inputs[0] is 0")
setting(
    "node reads itself",
    "nodes.1.inputs",
    ["gru0"],
    "node 'gru0' reads 'gru0', which is not before it: the nodes are cyclic",
)
setting("node reads a later one", "nodes.1.inputs", ["gru1"], "node 'gru0' reads 'gru1', which is not before it")
setting("node reads nothing", "nodes.2.inputs", ["gru9"], "node 'gru1' reads 'gru9', a dangling name")
setting("gru reads x", "nodes.1.inputs", ["x"], "node 'gru0' reads 'x'; expected x in the first node only")
setting("standardise reads a node", "nodes.0.inputs", ["gru0"], "node 'standardise' reads 'gru0'")
setting(
    "head reads standardise",
    "nodes.5.inputs",
    ["standardise"],
    "head 'output' reads 'standardise' of kind 'standardise'; expected a linear",
)
setting("wrong input size", "nodes.2.input_size", 4, "node 'gru1' takes 4 values; expected the 3 of 'gru0'")
setting("wrong size of the head", "nodes.5.size", 2, "node 'output' takes 2 values; expected the 3 of 'dense'")
setting("wrong size of standardise", "nodes.0.size", 3, "node 'standardise' reads 3 values; expected the input's 2")
setting("wrong hidden size", "nodes.2.hidden_size", 3, "node 'hidden0' takes 2 values; expected the 3 of 'gru1'")


@exhibit("node name 'gru0' is used 2 times; expected unique names")
def _duplicate_node_name(parts: Parts) -> None:
    parts.node("gru1")["name"] = "gru0"


@exhibit("2 nodes of kind standardise or embedding")
def _two_standardise_nodes(parts: Parts) -> None:
    parts.config["nodes"][1] = {"kind": "standardise", "name": "again", "inputs": ["standardise"], "size": 2}


@exhibit("begin with 'gru' 'gru0'; expected exactly one of them, in the first place")
def _standardise_not_first(parts: Parts) -> None:
    parts.config["nodes"][:2] = parts.config["nodes"][1::-1]


@exhibit("0 nodes of kind standardise or embedding")
def _no_standardise_node(parts: Parts) -> None:
    del parts.config["nodes"][0]


@exhibit("nodes hold no gru")
def _no_gru(parts: Parts) -> None:
    del parts.config["nodes"][1:3]
    parts.node("hidden0")["inputs"] = ["standardise"]


@exhibit("node 'gru1' is read by nobody")
def _unused_node(parts: Parts) -> None:
    parts.config["nodes"][3] |= {"inputs": ["gru0"], "input_size": 3}


@exhibit("node 'late' reads the head 'output'")
def _head_that_is_read(parts: Parts) -> None:
    parts.config["nodes"].append({"kind": "softmax", "name": "late", "inputs": ["output"], "size": 3})


@exhibit("head 'second' is named by 0 outputs; expected one")
def _head_without_output(parts: Parts) -> None:
    parts.config["nodes"].append({"kind": "softmax", "name": "second", "inputs": ["dense"], "size": 3})


@exhibit("head 'output' is named by 2 outputs; expected one")
def _output_named_twice(parts: Parts) -> None:
    parts.config["outputs"] *= 2


# Outputs

setting("no outputs", "outputs", [], "outputs is a list of 0; expected a list of 1 to 16")
setting(
    "output names nothing", "outputs.0.node", "nowhere", "outputs[0] names 'nowhere', which is no node; expected a head"
)
setting("output that is no head", "outputs.0.node", "dense", "outputs[0] names 'dense', which is of kind 'linear'")
setting("unknown target", "outputs.0.target", "all", "outputs[0].target is 'all'; expected one of step_label")
setting("target of another head", "outputs.0.target", "step_value", "target step_value at a softmax head")
setting("too few labels", "outputs.0.labels", ["a", "b"], "outputs[0] has 2 labels; expected the 3 of 'output'")
setting("no labels", "outputs.0.labels", [], "outputs[0].labels is a list of 0")
setting("repeated label", "outputs.0.labels", ["a", "b", "a"], "outputs[0] has a repeated label")
setting("label is null", "outputs.0.labels", ["a", "b", None], "outputs[0].labels holds null; expected text")
setting(
    "output units of another length", "outputs.0.units", ["V"], "outputs[0].units is a list of 1; expected a list of 3"
)
setting(
    "horizon of a label", "outputs.0.horizon", 3, "outputs[0] has horizon 3 and target step_label; expected horizon 0"
)
setting("negative horizon", "outputs.0.horizon", -1, "outputs[0].horizon is -1")
without("outputs.0.labels", "outputs[0] has no field 'labels'")
setting(
    "forecast without horizon", "outputs.0.target", "forecast", "has horizon 0; expected a divisor", GOOD_INTEGER_AFTER
)


@exhibit("has horizon 2; expected a divisor of its 3 values", GOOD_INTEGER_AFTER)
def _forecast_of_a_fraction(parts: Parts) -> None:
    parts.config["outputs"][0] |= {"target": "forecast", "horizon": 2}


# Data, provenance

setting("data is a list", "data", [], "data is a list of 0; expected an object")
setting("deep data", "data", json.loads('{"a":' * 9 + "1" + "}" * 9), "is nested too deeply; expected at most 8 levels")
setting("very deep data", "data", json.loads('{"a":' + "[" * 400 + "]" * 400 + "}"), "nested too deeply")
setting("number beyond 64 bits", "provenance", {"seed": 2**70}, "provenance.seed is 1180591620717411303424")
setting("terminal escape in provenance", "provenance", {"by": "\x1b[31m"}, r"provenance.by is '\x1b[31m'")
setting("terminal escape in a name", "provenance", {"\x1b[31m": 1}, r"a name in provenance is '\x1b[31m'")

# Tensors


@exhibit("has no tensor 'gru0.bias_hh'; expected it from the configuration")
def _missing_tensor(parts: Parts) -> None:
    parts.remove_tensor("gru0.bias_hh")


@exhibit("has an unused tensor 'gru2.weight_ih'")
def _unused_tensor(parts: Parts) -> None:
    parts.add_tensor("gru2.weight_ih", "F32", [9, 3], 108)


@exhibit(r"has an unused tensor '\x1b[2J'")
def _unused_tensor_with_a_terminal_escape(parts: Parts) -> None:
    parts.add_tensor("\x1b[2J", "F32", [0], 0)


@exhibit("has an unused tensor 'gru0.bias_")
def _bias_of_a_gru_without_bias(parts: Parts) -> None:
    parts.node("gru0")["bias"] = False


@exhibit("tensor 'gru0.weight_hh' holds nan at index 4; expected finite numbers")
def _nan_weight(parts: Parts) -> None:
    parts.write("gru0.weight_hh", 4, math.nan)


@exhibit("tensor 'dense.bias' holds -inf at index 2; expected finite numbers")
def _infinite_bias(parts: Parts) -> None:
    parts.write("dense.bias", 2, -math.inf)


@exhibit("tensor 'dense.weight' holds inf at index 0")
def _infinities_that_cancel(parts: Parts) -> None:
    parts.write("dense.weight", 0, math.inf)
    parts.write("dense.weight", 1, -math.inf)


@exhibit("tensor 'standardise.mean' holds nan at index 1")
def _nan_mean(parts: Parts) -> None:
    parts.write("standardise.mean", 1, math.nan)


@exhibit("tensor 'standardise.std' holds 0 at index 1; expected positive numbers")
def _zero_std(parts: Parts) -> None:
    parts.write("standardise.std", 1, 0.0)


@exhibit("tensor 'standardise.std' holds -1 at index 0; expected positive numbers")
def _negative_std(parts: Parts) -> None:
    parts.write("standardise.std", 0, -1.0)


@exhibit("tensor 'standardise.std' holds 1e-35 at index 0; expected positive numbers")
def _std_too_small_to_divide_by(parts: Parts) -> None:
    parts.write("standardise.std", 0, 1e-35)


# Integer schemes: GOOD_INTEGER has standardise, input0 (tanh), gru0 (reset before), dense, output (softmax)

without("quantization", "has no field quantization; expected it for scheme static-w8a8", GOOD_INTEGER)
setting("quantization of a float model", "quantization", {"operand_scale": {}, "observer": "minmax", "margin": 1.0},
        "has a field quantization and scheme float32")  # fmt: skip
setting("operand scale is a list", "quantization.operand_scale", [], "operand_scale is a list of 0", GOOD_INTEGER)
without("quantization.margin", "quantization has no field 'margin'", GOOD_INTEGER)
setting("margin zero", "quantization.margin", 0, "quantization.margin is 0", GOOD_INTEGER)
setting("observer is a number", "quantization.observer", 1, "quantization.observer is 1", GOOD_INTEGER)
for _name in ("standardise", "input0", "gru0"):
    without(f"quantization.operand_scale.{_name}", f"operand_scale has no entry '{_name}'", GOOD_INTEGER)
setting(
    "unused operand scale",
    "quantization.operand_scale.dense",
    1.0,
    "operand_scale has an unused entry 'dense'",
    GOOD_INTEGER,
)
setting("operand scale zero", "quantization.operand_scale.gru0", 0.0, "operand_scale.gru0 is 0.0", GOOD_INTEGER)
setting("operand scale negative", "quantization.operand_scale.gru0", -0.1, "operand_scale.gru0 is -0.1", GOOD_INTEGER)
setting("operand scale tiny", "quantization.operand_scale.gru0", 1e-300, "operand_scale.gru0 is 1e-300", GOOD_INTEGER)
setting(
    "operand scale of no name",
    "quantization.operand_scale.",
    1.0,
    "a name in quantization.operand_scale is ''",
    GOOD_INTEGER,
)
setting("scheme of other tensors", "scheme", "float32", "has a field quantization and scheme float32", GOOD_INTEGER)


@exhibit("operand_scale has no entry 'gru0.rh'", GOOD_INTEGER)
def _no_scale_of_r_times_h(parts: Parts) -> None:
    del parts.config["quantization"]["operand_scale"]["gru0.rh"]


@exhibit("operand_scale has an unused entry 'gru0.rh'", GOOD_INTEGER_AFTER)
def _scale_of_r_times_h_without_need(parts: Parts) -> None:
    parts.config["quantization"]["operand_scale"]["gru0.rh"] = 1 / 127


@exhibit("tensor 'gru0.weight_hh' holds -128 at index 5; expected -127 to 127", GOOD_INTEGER)
def _weight_of_minus_128(parts: Parts) -> None:
    parts.write("gru0.weight_hh", 5, -128)


@exhibit("tensor 'gru0.weight_ih_scale' holds 0 at index 8; expected positive numbers", GOOD_INTEGER)
def _weight_scale_zero(parts: Parts) -> None:
    parts.write("gru0.weight_ih_scale", 8, 0.0)


@exhibit("tensor 'gru0.weight_hh_scale' holds inf at index 0; expected finite numbers", GOOD_INTEGER)
def _weight_scale_infinite(parts: Parts) -> None:
    parts.write("gru0.weight_hh_scale", 0, math.inf)


@exhibit("tensor 'dense.output_scale' holds -1 at index 1; expected positive numbers", GOOD_INTEGER_AFTER)
def _output_scale_negative(parts: Parts) -> None:
    parts.write("dense.output_scale", 1, -1.0)


@exhibit("row 0 of 'gru0.weight_ih' lets an accumulator reach", GOOD_INTEGER)
def _bias_that_overflows(parts: Parts) -> None:
    parts.write("gru0.bias_ih", 0, 2**31 - 1)


@exhibit("row 6 of 'gru0.weight_hh' lets an accumulator reach", GOOD_INTEGER_AFTER)
def _most_negative_bias(parts: Parts) -> None:
    parts.write("gru0.bias_hn", 0, -(2**31))


@exhibit("has no tensor 'gru0.bias_hn'", GOOD_INTEGER_AFTER)
def _no_bias_inside_the_reset(parts: Parts) -> None:
    parts.remove_tensor("gru0.bias_hn")


@exhibit("has no tensor 'dense.output_scale'", GOOD_INTEGER_AFTER)
def _no_output_scale(parts: Parts) -> None:
    parts.remove_tensor("dense.output_scale")


@exhibit("has an unused tensor 'dense.output_scale'", GOOD_INTEGER)
def _output_scale_of_probabilities(parts: Parts) -> None:
    parts.add_tensor("dense.output_scale", "F32", [3], 12)


@exhibit("tensor 'gru0.weight_ih' is float32 (9, 4); expected int8 (9, 4)", GOOD_INTEGER)
def _float_weight_in_an_integer_scheme(parts: Parts) -> None:
    parts.remove_tensor("gru0.weight_ih")
    parts.add_tensor("gru0.weight_ih", "F32", [9, 4], 144)


# Every kind of node: GOOD_MIXED is static-w8a8 with standardise, conv0, gru0 (relu), both (concatenate), hidden0, sum,
# gate, product, dense, output; gru0 is kept at 16 bits.

setting("no kernel", "nodes.1.kernel_size", 0, "nodes[1].kernel_size is 0; expected an integer from 1", GOOD_MIXED)
setting("negative dilation", "nodes.1.dilation", -2, "nodes[1].dilation is -2; expected an integer from 1", GOOD_MIXED)
setting("another kernel", "nodes.1.kernel_size", 4, "tensor 'conv0.weight' is int8 (5, 3, 3)", GOOD_MIXED)
setting("concatenation of one", "nodes.3.inputs", ["gru0"], "expected a list of 2 to 64", GOOD_MIXED)
setting("wrong concatenation", "nodes.3.size", 9, "node 'both' has size 9; expected the 8 of its inputs", GOOD_MIXED)
setting("sum of three", "nodes.5.inputs", ["hidden0", "gru0", "conv0"], "expected a list of 2", GOOD_MIXED)
setting("sum of itself", "nodes.5.inputs", ["sum", "gru0"], "reads 'sum', which is not before it", GOOD_MIXED)
setting("sum of other sizes", "nodes.5.inputs", ["gru0", "both"], "takes 5 values; expected the 8 of", GOOD_MIXED)
setting("product with x", "nodes.7.inputs", ["sum", "x"], "node 'product' reads 'x'; expected x in the first node only",
        GOOD_MIXED)  # fmt: skip
setting("head reads a concatenation", "nodes.9.inputs", ["both"], "reads 'both' of kind 'concatenate'", GOOD_MIXED)
setting("kept without need", "quantization.keep", {"dense": "static-w8a16"}, "keep has 'dense'", GOOD_MIXED)
setting("kept float", "quantization.keep.gru0", "float32", "quantization.keep has 'gru0': float32", GOOD_MIXED)
setting("kept at no scheme", "quantization.keep.gru0", "int4", "quantization.keep.gru0 is 'int4'", GOOD_MIXED)
setting("kept as the rest", "quantization.keep.gru0", "static-w8a8", "has 'gru0': static-w8a8", GOOD_MIXED)
setting("keep is a list", "quantization.keep", ["gru0"], "quantization.keep is a list of 1", GOOD_MIXED)
setting("clips beyond one", "quantization.clips", {"gru0": 2}, "quantization.clips.gru0 is 2", GOOD_MIXED)
setting("scale of an unbounded state", "quantization.operand_scale.gru0", 0.01, "unused entry 'gru0'", GOOD_MIXED)
setting("endless table", "nodes.0.num_embeddings", 2**20 + 1, "nodes[0].num_embeddings is 1048577", GOOD_EMBEDDING)
setting("embedding of two channels", "input", {"size": 2, "channels": ["a", "b"]},
        "node 'embedding' reads 1 values; expected the input's 2", GOOD_EMBEDDING)  # fmt: skip
setting("tokens of a softmax", "nodes.9.kind", "softmax", "target next_token at a softmax head", GOOD_TOKENS)
setting("logarithms of classes", "outputs.0", {"node": "output", "target": "step_label", "labels": [*"abcdefghijkl"]},
        "target step_label at a log_softmax head; expected next_token", GOOD_TOKENS)  # fmt: skip
setting("labels of tokens", "outputs.0.labels", [*"abcdefghijkl"], "outputs[0] has an unknown field 'labels'",
        GOOD_TOKENS)  # fmt: skip
setting("horizon of tokens", "outputs.0.horizon", 0, "outputs[0] has an unknown field 'horizon'", GOOD_TOKENS)
setting("scales in dynamic-w8", "quantization.operand_scale", {"gru0": 0.1}, "unused entry 'gru0'; expected none",
        GOOD_DYNAMIC)  # fmt: skip
setting("float gru in dynamic-w8", "quantization.keep", {"gru0": "float32"}, "keep has 'gru0': float32", GOOD_DYNAMIC)


@exhibit("outputs[0] has target next_token in a model without an embedding; expected one")
def _tokens_of_what_is_no_token(parts: Parts) -> None:
    parts.config["nodes"][5]["kind"] = "log_softmax"
    parts.config["outputs"] = [{"node": "output", "target": "next_token"}]


@exhibit("outputs[0] has target next_token and 12 numbers; expected the embedding's 13", GOOD_TOKENS)
def _tokens_that_are_never_given(parts: Parts) -> None:
    parts.config["nodes"][0]["num_embeddings"] = 13


@exhibit("tensor 'gru0.full_scale' holds 0 at index 2; expected positive numbers", GOOD_MIXED)
def _full_scale_zero(parts: Parts) -> None:
    parts.write("gru0.full_scale", 2, 0.0)


@exhibit("has no tensor 'product.full_scale'", GOOD_MIXED)
def _no_full_scale(parts: Parts) -> None:
    parts.remove_tensor("product.full_scale")


@exhibit("has an unused tensor 'dense.full_scale'", GOOD_MIXED)
def _full_scale_of_what_nobody_multiplies(parts: Parts) -> None:
    parts.add_tensor("dense.full_scale", "F32", [4], 16)


@exhibit("tensor 'gru0.weight_ih' is float32 (15, 5); expected int8 (15, 5)", GOOD_DYNAMIC)
def _float_recurrent_weight_in_dynamic_w8(parts: Parts) -> None:
    parts.remove_tensor("gru0.weight_ih")
    parts.add_tensor("gru0.weight_ih", "F32", [15, 5], 300)


@exhibit("row 1 of 'dense.weight' lets an accumulator reach", GOOD_WIDE)
def _sixteen_bit_operands_of_the_largest_weights(parts: Parts) -> None:
    for column in range(600):
        parts.write("dense.weight", 600 + column, 127)


@exhibit("tensor 'gru0.h0' holds -1.5 at index 2; expected a state from -1 to 1", GOOD_INITIAL_STATE)
def _h0_that_no_state_reaches(parts: Parts) -> None:
    parts.write("gru0.h0", 2, -1.5)


@exhibit("tensor 'gru0.h0' holds nan at index 0", GOOD_INITIAL_STATE)
def _h0_that_is_no_number(parts: Parts) -> None:
    parts.write("gru0.h0", 0, math.nan)
