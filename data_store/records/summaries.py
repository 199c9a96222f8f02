"""Summaries that are written after the upload: a queue, of which several take without getting in each other's way."""

from typing import Final

from data_store.database import Database
from data_store.failures import failures_as_problems
from data_store.records.schemas import Claim, SummaryJob, SummaryJobs, WrittenSummary
from data_store.records.statements import TABLE, statement
from observability import NotFound
from observability.database import Connection

_JOBS: Final = "summary_jobs"
_NEXT: Final = statement("SELECT seconds_to_next_summary()", "SELECT", table=_JOBS)
_CLAIM: Final = statement("SELECT * FROM claim_summaries(:most, :kept_seconds)", "UPDATE", table=_JOBS)
_WRITE: Final = statement(
    "SELECT write_summary(:of_id, :version, :summary, :summary_source, :summary_reason)",
    "UPDATE",
    table=TABLE,
)


class SummaryQueue:
    """What is still to be summarised, of all clients."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(self, claim: Claim) -> SummaryJobs:
        """Take jobs that are due: nobody else gets them before they are due again."""

        def take(connection: Connection) -> SummaryJobs:
            ((next_seconds,),) = connection.execute(
                _NEXT, {}
            )  # before: what is taken now is not somebody else's
            rows = connection.execute(_CLAIM, claim.model_dump())
            jobs = [
                SummaryJob.model_validate(dict(zip(SummaryJob.model_fields, row, strict=True)))
                for row in rows
            ]
            return SummaryJobs(jobs=jobs, next_seconds=next_seconds)

        with failures_as_problems():
            return await self._database.write(take, tenant=None)

    async def write(self, client_id: str, document_id: int, written: WrittenSummary) -> None:
        """Write a summary, once; raises NotFound where none is waited for, or no more."""
        values = {"of_id": document_id, **written.model_dump()}

        def write_summary(connection: Connection) -> bool:
            return connection.execute(_WRITE, values) == [(True,)]

        with failures_as_problems():
            found = await self._database.write(write_summary, tenant=client_id)
        if not found:
            raise NotFound("No summary of this version is waited for.")
