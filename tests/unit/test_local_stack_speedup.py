"""Alerting that is sped up: every duration is divided, and nothing else changes."""

import re
from pathlib import Path

import pytest
import yaml

from local_stack.speedup import lay, shorter, sped_up

MONITORING = Path(__file__).parents[2] / "monitoring"


@pytest.mark.parametrize(
    ("duration", "speedup", "expected"),
    [
        ("5m", 1, "300s"),
        ("5m", 20, "15s"),
        ("1h30m", 20, "270s"),
        ("30d", 20, "129600s"),
        ("1y", 1, "31536000s"),
        ("15s", 20, "750ms"),
        ("10s", 7, "1429ms"),
        ("5m", 1.5, "200s"),
    ],
)
def test_a_duration_is_divided(duration: str, speedup: float, expected: str) -> None:
    """Units may be mixed, and seconds are enough for most."""
    assert shorter(duration, speedup) == expected


@pytest.mark.parametrize(
    ("duration", "expected"), [("1s", "100ms"), ("500ms", "100ms"), ("20ms", "20ms"), ("0s", "0s")]
)
def test_a_duration_does_not_get_too_short(duration: str, expected: str) -> None:
    """But nothing gets longer than it was."""
    assert shorter(duration, 60) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rate(x[5m])", "rate(x[15s])"),
        ("max_over_time(rate(x[5m])[1h:5m])", "max_over_time(rate(x[15s])[180s:15s])"),
        ("avg_over_time(x[ 1h : ])", "avg_over_time(x[ 180s : ])"),
        ("x offset 1d", "x offset 4320s"),
        ("x[5m] offset -1h30m", "x[15s] offset -270s"),
        ("    for: 10m\n", "    for: 30s\n"),
        ("{alert: A, for: '10m', keep_firing_for: 5m}", "{alert: A, for: '30s', keep_firing_for: 15s}"),
        ("  - name: a\n    interval: 1m\n", "  - name: a\n    interval: 3s\n"),
        ("scrape_interval: 60s\nscrape_timeout: 10s", "scrape_interval: 3s\nscrape_timeout: 2s"),
        (
            "evaluation_interval: 15s # every 15s\ngroup_wait: 30s",
            "evaluation_interval: 750ms # every 15s\ngroup_wait: 1500ms",
        ),
        ("group_interval: 5m\nrepeat_interval: 4h", "group_interval: 15s\nrepeat_interval: 720s"),
    ],
)
def test_every_place_of_a_duration_is_known(text: str, expected: str) -> None:
    """Ranges, subqueries and offsets of expressions, and the fields of all three kinds of file."""
    assert sped_up(text, 20) == expected


@pytest.mark.parametrize(
    "text",
    [
        "retention: {time: 31d, size: 4GB}",
        "out_of_order_time_window: 30m",
        "slo:error_ratio:rate5m > 14.4 * 0.001",
        'x{status=~"[45].."} > 3600',
        "predict_linear(x, 4 * 3600)",
        "group_by: [alertname, service]",
        "fired after 5m of errors",
        "offset_5m",
    ],
)
def test_what_is_no_duration_of_alerting_stays(text: str) -> None:
    """Names, numbers and prose, and how long data is kept."""
    assert sped_up(text, 20) == text


def test_no_duration_of_the_real_rules_is_left_out() -> None:
    """Whoever writes one in a place that is not known yet finds out here: minutes and more become seconds."""
    texts = [file.read_text() for file in (MONITORING / "prometheus" / "rules").glob("*.yml")]
    rules = [
        rule
        for text in texts
        for group in yaml.safe_load(sped_up(text, 20))["groups"]
        for rule in group["rules"]
    ]
    assert rules
    for rule in rules:
        durations = f"{rule['expr']} {rule.get('for')} {rule.get('keep_firing_for')}"
        assert re.findall(r"(?<![\w:])\d+[mhdwy]\b", durations) == [], rule


class TestLaying:
    """A configuration is made of links, or of copies that are sped up."""

    @pytest.fixture
    def source(self, tmp_path: Path) -> Path:
        """A folder of rules."""
        (tmp_path / "source").mkdir()
        (tmp_path / "source" / "a.yml").write_text("for: 5m")
        (tmp_path / "source" / ".gitkeep").touch()
        return tmp_path / "source"

    def test_at_its_real_speed_it_is_the_same_file(self, source: Path, tmp_path: Path) -> None:
        """An edit is seen without another start."""
        lay(source, tmp_path / "laid", 1)
        assert (tmp_path / "laid").resolve() == source

    def test_a_sped_up_copy_takes_the_place_of_a_link_and_the_other_way_round(
        self, source: Path, tmp_path: Path
    ) -> None:
        """And the source never changes."""
        for speedup, expected in ((1, "for: 5m"), (20, "for: 15s"), (10, "for: 30s"), (1, "for: 5m")):
            lay(source, tmp_path / "laid", speedup)
            assert (tmp_path / "laid" / "a.yml").read_text() == expected
        assert (source / "a.yml").read_text() == "for: 5m"

    def test_a_rule_that_is_gone_is_gone_from_the_copy(self, source: Path, tmp_path: Path) -> None:
        """Prometheus would go on to evaluate it."""
        (source / "b.yml").write_text("")
        lay(source, tmp_path / "laid", 20)
        (source / "b.yml").unlink()
        lay(source, tmp_path / "laid", 20)
        assert [file.name for file in (tmp_path / "laid").iterdir()] == ["a.yml"]
