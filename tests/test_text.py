"""Text of others, made fit to be shown."""

from hypothesis import given
from hypothesis import strategies as st

from service.text import escaped, is_printable, one_line, printable


@given(st.text())
def test_one_line_is_printable_and_as_long(text: str) -> None:
    """Only what cannot be shown is replaced."""
    line = one_line(text)

    assert is_printable(line)
    assert len(line) == len(text)
    assert all(was == now for was, now in zip(text, line, strict=True) if is_printable(was))


def test_joiners_are_parts_of_words() -> None:
    """Persian and many emoji need them; what only turns or hides text is none."""
    assert one_line("می\u200cخ 👨\u200d👩") == "می\u200cخ 👨\u200d👩"
    assert one_line("a\u200bb\u202ec\ufeff") == "a b c "


def test_what_is_cut_off_is_said() -> None:
    """Text of just the length that is shown is whole."""
    assert printable("x" * 64) == "x" * 64
    assert printable("x" * 65) == "x" * 64 + "..."
    assert printable("a\nb") == "a?b"


def test_what_cannot_be_shown_is_escaped() -> None:
    """Lines and columns stay."""
    assert escaped("می\u200cخ\n\ta\x1b[2Jb\u202ec\x9b") == "می\u200cخ\n\ta\\x1b[2Jb\\u202ec\\x9b"
