"""The coalescer: who waits goes together, and only the guilty fails."""

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import Any

import pytest

from service.database import coalesce
from service.database.coalesce import Coalescer, Function
from service.results import Refusal

Behaviour = Callable[[Sequence[str], bool], None]


class Recorder:
    """Sends batches nowhere: keeps them, waits for `gate`, then does as `behaviour` says."""

    def __init__(self, behaviour: Behaviour | None = None, held: Collection[str] = ()) -> None:
        self.batches: list[list[str]] = []
        """What the lane has sent, without the store."""
        self.aside: list[list[str]] = []
        self.places: list[tuple[Any, str]] = []
        self.gate = asyncio.Event()
        self.behaviour = behaviour
        self.locked = set(held)
        self.is_closed = False

    async def send(
        self, function: Any, store_id: str, items: Sequence[str], *, is_patient: bool
    ) -> list[str]:
        (self.aside if is_patient else self.batches).append(list(items))
        self.places.append((function, store_id))
        await self.gate.wait()
        if self.behaviour:
            self.behaviour(items, is_patient)
        return [item.upper() for item in items]

    async def held(self, store_id: str, keys: Collection[str]) -> Collection[str]:
        return self.locked & set(keys)

    async def close(self) -> None:
        self.is_closed = True


async def shout(connection: Any, store_id: str, items: Sequence[str]) -> list[str]:
    raise AssertionError("the recorder answers")


async def whisper(connection: Any, store_id: str, items: Sequence[str]) -> list[str]:
    raise AssertionError("the recorder answers")


def submit(
    coalescer: Coalescer, *items: str, store: str = "s", function: Function[str, str] = shout
) -> list[asyncio.Task[list[str]]]:
    """Submit each item alone, with itself as its key."""
    submitted = (coalescer.submit(function, store, [item], [item]) for item in items)
    return [asyncio.create_task(each) for each in submitted]


async def answers(*tasks: asyncio.Task[list[str]]) -> str:
    """What each was answered, or how its refusal is called, in one line."""
    await asyncio.wait(tasks)
    return " ".join(str(task.exception() or task.result()[0]) for task in tasks)


async def ask(coalescer: Coalescer, *items: str) -> str:
    return await answers(*submit(coalescer, *items))


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_an_idle_lane_sends_at_once_and_what_waits_goes_together() -> None:
    recorder = Recorder()
    coalescer = Coalescer(recorder)
    first = submit(coalescer, "a")
    await settle()
    rest = submit(coalescer, "b", "c", "d")
    await settle()
    assert recorder.batches == [["a"]]
    recorder.gate.set()
    assert await answers(*first, *rest) == "A B C D"
    assert recorder.batches == [["a"], ["b", "c", "d"]]


async def test_what_is_submitted_together_is_answered_together_from_one_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(coalesce, "MAX_BATCH", 3)
    recorder = Recorder()
    coalescer = Coalescer(recorder)
    single = asyncio.create_task(coalescer.submit(shout, "s", ["k"], ["a"]))
    several = asyncio.create_task(coalescer.submit(shout, "s", ["k", "l"], ["b", "c", "d"]))
    late = asyncio.create_task(coalescer.submit(shout, "s", ["k"], ["e"]))
    recorder.gate.set()
    assert [await each for each in (single, several, late)] == [["A"], ["B", "C", "D"], ["E"]]
    assert recorder.batches == [["a", "b", "c", "d"], ["e"]]


async def test_a_batch_has_a_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coalesce, "MAX_BATCH", 2)
    recorder = Recorder()
    coalescer = Coalescer(recorder)
    tasks = submit(coalescer, *"abcde")
    recorder.gate.set()
    assert await answers(*tasks) == "A B C D E"
    assert recorder.batches == [["a", "b"], ["c", "d"], ["e"]]


async def test_a_batch_is_of_one_store_and_stores_take_turns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(coalesce, "MAX_BATCH", 2)
    recorder = Recorder()
    coalescer = Coalescer(recorder)
    blocker = submit(coalescer, "x")
    await settle()
    tasks = [
        *submit(coalescer, "a", store="s"),
        *submit(coalescer, "b", store="t"),
        *submit(coalescer, "c", "d", store="s"),
        *submit(coalescer, "e", store="t"),
    ]
    await settle()
    recorder.gate.set()
    assert await answers(*blocker, *tasks) == "X A B C D E"
    assert recorder.batches == [["x"], ["a", "c"], ["b", "e"], ["d"]]
    assert [store for _, store in recorder.places] == ["s", "s", "t", "s"]


