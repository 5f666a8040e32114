"""Names of members: harmless, unique and decided by the order, whatever the originals are."""

import re
import unicodedata
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.archives.names import (
    REPORT_NAME,
    archive_filename,
    check_template,
    content_disposition,
    folder_names,
    member_name,
    own_extension,
    safe_stem,
    stems_by_template,
    stems_of,
)

EXTENSIONS = ["jpg", "png", "webp", "avif", "jxl"]
DEVICES = [
    "CON",
    "PRN",
    "AUX",
    "NUL",
    "CONIN$",
    "CONOUT$",
    *(f"{port}{n}" for port in ("COM", "LPT") for n in "0123456789¹²³"),
]
FORBIDDEN = set('<>:"/\\|?*') | {chr(code) for code in (*range(32), *range(0x7F, 0xA0))}
SPELLINGS: list[Callable[[str], str]] = [str.casefold, str.upper, str.lower]

LETTERS = ["a", "A", "é", "e\u0301", "ß", "SS", "i", "\u0131", "İ", "🏠", "x" * 140, "é" * 80]
TRAPS = ["..", ".", " ", "/", "\\", "\u202e", "\u200b", "\ud800", "\x00", "\n", "\u2028", "\u00a0"]
ENDINGS = ["_1", "_2", ".jpg", ".DNG", ".txt", "_download_report"]
awkward = st.sampled_from([*DEVICES, *LETTERS, *TRAPS, *ENDINGS])
any_name = st.lists(awkward | st.text(st.characters(exclude_categories=[]), max_size=5), max_size=6).map("".join)
any_names = st.lists(any_name, max_size=12)


def named(*originals: str, extension: str = "jpg") -> list[str]:
    """The names given to images with these original names, in their order."""
    names = stems_of((str(number), original) for number, original in enumerate(originals))
    return [member_name(names[str(number)], extension) for number in range(len(originals))]


@pytest.mark.parametrize(
    ("original", "name"),
    [
        ("kitchen.jpg", "kitchen.jpg"),
        ("photo.dng", "photo.jpg"),
        ("photo.JPEG", "photo.jpg"),
        ("photo.Cr3", "photo.jpg"),
        ("IMG.v2", "IMG.v2.jpg"),
        ("IMG.v2.png", "IMG.v2.jpg"),
        ("photo.jpg.jpg", "photo.jpg.jpg"),
        ("invoice.pdf", "invoice.pdf.jpg"),
        ("no extension", "no extension.jpg"),
        ("jpg", "jpg.jpg"),
        ("photo.jpg. ", "photo.jpg"),
        ("photo.jpg\u200b", "photo.jpg"),
    ],
)
def test_the_format_names_the_extension(original: str, name: str) -> None:
    """A known image extension is replaced, any other dot is part of the name."""
    assert named(original) == [name]


@pytest.mark.parametrize(
    ("original", "name"),
    [
        ("../../etc/passwd", "etc_passwd.jpg"),
        ("..\\..\\boot.ini", "boot.ini.jpg"),
        ("/absolute.jpg", "absolute.jpg"),
        ("C:\\fakepath\\kitchen.jpg", "fakepath_kitchen.jpg"),
        ("C:kitchen.jpg", "C_kitchen.jpg"),
        ("a/./b//c.jpg", "a_b_c.jpg"),
        ('<>:"|?*.jpg', "_______.jpg"),
        ("line\r\nbreak.jpg", "line__break.jpg"),
        ("nul\x00byte\x7f\x9f.jpg", "nul_byte__.jpg"),
        ("para\u2029graph\u2028.jpg", "para_graph_.jpg"),
        ("photo\u202egpj.exe", "photogpj.exe.jpg"),
        ("\ufeffmark\u200d.jpg", "mark.jpg"),
        ("half \ud83c pair.jpg", "half _ pair.jpg"),
        ("Screenshot 3.15\u202fPM.png", "Screenshot 3.15 PM.jpg"),
        (" . hidden. ", "hidden.jpg"),
        ("\u00a0blank\u3000.jpg", "blank.jpg"),
        ("cafe\u0301.jpg", "café.jpg"),
        ("e\u200b\u0301.jpg", "é.jpg"),
        ("寝室 🏠.jpg", "寝室 🏠.jpg"),
        ("bath\u3164\u115f\u1160\uffa0\u034f\u17b4.jpg", "bath.jpg"),
        ("heart \u2764\ufe0f.jpg", "heart \u2764.jpg"),
        ("flag\U000e0067\U000e007f\U000e0100.jpg", "flag.jpg"),
        ("blank\u2800braille.jpg", "blank braille.jpg"),
        ("\u2800\u3164.jpg", "0.jpg"),
        ("not\ufdd0a\uffffcharacter.jpg", "not_a_character.jpg"),
        ("unassigned\u0378.jpg", "unassigned_.jpg"),
        ("private\uf022use.jpg", "private_use.jpg"),
    ],
)
def test_nothing_harmful_is_left(original: str, name: str) -> None:
    """Folders, forbidden and invisible characters and edges go; what a person reads stays."""
    assert named(original) == [name]


