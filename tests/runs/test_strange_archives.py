"""Archives that two programs may read differently, honest ones of other programs, and what is no evidence at all.

Would catch: an archive that hides something behind a name, a header or a folder; one that honest tools wrote called tampering; a check
that takes minutes, much memory or a traceback for garbage, or blames a forger where a person mistyped or may not read.
"""

from __future__ import annotations

import io
import os
import shutil
import stat
import struct
import subprocess
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from evidence_support import PHASE, Run, copied
from test_adversaries import checked, packed

from helpers.checker import check
from helpers.checker.__main__ import main
from helpers.checker.dsse import sha256
from helpers.checker.ledger_reader import named_differences, read
from helpers.errors import UsageError

LONGEST = 40.0
"""Seconds that a check of garbage may take; each takes less than one on a machine that does nothing else."""


@pytest.fixture
def plain(sealed_once: Run, tmp_path: Path) -> Path:
    """The run as `zip -r` packs it."""
    packed(Run(sealed_once.folder, sealed_once.people), tmp_path / "evidence.zip")
    return tmp_path / "evidence.zip"


@pytest.fixture
def key(sealed_once: Run) -> str:
    return sealed_once.people.signer("sealer").public_key.pem


def kinds_of(path: Path, run: Run) -> set[str]:
    return {each.kind for each in check.check(path, run.people.signer("sealer").public_key).findings}


def more(*members: tuple[zipfile.ZipInfo | str, bytes]) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        with zipfile.ZipFile(path, "a") as archive:
            for name, data in members:
                archive.writestr(name, data)

    return change


def of_kind(mode: int, name: str = "x", data: bytes = b"x") -> tuple[zipfile.ZipInfo, bytes]:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, (mode | 0o644) << 16
    return info, data


def patched(at: int, data: bytes, *, of: bytes = b"PK\3\4") -> Callable[[Path], None]:
    """Overwrites a field of the first header of this kind."""

    def change(path: Path) -> None:
        raw = path.read_bytes()
        found = raw.index(of) + at
        path.write_bytes(raw[:found] + data + raw[found + len(data) :])

    return change


def a_name_that_ends_early(path: Path) -> None:
    raw = path.read_bytes()
    more(("indexXhtml", b"x"))(path)
    path.write_bytes(path.read_bytes().replace(b"indexXhtml", b"index\0html"))
    assert len(raw) < path.stat().st_size


def two_lists(path: Path) -> None:
    raw = path.read_bytes()
    path.write_bytes(raw + raw[raw.index(b"PK\1\2") :])


def one_within_one_within_one(path: Path) -> None:
    inner = path.read_bytes()
    for _ in range(3):
        packed_again = io.BytesIO()
        with zipfile.ZipFile(packed_again, "w") as archive:
            archive.writestr("evidence.zip", inner)
        inner = packed_again.getvalue()
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(path.with_suffix(".new"), "w", zipfile.ZIP_DEFLATED) as new:
        for info in archive.infolist():
            new.writestr(info.filename, inner if info.filename == "evidence.zip" else archive.read(info))
    path.with_suffix(".new").replace(path)


def bytes_behind_a_stream(path: Path) -> None:
    """The compressed bytes of one file are followed by others, within the length that the headers say."""
    new = path.with_suffix(".new")
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(new, "w", zipfile.ZIP_DEFLATED) as target:
        for info in archive.infolist():
            target.writestr(info.filename, archive.read(info))
    with zipfile.ZipFile(new) as archive:
        info = archive.getinfo("index.html")
        raw = new.read_bytes()
        start = info.header_offset + 30 + len(info.filename)
    end, size = start + info.compress_size, struct.pack("<L", info.compress_size + 6)
    directory = raw.index(b"PK\1\2")
    head = bytearray(raw[:end] + b"hidden" + raw[end:directory])
    head[info.header_offset + 18 : info.header_offset + 22] = size
    tail, at = bytearray(raw[directory:]), 0
    while tail[at : at + 4] == b"PK\1\2":
        n, x, c = struct.unpack("<HHH", tail[at + 28 : at + 34])
        offset = struct.unpack("<L", tail[at + 42 : at + 46])[0]
        if offset == info.header_offset:
            tail[at + 20 : at + 24] = size
        if offset > info.header_offset:
            tail[at + 42 : at + 46] = struct.pack("<L", offset + 6)
        at += 46 + n + x + c
    tail[at + 16 : at + 20] = struct.pack("<L", directory + 6)
    path.write_bytes(bytes(head + tail))


