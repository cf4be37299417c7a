"""*.azurecr.io: the login of a registry, and what an image was built for.

A client asks, is told where to get a token, exchanges its own for one of the registry, and asks again.
"""

import hashlib
import json
from urllib.parse import parse_qs

from azure_emulator import subscription as names
from azure_emulator.exchange import Answer, Request, Routes, ServiceError, route
from azure_emulator.login import make_token, read_token

ENDPOINT = f"https://{names.REGISTRY}"
AUDIENCES = ("https://containerregistry.azure.net", "https://management.azure.com")
INDEX = "application/vnd.oci.image.index.v1+json"
ONE = "application/vnd.docker.distribution.manifest.v2+json"


class Registry:
    """Answers for one registry; `images` may be changed by tests: what `name:tag` was built for.

    An image of one platform is a manifest, one of several an index of them, as `docker build` pushes with what it says
    of the build.
    """

    def __init__(self) -> None:
        self.images: dict[str, list[str]] = {"pretrain-llama-data:1": ["linux/amd64", "unknown/unknown"]}
        self._routes: Routes = [
            ("POST", r"/oauth2/exchange", self._exchange),
            ("POST", r"/oauth2/token", self._token),
            ("GET", r"/v2/(.+)/manifests/([^/]+)", self._manifest),
            ("GET", r"/acr/v1/(.+)/_tags/([^/]+)", self._tag),
            ("GET", r"/acr/v1/(.+)/_manifests/([^/]+)", self._properties),
        ]

    def answer(self, request: Request) -> Answer:
        """Answer a request.

        Raises:
            ServiceError: as the registry would refuse it, or what is asked is not emulated.
        """
        if not request.path.startswith("/oauth2/"):
            self._check_token(request)
        return route(self._routes, request)

    def _check_token(self, request: Request) -> None:
        challenge = f'Bearer realm="{ENDPOINT}/oauth2/token",service="{names.REGISTRY}",scope="repository:*:pull"'
        headers = {"WWW-Authenticate": challenge}
        try:
            audience = read_token(request.headers.get("Authorization", "")).get("aud")
        except ServiceError as error:
            raise ServiceError(401, "UNAUTHORIZED", "authentication required", headers) from error
        if audience != names.REGISTRY:
            raise ServiceError(401, "UNAUTHORIZED", f"the token is for {audience}", headers)

    def _form(self, request: Request) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(request.body.read().decode()).items()}

    def _exchange(self, request: Request) -> Answer:
        audience = read_token(f"Bearer {self._form(request)['access_token']}").get("aud")
        if audience not in AUDIENCES:
            raise ServiceError(401, "UNAUTHORIZED", f"the token is for {audience}")
        return Answer.of_json({"refresh_token": make_token("refresh")[0]})

    def _token(self, request: Request) -> Answer:
        if read_token(f"Bearer {self._form(request)['refresh_token']}").get("aud") != "refresh":
            raise ServiceError(401, "UNAUTHORIZED", "no refresh token")
        return Answer.of_json({"access_token": make_token(names.REGISTRY)[0]})

    def _platforms(self, name: str, reference: str) -> list[str]:
        for image, platforms in self.images.items():
            if image == f"{name}:{reference}" or (image.startswith(f"{name}:") and reference == _digest(platforms)):
                return platforms
        raise ServiceError(404, "MANIFEST_UNKNOWN", f"manifest {name}:{reference} is not found")

    def _manifest(self, request: Request, name: str, reference: str) -> Answer:
        platforms = self._platforms(name, reference)
        headers = {"Docker-Content-Digest": _digest(platforms), "Content-Type": INDEX if len(platforms) > 1 else ONE}
        return Answer(200, headers, _content(platforms))

    def _tag(self, request: Request, name: str, tag: str) -> Answer:
        digest = _digest(self._platforms(name, tag))
        value = {"name": tag, "digest": digest, "createdTime": "2026-01-01T00:00:00Z"}
        value |= {"lastUpdateTime": "2026-01-01T00:00:00Z", "changeableAttributes": {}}
        return Answer.of_json({"registry": names.REGISTRY, "imageName": name, "tag": value})

    def _properties(self, request: Request, name: str, digest: str) -> Answer:
        system, _, architecture = self._platforms(name, digest)[0].partition("/")
        value = {"digest": digest, "architecture": architecture, "os": system, "changeableAttributes": {}}
        value |= {"createdTime": "2026-01-01T00:00:00Z", "lastUpdateTime": "2026-01-01T00:00:00Z"}
        return Answer.of_json({"registry": names.REGISTRY, "imageName": name, "manifest": value})


def _content(platforms: list[str]) -> bytes:
    entries = [dict(zip(("os", "architecture"), platform.split("/"), strict=True)) for platform in platforms]
    index = {"manifests": [{"platform": entry} for entry in entries]}
    return json.dumps(index if len(platforms) > 1 else {"config": {}, "layers": [], **entries[0]}).encode()


def _digest(platforms: list[str]) -> str:
    return f"sha256:{hashlib.sha256(_content(platforms)).hexdigest()}"
