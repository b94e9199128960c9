"""``python -m minikern``."""

from minikern.cli import main

main(prog_name="minikern")