# Unicode's Default_Ignorable_Code_Point (DerivedCoreProperties.txt), and what is blank without being a space.
IGNORABLE = [
    (0xAD, 0xAD), (0x34F, 0x34F), (0x61C, 0x61C), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F),
    (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F), (0x3164, 0x3164),
    (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF), (0xFFA0, 0xFFA0),
    (0xFFF0, 0xFFF8), (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF), (0x2800, 0x2800), (0x1D159, 0x1D159),
    (0x16FE4, 0x16FE4), (0x13441, 0x13442),
]  # fmt: skip
# Blocks of thousands that are all alike: ideographs, Hangul syllables, halves of pairs, private use, unassigned planes.
ALIKE = [
    range(0x3400, 0x4DBF), range(0x4E00, 0xA000), range(0xAC00, 0xD7A4), range(0xD800, 0xF900), range(0x17000, 0x18D00),
    range(0x20000, 0xE0000), range(0xE1000, 0x110000),
]  # fmt: skip


def is_seen(character: str) -> bool:
    """Whether a character has a shape, and the same meaning on every system."""
    is_ignorable = any(first <= ord(character) <= last for first, last in IGNORABLE)
    return unicodedata.category(character)[0] in "LMNPS" and not is_ignorable


def test_of_all_unicode_only_what_is_seen_stays() -> None:
    """Each character between two letters: one that is seen stays, of any other a gap or a line is left, or nothing."""
    inside = {code for block in ALIKE for code in block if code % 251}
    characters = [chr(code) for code in range(0x110000) if code not in inside]

    wrong = []
    for character in characters:
        stem = safe_stem(f"a{character}z", "")
        if is_seen(character) and character not in FORBIDDEN:
            right = stem == unicodedata.normalize("NFC", f"a{character}z")
        else:
            right = stem in ("az", "a z", "a_z")
        if not right:
            wrong.append(f"U+{ord(character):04X} {unicodedata.category(character)}")

    assert wrong == []
    assert {unicodedata.category(character) for character in characters} >= {"Cf", "Cn", "Co", "Cs", "Lo", "Mn", "So"}
    assert len(characters) > 80_000


@pytest.mark.parametrize("original", ["", ".", "..", "...", " ", "/", "\\..\\", ".jpg", ". .png", "\u200b.jpg", "C:"])
def test_an_empty_name_becomes_the_image_id(original: str) -> None:
    """Where nothing of a name is left, the id names the image, and "image" where that is of no use either."""
    assert member_name(stems_of([("3f2a", original)])["3f2a"], "jpg") == "3f2a.jpg"
    assert safe_stem(original, "..") == "image"


@pytest.mark.parametrize("device", DEVICES)
def test_device_names_of_windows_are_disarmed(device: str) -> None:
    """In any case, with any extension, and with spaces before it."""
    originals = [f"{device}.jpg", f"{device.lower()}.v2.png", f"{device} .tar"]

    names = named(*originals)

    assert names == [f"_{device}.jpg", f"_{device.lower()}.v2.jpg", f"_{device} .tar.jpg"]


