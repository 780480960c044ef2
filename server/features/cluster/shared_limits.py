"""Rate limits, session slots and ends shared through Redis; without an answer each process has its own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from server.auth import CLOCK_SKEW, SESSION_PART
from server.core.addresses import get_limiter_key
from server.session_manager import MAX_REVOKED

log = logging.getLogger(__name__)
# Maximum time that a session's slot outlives a killed process, seconds
SLOT_SECONDS = 20
# Time for which ends are stored, seconds: the maximum of TOKEN_MAX_AGE
END_SECONDS = 2_592_000
# Time for which a token counts as used; see `RequestLimiter.session`.
TOKEN_SECONDS = 600
# Token bucket as in addresses.Limiter: stores when the bucket is full again, in seconds of Redis's clock.
# `take` returns "" if a request is allowed, else the seconds to wait.
_BUCKET = """
local function now()
  local time = redis.call('TIME')
  return time[1] + time[2] / 1000000
end
local function full_at(key, at, window)
  local known = tonumber(redis.call('GET', key) or at)
  return math.min(math.max(known, at), at + (window or 60))
end
local function put(key, full, at, keep)
  redis.call('SET', key, string.format('%.6f', full), 'PX', math.ceil(math.max(full - at, keep) * 1000) + 1)
end
local function take(key, most, keep, window, count)
  window = window or 60
  local at, interval = now(), window / most
  local full = full_at(key, at, window)
  local wait = full - at - (window - interval)
  if wait > 0.001 then return tostring(wait) end
  if count ~= '0' then put(key, full + interval, at, keep) end
  return ''
