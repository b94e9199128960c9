"""A misspelt key of a description is named, with the one that was meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from hw.errors import InputError
from hw.spelling import check_names, unknown
from hw.toml_file import decode_file, decode_toml
from minikern.describe.case import Case

GOOD = """
name = "mine"
[cpus]
count = 2
[[e820]]
start = 0
end = 0x9fc00
type = 1
[costs.struct_page_init]
ns = 7.0
source = "a guess"
[[residue]]
name = "disk"
at = "device_initcalls"
ms = 3.0
source = "a guess"
"""


@pytest.mark.parametrize(
    ("word", "misspelt", "text"),
    [
        ("name = \"mine\"", "nam = \"mine\"", "'nam' is no key: did you mean name?"),
        ("[cpus]", "[cpu]", "'cpu' is no key: did you mean cpus?"),
        ("count = 2", "cuont = 2", r"'cuont' is no key of \[cpus\]: did you mean count?"),
        ("end = 0x9fc00", "stop = 0x9fc00", r"'stop' is no key of \[e820\[0\]\]: "),
        ("ns = 7.0", "nss = 7.0", r"'nss' is no key of \[costs.struct_page_init\]: did you mean ns?"),
        ("at = ", "att = ", r"'att' is no key of \[residue\[0\]\]: did you mean at?"),
        ("[[residue]]", "[[residues]]", "'residues' is no key: did you mean residue?"),
        ("count = 2", 'count = "2"', "Expected `int`, got `str` - at `\\$.cpus.count`"),
        ("count = 2", "count =", "not TOML"),
    ],
)
def test_misspelt_keys_are_named(tmp_path: Path, word: str, misspelt: str, text: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(GOOD)
    assert decode_file(path, Case).cpus.count == 2
    path.write_text(GOOD.replace(word, misspelt, 1))
    with pytest.raises(InputError, match=f"^{path}: {text}"):
        decode_file(path, Case)


def test_the_hint_is_the_nearest_name_or_all_if_they_are_few() -> None:
    near = unknown("f", "word", "parralel", ["parallel", "serial"])
    assert str(near) == "f: 'parralel' is no word: did you mean parallel?"
    assert str(unknown("f", "word", "x", ["b", "a"])) == "f: 'x' is no word: expected one of a, b"
    many = unknown("f", "word", "x", map(str, range(99)))
    assert str(many) == "f: 'x' is no word: none of the 99 known ones is like it"
    check_names("f", "word", ["a"], ["a", "b"])
    with pytest.raises(InputError, match="'c' is no word"):
        check_names("f", "word", ["a", "c"], ["a", "b"])


def test_what_is_no_text() -> None:
    with pytest.raises(InputError, match="not UTF-8"):
        decode_toml(b"\xff", Case, "f")
