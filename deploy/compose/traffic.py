"""Downloads the sandbox's sample order again and again, in different ways: something for the dashboards to show.

python traffic.py http://127.0.0.1:8000
"""

import http.client
import itertools
import json
import sys
import time
import urllib.error
import urllib.request

ORDER = "6f1c2b52-0d6e-4c1b-9a35-3f7b1f6f0a11"
UNKNOWN = "5a3d0c1e-0000-4000-8000-0000000000ff"
PAUSE = 2.0
_BLOCK = 1 << 20


def ask(url: str) -> int:
    """GET, and read the whole answer; returns the status, 0 when the connection broke."""
    try:
        with urllib.request.urlopen(url, timeout=120) as answer:  # noqa: S310  # an address of our own
            while answer.read(_BLOCK):
                pass
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except (OSError, http.client.HTTPException):
        return 0


def queries() -> itertools.chain[str]:
    """What to ask for, for ever: mostly new renderings, now and then a repeat and an order that does not exist."""
    return itertools.chain.from_iterable(
        (
            f"{ORDER}/images?quality={1 + number % 90}",
            f"{ORDER}/images",
            f"{ORDER}/images?format=webp&max_width={400 + number % 800}",
            f"{UNKNOWN}/images" if number % 5 == 0 else f"{ORDER}/images?delivery=complete",
        )
        for number in itertools.count()
    )


def main() -> None:
    """Run until stopped."""
    base = sys.argv[1].rstrip("/")
    for query in queries():
        status = ask(f"{base}/v1/orders/{query}")
        print(json.dumps({"query": query, "status": status}), flush=True)
        time.sleep(PAUSE)


if __name__ == "__main__":
    main()
