"""Signatures of what a caller carries back to us: links and sessions. Every replica makes the same keys."""

import hashlib
import hmac


def signing_key(secret: str, purpose: str) -> bytes:
    """A key derived from a secret: what is signed for one purpose is worth nothing for another."""
    return hmac.digest(
        secret.encode("utf-8", "surrogateescape"), f"autoenhance-batch {purpose}".encode(), hashlib.sha256
    )


def sign(key: bytes, text: str) -> str:
    """The signature of `text`, in hexadecimal."""
    return hmac.digest(key, text.encode("utf-8", "surrogateescape"), hashlib.sha256).hex()


def is_signed(key: bytes, text: str, signature: str) -> bool:
    """Whether `signature` is that of `text`; takes as long whatever is wrong with it."""
    return hmac.compare_digest(sign(key, text).encode(), signature.encode("utf-8", "surrogateescape"))
