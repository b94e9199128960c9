"""What may be written over, what is written straight, and what is refused."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from hw.errors import InputError
from minikern.host import output
from minikern.host.output import check_place, new_folder, output_file, scratch_folder, write_file

pytestmark = pytest.mark.skipif(os.name != "posix", reason="names of Unix devices")


def only(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_whole_and_keeps_its_mode(tmp_path: Path) -> None:
    place = tmp_path / "trace.json"
    write_file(place, "old")
    place.chmod(0o600)
    with pytest.raises(RuntimeError), output_file(place) as file:
        file.write(b"half")
        raise RuntimeError
    assert place.read_text() == "old"
    write_file(place, b"new")
    assert (place.read_text(), place.stat().st_mode & 0o777, only(tmp_path)) == ("new", 0o600, ["trace.json"])


def test_a_link_to_a_file_stays_one(tmp_path: Path) -> None:
    (tmp_path / "far").write_text("old")
    (tmp_path / "near").symlink_to("far")
    write_file(tmp_path / "near", "new")
    assert (tmp_path / "near").is_symlink() and (tmp_path / "far").read_text() == "new"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (".", "a folder"),
        ("", "a folder"),
        ("/", "a folder"),
        ("folder", "a folder"),
        ("no/x.json", "is no folder"),
        ("to_null", "a link to a device"),
        ("to_nothing", "a link to nothing"),
        ("to_folder", "a link to a folder"),
        ("loop", "cannot be written"),
        ("a\0b", "no name of a file"),
        ("x" * 300, "cannot be written"),
        ("/dev/fd/999", "cannot be written"),
        ("/dev/stdin", "standard input"),
        ("/dev/fd/0", "standard input"),
        ("/proc/thread-self/fd/0", "standard input"),
        ("/proc/version", "cannot be written"),
    ],
)
def test_what_is_refused(name: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "to_null").symlink_to("/dev/null")
    (tmp_path / "to_nothing").symlink_to("nothing")
    (tmp_path / "to_folder").symlink_to("folder")
    (tmp_path / "loop").symlink_to("loop")
    before = only(tmp_path)
    with pytest.raises(InputError, match=told):
        write_file(Path(name), "text")
    assert only(tmp_path) == before
    assert (tmp_path / "to_null").is_symlink()


def test_null_and_full_stay_what_they_are() -> None:
    write_file(Path("/dev/null"), "text")
    with pytest.raises(InputError, match="/dev/full: cannot be written: No space left on device"):
        write_file(Path("/dev/full"), "text")
    assert Path("/dev/null").is_char_device() and Path("/dev/full").is_char_device()


def test_a_pipe_and_a_socket_are_written_straight(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    received: list[bytes] = []
    reader = threading.Thread(target=lambda: received.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    write_file(tmp_path / "pipe", "text" * 50_000)
    reader.join()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        server.listen()
        write_file(tmp_path / "socket", "heard")
        caller, _ = server.accept()
        received.append(caller.recv(100))
        caller.close()
    assert received == [b"text" * 50_000, b"heard"]
    assert (tmp_path / "pipe").is_fifo() and (tmp_path / "socket").is_socket()


def test_a_pipe_that_nobody_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "_READER_SECONDS", 0.1)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="nobody reads"):
        write_file(tmp_path / "pipe", "text")


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "/dev/../dev/stdout"])
@pytest.mark.parametrize("into", ["pipe", "file"])
def test_standard_output_by_name(name: str, into: str, tmp_path: Path) -> None:
    words = f"print('first'); write_file(Path({name!r}), 'second\\n'); print('third')"
    code = f"from pathlib import Path; from minikern.host.output import write_file; {words}"
    if into == "pipe":
        said = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
    else:
        with (tmp_path / "said").open("wb") as file:
            subprocess.run([sys.executable, "-c", code], stdout=file, check=True)
        said = (tmp_path / "said").read_bytes()
    assert said == b"first\nsecond\nthird\n"
    assert Path("/dev/stdout").is_symlink()


def test_the_file_that_receives_standard_output(tmp_path: Path) -> None:
    place = tmp_path / "said"
    code = f"from pathlib import Path; from minikern.host.output import check_place; check_place(Path({str(place)!r}))"
    with place.open("wb") as file:
        done = subprocess.run([sys.executable, "-c", code], stdout=file, stderr=subprocess.PIPE, check=False)
    assert b"standard output goes there already" in done.stderr


def test_a_place_is_checked_without_a_trace(tmp_path: Path) -> None:
    check_place(tmp_path / "new")
    assert only(tmp_path) == []


@pytest.mark.parametrize("end", [lambda: None, lambda: (_ for _ in ()).throw(OSError(28, "No space left on device"))])
def test_folders(end: Callable[[], object], tmp_path: Path) -> None:
    place = tmp_path / "a" / "b"
    try:
        with new_folder(place) as draft:
            (draft / "file").write_text("text")
            list(end() or ())
        assert only(place) == ["file"]
    except InputError as error:
        assert "No space left" in str(error)
        assert only(tmp_path) == []


@pytest.mark.parametrize("name", [".", "full", "link", "file"])
def test_folders_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full/x").touch()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("empty")
    monkeypatch.chdir(tmp_path / "empty" if name == "." else tmp_path)
    with pytest.raises(InputError), new_folder(Path(name)):
        pass
    assert only(tmp_path) == ["empty", "file", "full", "link"]


def test_scratch_is_gone_afterwards() -> None:
    with scratch_folder() as folder:
        assert folder.write("a/b", "text").read_text() == "text"
    assert not folder.path.exists()


def test_what_is_read_or_may_not_be_written(tmp_path: Path) -> None:
    place = tmp_path / "kept"
    place.write_text("old")
    with place.open() as file, pytest.raises(InputError, match="is read from"):
        write_file(Path(f"/dev/fd/{file.fileno()}"), "text")
    place.chmod(0o444)
    if os.getuid():
        with pytest.raises(InputError, match="may not be written"):
            write_file(place, "text")
    assert place.read_text() == "old"
