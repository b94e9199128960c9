"""``minikern kexec``: what it prints, and how it ends."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from hw.errors import InputError
from minikern.commands.kexec import kexec
from minikern.describe.presets import load_machine
from minikern.lab.run import boot
from minikern.report.dmesg import format_dmesg
from tests.kexec.images import make_bzimage, put


def run(*words: str) -> Result:
    return CliRunner().invoke(kexec, ["tiny", *words])


@pytest.fixture
def kernel(tmp_path: Path) -> str:
    path = tmp_path / "vmlinuz"
    path.write_bytes(make_bzimage())
    return str(path)


def test_both_logs_segments_and_downtime(kernel: str, tmp_path: Path) -> None:
    initrd = tmp_path / "initrd"
    initrd.write_bytes(b"\x1f\x8b" * 5000)
    done = run("--kernel", kernel, "--initrd", str(initrd), "--append", "second=yes")
    assert done.exit_code == 0, done.output
    assert done.stdout.count("Run /init as init process") == 2
    assert "Command line: second=yes" in done.stdout
    order = ["nr_segments = 4", "Starting new kernel", "6.12.0-test", "decompression"]
    places = [done.stdout.index(text) for text in order]
    assert places == sorted(places)


def test_the_command_line_is_used_again(kernel: str) -> None:
    assert run("--kernel", kernel).stdout.count("Command line: console=ttyS0\n") == 2


def test_json_of_a_chain(kernel: str) -> None:
    done = run("--kernel", kernel, "--times", "2", "--json", "--digest", "hashlib")
    rounds = json.loads(done.stdout)["kexec"]
    assert len(rounds) == 2
    for one in rounds:
        assert one["digested_bytes"] == sum(s["memsz_bytes"] for s in one["segments"][1:])
        assert list(one["downtime_sim_ns"]) == ["shutdown", "relocation", "purgatory", "decompression", "boot"]


def test_json_says_how_the_image_was_checked(kernel: str) -> None:
    for words, mode, code in (
        (["--digest", "pycryptodome-portable"], "generic", "pycryptodome-portable"),
        (["--variant", "purgatory-file-bytes", "--digest", "hashlib"], "file-bytes", "hashlib"),
        (["--no-checks"], "none", ""),
    ):
        (one,) = json.loads(run("--kernel", kernel, "--json", *words).stdout)["kexec"]
        assert (one["purgatory"], one["digest_code"], one["crash"]) == (mode, code, False)
        assert one["purgatory_gives_up"]
        assert (one["digested_bytes"] == 0) == (mode == "none")


def test_a_flip_stops_the_machine(kernel: str) -> None:
    done = run("--kernel", kernel, "--flip", "kernel:0x5000.7")
    assert done.exit_code == 3
    assert "first region that differs: kernel" in done.stderr
    unchecked = run("--kernel", kernel, "--flip", "kernel:0x5000.7", "--no-checks")
    assert (unchecked.exit_code, "ZSTD-compressed data is corrupt -- System halted" in unchecked.stderr) == (3, True)
    assert run("--kernel", kernel, "--flip", "kernel:0x20000.7", "--no-checks").exit_code == 0  # room to unpack


def test_a_way_to_check_says_what_it_gives_up(kernel: str) -> None:
    spent = {}
    for mode in ("generic", "file-bytes", "accelerated", "none"):
        done = run("--kernel", kernel, "--purgatory", mode)
        assert f"purgatory {mode}: gives up " in done.stdout
        row = next(line for line in done.stdout.splitlines() if line.startswith("purgatory  "))
        spent[mode] = float(row.split()[1])
    assert spent["generic"] > spent["file-bytes"] > spent["none"] == 0.0
    assert spent["generic"] > spent["accelerated"] > 0


BAD = [
    (["--purgatory", "half"], "expected one of generic"),
    (["--flip", "kernel"], "expected SEGMENT:OFFSET"),
    (["--flip", "kernel:zz"], "expected SEGMENT:OFFSET"),
    (["--flip", "kernel:0xffffffffff"], "EINVAL: flip"),
    (["--flip", "nothing:0"], "EINVAL: segment"),
    (["--initrd", "/does/not/exist"], "--initrd: /does/not/exist: cannot be read"),
    (["--append", "x" * 3000], "EINVAL: command line"),
    (["--release", "none"], "unknown kernel"),
]


@pytest.mark.parametrize(("words", "text"), BAD)
def test_bad_usage_is_one_line(kernel: str, words: list[str], text: str) -> None:
    done = run("--kernel", kernel, *words)
    assert done.exit_code == 2
    assert text in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_bad_kernel_is_named(tmp_path: Path) -> None:
    image = make_bzimage()
    put(image, "xloadflags", 0)
    path = tmp_path / "bad"
    path.write_bytes(image)
    done = run("--kernel", str(path))
    assert (done.exit_code, "ENOEXEC: xloadflags at 0x236" in done.stderr) == (2, True)
    assert run("--kernel", str(tmp_path / "missing")).exit_code == 2


@pytest.mark.parametrize("option", ["--kernel", "--initrd"])
def test_a_pipe_is_refused_at_once(kernel: str, tmp_path: Path, option: str) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    words = ["--kernel", str(pipe)] if option == "--kernel" else ["--kernel", kernel, "--initrd", str(pipe)]
    done = run(*words)
    assert isinstance(done.exception, InputError) or done.exit_code == 2
    assert "expected a file" in done.output + str(done.exception)


@pytest.mark.parametrize(("size", "text"), [(400 << 20, "ENOEXEC"), (3 << 30, "expected at most")])
def test_a_large_file_that_is_no_kernel_is_not_read(tmp_path: Path, size: int, text: str) -> None:
    large = tmp_path / "large"
    with large.open("wb") as file:
        file.truncate(size)
    began = time.monotonic()
    done = run("--kernel", str(large))
    assert text in done.output + str(done.exception)
    assert time.monotonic() - began < 2


def test_memory_is_kept_for_a_kernel_that_can_take_it(tmp_path: Path) -> None:
    path = tmp_path / "vmlinuz"
    path.write_bytes(make_bzimage(version=b"7.2.13-kho (root@vm) #1 SMP"))
    words = ("--release", "kho-7.2", "--kernel", str(path), "--keep")
    done = run(*words, "8M:2", "--variant", "kho-7.2")
    assert done.exit_code == 0, done.output
    assert "luo: Retrieved live update data, liveupdate number: 1" in done.stdout
    assert "segment[0].buf   = kho_scratch" in done.stdout
    assert "lost in the handover" not in done.stdout
    gone = run(*words, "8M:2", "--variant", "kho-7.2", "--append", "kho=on")  # nobody there takes sessions back
    assert "lost in the handover: memory file 0 of session 'kept': " in gone.stdout
    for size, variant in (("8M:2", "deferred"), ("8M:11", "kho-7.2"), ("8X", "kho-7.2"), ("1T", "kho-7.2")):
        refused = run(*words, size, "--variant", variant)
        assert isinstance(refused.exception, InputError) or refused.exit_code == 2, refused.output


def test_kexec_load_by_the_tools_list(kernel: str) -> None:
    done = run("--kernel", kernel, "--syscall", "load", "--append", "second=yes")
    assert done.exit_code == 0, done.output
    assert "segment[0].buf   = setup_data\n" in done.stdout
    assert "Command line: second=yes" in done.stdout
    assert "BIOS-e820: [mem 0x0000000000000400-0x000000000009fbff] usable" in done.stdout


def test_kexec_load_makes_no_crash_kernel(kernel: str) -> None:
    done = run("--kernel", kernel, "--syscall", "load", "--crash")
    assert isinstance(done.exception, InputError) or "--syscall file" in done.output


def test_a_log_is_timed_by_its_stamps_or_left_alone(kernel: str, tmp_path: Path) -> None:
    path = tmp_path / "boot.log"
    path.write_text(format_dmesg(boot(load_machine("laptop")).kernel))
    options = ["--kernel", kernel, "--append", "x", "--json"]
    fitted = CliRunner().invoke(kexec, [str(path), *options])
    alone = CliRunner().invoke(kexec, [str(path), *options, "--no-fit"])
    assert fitted.exit_code == alone.exit_code == 0, (fitted.output, alone.output)
    assert "fitted to the log's stamps" in fitted.stderr and "fitted" not in alone.stderr
