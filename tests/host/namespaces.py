"""Commands in a mount namespace of their own: what is mounted there is seen by nobody else and ends with them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from functools import cache

import pytest


@cache
def _enter() -> list[str]:
    for words in (["unshare", "-m"], ["unshare", "-rm"]):
        try:
            if (
                sys.platform == "linux"
                and not subprocess.run([*words, "true"], capture_output=True, check=False).returncode
            ):
                return words
        except OSError:
            break
    return []


def run_apart(script: str, env: Mapping[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    """Run a shell script in a namespace, ``words`` as its parameters. Skips the test where there may be none."""
    if not _enter():
        pytest.skip("no mount namespaces for this user (unshare -m)")
    command = [*_enter(), "sh", "-ec", script, "sh", *words]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=900, check=False)
