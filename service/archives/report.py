"""What is missing from an archive and why, in words for the person who opens it."""

import json
from collections.abc import Sequence
from urllib.parse import quote, urlencode

from service.archives.archive import ImageResult
from service.archives.names import MANIFEST_NAME, REPORT_NAME
from service.archives.options import Options
from service.archives.plan import Plan, PlannedOrder
from service.text import one_line


def comment(orders: Sequence[PlannedOrder], downloaded: int, total: int) -> str:
    there = [order.order_id for order in orders if order.code is None]
    text = f"Autoenhance order{'s' if len(there) > 1 else ''} {', '.join(there)}: {downloaded} of {total} images"
    return text if len(there) == len(orders) else f"{text}; {len(there)} of {len(orders)} orders"


def texts_of(plan: Plan, results: Sequence[ImageResult]) -> dict[str, bytes]:
    """What an archive holds besides its images, by name: for each order a report where one is missing, and a manifest
    where it was wanted.

    Made of what is kept of an archive, so that it can be made again.
    """
    texts = {}
    for at, order in enumerate(plan.orders):
        own = [result for result in results if result.order == at]
        folder = f"{order.folder}/" if order.folder else ""
        if order.code is not None or any(result.code is not None for result in own):
            texts[folder + REPORT_NAME] = report_text(order, plan.options, own).encode()
        if "manifest" in plan.options.include and order.code is None:
            texts[folder + MANIFEST_NAME] = manifest_text(order, plan.options, own).encode()
    return texts


def manifest_text(order: PlannedOrder, given: Options, results: Sequence[ImageResult]) -> str:
    """The text of an order's `_manifest.json`: each file, and each that is missing, as the report resource has it, but
    named as within the order's folder."""
    options = given.model_dump(mode="json", exclude_defaults=True, exclude={"wait", "wait_timeout"})
    if given.rendition:
        options["rendition"] = [rendition.text for rendition in given.rendition]
    files = [{name: value for name, value in result.line().items() if name != "attempts"} for result in results]
    if order.folder:
        files = [file | {"name": file["name"] and file["name"].removeprefix(f"{order.folder}/")} for file in files]
    document = {"order_id": order.order_id, "name": order.name, "options": options, "files": files}
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def report_text(order: PlannedOrder, options: Options, results: Sequence[ImageResult]) -> str:
    """The text of an order's `_download_report.txt`."""
    if order.code is not None:
        lines = ["Download report", "", f"Order: {order.order_id}", "Nothing of it could be downloaded."]
        return "\r\n".join([*lines, f"Reason: {order.code}: {one_line(order.reason)}", ""])
    missing = [(result, result.code) for result in results if result.code is not None]
    incomplete = sum(result.name is not None for result, _ in missing)
    lines = [
        "Download report",
        "",
        f"Order: {order.order_id}",
        f"Images in this archive: {len(results) - len(missing) + incomplete} of {len(results)}",
        f"Missing: {len(missing) - incomplete}",
        *([f"Incomplete: {incomplete}"] if incomplete else []),
    ]
    if order.unlisted:
        lines.append(f"Counted by Autoenhance but not listed, or beyond 10,000: {order.unlisted}")
    for result, code in missing:
        lines += [
            "",
            one_line(result.original_name).strip() or "(no name)",
            f"  image id: {one_line(result.image_id)}",
            *([f"  as:       {result.rendition}"] if result.rendition else []),
            f"  reason:   {code}: {one_line(result.explanation)}",
            f"  get it:   GET /v1/orders/{order.order_id}/images{_path_of(result, options)}",
        ]
    lines += ["", "Download the order again to get the missing images; stored images are not fetched again.", ""]
    return "\r\n".join(lines)


def _path_of(result: ImageResult, options: Options) -> str:
    """Below the path of an order's images, what asks for just this file, whatever the presets are by then."""
    original = options.original if result.is_original else None
    chosen = (original or options.renditions[result.rendition or ""]).chosen()
    if original:  # by itself: a ZIP would have the photo too, and might buy it
        return f"/{quote(result.image_id, safe='')}?{urlencode({'include': 'original'} | chosen)}"
    return f"?{urlencode({'image': result.image_id} | chosen)}"
