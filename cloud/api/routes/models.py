"""What is known of the models that score faces."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path

from cloud.api.credential_first import CredentialFirstRoute
from cloud.api.result_schemas import Model
from cloud.api.security import Principal, Scope, needs
from cloud.errors import NotFoundError
from cloud.reports.measured import measured_document, measured_model
from cloud.reports.validity import VALIDITY

router = APIRouter(prefix="/v1/models", tags=["results"], route_class=CredentialFirstRoute)


@router.get("/{sha256}", response_model=Model)
async def read_model(
    sha256: Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")],
    principal: Annotated[Principal, Depends(needs(Scope.RESULTS_READ))],
) -> Model:
    """Give a model's errors on test sets, confusion matrices included, by the digest of its file.

    A session's `models` name the digests. A model whose card is not installed here is not found.
    """
    document = measured_document(measured_model(sha256))
    if document is None:
        raise NotFoundError("no figures of such a model are installed")
    return Model(sha256=sha256, validity=VALIDITY, **document)
