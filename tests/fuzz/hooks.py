"""What schemathesis does with a request before it is sent."""

import re
import uuid
from typing import Any

import schemathesis

_HEADER = "Idempotency-Key"
_FIELD = "idempotency_digest"
_LONGEST_CURSOR = 2000


@schemathesis.hook
def before_call(_context: Any, case: Any, _kwargs: Any) -> None:
    """Let no request be a repetition of another by chance: a valid key stays valid, and is its own.

    Which text is a cursor, OpenAPI cannot say: none is sent that only looks like one.
    """
    cursor = (case.query or {}).get("cursor")
    if isinstance(cursor, str) and len(cursor) <= _LONGEST_CURSOR and "\0" not in cursor:
        del case.query["cursor"]
    if re.fullmatch("[!-~]{1,255}", str((case.headers or {}).get(_HEADER, ""))):
        case.headers[_HEADER] = uuid.uuid4().hex
    if isinstance(case.body, dict) and re.fullmatch("[0-9a-f]{64}", str(case.body.get(_FIELD))):
        case.body = {**case.body, _FIELD: uuid.uuid4().hex * 2}
