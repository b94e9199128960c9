"""``minikern completion``, and what a shell is offered for machines, variants, kernels, lessons and pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import resources

import click
from click.shell_completion import CompletionItem, get_completion_class

from minikern.commands.common import reported

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_MINIKERN_COMPLETE"
Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def _stems(package: str, folder: str, ending: str) -> Iterator[str]:
    # Looked up as files: a shell that waits for a key wants no kernel loaded.
    place = resources.files(package).joinpath(folder) if folder else resources.files(package)
    yield from sorted(entry.name.removesuffix(ending) for entry in place.iterdir() if entry.name.endswith(ending))


def _offer(names: Callable[[], Iterator[str]], files: bool = False) -> Complete:
    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        found = [CompletionItem(name) for name in names() if name.startswith(incomplete)]
        return found or ([CompletionItem(incomplete, type="file")] if files else [])

    return complete


def _machines() -> Iterator[str]:
    return (name for name in _stems("hw", "machines", ".toml") if not name.endswith("-pci"))


def _lessons() -> Iterator[str]:
    return _stems("minikern.learn", "lessons", ".md")


# By the name of a parameter: what may stand there.
OFFERS: dict[str, Complete] = {
    "machine": _offer(_machines, files=True),
    "variant": _offer(lambda: _stems("minikern", "variants", ".toml"), files=True),
    "variants": _offer(lambda: _stems("minikern", "variants", ".toml")),
    "kernel": _offer(lambda: _stems("minikern", "releases", ".toml"), files=True),
    "release": _offer(lambda: _stems("minikern", "releases", ".toml")),
    "lesson": _offer(_lessons),
    "lessons": _offer(_lessons),
}


def with_completion(command: click.Command) -> click.Command:
    """The command, its parameters knowing what may stand there."""
    for param in command.params:
        offer = OFFERS.get(param.name or "")
        if offer is not None and param._custom_shell_complete is None and not isinstance(param.type, click.Choice):
            param._custom_shell_complete = offer
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            with_completion(inner)
    return command


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@reported
def completion(shell: str) -> None:
    """Print a script that completes words for bash, zsh or fish.

    \b
    Example:
      minikern completion bash >> ~/.bashrc
      minikern completion fish > ~/.config/fish/completions/minikern.fish
    """
    made = get_completion_class(shell)
    assert made is not None
    click.echo(made(click.get_current_context().find_root().command, {}, "minikern", VARIABLE).source())
