"""Loki's configuration, held against what the image and the project need; the image itself cannot run everywhere."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
CONFIG: dict[str, Any] = yaml.safe_load((ROOT / "monitoring" / "loki" / "loki.yaml").read_text())
SERVICE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["loki"]
LIMITS = CONFIG["limits_config"]
OTLP = LIMITS["otlp_config"]
COLLECTOR = yaml.safe_load((ROOT / "otel-collector-config.yaml").read_text())


def paths(node: Any, key: str = "") -> Iterator[str]:
    """Yield every folder that the configuration names."""
    if isinstance(node, dict):
        for name, value in node.items():
            yield from paths(value, name)
    elif key.endswith(("_directory", "path_prefix")):
        yield node


def test_all_that_loki_writes_lies_in_its_volume() -> None:
    """By absolute paths: the image's working folder is not the volume, and the root is read-only."""
    (volume,) = (each.split(":")[1] for each in SERVICE["volumes"] if not each.startswith("."))
    found = list(paths(CONFIG))
    assert found
    assert all(Path(path).is_relative_to(volume) for path in found)


def test_a_stream_is_a_service_and_a_level_and_no_more() -> None:
    """The defaults would make one of every container that ever ran."""
    assert OTLP["resource_attributes"]["ignore_defaults"] is True
    assert OTLP["resource_attributes"]["attributes_config"] == [
        {
            "action": "index_label",
            "attributes": ["service.name", "service.namespace", "deployment.environment.name"],
        }
    ]
    assert OTLP["severity_text_as_label"] is True
    assert OTLP.keys() == {"severity_text_as_label", "resource_attributes"}
    assert LIMITS["allow_structured_metadata"] is True


def test_logs_are_kept_for_a_time_and_then_deleted() -> None:
    """Retention needs the compactor, its store of deletions, and an index by the day."""
    assert CONFIG["compactor"]["retention_enabled"] is True
    assert CONFIG["compactor"]["delete_request_store"] == "filesystem"
    (schema,) = CONFIG["schema_config"]["configs"]
    assert schema["index"]["period"] == "24h"
    assert LIMITS["retention_period"] == LIMITS["reject_old_samples_max_age"] == "168h"


def test_long_lines_are_cut_and_not_thrown_away() -> None:
    """The default discards them without an error to the sender."""
    assert LIMITS["max_line_size_truncate"] is True


def test_loki_listens_where_the_collector_sends() -> None:
    """Port, path and the published port agree."""
    port = CONFIG["server"]["http_listen_port"]
    assert f"http://loki:{port}/otlp/v1/logs" in COLLECTOR["exporters"]["otlp_http/logs"]["logs_endpoint"]
    assert SERVICE["ports"][0].endswith(f":{port}")
    assert SERVICE["command"] == ["-config.file=/etc/loki/loki.yaml"]


def test_nothing_is_reported_to_anybody() -> None:
    """No usage statistics leave the machine."""
    assert CONFIG["analytics"]["reporting_enabled"] is False
