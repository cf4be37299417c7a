"""The token endpoint of a managed identity, and the check that a service makes of its tokens."""

import base64
import json
import time

from azure_emulator.exchange import Answer, Request, Routes, ServiceError, route
from azure_emulator.subscription import IDENTITY_CLIENT_ID, TENANT

# What the environment's IDENTITY_HEADER holds; a request without it is refused, as by the real endpoint.
IDENTITY_HEADER = "emulated-identity-header"
AUDIENCES = {
    "management": ("https://management.azure.com", "https://management.core.windows.net"),
    "batch": ("https://batch.core.windows.net",),
}
LIFETIME_SECONDS = 3600
NODES = "/msi/of-a-node/token"


def _encode(value: dict) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def make_token(audience: str, lifetime_s: int = LIFETIME_SECONDS) -> tuple[str, int]:
    """Return an unsigned token for an audience, and when it ends, in seconds since 1970."""
    now = int(time.time())
    claims = {"aud": audience.rstrip("/"), "iss": f"https://sts.windows.net/{TENANT}/", "tid": TENANT}
    claims |= {"oid": IDENTITY_CLIENT_ID, "nbf": now - 60, "iat": now - 60, "exp": now + lifetime_s}
    return f"{_encode({'alg': 'none', 'typ': 'JWT'})}.{_encode(claims)}.{_encode({})}", now + lifetime_s


def read_token(header: str) -> dict:
    """Return the claims in an Authorization header.

    Raises:
        ServiceError: it is no bearer token, or one that has ended.
    """
    scheme, _, token = header.partition(" ")
    try:
        part = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (IndexError, ValueError):
        claims = {}
    if scheme != "Bearer" or claims.get("exp", 0) < time.time():
        raise ServiceError(401, "AuthenticationFailed", "a bearer token that has not ended is missing")
    return claims


def check_token(request: Request) -> None:
    """Let a request pass that bears a token for the kind of its host.

    Raises:
        ServiceError: it bears none, or one for another service.
    """
    audience = read_token(request.headers.get("Authorization", "")).get("aud")
    if audience not in AUDIENCES[request.kind]:
        raise ServiceError(401, "InvalidAuthenticationToken", f"the token is for {audience}")


def _token(request: Request) -> Answer:
    if request.headers.get("X-IDENTITY-HEADER") != IDENTITY_HEADER:
        raise ServiceError(401, "invalid_client", "the identity header is missing")
    if request.query.get("client_id", IDENTITY_CLIENT_ID) != IDENTITY_CLIENT_ID:
        raise ServiceError(400, "invalid_request", "Identity not found")
    resource = request.query["resource"]
    token, ends = make_token(resource)
    return Answer.of_json(
        {"access_token": token, "expires_on": str(ends), "resource": resource, "token_type": "Bearer"}
    )


def _token_of_a_node(request: Request) -> Answer:
    """A node has several identities, as where a policy adds one to every machine: one has to be named."""
    if "client_id" not in request.query:
        raise ServiceError(400, "invalid_request", "Multiple user assigned identities exist, please specify one")
    return _token(request)


ROUTES: Routes = [("GET", r"/msi/token", _token), ("GET", NODES, _token_of_a_node)]


def answer(request: Request) -> Answer:
    """Answer a request for a token."""
    return route(ROUTES, request)
