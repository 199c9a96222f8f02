"""Rounds of a benchmark that nobody ran."""

from benchmarks.load import Load
from benchmarks.rounds import Round
from benchmarks.summary import SERVING


def a_round(
    side: str, method: str, *, rate: float, us: float = 100.0, p95_ms: float = 2.0, number: int = 0
) -> Round:
    """Return a round in which every process used the same."""
    load = Load(
        requests=int(rate * 10),
        seconds=10.0,
        failed=0,
        p50_ms=1.0,
        p95_ms=p95_ms,
        p99_ms=3.0,
        client_cpu_seconds=0.1,
    )
    return Round(
        number=number,
        side=side,
        method=method,
        load=load,
        cpu_us=dict.fromkeys(SERVING, us),
        signals={"spans": 7.0, "log_records": 3.0, "metric_points": 1.0},
        late_spans=0.1,
        foreign_cpu=0.01,
        loop_ms=5.0,
    )
