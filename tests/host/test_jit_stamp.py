from __future__ import annotations

from types import FunctionType
from typing import Any

import numpy as np
import pytest

from minikern.host.jit_stamp import NoStampError, stamp_of


def changed(text: str, **names: Any) -> str:
    known: dict[str, Any] = {"np": np, **names}
    exec(text, known)
    found = known["f"]
    assert isinstance(found, FunctionType)
    return stamp_of(found)


def test_a_stamp_sees_what_decides_and_nothing_else() -> None:
    text = "def f(x):\n    return g(x) + K"
    helper, other = lambda x: x + 1, lambda x: x + 2
    same = changed(text, g=helper, K=1)
    assert same == changed("# said\n\n" + text, g=lambda x: x + 1, K=1)
    different = {changed(text, g=other, K=1), changed(text, g=helper, K=2), changed(text, g=helper, K=np.uint64(1))}
    different.add(changed(text.replace("+", "-"), g=helper, K=1))
    assert len(different | {same}) == 5
    with pytest.raises(NoStampError, match="dict"):
        changed(text, g=helper, K={})