STRANGE: dict[str, tuple[Callable[[Path], object], set[str]]] = {
    "a name that ends early": (a_name_that_ends_early, {"zip-path"}),
    "a name twice but for case": (more(("INDEX.html", b"x")), {"zip-duplicate"}),
    "a drive of Windows": (more(("C:/x", b"x")), {"zip-path"}),
    "a share of Windows": (more(("\\\\host\\x", b"x")), {"zip-path"}),
    "a path with a way back": (more(("30_x/../../x", b"x")), {"zip-path"}),
    "a path with two slashes": (more(("30_x//x", b"x")), {"zip-path"}),
    "a device of Windows": (more(("aux.html", b"x")), {"file-added"}),
    "a folder that holds bytes": (more(("hidden/", b"x" * 99)), {"zip-changed"}),
    "an empty folder": (more(("hidden/", b"")), {"folder-added"}),
    "a pipe": (more(of_kind(stat.S_IFIFO)), {"zip-link"}),
    "a device": (more(of_kind(stat.S_IFCHR)), {"zip-link"}),
    "a link": (more(of_kind(stat.S_IFLNK, data=b"/etc/passwd")), {"zip-link"}),
    "a folder by its mode": (more(of_kind(stat.S_IFDIR)), {"zip-link"}),
    "an encrypted file by one header": (patched(6, b"\1\0"), {"zip-changed"}),
    "an encrypted file by the list": (patched(8, b"\1\0", of=b"PK\1\2"), {"zip-changed"}),
    "another method by one header": (patched(8, b"\x0c\0"), {"zip-changed"}),
    "another size by one header": (patched(22, b"\1\0\0\0"), {"zip-changed"}),
    "another checksum by one header": (patched(14, b"\1\2\3\4"), {"zip-changed"}),
    "an unknown method": (patched(10, b"\x63\0", of=b"PK\1\2"), {"zip-changed"}),
    "two lists of files": (two_lists, {"zip-damaged", "zip-changed"}),
    "archives in archives": (one_within_one_within_one, {"zip-damaged", "zip-changed"}),
    "bytes behind a compressed stream": (bytes_behind_a_stream, {"zip-changed"}),
}


@pytest.mark.parametrize("what", STRANGE)
def test_a_strange_archive_is_named(plain: Path, sealed_once: Run, what: str) -> None:
    change, expected = STRANGE[what]
    change(plain)
    found = check.check(plain, sealed_once.people.signer("sealer").public_key).findings
    assert expected & {each.kind for each in found}, found
    assert "unreadable" not in {each.kind for each in found}, found


def streamed(run: Run, target: Path) -> None:
    """As a program writes to a pipe: sizes stand behind each file."""

    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.data = bytearray()

        def writable(self) -> bool:
            return True

        def write(self, data: object) -> int:
            self.data += bytes(data)  # type: ignore[call-overload]
            return len(bytes(data))  # type: ignore[call-overload]

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:  # type: ignore[type-var]
        for path in sorted(run.folder.rglob("*")):
            archive.write(path, path.relative_to(run.folder))
    target.write_bytes(bytes(pipe.data))


def wide(run: Run, target: Path) -> None:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(run.folder.rglob("*")):
            if path.is_file():
                with archive.open(str(path.relative_to(run.folder)), "w", force_zip64=True) as into:
                    into.write(path.read_bytes())


