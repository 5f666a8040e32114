"""What is missing from an archive and why, in words for the person who opens it."""

from collections.abc import Sequence

from service.archives.archive import ImageResult
from service.text import one_line


def comment(order_id: str, downloaded: int, total: int) -> str:
    """The archive comment."""
    return f"Autoenhance order {order_id}: {downloaded} of {total} images"


def report_text(order_id: str, results: Sequence[ImageResult], unlisted: int = 0) -> str:
    """The text of `_download_report.txt`."""
    missing = [(result, result.code) for result in results if result.code is not None]
    lines = [
        "Download report",
        "",
        f"Order: {order_id}",
        f"Images in this archive: {len(results) - len(missing)} of {len(results)}",
        f"Missing: {len(missing)}",
    ]
    if unlisted:
        lines.append(f"Counted by Autoenhance but not listed: {unlisted}")
    for result, code in missing:
        lines += [
            "",
            one_line(result.original_name).strip() or "(no name)",
            f"  image id: {one_line(result.image_id)}",
            f"  reason:   {code}: {one_line(result.explanation)}",
            f"  get it:   GET /v1/orders/{order_id}/images?image={one_line(result.image_id)}",
        ]
    lines += ["", "Download the order again to get the missing images; stored images are not fetched again.", ""]
    return "\r\n".join(lines)
