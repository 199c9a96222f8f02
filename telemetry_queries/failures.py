"""What a back end that did not answer is said to have done."""

from typing import Any

import httpx


def describe(error: httpx.HTTPError) -> str:
    """Say in one line which address failed and how."""
    try:
        address = str(error.request.url).split("?", maxsplit=1)[0]
    except RuntimeError:
        address = "the server"
    if isinstance(error, httpx.HTTPStatusError):
        return f"{address} answered {error.response.status_code}: {error.response.text.strip()[:200]}"
    return f"{address} did not answer: {str(error) or type(error).__name__}"


def json_of(answer: httpx.Response) -> Any:
    """Return an answer's JSON; raises HTTPError where it failed or is none: something else listens there."""
    answer.raise_for_status()
    try:
        return answer.json()
    except ValueError as error:
        raise httpx.DecodingError("it answered no JSON", request=answer.request) from error
