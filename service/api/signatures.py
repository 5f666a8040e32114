"""Signatures of what a caller carries back to us: links and sessions. Every replica makes the same keys."""

import asyncio
import hashlib
import hmac

# 32 MiB and about a tenth of a second.
_COST, _BLOCK_SIZE, _MAX_MEMORY = 1 << 15, 8, 64 << 20

_keys: dict[tuple[str, str], bytes] = {}


async def signing_key(secret: str, purpose: str) -> bytes:
    """A key derived from a secret: what is signed for one purpose is worth nothing for another.

    A signature lets its holder try secrets without asking us. The derivation is slow, once per process, so that this is
    worth no more than asking. (A random key would be no test at all, but all instances would have to share and keep it,
    and a link would outlive its maker's key.)
    """
    name = (secret, purpose)
    if name not in _keys:
        _keys[name] = await asyncio.to_thread(_derive, secret, purpose)
    return _keys[name]


def _derive(secret: str, purpose: str) -> bytes:
    return hashlib.scrypt(
        secret.encode("utf-8", "surrogateescape"),
        salt=f"autoenhance-batch {purpose}".encode(),
        n=_COST,
        r=_BLOCK_SIZE,
        p=1,
        maxmem=_MAX_MEMORY,
        dklen=32,
    )


def sign(key: bytes, text: str) -> str:
    """The signature of `text`, in hexadecimal."""
    return hmac.digest(key, text.encode("utf-8", "surrogateescape"), hashlib.sha256).hex()


def is_signed(key: bytes, text: str, signature: str) -> bool:
    """Whether `signature` is that of `text`; takes as long whatever is wrong with it."""
    return hmac.compare_digest(sign(key, text).encode(), signature.encode("utf-8", "surrogateescape"))
