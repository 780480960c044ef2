"""The process that a session lives in: its name begins the session's id. Pure.

On several hosts the name has two parts, the host's and the process's: h1_8010.

deploy/nginx.conf reads the name from the socket's path or ?session= and maps it to one of its own
upstreams. A name that is not in its list reaches any process; a process refuses sessions of another
name, whatever the id says.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

# Lower case: nginx's `map` ignores case. The random part has 22 characters, so an id without a name
# is never taken for one with a name.
NAME = r"[a-z0-9]{1,16}(?:_[a-z0-9]{1,16})?"
_NAMED = re.compile(rf"(?P<name>{NAME})-[A-Za-z0-9_-]{{22}}", re.ASCII)
# The answer to a client whose session's process does not run.
GONE = "This session ended with the part of the server that it was on. Get a new token from /api/token and start again."


def full_name(gateway: str, process: str) -> str:
    """Join the name of a host and that of a process on it; either may be empty."""
    return "_".join(part for part in (gateway, process) if part)


@dataclass(frozen=True, slots=True)
class HomeProcess:
    """This process among those that a balancer knows by name; one without a name takes every
    session.
    """

    # GATEWAY_NAME and PROCESS_NAME; see `full_name`
    name: str = ""

    def name_session(self, random_id: Callable[[], str], gateway: str = "") -> str:
        """Make the id of a new session, which leads back to this process, or to `gateway`."""
        name = gateway or self.name
        return f"{name}-{random_id()}" if name else random_id()

    def is_home(self, session_id: str) -> bool:
        """Find whether the session began here, or may begin here."""
        if not self.name:
            return True
        named = _NAMED.fullmatch(session_id)
        return named is not None and named["name"] == self.name
