"""The list of a running stack's services, kept in its state folder for `status`."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from local_stack.health import CommandProbe, HttpProbe, Probe, TlsProbe, Trust
from local_stack.services import Service
from local_stack.state import State, write_atomically


@dataclass(frozen=True)
class Entry:
    """How a started service is reached and asked."""

    url: str
    probe: Probe


@dataclass(frozen=True)
class Register:
    """Every service that belongs to the stack; None for what has not been started yet."""

    entries: Mapping[str, Entry | None]

    @classmethod
    def read(cls, state: State) -> Self:
        """Return what the last `up` wrote; empty when there is none."""
        try:
            rows = json.loads(state.services_file.read_text())
        except FileNotFoundError:
            return cls({})
        return cls({name: row and Entry(row["url"], _probe(row["probe"])) for name, row in rows.items()})

    def having(self, service: Service) -> Self:
        """Return the list with one more started service."""
        return type(self)({**self.entries, service.name: Entry(service.url, service.probe)})

    def write(self, state: State) -> None:
        """Keep the list."""
        rows = {
            name: entry and {"url": entry.url, "probe": _as_row(entry.probe)}
            for name, entry in self.entries.items()
        }
        write_atomically(state.services_file, json.dumps(rows, indent=2) + "\n")


def _as_row(probe: Probe) -> dict[str, object]:
    if not isinstance(probe, HttpProbe | TlsProbe | CommandProbe):
        raise TypeError(f"{probe!r} cannot be kept")
    return dataclasses.asdict(probe)


def _probe(row: Mapping[str, Any]) -> Probe:
    if "command" in row:
        return CommandProbe(tuple(row["command"]))
    trust = Trust(**row["trust"]) if row.get("trust") else None
    if "path" in row:
        return HttpProbe(row["port"], row["path"], trust)
    return TlsProbe(row["port"], Trust(**row["trust"]))
