"""How the nodes of a model must fit together: one that reads the input, layers, then heads, no cycle, no loose end."""

from __future__ import annotations

from edgegru_runtime.errors import ArtifactError
from edgegru_runtime.model_config import (
    NEXT_TOKEN,
    AttentionNode,
    ConcatenateNode,
    ConvolutionNode,
    ElementwiseNode,
    EmbeddingNode,
    GruNode,
    HeadNode,
    LayerNormalisationNode,
    LinearNode,
    LogMelNode,
    ModelConfig,
    Node,
    OutputConfig,
    ProductNode,
    StandardiseNode,
)

INPUT = "x"
MAX_MEMORY = 2**22  # numbers that attention remembers
EntryNode = StandardiseNode | EmbeddingNode  # what reads the input, or a front end's value
# What a head may read.
_HEAD_SOURCES = (LinearNode, ConvolutionNode, GruNode, ElementwiseNode, LayerNormalisationNode)
# What each kind of head may be asked for: class probabilities, tokens, or values.
_HEAD_TARGETS = {
    "softmax": ("step_label", "recording_label"),
    "log_softmax": (NEXT_TOKEN,),
    "sigmoid": ("step_label", "recording_label", "step_labels"),
    "identity": ("step_value", "recording_value", "forecast"),
}


def check_graph(config: ModelConfig) -> None:
    """Raise ``ArtifactError``, naming the node, unless nodes and outputs of a configuration fit together."""
    names = [node.name for node in config.nodes]
    for name in names:
        if names.count(name) > 1:
            raise ArtifactError(f"node name {name!r} is used {names.count(name)} times; expected unique names")
    _check_first(config)
    if not any(isinstance(node, GruNode) for node in config.nodes):
        raise ArtifactError("nodes hold no gru; expected at least one")

    _check_attention(config)
    known: dict[str, Node] = {}
    for node in config.nodes:
        _check_input(node, known, names)
        known[node.name] = node
    for index, output in enumerate(config.outputs):
        _check_output(output, f"outputs[{index}]", known)
    _check_all_used(config)


def _check_first(config: ModelConfig) -> None:
    """One node reads the input; where that is a front end, a standardise node alone reads its value."""
    first, front_end = config.nodes[0], config.front_end
    for node in config.nodes[1:]:
        if isinstance(node, LogMelNode):
            raise ArtifactError(f"front end {node.name!r} is not the first node; expected it in the first place")
    behind = config.nodes if front_end is None else config.nodes[1:]
    entries = sum(isinstance(node, EntryNode) for node in behind)
    if entries != 1 or not isinstance(behind[0], EntryNode):
        where = "the first place" if front_end is None else f"the place behind {first.name!r}"
        begin = f"begin with {first.kind!r} {first.name!r}" if front_end is None else "have a front end"
        raise ArtifactError(
            f"nodes hold {entries} nodes of kind standardise or embedding and {begin}; expected exactly one of them, in"
            f" {where}"
        )
    step, size = config.input.step_size, config.input.size
    if front_end is None:
        width = first.size if isinstance(first, StandardiseNode) else 1
    else:
        width = front_end.input_size
        readers = [node for node in config.nodes if front_end.name in node.inputs]
        if len(readers) != 1 or not isinstance(readers[0], StandardiseNode):
            found = ", ".join(repr(node.name) for node in readers) or "nobody"
            raise ArtifactError(f"front end {first.name!r} is read by {found}; expected one standardise node")
        if size != 1:
            raise ArtifactError(f"front end {first.name!r} reads an input of {size} channels; expected one channel")
    if width != step:
        raise ArtifactError(f"node {first.name!r} reads {width} values; expected the input's {step}")
    if config.input.tokenizer is not None:
        count, rows = len(config.input.tokenizer.tokens), getattr(first, "num_embeddings", 0)
        if count != rows:
            reader = f"the {rows} rows of embedding {first.name!r}" if rows else "an embedding in the first place"
            raise ArtifactError(f"input.tokenizer has {count} tokens; expected {reader}")


def _check_attention(config: ModelConfig) -> None:
    """One memory, of a size that a device can have, and an encoder only of a model that has one."""
    found = [node for node in config.nodes if isinstance(node, AttentionNode)]
    if len(found) > 1:
        raise ArtifactError(f"nodes hold {len(found)} nodes of kind attention; expected one at most")
    if not found and config.encoder is not None:
        raise ArtifactError("has a field encoder and no attention node; expected it only with one")
    if found and found[0].state_size > MAX_MEMORY:
        node = found[0]
        kept = f"{node.length} rows of {node.row_size} numbers"
        raise ArtifactError(f"node {node.name!r} remembers {kept}; expected at most {MAX_MEMORY} numbers")


