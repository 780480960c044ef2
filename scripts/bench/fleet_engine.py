"""A stand-in for a model server that several share: its answers take longer the more it has.

The cost model: pictures are read one after the other (`--first-token-ms` each), and a step of all
running answers takes `--between-ms`, and 4 % more for each answer beside. POST /factor with a number
makes all of it slower from then on, as a GPU that throttles does.

    python -m scripts.bench.fleet_engine --first-token-ms 50
"""

from __future__ import annotations

import asyncio
from typing import Any

from scripts.bench.stand_in_model import Asked, Record, StandInModel, serve_until_closed, write_json
from server.core import core_dumps

# More time of a step for each answer beside: from 10 ms alone to 23 ms for 32 at a time, as vLLM's
# published curves of 8B models have it in order of magnitude.
STEP_SHARE = 0.04
# The slowest that it can be made, times
MOST = 1000.0


class SharedStandIn(StandInModel):
    """The server; `factor` may be changed while it runs."""

    def __init__(self, *, first_token: float, between: float, pieces: int = 8) -> None:
        super().__init__(first_token=0.0, between=between, pieces=pieces)
        self.factor = 1.0
        self._reads_alone = first_token
        self._step_alone = between
        self._reading = asyncio.Lock()

    async def _stream(
        self, record: Record, request: dict[str, Any], writer: asyncio.StreamWriter
    ) -> None:
        async with self._reading:
            await asyncio.sleep(self._reads_alone * self.factor)
        self.between = self._step_alone * self.factor * (1 + STEP_SHARE * (self.running - 1))
        # The wait for the first token is over.
        await super()._stream(record, request, writer)

    async def _answer(self, asked: Asked) -> bool:
        if (asked.method, asked.target) != ("POST", "/factor"):
            return await super()._answer(asked)
        factor = float(asked.body)
        if not 0 < factor <= MOST:
            raise ValueError(f"a factor is above 0 and at most {MOST}, not {factor}")
        self.factor = factor
        write_json(asked.writer, 200, {})
        await asked.writer.drain()
        return True


if __name__ == "__main__":
    core_dumps.forbid()
    asyncio.run(serve_until_closed(SharedStandIn, __doc__ or ""))
