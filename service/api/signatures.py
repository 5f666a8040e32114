"""Signatures of what a caller carries back to us: links and sessions. Every replica makes the same keys."""

import asyncio
import hashlib
import hmac
import time
from urllib.parse import urlencode

from aiohttp import web
from pydantic import SecretStr
from yarl import URL

from service.api.caller import Caller
from service.api.keys import SETTINGS
from service.problems import LinkRefused
from service.settings import ServiceKey
from service.single_flight import SingleFlight

# 32 MiB and about a tenth of a second.
_COST, _BLOCK_SIZE, _MAX_MEMORY = 1 << 15, 8, 64 << 20

_EXPIRES, _SIGNATURE = "expires", "signature"
LINK_PARAMETERS = frozenset({_EXPIRES, _SIGNATURE})

_keys: dict[tuple[str, str], bytes] = {}
_numbers: dict[tuple[str, str], int] = {}
_deriving: SingleFlight[bytes] = SingleFlight()


async def signing_key(secret: str, purpose: str) -> bytes:
    """A key derived from a secret: what is signed for one purpose is worth nothing for another.

    A signature lets its holder try secrets without asking us. The derivation is slow, once per process, so that this is
    worth no more than asking. (A random key would be no test at all, but all instances would have to share and keep it,
    and a link would outlive its maker's key.)
    """
    name = (secret, purpose)
    if name not in _keys:
        number = _numbers.setdefault(name, len(_numbers))  # the task's name is no place for a secret, nor its digest
        _keys[name] = await _deriving.join(str(number), lambda: asyncio.to_thread(_derive, *name), "derive key")
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


def is_link(request: web.Request) -> bool:
    """Whether the request claims to be a signed link."""
    return request.method in ("GET", "HEAD") and _SIGNATURE in request.query


async def signed_link(url: URL, secret: SecretStr, expires: int) -> URL:
    """An address that can be asked for until then, in seconds since 1970, on the account that the secret is of."""
    url = url.extend_query({_EXPIRES: str(expires)})
    return url.extend_query({_SIGNATURE: sign(await _link_key(secret), _signed(url))})


async def maker_of(request: web.Request) -> Caller:
    """Who made the link. Raises `LinkRefused` when it was altered or has expired, or its maker may call no more."""
    url, settings = request.rel_url, request.app[SETTINGS]
    expires, signatures = url.query.get(_EXPIRES, ""), url.query.getall(_SIGNATURE)
    text = _signed(url)
    makers: list[tuple[ServiceKey | None, SecretStr]] = [(key, key.secret) for key in settings.service_keys]
    if settings.admin_token is not None:
        makers.append((None, settings.admin_token))
    found = [maker for maker, secret in makers if is_signed(await _link_key(secret), text, signatures[0])]
    if not found or len(signatures) > 1 or time.time() >= int(expires):
        raise LinkRefused
    return Caller(found[0], by_link=True)


async def _link_key(secret: SecretStr) -> bytes:
    return await signing_key(secret.get_secret_value(), "link")


def _signed(url: URL) -> str:
    """What the signature stands for: the path and every parameter but itself, in their order."""
    parameters = [(name, value) for name, value in url.query.items() if name != _SIGNATURE]
    return f"{url.raw_path}?{urlencode(parameters, errors='surrogatepass')}"
