"""Which passages of the docs answer a question: SQLite's full-text search over them, in memory."""

import re
import sqlite3
from collections.abc import Sequence

from service.docs.library import Passage

# A heading is the best summary of its text; of one row of a table it says little.
_TITLE_WEIGHT = 4.0
# A question is not about this service if the docs know less than this share of its words.
_MIN_KNOWN_SHARE = 0.5

_WORD = re.compile(r"\w+")
_STOP_WORD_LIST = """
a an and any are as at be been but by can could did do does for from get had has have how i if in into is it
its me mean my no not of on one or our please should so than that the their them then there these they this to too
up us use was we were what when where which who why will with would you your
"""
_STOP_WORDS = frozenset(_STOP_WORD_LIST.split())
_SYNONYMS = {
    "abort": "cancel",
    "archive": "zip",
    "big": "large",
    "broken": "break",
    "continue": "resume",
    "done": "ready",
    "interrupted": "break",
    "keep": "kept",
    "notified": "notify",
    "pay": "cost",
    "photo": "image",
    "picture": "image",
    "price": "cost",
    "stop": "break",
    "stopped": "break",
    "stored": "kept",
    "told": "notify",
}


class Index:
    """The passages, ranked by BM25. Takes its time: to be used on a thread, or several; SQLite serialises them."""

    def __init__(self, passages: Sequence[Passage]) -> None:
        self._passages = passages
        self._db = sqlite3.connect(":memory:", check_same_thread=False)
        self._db.execute("CREATE VIRTUAL TABLE passages USING fts5(title, text, tokenize = 'porter unicode61')")
        self._db.executemany(
            "INSERT INTO passages (rowid, title, text) VALUES (?, ?, ?)",
            ((number, *_indexed(one)) for number, one in enumerate(passages)),
        )

    def close(self) -> None:
        self._db.close()

    def search(self, question: str, limit: int = 3) -> list[Passage]:
        """The best passages, best first; none if the docs have no answer."""
        words = dict.fromkeys(word for word in _WORD.findall(_canonical(question)) if word not in _STOP_WORDS)
        terms = [f'"{word}"' for word in words]  # what has an underscore is a phrase
        known = [term for term in terms if self._matches(term, 1)]
        if not known or len(known) < _MIN_KNOWN_SHARE * len(terms):
            return []
        return [self._passages[number] for number in self._matches(" OR ".join(known), limit)]

    def _matches(self, query: str, limit: int) -> list[int]:
        rows = self._db.execute(
            "SELECT rowid FROM passages WHERE passages MATCH ? ORDER BY bm25(passages, ?, 1.0), rowid LIMIT ?",
            (query, _TITLE_WEIGHT, limit),
        )
        return [number for (number,) in rows]


def _indexed(passage: Passage) -> tuple[str, str]:
    """Title and text as they are indexed."""
    title, text = _canonical(passage.title), _canonical(passage.text)
    return ("", f"{title} {text}") if passage.is_row else (title, text)


def _canonical(text: str) -> str:
    """In lower case, one word for each of a group of synonyms."""
    return _WORD.sub(lambda found: _synonym(found[0]), text.lower())


def _synonym(word: str) -> str:
    return _SYNONYMS.get(word) or _SYNONYMS.get(word.removesuffix("s")) or word
