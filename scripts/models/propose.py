"""The model that run.sh --model without a name proposes for this machine, asked for on a terminal.

    python -m scripts.models.propose

The name goes to standard output when somebody says yes, everything else to standard error. Exit
status: 0 for yes, 1 for no, without a terminal, and where no model fits.
"""

from __future__ import annotations

import argparse
import logging
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from config import Settings, load
from scripts.models import disk
from scripts.models.choose import KEPT, ROOT, Choice, explained, fetch, hosting, kept_at, whole
from scripts.models.disk import ended, say
from server.core import core_dumps
from server.features.hosting.catalogue.entry import Catalogue, Model
from server.features.hosting.catalogue.machine import Host, described, gigabytes
from server.features.hosting.catalogue.modes import ASSUMED_SPEED, Proposal, minutes, propose
from server.features.hosting.catalogue.sizes import needed
from server.features.hosting.catalogue.source import load_catalogue
from server.features.hosting.host import HostProbe
from server.features.hosting.settings import HostingSettings

# What Apple's Metal lets a GPU have of the memory, by its usual limit
_METAL_SHARE = 2 / 3
_BUILTIN = (
    "Without a model the built-in engine answers: it names common things, reads text and codes, names colours, counts faces\n"
    "and reports motion: bash scripts/run.sh"
)


def look(settings: HostingSettings) -> Host:
    """Find this machine's GPUs and memory; takes a second."""
    probe = HostProbe(
        llama_server=settings.llama_server, trust_remote_code=settings.trust_remote_code
    )
    found = probe.probe(vllm=False)
    if found.ram_total_bytes:
        return found
    # Not Linux
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    apple = (sys.platform, platform.machine()) == ("darwin", "arm64")
    unified = int(total * _METAL_SHARE) if apple else 0
    return replace(found, ram_total_bytes=total, ram_free_bytes=total, unified_bytes=unified)


def at_hand(catalogue: Catalogue) -> list[Model]:
    """Return the models of the catalogue; those that are fetched already have their folder."""
    models = []
    for model in catalogue:
        choice = Choice(model, kept_at(model), catalogue)
        models.append(model.at(choice.folder) if whole(choice) else model)
    return models


def describe(proposal: Proposal, host: Host, free: int | None, command: str) -> list[str]:
    """The lines for a person."""
    room = "" if free is None else f" {gigabytes(free)} free on the disk for models."
    lines = [described(host) + room]
    lines += proposal.passed
    model = proposal.model
    if model is None:
        if not proposal.passed:
            lines.append("No model of the catalogue fits into this machine's memory.")
        return [*lines, _BUILTIN]
    kind = ", ".join(filter(None, (model.licence, model.languages)))
    lines.append(f"Proposed: {model.name}{f' ({kind})' if kind else ''}.")
    if model.folder is None:
        lines.append(
            f"  {gigabytes(model.weights_bytes)} to fetch, about {minutes(model.weights_bytes)} min"
            f" at {ASSUMED_SPEED * 8 / 1e6:.0f} Mbit/s (assumed, not measured)."
        )
    else:
        lines.append(f"  It is here already: {model.folder}.")
    where = "of the GPU's memory" if host.gpus else "of memory"
    lines.append(f"  About {gigabytes(needed(model, gpu=bool(host.gpus)))} {where}.")
    lines += [f"  First word after {one.seconds:g} s on: {one.on}." for one in model.first_token]
    if model.note:
        lines.append(f"  {model.note}")
    return [*lines, f"The command for it: {command}"]


def name_of(model: Model) -> str:
    return model.aliases[0] if model.aliases else model.id


def asked(question: str) -> bool | None:
    """Return the person's answer; None without a terminal."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None
    print(question, end=" ", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def main(arguments: Sequence[str] | None = None) -> int:
    argparse.ArgumentParser(prog="scripts.models.propose", description=__doc__).parse_args(
        arguments
    )
    logging.disable(logging.CRITICAL)
    return ended(run, lambda: "Stopped.")


def run() -> int:
    """Raises ModelError."""
    with explained():
        settings = load(ROOT / ".env")
        hosted = hosting(settings)
        models = at_hand(load_catalogue(hosted.catalogue))
    host = look(hosted)
    free = disk.free_bytes(KEPT.expanduser())
    proposal = propose(models, host, free)
    model = proposal.model
    command = "" if model is None else _command(proposal, model)
    for line in describe(proposal, host, free, command):
        say(line)
    if model is None:
        return 1
    yes = asked("Fetch it and start? [y/N]" if model.folder is None else "Start with it? [y/N]")
    if yes is None:
        say("Nothing was fetched: there is no terminal to ask on.")
    elif not yes:
        say("Nothing was fetched.")
    if not yes:
        return 1
    if proposal.served:
        return _fetch_for_vllm(model, settings)
    print(name_of(model))
    return 0


def _command(proposal: Proposal, model: Model) -> str:
    if proposal.served:
        return f"bash scripts/download_model.sh {model.id}, then bash scripts/start_vllm_server.sh"
    return f"bash scripts/run.sh --model {name_of(model)}"


def _fetch_for_vllm(model: Model, settings: Settings) -> int:
    """Fetch a model that vLLM serves to MODEL_PATH; nothing is started."""
    folder = Path(settings.model_path)
    if not whole(Choice(model, folder, Catalogue.load())):
        fetch(model, folder)
    say("Next: bash scripts/start_vllm_server.sh, and beside it: bash scripts/run.sh")
    return 0


if __name__ == "__main__":
    core_dumps.forbid()
    sys.exit(main())
