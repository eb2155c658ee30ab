"""Lines of CSV or JSON in bytes that arrive in any pieces."""

from __future__ import annotations

from edgegru_runtime.errors import InputError
from edgegru_runtime.model_config import ModelConfig
from edgegru_runtime.record import Item, Refusal
from edgegru_runtime.samples import shortened
from edgegru_runtime.sources.csv_lines import CsvLines, is_chatter, is_header, split_fields
from edgegru_runtime.sources.fields import control_line
from edgegru_runtime.sources.source import SourceOptions

TYPE_CHECKING = False  # see plain_data.py
if TYPE_CHECKING:
    from edgegru_runtime.sources.json_lines import JsonLines

MAX_LINE_BYTES = 2**20
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class TextReader:
    """Lines, each of which is a record, a message or a refusal; an endless line takes no more than MAX_LINE_BYTES.

    The first line shows the format, and is the header of CSV where it names columns. ``joins``: the first line may be
    half a line, as where one listens to a sensor that was already sending, and others may be what a board says of
    itself when it starts. Those that make no sense are only refused, but for a header that does not fit.
    """

    unit = "line"

    def __init__(self, config: ModelConfig, options: SourceOptions, *, joins: bool = False) -> None:
        self.place = 0
        self._channels = config.input.channels
        self._options = options
        self._joins = joins
        self._first = True  # the next line is the first one of the file or the connection
        self._lines: CsvLines | JsonLines | None = None
        self._end = 0
        self._rest = bytearray()  # of a line that has not ended
        self._skipped = 0  # bytes of a line that is too long to keep
        self._lost = False  # what comes is the rest of a line whose beginning is lost
        if options.columns:
            CsvLines(options.columns, self._channels, options, "the list of columns")

    @property
    def known(self) -> bool:
        return self._lines is not None

    def feed(self, data: bytes) -> list[Item]:
        if self._lost:
            _, ended, data = data.partition(b"\n")
            self._lost = not ended
        if len(data) > MAX_LINE_BYTES:
            pieces = [data[at : at + MAX_LINE_BYTES] for at in range(0, len(data), MAX_LINE_BYTES)]
            return [item for piece in pieces for item in self.feed(piece)]
        newline = data.find(b"\n")
        if newline < 0:
            self._hold(data)
            return []
        items: list[Item] = []
        if self._skipped or len(self._rest) + newline > MAX_LINE_BYTES:  # only the first line of data can be too long
            self._hold(data[:newline])
            items.append(self._too_long(newline=1))
            data = data[newline + 1 :]
            if b"\n" not in data:
                self._hold(data)
                return items
        lines = (bytes(self._rest) + data).split(b"\n") if self._rest else data.split(b"\n")
        self._rest = bytearray(lines.pop())
        return items + self._read(lines)

    def finish(self, *, complete: bool) -> list[Item]:
        rest = bytes(self._rest)
        self._rest.clear()
        if self._skipped:
            return [self._too_long(newline=0)]
        if not rest.strip():
            return []
        if not complete:
            self.place += 1
            self._end += len(rest)
            return [Refusal(f"the input ends within a line of {len(rest)} bytes", self.place, self._end)]
        self._end -= 1  # the newline that is missing
        return self._read([rest])

    def missing(self) -> int:
        return 1

    def held(self) -> int:
        return self._skipped or len(self._rest)

    def joined(self, held: int) -> None:
        self._lost = True

    def reconnected(self) -> None:
        self._first = True

    def resumed(self, end: int, place: int) -> None:
        self._rest.clear()
        self._skipped, self._end, self.place = 0, end, place

    def _hold(self, data: bytes) -> None:
        """Keep a piece of a line, or only its length once the line is too long."""
        if not self._skipped:
            self._rest += data
            if len(self._rest) <= MAX_LINE_BYTES:
                return
            data = bytes(self._rest)
            self._rest.clear()
        self._skipped += len(data)

    def _too_long(self, *, newline: int) -> Refusal:
        """What stands for a line that was too long, and has ended."""
        self.place += 1
        self._end += self._skipped + newline
        refusal = Refusal(f"the line is longer than {MAX_LINE_BYTES} bytes", self.place, self._end)
        self._skipped = 0
        return refusal

    def _read(self, lines: list[bytes]) -> list[Item]:
        """What is in whole lines."""
        items: list[Item] = []
        while lines and (self._first or self._lines is None):
            line = lines.pop(0)
            self.place += 1
            self._end += len(line) + 1
            item = self._first_item(line)
            if item is not None:
                items.append(item)
        if not lines or self._lines is None:
            return items
        read = self._lines.items(lines, self.place, self._end)
        self.place += len(lines)
        self._end += sum(map(len, lines)) + len(lines)
        return items + read if items else read

    def _first_item(self, line: bytes) -> Item | None:
        """What is in a line that may be the first one, with a header; None where that is all, or it is blank."""
        if self._first:
            line = line.removeprefix(_BYTE_ORDER_MARK)
        control = control_line(line, self.place, self._end)
        if control is not None or not line.strip():
            return control
        joined, self._first = self._first and self._joins, False
        known = self.known
        try:
            fields = self._fields(line)
        except InputError as error:
            return Refusal(str(error), self.place, self._end)
        try:
            header = self._learns(fields)
        except InputError as error:
            if known or joined or (self._joins and is_chatter(fields, self._channels)):
                return Refusal(str(error), self.place, self._end)
            raise
        assert self._lines is not None
        item = None if header else self._lines.item(line, self.place, self._end)
        if self._joins and not known and isinstance(item, Refusal):
            self._lines = None
        return item

    def _fields(self, line: bytes) -> list[str] | None:
        """The columns in a first line; None where it is JSON. Raises InputError where it is neither."""
        if isinstance(self._lines, CsvLines) or self._options.format == "csv":
            return split_fields(line)
        is_json = self.known or self._options.format == "jsonl" or line.lstrip()[:1] in (b"{", b"[")
        return None if is_json else split_fields(line)

    def _learns(self, fields: list[str] | None) -> bool:
        """Know the lines from the columns of the first one, and say whether it is a header.

        Raises InputError where these lines cannot hold what is needed.
        """
        channels, options = self._channels, self._options
        if fields is None:
            if options.columns:
                raise InputError("the line is JSON, expected CSV where columns are given")
            if self._lines is None:
                from edgegru_runtime.sources.json_lines import JsonLines

                self._lines = JsonLines(channels, options)
            return False
        if options.columns:
            if fields != list(options.columns) and set(channels) <= set(fields):
                raise InputError(f"the header has other columns, expected {shortened(options.columns)} as given")
            self._lines = CsvLines(options.columns, channels, options)
            return fields == list(options.columns)
        if self._lines is not None:
            if not set(channels) <= set(fields):
                return False
            self._lines = CsvLines(fields, channels, options)
            return True
        if is_header(fields, channels):
            self._lines = CsvLines(fields, channels, options)
            return True
        if len(fields) != len(channels):
            expected = f"{len(channels)}, or a header with {shortened(channels)}"
            raise InputError(f"{len(fields)} columns arrived without a header, expected {expected}")
        self._lines = CsvLines(channels, channels, options, "an input without a header")
        return False
