"""When a signal is handled while a Connect server works. The server itself: ``platforms/test_connect_doors.py``."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from pipelines import session
from pipelines.session import interrupts


class Server:
    """What of a Connect session is used, with an operation that the test plays."""

    def __init__(self) -> None:
        self.handlers: list[Any] = []

    def registerProgressHandler(self, handler: Any) -> None:  # noqa: N802
        self.handlers.append(handler)

    def removeProgressHandler(self, handler: Any) -> None:  # noqa: N802
        self.handlers.remove(handler)

    def works(self, *acts: Callable[[], Any]) -> None:
        """An operation of the server, in which ``acts`` happen."""
        with session.interruptible(self):  # type: ignore[arg-type]
            for act in acts:
                act()

    def tells(self, done: bool = False, tasks: int = 2) -> None:
        for handler in self.handlers:
            handler(stages=["one"], inflight_tasks=tasks, operation_id="x", done=done)


class Asked(KeyboardInterrupt):
    pass


terminate = partial(signal.raise_signal, signal.SIGTERM)
interrupt = partial(signal.raise_signal, signal.SIGINT)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    def handler(number: int, frame: Any) -> None:
        raise Asked(number)

    monkeypatch.setattr(interrupts, "is_remote", lambda spark: isinstance(spark, Server))
    before = {n: signal.signal(n, handler) for n in (signal.SIGINT, signal.SIGTERM)}
    yield Server()
    assert all(signal.getsignal(n) is handler for n in before), "not put back"
    for number, old in before.items():
        signal.signal(number, old)


@pytest.mark.parametrize(
    ("steps", "handled", "number"),
    [
        (["TERM", "tasks"], "tasks", "15"),
        (["INT", "tasks"], "tasks", "2"),
        (["tasks", "TERM"], "TERM", "15"),
        (["tasks", "done", "TERM", "tasks"], "tasks", "15"),  # it waits for the next operation
        (["INT", "TERM"], "TERM", "15"),  # a second one does not wait
        (["tasks", "between", "TERM", "tasks"], "tasks", "15"),  # of two jobs of an operation
        (["TERM", "between"], "end", "15"),
        (["TERM"], "end", "15"),
        (["tasks", "done", "TERM"], "end", "15"),
    ],
)
def test_a_signal_waits_until_tasks_run(server: Any, steps: list[str], handled: str, number: str) -> None:
    acts = {
        "TERM": terminate,
        "INT": interrupt,
        "tasks": server.tells,
        "done": lambda: server.tells(done=True),
        "between": lambda: server.tells(tasks=0),
    }
    begun: list[str] = []

    def act(step: str) -> None:
        begun.append(step)
        acts.get(step, lambda: None)()

    with pytest.raises(Asked, match=f"^{number}$"):
        server.works(*(partial(act, step) for step in (*steps, "end")))
    assert begun[-1] == handled
    assert server.handlers == []


def test_a_signal_that_waits_comes_before_the_failure_of_the_operation(server: Any) -> None:
    def fail() -> None:
        raise OSError("the server is gone")

    with pytest.raises(Asked) as caught:
        server.works(terminate, fail)
    assert isinstance(caught.value.__context__, OSError)


def test_a_server_that_tells_nothing_is_not_waited_for(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupts, "_PATIENCE", 0.05)
    began = time.monotonic()
    with pytest.raises(Asked):
        server.works(terminate, lambda: time.sleep(30))
    assert time.monotonic() - began < 20


def test_what_another_thread_is_told_of_its_own_operation_is_no_matter(server: Any) -> None:
    def elsewhere() -> None:
        thread = threading.Thread(target=server.tells)
        thread.start()
        thread.join()

    reached: list[str] = []
    with pytest.raises(Asked):
        server.works(terminate, elsewhere, lambda: reached.append("here"), server.tells)
    assert reached == ["here"]


def test_a_signal_while_the_block_is_left_is_handled_after_it(server: Any) -> None:
    server.removeProgressHandler = lambda handler: (interrupt(), server.handlers.remove(handler))
    with pytest.raises(Asked, match=r"^2$"):
        server.works(terminate)
    assert server.handlers == []


def test_a_handler_that_puts_itself_away_stays_away(server: Any) -> None:
    def once(number: int, frame: Any) -> None:
        signal.signal(number, signal.SIG_DFL)
        raise Asked(number)

    before = signal.signal(signal.SIGTERM, once)
    try:
        with pytest.raises(Asked):
            server.works(terminate, server.tells)
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL  # who asks twice does not want to wait
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("elsewhere", [True, False], ids=["no server", "another thread"])
def test_nothing_is_changed_elsewhere(server: Any, elsewhere: bool) -> None:
    found: list[Any] = []

    def look() -> None:
        with session.interruptible(object() if elsewhere else server):  # type: ignore[arg-type]
            found.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    if elsewhere:
        look()
    else:
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
    assert found == [before]
