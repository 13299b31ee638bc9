"""The coalescer: who waits goes together, and only the guilty fails."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import pytest

from service.database.coalesce import Coalescer
from service.results import Refusal

Behaviour = Callable[[Sequence[str]], Awaitable[None]]


class Recorder:
    """Sends batches nowhere: keeps them, waits for `gate`, then does as `behaviour` says."""

    def __init__(self, behaviour: Behaviour | None = None) -> None:
        self.batches: list[tuple[str, list[str]]] = []
        self.gate = asyncio.Event()
        self.behaviour = behaviour

    async def send(self, store_id: str, items: Sequence[str]) -> list[str]:
        self.batches.append((store_id, list(items)))
        await self.gate.wait()
        if self.behaviour:
            await self.behaviour(items)
        return [item.upper() for item in items]


def submit(
    coalescer: Coalescer[str, str], *items: str, store: str = "s"
) -> list[asyncio.Task[str]]:
    return [asyncio.create_task(coalescer.submit(store, "key", item)) for item in items]


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_an_idle_lane_sends_at_once_and_what_waits_goes_together() -> None:
    recorder = Recorder()
    coalescer: Coalescer[str, str] = Coalescer(recorder.send, lanes=1)
    first = submit(coalescer, "a")
    await settle()
    rest = submit(coalescer, "b", "c", "d")
    await settle()
    assert recorder.batches == [("s", ["a"])]
    recorder.gate.set()
    assert await asyncio.gather(*first, *rest) == ["A", "B", "C", "D"]
    assert recorder.batches == [("s", ["a"]), ("s", ["b", "c", "d"])]


async def test_a_batch_has_a_cap() -> None:
    recorder = Recorder()
    coalescer: Coalescer[str, str] = Coalescer(recorder.send, lanes=1, max_batch=2)
    tasks = submit(coalescer, *"abcde")
    recorder.gate.set()
    assert await asyncio.gather(*tasks) == list("ABCDE")
    assert [items for _, items in recorder.batches] == [["a", "b"], ["c", "d"], ["e"]]


async def test_a_batch_is_of_one_store_and_others_keep_their_order() -> None:
    recorder = Recorder()
    coalescer: Coalescer[str, str] = Coalescer(recorder.send, lanes=1)
    blocker = submit(coalescer, "x")
    await settle()
    tasks = [
        *submit(coalescer, "a", store="s"),
        *submit(coalescer, "b", store="t"),
        *submit(coalescer, "c", store="s"),
        *submit(coalescer, "d", store="t"),
    ]
    await settle()
    recorder.gate.set()
    assert await asyncio.gather(*blocker, *tasks) == ["X", "A", "B", "C", "D"]
    assert recorder.batches == [("s", ["x"]), ("s", ["a", "c"]), ("t", ["b", "d"])]


async def test_a_full_queue_refuses_at_once() -> None:
    recorder = Recorder()
    coalescer: Coalescer[str, str] = Coalescer(recorder.send, lanes=1, max_waiting=2)
    under_way = submit(coalescer, "a")
    await settle()
    waiting = submit(coalescer, "b", "c")
    await settle()
    with pytest.raises(Refusal, match="overloaded"):
        await coalescer.submit("s", "key", "d")
    recorder.gate.set()
    assert await asyncio.gather(*under_way, *waiting) == ["A", "B", "C"]


async def test_a_caller_who_gives_up_while_waiting_is_never_sent() -> None:
    recorder = Recorder()
    coalescer: Coalescer[str, str] = Coalescer(recorder.send, lanes=1)
    under_way = submit(coalescer, "a")
    await settle()
    gone, stays = submit(coalescer, "b", "c")
    await settle()
    gone.cancel()
    recorder.gate.set()
    assert await asyncio.gather(*under_way, stays) == ["A", "C"]
    assert [items for _, items in recorder.batches] == [["a"], ["c"]]


async def test_a_caller_who_gives_up_after_sending_disturbs_nobody() -> None:
    recorder = Recorder()
    coalescer: Coalescer[str, str] = Coalescer(recorder.send, lanes=1)
    gone, stays = submit(coalescer, "a", "b")
    await settle()
    gone.cancel()
    await settle()
    recorder.gate.set()
    assert await stays == "B"
    assert recorder.batches == [("s", ["a", "b"])]


@pytest.mark.parametrize("error", [Refusal("conflict"), RuntimeError("a defect")])
async def test_a_failed_batch_is_taken_apart_and_only_the_guilty_fails(error: Exception) -> None:
    async def fail_with_b(items: Sequence[str]) -> None:
        if "b" in items:
            raise error

    recorder = Recorder(fail_with_b)
    coalescer: Coalescer[str, str] = Coalescer(recorder.send, lanes=1)
    tasks = submit(coalescer, "a", "b", "c")
    recorder.gate.set()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert answers == ["A", error, "C"]
    assert [items for _, items in recorder.batches] == [["a", "b", "c"], ["a"], ["b"], ["c"]]


async def test_what_may_have_happened_is_not_sent_again() -> None:
    async def lose(items: Sequence[str]) -> None:
        raise Refusal("outcome_unknown")

    recorder = Recorder(lose)
    coalescer: Coalescer[str, str] = Coalescer(recorder.send, lanes=1)
    tasks = submit(coalescer, "a", "b")
    recorder.gate.set()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [str(answer) for answer in answers] == ["outcome_unknown"] * 2
    assert len(recorder.batches) == 1


async def test_a_locked_key_waits_aside_until_a_call_for_it_succeeds() -> None:
    locked = {"a"}

    async def be_busy(items: Sequence[str]) -> None:
        if locked & set(items):
            raise Refusal("database_busy")

    recorder = Recorder(be_busy)
    recorder.gate.set()
    coalescer: Coalescer[str, str] = Coalescer(recorder.send, lanes=1)

    async def ask(*keys: str) -> list[str]:
        calls = (coalescer.submit("s", key, key) for key in keys)
        return [str(answer) for answer in await asyncio.gather(*calls, return_exceptions=True)]

    assert await ask("a", "b", "c") == ["database_busy", "B", "C"]
    recorder.batches.clear()
    assert await ask("a", "b", "c") == ["database_busy", "B", "C"]
    assert sorted(items for _, items in recorder.batches) == [["a"], ["b", "c"]]
    locked.clear()
    assert await ask("a") == ["A"]
    recorder.batches.clear()
    assert await ask("a", "b") == ["A", "B"]
    assert [items for _, items in recorder.batches] == [["a", "b"]]


async def test_a_locked_key_alone_is_refused_with_all_who_wait_for_it() -> None:
    async def be_busy(items: Sequence[str]) -> None:
        raise Refusal("database_busy")

    recorder = Recorder(be_busy)
    recorder.gate.set()
    coalescer: Coalescer[str, str] = Coalescer(recorder.send, lanes=1)
    answers = await asyncio.gather(*submit(coalescer, "a", "b"), return_exceptions=True)
    assert [str(answer) for answer in answers] == ["database_busy"] * 2
    assert len(recorder.batches) == 1


async def test_who_has_waited_too_long_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.database.coalesce.PATIENCE_SECONDS", -1.0)
    recorder = Recorder()
    coalescer: Coalescer[str, str] = Coalescer(recorder.send)
    with pytest.raises(Refusal, match="overloaded"):
        await coalescer.submit("s", "key", "a")
    assert recorder.batches == []


async def test_too_few_answers_are_a_defect_and_leave_nobody_waiting() -> None:
    async def forget(store_id: str, items: Sequence[str]) -> list[str]:
        return []

    coalescer: Coalescer[str, str] = Coalescer(forget)
    with pytest.raises(RuntimeError, match="0 answers to 1 requests"):
        await coalescer.submit("s", "key", "a")


async def test_closing_waits_for_all_that_was_submitted() -> None:
    recorder = Recorder()
    coalescer: Coalescer[str, str] = Coalescer(recorder.send, lanes=2)
    tasks = submit(coalescer, "a", "b")
    await settle()
    asyncio.get_running_loop().call_soon(recorder.gate.set)
    await coalescer.close()
    assert [task.result() for task in tasks] == ["A", "B"]
