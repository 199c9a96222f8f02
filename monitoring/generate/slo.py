"""Recording and alerting rules of the service level objectives, out of monitoring/slo.yaml."""

from collections.abc import Mapping


def files() -> Mapping[str, str]:
    """Return the text of each generated file, by its path below monitoring/."""
    return {}
