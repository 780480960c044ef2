"""The setting FEATURES: which features are on."""

from __future__ import annotations

import pytest

from server.app.features import FEATURES, wanted


@pytest.mark.parametrize(
    ("setting", "chosen"),
    [
        ("", ()),
        ("all", tuple(FEATURES)),
        (" Watches,, recall ", ("watches", "recall")),
        ("sample", ("sample",)),
        ("All, sample", (*FEATURES, "sample")),
        ("recall,all", tuple(FEATURES)),
    ],
)
def test_names_and_all_are_chosen_in_the_order_of_their_start(
    setting: str, chosen: tuple[str, ...]
) -> None:
    assert wanted(setting) == chosen


def test_an_unknown_name_is_told_with_those_that_are_allowed() -> None:
    with pytest.raises(ValueError, match=r"^FEATURES has watch\. Allowed: all, or .*, watches, "):
        wanted("all,watch")