def test_a_cut_does_not_bring_a_device_name_back() -> None:
    """A long name may be cut down to "CON" and its spaces; what disarms one does not make it too long."""
    assert named("CON" + " " * 200 + "x.jpg") == ["_CON.jpg"]
    assert named("CON." + "x" * 200 + ".jpg", extension="webp") == ["_CON." + "x" * 140 + ".webp"]


def test_only_names_of_windows_devices_are_disarmed() -> None:
    """Rooms that merely begin like a device keep their names."""
    originals = ["console.jpg", "COM10.jpg", "my con.jpg", "aux-room.jpg"]

    assert named(*originals) == originals


@pytest.mark.parametrize(
    ("originals", "names"),
    [
        (["kitchen.jpg", "kitchen.jpg", "kitchen.jpg"], ["kitchen.jpg", "kitchen_1.jpg", "kitchen_2.jpg"]),
        (["a.jpg", "a.jpg", "a_1.jpg"], ["a.jpg", "a_2.jpg", "a_1.jpg"]),
        (["a.jpg", "A.JPG", "a.png"], ["a.jpg", "A_1.jpg", "a_2.jpg"]),
        (["a.jpg", "a.jpg", "A_1.dng", "a_1.jpg"], ["a.jpg", "a_2.jpg", "A_1.jpg", "a_1_1.jpg"]),
        (["café.jpg", "cafe\u0301.jpg", "CAFÉ.jpg"], ["café.jpg", "café_1.jpg", "CAFÉ_2.jpg"]),
        (["\u0390\u0323.jpg", "\u03aa\u0323\u0301.jpg"], ["\u0390\u0323.jpg", "\u03aa\u0323\u0301_1.jpg"]),
        (["straße.jpg", "STRASSE.jpg"], ["straße.jpg", "STRASSE_1.jpg"]),
        (["\u0131.jpg", "i.jpg"], ["\u0131.jpg", "i_1.jpg"]),
        (["a/b.jpg", "a_b.jpg"], ["a_b.jpg", "a_b_1.jpg"]),
        (["room 2.jpg", "room².jpg"], ["room 2.jpg", "room².jpg"]),
        (["1.jpg", "\u2460.jpg", "\ufb01re.jpg", "fire.jpg"], ["1.jpg", "\u2460_1.jpg", "\ufb01re.jpg", "fire_1.jpg"]),
    ],
)
def test_the_same_name_is_given_once(originals: list[str], names: list[str]) -> None:
    """From the second on a number tells them apart, and never one that another image goes by."""
    assert named(*originals) == names


@pytest.mark.parametrize("original", ["_download_report.txt", "_DOWNLOAD_REPORT.TXT", "_download_report.jpg"])
def test_the_reports_name_stays_free(original: str) -> None:
    """No image can take it, not even one delivered as text."""
    names = stems_of([("a", original)])

    given_out = [member_name(names["a"], extension).casefold() for extension in ("jpg", "txt")]

    assert REPORT_NAME not in given_out


def test_another_format_changes_the_extension_alone() -> None:
    """A name is a matter of the order: what was delivered moves no number."""
    stems = stems_of([("1", "a.jpg"), ("2", "a.jpg"), ("3", "a.png.jpg"), ("4", "a.jpg")])

    given_out = [member_name(stems["2"], "png"), member_name(stems["1"], "png"), member_name(stems["4"], "jpg")]

    assert given_out == ["a_1.png", "a.png", "a_2.jpg"]
    assert member_name(stems["3"], "jpg") == "a.png.jpg"


def test_an_image_listed_twice_has_one_name() -> None:
    """The first mention counts."""
    assert stems_of([("1", "a.jpg"), ("1", "b.jpg"), ("2", "b.jpg")]) == {"1": "a", "2": "b"}


def test_long_names_are_cut_between_characters() -> None:
    """The end of a long name goes, never half a character or the extension; a number still fits."""
    names = stems_of([(str(n), "é" * 100 + ".jpg") for n in range(11)] + [("x", "a" * 144 + " ." + "b.jpg")])

    assert member_name(names["0"], "webp") == "é" * 72 + ".webp"
    assert member_name(names["10"], "webp") == "é" * 71 + "_10.webp"
    assert member_name(names["x"], "jpg") == "a" * 144 + ".jpg"


