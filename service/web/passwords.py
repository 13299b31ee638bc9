"""Passwords: which are refused, and how they are hashed without the event loop waiting for it."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeVar

import argon2

from service.results import Refusal

HASHER = argon2.PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
NOBODYS_HASH = f"$argon2id$v=19$m={19 * 1024},t=2,p=1${'A' * 22}${'A' * 43}"
"""Compared with where there is no user, so that it takes as long as where there is one."""
MOST_WAITING = 64
"""For each of the two: who signs in, and who chooses a password."""

GUESSES = 100_000
"""A password that is found by so few is a common one: zxcvbn knows 30,000 of those, and how they
are varied (capitals, digits at the end, the login)."""
LONGEST_JUDGED = 32
"""What is longer is no common password unless its beginning is one; judging 72 takes 0.1 s."""

T = TypeVar("T")


class Passwords:
    """Hashes and judges passwords in a few threads: sign-ins never queue behind registrations."""

    def __init__(self) -> None:
        threads = max(1, (os.cpu_count() or 1) // 2)
        self._sign_ins = ThreadPoolExecutor(threads, "sign-in")
        self._choices = ThreadPoolExecutor(threads, "new password")
        self._signing_in = 0
        self._choosing = 0

    @asynccontextmanager
    async def signing_in(self) -> AsyncIterator[None]:
        """A place of its own for one who tells a password; Refusal overloaded when all are taken.

        Taken before the try is counted, so that nobody pays for our being busy.
        """
        if self._signing_in >= MOST_WAITING:
            raise Refusal("overloaded")
        self._signing_in += 1
        try:
            yield
        finally:
            self._signing_in -= 1

    async def hash_new(self, password: str, login: str, *, known_hash: str | None = None) -> str:
        """The hash of a password that a user chooses.

        Refuses one that is common or the login's own (422 `common_password`), and the one that
        `known_hash` is of (422 `password_reused`); 503 `overloaded` when many choose.
        """
        if self._choosing >= MOST_WAITING:
            raise Refusal("overloaded")
        self._choosing += 1
        try:
            if await _run(self._choices, is_common, password, login):
                raise _refusal("common_password", "Too common")
            if known_hash is not None:
                is_reused: bool = await _run(self._choices, _verify, known_hash, password)
                if is_reused:
                    raise refuse_reused()
            return await _run(self._choices, HASHER.hash, password)
        finally:
            self._choosing -= 1

    async def matches(self, known_hash: str | None, password: str) -> bool:
        """Whether it is the password of that hash; without one it is not, as slowly."""
        is_right = await _run(self._sign_ins, _verify, known_hash or NOBODYS_HASH, password)
        return is_right and known_hash is not None

    def close(self) -> None:
        """Begin no more."""
        for pool in (self._sign_ins, self._choices):
            pool.shutdown(wait=False, cancel_futures=True)


async def _run(pool: ThreadPoolExecutor, function: Callable[..., T], *arguments: str) -> T:
    return await asyncio.get_running_loop().run_in_executor(pool, function, *arguments)


def is_common(password: str, *words: str) -> bool:
    """Whether a guesser who knows these words, such as the login, finds it soon."""
    from zxcvbn import zxcvbn  # 15 MB and 0.1 s, which only who sets passwords needs

    judged = zxcvbn(password[:LONGEST_JUDGED], user_inputs=["holdfast", *words])
    return bool(judged["guesses"] < GUESSES)


def refuse_reused() -> Refusal:
    """The refusal (422) of a new password that is the present one."""
    return _refusal("password_reused", "The present one")


def _refusal(code: str, message: str) -> Refusal:
    return Refusal(code, errors=[{"field": "password", "message": message}])


def _verify(known_hash: str, password: str) -> bool:
    try:
        return HASHER.verify(known_hash, password)
    except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
        return False
