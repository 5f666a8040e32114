"""What the members of an archive are called: names that any system can unpack, each one once.

Three promises. A name is harmless: no path, nothing invisible, nothing that Windows or macOS refuses. It is unique even
where case and accents' encoding do not count. And it is decided by the order alone, before the first image arrives.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from urllib.parse import quote

REPORT_NAME = "_download_report.txt"
MANIFEST_NAME = "_manifest.json"
ANY_NAME = "{name}"
"""The template of names as they are."""
MAX_BYTES = 150  # of a whole name, in UTF-8: leaves room for a long folder within Windows' 260

_IMAGE = re.compile(
    r"\.(jpg|jpeg|jpe|jfif|jp2|j2k|png|apng|webp|avif|jxl|tif|tiff|heic|heif|hif|bmp|dib|gif|psd|raw|3fr|arw|cr2|cr3|crw"
    r"|dcr|dng|erf|fff|gpr|iiq|kdc|mef|mos|mrw|nef|nrw|orf|pef|raf|rw2|rwl|sr2|srf|srw|x3f)$",
    re.IGNORECASE | re.ASCII,
)
_PLACEHOLDER = re.compile(r"\{(seq|name|order|image_id)\}")
_MIN_DIGITS = 2
# So much of a name stays, whatever stands around it; and so much of an order's, beside the rest.
_MIN_NAME_BYTES = 20
_MAX_ORDER_BYTES = 80
# Of an order's folder, which may have a rendition's below it.
_MAX_FOLDER_BYTES = 60
_ZIP = re.compile(r"\.zip$", re.IGNORECASE)
# Most names are like this: nothing in them is harmful, wherever it stands.
_PLAIN = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9 _.()-]{0,98}[A-Za-z0-9_-]")
_RESERVED = frozenset('<>:"/\\|?*')
_SEPARATOR = re.compile(r"[/\\]")
_NO_FOLDER = re.compile(r"\.{0,2}|[A-Za-z]:")
_DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[0-9¹²³])", re.IGNORECASE)

# Unicode's Default_Ignorable_Code_Point: fillers, joiners, variation selectors, tags. Shown as nothing, whatever their
# category. The last one is a filler that Unicode forgot in that list.
_INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff\U00016fe4]"
)
# Shown as a gap, though no space: of Braille, of music, of hieroglyphs.
_BLANK = frozenset("\u2800\U0001d159\U00013441\U00013442")
# Control, half of a pair, line and paragraph ends; what means something else on each system, or nothing yet.
_NEUTRALISED = frozenset({"Cc", "Cs", "Zl", "Zp", "Co", "Cn"})

# A stem is cut as if its extension had this length: then it fits, and stays unique, whatever format is delivered.
_EXTENSION_BYTES = len(".webp")
_STEM_BYTES = MAX_BYTES - _EXTENSION_BYTES
# No more of a name is looked at: sorting the accents of one letter takes time quadratic in their number.
_MAX_CHARACTERS = 1000


def safe_stem(name: str, fallback: str) -> str:
    """`name` without a known image extension, harmless as a file name with any extension of up to four letters.

    Where nothing of the name is left, `fallback` is used in the same way, and "image" if nothing is left of that.
    """
    return _safe(name, _IMAGE) or _safe(fallback) or "image"


def safe_name(name: str) -> str:
    """`name` as it was given, harmless and with its own ending; `image` where nothing is left of it."""
    return _safe(name) or "image"


def stems_of(originals: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The names of one archive's images without folder and extension, by image id; fixed when the archive begins.

    `originals` holds (image id, original name) in the order of the order document. An id that comes twice counts once.
    """
    stems: dict[str, str] = {}
    for image_id, name in originals:
        if image_id not in stems:
            stems[image_id] = safe_stem(name, image_id)
    return _each_once(stems)


def stems_by_template(
    template: str, originals: Iterable[tuple[str, str]], positions: Mapping[str, int], *, order: str, total: int
) -> dict[str, str]:
    """As `stems_of`, made of a template that `check_template` has passed.

    `positions` are the images' in the whole order (1, 2, ...), which has `total`; `order` is what it is called.
    """
    digits = max(_MIN_DIGITS, len(str(total)))
    template = _IMAGE.sub("", template)
    known = {"order": _shortened(safe_name(order), _MAX_ORDER_BYTES)}
    stems: dict[str, str] = {}
    for image_id, name in originals:
        if image_id in stems:
            continue
        values = known | {"seq": f"{positions[image_id]:0{digits}}", "image_id": image_id, "name": ""}
        rest = len(_filled(template, values).encode(errors="replace"))
        values["name"] = _shortened(safe_stem(name, image_id), max(_MIN_NAME_BYTES, _STEM_BYTES - rest))
        stems[image_id] = _safe(_filled(template, values)) or safe_stem(image_id, "")
    return _each_once(stems)


def member_name(stem: str, extension: str, folder: str = "") -> str:
    """The name of an archive's member, with its folder, in the format that is delivered.

    Extensions are ours ("jpg", "webp"): lower case, no dot, at most four letters. Stems are unique by themselves, so
    neither the extension nor the moment of asking changes any other name.
    """
    return f"{folder}/{stem}.{extension}" if folder else f"{stem}.{extension}"


def folder_names(orders: Iterable[tuple[str, str | None]]) -> list[str]:
    """What the folders of several orders, by id and name, are called in one archive: each otherwise."""
    stems = [_shortened(_safe(name or "") or f"order-{order_id}", _MAX_FOLDER_BYTES) for order_id, name in orders]
    return list(_unique(stems, _MAX_FOLDER_BYTES))


