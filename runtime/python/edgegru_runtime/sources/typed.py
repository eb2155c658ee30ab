"""A text in bytes that arrive in any pieces: its tokens, as the model's tokenizer makes them (docs/tokenizers.md)."""

from __future__ import annotations

from edgegru_runtime.errors import InputError
from edgegru_runtime.model_config import ModelConfig
from edgegru_runtime.record import Item, Mark, Record, Word
from edgegru_runtime.tokenizer import MARK, Splitter, Tokenizer

_CONTINUING = bytes(range(0x80, 0xC0))  # what the bytes of a character behind its first one are
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"  # stands for bytes that are no UTF-8


class TypedReader:
    """Tokens, each as soon as it is complete; ``place`` counts lines.

    Where the model's state is reset for each recording, a line is one, and its end no token; else all is one text, line
    ends included. Nothing is refused: bytes that are no UTF-8 are a replacement character and a Mark each, as Unicode
    divides them (chapter 3.9, "maximal subparts"). An item's ``end`` is that of its word, so that a word of which
    nothing was handed on is read again. Raises InputError for a model that reads no text.
    """

    unit = "line"
    known = True

    def __init__(self, config: ModelConfig) -> None:
        if config.input.tokenizer is None:
            raise InputError("the format is text and the model reads numbers, expected a model with a tokenizer")
        self.place = 0
        self._tokenizer = Tokenizer(config.input.tokenizer)
        self._splitter = Splitter(config.input.tokenizer)
        self._characters = config.input.tokenizer.kind == "characters"
        self._lines = config.decision.reset == "recording"  # each is one
        self._end = 0  # bytes of whole characters
        self._word_end = 0  # bytes before the word that has begun
        self._begun = b""  # of a character
        self._malformed = 0  # characters in the word that has begun which stand for bytes that were none
        self._return = False  # a carriage return that may belong to a line's end
        self._torn = self._lost = False  # the front of the character, of the character or word that comes is lost

    def feed(self, data: bytes) -> list[Item]:
        self.place = self.place or 1
        if self._torn:
            data = data.lstrip(_CONTINUING)
            self._torn = not data
        data, self._begun = self._begun + data, b""
        items: list[Item] = []
        at = 0
        while at < len(data):
            try:
                self._take(data[at:].decode(), items)
                break
            except UnicodeDecodeError as error:
                self._take(data[at : at + error.start].decode(), items)
                if error.reason == "unexpected end of data":
                    self._begun = data[at + error.start :]
                    break
                self._replace(error.end - error.start, items)
                at += error.end
        return items

    def finish(self, *, complete: bool) -> list[Item]:
        items: list[Item] = []
        if self._begun:
            size, self._begun = len(self._begun), b""
            self._replace(size, items)
        if self._return:
            self._return = False
            self._add("\r", 1, items)
        self._hand_on(self._splitter.finish(), self._end, items)
        if self._lines and not complete:  # somebody else begins another one
            items.append(Mark("recording", self.place, self._end))
        return items

    def missing(self) -> int:
        return 1

    def held(self) -> int:
        return self._end - self._word_end + len(self._begun) + self._return

    def joined(self, held: int) -> None:
        self._torn = True
        if not self._characters:
            self._lost = True
            self._splitter.feed("x")  # in place of the front of a word, which ``_hand_on`` leaves out

    def reconnected(self) -> None:
        """Nothing of what came before was kept."""

    def resumed(self, end: int, place: int) -> None:
        self._splitter.finish()
        self._begun, self._return, self._malformed = b"", False, 0
        self._end = self._word_end = end
        self.place = place

    def _take(self, text: str, items: list[Item]) -> None:
        """Whole characters."""
        for character in text:
            if self._return:
                self._return = False
                if character == "\n":
                    self._end += 1
                else:
                    self._add("\r", 1, items)
            if character == "\n":
                self._end_line(items)
            elif character == "\r" and self._lines:
                self._return = True
            else:
                self._add(character, 1 if character < "\x80" else len(character.encode()), items)

    def _replace(self, size: int, items: list[Item]) -> None:
        """So many bytes that are no UTF-8."""
        if self._return:
            self._return = False
            self._add("\r", 1, items)
        self._add(REPLACEMENT, size, items)
        self._malformed += 1
        if not self._splitter.begun:
            self._tell(items)

    def _tell(self, items: list[Item]) -> None:
        """Marks for the bytes that were no UTF-8, behind the word that they were in."""
        items += [Mark("malformed", self.place, self._word_end)] * self._malformed
        self._malformed = 0

    def _end_line(self, items: list[Item]) -> None:
        if not self._lines:
            self.place += 1
            self._add("\n", 1, items)
            return
        self._hand_on(self._splitter.finish(), self._end, items)
        self.place += 1
        self._end = self._word_end = self._end + 1
        items.append(Mark("recording", self.place, self._end))

    def _add(self, character: str, size: int, items: list[Item]) -> None:
        """A character of ``size`` bytes, and what it makes complete: the word before it, itself, or both."""
        parts = self._splitter.feed(character)
        before, self._end = self._end, self._end + size
        if not parts and not self._splitter.begun:
            self._word_end = self._end
        elif parts and not (self._characters or character.isspace() or character == MARK):
            self._hand_on(parts[:-1], before, items)
            self._hand_on(parts[-1:], self._end, items)
        elif parts:
            self._hand_on(parts, self._end, items)

    def _hand_on(self, parts: list[str], end: int, items: list[Item]) -> None:
        """The tokens of characters or words, of which the last one ends at ``end``."""
        if not parts:
            return
        self._word_end = end
        if self._lost:
            self._lost = False
            parts = parts[1:]
        for one in [parts] if self._characters else [[part] for part in parts]:
            numbers = [number for part in one for number in self._tokenizer.numbers(part)]
            records = [Record([float(number)], None, "", self.place, end) for number in numbers]
            if len(records) == 1:
                items.append(records[0])
            elif records:
                items.append(Word(tuple(records), self.place, end))
        self._tell(items)