def _check_input(node: Node, earlier: dict[str, Node], names: list[str]) -> None:
    widths = []
    if not earlier:
        if node.inputs[0] != INPUT:
            raise ArtifactError(f"node {node.name!r} reads {node.inputs[0]!r}; expected x in the first node only")
        return
    for read in node.inputs:
        if read == INPUT:
            raise ArtifactError(f"node {node.name!r} reads 'x'; expected x in the first node only")
        if read not in earlier:
            if read in names:
                raise ArtifactError(f"node {node.name!r} reads {read!r}, which is not before it: the nodes are cyclic")
            raise ArtifactError(f"node {node.name!r} reads {read!r}, a dangling name; expected an earlier node")
        source = earlier[read]
        if isinstance(source, HeadNode):
            raise ArtifactError(f"node {node.name!r} reads the head {read!r}; expected heads to be read by nobody")
        if isinstance(node, HeadNode) and not isinstance(source, _HEAD_SOURCES):
            expected = "expected a linear, convolution, gru, add, multiply or layer_normalisation node"
            raise ArtifactError(f"head {node.name!r} reads {read!r} of kind {source.kind!r}; {expected}")
        widths.append(source.output_size)
    if isinstance(node, ConcatenateNode):
        if node.size != sum(widths):
            raise ArtifactError(f"node {node.name!r} has size {node.size}; expected the {sum(widths)} of its inputs")
        return
    assert not isinstance(node, (LogMelNode, EmbeddingNode))  # which are in the first place
    taken = node.input_size if isinstance(node, ProductNode) else node.size
    for read, width in zip(node.inputs, widths, strict=True):
        if taken != width:
            raise ArtifactError(f"node {node.name!r} takes {taken} values; expected the {width} of {read!r}")


def _check_output(output: OutputConfig, at: str, nodes: dict[str, Node]) -> None:
    head = nodes.get(output.node)
    if not isinstance(head, HeadNode):
        found = "no node" if head is None else f"of kind {head.kind!r}"
        raise ArtifactError(f"{at} names {output.node!r}, which is {found}; expected a head")
    if output.target not in _HEAD_TARGETS[head.kind]:
        expected = " or ".join(_HEAD_TARGETS[head.kind])
        raise ArtifactError(f"{at} has target {output.target} at a {head.kind} head; expected {expected}")
    if output.target == NEXT_TOKEN:
        _check_tokens(output, at, head, nodes)
    elif len(output.labels) != head.size:
        raise ArtifactError(f"{at} has {len(output.labels)} labels; expected the {head.size} of {output.node!r}")
    if output.target.endswith(("_label", "_labels")) and len(set(output.labels)) != len(output.labels):
        raise ArtifactError(f"{at} has a repeated label; expected a different label for each class")
    if output.target == "forecast":
        if output.horizon < 1 or head.size % output.horizon:
            raise ArtifactError(f"{at} has horizon {output.horizon}; expected a divisor of its {head.size} values")
    elif output.horizon:
        raise ArtifactError(f"{at} has horizon {output.horizon} and target {output.target}; expected horizon 0")


def _check_tokens(output: OutputConfig, at: str, head: HeadNode, nodes: dict[str, Node]) -> None:
    """A number for each token that the model reads, which has no other name."""
    embeddings = [node for node in nodes.values() if isinstance(node, EmbeddingNode)]
    if not embeddings:
        raise ArtifactError(f"{at} has target {NEXT_TOKEN} in a model without an embedding; expected one")
    rows = embeddings[0].num_embeddings
    if head.size != rows:
        raise ArtifactError(f"{at} has target {NEXT_TOKEN} and {head.size} numbers; expected the embedding's {rows}")
    if output.labels or output.units:
        raise ArtifactError(f"{at} has target {NEXT_TOKEN} and labels or units; expected none")


def _check_all_used(config: ModelConfig) -> None:
    read = {name for node in config.nodes for name in node.inputs}
    shown = [output.node for output in config.outputs]
    for node in config.nodes:
        if isinstance(node, HeadNode):
            if shown.count(node.name) != 1:
                raise ArtifactError(f"head {node.name!r} is named by {shown.count(node.name)} outputs; expected one")
        elif node.name not in read:
            raise ArtifactError(f"node {node.name!r} is read by nobody; expected every node to be used")
