"""Who is asked again, who is left alone, and when he is asked once more."""

import asyncio
from contextlib import suppress

import pytest

from document_api.circuit import Circuit, CircuitOpenError, State
from document_api.retries import RetryBudget, pause_seconds


class Clock:
    """A time that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return it."""
        return self.now


class Watched:
    """A circuit, its clock, and what it told; only OSError is a failure, and ArithmeticError teaches nothing."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.told: list[State] = []
        self.circuit = Circuit(
            lambda error: None if isinstance(error, ArithmeticError) else isinstance(error, OSError),
            self.told.append,
            clock=self.clock,
        )

    def call(self, error: type[BaseException] | None = None) -> None:
        """Make a call that ends like this; raises CircuitOpenError where it is not made."""
        ends = (OSError, KeyError, ArithmeticError, asyncio.CancelledError)
        with suppress(*ends), self.circuit.passing():
            if error:
                raise error

    def open(self) -> None:
        """Let it open."""
        for _ in range(5):
            self.call(OSError)
        assert self.circuit.state is State.OPEN

    def refuses(self) -> bool:
        """Tell whether a call would not be made."""
        try:
            self.circuit.check()
        except CircuitOpenError:
            return True
        return False


@pytest.fixture
def watched() -> Watched:
    """A circuit that is closed."""
    return Watched()


class TestCircuit:
    """Opens, probes, closes."""

    def test_it_opens_after_five_failures_in_a_row(self, watched: Watched) -> None:
        """Then a call is not made, and its caller is told when to come again, in whole seconds."""
        for _ in range(4):
            watched.call(OSError)
        assert not watched.refuses()
        watched.call(OSError)
        with pytest.raises(CircuitOpenError) as refused:
            watched.call()
        assert refused.value.retry_after_seconds == 1
        assert watched.told == [State.OPEN]

    @pytest.mark.parametrize("answer", [None, KeyError])
    def test_an_answer_between_them_begins_the_count_anew(
        self, watched: Watched, answer: type[Exception] | None
    ) -> None:
        """One that is no success, too: whoever refuses works."""
        for _ in range(10):
            for _ in range(4):
                watched.call(OSError)
            watched.call(answer)
        assert watched.circuit.state is State.CLOSED

    @pytest.mark.parametrize("end", [asyncio.CancelledError, ArithmeticError])
    def test_a_call_that_is_cancelled_or_was_not_made_teaches_nothing(
        self, watched: Watched, end: type[BaseException]
    ) -> None:
        """Its client went away; neither does it hold the place of the one that probes."""
        for _ in range(10):
            watched.call(end)
        assert watched.circuit.state is State.CLOSED
        for _ in range(4):
            watched.call(OSError)
        watched.call(end)
        watched.call(OSError)
        assert watched.circuit.state is State.OPEN
        watched.clock.now += 1
        watched.call(end)
        assert watched.circuit.state is State.HALF_OPEN
        assert not watched.refuses()

    def test_one_call_at_a_time_probes_after_a_second(self, watched: Watched) -> None:
        """All others are refused meanwhile: whoever hangs does not hang them all."""
        watched.open()
        watched.clock.now += 0.9
        assert watched.refuses()
        watched.clock.now += 0.1
        with watched.circuit.passing():
            assert watched.circuit.state is State.HALF_OPEN
            assert watched.refuses()
        assert watched.circuit.state is State.CLOSED
        assert watched.told == [State.OPEN, State.CLOSED]

    def test_a_probe_that_fails_keeps_it_open_for_another_second(self, watched: Watched) -> None:
        """From its end on; nothing is told anew."""
        watched.open()
        watched.clock.now += 5
        watched.call(OSError)
        assert watched.circuit.state is State.OPEN
        watched.clock.now += 1
        assert watched.circuit.state is State.HALF_OPEN
        assert watched.told == [State.OPEN]

    def test_an_answer_to_a_call_from_before_closes_it(self, watched: Watched) -> None:
        """It took long, and came."""
        with watched.circuit.passing():
            watched.open()
        assert watched.circuit.state is State.CLOSED

    def test_good_news_lets_the_next_call_probe_at_once(self, watched: Watched) -> None:
        """Such as a health that is well: it does not close the circuit by itself, for it asks less than a call does."""
        watched.open()
        watched.circuit.probe_soon()
        assert watched.circuit.state is State.HALF_OPEN
        watched.call(OSError)
        assert watched.circuit.state is State.OPEN

    def test_good_news_of_one_that_is_closed_are_none(self, watched: Watched) -> None:
        """It stays as it is."""
        watched.circuit.probe_soon()
        assert watched.circuit.state is State.CLOSED


class TestRetries:
    """How often, and when."""

    def test_a_hundred_may_be_made_at_once_and_then_a_fifth_of_the_calls(self) -> None:
        """So a fault that lasts makes no more than a fifth of the load on top."""
        budget = RetryBudget()
        assert [budget.spend() for _ in range(101)] == [True] * 100 + [False]
        spent = 0
        for _ in range(1000):
            budget.earn()
            spent += budget.spend()
        assert 190 <= spent <= 200

    def test_what_is_not_spent_is_not_saved_without_end(self) -> None:
        """A quiet day does not allow a flood."""
        budget = RetryBudget()
        for _ in range(10_000):
            budget.earn()
        assert [budget.spend() for _ in range(101)].count(True) == 100

    @pytest.mark.parametrize(("resend", "longest"), [(1, 0.1), (2, 0.2), (5, 1.6), (6, 2.0), (1000, 2.0)])
    def test_pauses_grow_and_are_of_any_length_up_to_that(self, resend: int, longest: float) -> None:
        """Full jitter: those who failed together do not come again together."""
        pauses = [pause_seconds(resend) for _ in range(1000)]
        assert 0 <= min(pauses) < longest / 10
        assert longest * 0.9 < max(pauses) <= longest
