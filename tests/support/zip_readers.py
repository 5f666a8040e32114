"""Other people's ZIP readers. Each takes an archive's path and tells the SHA-256 of every member by name.

Some go by the directory at the end, as programs with a file do; the others only by what comes first, as programs
behind a pipe or a network must.
"""

import hashlib
import os
import re
import subprocess
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZipFile

from stream_unzip import stream_unzip

from tests.support.tools import missing, require_tool

Reader = Callable[[Path], dict[str, str]]
Contents = tuple[list[str], bytes]
"""The names of all members, and what they hold, one after the other."""

HERE = Path(__file__).parents[1] / "interop"
CHUNK = 1 << 20
UTF8 = {**os.environ, "LC_ALL": "C.UTF-8"}


def run(*command: str | Path, stdin: Path | None = None) -> str:
    """What the program prints; any complaint of it is a failure. `stdin` reaches it through a pipe, unseekable."""
    return run_raw(*command, stdin=stdin).decode(errors="replace")


def run_raw(*command: str | Path, stdin: Path | None = None) -> bytes:
    """The same, undecoded."""
    if stdin is None:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, env=UTF8, check=False)
    else:
        with subprocess.Popen([require_tool("cat"), stdin], stdout=subprocess.PIPE) as cat:
            done = subprocess.run(command, stdin=cat.stdout, capture_output=True, env=UTF8, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout[-1000:]!r}{done.stderr[-1000:]!r}"
    return done.stdout


def python_zipfile(path: Path) -> dict[str, str]:
    with ZipFile(path) as archive:
        return {info.filename: sha256(chunks(archive, info.filename)) for info in archive.infolist()}


def python_stream_unzip(path: Path) -> dict[str, str]:
    with path.open("rb") as file:
        members = stream_unzip(iter(lambda: file.read(CHUNK), b""), chunk_size=CHUNK)
        return {name.decode(): sha256(contents) for name, _, contents in members}


def info_zip(path: Path) -> dict[str, str]:
    unzip = require_tool("unzip")
    run(unzip, "-tqq", path)
    return extracted(lambda folder: run(unzip, "-qq", path, "-d", folder))


def seven_zip(path: Path) -> dict[str, str]:
    assert "Everything is Ok" in seven_zip_test(path)
    return extracted(lambda folder: run(require_tool("7z"), "x", "-bd", f"-o{folder}", path))


def seven_zip_test(path: Path) -> str:
    """What 7-Zip says of an archive that is too large to be unpacked: it reads all, and checks every CRC."""
    return run(require_tool("7z"), "t", path)


def busybox(path: Path) -> dict[str, str]:
    return extracted(lambda folder: run(require_tool("busybox"), "unzip", "-q", path, "-d", folder))


def bsdtar(path: Path) -> dict[str, str]:
    return extracted(lambda folder: run(require_tool("bsdtar"), "-xf", path, "-C", folder))


def bsdtar_from_a_pipe(path: Path) -> dict[str, str]:
    return extracted(lambda folder: run(require_tool("bsdtar"), "-xf", "-", "-C", folder, stdin=path))


def java_zip_file(path: Path) -> dict[str, str]:
    return printed(run(*java_reader(), "file", path))


def java_zip_input_stream(path: Path) -> dict[str, str]:
    return printed(run(*java_reader(), "stream", path))


def node_yauzl(path: Path) -> dict[str, str]:
    return printed(run(node(), HERE / "reader.js", "yauzl", path))


def node_unzipper(path: Path) -> dict[str, str]:
    return printed(run(node(), HERE / "reader.js", "unzipper", path))


def info_zip_to_a_pipe(path: Path) -> Contents:
    unzip = require_tool("unzip")
    return run(unzip, "-Z1", path).splitlines(), run_raw(unzip, "-p", path)


def seven_zip_to_a_pipe(path: Path) -> Contents:
    program = require_tool("7z")
    names = re.findall(r"^Path = (.*)$", run(program, "l", "-ba", "-slt", path), re.MULTILINE)
    return names, run_raw(program, "x", "-so", path)


def bsdtar_from_pipe_to_pipe(path: Path) -> Contents:
    bsdtar = require_tool("bsdtar")
    return run(bsdtar, "-tf", "-", stdin=path).splitlines(), run_raw(bsdtar, "-xOf", "-", stdin=path)


BY_DIRECTORY: list[Reader] = [python_zipfile, info_zip, seven_zip, bsdtar, busybox, java_zip_file, node_yauzl]
BY_STREAM: list[Reader] = [python_stream_unzip, bsdtar_from_a_pipe, java_zip_input_stream, node_unzipper]


TO_PIPE = [info_zip_to_a_pipe, seven_zip_to_a_pipe, bsdtar_from_pipe_to_pipe]


@cache
def compiled() -> TemporaryDirectory[str]:
    """Where `Reader.java` is compiled to: once, not at every start. Removed at the end of the process."""
    classes = TemporaryDirectory(prefix="interop-")
    run(require_tool("javac"), "-d", classes.name, HERE / "Reader.java")
    return classes


def java_reader() -> list[str]:
    return [require_tool("java"), "-Xshare:auto", "-cp", compiled().name, "Reader"]


def node() -> str:
    """Node with the packages of `tests/interop/package-lock.json`, which `npm ci` installs there."""
    if not (HERE / "node_modules" / "yauzl").is_dir():
        missing("node_modules (npm ci in tests/interop)")
    return require_tool("node")


def chunks(archive: ZipFile, name: str) -> Iterator[bytes]:
    with archive.open(name) as member:
        while chunk := member.read(CHUNK):
            yield chunk


def sha256(data: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for chunk in data:
        digest.update(chunk)
    return digest.hexdigest()


def printed(lines: str) -> dict[str, str]:
    """From "<sha256> <name>", a line each."""
    return {name: digest for digest, _, name in (line.partition(" ") for line in lines.splitlines())}


def extracted(extract: Callable[[Path], object]) -> dict[str, str]:
    """From the files that a program puts into the folder it is given."""
    with TemporaryDirectory() as temporary:
        folder = Path(temporary) / "members"
        folder.mkdir()
        extract(folder)
        files = [path for path in folder.rglob("*") if path.is_file()]
        return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
