"""On the device: the words that may come, while one types, or a text that goes on by itself.

    python predict.py MODEL                                   keys of a terminal, or lines of standard input
    python predict.py MODEL --generate 300 --seed 1 --prime "ROMEO:"

In a terminal Tab takes the first word, Backspace takes back, Return begins a line, Ctrl-D ends. Where standard input is
no terminal, each line is answered with the words that may stand at its end. Needs edgegru-runtime alone.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from math import exp, inf, log

from edgegru_runtime import load
from edgegru_runtime.choosing import Sampler, beam
from edgegru_runtime.errors import EdgegruError

BEFORE = ".\n"  # what stands in front of a text: a sentence has ended
MARK = "▁"  # in front of a word's first piece
WIDTH, LONGEST = 12, 24  # ways on at a time, and tokens of a word
ENTER, TAB, ENDS, BACK = "\r\n", "\t", "\x03\x04", "\x7f\b"  # keys of a terminal


class Writer:
    """A text that grows, and what a model of the next token says about what follows."""

    def __init__(self, model) -> None:
        self.tokenizer = model.tokenizer
        config = self.tokenizer.config
        self._model, self._tokens, self._unknown = model, config.tokens, config.unknown
        self._characters, self._pieces = config.kind == "characters", config.kind == "pieces"
        self.clear()

    def clear(self) -> None:
        """Begin a text."""
        self._stream, self._reader, self.word = self._model.stream(), self.tokenizer.reader(), ""
        self._take(self.tokenizer.encode(BEFORE) or [0])

    def write(self, text: str) -> None:
        """Add to the text. What may be the beginning of a word waits in ``word``, until it is one."""
        for character in text:
            self.word += character
            if not self._is_of_word(character):
                self._take(self._reader.feed(self.word))
                self.word = ""

    def words(self, count: int) -> list[tuple[str, float]]:
        """The words that are most probable and begin with ``word``, with their shares in all that were found.

        A beam search over tokens until a word ends. How likely that is, after those tokens, belongs to its score.
        """
        found: dict[str, float] = {}
        texts, scores, rows, states = [""], [0], [self._row], [self._stream.state]
        for begun in range(LONGEST):
            for text, score, row in zip(texts, scores, rows, strict=True):
                ending = sum(exp(value) for token, value in enumerate(row) if self._ends(text, token))
                if text.startswith(self.word) and ending > 0:
                    found[text] = max(found.get(text, -inf), score * log(2) / 2**16 + log(ending))
            best = sorted(found.values(), reverse=True)[:count]
            if len(best) == count and best[-1] > max(scores) * log(2) / 2**16:
                break  # what goes on is less probable already
            rows = [[value if self._goes_on(text, token, begun > 0) else -inf for token, value in enumerate(row)]
                    for text, row in zip(texts, rows, strict=True)]  # fmt: skip
            if all(value == -inf for row in rows for value in row):
                break
            ways = beam(scores, rows, WIDTH)
            streams = self._model.streams(len(ways))
            for stream, (parent, _, _) in zip(streams, ways, strict=True):
                stream.state = states[parent]
            rows = streams.step([[token] for _, token, _ in ways]).tolist()
            texts = [texts[parent] + self._text(token) for parent, token, _ in ways]
            scores, states = [score for *_, score in ways], [stream.state for stream in streams]
        total = sum(map(exp, found.values()))
        order = sorted(found, key=lambda text: (-found[text], text))
        return [(text, exp(found[text]) / total) for text in order[:count]]

    def generate(self, count: int, sampler: Sampler) -> Iterator[str]:
        """``count`` tokens that follow, as they are drawn."""
        self._take(self._reader.feed(self.word) + self._reader.finish())
        self.word = ""
        for _ in range(count):
            row = list(self._row)
            if self._unknown is not None:
                row[self._unknown] = -inf
            token = sampler.choose(row)
            self._take([token])
            text = self._tokens[token]
            yield text if self._characters else text.replace(MARK, " ") if self._pieces else f" {text}"

    def _take(self, numbers: list[int]) -> None:
        for number in numbers:
            self._row = self._stream.step([number])

    def _is_of_word(self, character: str) -> bool:
        """Whether a word may go on with it: to words and pieces it may, unless it is a space."""
        return (character.isalnum() or character == "'") if self._characters else not character.isspace()

    def _text(self, token: int) -> str:
        return self._tokens[token].removeprefix(MARK)

    def _ends(self, text: str, token: int) -> bool:
        """Whether a word ``text`` has ended where ``token`` comes next."""
        if not text or token == self._unknown:
            return False
        if self._characters:
            return not self._is_of_word(self._tokens[token])
        return not self._pieces or self._tokens[token].startswith(MARK)

    def _goes_on(self, text: str, token: int, begun: bool) -> bool:
        """Whether ``token`` may come next in a word, ``text`` where it has ``begun``, that begins as what is typed."""
        if token == self._unknown:
            return False
        piece = self._tokens[token]
        if self._characters and not self._is_of_word(piece):
            return False
        if not self._characters and begun == (piece.startswith(MARK) or not self._pieces):
            return False
        longer = text + piece.removeprefix(MARK)
        return longer.startswith(self.word) or self.word.startswith(longer)


def shown(words: list[tuple[str, float]]) -> str:
    """Words with their shares."""
    return "   ".join(f"{word} {share:.0%}" for word, share in words)


def answer_lines(writer: Writer, count: int) -> None:
    """The words at the end of each line of standard input."""
    for line in sys.stdin:
        writer.clear()
        writer.write(line.rstrip("\n"))
        print(f"{line.rstrip()} … {shown(writer.words(count))}", flush=True)


def answer_keys(writer: Writer, count: int) -> None:
    """A line that is typed, with the words below it after every key."""
    import termios
    import tty

    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    line = ""
    try:
        tty.setcbreak(terminal)
        while True:
            words = writer.words(count)
            sys.stdout.write(f"\r\x1b[J{line}\x1b7\r\n{shown(words)}\x1b8\x1b[?25h")
            sys.stdout.flush()
            key = os.read(terminal, 4).decode(errors="replace")
            if not key or key in ENDS:
                break
            if key in BACK:
                line = line[:-1]
            elif key in ENTER:
                sys.stdout.write(f"\r\x1b[J{line}\n")
                line = ""
            elif key == TAB:
                line += words[0][0][len(writer.word) :] + " " if words else ""
            else:
                line += "".join(filter(str.isprintable, key))
            writer.clear()
            writer.write(line)
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)
        print("\r\x1b[J")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="an artifact, or an exported .onnx or .tflite file")
    parser.add_argument("--engine", help="which computes the model (default: the one that fits the file)")
    parser.add_argument("--words", type=int, default=3, help="how many are shown (default: 3)")
    parser.add_argument("--generate", type=int, metavar="N", help="write N tokens")
    parser.add_argument("--prime", default="", metavar="TEXT", help="that what is written follows")
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn (default: 0)")
    parser.add_argument("--temperature", type=float, default=0.8, help="0: always the most probable (default: 0.8)")
    parser.add_argument("--top-k", type=int, default=20, help="only so many tokens count, 0: all (default: 20)")
    options = parser.parse_args()
    model = load(options.model, options.engine)
    if model.tokenizer is None or model.config.outputs[0].target != "next_token":
        raise EdgegruError(f"{options.model} says no next token, expected a model of text that does")
    writer = Writer(model)
    if options.generate is None:
        (answer_keys if sys.stdin.isatty() else answer_lines)(writer, options.words)
        return
    writer.write(options.prime)
    print(options.prime, end="")
    for text in writer.generate(options.generate, Sampler(options.seed, options.temperature, options.top_k)):
        print(text, end="", flush=True)
    print()


if __name__ == "__main__":
    try:
        main()
    except EdgegruError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
