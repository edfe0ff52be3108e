"""SAS tokens, independent of the server's code."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
import urllib.parse


def derive_device_key(group_key: str, registration_id: str) -> str:
    """The key of one device of a symmetric-key enrollment group (base64 in, base64 out)."""
    return _mac(group_key, registration_id)


def token(resource: str, key: str, *, expiry: int | None = None, key_name: str | None = None) -> str:
    """A token for `resource`, which is percent-encoded into `sr`; valid for an hour by default."""
    return literal_token(urllib.parse.quote(resource, safe=""), key, expiry=expiry, key_name=key_name)


def literal_token(sr: str, key: str, *, expiry: int | None = None, key_name: str | None = None) -> str:
    """A token whose `sr` is written exactly as given: SDKs differ in how they encode it."""
    se = int(time.time()) + 3600 if expiry is None else expiry
    signature = urllib.parse.quote(_mac(key, f"{sr}\n{se}"), safe="")
    named = "" if key_name is None else f"&skn={key_name}"
    return f"SharedAccessSignature sr={sr}&sig={signature}&se={se}{named}"


def _mac(key: str, message: str) -> str:
    digest = hmac.new(base64.b64decode(key), message.encode("utf-8"), hashlib.sha256).digest()
    return base64.b64encode(digest).decode("ascii")
