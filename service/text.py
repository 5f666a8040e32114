"""Text that somebody else wrote, made fit to be shown."""


def printable(text: str, *, max_length: int = 64) -> str:
    """`text` on one line of at most `max_length` characters (then `...`), `?` in place of what cannot be shown."""
    shown = "".join(character if character.isprintable() else "?" for character in text[:max_length])
    return shown if len(text) <= max_length else f"{shown}..."
