"""``minikern picture``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from minikern.commands.common import fit_options, load_machine_fields, machine_options, reported, variant_of


@click.command()
@click.argument("kind", metavar="KIND")
@machine_options
@fit_options
@click.option("--variant", default="", metavar="NAME|FILE", help="Boot as this rung; a log's machine with its change.")
@click.option("--variants", default="", metavar="A,B,...", help="Rungs of the ladder's picture.")
@click.option("--dark", is_flag=True, help="Light on dark.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), required=True, metavar="FILE.svg|png|pdf", help="Where to."
)
@reported
def picture(
    kind: str, variant: str, variants: str, dark: bool, output: Path, append: str, kernel: str, **machine: Any
) -> None:
    """Draw what people draw on whiteboards, from a boot's own state.

    \b
    KIND:
      memory      physical memory: firmware's map, memblock, zones, who holds it
      memory-map  the page tables of a huge page's struct pages, folded or not
      free-lists  free memory by the order of its blocks
      bringup     the states of each CPU while it comes up, over time
      acpi        the devices of ACPI's namespace, as a tree
      pci         buses, bridges and devices, with IOMMU groups
      kexec       a small kexec image before and after relocation
      ladder      a bar a rung, cut by phase

    \b
    Example:
      minikern picture memory lpc2023 --variant hvo-skip -o memory.svg
      minikern picture bringup tiny --cpus 8,threads=2 --dark -o bringup.png
    """
    from hw.spelling import check_names
    from minikern.lab.run import boot as run
    from minikern.report.pictures.canvas import DARK, LIGHT, check_picture_path, look_of, save
    from minikern.report.pictures.kinds import KINDS, OF_A_BOOT, OF_A_LADDER

    check_names("KIND", "picture", [kind], KINDS)
    check_picture_path(output)
    spec, options = load_machine_fields(machine)
    options.record = True
    look = DARK if dark else LIGHT
    with look_of(look):
        if kind == OF_A_LADDER:
            figure = _ladder(spec, variants, kernel, append, look)
        elif kind in OF_A_BOOT:
            figure = OF_A_BOOT[kind](run(spec, variant_of(spec, kernel, variant), kernel, append, options), look)
        else:
            figure = _image(run(spec, variant_of(spec, kernel, variant), kernel, append, options), look)
        save(figure, output)


def _ladder(spec: Any, variants: str, kernel: str, append: str, look: Any) -> Any:
    from minikern.lab.compare import choose_variants, ladder_of
    from minikern.report.pictures.handover import draw_ladder

    chosen = choose_variants(spec, [name for name in variants.split(",") if name])
    return draw_ladder(ladder_of(spec, chosen, bool(variants), kernel, append)[0], look)


def _image(done: Any, look: Any) -> Any:
    from minikern.kexec.load import Kexec
    from minikern.learn.images import tiny_image
    from minikern.report.pictures.handover import draw_image

    image = Kexec(done.kernel).kexec_file_load(tiny_image(), None, done.kernel.cmdline.text, 0)
    return draw_image(done.spec.name, image, look)