def by_zip(*options: str) -> Callable[[Run, Path], None]:
    def pack(run: Run, target: Path) -> None:
        if not shutil.which("zip"):
            pytest.skip("zip is not installed: apt-get install zip")
        subprocess.run(["zip", "-q", "-r", *options, str(target), "."], cwd=run.folder, check=True)

    return pack


HONEST: dict[str, Callable[[Run, Path], None]] = {
    "streamed": streamed,
    "with fields of 64 bits": wide,
    "by zip": by_zip(),
    "by zip, stored": by_zip("-0"),
    "by zip, best": by_zip("-9"),
    "by zip, without times": by_zip("-X"),
    "by zip, without folders": by_zip("-D"),
}


@pytest.mark.parametrize("how", HONEST)
def test_what_honest_programs_pack_is_intact(sealed: Run, tmp_path: Path, how: str) -> None:
    HONEST[how](sealed, tmp_path / "evidence.zip")
    assert kinds_of(tmp_path / "evidence.zip", sealed) == set()


def opened_in_jupyterlab(run: Run) -> None:
    for name in (PHASE, "."):
        (run.folder / name / ".ipynb_checkpoints").mkdir()
    for path in (run.attempt, run.folder / "index.html", next((run.folder / PHASE).glob("*-verify.json"))):
        shutil.copy(path, path.parent / ".ipynb_checkpoints" / f"{path.stem}-checkpoint{path.suffix}")


def touched(run: Run) -> None:
    for path in run.folder.rglob("*"):
        os.utime(path, (10**9, 10**9))
        path.chmod(0o777)


def looked_at(run: Run) -> None:
    for name in (
        ".DS_Store",
        "30_x/Thumbs.db",
        "approvals/desktop.ini",
        ".~lock.index.html#",
        "index.html:Zone.Identifier",
    ):
        (run.folder / name).write_bytes(b"x")


@pytest.mark.parametrize("change", [opened_in_jupyterlab, touched, looked_at])
def test_what_honest_people_do_is_intact(sealed: Run, tmp_path: Path, change: Callable[[Run], None]) -> None:
    change(sealed)
    found = checked(sealed)
    assert found.findings == ()
    assert change is touched or any("JupyterLab" in each for each in found.notes)
    packed(sealed, tmp_path / "evidence.zip")
    if change is not looked_at:  # a colon in the name of a member leads to another stream of a file in Windows
        assert kinds_of(tmp_path / "evidence.zip", sealed) == set()


def a_sparse_file(path: Path, begins: bytes = b"") -> Path:
    with path.open("wb") as file:
        file.write(begins)
        file.truncate(2 << 30)
    return path


