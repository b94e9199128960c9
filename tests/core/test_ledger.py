"""The ledger adds up."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from minikern.core.ledger import Ledger

bookings = st.lists(
    st.tuples(
        st.sampled_from(["a", "b"]),
        st.integers(0, 2),
        st.sampled_from(["x", "y"]),
        st.integers(0, 9),
        st.integers(0, 99),
    )
)


@given(bookings)
def test_sums_by_key(rows: list[tuple[str, int, str, int, int]]) -> None:
    ledger = Ledger()
    for row in rows:
        ledger.book(*row)
    entries = list(ledger.entries())
    assert sum(entry.total_ns for entry in entries) == sum(row[4] for row in rows)
    for entry in entries:
        same = [row for row in rows if row[:3] == entry[:3]]
        assert entry.pieces == sum(row[3] for row in same)
        assert entry.critical == (entry.cpu == 0)
    for kind in ("x", "y"):
        assert ledger.count(kind) == sum(row[3] for row in rows if row[2] == kind)


def test_residue_is_told_apart() -> None:
    ledger = Ledger()
    ledger.book("rest", 0, "work", 2, 10)
    ledger.book_residue("rest", "unknown", 7)
    assert ledger.residue_ns() == 7
    assert [entry.modelled for entry in ledger.entries()] == [True, False]
