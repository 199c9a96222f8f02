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
# How long a model that is left alone is given no more jobs: taking them would only spend their attempts.
_ALONE_SECONDS: Final = 30.0


class LaterSummaries:
    """Works through the queue: at once where it is woken, when a job is due, and every so often for what others have left."""

    def __init__(
        self,
        jobs: SummaryJobs,
        summaries: SummaryWriter,
        telemetry: Telemetry,
        *,
        at_once: int,
        attempts: int,
        every_seconds: float,
    ) -> None:
        self._jobs = jobs
        self._summaries = summaries
        self._telemetry = telemetry
        self._free = at_once
        self._attempts = attempts
        self._every_seconds = every_seconds
        self._wanted = asyncio.Event()
        self._is_more_due = False
        self._alone_until = 0.0
        self._alarm: asyncio.TimerHandle | None = None

    def wake(self) -> None:
        """Say that there is something to do."""
        self._wanted.set()

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Work until the block ends; what is not done by then is somebody else's when its time is over."""
        async with in_background(self._again_and_again()):
            yield

    async def _again_and_again(self) -> None:
        async with asyncio.TaskGroup() as group:
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._every_seconds):
                        await self._wanted.wait()
                self._wanted.clear()
                try:
                    await self._begin(group)
                except Exception:
                    logger.exception("Summaries cannot be written now")

    async def _begin(self, group: asyncio.TaskGroup) -> None:
        """Begin with as many jobs as are due and may be worked on beside those that are."""
        clock = asyncio.get_running_loop().time
        self._is_more_due = True
        if clock() < self._alone_until:
            self._wake_at(self._alone_until)
            return
        while self._free:
            asked, began = self._free, clock()
            claimed = await self._claimed(asked)
            if claimed is None:
                return
            for job in claimed.jobs:
                self._free -= 1
                group.create_task(self._work_on(job, began))
            if claimed.next_seconds is not None:
                self._wake_at(began + claimed.next_seconds)
            if len(claimed.jobs) < asked:
                self._is_more_due = False
                return

    async def _work_on(self, job: SummaryJob, began: float) -> None:
        is_done = await self._tried(job)
        self._free += 1
        if not is_done:
            self._wake_at(began + job.lasts_seconds)
        if self._is_more_due:
            self.wake()

    def _wake_at(self, when: float) -> None:
        """Look again then, at the latest; each look tells when the next one is due."""
        loop = asyncio.get_running_loop()
        if self._alarm is not None:
            if loop.time() < self._alarm.when() <= when + _SLACK_SECONDS:
                return
            self._alarm.cancel()
        self._alarm = loop.call_at(when + _SLACK_SECONDS, self.wake)

    async def _claimed(self, most: int) -> Claimed | None:
        """Take jobs, under an ID of its own; None where that cannot be done now."""
        enter_request(RequestContext(accept_correlation_id(None)))
        try:
            with self._telemetry.step(Span.CLAIM_SUMMARIES, outcome=True) as step:
                claimed = await self._jobs.claim(most)
                step.set(Attribute.SUMMARY_JOBS, len(claimed.jobs))
        except Problem as error:
            logger.warning("Summaries cannot be written now: %s", error)
            return None
        return claimed

    async def _tried(self, job: SummaryJob) -> bool:
        """Work on a job as a part of its upload's request, and return whether it is done."""
        enter_request(RequestContext(accept_correlation_id(job.correlation_id), client_id=job.client_id))
        try:
            return await self._summarize(job)
        except Problem as error:
            logger.warning("The summary could not be stored: %s", error)
        except Exception:
            logger.exception("The summary could not be written")
        return False

    async def _summarize(self, job: SummaryJob) -> bool:
        """Return whether a job is done; the last attempt takes whatever summary there is, if the model was asked."""
        with self._telemetry.step(Span.SUMMARIZE_LATER, outcome=True) as step:
            step.set(Attribute.DOCUMENT_ID, job.document_id)
            step.set(Attribute.SUMMARY_ATTEMPT, job.attempt)
            if job.traceparent is not None:
                step.link(job.traceparent)
            summary = await self._summaries.write(job.content)
            if not summary.asked:
                self._alone_until = asyncio.get_running_loop().time() + _ALONE_SECONDS
            if summary.again and (job.attempt < self._attempts or not summary.asked):
                self._report(job, summary, LaterSummary.POSTPONED, job.lasts_seconds)
                return False
            with self._telemetry.step(Span.STORE_SUMMARY):
                written = await self._jobs.write(job, summary)
            waited = job.waited_seconds + step.elapsed()
            if written:
                self._summaries.count(summary)
                self._telemetry.metrics.later_summary_delay(waited)
            self._report(job, summary, LaterSummary.WRITTEN if written else LaterSummary.GONE, waited)
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
