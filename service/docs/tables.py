"""The tables of the docs, made from the code that they describe. `make docs` writes them into the pages.

A page has a table between two lines that show nothing, `[//]: # (made by make docs: NAME)` and `[//]: # (end)`.
"""

import re
from collections.abc import Callable, Iterable
from inspect import cleandoc
from pathlib import Path
from typing import Any

from limits import RateLimitItem
from pydantic.fields import FieldInfo

from service import problems
from service.problems import Problem
from service.reasons import Reason, UploadReason
from service.settings import Settings

_TABLE = re.compile(r"^(\[//\]: # \(made by make docs: (\w+)\)\n).*?^(\[//\]: # \(end\))$", re.DOTALL | re.MULTILINE)


def filled(text: str) -> str:
    """A page with every table as the code has it now."""
    return _TABLE.sub(lambda found: f"{found[1]}\n{_TABLES[found[2]]()}\n\n{found[3]}", text)


def settings_table() -> str:
    """Markdown: variable, meaning, default."""
    return _table(
        ("Variable", "Meaning", "Default"),
        (
            (f"`{name.upper()}`", " ".join((field.description or "").split()), _code(default_of(field)))
            for name, field in Settings.model_fields.items()
        ),
    )


def errors_table() -> str:
    """Markdown: code, status, what happened, what to do; by status."""
    kinds = sorted(with_code(), key=lambda kind: (kind.status, kind.code))
    return _table(
        ("Code", "Status", "What happened", "What to do"),
        ((f"`{kind.code}`", str(int(kind.status)), _explanation(kind), kind.advice) for kind in kinds),
    )


def with_code() -> list[type[Problem]]:
    """The class of every error that a caller can meet."""
    kinds = [kind for kind in vars(problems).values() if isinstance(kind, type) and issubclass(kind, Problem)]
    return [kind for kind in kinds if hasattr(kind, "code")]


def _reasons_table(reasons: Iterable[Reason | UploadReason]) -> str:
    return _table(("Code", "What happened, and what to do"), ((f"`{reason}`", reason.advice) for reason in reasons))


_TABLES: dict[str, Callable[[], str]] = {
    "settings": settings_table,
    "errors": errors_table,
    "image_reasons": lambda: _reasons_table(Reason),
    "upload_reasons": lambda: _reasons_table(UploadReason),
}


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _explanation(kind: type[Problem]) -> str:
    """The title, and what the docstring of the class itself adds."""
    return " ".join([f"{kind.title}.", *cleandoc(kind.__dict__["__doc__"] or "").split()])


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def default_of(field: FieldInfo) -> str:
    """A setting's default as an environment variable says it; empty when it is unset."""
    value: Any = field.default
    match value:
        case None | ():
            return ""
        case bool():
            return str(value).lower()
        case RateLimitItem():
            return f"{value.amount}/{value.GRANULARITY.name}"
        case Path():
            return f"./{value}"
        case _:
            return str(value)


if __name__ == "__main__":
    for page in Path(__file__).parent.glob("*.md"):
        page.write_text(filled(page.read_text("utf-8")), "utf-8")
