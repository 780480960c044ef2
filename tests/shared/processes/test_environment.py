"""The environment of children.

That no secret is in it: tests/features/hosting/catalogue/test_command.py, with true commands.
"""

from __future__ import annotations

from server.shared.processes.environment import child_environment


def test_a_program_that_fetches_images_gets_the_proxies() -> None:
    """podman fetches them itself; others get no proxy."""
    ours = {"HTTPS_PROXY": "http://proxy:3128", "no_proxy": "localhost", "HF_TOKEN": "x"}
    assert child_environment(ours, {}, fetches_images=True).keys() == {"HTTPS_PROXY", "no_proxy"}
    assert not child_environment(ours, {})


def test_a_childs_own_variables_win() -> None:
    """Also where ours have the same name."""
    assert child_environment({"HOME": "/ours", "TZ": "UTC"}, {"HOME": "/theirs"}) == {
        "HOME": "/theirs",
        "TZ": "UTC",
    }
