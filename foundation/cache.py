"""The shared cache, which only limits and counts.

While Redis does not answer, each process counts in its own memory and everybody is served: limits hold per process instead of for all
of them together, so an outage neither closes the shop nor opens the log-in to guessing. Readiness says "degraded" meanwhile.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

from django.core.cache.backends.locmem import LocMemCache
from django.core.cache.backends.redis import RedisCache
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)


class PatientRedisCache(RedisCache):
    """Redis; while it does not answer, this process's memory. `answers` tells the two apart, for readiness.

    What was counted in memory is left to its timeout: it is not carried over, and not read while Redis answers.
    """

    def __init__(self, server: Any, params: dict[str, Any]) -> None:
        super().__init__(server, params)
        self._own = LocMemCache("while-redis-is-away", {"MAX_ENTRIES": 20_000})

    def answers(self) -> bool:
        try:
            super().get("readiness")
        except (RedisError, OSError):
            return False
        return True

    def _or(self, own: Callable[..., Any], ask: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        try:
            return ask(*args, **kwargs)
        except (RedisError, OSError) as error:
            logger.error(
                "The shared cache does not answer (%s): each process counts for itself", type(error).__name__
            )
            return own(*args, **kwargs)

    def add(self, *args: Any, **kwargs: Any) -> bool:
        return bool(self._or(self._own.add, super().add, *args, **kwargs))

    def get(self, key: Any, default: Any = None, version: int | None = None) -> Any:
        return self._or(self._own.get, super().get, key, default, version)

    def set(self, *args: Any, **kwargs: Any) -> None:
        self._or(self._own.set, super().set, *args, **kwargs)

    def touch(self, *args: Any, **kwargs: Any) -> bool:
        return bool(self._or(self._own.touch, super().touch, *args, **kwargs))

    def delete(self, *args: Any, **kwargs: Any) -> bool:
        return bool(self._or(self._own.delete, super().delete, *args, **kwargs))

    def get_many(self, keys: Iterable[Any], version: int | None = None) -> dict[Any, Any]:
        return dict(self._or(self._own.get_many, super().get_many, keys, version))

    def has_key(self, *args: Any, **kwargs: Any) -> bool:
        return bool(self._or(self._own.has_key, super().has_key, *args, **kwargs))

    def incr(self, key: Any, delta: int = 1, version: int | None = None) -> int:
        return int(self._or(self._own_incr, super().incr, key, delta, version))

    def _own_incr(self, key: Any, delta: int = 1, version: int | None = None) -> int:
        """Redis may go away between add() and incr(): then the count begins here."""
        self._own.add(key, 0, version=version)
        return self._own.incr(key, delta, version)

    def set_many(self, data: dict[Any, Any], *args: Any, **kwargs: Any) -> list[Any]:
        return list(self._or(self._own.set_many, super().set_many, data, *args, **kwargs))

    def delete_many(self, *args: Any, **kwargs: Any) -> None:
        self._or(self._own.delete_many, super().delete_many, *args, **kwargs)

    def clear(self) -> None:
        self._or(self._own.clear, super().clear)