# Raw formats that are built as TIFF: their names tell them apart.
_BUILT_AS_TIFF = frozenset(
    {"3fr", "arw", "cr2", "dcr", "dng", "erf", "fff", "gpr", "iiq", "kdc", "mef", "mos", "nef", "nrw", "orf", "pef"}
    | {"rw2", "rwl", "sr2", "srf", "srw", "tif", "tiff"}
)


def own_extension(name: str, extension: str) -> str:
    """The extension of an unaltered photo: what its bytes say, or of a TIFF the raw format that its name tells."""
    given = name.rpartition(".")[2].strip().lower()
    return given if extension == "tif" and given in _BUILT_AS_TIFF else extension


def check_template(template: str) -> None:
    """Raises `ValueError`, which says what is allowed, unless names can be made of a template."""
    text = _PLACEHOLDER.sub("", template)
    if any(character in "{}/\\" for character in text) or not template.strip():
        raise ValueError("must be made of {seq}, {name}, {order}, {image_id} and text without braces and slashes")


def _filled(template: str, values: Mapping[str, str]) -> str:
    return _PLACEHOLDER.sub(lambda found: values[found[1]], template)


def archive_filename(order_name: str | None, order_id: str, *, part: int | None = None, more: int = 0) -> str:
    """What a browser saves the archive as: "<order name>.zip", or "order-<id>.zip" for an order without a name.

    A `part` of an order is "<order name> part 2.zip"; with so many `more` orders it is "<order name> and 2 more.zip".
    """
    stem = _safe(order_name or "", _ZIP) or _safe(f"order-{order_id}")
    which = f" and {more} more" if more else f" part {part}" if part else ""
    return f"{_shortened(stem, _STEM_BYTES - 20) if which else stem}{which}.zip"


def content_disposition(filename: str, *, inline: bool = False) -> str:
    """The header's value for a download: ASCII for old clients, the true name (RFC 8187) for all others.

    `filename` ends in an extension; nothing else is asked of it. `inline`: to be shown, and saved under that name.
    """
    # Each by itself: in ASCII a name may be longer, and what is cut off it then is not the extension.
    stem, extension = map(_ascii, filename.rpartition(".")[::2])
    if not any(character.isalnum() for character in stem):
        stem = "image" if inline else "archive"
    encoded = quote(filename, safe="!#$&+-.^_`|~", errors="replace")
    return f"{'inline' if inline else 'attachment'}; filename=\"{stem}.{extension}\"; filename*=UTF-8''{encoded}"


def _safe(name: str, ending: re.Pattern[str] | None = None) -> str:
    """The name without `ending`, and without folders and characters that could do harm; empty if nothing is left."""
    text = name
    if not _PLAIN.fullmatch(name):
        parts = _SEPARATOR.split(name[:_MAX_CHARACTERS])
        text = "_".join(part for part in parts if not _NO_FOLDER.fullmatch(part))
        text = "".join(map(_harmless, _INVISIBLE.sub("", text))).rstrip(" .")
    text = ending.sub("", text) if ending else text
    stem = _shortened(unicodedata.normalize("NFC", text).strip(" ."), _STEM_BYTES)
    if _DEVICE.fullmatch(stem.partition(".")[0].rstrip()):
        return _shortened(f"_{stem}", _STEM_BYTES)
    return stem


def _harmless(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Cf":  # invisible, and some turn the reading direction: "gpj.exe" can be made to end in ".jpg"
        return ""
    if category == "Zs" or character in _BLANK:
        return " "
    return "_" if category in _NEUTRALISED or character in _RESERVED else character


def _shortened(stem: str, size: int) -> str:
    """At most `size` bytes of UTF-8 from the start: whole characters, and no space or dot at the end."""
    return stem.encode()[:size].decode(errors="ignore").rstrip(" .")


def _each_once(stems: Mapping[str, str]) -> dict[str, str]:
    return dict(zip(stems, _unique(list(stems.values())), strict=True))


def _unique(stems: Sequence[str], size: int = _STEM_BYTES) -> Iterator[str]:
    """The stems in their order; from the second equal one on with the first number that makes it no other's name."""
    originals = {_comparable(stem) for stem in stems}
    taken = {_comparable(REPORT_NAME.removesuffix(".txt")), _comparable(MANIFEST_NAME.removesuffix(".json"))}
    numbers: dict[str, int] = {}
    for stem in stems:
        unique, original = stem, _comparable(stem)
        while (key := _comparable(unique)) in taken or (unique != stem and key in originals):
            numbers[original] = number = numbers.get(original, 0) + 1
            suffix = f"_{number}"
            unique = _shortened(stem, size - len(suffix)) + suffix
        taken.add(key)
        yield unique


def _comparable(stem: str) -> str:
    """Equal for stems that some file system or reader takes for the same: by case, by how an accent is encoded, or by
    the width or style of a letter."""
    return unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", stem).upper().casefold())


def _ascii(filename: str) -> str:
    """The name in plain ASCII, harmless inside quotes; "%" goes because some browsers decode it."""
    letters = (c for c in unicodedata.normalize("NFKD", filename[:_MAX_CHARACTERS]) if not unicodedata.combining(c))
    return _safe("".join(c if c.isascii() and c != "%" else "_" for c in letters))