def a_bomb(path: Path) -> Path:
    """A ledger of 1.2 GB: one compressed piece many times."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    piece = deflate.compress(b"\0" * (1 << 20)) + deflate.flush(zlib.Z_FULL_FLUSH)
    stream, size = piece * 1200 + deflate.flush(), 1200 << 20
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("ledger.jsonl", stream)
        archive.writestr("manifest.json", "{}")
    raw = bytearray(path.read_bytes())
    for begins, method, length in ((b"PK\3\4", 8, 22), (b"PK\1\2", 10, 24)):
        at = raw.index(begins)
        raw[at + method : at + method + 2], raw[at + length : at + length + 4] = b"\x08\0", struct.pack("<L", size)
    path.write_bytes(raw)
    return path


def many_folders(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(20_000):
            archive.writestr(f"{number}/", b"")
        archive.writestr("manifest.json", "{}")
    return path


def a_folder_of(path: Path, **files: bytes) -> Path:
    path.mkdir()
    for name, data in files.items():
        (path / name.replace("_", ".")).write_bytes(data)
    return path


def a_sparse_ledger(path: Path) -> Path:
    path.mkdir()
    a_sparse_file(path / "ledger.jsonl")
    return path


def a_sparse_archive(path: Path) -> Path:
    a_sparse_ledger(path)
    (path / "ledger.jsonl").write_bytes(b"")
    a_sparse_file(path / "evidence.zip", b"PK\3\4")
    (path / "manifest.json").write_bytes(b"{}")
    return path


def a_pipe(path: Path) -> Path:
    os.mkfifo(path)
    return path


def written(data: bytes) -> Callable[[Path], Path]:
    return lambda path: (path.write_bytes(data) and path) or path


GARBAGE: dict[str, tuple[Callable[[Path], Path], int]] = {
    "nothing there": (lambda path: path, 2),
    "an empty file": (written(b""), 2),
    "a text": (written(b"hello\n" * 99), 2),
    "a text that begins as an archive does": (written(b"PK\3\4 hello"), 1),
    "two letters": (written(b"PK"), 1),
    "an archive of nothing": (written(b"PK\5\6" + b"\0" * 18), 2),
    "an empty folder": (a_folder_of, 2),
    "a folder with an empty ledger": (lambda path: a_folder_of(path, ledger_jsonl=b""), 2),
    "a folder with an empty manifest": (lambda path: a_folder_of(path, manifest_json=b""), 1),
    "a folder of bytes": (
        lambda path: a_folder_of(path, ledger_jsonl=os.urandom(9999), manifest_json=os.urandom(9999)),
        1,
    ),
    "a sparse file of 2 GB": (a_sparse_file, 2),
    "a sparse archive of 2 GB": (lambda path: a_sparse_file(path, b"PK\3\4"), 1),
    "a folder with a sparse ledger": (a_sparse_ledger, 2),
    "a folder with a sparse archive": (a_sparse_archive, 1),
    "a bomb": (a_bomb, 1),
    "twenty thousand folders": (many_folders, 1),
    "a pipe": (a_pipe, 2),
    "a device": (lambda path: Path("/dev/zero"), 2),
    "a name that is too long": (lambda path: path / ("x" * 5000), 2),
}


@pytest.mark.parametrize("what", GARBAGE)
def test_garbage_is_told_in_a_moment(tmp_path: Path, key: str, capsys: pytest.CaptureFixture[str], what: str) -> None:
    make, expected = GARBAGE[what]
    path, began = make(tmp_path / "it"), time.monotonic()
    assert main([str(path), "--public-key", key]) == expected
    said = capsys.readouterr()
    assert time.monotonic() - began < LONGEST
    assert "Traceback" not in said.out + said.err
    assert len(said.out) < 3_000_000


@pytest.mark.parametrize("given", ["", "x" * 5000, "/dev/zero", "/", "a\nb", "AAAA", "é"])
def test_a_key_that_is_none_is_a_mistake_and_no_tampering(sealed_once: Run, given: str) -> None:
    assert main([str(sealed_once.folder), "--public-key", given]) == 2


def test_a_mistyped_run_before_is_a_mistake_and_no_tampering(sealed_once: Run, key: str, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("hello")
    for path in (tmp_path / "nowhere", tmp_path / "text"):
        assert main([str(sealed_once.folder), "--public-key", key, "--previous", str(path)]) == 2


def test_a_ledger_of_one_line_many_times_is_compared_in_a_moment() -> None:
    lines, _ = read(b'{"at":"","event":"x","n":1,"prev":""}\n' * 20_000)
    began = time.monotonic()
    for sealed in ([lines[0].digest] * 15_000, [sha256(b"x")] * 20_000, []):
        assert named_differences(lines, sealed)
    assert time.monotonic() - began < LONGEST


@pytest.fixture
def readable_by_all(sealed_once: Run) -> Iterator[Run]:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        yield copied(sealed_once, Path(folder) / "first")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("closed", [".", PHASE, "ledger.jsonl", "index.html", "evidence.zip"])
def test_who_may_not_read_is_told_so(readable_by_all: Run, closed: str) -> None:
    (readable_by_all.folder / closed).chmod(0)
    public = readable_by_all.people.signer("sealer").public_key
    child = os.fork()
    if not child:
        os.setuid(65534)
        try:
            check.check(readable_by_all.folder, public)
        except UsageError as error:
            os._exit(0 if "may not read" in str(error) or "ermission" in str(error) else 3)
        os._exit(4)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
