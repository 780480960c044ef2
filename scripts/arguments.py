"""Command line parsers and argument types shared by scripts. Standard library only."""

from __future__ import annotations

import argparse
import asyncio
import getpass
import inspect
import math
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[1]
ENV_FILE = ROOT / ".env"


def create_parser(
    description: str | None, prog: str | None = None, **more: Any
) -> argparse.ArgumentParser:
    """Return a parser whose help keeps the line breaks of the description."""
    raw = argparse.RawDescriptionHelpFormatter
    return argparse.ArgumentParser(prog, description=description, formatter_class=raw, **more)


def make_option_adder(to: argparse._ActionsContainer) -> Callable[..., None]:
    """Return a function that adds an option with a type and a default, shown at the end of its help."""

    def add(option: str, kind: Callable[[str], Any], default: Any, words: str) -> None:
        shown = f"{default:g}" if isinstance(default, float) else default
        to.add_argument(option, type=kind, default=default, help=f"{words} ({shown})")

    return add


def call_with_options(
    function: Callable[..., Any],
    description: str | None,
    arguments: Sequence[str] | None = None,
) -> Any:
    """Call a function, or run a coroutine, with options of the command line.

    There is an option for each parameter, with its name and the type of its default: False is a flag, a tuple several
    words.
    """
    parser = create_parser(description)
    for name, one in inspect.signature(function).parameters.items():
        option, default = f"--{name.replace('_', '-')}", one.default
        if default is False:
            parser.add_argument(option, action="store_true")
        elif isinstance(default, tuple):
            parser.add_argument(option, nargs="*", choices=default, default=default)
        elif default is one.empty:
            parser.add_argument(option, required=True)
        else:
            parser.add_argument(option, type=type(default), default=default, help=f"({default})")
    found = function(**vars(parser.parse_args(arguments)))
    return asyncio.run(found) if inspect.iscoroutine(found) else found


def parse_address(text: str) -> str:
    """Parse an http(s) address: scheme, host and port. Raises argparse.ArgumentTypeError."""
    try:
        parts = urlsplit(text)
        known = parts.scheme in ("http", "https") and parts.hostname and not parts.username
        # Reading the port checks it.
        if not known or parts.port == 0:
            raise ValueError
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text} is not an address such as https://cam.example.org:8000"
        ) from None
    return f"{parts.scheme}://{parts.netloc}"


def add_env_file(parser: argparse.ArgumentParser, words: str) -> None:
    """Add the option for a file of settings, which must be readable."""

    def parse_readable_path(text: str) -> Path:
        try:
            Path(text).open("rb").close()
        except OSError as error:
            raise argparse.ArgumentTypeError(f"{text} cannot be read: {error.strerror}") from None
        return Path(text)

    parser.add_argument(
        "--env-file", type=parse_readable_path, default=ENV_FILE, help=f"{words} (.env)"
    )


class _AskForCode(argparse.Action):
    """Reads an access code from the terminal, because other accounts can list command line arguments."""

    def __call__(self, parser: object, args: object, *_: object) -> None:
        setattr(args, self.dest, getpass.getpass("Access code: "))


def add_access_code(parser: argparse.ArgumentParser, default: str | None) -> None:
    """Add the option that prompts for a server's access code."""
    words = "prompt for the server's access code instead of using ACCESS_CODE of the environment"
    parser.add_argument("--access-code", action=_AskForCode, nargs=0, default=default, help=words)


def make_integer_parser(low: int, high: int) -> Callable[[str], int]:
    """Return a parser of integers within bounds, which raises argparse.ArgumentTypeError."""

    def parse_integer(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text} is not a whole number from {low} to {high}")
        return value

    return parse_integer


def make_number_parser(low: float, high: float) -> Callable[[str], float]:
    """Return a parser of numbers within bounds, which raises argparse.ArgumentTypeError."""

    def parse_number(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text} is not a number from {low:g} to {high:g}")
        return value

    return parse_number


def restart_in_environment(
    missing: ModuleNotFoundError,
    environment: str = ".venv",
    install: str = "bash scripts/run.sh --install",
) -> NoReturn:
    """Restart the running script in `environment`, once; else exit with the install command."""
    own = ROOT / environment / "bin" / "python"
    if own.exists() and Path(sys.prefix).resolve() != (ROOT / environment).resolve():
        os.execv(own, [str(own), *sys.argv])
    sys.exit(f"{missing.name} is not installed: run `{install}` first.")
