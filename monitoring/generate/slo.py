"""Recording and alerting rules of the service level objectives, out of monitoring/slo.yaml.

Everything longer than 5 minutes is computed from two series that are recorded for each objective: 30 days of them are
43 thousand samples, where 30 days of all that is counted would be millions. They are recorded each minute and look back
over 5, so each request stands in five of their samples: nothing for a ratio, a factor for a count.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

DEFINITION: Final = Path(__file__).parents[1] / "slo.yaml"
RULES: Final = "prometheus/rules/slo.yml"
_SHORTEST: Final = "5m"
_INTERVAL: Final = "1m"
_OVERLAP: Final = 5

_HEADER: Final = """\
# Generated from monitoring/slo.yaml by `python -m monitoring.generate`: change that file, not this one.
"""
_DESCRIPTION: Final = (
    "{{ $value | humanizePercentage }} of the requests to {{ $labels.service }} in the last %(long)s missed the "
    "objective {{ $labels.slo }}, which is a burn rate above %(factor)s"
    '{{ range query (printf "100 * slo:error_budget_remaining:ratio{slo=%%q, service=%%q}" $labels.slo $labels.service) }}'
    '; {{ . | value | printf "%%.1f" }}%% of the budget of %(window)s is left{{ end }}.'
)

_Rule = dict[str, Any]


def files() -> Mapping[str, str]:
    """Return the text of each generated file, by its path below monitoring/."""
    return {RULES: rules(yaml.safe_load(DEFINITION.read_text()))}


def rules(definition: Mapping[str, Any]) -> str:
    """Return a file of Prometheus rules for these objectives."""
    counted = [rule for objective in definition["objectives"] for rule in _counted(objective)]
    group = {
        "name": "slo",
        "interval": _INTERVAL,
        "rules": [*counted, *_ratios(definition), *_alerts(definition)],
    }
    return _HEADER + yaml.safe_dump({"groups": [group]}, sort_keys=False, width=10_000)


def _counted(objective: Mapping[str, Any]) -> list[_Rule]:
    """Return what is different for each objective: its aim, its requests, and those among them that missed it."""

    def increase(selector: str) -> str:
        return f"sum(increase({selector}[{_SHORTEST}]))"

    labels = {"slo": objective["slo"], "service": objective["service"]}
    requests = f"slo:requests:increase{_SHORTEST}"
    recorded = f'sum({requests}{{slo="{objective["slo"]}", service="{objective["service"]}"}})'
    if "errors" in objective:
        # Without an error there is no series of errors.
        errors = f"{increase(objective['errors'])} or 0 * {recorded}"
    else:
        errors = f"{recorded} - {increase(objective['good'])}"
    return [
        _record("slo:objective:ratio", f"vector({objective['objective']})", labels),
        _record(requests, increase(objective["requests"]), labels),
        _record(f"slo:errors:increase{_SHORTEST}", errors, labels),
    ]


def _ratios(definition: Mapping[str, Any]) -> list[_Rule]:
    """Return the share of requests that missed the objective in each window, and what is left of the budget."""
    windows = [rate[length] for length in ("short", "long") for rate in definition["burn_rates"]]
    whole = _share_of_errors(definition["window"])
    return [
        *(
            _record(f"slo:error_ratio:rate{window}", _share_of_errors(window))
            for window in dict.fromkeys(windows)
        ),
        _record("slo:error_budget_remaining:ratio", f"1 - ({whole}) / (1 - slo:objective:ratio)"),
    ]


def _share_of_errors(window: str) -> str:
    """No requests are no share at all: what is not there fires no alert, whereas NaN may."""
    errors, requests = f"slo:errors:increase{_SHORTEST}", f"slo:requests:increase{_SHORTEST}"
    if window == _SHORTEST:
        return f"{errors} / ({requests} > 0)"
    return f"sum_over_time({errors}[{window}]) / (sum_over_time({requests}[{window}]) > 0)"


def _alerts(definition: Mapping[str, Any]) -> list[_Rule]:
    return [_alert(definition, rate) for rate in definition["burn_rates"]]


def _alert(definition: Mapping[str, Any], rate: Mapping[str, Any]) -> _Rule:
    long, short, factor = rate["long"], rate["short"], rate["factor"]
    allowed = f"{factor} * (1 - slo:objective:ratio)"
    samples = definition["minimum_requests"] * _OVERLAP
    return {
        "alert": "ErrorBudgetBurn",
        "expr": f"slo:error_ratio:rate{long} > {allowed} and slo:error_ratio:rate{short} > {allowed}"
        f" and sum_over_time(slo:requests:increase{_SHORTEST}[{long}]) >= {samples}",
        "for": rate["for"],
        "labels": {"severity": rate["severity"], "area": "slo", "long_window": long},
        "annotations": {
            "summary": "{{ $labels.service }} uses up its error budget ({{ $labels.slo }})",
            "description": _DESCRIPTION % {"long": long, "factor": factor, "window": definition["window"]},
            "dashboard_url": "{{ $externalLabels.grafana_url }}/d/robin-overview?var-service={{ $labels.service }}",
            "runbook_url": "{{ $externalLabels.runbook_url }}/ErrorBudgetBurn.md",
        },
    }


def _record(name: str, expression: str, labels: Mapping[str, str] | None = None) -> _Rule:
    return {"record": name, "expr": expression, **({"labels": dict(labels)} if labels else {})}
