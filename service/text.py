"""Text that somebody else wrote, made fit to be shown."""

# Parts of words in Persian, Hindi and others, and of many emoji; `str.isprintable` takes them for no letters.
_JOINERS = dict.fromkeys(map(ord, "\u200c\u200d"))


def is_printable(text: str) -> bool:
    """Whether all of it can be shown, on one line."""
    return text.translate(_JOINERS).isprintable()


def one_line(text: str, *, instead: str = " ") -> str:
    """`text` with `instead` in place of every character that cannot be shown, line breaks included."""
    return text if text.isprintable() else "".join(each if is_printable(each) else instead for each in text)


def printable(text: str, *, max_length: int = 64) -> str:
    """`text` on one line of at most `max_length` characters (then `...`), `?` in place of what cannot be shown."""
    shown = one_line(text[:max_length], instead="?")
    return shown if len(text) <= max_length else f"{shown}..."


def escaped(text: str) -> str:
    """`text` with an escape in place of every character that cannot be shown, but for line breaks and tabs."""
    if text.isprintable():
        return text
    return "".join(each if is_printable(each) or each in "\n\t" else ascii(each)[1:-1] for each in text)
