"""What is missing from an archive and why, in words for the person who opens it."""

import json
from collections.abc import Sequence

from service.archives.archive import ImageResult
from service.archives.names import MANIFEST_NAME, REPORT_NAME
from service.archives.plan import Plan
from service.text import one_line


def comment(order_id: str, downloaded: int, total: int) -> str:
    """The archive comment."""
    return f"Autoenhance order {order_id}: {downloaded} of {total} images"


def texts_of(plan: Plan, results: Sequence[ImageResult]) -> dict[str, bytes]:
    """What an archive holds besides its images, by name: a report where one is missing, a manifest where it was wanted.

    Made of what is kept of an archive, so that it can be made again.
    """
    texts = {}
    if any(result.code is not None for result in results):
        texts[REPORT_NAME] = report_text(plan, results).encode()
    if "manifest" in plan.options.include:
        texts[MANIFEST_NAME] = manifest_text(plan, results).encode()
    return texts


def manifest_text(plan: Plan, results: Sequence[ImageResult]) -> str:
    """The text of `_manifest.json`: each file, and each that is missing, as the report resource has it."""
    options = plan.options.model_dump(mode="json", exclude_defaults=True, exclude={"wait", "wait_timeout"})
    if plan.options.rendition:
        options["rendition"] = [rendition.text for rendition in plan.options.rendition]
    files = [{name: value for name, value in result.line().items() if name != "attempts"} for result in results]
    document = {"order_id": plan.order_id, "name": plan.order_name, "options": options, "files": files}
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def report_text(plan: Plan, results: Sequence[ImageResult]) -> str:
    """The text of `_download_report.txt`."""
    missing = [(result, result.code) for result in results if result.code is not None]
    lines = [
        "Download report",
        "",
        f"Order: {plan.order_id}",
        f"Images in this archive: {len(results) - len(missing)} of {len(results)}",
        f"Missing: {len(missing)}",
    ]
    if plan.unlisted:
        lines.append(f"Counted by Autoenhance but not listed: {plan.unlisted}")
    texts = {rendition.name: rendition.text for rendition in plan.options.rendition}
    for result, code in missing:
        which = f"&rendition={texts[result.rendition]}" if result.rendition in texts else ""
        which = "&include=original" if result.is_original else which
        lines += [
            "",
            one_line(result.original_name).strip() or "(no name)",
            f"  image id: {one_line(result.image_id)}",
            *([f"  as:       {result.rendition}"] if result.rendition else []),
            f"  reason:   {code}: {one_line(result.explanation)}",
            f"  get it:   GET /v1/orders/{plan.order_id}/images?image={one_line(result.image_id)}{which}",
        ]
    lines += ["", "Download the order again to get the missing images; stored images are not fetched again.", ""]
    return "\r\n".join(lines)
