"""``minikern kexec``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from hw.errors import InputError
from hw.files import open_input
from hw.numbers import is_count
from minikern.commands.common import (
    fit_options,
    load_machine_fields,
    load_named_variant,
    machine_options,
    reported,
    show_sheets,
    tell_unmodelled,
)
from minikern.commands.numbers import Count

if TYPE_CHECKING:
    from minikern.core.experiment import Experiment
    from minikern.core.kernel import Kernel
    from minikern.kexec.load import Image, Policy
    from minikern.lab.kexec import Rebooted
    from minikern.lab.run import Boot

MAX_TIMES = 100
MAX_IMAGE_BYTES = 512 << 20  # what is read into this computer's memory; the kernel's own limit is 4 GiB
HEAD_BYTES = 64 << 10  # more than a kernel file's setup header
DIGESTS = ["generic", "pycryptodome", "pycryptodome-portable", "pycryptodome-accelerated", "hashlib"]


def without(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Take options of ``machine_options`` away that mean something else here."""

    def drop(command: Callable[..., Any]) -> Callable[..., Any]:
        params: list[click.Parameter] = getattr(command, "__click_params__")  # noqa: B009 - set by click
        params[:] = [param for param in params if param.name not in names]
        return command

    return drop


@click.command()
@click.option("--kernel", "kernel_file", required=True, metavar="BZIMAGE", help="The kernel file to load.")
@click.option("--initrd", metavar="FILE", help="Its initial RAM disk.")
@click.option("--append", metavar="WORDS", help="Its command line; without it, the first kernel's is used again.")
@click.option("--release", default="", metavar="NAME", help="Release of the first kernel.")
@click.option("--variant", default="", metavar="NAME|FILE", help="Boot as this rung of the ladder.")
@click.option(
    "--digest",
    type=click.Choice(DIGESTS),
    default="generic",
    show_default=True,
    help="How this computer digests; simulated time is the release's either way.",
)
@click.option("--purgatory", default="", metavar="MODE", help="generic, accelerated, file-bytes, parallel or none.")
@click.option("--no-checks", is_flag=True, help="Let the purgatory check nothing.")
@click.option("--flip", multiple=True, metavar="SEGMENT:OFFSET[.BIT]", help="Change a bit after loading.")
@click.option("--times", type=Count(1, MAX_TIMES), default=1, help="How often to hand over.")
@click.option("--trusted-cert", metavar="FILE", multiple=True, help="Verify the kernel's signature against this.")
@click.option("--sig-enforce", is_flag=True, help="Refuse a kernel without a good signature, with Linux's code.")
@click.option("--lockdown", is_flag=True, help="Lock the first kernel down: such a kernel is refused with EPERM.")
@click.option("--crash", is_flag=True, help="Load it as the crash kernel, then let the first one panic.")
@click.option("--crashkernel", default="256M", show_default=True, metavar="WORDS", help="Memory kept for --crash.")
@click.option(
    "--syscall",
    type=click.Choice(["file", "load"]),
    default="file",
    show_default=True,
    help="kexec_file_load(), or kexec_load() with the list kexec-tools makes.",
)
@click.option("--keep", default="", metavar="SIZE[:ORDER]", help="Keep a memory file for the next kernel: needs KHO.")
@click.option("--json", "as_json", is_flag=True, help="Segments and times as JSON, no logs.")
@without("kernel", "append", "times")
@machine_options
@fit_options
@reported
def kexec(
    kernel_file: str,
    initrd: str | None,
    append: str | None,
    release: str,
    variant: str,
    digest: str,
    purgatory: str,
    no_checks: bool,
    flip: tuple[str, ...],
    times: int,
    trusted_cert: tuple[str, ...],
    sig_enforce: bool,
    lockdown: bool,
    crash: bool,
    crashkernel: str,
    syscall: str,
    keep: str,
    as_json: bool,
    **machine: Any,
) -> None:
    """Boot, load a kernel, hand the machine over to it, and boot that.

    \b
    Example:
      minikern kexec tiny --kernel /boot/vmlinuz --initrd /boot/initrd.img --append console=ttyS0
    """
    from minikern.core.experiment import Experiment
    from minikern.kexec.purgatory import LOSES
    from minikern.lab.run import BootStopped
    from minikern.lab.run import boot as run
    from minikern.report.dmesg import format_dmesg

    image_bytes, initrd_bytes, append = read_images(kernel_file, initrd, append)
    chosen = load_named_variant(variant)
    experiment = with_digest(chosen.experiment if chosen else Experiment(), purgatory)
    policy = signature_policy(trusted_cert, sig_enforce, lockdown)
    flips = [parse_flip(text) for text in flip]
    asked = _Asked(
        image_bytes, initrd_bytes, append, syscall, crash, policy, flips, digest, not no_checks, as_json
    )
    if crash and times > 1:
        raise InputError("--crash: expected --times 1: the crash kernel keeps no memory for another one")
    if crash and syscall == "load":
        raise InputError("--crash: expected --syscall file: a list for a crash kernel is not made here")
    spec, options = load_machine_fields(machine)
    rounds: list[Rebooted] = []
    try:
        words = f"crashkernel={crashkernel}" if crash else ""
        tell_unmodelled(spec, [chosen], " ".join(filter(None, (words, append))), release)
        running = run(spec, chosen, release, words, options, experiment)
        _show_log(running, as_json)
        if keep:
            keep_memory(running.kernel, keep)
        for _ in range(times):
            rounds.append(_hand_over(running, asked))
            running = rounds[-1].boot
            _show_log(running, as_json)
    except BootStopped as error:
        if not as_json:
            click.echo(format_dmesg(error.kernel), nl=False)
        raise
    finally:
        if rounds:
            _show_times(rounds, as_json)
            for line in (line for each in rounds for line in each.lost if not as_json):
                click.echo(f"lost in the handover: {line}")
            if purgatory and not as_json:
                click.echo(f"purgatory {purgatory}: gives up {LOSES[purgatory]}")


