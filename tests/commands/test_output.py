"""Where `download -o` puts its file: nothing that is no file is ever replaced."""

import os
import stat
import threading
from pathlib import Path

import pytest

from service.commands.output import Output

ORDER = "0b9f7c1e-4a57-4d6e-9d51-2f3c8a7be001"
CONTENT = b"PK" + bytes(range(256)) * 2_000  # more than a pipe holds


def deliver(output: Output, content: bytes = CONTENT) -> tuple[Path, Path | None]:
    """Collect the content in the partial file and deliver it; returns where it was collected, and where it is."""
    with output.partial_file(ORDER) as part:
        part.write_bytes(content)
        return part, output.deliver(part, "12 Harbour Lane.zip")


def kind(path: Path) -> int:
    """The type of file at a path, links not followed."""
    return stat.S_IFMT(path.lstat().st_mode)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def read_in_background(path: Path) -> tuple[threading.Thread, list[bytes]]:
    """Read a FIFO to its end; the list gets what was in it."""
    received: list[bytes] = []
    thread = threading.Thread(target=lambda: received.append(path.read_bytes()), daemon=True)
    thread.start()
    return thread, received


@pytest.mark.parametrize("before", [None, b"an older file"])
def test_a_file_is_collected_beside_its_place(tmp_path: Path, before: bytes | None) -> None:
    """And moved there when it is whole; an older one is replaced."""
    target = tmp_path / "house.zip"
    if before is not None:
        target.write_bytes(before)

    part, placed = deliver(Output(str(target)))

    assert (part, placed) == (tmp_path / "house.zip.part", target)
    assert target.read_bytes() == CONTENT
    assert names_in(tmp_path) == ["house.zip"]


def test_in_a_folder_the_suggested_name_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder that is named, or the one that the command runs in."""
    (tmp_path / "photos").mkdir()
    monkeypatch.chdir(tmp_path)

    part, placed = deliver(Output("photos"))
    _, here = deliver(Output())

    assert part == Path("photos") / f"{ORDER}.zip.part"
    assert placed == Path("photos/12 Harbour Lane.zip")
    assert here == Path("12 Harbour Lane.zip")
    assert here.read_bytes() == placed.read_bytes() == CONTENT


@pytest.mark.parametrize("exists", [True, False])
def test_a_symbolic_link_stays_and_its_target_is_written(tmp_path: Path, *, exists: bool) -> None:
    """Through a second link too, and where the target is not there yet."""
    (tmp_path / "real").mkdir()
    target = tmp_path / "real" / "house.zip"
    if exists:
        target.write_bytes(b"an older file")
    (tmp_path / "second").symlink_to(target)
    link = tmp_path / "link.zip"
    link.symlink_to("second")

    part, _ = deliver(Output(str(link)))

    assert part.parent == target.parent
    assert kind(link) == kind(tmp_path / "second") == stat.S_IFLNK
    assert kind(target) == stat.S_IFREG
    assert target.read_bytes() == CONTENT


def test_a_link_with_the_suggested_name_stays_too(tmp_path: Path) -> None:
    """The name is known only at the end."""
    target = tmp_path / "elsewhere.zip"
    (tmp_path / "photos").mkdir()
    link = tmp_path / "photos" / "12 Harbour Lane.zip"
    link.symlink_to(target)

    deliver(Output(str(tmp_path / "photos")))

    assert kind(link) == stat.S_IFLNK
    assert target.read_bytes() == CONTENT


def test_a_link_to_a_folder_is_that_folder(tmp_path: Path) -> None:
    """As everywhere."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "link").symlink_to("photos")

    deliver(Output(str(tmp_path / "link")))

    assert (tmp_path / "photos" / "12 Harbour Lane.zip").read_bytes() == CONTENT


@pytest.mark.parametrize("through_link", [False, True])
def test_a_fifo_stays_and_its_reader_gets_the_whole_file(tmp_path: Path, *, through_link: bool) -> None:
    """Nothing is left beside it."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    (tmp_path / "link").symlink_to(fifo)
    thread, received = read_in_background(fifo)

    part, placed = deliver(Output(str(tmp_path / "link" if through_link else fifo)))
    thread.join(10)

    assert received == [CONTENT]
    assert placed is None
    assert kind(fifo) == stat.S_IFIFO
    assert not part.exists()
    assert names_in(tmp_path) == ["fifo", "link"]


def test_a_fifo_with_the_suggested_name_stays_too(tmp_path: Path) -> None:
    """The name is known only at the end."""
    fifo = tmp_path / "12 Harbour Lane.zip"
    os.mkfifo(fifo)
    thread, received = read_in_background(fifo)

    deliver(Output(str(tmp_path)))
    thread.join(10)

    assert received == [CONTENT]
    assert kind(fifo) == stat.S_IFIFO


@pytest.mark.parametrize("type_of_file", [stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK])
def test_a_device_is_written_to_and_never_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, type_of_file: int
) -> None:
    """A file that says it is a device: its place, inode and all, is the same afterwards."""
    device = tmp_path / "device"
    device.write_bytes(b"")
    inode = device.stat().st_ino
    real_stat = Path.stat

    def stat_of_device(path: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        found = real_stat(path, follow_symlinks=follow_symlinks)
        if path != device:
            return found
        return os.stat_result([type_of_file | stat.S_IMODE(found.st_mode), *found[1:]])

    monkeypatch.setattr(Path, "stat", stat_of_device)
    part, placed = deliver(Output(str(device)))
    monkeypatch.undo()

    assert placed is None
    assert device.stat().st_ino == inode
    assert device.read_bytes() == CONTENT
    assert part.parent != tmp_path


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("nowhere/house.zip", "there is no folder nowhere."),
        ("to_nowhere.zip", "there is no folder "),
        ("circle", "the symbolic link circle leads in a circle."),
        ("x" * 256, f"File name too long: {'x' * 256}."),
        ("zips/", "there is no folder zips/."),
        ("house.zip", None),
        (".", None),
        ("./", None),
        (None, None),
    ],
)
def test_a_place_that_cannot_be_is_named_before_anything_is_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str | None, problem: str | None
) -> None:
    """And right ones pass."""
    monkeypatch.chdir(tmp_path)
    Path("circle").symlink_to("circle")
    Path("to_nowhere.zip").symlink_to("missing/house.zip")

    found = Output(name).problem()

    assert found is None if problem is None else problem in str(found)


def test_a_circle_of_links_is_an_error_and_not_replaced(tmp_path: Path) -> None:
    """Also where the name is known only at the end."""
    circle = tmp_path / "12 Harbour Lane.zip"
    circle.symlink_to(circle.name)

    with pytest.raises(OSError, match="symbolic links"):
        deliver(Output(str(tmp_path)))

    assert kind(circle) == stat.S_IFLNK
