"""The dashboards as they lie in the checkout."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path(__file__).parents[1] / "monitoring" / "grafana" / "dashboards"
FILES: Final = sorted(FOLDER.glob("*.json"))

Json = dict[str, Any]


def boards() -> dict[str, Json]:
    """Return every dashboard by the name of its file."""
    return {file.stem: json.loads(file.read_text()) for file in FILES}


def targets(source: str) -> Iterator[tuple[str, Json, Json]]:
    """Yield each query of one kind of data source, behind the name of its board and its panel."""
    for name, board in boards().items():
        for panel in board["panels"]:
            for target in panel.get("targets", []):
                if target["datasource"]["type"] == source:
                    yield name, panel, target