async def test_a_batch_is_of_one_function_and_functions_take_turns() -> None:
    recorder = Recorder()
    coalescer = Coalescer(recorder)
    blocker = submit(coalescer, "x")
    await settle()
    tasks = [
        *submit(coalescer, "a"),
        *submit(coalescer, "b", function=whisper),
        *submit(coalescer, "c"),
        *submit(coalescer, "d", function=whisper),
    ]
    await settle()
    recorder.gate.set()
    assert await answers(*blocker, *tasks) == "X A B C D"
    assert recorder.batches == [["x"], ["a", "c"], ["b", "d"]]
    assert [function for function, _ in recorder.places] == [shout, shout, whisper]


async def test_a_full_queue_refuses_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coalesce, "MAX_WAITING", 2)
    recorder = Recorder()
    coalescer = Coalescer(recorder)
    under_way = submit(coalescer, "a")
    await settle()
    waiting = submit(coalescer, "b", "c")
    await settle()
    with pytest.raises(Refusal, match="overloaded"):
        await coalescer.submit(shout, "s", ["d"], ["d"])
    recorder.gate.set()
    assert await answers(*under_way, *waiting) == "A B C"
    assert await ask(coalescer, "d") == "D"


async def test_a_caller_who_gives_up_while_waiting_is_never_sent() -> None:
    recorder = Recorder()
    coalescer = Coalescer(recorder)
    under_way = submit(coalescer, "a")
    await settle()
    gone, stays = submit(coalescer, "b", "c")
    await settle()
    gone.cancel()
    recorder.gate.set()
    assert await answers(*under_way, stays) == "A C"
    assert recorder.batches == [["a"], ["c"]]


async def test_a_caller_who_gives_up_after_sending_disturbs_nobody() -> None:
    recorder = Recorder()
    coalescer = Coalescer(recorder)
    gone, stays = submit(coalescer, "a", "b")
    await settle()
    gone.cancel()
    await settle()
    recorder.gate.set()
    assert await answers(stays) == "B"
    assert recorder.batches == [["a", "b"]]


@pytest.mark.parametrize("error", [Refusal("conflict"), RuntimeError("a defect")])
async def test_a_failed_batch_is_taken_apart_and_only_the_guilty_fails(error: Exception) -> None:
    def fail_with_b(items: Sequence[str], is_patient: bool) -> None:
        if "b" in items:
            raise error

    recorder = Recorder(fail_with_b)
    coalescer = Coalescer(recorder)
    tasks = submit(coalescer, "a", "b", "c")
    recorder.gate.set()
    assert await answers(*tasks) == f"A {error} C"
    assert recorder.batches == [["a", "b", "c"]]
    assert sorted(recorder.aside) == [["a"], ["b"], ["c"]]


async def test_of_one_key_too_only_the_guilty_fails() -> None:
    def fail_with_b(items: Sequence[str], is_patient: bool) -> None:
        if "b" in items:
            raise RuntimeError("a defect")

    recorder = Recorder(fail_with_b)
    coalescer = Coalescer(recorder)
    tasks = [asyncio.create_task(coalescer.submit(shout, "s", ["k"], [item])) for item in "abc"]
    recorder.gate.set()
    assert await answers(*tasks) == "A a defect C"
    assert recorder.aside == [["a", "b", "c"], ["a"], ["b"], ["c"]]
    assert await ask(coalescer, "d") == "D"
    assert recorder.batches[-1] == ["d"]


@pytest.mark.parametrize("code", ["outcome_unknown", "database_unavailable", "overloaded"])
async def test_what_is_nobodys_fault_is_not_sent_again(code: str) -> None:
    def fail(items: Sequence[str], is_patient: bool) -> None:
        raise Refusal(code)

    recorder = Recorder(fail)
    coalescer = Coalescer(recorder)
    tasks = submit(coalescer, "a", "b")
    recorder.gate.set()
    assert await answers(*tasks) == f"{code} {code}"
    assert (recorder.batches, recorder.aside) == ([["a", "b"]], [])


def busy_with(locked: set[str]) -> Behaviour:
    def behave(items: Sequence[str], is_patient: bool) -> None:
        if locked & set(items):
            raise Refusal("database_busy")

    return behave


