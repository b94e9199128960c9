"""Every reader there is: how its inputs are made, how it takes one, and how large its share of a night's run is."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from minikern.acpi.values import AmlError
from tests.fuzz import aml_programs, command, handed_on, images, logs, machines, parsed, tables, written


class Reader(NamedTuple):
    """What is fed: inputs, and the function that takes one. ``place`` is a folder to write in.

    ``share`` is how many of a million inputs are this reader's, ``few`` how many a test run gives it.
    """

    name: str
    make: Callable[[Random], Any]
    read: Callable[[Path, Any], object]
    share: int
    few: int = 60


def _aml_program(place: Path, data: bytes) -> None:
    with suppress(AmlError):  # that is an end in ACPICA's words, after the program ran
        aml_programs.run_program(data)


READERS = (
    # whole boots
    Reader("toml", machines.description, parsed.boot_description, 2500, 40),
    Reader("log", logs.boot_log, parsed.boot_log, 500, 15),
    Reader("capture folder", logs.captured_folder, parsed.boot_folder, 600, 15),
    Reader("command line", machines.command_line, parsed.boot_with_words, 3000, 30),
    Reader("acpi tables", tables.tables, tables.boot_with_tables, 5000),
    Reader("pci dump", tables.dump, tables.boot_with_dump, 1000, 30),
    Reader("commands", command.words, command.run, 800, 6),
    # what is read before a boot
    Reader("toml, read", machines.description, parsed.read_description, 80_000),
    Reader("log, its forms", logs.kept_log, parsed.read_kept_log, 15_000),
    Reader("log, its machine", logs.kept_log, parsed.read_machine_log, 3000, 20),
    Reader("folder, its machine", logs.captured_folder, parsed.read_folder, 5000, 30),
    Reader("log with files beside it", logs.collected_files, parsed.read_collected, 1500, 15),
    Reader("file beside a log", logs.side_text, parsed.read_side_text, 80_000),
    Reader("line of a log", parsed.log_line, parsed.explain_line, 60_000),
    Reader("command line, handlers", machines.command_line, parsed.read_words, 108_950),
    Reader("options", machines.option_word, parsed.read_option, 150_000),
    Reader("affinity tables", tables.affinity_table, tables.read_affinity, 50_000),
    Reader("pci dump, read", tables.dump, tables.read_dump, 8000),
    Reader("lspci in words", tables.words, tables.read_words, 8000, 40),
    # what others hand on
    Reader("bzimage", images.kernel_files, images.load_files, 20_000),
    Reader("payload", images.payload, images.unpack_payload, 60_000),
    Reader("pe and pkcs7", images.signed_file, images.verify_file, 12_000),
    Reader("certificate", images.certificate_file, images.read_certificate, 40_000),
    Reader("unified image", images.unified_image, images.take_apart, 40_000),
    Reader("aml programs", aml_programs.program, _aml_program, 20_000, 40),
    Reader("cpio and microcode", handed_on.archive, handed_on.read_archive, 40_000),
    Reader("elf kernel", handed_on.kernel, handed_on.read_kernel, 40_000),
    Reader("kexec handover", handed_on.handover, handed_on.take_over, 25_000),
    Reader("device tree", handed_on.device_tree, handed_on.read_tree, 40_000),
    # what people write
    Reader("unit costs", written.costs, written.read_costs, 30_000),
    Reader("variant", written.variant, written.read_variant, 12_000),
    Reader("release", written.release, written.read_release, 12_000),
    Reader("sweep plan", written.plan, written.read_plan, 10_000, 40),
    Reader("sweep results", written.results, written.show_results, 10_000),
    Reader("algorithm", written.algorithm_file, written.read_algorithms, 6000),
)