@pytest.mark.parametrize("piece", ["\u0301\u0316", " ", ".", "\u200b", "CON.", "🏠", "../", "\ud800"])
def test_a_huge_name_is_only_work_for_a_moment(piece: str) -> None:
    """A megabyte of accents takes the library hours to sort: the suite's time limit is the judge."""
    assert len(named(piece * 500_000)[0].encode()) <= 150


@given(any_names, st.sampled_from(EXTENSIONS), st.data())
def test_any_names_become_safe_ones(originals: list[str], expected: str, data: st.DataObject) -> None:
    """Whatever an order calls its images: each name can be written by any system, and by no other's side effects."""
    names = stems_of((f"id-{number}", original) for number, original in enumerate(originals))

    extensions = [data.draw(st.sampled_from(EXTENSIONS)) for _ in originals]
    given_out = [member_name(names[f"id-{number}"], extension) for number, extension in enumerate(extensions)]

    for name, extension in zip(given_out, extensions, strict=True):
        stem = name.removesuffix(f".{extension}")
        assert stem != name
        assert len(name.encode()) <= 150
        assert stem == stem.strip(" .") != ""
        assert not FORBIDDEN.intersection(name)
        assert all(is_seen(character) or character == " " for character in name)
        assert stem.split(".")[0].strip().upper() not in DEVICES
        assert unicodedata.is_normalized("NFC", name)
    for spelling in SPELLINGS:
        for form in ("NFC", "NFD"):
            alike = {unicodedata.normalize(form, spelling(unicodedata.normalize(form, name))) for name in given_out}
            assert len(alike) == len(originals)
            assert REPORT_NAME not in alike


@given(st.lists(st.one_of(st.none(), any_name), max_size=12))
def test_any_orders_have_folders_of_their_own(orders: list[str | None]) -> None:
    """As safe as names, each once where case and accents do not count, and short enough for what is below them."""
    folders = folder_names([(f"0b9f7c1e-{number:04}", name) for number, name in enumerate(orders)])

    assert len({unicodedata.normalize("NFD", folder).upper().casefold() for folder in folders}) == len(orders)
    for folder in folders:
        assert 0 < len(folder.encode()) <= 60
        assert folder == folder.strip(" .")
        assert not FORBIDDEN.intersection(folder)
        assert folder.split(".")[0].strip().upper() not in DEVICES


def test_an_orders_folder_has_its_name() -> None:
    """The next one of that name has a number; one without a name has its id."""
    orders = [("1", "Mill Road"), ("2", "mill road"), ("3", None), ("4", "a/b: c"), ("5", "é" * 40), ("6", "../..")]

    assert folder_names(orders) == ["Mill Road", "mill road_1", "order-3", "a_b_ c", "é" * 30, "order-6"]


def by_template(template: str, *originals: str, order: str = "12 Harbour Lane", total: int | None = None) -> list[str]:
    """The stems that a template makes of these names, in their order."""
    images = [(f"id-{number}", original) for number, original in enumerate(originals)]
    positions = {image_id: place for place, (image_id, _) in enumerate(images, 1)}
    made = stems_by_template(template, images, positions, order=order, total=total or len(images))
    return list(made.values())


@pytest.mark.parametrize(
    ("template", "stem"),
    [
        ("{seq}_{name}", "01_kitchen"),
        ("{name}", "kitchen"),
        ("{order} - {seq}", "12 Harbour Lane - 01"),
        ("{image_id}", "id-0"),
        ("{seq}_{name}.jpg", "01_kitchen"),
        ("{seq}.v2", "01.v2"),
        ("no place", "no place"),
        ("<{name}>", "_kitchen_"),
        ("...{seq}...", "01"),
    ],
)
def test_a_template_makes_the_names(template: str, stem: str) -> None:
    """What stands in it is as harmless as a name."""
    assert by_template(template, "kitchen.dng") == [stem]


