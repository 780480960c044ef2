"""The server, its memory and descriptors to be looked at by tests of the same user.

The true one forbids that.
"""

from __future__ import annotations

import sys

from server.main import main

if __name__ == "__main__":
    sys.exit(main())