async def test_who_wants_a_held_row_waits_aside_until_a_call_for_it_succeeds() -> None:
    locked = {"a"}
    recorder = Recorder(busy_with(locked), held=locked)
    recorder.gate.set()
    coalescer = Coalescer(recorder)
    assert await ask(coalescer, "a", "b", "c") == "database_busy B C"
    assert recorder.batches == [["a", "b", "c"], ["b", "c"]]
    assert await ask(coalescer, "a", "b", "c") == "database_busy B C"
    assert recorder.batches[2:] == [["b", "c"]]
    assert recorder.aside == [["a"], ["a"]]
    locked.clear()
    assert await ask(coalescer, "a") == "A"
    assert await ask(coalescer, "a", "b") == "A B"
    assert recorder.batches[3:] == [["a", "b"]]


async def test_many_held_rows_stop_strangers_but_once() -> None:
    locked = set("abcdefghijklmnop")
    recorder = Recorder(busy_with(locked), held=locked)
    recorder.gate.set()
    coalescer = Coalescer(recorder)
    tasks = submit(coalescer, *sorted(locked), "y", "z")
    while not tasks[-1].done():
        await asyncio.sleep(0)
    assert await answers(*tasks[-2:]) == "Y Z"
    assert recorder.batches[1:] == [["y", "z"]]
    assert await answers(*tasks[:-2]) == " ".join(["database_busy"] * len(locked))


async def test_who_wants_several_rows_waits_aside_for_the_one_that_is_held() -> None:
    locked = {"a"}
    recorder = Recorder(busy_with(locked), held=locked)
    recorder.gate.set()
    coalescer = Coalescer(recorder)
    assert await ask(coalescer, "a") == "database_busy"
    basket = asyncio.create_task(coalescer.submit(shout, "s", ["b", "a"], ["a"]))
    assert await answers(basket) == "database_busy"
    assert recorder.batches == [["a"]]
    locked.clear()
    assert await coalescer.submit(shout, "s", ["b", "a"], ["a"]) == ["A"]
    assert await ask(coalescer, "a") == "A"
    assert recorder.batches == [["a"], ["a"]]


async def test_where_it_is_not_known_who_is_held_all_wait_aside() -> None:
    locked = {"a"}
    recorder = Recorder(busy_with(locked))
    recorder.gate.set()
    coalescer = Coalescer(recorder)
    assert await ask(coalescer, "a", "b") == "database_busy B"
    assert (recorder.batches, sorted(recorder.aside)) == ([["a", "b"]], [["a"], ["b"]])


async def test_those_who_came_meanwhile_join_those_of_their_key() -> None:
    recorder = Recorder(busy_with({"a"}), held={"a"})
    coalescer = Coalescer(recorder)
    tasks = submit(coalescer, "a")
    await settle()
    tasks += submit(coalescer, "a", "b")
    await settle()
    recorder.gate.set()
    assert await answers(*tasks) == "database_busy database_busy B"
    assert (recorder.batches, recorder.aside) == ([["a"], ["b"]], [["a", "a"]])


async def test_who_has_waited_too_long_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coalesce, "PATIENCE_SECONDS", -1.0)
    recorder = Recorder()
    coalescer = Coalescer(recorder)
    with pytest.raises(Refusal, match="overloaded"):
        await coalescer.submit(shout, "s", ["a"], ["a"])
    assert recorder.batches == []


async def test_whom_a_call_has_cost_all_patience_does_not_wait_aside(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recorder = Recorder(busy_with({"a"}))
    coalescer = Coalescer(recorder)
    tasks = submit(coalescer, "a")
    await settle()
    monkeypatch.setattr(coalesce, "PATIENCE_SECONDS", -1.0)
    recorder.gate.set()
    assert await answers(*tasks) == "database_busy"
    assert recorder.aside == []


async def test_too_few_answers_are_a_defect_and_leave_nobody_waiting() -> None:
    class Forgetful(Recorder):
        async def send(
            self, function: Any, store_id: str, items: Sequence[str], *, is_patient: bool
        ) -> list[str]:
            return []

    coalescer = Coalescer(Forgetful())
    with pytest.raises(RuntimeError, match="0 answers to 1 requests"):
        await coalescer.submit(shout, "s", ["a"], ["a"])


async def test_closing_waits_for_all_that_was_submitted() -> None:
    recorder = Recorder(busy_with({"c"}), held={"c"})
    coalescer = Coalescer(recorder)
    tasks = submit(coalescer, "a", "b", "c")
    await settle()
    asyncio.get_running_loop().call_soon(recorder.gate.set)
    await coalescer.close()
    assert recorder.is_closed
    assert await answers(*tasks) == "A B database_busy"
