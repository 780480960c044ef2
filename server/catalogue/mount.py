"""What of this machine a container has to see of a model."""

from __future__ import annotations

import shlex
from pathlib import Path

from server.catalogue.choice import CommandError, shown

MOUNTED_AT = "/model"


def mount(folder: Path) -> tuple[Path, str]:
    """What of this machine a container has to see, and where the model is in it. Raises CommandError."""
    inside, seen = MOUNTED_AT, folder
    if outside := _leads_out(folder, folder):
        # The hub's cache: snapshots/COMMIT holds links to ../../blobs.
        seen = folder.parents[1] if folder.parent.name == "snapshots" else folder
        inside = f"{MOUNTED_AT}/{folder.relative_to(seen)}"
        if outside := _leads_out(folder, seen):
            raise CommandError(
                f"{shown(outside)} in the model's folder is a link that leads out of it, and would lead nowhere in a container."
                f" Make a copy without links (cp -rL {shlex.quote(str(folder))} COPY), or choose another way."
            )
    if any(char in str(seen) for char in ',"\n'):
        raise CommandError(
            f"The folder {shown(str(seen))} cannot be mounted: its path has a comma, a quote or a line's end. Rename it."
        )
    return seen, inside


def _leads_out(folder: Path, seen: Path) -> str:
    """The name of a file in `folder` whose link leads out of `seen`; empty where there is none."""
    within = seen.resolve()
    try:
        links = [path for path in folder.rglob("*") if path.is_symlink()]
        return next((one.name for one in links if not one.resolve().is_relative_to(within)), "")
    except (OSError, RuntimeError):
        # Not there, not to be read, a link to itself: whoever loads the model says so.
        return ""
