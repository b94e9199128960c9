"""Hash table sizes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from minikern.init.hash import Table, hash_entries
from tests import naive


@given(st.integers(1, 1 << 34), st.sampled_from([8, 32, 64]), st.integers(12, 19))
def test_against_the_description(kernel_pages: int, bucket: int, scale: int) -> None:
    all_pages = kernel_pages + kernel_pages // 60
    found = hash_entries(kernel_pages, all_pages, Table("t", bucket, scale))
    if all_pages * 4096 // 16 >= bucket:
        assert found == naive.hash_buckets(kernel_pages, all_pages, bucket, scale)


def test_sizes_seen_on_real_machines() -> None:
    # "Dentry cache hash table entries: 262144" with 2 GiB; 1048576 with 6 GiB; 65536 with 512 MiB
    assert hash_entries(515807, 524158, Table("t", 8, 13)) == 262144
    assert hash_entries(1495072, 1519486, Table("t", 8, 13)) == 1048576
    assert hash_entries(128736, 130942, Table("t", 8, 13)) == 65536
    assert hash_entries(128736, 130942, Table("t", 8, 19)) == 1024
