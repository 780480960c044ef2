"""An engine's answer, read to its end."""

from __future__ import annotations

from contextlib import aclosing

from server.core.sound import VoiceChunk
from server.models.base import Chunk, Delta, Engine, EngineRequest, Finished


async def chunks_of(engine: Engine, request: EngineRequest) -> tuple[list[Chunk], Finished]:
    """All that comes before the end, and the end, which is the last."""
    async with aclosing(engine.answer(request)) as answer:
        chunks = [chunk async for chunk in answer]
    end = chunks.pop()
    assert isinstance(end, Finished)
    return chunks, end


async def collect(engine: Engine, request: EngineRequest) -> tuple[list[str], Finished]:
    """The pieces of the text, and the end."""
    chunks, end = await chunks_of(engine, request)
    return [chunk.text for chunk in chunks if isinstance(chunk, Delta)], end


async def answered(
    engine: Engine, request: EngineRequest
) -> tuple[str, list[VoiceChunk], Finished]:
    """The text, the sound, and the end."""
    chunks, end = await chunks_of(engine, request)
    text = "".join(chunk.text for chunk in chunks if isinstance(chunk, Delta))
    return text, [chunk for chunk in chunks if isinstance(chunk, VoiceChunk)], end
