"""Changes to orders and what is remembered of their images."""

from tests.mutants.mutant import Mutant

ORDERS = (
    Mutant(
        "orders/generations.py",
        "if state not in (ImageState.UNKNOWN, ImageState.EXPIRED):",
        "if state is not ImageState.EXPIRED:",
        "an image whose state is unknown for a moment was not made anew",
        "tests/orders/test_generations.py",
    ),
    Mutant(
        "orders/generations.py",
        "was_bought_now = self.bought and not before.bought",
        "was_bought_now = self.bought",
        "what was bought before and changes is a new picture",
        "tests/orders/test_generations.py",
    ),
    Mutant(
        "orders/generations.py",
        "new | {one: new[one].merged(latest[one]) for one in later if one in latest}",
        "new",
        "a generation is never lowered",
        "tests/orders/test_generations.py",
    ),
    Mutant(
        "orders/orders.py",
        "        if polls.count == self._seen and not polls.was_notified:\n",
        "        if polls.count == self._seen and True:\n",
        "what happened during a look is looked at at once",
        "tests/orders/test_watch.py",
    ),
    Mutant(
        "orders/orders.py",
        "self._missed + 1 if isinstance(outcome, OrderNotFound) else 0",
        "self._missed + isinstance(outcome, OrderNotFound)",
        "an order is gone only when it is unknown twice in a row",
        "tests/orders/test_watch.py",
    ),
    Mutant(
        "orders/orders.py",
        "min(self._freshness, _CHANGING_SECONDS)",
        "self._freshness",
        "an order in progress is kept for a second only",
        "tests/orders/test_orders.py",
    ),
    Mutant(
        "orders/orders.py",
        "            self._kept_bytes -= kept[1].memory_bytes\n",
        "            pass\n",
        "the bound counts what is kept now",
        "tests/orders/test_orders.py",
    ),
    Mutant(
        "orders/generations.py",
        "return abs(now - self.refreshed) > _REFRESH_SECONDS",
        "return now - self.refreshed > _REFRESH_SECONDS",
        "a clock that was put back does not stop a refresh",
        "tests/orders/test_generations.py",
        "tests/e2e/test_clock.py",
    ),
    Mutant(
        "orders/generations.py",
        " AND image_id NOT IN (SELECT image_id FROM variants)",
        "",
        "the generation of a stored image is not forgotten",
        "tests/orders/test_generations.py",
    ),
    Mutant(
        "orders/orders.py",
        "            polls.was_notified = False",
        "            pass",
        "news that a poll has seen does not begin another one",
        "tests/orders/test_watch.py",
    ),
    Mutant(
        "orders/generations.py",
        "return before.marks is not None and self.marks != before.marks and not was_bought_now",
        "return self.marks != before.marks and not was_bought_now",
        "an image of which no marks are known is not made anew",
        "tests/orders/test_generations.py",
    ),
    Mutant(
        "orders/schedule.py",
        "max(0.0, min(max(self._interval, least), self.deadline - self._clock()))",
        "max(0.0, self._interval)",
        "the last poll is at the deadline",
        "tests/orders/test_schedule.py",
    ),
    Mutant(
        "orders/orders.py",
        " and self._short.get(order_id) != _counts(order)",
        "",
        "an order that is known to list fewer images is not asked for twice",
        "tests/orders/test_orders.py",
    ),
)
