"""Captions of pictures of several cameras."""

from __future__ import annotations

from server.models.prompts import camera_captions


def test_one_camera_has_its_name_alone() -> None:
    assert camera_captions(["Door"]) == ["Camera Door:"]


def test_several_are_explained_before_the_last_one() -> None:
    """The first ones are left out where not all fit."""
    first, last = camera_captions(["Door", "Garden"])
    assert first == "Camera Door:"
    assert last.startswith("There are 2 cameras")
    assert last.endswith("\nCamera Garden:")