@dataclass(frozen=True)
class _Asked:
    """What is done each time: the files, how they are loaded, what is damaged, and who looks."""

    kernel: bytes
    initrd: bytes | None
    append: str | None
    syscall: str
    crash: bool
    policy: Policy
    flips: Sequence[tuple[str, int, int]]
    digest: str
    checks: bool
    as_json: bool


def _hand_over(running: Boot, asked: _Asked) -> Rebooted:
    """Load the image, hand over and boot it; what the old kernel says last is shown, and what cannot be told said."""
    from minikern.kexec.load import KEXEC_FILE_ON_CRASH, Kexec
    from minikern.kho.loss import lost_files
    from minikern.lab.kexec import reboot
    from minikern.report.dmesg import stamp

    before = running.kernel
    cmdline = before.cmdline.text if asked.append is None else asked.append
    loader = Kexec(before, asked.policy)
    if asked.syscall == "load":
        image = loader.kexec_tools_load(asked.kernel, asked.initrd, cmdline)
    else:
        flags = KEXEC_FILE_ON_CRASH if asked.crash else 0
        image = loader.kexec_file_load(asked.kernel, asked.initrd, cmdline, flags)
    if not asked.as_json:
        click.echo(segment_table(image))
    for name, offset, bit in asked.flips:
        image.flip(name, offset, bit)
    shown = len(before.log.lines)
    done = reboot(running, image, asked.digest, asked.checks)
    done.lost.extend(lost_files(before.kho.sessions, done.boot.kernel))
    if done.places is not None:
        click.echo(f"minikern: {done.places.told()}", err=True)
    if not asked.as_json:
        click.echo("".join(f"{stamp(line.ts_ns)}{line.text}\n" for line in before.log.lines[shown:]), nl=False)
    return done


def read_images(kernel_file: str, initrd: str | None, append: str | None) -> tuple[bytes, bytes | None, str | None]:
    """Kernel, initial RAM disk and command line; a unified kernel image brings what the options do not give.

    kexec_file_load() itself refuses such an image; it is taken apart in user space, which is said on stderr.
    """
    from minikern.kexec.bzimage import bzimage64_probe
    from minikern.kexec.uki import is_uki, uki_parts

    data = read_file("--kernel", kernel_file, lambda head: None if is_uki(head) else bzimage64_probe(head))
    disk = read_file("--initrd", initrd) if initrd else None
    if not is_uki(data):
        return data, disk, append
    parts = uki_parts(data)
    bzimage64_probe(parts.linux)
    text = "a unified kernel image: kexec_file_load() says ENOEXEC, so kexec-tools takes .linux out and loads that"
    click.echo(f"minikern: {kernel_file}: {text}", err=True)
    return parts.linux, disk or parts.initrd or None, parts.cmdline or None if append is None else append