def test_numbers_have_as_many_digits_as_the_order_needs() -> None:
    """At least two, so that they sort as they are."""
    assert by_template("{seq}", "a", total=9) == ["01"]
    assert by_template("{seq}", "a", total=99) == ["01"]
    assert by_template("{seq}", "a", total=100) == ["001"]


def test_names_of_a_template_are_unique() -> None:
    """Where it does not make them so, a number does."""
    assert by_template("photo", "a", "b") == ["photo", "photo_1"]
    assert by_template("{name}", "a.jpg", "a.png") == ["a", "a_1"]
    assert by_template("_manifest", "a") == ["_manifest_1"]


def test_a_long_name_leaves_the_rest_of_the_template() -> None:
    """The number at the end is what tells such names apart."""
    (stem,) = by_template("{order}_{name}_{seq}", "n" * 300, order="o" * 300)

    assert stem == "o" * 80 + "_" + "n" * 61 + "_01"


@given(
    st.lists(st.sampled_from(["{seq}", "{name}", "{order}", "{image_id}"]) | any_name, max_size=4), any_names, any_name
)
def test_any_template_makes_safe_names(pieces: list[str], originals: list[str], order: str) -> None:
    """Whatever it is made of, each name can be written by any system, once."""
    template = "".join(pieces)
    try:
        check_template(template)
    except ValueError:
        return
    stems = by_template(template, *originals, order=order)

    for stem in stems:
        name = f"{stem}.webp"
        assert len(name.encode()) <= 150
        assert stem == stem.strip(" .") != ""
        assert not FORBIDDEN.intersection(name)
        assert stem.split(".")[0].strip().upper() not in DEVICES
    assert len({unicodedata.normalize("NFD", stem).casefold() for stem in stems}) == len(originals)


@given(any_name | st.none(), st.none() | st.integers(1, 10_000), st.integers(0, 49))
def test_any_order_names_its_archive(order_name: str | None, part: int | None, more: int) -> None:
    """The download's name is as safe as a member's, and always a ZIP's."""
    filename = archive_filename(order_name, "3f2a", part=part, more=more)

    assert len(filename.encode()) <= 150
    assert not FORBIDDEN.intersection(filename)
    assert filename.endswith(".zip")
    assert filename[0] not in " ."


@pytest.mark.parametrize(
    ("order_name", "filename"),
    [
        ("12 High Street", "12 High Street.zip"),
        ("12/14 High Street.ZIP", "12_14 High Street.zip"),
        ("house.jpg", "house.jpg.zip"),
        ("Müller", "Müller.zip"),
        ("aux", "_aux.zip"),
        ("", "order-3f2a.zip"),
        (None, "order-3f2a.zip"),
    ],
)
def test_an_archive_is_named_after_its_order(order_name: str | None, filename: str) -> None:
    """An order without a name lends its id."""
    assert archive_filename(order_name, "3f2a") == filename


def test_a_part_and_several_orders_have_names_of_their_own() -> None:
    """So that they can lie in one folder."""
    assert archive_filename("12 High Street", "3f2a", part=2) == "12 High Street part 2.zip"
    assert archive_filename(None, "3f2a", part=1) == "order-3f2a part 1.zip"
    assert archive_filename("12 High Street", "3f2a", more=3) == "12 High Street and 3 more.zip"


@pytest.mark.parametrize(
    ("filename", "header"),
    [
        ("plain.zip", "attachment; filename=\"plain.zip\"; filename*=UTF-8''plain.zip"),
        (
            "Müller & Söhne.zip",
            "attachment; filename=\"Muller & Sohne.zip\"; filename*=UTF-8''M%C3%BCller%20&%20S%C3%B6hne.zip",
        ),
        ("дом.zip", "attachment; filename=\"archive.zip\"; filename*=UTF-8''%D0%B4%D0%BE%D0%BC.zip"),
        (
            "Ann's (new).zip",
            "attachment; filename=\"Ann's (new).zip\"; filename*=UTF-8''Ann%27s%20%28new%29.zip",
        ),
        ("50%27.zip", "attachment; filename=\"50_27.zip\"; filename*=UTF-8''50%2527.zip"),
        (
            "“a\uff02\uff3cb”.zip",
            "attachment; filename=\"_a__b_.zip\"; filename*=UTF-8''%E2%80%9Ca%EF%BC%82%EF%BC%BCb%E2%80%9D.zip",
        ),
    ],
)
def test_a_download_says_its_name_twice(filename: str, header: str) -> None:
    """In ASCII for old clients, whole for all others."""
    assert content_disposition(filename) == header


