"""Answers from the live counters, in a sentence."""

import re
from collections.abc import Mapping
from typing import Any

_HOW_MANY = re.compile(r"\b(how many|how much|number of|count of|stats|statistics|counters)\b", re.IGNORECASE)
_SINCE_WHEN = re.compile(r"\b(uptime|since when|how long (have|has|are|is) .*(up|run))", re.IGNORECASE)
# "How many images may an order have?" asks for a limit, not for a count.
_RULE = re.compile(r"\b(may|can|could|should|limit|at most|maximum|max|allowed|at once|per)\b", re.IGNORECASE)
_NOUNS = {
    "orders": re.compile(r"\b(orders?|archives?)\b", re.IGNORECASE),
    "images": re.compile(r"\b(images?|photos?|pictures?)\b", re.IGNORECASE),
    "zips": re.compile(r"\b(zips?|downloads?|files?)\b", re.IGNORECASE),
    "failed": re.compile(r"\b(fail(ed|ures?)?|errors?|missing)\b", re.IGNORECASE),
}


def live_answer(question: str, stats: Mapping[str, Any]) -> str | None:
    """The counters that a question asks for, or None if it is not about them."""
    if _SINCE_WHEN.search(question):
        return f"The service has been running for {duration(stats['uptime_seconds'])}."
    if not _HOW_MANY.search(question) or _RULE.search(question):
        return None
    requested = [name for name, pattern in _NOUNS.items() if pattern.search(question)] or list(_NOUNS)
    facts = _facts(stats)
    if "failed" in requested and len(requested) < len(_NOUNS):
        requested = ["failed"]
    counts = ", ".join(facts[name] for name in requested)
    return f"Since the service started {duration(stats['uptime_seconds'])} ago: {counts}."


def summary(stats: Mapping[str, Any]) -> str:
    """All counters in one line, for a model."""
    return f"Running for {duration(stats['uptime_seconds'])}. Since then: {', '.join(_facts(stats).values())}."


def duration(seconds: int) -> str:
    """Such as "2 hours"; rounded down to the largest unit."""
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1)):
        if seconds >= length:
            return _counted(seconds // length, unit)
    return "0 seconds"


def _facts(stats: Mapping[str, Any]) -> dict[str, str]:
    return {
        "orders": f"{_counted(stats['orders_processed'], 'order')} processed",
        "images": f"{_counted(stats['images_downloaded'], 'image')} downloaded from Autoenhance",
        "zips": f"{_counted(stats['zips_served'], 'ZIP')} delivered",
        "failed": f"{_counted(stats['images_failed'], 'image')} failed",
    }


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
