"""Other people's ZIP readers. Each takes an archive's path and tells the SHA-256 of every member by name.

Some go by the directory at the end, as programs with a file do; the others only by what comes first, as programs
behind a pipe or a network must.
"""

import hashlib
import os
import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZipFile

from stream_unzip import stream_unzip

from tests.tools import missing, require_tool

Reader = Callable[[Path], dict[str, str]]

HERE = Path(__file__).parent
CHUNK = 1 << 20
UTF8 = {**os.environ, "LC_ALL": "C.UTF-8"}


def run(*command: str | Path, stdin: Path | None = None) -> str:
    """What the program prints; any complaint of it is a failure. `stdin` reaches it through a pipe, unseekable."""
    if stdin is None:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, env=UTF8, check=False)
    else:
        with subprocess.Popen([require_tool("cat"), stdin], stdout=subprocess.PIPE) as cat:
            done = subprocess.run(command, stdin=cat.stdout, capture_output=True, env=UTF8, check=False)
    output = done.stdout.decode(errors="replace")
    assert done.returncode == 0, f"{command}: {output[-1000:]}{done.stderr.decode(errors='replace')[-1000:]}"
    return output


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
    return printed(run(require_tool("java"), HERE / "Reader.java", "file", path))


def java_zip_input_stream(path: Path) -> dict[str, str]:
    return printed(run(require_tool("java"), HERE / "Reader.java", "stream", path))


def node_yauzl(path: Path) -> dict[str, str]:
    return printed(run(node(), HERE / "reader.js", "yauzl", path))


def node_unzipper(path: Path) -> dict[str, str]:
    return printed(run(node(), HERE / "reader.js", "unzipper", path))


BY_DIRECTORY: list[Reader] = [python_zipfile, info_zip, seven_zip, bsdtar, busybox, java_zip_file, node_yauzl]
BY_STREAM: list[Reader] = [python_stream_unzip, bsdtar_from_a_pipe, java_zip_input_stream, node_unzipper]


def node() -> str:
    """Node with the packages of `package-lock.json` beside this file, which `npm ci` installs there."""
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
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
