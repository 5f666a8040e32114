"""Signatures of callbacks: Standard Webhooks 1.0.0, symmetric (`v1`)."""

import base64
import hashlib
import hmac
from collections.abc import Sequence


def headers(message_id: str, timestamp: int, body: bytes, keys: Sequence[bytes]) -> dict[str, str]:
    """The headers by which a receiver knows who sent `body`, and when (epoch seconds). One signature per key."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    signatures = [base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode() for key in keys]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
    }
