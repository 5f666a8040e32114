"""Long JSON documents, part by part: no more of one is in memory than is asked for, and others get their turn."""

import re
from codecs import getincrementaldecoder
from collections.abc import Callable, Iterator
from typing import Any

import ijson

# Keys, values and brackets. A document of real records has a tenth of that in its 16 MiB.
_MAX_PARTS = 3_000_000
_CHECKED_BYTES = 1 << 20
# At most half a millisecond of ijson's, in which nobody else has a turn, whatever they hold.
_READ_BYTES = 8 << 10
# Of one text; what we keep of any is far shorter.
_MAX_TEXT_BYTES = 5 << 20
_BACKSLASH = ord("\\")
_REST_OF_TEXT = re.compile(rb'[^\\"]*+(?:\\.[^\\"]*+)*+"?', re.DOTALL)


class InvalidDocument(ValueError):
    """What upstream sent cannot be read as what was asked for."""


def parts(body: bytes | bytearray, parse: Callable[..., Iterator[Any]]) -> Iterator[Any]:
    """What `parse`, a function of ijson's, finds in a document. Raises `InvalidDocument` when that is no JSON.

    A whole number beyond 64 bits is nonsense here, which it is not to `json.loads`: ijson's C code goes astray when
    Python refuses to make a number of what it read, and so it makes floats.
    """
    try:
        _check_encoding(body)
        source = _Source(body)
        for number, part in enumerate(parse(source, use_float=True)):
            source.is_within_text = False
            if number > _MAX_PARTS:
                raise InvalidDocument("it has too many parts")
            yield part
    except (ijson.JSONError, UnicodeDecodeError) as error:
        raise InvalidDocument("it is not JSON") from error


class _Source:
    """A file of Python's: with each call of `read` other threads may get their turn, which they do not in ijson.

    A text is taken apart anew with each call that it spans: so each gives twice as much of it, and it has an end.
    """

    def __init__(self, body: bytes | bytearray) -> None:
        self._body = body
        self._position = 3 if body.startswith(b"\xef\xbb\xbf") else 0
        self._size = self._text_bytes = 0
        self.is_within_text = False
        """No part has been read since the last call."""

    def read(self, size: int) -> bytes:
        if size == 0:  # asked to see whether it gives bytes
            return b""
        start = self._position
        if self.is_within_text:
            self._size *= 2
            self._position = self._end_of_text(start, start + self._size)
            self._text_bytes += self._position - start
        else:
            self._size, self._text_bytes = _READ_BYTES, 0
            self._position = start + self._size
        if self._text_bytes > _MAX_TEXT_BYTES:
            raise InvalidDocument("it has too long a text")
        chunk = bytes(self._body[start : self._position])
        self.is_within_text = not chunk.isspace()
        return chunk

    def _end_of_text(self, start: int, limit: int) -> int:
        """Where the text that goes on at `start` ends, or `limit`: what follows it is no text, and comes by itself."""
        quote = self._body.find(b'"', start, limit)
        if quote < 0:
            return limit
        if self._body[start - 1] == _BACKSLASH:  # whether that one is escaped itself is not known
            return quote + 1
        text = _REST_OF_TEXT.match(self._body, start, limit)
        return text.end() if text is not None else limit


def _check_encoding(body: bytes | bytearray) -> None:
    """Raises `UnicodeDecodeError` for what is no UTF-8; ijson does not look closely."""
    decoder = getincrementaldecoder("utf-8")()
    for start in range(0, len(body), _CHECKED_BYTES):
        decoder.decode(body[start : start + _CHECKED_BYTES])
    decoder.decode(b"", final=True)