def read_file(option: str, name: str, probe: Callable[[bytes], None] | None = None) -> bytes:
    """A file's bytes; InputError names the option it was given with, and whatever is no file.

    ``probe`` looks at the beginning before the rest is read.
    """
    try:
        with open_input(Path(name), MAX_IMAGE_BYTES) as file:
            head = file.read(HEAD_BYTES)
            if probe is not None:
                probe(head)
            return head + file.read()
    except InputError as error:
        raise InputError(f"{option}: {error}") from None
    except OSError as error:
        raise InputError(f"{option}: {name}: cannot be read: {error.strerror}") from error


def keep_memory(k: Kernel, text: str) -> None:
    """``SIZE[:ORDER]``: fill a memory file with folios of 2**order pages and have it kept, in session ``kept``.

    InputError: no such size or order, not enough memory, or a kernel without the orchestrator.
    """
    from hw.units import parse_size
    from minikern.kho.sessions import allocate_memfd, create_session, preserve_memfd
    from minikern.mm.page.mmzone import MAX_PAGE_ORDER

    size, colon, order = text.partition(":")
    if colon and not (is_count(order) and int(order) <= MAX_PAGE_ORDER):
        raise InputError(f"--keep: {text!r}: expected an order of 0 to {MAX_PAGE_ORDER} behind the colon")
    session = create_session(k, "kept")
    preserve_memfd(k, session, 0, allocate_memfd(k, parse_size(size, "--keep"), int(order or 0)))


def with_digest(experiment: Experiment, purgatory: str) -> Experiment:
    """The experiment with another purgatory; InputError for one that does not exist. An empty word changes nothing."""
    from minikern.kexec.purgatory import mode_of

    if not purgatory:
        return experiment
    mode_of(purgatory)
    return msgspec.structs.replace(experiment, purgatory_digest=purgatory)


def parse_flip(text: str) -> tuple[str, int, int]:
    """``SEGMENT:OFFSET[.BIT]`` as name, byte and bit; InputError says what is expected."""
    name, colon, rest = text.rpartition(":")
    offset, dot, bit = rest.partition(".")
    try:
        if not colon or not name:
            raise ValueError
        return name, int(offset, 0), int(bit, 10) if dot else 0
    except ValueError:
        raise InputError(f"--flip: {text!r}: expected SEGMENT:OFFSET[.BIT], for instance kernel:0x1000.3") from None


def signature_policy(certificates: Sequence[str], enforce: bool, lockdown: bool) -> Policy:
    """What the options ask of the kernel's signature; a certificate alone asks for a good one.

    InputError for a file that is no certificate.
    """
    from minikern.kexec.load import Policy

    if not (certificates or enforce or lockdown):
        return Policy()
    from minikern.kexec.signature import load_certificate

    trusted = [load_certificate(read_file("--trusted-cert", name), name) for name in certificates]
    return Policy(trusted, enforce or not lockdown, lockdown)


def segment_table(image: Image) -> str:
    """The list as ``kexec -d`` prints it, each segment with its name."""
    segments = image.kimage.segments
    flags = 0x3E0000 | int(image.crash)
    lines = [f"kexec_load: entry = {image.kimage.start:#x} flags = {flags:#x}", f"nr_segments = {len(segments)}"]
    for index, segment in enumerate(segments):
        lines += [
            f"segment[{index}].buf   = {segment.name}",
            f"segment[{index}].bufsz = {segment.bufsz:#x}",
            f"segment[{index}].mem   = {segment.mem:#x}",
            f"segment[{index}].memsz = {segment.memsz:#x}",
        ]
    return "\n".join(lines)


def _show_log(boot: Boot, as_json: bool) -> None:
    if not as_json:
        from minikern.report.dmesg import format_dmesg

        click.echo(format_dmesg(boot.kernel), nl=False)


def _show_times(rounds: list[Rebooted], as_json: bool) -> None:
    from minikern.report.kexec import downtime_sheet, rounds_json

    if as_json:
        click.echo(rounds_json(rounds))
    else:
        show_sheets([downtime_sheet(rounds)], False)
