"""Refuse what the models of the service's clients do not know: calls, versions, names, types, enumerations."""

import json

from azure_contract.bodies import call_of, faults_of_body, faults_of_query
from azure_emulator.exchange import Request, ServiceError

# https://learn.microsoft.com/rest/api/batchservice: parameters of the query, all calls together.
PARAMETERS = {"api-version", "timeOut", "maxresults", "$filter", "$select", "$expand", "recursive", "force"}
ODATA = "application/json; odata=minimalmetadata"


def check(request: Request) -> None:
    """Let a request pass that is one of the published interface.

    Raises:
        ServiceError: it is not; names what is wrong.
    """
    call = call_of(request.kind, request.method, request.target)
    if call is None:
        raise ServiceError(404, "ResourceNotFound", f"{request.method} {request.path} is not emulated")
    if unknown := request.query.keys() - PARAMETERS:
        raise ServiceError(400, "UnsupportedQueryParameter", ", ".join(sorted(unknown)))
    if faults := faults_of_query(call, request.target):
        code = "InvalidQueryParameterValue" if "api-version" not in faults[0] else "UnsupportedRequestVersion"
        raise ServiceError(400, code, "; ".join(faults))
    if faults := faults_of_body(call, _body(request)):
        raise ServiceError(400, "InvalidRequestBody", "; ".join(faults))


def _body(request: Request) -> object:
    content = request.body.read()
    if not content:
        return None
    kind = request.headers.get("Content-Type", "")
    wanted = ODATA if request.kind == "batch" else "application/json"
    if kind.replace(" ", "") != wanted.replace(" ", ""):
        raise ServiceError(415, "UnsupportedMediaType", f"{kind!r} is not {wanted!r}")
    try:
        return json.loads(content)
    except ValueError as error:
        raise ServiceError(400, "InvalidRequestBody", str(error)) from error
