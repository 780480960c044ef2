"""Plan machines for a number of people from measured figures, with the formulas, and name the limit that
is reached first. Pure.

The source of each figure is given: measured (docs/figures, one process on two shared cores), set
(a bound of the program), or assumed (not measured here).
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from scripts.arguments import make_integer_parser, make_number_parser

Basis = Literal["measured", "estimated", "set", "assumed"]
SIZES = (100, 10_000, 1_000_000)
# Cores used by an idle camera at 2 frames/s and by one at 30 (docs/FIGURES.md, row 6; DEPLOY.md, Sizing)
CORE_IDLE, CORE_AWAKE = 0.0055, 0.04
# Mbit/s of uplink used by the two (row 7; the page's bound while somebody types)
UPLINK_IDLE, UPLINK_AWAKE = 0.132, 2.5
# Seconds for which a question keeps a camera awake
AWAKE_SECONDS = 4.0
# MiB used by a camera (row 8), and by a process before the first one
CAMERA_MIB, PROCESS_MIB = 4.6, 307.0
# People per process: a full core serves about 100, and peaks and reconnects need a margin.
PROCESS_PEOPLE = 60
# Maximum gateways that know each other (server/features/cluster/replicas.py)
MOST_GATEWAYS = 100
# Bytes of a question with its picture on the way to an engine (DEPLOY.md, Beyond one machine)
QUESTION_BYTES = 150_000
# Requests per second of one router: its delay was measured (2.2 ms, docs/figures/fleet.json), its maximum was not.
ROUTER_REQUESTS = 300.0
# Sockets of one nginx: each takes two connections, and four workers have 16,384 each.
NGINX_SOCKETS = 32_000
# Maximum Mbit/s used of a machine's network: half of 10 Gbit/s
MACHINE_MBITS = 5_000.0


@dataclass(frozen=True, slots=True)
class Assumptions:
    """Figures that the operator may replace.

    `ask_every`: seconds between a person's questions. `answers_per_gpu`: answers per second; 2.5 is half
    of the limit set by reading 67 GB of weights at 5.3 TB/s (DEPLOY.md, Sizing). `relayed`: the fraction of
    people behind a TURN relay. `spare`: spare machines of each kind, in percent, and at least one.
    """

    ask_every: float = 30.0
    answers_per_gpu: float = 2.5
    gpus_per_machine: int = 8
    cores_per_machine: int = 16
    relayed: float = 0.1
    spare: float = 5.0


@dataclass(frozen=True, slots=True)
class Line:
    """One quantity: the formula in words, the same with numbers, and the result."""

    name: str
    formula: str
    numbers: str
    value: float
    unit: str = ""

    @property
    def result(self) -> str:
        exact = self.value >= 10 or self.value == int(self.value)
        return f"{self.value:,.{0 if exact else 1}f} {self.unit}".strip()


@dataclass(frozen=True, slots=True)
class Limit:
    """The number of people that one unit of a resource can serve. `remedy`: what the plan does beyond it.

    `more_helps`: True if each further unit serves the same number again, within one installation.
    """

    name: str
    people: float
    basis: Basis
    remedy: str
    more_helps: bool = True


@dataclass(frozen=True, slots=True)
class Plan:
    """Machines for `people`, and the limits of a single unit of each resource, the lowest first."""

    people: int
    lines: tuple[Line, ...]
    limits: tuple[Limit, ...]

    @property
    def first(self) -> Limit:
        """The first limit reached at this size: the lowest exceeded one that more units do not raise, else the
        lowest exceeded one, else the lowest of all.
        """
        passed = [one for one in self.limits if one.people < self.people]
        fixed = [one for one in passed if not one.more_helps]
        return (fixed or passed or list(self.limits))[0]

    def get_value(self, name: str) -> float:
        """Return the result of a line."""
        return next(line.value for line in self.lines if line.name == name)


_FORMULAS = {
    "questions": "people / seconds between questions",
    "GPUs": "questions / answers of a GPU",
    "GPU machines": "GPUs / {given.gpus_per_machine}, and spare ones",
    "cells": "people / (gateways that know each other × people of a process)",
    "processes": "people / people of a process",
    "cores used": "people × (idle core × asleep + awake core × awake)",
    "gateway machines": "processes / (cores of a machine - 1), and spare ones; not above the network of a machine",
    "memory": "processes × 307 MiB + people × 4.6 MiB",
    "bandwidth in": "people × (idle uplink × asleep + awake uplink × awake)",
    "bandwidth to engines": "questions × bytes of a question × 8",
    "routers": "questions / requests of a router, at least one a cell, and spare ones",
    "nginx machines": "people / sockets of an nginx, at least one a cell, and spare ones",
    "Redis": "one a cell",
    "relay machines": "people × relayed share × bandwidth, in and out, / network of a machine, and spare ones",
}
_UNITS = {
    "questions": "a second",
    "memory": "GiB",
    "bandwidth in": "Mbit/s",
    "bandwidth to engines": "Mbit/s",
}


def plan(people: int, given: Assumptions | None = None) -> Plan:
    """Plan for `people` at the same time, at least one. Raises ValueError for fewer."""
    given = given or Assumptions()
    if people < 1:
        raise ValueError(f"{people} people need no machines: give 1 or more")
    awake = min(1.0, AWAKE_SECONDS / given.ask_every)
    core = CORE_IDLE * (1 - awake) + CORE_AWAKE * awake
    uplink = UPLINK_IDLE * (1 - awake) + UPLINK_AWAKE * awake
    limits = _compute_limits(given, core, uplink)
    cell = MOST_GATEWAYS * PROCESS_PEOPLE
    questions = people / given.ask_every
    gpus = math.ceil(questions / given.answers_per_gpu)
    processes = math.ceil(people / PROCESS_PEOPLE)
    cells = math.ceil(people / cell)
    per_machine = given.cores_per_machine - 1
    routers = max(math.ceil(questions / ROUTER_REQUESTS), cells)
    fronts = max(math.ceil(people / NGINX_SOCKETS), cells)
    relayed = people * given.relayed * uplink
    memory = processes * PROCESS_MIB + people * CAMERA_MIB

    def count_spares(count: int) -> int:
        return count + max(1, math.ceil(count * given.spare / 100))

    asleep = 1 - awake
    gpu_machines = math.ceil(gpus / given.gpus_per_machine)
    gateways = math.ceil(max(processes / per_machine, people * uplink / MACHINE_MBITS))
    relays = count_spares(math.ceil(relayed * 2 / MACHINE_MBITS)) if relayed else 0
    found = {
        "questions": (f"{people:,} / {given.ask_every:g}", questions),
        "GPUs": (f"{questions:,.1f} / {given.answers_per_gpu:g}", gpus),
        "GPU machines": (f"{gpus:,} / {given.gpus_per_machine}", count_spares(gpu_machines)),
        "cells": (f"{people:,} / ({MOST_GATEWAYS} × {PROCESS_PEOPLE})", cells),
        "processes": (f"{people:,} / {PROCESS_PEOPLE}", processes),
        "cores used": (
            f"{people:,} × ({CORE_IDLE} × {asleep:.2f} + {CORE_AWAKE} × {awake:.2f})",
            people * core,
        ),
        "gateway machines": (
            f"max({processes:,} / {per_machine}, {people * uplink:,.0f} / {MACHINE_MBITS:,.0f})",
            count_spares(gateways),
        ),
        "memory": (
            f"{processes:,} × {PROCESS_MIB:g} + {people:,} × {CAMERA_MIB}",
            memory / 1024,
        ),
        "bandwidth in": (
            f"{people:,} × ({UPLINK_IDLE} × {asleep:.2f} + {UPLINK_AWAKE} × {awake:.2f})",
            people * uplink,
        ),
        "bandwidth to engines": (
            f"{questions:,.1f} × {QUESTION_BYTES:,} × 8",
            questions * QUESTION_BYTES * 8 / 1e6,
        ),
        "routers": (f"max({questions:,.1f} / {ROUTER_REQUESTS:g}, {cells})", count_spares(routers)),
        "nginx machines": (f"max({people:,} / {NGINX_SOCKETS:,}, {cells})", count_spares(fronts)),
        "Redis": (f"{cells}", cells),
        "relay machines": (
            f"{people:,} × {given.relayed:g} × {uplink:.2f} × 2 / {MACHINE_MBITS:,.0f}",
            relays,
        ),
    }
    lines = tuple(
        Line(name, _FORMULAS[name].format(given=given), numbers, value, _UNITS.get(name, ""))
        for name, (numbers, value) in found.items()
    )
    return Plan(people, lines, limits)


def _compute_limits(given: Assumptions, core: float, uplink: float) -> tuple[Limit, ...]:
    gpu, router = given.answers_per_gpu * given.ask_every, ROUTER_REQUESTS * given.ask_every
    cores = given.cores_per_machine
    machine, network = (cores - 1) * PROCESS_PEOPLE, MACHINE_MBITS / uplink
    cells = "cells: separate complete installations, with people distributed over them by DNS"
    routers = "a router for each cell"
    known = MOST_GATEWAYS * PROCESS_PEOPLE
    found = (
        Limit("one GPU", gpu, "estimated", "more GPUs behind a router"),
        Limit("one process with a full core", 1 / core, "measured", "more processes behind nginx"),
        Limit(f"one machine of {cores} cores", machine, "measured", "more gateway machines"),
        Limit("one machine's network", network, "assumed", "more gateway machines"),
        Limit("the list of gateways that know each other", known, "set", cells, more_helps=False),
        Limit("one router", router, "assumed", routers),
        Limit("one nginx", NGINX_SOCKETS, "assumed", "several nginx with the same file"),
        Limit("MAX_SESSIONS", 1_000_000, "set", "cells", more_helps=False),
    )
    return tuple(sorted(found, key=lambda one: one.people))


def render(plans: Sequence[Plan]) -> str:
    """Return the plans as Markdown: a table of all, then the formulas and the first limit of each."""
    names = [line.name for line in plans[0].lines]
    head = "| | " + " | ".join(f"{one.people:,} people" for one in plans) + " |"
    rows = [head, "|---|" + "---|" * len(plans)]
    for name, *found in zip(names, *(one.lines for one in plans), strict=True):
        rows.append(f"| {name} | " + " | ".join(line.result for line in found) + " |")
    parts = ["\n".join(rows)]
    for one in plans:
        lines = [f"## {one.people:,} people", ""]
        lines += [
            f"- **{line.name}** = {line.formula} = {line.numbers} → {line.result}"
            for line in one.lines
        ]
        first = one.first
        lines += [
            "",
            f"First to break: **{first.name}**, at {first.people:,.0f} people ({first.basis}). Remedy: {first.remedy}.",
        ]
        passed = [limit for limit in one.limits if limit.people < one.people and limit is not first]
        if passed:
            lines.append("Also passed:")
            lines += [
                f"- {limit.name}, at {limit.people:,.0f} ({limit.basis}): {limit.remedy}."
                for limit in passed
            ]
        following = next((limit for limit in one.limits if limit.people >= one.people), None)
        if following is not None:
            lines.append(
                f"Next: {following.name}, at {following.people:,.0f} people ({following.basis})."
            )
        parts.append("\n".join(lines))
    parts.append(
        "Only the figures of one machine were measured; a fleet of this size was never run. GPUs are estimated"
        " from the model's size and the memory's speed: measure yours (scripts/benchmark.py --server-url)."
    )
    return "\n\n".join(parts)


# The bounds and the help of each assumption
_OPTIONS = {
    "ask_every": (1, 86_400, "seconds between a person's questions"),
    "answers_per_gpu": (
        0.01,
        10_000,
        "per second; for 32B in 16 bits on an MI300X, half of the theoretical limit",
    ),
    "gpus_per_machine": (1, 10**9, ""),
    "cores_per_machine": (2, 4096, "of a gateway machine"),
    "relayed": (0, 1, "fraction of people behind a TURN relay"),
    "spare": (0, 1000, "percent of each kind of machine, at least one"),
}


def parse_options(arguments: Sequence[str]) -> argparse.Namespace:
    """Return the options of --plan."""
    parser = argparse.ArgumentParser(
        prog="scripts/benchmark.py --plan",
        description="Plan machines for a number of people from measured figures, and print the formulas and the first limit.",
    )
    add = parser.add_argument
    add(
        "people",
        nargs="*",
        type=make_integer_parser(1, 10**9),
        help="simultaneous people (100 10000 1000000)",
    )
    for one in fields(Assumptions):
        low, high, words = _OPTIONS[one.name]
        kind = (
            make_integer_parser(int(low), int(high))
            if isinstance(one.default, int)
            else make_number_parser(low, high)
        )
        option = f"--{one.name.replace('_', '-')}"
        add(option, type=kind, default=one.default, help=f"{words} ({one.default:g})")
    add("--output", type=Path, help="also write the plan to this file")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    """Print the plans. Return the exit status: 0, or 1 if the file could not be written."""
    args = parse_options(arguments)
    given = Assumptions(**{one.name: getattr(args, one.name) for one in fields(Assumptions)})
    text = render([plan(people, given) for people in args.people or SIZES])
    print(text)
    if args.output is not None:
        try:
            args.output.write_text(f"{text}\n", encoding="utf-8")
        except OSError as error:
            print(f"{args.output} cannot be written ({error.strerror}): choose another --output.")
            return 1
    return 0
