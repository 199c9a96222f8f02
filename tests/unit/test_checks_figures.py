"""Percentiles and rates of a load."""

import math

import pytest

from observability_checks.figures import Figures, percentile


@pytest.mark.parametrize(("percent", "expected"), [(50, 50), (95, 95), (99, 99), (100, 100), (0, 1)])
def test_a_percentile_is_the_nearest_rank(percent: float, expected: float):
    """Of 1 to 100 the n-th percentile is n."""
    assert percentile(list(range(100, 0, -1)), percent) == expected


def test_the_percentile_of_one_value_is_that_value():
    """A load of one request has figures too."""
    assert percentile([0.3], 99) == 0.3


def test_nothing_has_no_percentile():
    """No number is invented for a load that sent nothing."""
    assert math.isnan(percentile([], 95))


def test_rate_and_error_share_come_from_counts_and_time():
    """100 requests in 2 s with 5 errors are 50 requests/s and 5 %."""
    figures = Figures.of([0.01] * 100, errors=5, seconds=2.0)
    assert (figures.rate, figures.error_share) == (50.0, 0.05)


def test_a_load_that_sent_nothing_is_all_errors():
    """It must not pass as a load without errors."""
    assert Figures.of([], errors=0, seconds=0.0).error_share == 1.0
