# SPDX-License-Identifier: Apache-2.0
"""A background task is kept, named, and its failure is reported once."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading

import pytest

from tpkt.daemon import console, tasks


async def test_a_task_nobody_refers_to_still_ends() -> None:
    done = asyncio.Event()

    async def work() -> None:
        await asyncio.sleep(0)
        done.set()

    tasks.create_task(work(), name="work")
    gc.collect()
    async with asyncio.timeout(2):
        await done.wait()


async def test_a_failure_is_logged_and_handed_on(caplog: pytest.LogCaptureFixture) -> None:
    failures: list[BaseException] = []

    async def fail() -> None:
        raise LookupError("gone")

    task = tasks.create_task(fail(), name="the reader", on_failure=failures.append)
    with caplog.at_level(logging.ERROR):
        await asyncio.wait([task])
        await asyncio.sleep(0)
    assert [str(failure) for failure in failures] == ["gone"]
    assert "task the reader failed: gone" in caplog.text


async def test_cancelling_waits_for_the_end_and_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    cleaned = False

    async def work() -> None:
        nonlocal cleaned
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            cleaned = True

    task = tasks.create_task(work(), name="work")
    await asyncio.sleep(0)
    await tasks.cancel(task)
    assert cleaned
    assert not caplog.records


async def test_work_on_a_thread_is_done_to_its_end_before_a_cancelled_task_ends() -> None:
    began, may_end, ended = asyncio.Event(), threading.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def work() -> None:
        loop.call_soon_threadsafe(began.set)
        assert may_end.wait(10)
        ended.set()

    task = tasks.create_task(tasks.whole(work), name="work")
    async with asyncio.timeout(10):
        await began.wait()
        task.cancel()
        await asyncio.sleep(0)
        assert not task.done()
        may_end.set()
        await asyncio.wait([task])
    assert ended.is_set()
    assert task.cancelled()


async def test_work_on_a_thread_gives_what_it_found_or_why_it_could_not() -> None:
    assert await tasks.whole(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        await tasks.whole(lambda: 1 // 0)


@pytest.mark.parametrize(
    ("count", "words"), [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (5 * 2**40, "5.0 TiB")]
)
def test_bytes_are_given_in_the_largest_fitting_unit(count: int, words: str) -> None:
    assert console.human_bytes(count) == words


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.4, "0 s"), (59, "59 s"), (61, "1 min 1 s"), (3600, "1 h"), (90061, "1 d 1 h")]
)
def test_durations_are_given_in_two_units(seconds: float, words: str) -> None:
    assert console.human_seconds(seconds) == words


def test_an_error_is_one_line_and_a_status(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        console.fail("the port\nis taken")
    assert caught.value.code == console.EXIT_ERROR
    assert capsys.readouterr().err == "error: the port is taken\n"
