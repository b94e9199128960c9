"""JSON as every ``--json`` prints it."""

from __future__ import annotations

import msgspec


def json_text(body: object) -> str:
    """``body`` as indented JSON, keys in the order they stand in."""
    return msgspec.json.format(msgspec.json.encode(body), indent=2).decode()
