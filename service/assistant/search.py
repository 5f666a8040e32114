"""Which passages of the docs answer a question: Okapi BM25."""

import math
import re
from collections import Counter
from collections.abc import Sequence

from service.docs.library import Passage

# The usual constants: how soon repetitions stop counting, and how much a passage's length counts against it.
_K, _B = 1.2, 0.6
# A heading is the best summary of its text; of one row of a table it says little.
_TITLE_WEIGHT = 5
# A passage must have at least this share of the question's weight: one word in common is not an answer.
_LEAST_SHARE = 0.35

_WORD = re.compile(r"[a-z0-9]+(?:_[a-z0-9]+)*")
_STOP_WORDS_TEXT = """
a an and any are as at be been but by can could did do does for from get had has have how i if in into is it
its me mean my no not of on one or our please should so than that the their them then there these they this to too
up us use was we were what when where which who why will with would you your
"""
_STOP_WORDS = frozenset(_STOP_WORDS_TEXT.split())
_ENDING = re.compile(r"(?<=[a-z]{3})(ing|ed|es|s|e)$")
_DOUBLE = re.compile(r"([b-df-hj-np-tv-z])\1$")
# What people say, and how it is indexed.
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
    "stored": "kept",
    "told": "notify",
}


class Index:
    """The passages, with a weight for each word: the rarer, the heavier."""

    def __init__(self, passages: Sequence[Passage]) -> None:
        self._passages = passages
        self._counts = [
            Counter(terms(one.text) + terms(one.title) * (1 if one.is_row else _TITLE_WEIGHT)) for one in passages
        ]
        self._lengths = [sum(counts.values()) for counts in self._counts]
        self._mean = sum(self._lengths) / max(1, len(passages))
        spread = Counter(term for counts in self._counts for term in counts)
        self._weights = {
            term: math.log(1 + (len(passages) - number + 0.5) / (number + 0.5)) for term, number in spread.items()
        }
        self._unknown = math.log(1 + (len(passages) + 0.5) / 0.5)

    def search(self, question: str, limit: int = 3) -> list[Passage]:
        """The best passages, best first; none when nothing fits."""
        wanted = set(terms(question))
        whole = sum(self._weights.get(term, self._unknown) for term in wanted)
        scored = []
        for number, counts in enumerate(self._counts):
            shared = wanted & counts.keys()
            share = sum(self._weights[term] for term in shared) / whole if shared else 0
            if share >= _LEAST_SHARE:
                scored.append((self._score(number, shared) * share, number))
        best = sorted(scored, key=lambda pair: (-pair[0], pair[1]))[:limit]
        return [self._passages[number] for _, number in best]

    def _score(self, number: int, shared: set[str]) -> float:
        stretch = _K * (1 - _B + _B * self._lengths[number] / self._mean)
        counts = self._counts[number]
        return sum(self._weights[term] * counts[term] * (_K + 1) / (counts[term] + stretch) for term in shared)


def terms(text: str) -> list[str]:
    """The words that carry meaning, without their endings; `not_ready` counts as itself and as its parts."""
    found = []
    for word in _WORD.findall(text.lower()):
        found += [word, *word.split("_")] if "_" in word else [word]
    stems = (_stem(word) for word in found if word not in _STOP_WORDS)
    return [_INDEXED_AS.get(stem, stem) for stem in stems]


def _stem(word: str) -> str:
    return _DOUBLE.sub(r"\1", _ENDING.sub("", word))


_INDEXED_AS = {_stem(word): _stem(indexed) for word, indexed in _SYNONYMS.items()}
