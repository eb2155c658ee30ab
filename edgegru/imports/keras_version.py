"""Which Keras wrote a model: activations and defaults of one name differ between versions."""

from __future__ import annotations

import re
from dataclasses import dataclass

from edgegru.imports.keras_config import KerasLayer
from edgegru_runtime.errors import ImportModelError


@dataclass(frozen=True)
class Version:
    """Of the Keras that wrote a file: ``text`` as it is there, ``number`` (major, minor), None where nothing tells."""

    text: str | None
    number: tuple[int, int] | None

    def __str__(self) -> str:
        return "Keras" if self.text is None else f"Keras {self.text}"

    @classmethod
    def read(cls, text: str | None, model: KerasLayer) -> Version:
        """From ``keras_version``; without it Keras 3 is told by ``batch_shape``, Keras 2 by ``batch_input_shape``."""
        found = re.fullmatch(r"(\d{1,4})\.(\d{1,4})[\w.+-]{0,40}", text or "")
        if found:
            number = int(found[1]), int(found[2])
            if number < (2, 0):
                raise ImportModelError(f"the file was written by Keras {text}, expected Keras 2.1 or later")
            return cls(text, number)
        layers = [model]
        for layer in layers:
            layers += layer.layers
        if any("batch_shape" in layer.fields.values for layer in layers):
            return cls(None, (3, 0))
        return cls(None, (2, 0) if any("batch_input_shape" in layer.fields.values for layer in layers) else None)

    @property
    def is_tensorflow_2(self) -> bool:
        """Whether GRU means the one of TensorFlow 2 and Keras 3: reset after, sigmoid gates."""
        if self.number is None or self.number >= (2, 4):  # standalone Keras 2 ended with 2.3
            return True
        return "tf" in (self.text or "") and self.number >= (2, 2)
