"""Several files in one request: each is an upload of its own, and has a result of its own."""

import logging
from collections.abc import Sequence
from typing import Final

from opentelemetry import trace
from starlette.requests import Request
from starlette.responses import Response

from document_api.documents.multipart import ACCEPTED, FIELD, MultipartFiles, OneOfSeveral, WrongForm
from document_api.documents.sameness import Sameness
from document_api.documents.schemas import UploadResult, When
from document_api.documents.service import DocumentService
from document_api.identity.limits import TenantLimits
from observability import Problem
from observability.problems import is_server_error, problem_body, problem_response

logger = logging.getLogger(__name__)

MAX_FILES: Final = 100


class BulkUpload:
    """Stores the files of a request, one after the other."""

    def __init__(
        self,
        documents: DocumentService,
        limits: TenantLimits,
        *,
        max_bytes: int,
        min_bytes_per_second: int,
    ) -> None:
        self._documents = documents
        self._limits = limits
        self._max_bytes = max_bytes
        self._min_bytes_per_second = min_bytes_per_second

    async def store(
        self, client_id: str, request: Request, sameness: Sameness | None, summary: When
    ) -> list[UploadResult]:
        """Return a result for each file, in their order; where the body breaks off, the last one says so.

        Raises Problem as an upload does, where that is before the first file.
        """
        results: list[UploadResult] = []
        files = MultipartFiles(request).files(self._max_bytes, self._min_bytes_per_second)
        try:
            async for file in files:
                results.append(await self._store(client_id, file, len(results), sameness, summary))
                if len(results) > MAX_FILES:
                    break
        except Problem as problem:
            if not results:
                raise
            results.append(_refused("", problem))
        if not results:
            raise WrongForm(f"The form has no file in a field '{FIELD}'; {ACCEPTED}.")
        return results

    async def _store(
        self, client_id: str, file: OneOfSeveral, number: int, sameness: Sameness | None, summary: When
    ) -> UploadResult:
        try:
            if number >= MAX_FILES:
                raise WrongForm(
                    f"A request may have {MAX_FILES} files: this one and what follows is not stored."
                )
            if number:  # the first one is the request's own
                self._limits.count_request(client_id, upload=True)
            uploaded = await self._documents.upload(
                client_id,
                file,
                sameness.of_file_number(number) if sameness else None,
                summary=summary,
            )
        except Problem as problem:
            return _refused(file.filename, problem)
        return UploadResult(
            filename=file.filename,
            status=200,
            document=uploaded.document,
            repeated=uploaded.repeated,
            problem=None,
        )


def nothing_stored(results: Sequence[UploadResult]) -> Response | None:
    """Return the problem of a request of which nothing is stored: whoever only looks at the status sees it, too."""
    if any(result.problem is None for result in results):
        return None
    problem = results[0].problem or {}
    members = {name: value for name, value in problem.items() if name not in problem_body(500, "")}
    told = [result.model_dump(mode="json") for result in results]
    headers = {"Retry-After": "1"} if results[0].status in {429, 503} else None
    return problem_response(results[0].status, problem["detail"], headers, **members, results=told)


def _refused(filename: str, problem: Problem) -> UploadResult:
    """Return the result of a file that was not stored; the request itself is answered well, so it is told here."""
    if is_server_error(problem):
        trace.get_current_span().record_exception(problem)
        logger.error(problem.detail, exc_info=problem, extra={"context_data": {"status": problem.status}})
    return UploadResult(
        filename=filename,
        status=problem.status,
        document=None,
        repeated=False,
        problem=problem_body(problem.status, problem.detail, **problem.members),
    )
