"""The reader of metrics' names finds them, and nothing else."""

import pytest

from tests.promql import metrics


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ("up == 0", {"up"}),
        ('sum by (job) (rate(http_requests_total{path!="/health"}[5m]))', {"http_requests_total"}),
        ("sum(rate(http_requests_total[5m])) by (job)", {"http_requests_total"}),
        (
            "histogram_quantile(0.95, sum by(le)(rate(http_request_duration_seconds_bucket[5m])))",
            {"http_request_duration_seconds"},
        ),
        ("a_total / on (job) group_left (version) b_total unless c", {"a_total", "b_total", "c"}),
        ("slo:error_ratio:rate5m > bool 1e3 or vector(0)", {"slo:error_ratio:rate5m"}),
        ('ALERTS{alertstate="firing"} offset 5m', {"ALERTS"}),
        ('label_replace(up, "a", "$1", "b", "(.*)")', {"up"}),
    ],
)
def test_metrics_of_an_expression(expression: str, names: set[str]) -> None:
    """Neither functions, operators and labels nor what stands in quotes."""
    assert metrics(expression) == names
