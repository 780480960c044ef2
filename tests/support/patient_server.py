"""`python -m tests.support.patient_server`: the server, with more time for Redis, so that on a busy
machine it is not taken for dead; with PROBE_EVERY it looks there as often (seconds).
"""

from __future__ import annotations

import os
import sys

from server.features.cluster import redis_store
from server.main import main

ANSWER_SECONDS = 1.0

if __name__ == "__main__":
    redis_store.ANSWER_SECONDS = ANSWER_SECONDS
    redis_store.PROBE_SECONDS = float(os.environ.get("PROBE_EVERY", redis_store.PROBE_SECONDS))
    sys.exit(main())