end
"""
ANYBODY = f"{_BUCKET}return take(KEYS[1], ARGV[1], 0)"
# ARGV: maximum, window in seconds, whether to count.
GUESS = f"{_BUCKET}return take(KEYS[1], ARGV[1], 0, ARGV[2], ARGV[3])"
CHARGE = f"""{_BUCKET}
local at = now()
put(KEYS[1], math.min(full_at(KEYS[1], at) + ARGV[2] * 60 / ARGV[1], at + 60), at, 0)
return ''
"""
# KEYS: session, address, slots. ARGV: requests per minute of each, whether the session is here, its
# member, seconds.
SESSION = f"""{_BUCKET}
local first = redis.call('EXISTS', KEYS[1]) == 0
local wait = take(KEYS[1], ARGV[1], ARGV[5])
if wait ~= '' or first or ARGV[3] == '1' or redis.call('ZSCORE', KEYS[3], ARGV[4]) then return wait end
return take(KEYS[2], ARGV[2], 0)
"""
# KEYS: sorted sets. Sessions with a slot, by expiry; abandoned ones of them, by eviction rank; evicted
# ones, until their processes are notified.
TAKE_SLOT = """
local time = redis.call('TIME')
local at = tonumber(time[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', at)
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then
  while redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) do
    local left = redis.call('ZPOPMIN', KEYS[2])
    if not left[1] then return 0 end
    if redis.call('ZREM', KEYS[1], left[1]) == 1 then
      redis.call('ZADD', KEYS[3], at + ARGV[3], left[1])
      redis.call('EXPIRE', KEYS[3], ARGV[3])
    end
  end
end
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('ZREM', KEYS[3], ARGV[1])
redis.call('ZADD', KEYS[1], at + ARGV[3], ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[3])
return 1
"""
LEAVE_SLOT = """
for _, key in ipairs(KEYS) do redis.call('ZREM', key, ARGV[1]) end
return 1
"""
# ARGV: seconds, then pairs of a session and its eviction rank, '' for one in use. Returns the evicted
# sessions.
KEEP_SLOTS = """
local time = redis.call('TIME')
local at = tonumber(time[1])
redis.call('ZREMRANGEBYSCORE', KEYS[3], '-inf', at)
local gone = {}
for n = 2, #ARGV, 2 do
  local member, order = ARGV[n], ARGV[n + 1]
  if order ~= '' and redis.call('ZSCORE', KEYS[3], member) then
    gone[#gone + 1] = member
  else
    redis.call('ZADD', KEYS[1], at + ARGV[1], member)
    redis.call('ZREM', KEYS[3], member)
    if order == '' then
      redis.call('ZREM', KEYS[2], member)
    else
      redis.call('ZADD', KEYS[2], at + order, member)
    end
  end
end
redis.call('EXPIRE', KEYS[1], ARGV[1])
redis.call('EXPIRE', KEYS[2], ARGV[1])
return gone
"""
# KEYS: sessions ended by operators, by time. ARGV: a session's name, their maximum number, seconds.
END_ONE = """
local time = redis.call('TIME')
redis.call('ZADD', KEYS[1], time[1], ARGV[1])
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -1 - ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[3])
return 1
"""
# KEYS: the time before which all sessions are ended. ARGV: a newer one, seconds.
END_ALL = f"""
local known = tonumber(redis.call('GET', KEYS[1]) or 0) or 0
if known < tonumber(ARGV[1]) or known > redis.call('TIME')[1] + {CLOCK_SKEW} then
  redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
end
return 1
"""
# KEYS: both. ARGV: the time of the last reading, the maximum of names. Ends of the same second are returned
# again, because times are whole seconds.
ENDS = """
local time = redis.call('TIME')
local names = redis.call('ZRANGEBYSCORE', KEYS[1], ARGV[1] - 10, '+inf', 'LIMIT', 0, ARGV[2])
return {tonumber(time[1]), tonumber(redis.call('GET', KEYS[2]) or 0) or 0, names}
"""
# Maximum members in one call of a script
_AT_ONCE = 500


class Store:
    """Store without REDIS_URL: shares nothing. See `redis_store.RedisStore`."""

    is_available = False

    def name(self, kind: str, text: str = "") -> str:
        return kind + text

    def make_member(self, text: str) -> str:
        return text

    async def run(self, script: str, keys: Sequence[str], *args: str | int | float) -> Any:
        return None

    async def probe(self) -> None:
        log.info("limits not shared", extra={"reason": "REDIS_URL is empty"})

    async def watch(self, on_answers: Callable[[], Any]) -> None:
        pass

    def report(self) -> dict[str, str | bool]:
        reason = "REDIS_URL is empty: limits hold for each process alone"
        return {"shared": False, "reason": reason}


class Counts:
    """Counts of `server.auth` over all processes; None while the store does not answer."""

    def __init__(self, store: Store, per_minute: int) -> None:
        """`per_minute`: RATE_LIMIT_PER_MINUTE; 0: requests are not counted."""
        self._store = store
        self._per_minute = per_minute

    async def count_anybody(self, address: str) -> float | None:
        if not self._per_minute:
            return None
        return _wait(
            await self._store.run(ANYBODY, [self._make_bucket_key(address)], self._per_minute)
        )

    async def charge(self, address: str, more: int) -> None:
        if self._per_minute:
            await self._store.run(CHARGE, [self._make_bucket_key(address)], self._per_minute, more)

    async def count_session(self, session_id: str, address: str, *, begun: bool) -> float | None:
        if not self._per_minute:
            return None
        store = self._store
        reply = await store.run(
            SESSION,
            [store.name("token", session_id), self._make_bucket_key(address), store.name("slots")],
            -(-self._per_minute // SESSION_PART),
            self._per_minute,
            int(begun),
            store.make_member(session_id),
            TOKEN_SECONDS,
        )
        return _wait(reply)

    async def guess(self, kind: str, most: int, seconds: float, *, count: bool) -> float | None:
        keys = [self._store.name("guesses", kind)]
        return _wait(await self._store.run(GUESS, keys, most, seconds, int(count)))

    def _make_bucket_key(self, address: str) -> str:
        return self._store.name("address", get_limiter_key(address))


def _wait(reply: Any) -> float | None:
    """Parse the reply of `take`: seconds to wait, 0 if allowed, None without an answer."""
    return None if reply is None else float(reply or 0)


class Ends(NamedTuple):
    """Sessions ended by operators: by name, and all authenticated at `before` or earlier."""

    names: list[str]
    before: int


class SharedEnds:
    """Ends of sessions by operators, shared with all processes, which read them every few seconds."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._looked = 0
        # Names of the last reading: times are whole seconds, so some are read again.
        self._applied: frozenset[str] = frozenset()

    @property
    def heard(self) -> bool:
        """True while other processes receive announcements."""
        return self._store.report()["shared"] is True

    async def announce_end(self, name: str) -> bool:
        """Announce an end to all processes. `name`: a session's hash, or a kind and a name.

        Return False without Redis.
        """
        keys = [self._store.name("ended")]
        return bool(await self._store.run(END_ONE, keys, name, MAX_REVOKED, END_SECONDS))

    async def announce_end_of_all(self, before: int) -> bool:
        keys = [self._store.name("ended-before")]
        return bool(await self._store.run(END_ALL, keys, before, END_SECONDS))

    async def read(self) -> Ends | None:
        """Return the ends since the last reading; None without an answer.

        Times in the future cannot be an operator's, and are ignored.
        """
        keys = [self._store.name("ended"), self._store.name("ended-before")]
        reply = await self._store.run(ENDS, keys, self._looked, MAX_REVOKED)
        if reply is None:
            return None
        self._looked, before, found = reply
        latest = self._looked + CLOCK_SKEW
        names = [name for name in map(get_text, found) if not _is_later(name, latest)]
        fresh = [name for name in names if name not in self._applied]
        self._applied = frozenset(names)
        return Ends(fresh, before if 0 <= before <= latest else 0)


def _is_later(name: str, latest: int) -> bool:
    """Return True if a name is a kind with a time after `latest`."""
    _, kind, time = name.rpartition(" ")
    return bool(kind) and time.isdecimal() and len(time) < 12 and int(time) > latest


def get_text(name: str | bytes) -> str:
    return name.decode("ascii", "replace") if isinstance(name, bytes) else name


class SharedSlots:
    """MAX_SESSIONS over all processes; per process while the store does not answer.

    If no slot is free, an abandoned session of any process is evicted; that process is notified by its
    next `keep`.
    """

    def __init__(
        self, store: Store, most: int, holders: Callable[[], Mapping[str, float | None]]
    ) -> None:
        """`holders`: returns the names of this process's sessions and further cameras, each with its
        eviction rank (the lowest is evicted first); None for one in use.
        """
        self._store = store
        self._most = most
        self._holders = holders

    async def take(self, session_id: str) -> bool:
        """Take a slot. Return True if the session has one, False if none is free."""
        member = self._store.make_member(session_id)
        reply = await self._store.run(TAKE_SLOT, self._keys, member, self._most, SLOT_SECONDS)
        return reply is None or bool(reply)

    async def leave(self, session_id: str) -> None:
        await self._store.run(LEAVE_SLOT, self._keys, self._store.make_member(session_id))

    async def keep(self) -> list[str]:
        """Renew the slots of this process's sessions; call it at least every SLOT_SECONDS.

        Return the evicted ones.
        """
        holders = self._holders()
        names = {self._store.make_member(name): name for name in holders}
        gone: list[str] = []
        for first in range(0, len(names), _AT_ONCE):
            pairs: list[str | float] = []
            for member, name in list(names.items())[first : first + _AT_ONCE]:
                order = holders[name]
                pairs += [member, "" if order is None else round(order, 3)]
            reply = await self._store.run(KEEP_SLOTS, self._keys, SLOT_SECONDS, *pairs)
            gone += [names[get_text(member)] for member in reply or ()]
        return gone

    @property
    def _keys(self) -> list[str]:
        return [self._store.name(kind) for kind in ("slots", "left", "made-room")]
