"""A few golden steps of a model: samples in the types of its C, and what the reference gives out for them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgegru_export.c_engine import Conversion
from edgegru_export.c_text import float_literal, integer_literal, wrapped
from edgegru_export.c_writer import CModel
from edgegru_export.stimulus import gaussian_input, jumping_input
from edgegru_runtime.integer_layers import Head
from edgegru_runtime.integer_reference import IntegerReference
from edgegru_runtime.reference import Reference

USUAL_STEPS, JUMPING_STEPS = 6, 2


@dataclass(frozen=True)
class Golden:
    """Literals of samples (steps, input_size) and outputs (steps, output_size), and how many steps."""

    x: str
    y: str
    steps: int


def golden(model: CModel, float_io: bool) -> Golden:
    """Steps that a new stream takes: like the data and, of integer models, far beyond it too."""
    artifact = model.program.artifact
    inputs = gaussian_input(artifact, USUAL_STEPS)
    engine: IntegerReference | Reference
    if artifact.config.static:
        inputs = np.concatenate([inputs, jumping_input(artifact, JUMPING_STEPS)])
        engine = IntegerReference(artifact)
        if not float_io:
            for layer in engine.layers.values():
                if isinstance(layer, Head):  # the integers themselves
                    layer.output_scale, layer.output_offset = np.ones_like(layer.output_scale), None
    else:
        engine = Reference(artifact)
    state = engine.new_state()
    x, y = [], []
    for sample in inputs:
        outputs = engine.step(state, sample.tolist())  # type: ignore[arg-type]  # each engine takes its own state
        taken = sample if float_io else Conversion(model).take(sample)
        given = [number for output in outputs for number in output]
        x += [float_literal(v) if float_io else integer_literal(int(v)) for v in taken.tolist()]
        y += [float_literal(v) if float_io else integer_literal(round(v)) for v in given]
    return Golden(wrapped(x), wrapped(y), len(inputs))
