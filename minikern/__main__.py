"""``python -m minikern``."""

import sys

if __name__ == "__main__":
    try:
        from minikern.cli import main

        main(prog_name="minikern")
    except KeyboardInterrupt:  # before the command line is there to take it
        sys.stderr.write("minikern: interrupted\n")
        sys.exit(130)
