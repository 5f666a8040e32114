"""The URLs the API gives out: download links, which are signed and may expire, and upload links."""

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from urllib.parse import urlencode

from .errors import StorageError
from .renditions import Rendition

DEFAULT_UPLOAD_TYPE = "application/octet-stream"


class Links:
    """Makes and checks links; the bases are set once the servers listen."""

    def __init__(self) -> None:
        self.asset_base = ""
        self.storage_base = ""
        self._secret = secrets.token_bytes(16)

    def asset(self, image_id: str, rendition: Rendition) -> str:
        return f"{self.asset_base}/assets/{image_id}/{rendition.kind}?{urlencode(rendition.query())}"

    def storage(self, image_id: str, rendition: Rendition, expires: float | None, *, relative: bool) -> str:
        """A presigned link to the bytes; `expires` is in seconds since 1970."""
        path = f"/bucket/{image_id}/{rendition.kind}"
        until = str(int(expires)) if expires is not None else "never"
        signature = self._sign(f"{path} {until}")
        query = urlencode({**rendition.query(), "X-Amz-Expires": until, "X-Amz-Signature": signature})
        return f"{'' if relative else self.storage_base}{path}?{query}"

    def upload(self, target_id: str, content_type: str, *, bracket: bool) -> str:
        path = f"/bucket/uploads/{target_id}"
        query = {"content-type": content_type, "X-Amz-Signature": self._sign(f"{path} {content_type}")}
        if bracket:
            query |= {"x-amz-meta-bracket_id": target_id, "x-amz-security-token": "sandbox"}
        return f"{self.storage_base}{path}?{urlencode(query)}"

    def check_download(self, path: str, query: Mapping[str, str], now: float) -> None:
        """Raise StorageError 403 unless the link is ours and still valid."""
        until = query.get("X-Amz-Expires", "")
        self._check(f"{path} {until}", query)
        if until != "never" and float(until) < now:
            raise StorageError(403, "AccessDenied", "Request has expired")

    def check_upload(self, path: str, query: Mapping[str, str], content_type: str) -> None:
        """Raise StorageError 403 unless the Content-Type is the one that was signed."""
        self._check(f"{path} {content_type}", query)

    def _check(self, text: str, query: Mapping[str, str]) -> None:
        given = query.get("X-Amz-Signature", "")
        if not hmac.compare_digest(given.encode(), self._sign(text).encode()):
            raise StorageError(403, "SignatureDoesNotMatch", "The request signature does not match.")

    def _sign(self, text: str) -> str:
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()
