"""A program's options that it refuses."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest


def refusal(
    options: Callable[[Sequence[str]], object],
    arguments: list[str],
    capsys: pytest.CaptureFixture[str],
) -> str:
    """The sentence that it ends with, at status 2."""
    with pytest.raises(SystemExit) as ended:
        options(arguments)
    assert ended.value.code == 2
    return capsys.readouterr().err
