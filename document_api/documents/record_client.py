"""What the data store does with documents that are stored: finds, lists, changes and removes them."""

from http import HTTPStatus
from typing import Final, TypeVar

from pydantic import BaseModel

from document_api.documents.schemas import (
    Document,
    DocumentList,
    FoundList,
    ListedDocuments,
    Recorded,
    SearchedDocuments,
    TagChange,
    Versions,
)
from document_api.documents.store_client import StoreClient, told_path
from document_api.http import Answer
from observability import NotFound, Problem

Model = TypeVar("Model", bound=BaseModel)

_REFUSED: Final = frozenset({HTTPStatus.UNPROCESSABLE_ENTITY, HTTPStatus.CONFLICT})


class _Refusal(BaseModel):
    detail: str


class RecordClient:
    """Calls the data store about documents of a client; raises what StoreClient raises, and Problem (409, 422) for what it refuses."""

    def __init__(self, store: StoreClient) -> None:
        self._store = store

    async def list(self, client_id: str, which: ListedDocuments) -> DocumentList:
        """Return a page of a client's documents."""
        return await self._get(DocumentList, f"/clients/{client_id}/documents", which)

    async def search(self, client_id: str, which: SearchedDocuments) -> FoundList:
        """Return a page of the documents that have all words."""
        return await self._get(FoundList, f"/clients/{client_id}/search", which)

    async def versions(self, client_id: str, document_id: int) -> Versions:
        """Return the versions of a document, the newest first."""
        return _read(Versions, await self._send("GET", client_id, document_id, "/versions"))

    async def version(self, client_id: str, document_id: int, version: int) -> Recorded:
        """Return what a document was; raises NotFound also where it has had no such version."""
        try:
            answer = await self._send("GET", client_id, document_id, f"/versions/{version}")
        except NotFound as error:
            raise NotFound("The client has no such document, or it has had no such version.") from error
        return _read(Recorded, answer)

    async def change(self, client_id: str, document_id: int, change: TagChange) -> Document:
        """Set and take away tags."""
        return _read(Document, await self._send("PATCH", client_id, document_id, body=change))

    async def delete(self, client_id: str, document_id: int) -> None:
        """Delete a document, so that it can be restored."""
        await self._send("DELETE", client_id, document_id)

    async def restore(self, client_id: str, document_id: int) -> Document:
        """Bring a deleted document back."""
        return _read(Document, await self._send("POST", client_id, document_id, "/restore"))

    async def purge(self, client_id: str, document_id: int) -> None:
        """Do away with a deleted document for ever."""
        # Not repeatable: the second try would not find what the first has taken.
        await self._send("POST", client_id, document_id, "/purge", repeatable=False)

    async def _get(self, model: type[Model], path: str, which: BaseModel) -> Model:
        parameters = which.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
        answer = await self._store.send("GET", path, parameters=parameters, expected=_REFUSED)
        return _read(model, _unless_refused(answer))

    async def _send(
        self,
        method: str,
        client_id: str,
        document_id: int,
        what: str = "",
        *,
        body: BaseModel | None = None,
        repeatable: bool = True,
    ) -> Answer:
        path, told = told_path(client_id, document_id)
        answer = await self._store.send(
            method,
            f"{path}{what}",
            body.model_dump_json().encode() if body else None,
            told=f"{told}{what}",
            expected=_REFUSED,
            repeatable=repeatable,  # done twice it is as done once
        )
        return _unless_refused(answer)


def _unless_refused(answer: Answer) -> Answer:
    """Return the answer; raises the data store's own Problem where it refuses what this service could not judge."""
    if answer.status not in _REFUSED:
        return answer
    detail = _read(_Refusal, answer).detail
    raise Problem(detail, status=answer.status)


def _read(model: type[Model], answer: Answer) -> Model:
    try:
        return model.model_validate_json(answer.body)
    except ValueError as error:
        raise Problem("The data store answered something that cannot be read.", status=502) from error