def test_an_image_to_be_shown_without_a_name_in_ascii_is_called_one() -> None:
    """It is no archive."""
    assert content_disposition("дом.jpg", inline=True).startswith('inline; filename="image.jpg";')


def test_what_an_archive_holds_is_told_behind_a_long_name_too() -> None:
    """The order's name gives way."""
    names = [archive_filename("é" * 200, "o", **which) for which in ({"part": 2}, {"more": 19})]

    assert [name.rpartition("é")[2] for name in names] == [" part 2.zip", " and 19 more.zip"]
    assert all(len(name.encode()) <= 150 for name in names)


@pytest.mark.parametrize(
    "name",
    ["x" * 400, "é" * 200, "ﬃ" * 80, "…" * 60, "a" * 300 + ".b"],
    ids=["letters", "accents", "ligatures", "ellipses", "a dot"],
)
def test_the_longest_name_has_its_extension_in_ascii_too(name: str) -> None:
    """However many letters one becomes there: old clients know the file by nothing else."""
    header = content_disposition(archive_filename(name, "o"))

    assert re.fullmatch(r'attachment; filename="[a-z.]{1,145}\.zip"; filename\*=\S+\.zip', header)


@given(any_name)
def test_no_name_breaks_the_header(filename: str) -> None:
    """Quotes, line breaks and non-ASCII never reach the header, whoever made the name."""
    header = content_disposition(filename)

    assert header.isascii()
    assert header.isprintable()
    assert header.count('"') == 2
    assert "\\" not in header


@pytest.mark.parametrize(
    ("name", "extension", "own"),
    [
        ("photo.DNG", "tif", "dng"),
        ("photo.cr2", "tif", "cr2"),
        (" photo. NEF ", "tif", "nef"),
        ("photo.cr2", "jpg", "jpg"),
        ("photo.jpg", "tif", "tif"),
        ("photo", "tif", "tif"),
        ("photo.exe", "tif", "tif"),
        ("photo.jpg", "heic", "heic"),
    ],
)
def test_an_original_keeps_its_own_extension(name: str, extension: str, own: str) -> None:
    """Bytes decide; many raw formats are TIFF by their bytes, and the name tells which."""
    assert own_extension(name, extension) == own


def test_some_of_each_name_stays_whatever_stands_around_it() -> None:
    """Twenty bytes, though the rest of the template were cut for them."""
    stems = stems_by_template("{name}{order}{order}", [("a", "n" * 200 + ".jpg")], {"a": 1}, order="o" * 200, total=1)

    assert stems["a"] == ("n" * 20 + "o" * 160)[:145]


def test_what_stands_around_a_name_stays_in_whatever_letters_it_is() -> None:
    """A long name gives way, by bytes: what is behind it is what tells images apart."""
    (stem,) = by_template("{name}" + "ä" * 40 + "{seq}", "n" * 200)

    assert stem == "n" * (145 - 82) + "ä" * 40 + "01"


def test_a_template_names_an_image_once() -> None:
    """As it is called where it is listed first; and by its id where nothing of the template can be used."""
    positions = {"a": 1, "b": 2}

    twice = stems_by_template("{name}", [("a", "x.jpg"), ("a", "y.jpg")], positions, order="o", total=2)
    empty = stems_by_template("..", [("a", "x.jpg"), ("b", "y.jpg")], positions, order="o", total=2)

    assert (twice, empty) == ({"a": "x"}, {"a": "a", "b": "b"})


def test_folders_of_equal_long_names_are_short_too() -> None:
    """With their numbers: a rendition's folder may be below them."""
    assert folder_names([("1", "x" * 80), ("2", "x" * 80)]) == ["x" * 60, "x" * 58 + "_1"]
