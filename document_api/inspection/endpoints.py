"""Routes for whoever runs the system: what is kept of requests can be read, and nothing changed."""

from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from access.roles import Permission
from access.routes import GuardedRoute, needs
from document_api.health import Health, HealthProbe
from document_api.identity.credentials import SECURITY_SCHEMES
from document_api.inspection.reader import TelemetryReader
from observability.openapi import problems
from observability.signals import OVERVIEW_ROUTE, RECENT_REQUESTS_ROUTE, STORY_ROUTE
from telemetry_queries.overview import Overview
from telemetry_queries.requests import RecentRequests
from telemetry_queries.story import Story, unsettled

router = APIRouter(tags=["observability"], route_class=GuardedRoute)

_NEEDS: Final = needs(Permission.READ_TELEMETRY, *SECURITY_SCHEMES)
_PROBLEMS: Final = problems(400, 401, 403, 429, 502, 503, 504)


@dataclass(frozen=True, slots=True)
class ToldStory:
    """A request's story, and what of it must still arrive."""

    found: bool
    waiting_for: list[str]
    story: Story


@dataclass(frozen=True, slots=True)
class SystemHealth:
    """The state of this service now, the last hour of all, and where people find the back ends."""

    health: Health
    overview: Overview
    places: dict[str, str]


class Wanted(BaseModel):
    """Which requests are listed."""

    failed: bool = Field(False, description="Only those that were answered with an error")
    limit: int = Field(20, ge=1, le=100, description="Most requests in the answer")


_TOLD_STORY: Final = TypeAdapter(ToldStory)
_RECENT_REQUESTS: Final = TypeAdapter(RecentRequests)
_SYSTEM_HEALTH: Final = TypeAdapter(SystemHealth)
_QUERY: Final[dict[str, Any]] = {
    "parameters": [
        {
            "name": name,
            "in": "query",
            "required": False,
            "description": schema.pop("description"),
            "schema": schema,
        }
        for name, schema in Wanted.model_json_schema()["properties"].items()
    ]
}


def _reader(request: Request) -> TelemetryReader:
    reader: TelemetryReader = request.state.telemetry_reader
    return reader


@router.get(
    STORY_ROUTE, openapi_extra=_NEEDS, response_model=ToldStory, responses={**_PROBLEMS, **problems(422)}
)
async def get_story(correlation_id: UUID, request: Request) -> Response:
    """Tell the story of a request: its spans, log lines, SQL statements and metric points, joined by its correlation ID.

    What a back end does not know, or not yet, is named in `gaps` and `waiting_for`: a request of a moment ago is seen in parts.
    """
    story = await _reader(request).story(str(correlation_id))
    return _json(_TOLD_STORY, ToldStory(story.found, unsettled(story), story))


@router.get(
    RECENT_REQUESTS_ROUTE,
    openapi_extra=_QUERY | _NEEDS,
    response_model=RecentRequests,
    responses={**_PROBLEMS, **problems(422)},
)
async def list_requests(request: Request) -> Response:
    """List the newest requests of a day as nginx saw them, or those that failed; not those that read telemetry."""
    wanted = _wanted(request)
    recent = await _reader(request).recent(limit=wanted.limit, failed=wanted.failed)
    return _json(_RECENT_REQUESTS, recent)


@router.get(OVERVIEW_ROUTE, openapi_extra=_NEEDS, response_model=SystemHealth, responses=_PROBLEMS)
async def get_overview(request: Request) -> Response:
    """Tell how the system does: its components, and traffic, errors, latency, alerts and error budgets of the last hour."""
    reader = _reader(request)
    probe: HealthProbe = request.state.health
    overview = await reader.overview()
    return _json(_SYSTEM_HEALTH, SystemHealth(await probe.examine(), overview, reader.places))


def _wanted(request: Request) -> Wanted:
    """Return what the query asks for; raises RequestValidationError."""
    try:
        return Wanted.model_validate(dict(request.query_params))
    except ValidationError as error:
        raise RequestValidationError(
            [{**each, "loc": ("query", *each["loc"])} for each in error.errors()]
        ) from error


def _json(kind: TypeAdapter[Any], answer: object) -> Response:
    return Response(kind.dump_json(answer), media_type="application/json")
