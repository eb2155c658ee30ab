"""The configuration of a translator: a TOML file as frozen dataclasses; docs/translating.md explains every field."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from edgegru.configuration import check_fields, parse_sections, read_toml, setting
from edgegru_runtime.errors import ConfigError
from edgegru_runtime.tokenizer import KINDS, MAX_TOKENS


@dataclass(frozen=True)
class PairsConfig:
    """How pairs of sentences are read and cut into tokens. Raises ConfigError."""

    path: str = setting("", "the folder; --data wins over it")
    source: str = setting("de", "the language that is read: how its files end")
    target: str = setting("en", "the language that is said: how its files end")
    tokenizer: str = setting("pieces", "characters, words or pieces of words", choices=KINDS)
    vocabulary: int = setting(4000, "tokens of each language at most", minimum=8, maximum=MAX_TOKENS)
    minimum_count: int = setting(1, "how often a character or word occurs at least", minimum=1, maximum=MAX_TOKENS)
    lower: bool = setting(True, "text is lower-cased")

    def __post_init__(self) -> None:
        check_fields(self, "data")
        for name in ("source", "target"):
            language = getattr(self, name)
            if not language or not language.replace("_", "").replace("-", "").isalnum():
                raise ConfigError(f"data.{name} is {language!r}, expected the ending of a file such as 'de'")


@dataclass(frozen=True)
class TranslatorNetworkConfig:
    """Encoder, attention and decoder. Raises ConfigError."""

    embedding_size: int = setting(256, "numbers that stand for a token", minimum=1, maximum=4096)
    hidden_size: int = setting(256, "units of each GRU layer", minimum=1, maximum=4096)
    encoder_layers: int = setting(2, "GRU layers that read; what each gives is added up", minimum=1, maximum=8)
    attention_size: int = setting(128, "numbers that a query and a key have", minimum=1, maximum=512)
    length: int = setting(64, "tokens of a sentence that is read, at most", minimum=1, maximum=1024)
    embedding_dropout: float = setting(0.2, "share of the embeddings' numbers dropped", minimum=0.0, below=1.0)
    dropout: float = setting(0.3, "share of each layer's outputs dropped in training", minimum=0.0, below=1.0)

    def __post_init__(self) -> None:
        check_fields(self, "model")


@dataclass(frozen=True)
class TranslatorTrainingConfig:
    """How a translator is trained. Raises ConfigError."""

    seed: int = setting(0, "of initial weights, order, dropout", minimum=0, maximum=2**32 - 1)
    epochs: int = setting(12, "passes over the training part", minimum=1, maximum=1_000_000)
    batch: int = setting(64, "pairs of like length trained together", minimum=1, maximum=65_536)
    learning_rate: float = setting(0.002, "of Adam, at its highest", above=0.0, maximum=10.0)
    warm_up: float = setting(0.05, "share of training in which the rate rises", minimum=0.0, below=1.0)
    label_smoothing: float = setting(0.1, "probability taken from the true token", minimum=0.0, below=1.0)
    gradient_clip: float = setting(1.0, "largest norm of the gradient; 0 = any", minimum=0.0, maximum=1e6)
    averaging: float = setting(0.999, "decay of the running average of weights", minimum=0.0, below=1.0)
    threads: int = setting(1, "CPU threads", minimum=1, maximum=1024)

    def __post_init__(self) -> None:
        check_fields(self, "training")


@dataclass(frozen=True)
class TranslatorConfig:
    """A whole configuration file."""

    data: PairsConfig = field(default_factory=PairsConfig)
    model: TranslatorNetworkConfig = field(default_factory=TranslatorNetworkConfig)
    training: TranslatorTrainingConfig = field(default_factory=TranslatorTrainingConfig)


SECTIONS: dict[str, type] = {
    "data": PairsConfig,
    "model": TranslatorNetworkConfig,
    "training": TranslatorTrainingConfig,
}


def load_translator_config(path: str | Path) -> TranslatorConfig:
    """Read a TOML file. Raises ConfigError with the file's name for whatever is wrong in it."""
    return read_toml(path, lambda document: TranslatorConfig(**parse_sections(document, SECTIONS)))
