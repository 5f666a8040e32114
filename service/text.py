"""Text that somebody else wrote, made fit to be shown."""


def one_line(text: str, *, instead: str = " ") -> str:
    """`text` with `instead` in place of every character that cannot be shown, line breaks included."""
    return text if text.isprintable() else "".join(each if each.isprintable() else instead for each in text)


def printable(text: str, *, max_length: int = 64) -> str:
    """`text` on one line of at most `max_length` characters (then `...`), `?` in place of what cannot be shown."""
    shown = one_line(text[:max_length], instead="?")
    return shown if len(text) <= max_length else f"{shown}..."
