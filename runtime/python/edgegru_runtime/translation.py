"""Translation on the device: an encoder reads a sentence, a decoder with attention says it again (docs/translating.md).

Standard library only. What is said is the same on every engine of static schemes.
"""

from __future__ import annotations

import os
import sys
from itertools import pairwise
from math import inf

from edgegru_runtime.choosing import beam as continuations
from edgegru_runtime.errors import ArtifactError, InputError
from edgegru_runtime.exported import EXPORTED_SUFFIXES
from edgegru_runtime.model import Model, load
from edgegru_runtime.model_config import NEXT_TOKEN
from edgegru_runtime.plain_data import dataclass

TYPE_CHECKING = False  # see plain_data.py
if TYPE_CHECKING:
    from edgegru_runtime.streams import Streams
    from edgegru_runtime.tokenizer import Tokenizer

ENCODER, DECODER = "encoder", "decoder"  # how the names of a translator's files begin
SUFFIX = ".safetensors"
DEFAULT_BEAM = 4
LONGER = 2, 10  # tokens that are said at most: so many a token that was read, and so many more
_LEFT, _RIGHT, _BOTH = ".,!?;:%)]}", "([{", "-'’/"  # characters that take no space before, behind, on both sides


@dataclass(frozen=True)
class Translation:
    """``tokens`` of the target, without its end; ``score``: log2 of their probability, end included, a token."""

    text: str
    tokens: list[int]
    score: float


@dataclass(frozen=True)
class _Hypothesis:
    """``score``: log2 of the probability of its tokens, 16 fractional bits."""

    tokens: list[int]
    score: int


class Translator:
    """A pair of models that translates sentences, one at a time. Owned by one thread, like a stream."""

    def __init__(self, encoder: Model, decoder: Model) -> None:
        """Raises ArtifactError for models that are no pair: two outputs that a decoder's attention can remember, and a
        decoder that was made for this encoder.
        """
        self.encoder, self.decoder = encoder, decoder
        attention = decoder.config.attention
        targets = [output.target for output in decoder.config.outputs]
        if attention is None or targets != [NEXT_TOKEN]:
            raise ArtifactError("the decoder is no model with attention that gives the next token, expected such a one")
        if encoder.output_sizes != (attention.output_size, attention.size):
            found = f"the encoder gives outputs of {', '.join(map(str, encoder.output_sizes))} numbers"
            raise ArtifactError(f"{found}, expected {attention.output_size} and {attention.size} for the decoder")
        if decoder.config.encoder not in (None, encoder.config.identity):
            found = f"the decoder belongs to the encoder {str(decoder.config.encoder)[:12]}…"
            raise ArtifactError(f"{found}, expected the one that is here, {encoder.config.identity[:12]}…")
        self.length = attention.length
        self.source, self.target = _tokenizer(encoder, ENCODER), _tokenizer(decoder, DECODER)
        end = self.target.config.end
        if end is None:
            raise ArtifactError("the decoder's tokenizer has no end, expected a token for it")
        self._end, self._unknown = end, self.target.config.unknown
        self._reader = encoder.stream()
        self._streams: tuple[Streams, Streams] | None = None  # of the hypotheses of this step, and of the next

    def translate(self, text: str, beam: int = DEFAULT_BEAM) -> Translation:
        """The sentence in the other language.

        ``beam``: hypotheses that are kept; 1: the most probable token each time. The one with the largest mean of the
        logarithms of its tokens' probabilities is given. Raises InputError for a text without a token, or of more than
        attention can remember, and for a ``beam`` below 1.
        """
        if beam < 1:
            raise InputError(f"the beam is {beam}, expected 1 or more hypotheses")
        read = self.source.encode(text)
        if not 1 <= len(read) <= self.length:
            raise InputError(f"the sentence has {len(read)} tokens, expected 1 to {self.length}")
        now, later = self._streams_of(beam)
        self._reader.reset()
        now[0].reset()
        for token in read:
            now[0].remember(*self._reader.step([token]))
        live, done = [_Hypothesis([], 0)], list[_Hypothesis]()
        for _ in range(LONGER[0] * len(read) + LONGER[1]):
            last = [[hypothesis.tokens[-1] if hypothesis.tokens else self._end] for hypothesis in live]
            rows = self._allowed(now.step(last, which=range(len(live))))
            best = continuations([hypothesis.score for hypothesis in live], rows, 2 * beam)
            parents, following = list[int](), list[_Hypothesis]()
            for place, (parent, token, score) in enumerate(best):
                hypothesis = _Hypothesis([*live[parent].tokens, token], score)
                if token != self._end:
                    if len(following) < beam:
                        parents.append(parent)
                        following.append(hypothesis)
                elif place < beam:
                    done.append(hypothesis)
            live = following
            if len(done) >= beam or not live:
                break
            for place, parent in enumerate(parents):
                later[place].copy_state(now[parent])
            now, later = later, now
        best_one = max(done or live, key=lambda hypothesis: hypothesis.score / len(hypothesis.tokens))
        tokens = [token for token in best_one.tokens if token != self._end]
        mean = best_one.score / len(best_one.tokens) / 2**16
        text = self.target.decode(tokens)
        return Translation(text if self.target.config.kind == "characters" else joined(text), tokens, mean)

    def _allowed(self, rows: memoryview[float]) -> memoryview[float]:
        """The logarithms (hypotheses, tokens) without that of the unknown token, which says nothing."""
        if self._unknown is not None:
            for row in range(len(rows)):
                rows[row, self._unknown] = -inf
        return rows

    def _streams_of(self, beam: int) -> tuple[Streams, Streams]:
        if self._streams is None or len(self._streams[0]) != beam:
            self._streams = self.decoder.streams(beam), self.decoder.streams(beam)
        return self._streams


