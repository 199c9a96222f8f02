"""The data store's queue of summaries that are to be written after the upload."""

from http import HTTPStatus
from typing import Final

from pydantic import BaseModel

from document_api.documents.store_client import StoreClient, told_path
from document_api.summaries import Summary
from observability import Problem
from observability.signals import SUMMARY_JOBS_ROUTE

# The data store gives no more at once: each may have 100,000 characters.
MAX_CLAIMED: Final = 16


class SummaryJob(BaseModel):
    """A summary that is to be written within `lasts_seconds`, and of which upload it is, `waited_seconds` ago."""

    client_id: str
    document_id: int
    version: int
    content: str
    attempt: int
    lasts_seconds: float
    waited_seconds: float
    traceparent: str | None
    correlation_id: str | None


class Claimed(BaseModel):
    """Jobs that nobody else has; `next_seconds` is when one of somebody else's is due, if he does not come to its end."""

    jobs: list[SummaryJob]
    next_seconds: float | None


class SummaryJobs:
    """Takes jobs and ends them; raises what StoreClient raises."""

    def __init__(self, store: StoreClient, *, kept_seconds: float) -> None:
        self._store = store
        self._kept_seconds = kept_seconds

    async def claim(self, most: int) -> Claimed:
        """Take as many jobs as this, at most MAX_CLAIMED, of those that are due."""
        claim = _Claim(kept_seconds=self._kept_seconds, most=most)
        # Not repeatable: the first try may have taken jobs, which come again when their time is over.
        answer = await self._store.send("POST", SUMMARY_JOBS_ROUTE, claim.model_dump_json().encode())
        try:
            return Claimed.model_validate_json(answer.body)
        except ValueError as error:
            raise Problem("The data store answered something that is no list of jobs.", status=502) from error

    async def write(self, job: SummaryJob, summary: Summary) -> bool:
        """Write the summary of a job; False where nobody waits for it any more."""
        path, told = told_path(job.client_id, job.document_id)
        written = _Written(
            version=job.version,
            summary=summary.text,
            summary_source=summary.source,
            summary_reason=summary.reason,
        )
        answer = await self._store.send(
            "PUT",
            f"{path}/summary",
            written.model_dump_json().encode(),
            told=f"{told}/summary",
            expected={HTTPStatus.NOT_FOUND},
            repeatable=True,  # what is written twice is found no more the second time
        )
        return answer.status != HTTPStatus.NOT_FOUND


class _Claim(BaseModel):
    kept_seconds: float
    most: int


class _Written(BaseModel):
    version: int
    summary: str | None
    summary_source: str
    summary_reason: str | None
