"""Taking secrets out of errors: servers may repeat what they were sent.

A server that does not know HELLO or AUTH shows their arguments, and so the password.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import redis

_ARGUMENTS = re.compile(r"with args beginning with: .*", re.DOTALL)
_HIDDEN = "***"


@contextmanager
def hiding(*secrets: str | bytes | None) -> Iterator[None]:
    """Take secrets out of the `redis.RedisError` that the block raises."""
    try:
        yield
    except redis.RedisError as error:
        hide(error, *secrets)
        raise


def hide(error: BaseException, *secrets: str | bytes | None) -> None:
    """Take secrets out of the texts of an error, and of those that it came from.

    Args:
        secrets: what was sent; None is none. What a server shows as the arguments of an unknown
            command is taken out in any case.
    """
    texts = [
        each.decode("utf-8", "replace") if isinstance(each, bytes) else each for each in secrets
    ]
    seen: list[BaseException] = []
    each: BaseException | None = error
    while each is not None and each not in seen:
        seen.append(each)
        each.args = tuple(
            _without(arg, texts) if isinstance(arg, str) else arg for arg in each.args
        )
        each = each.__cause__ or each.__context__


def _without(text: str, secrets: list[str | None]) -> str:
    for secret in secrets:
        if secret:
            text = text.replace(secret, _HIDDEN)
    return _ARGUMENTS.sub(f"with args {_HIDDEN}", text)
