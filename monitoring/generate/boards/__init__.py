"""The dashboards, a module each: `BOARD` of overview.py becomes grafana/dashboards/overview.json."""

from collections.abc import Mapping
from typing import Final

from monitoring.generate.board import Board
from monitoring.generate.boards import database, documents, logs, overview, pipeline, runtime

BOARDS: Final[Mapping[str, Board]] = {
    "overview": overview.BOARD,
    "documents": documents.BOARD,
    "database": database.BOARD,
    "pipeline": pipeline.BOARD,
    "runtime": runtime.BOARD,
    "logs": logs.BOARD,
}


def files() -> Mapping[str, str]:
    """Return the text of each dashboard, by its path below monitoring/."""
    titles = {board.uid: board.title for board in BOARDS.values()}
    return {f"grafana/dashboards/{name}.json": board.text(titles) for name, board in BOARDS.items()}