def load_translator(folder: str | os.PathLike[str], engine: str | None = None) -> Translator:
    """The translator in ``folder``: its files encoder and decoder, artifacts or exported .onnx or .tflite files.

    Raises ArtifactError and EngineError as ``load`` does, and ArtifactError where they are no pair.
    """
    return Translator(*(load(_file(os.fspath(folder), name), engine) for name in (ENCODER, DECODER)))


def _file(folder: str, name: str) -> str:
    """The one file of that name. Raises ArtifactError where there is none, or several."""
    paths = [os.path.join(folder, name + suffix) for suffix in (SUFFIX, *EXPORTED_SUFFIXES)]
    found = [path for path in paths if os.path.isfile(path)]
    if len(found) != 1:
        what = " and ".join(os.path.basename(path) for path in found) or f"no {name}{SUFFIX}"
        raise ArtifactError(f"{folder} has {what}, expected one {name}, an artifact or an exported file")
    return found[0]


def joined(text: str) -> str:
    """Words and punctuation with a space between any two, as people write them: ``a man , well - known`` becomes
    ``a man, well-known``.
    """
    words = text.split()
    result = words[:1]
    for before, word in pairwise(words):
        close = word in _LEFT + _BOTH or before in _RIGHT + _BOTH
        result += [word] if close else [" ", word]
    return "".join(result)


def _tokenizer(model: Model, name: str) -> Tokenizer:
    if model.tokenizer is None:
        raise ArtifactError(f"the {name} has no tokenizer, expected one")
    return model.tokenizer


def translate_file(folder: str, path: str | None, engine: str | None, beam: int) -> None:
    """Print the translation of every line of a file, or of standard input. Raises InputError with the line's number."""
    from edgegru_runtime.standard_output import print_line

    translator = load_translator(folder, engine)
    try:
        lines = sys.stdin if path is None else open(path, encoding="utf-8")  # noqa: SIM115  # closed below
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    number = 0
    with lines:
        try:
            for line in lines:
                number += 1
                print_line(translator.translate(line, beam).text if line.strip() else "")
        except UnicodeDecodeError as error:
            raise InputError(f"byte {error.object[error.start]:#04x} is no UTF-8, expected text") from None
        except InputError as error:
            raise InputError(f"line {number}: {error}") from None
