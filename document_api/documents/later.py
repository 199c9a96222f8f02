"""Writes the summaries that uploads did not wait for, each in a trace of its own that refers to its upload's."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from document_api.documents.summary_jobs import Claimed, SummaryJob, SummaryJobs
from document_api.summaries import Summary
from document_api.summaries.writer import SummaryWriter
from observability import Problem, Telemetry
from observability.context import RequestContext, accept_correlation_id, enter_request
from observability.runtime import in_background
from observability.signals import Attribute, LaterSummary, Span

logger = logging.getLogger(__name__)

# So that clocks which differ a little do not make anybody come too early.
_SLACK_SECONDS: Final = 0.1


class LaterSummaries:
    """Works through the queue: at once where it is woken, when a job is due, and every so often for what others have left."""

    def __init__(
        self,
        jobs: SummaryJobs,
        summaries: SummaryWriter,
        telemetry: Telemetry,
        *,
        attempts: int,
        every_seconds: float,
    ) -> None:
        self._jobs = jobs
        self._summaries = summaries
        self._telemetry = telemetry
        self._attempts = attempts
        self._every_seconds = every_seconds
        self._wanted = asyncio.Event()

    def wake(self) -> None:
        """Say that there is something to do."""
        self._wanted.set()

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Work until the block ends; what is not done by then is somebody else's when its time is over."""
        async with in_background(self._again_and_again()):
            yield

    async def _again_and_again(self) -> None:
        pause = self._every_seconds
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wanted.wait()
            self._wanted.clear()
            try:
                pause = min(self._every_seconds, await self._work() + _SLACK_SECONDS)
            except Exception:
                logger.exception("Summaries cannot be written now")
                pause = self._every_seconds

    async def _work(self) -> float:
        """Do all that is due, and return in how many seconds there is more."""
        clock = asyncio.get_running_loop().time
        more = clock() + self._every_seconds
        while True:
            began = clock()
            claimed = await self._claimed()
            if claimed is None:
                break
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._tried(job)) for job in claimed.jobs]
            seconds = (*(task.result() for task in tasks), claimed.next_seconds)
            more = min(more, *(began + each for each in seconds if each is not None), more)
            if len(claimed.jobs) < self._jobs.most:
                break
        return max(0.0, more - clock())

    async def _claimed(self) -> Claimed | None:
        """Take jobs, under an ID of its own; None where that cannot be done now."""
        enter_request(RequestContext(accept_correlation_id(None)))
        try:
            with self._telemetry.step(Span.CLAIM_SUMMARIES, outcome=True) as step:
                claimed = await self._jobs.claim()
                step.set(Attribute.SUMMARY_JOBS, len(claimed.jobs))
        except Problem as error:
            logger.warning("Summaries cannot be written now: %s", error)
            return None
        return claimed

    async def _tried(self, job: SummaryJob) -> float | None:
        """Work on a job as a part of its upload's request; return when it is to be tried again, None where it is done."""
        enter_request(RequestContext(accept_correlation_id(job.correlation_id), client_id=job.client_id))
        try:
            done = await self._summarize(job)
        except Problem as error:
            logger.warning("The summary could not be stored: %s", error)
            done = False
        except Exception:
            logger.exception("The summary could not be written")
            done = False
        return None if done else job.lasts_seconds

    async def _summarize(self, job: SummaryJob) -> bool:
        """Return whether a job is done; the last attempt takes whatever summary there is."""
        with self._telemetry.step(Span.SUMMARIZE_LATER, outcome=True) as step:
            step.set(Attribute.DOCUMENT_ID, job.document_id)
            step.set(Attribute.SUMMARY_ATTEMPT, job.attempt)
            if job.traceparent is not None:
                step.link(job.traceparent)
            summary = await self._summaries.write(job.content)
            if summary.again and job.attempt < self._attempts:
                self._report(job, summary, LaterSummary.POSTPONED, job.lasts_seconds)
                return False
            with self._telemetry.step(Span.STORE_SUMMARY):
                written = await self._jobs.write(job, summary)
            if written:
                self._summaries.count(summary)
                self._telemetry.metrics.later_summary_delay(job.waited_seconds + step.elapsed())
            self._report(
                *(job, summary, LaterSummary.WRITTEN if written else LaterSummary.GONE),
                job.waited_seconds + step.elapsed(),
            )
        return True

    def _report(self, job: SummaryJob, summary: Summary, outcome: LaterSummary, seconds: float) -> None:
        """Tell what became of a job, and how long that took since the upload; of one that is postponed, for how long."""
        self._telemetry.metrics.later_summaries(1, outcome=outcome)
        logger.log(
            logging.WARNING if outcome is LaterSummary.POSTPONED else logging.INFO,
            "Later summary %s",
            outcome,
            extra={
                "context_data": {
                    "document_id": job.document_id,
                    "attempt": job.attempt,
                    "summary_source": summary.source,
                    "reason": summary.reason or "none",
                    "seconds": round(seconds, 3),
                }
            },
        )
