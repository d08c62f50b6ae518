"""Reading an object over http(s): so many bytes, so many seconds, and no redirect off the allowed hosts.

aiohttp rather than fsspec's http, which is made of it: there redirects are followed unseen, and a time limit
covers one read rather than the whole answer.

Knows http. Does not know what is read.
"""

import asyncio
from urllib.parse import urljoin

import aiohttp
from fsspec.asyn import get_loop

from pipelines.errors import RetryableError, SegmentError
from pipelines.location import locate, shown
from pipelines.media import MediaConfig

MAX_REDIRECTS = 5
REDIRECTS = (301, 302, 303, 307, 308)
PASSING = (408, 425, 429)
"""Client errors that may pass: request time-out, too early, too many requests."""
CHUNK_BYTES = 2**18


def download(uri: str, config: MediaConfig, timeout_s: float) -> bytes:
    """Read a whole object.

    Args:
        uri: Checked here, and so is each redirect.
        config: Allowed hosts, and the most bytes to read.
        timeout_s: For everything: finding the host, redirects, the body.

    Raises:
        SegmentError: Not allowed, too large, or refused by the server (4xx).
        RetryableError: The server failed (5xx), was not reached, broke off, or took too long.
    """
    # fsspec's loop runs in a thread of its own, so that callers with and without a loop may call this.
    answer = asyncio.run_coroutine_threadsafe(_get(uri, config, timeout_s), get_loop())
    try:
        return answer.result()
    except TimeoutError:
        raise RetryableError("fetch", f"{shown(uri)} was not read within {timeout_s:.1f} s") from None
    except aiohttp.InvalidURL as error:
        raise SegmentError("fetch", f"uri {shown(uri)} is no URL: {described(error)}") from None
    except (aiohttp.ClientError, OSError) as error:
        raise RetryableError("fetch", f"{shown(uri)}: {described(error)}") from None


async def _get(uri: str, config: MediaConfig, timeout_s: float) -> bytes:
    async with (
        asyncio.timeout(timeout_s),
        aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=None),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"Accept-Encoding": "identity"},
            auto_decompress=False,
            trust_env=False,  # a proxy of the environment would ask hosts in our name
        ) as session,
    ):
        for _ in range(MAX_REDIRECTS + 1):
            locate(uri, config)
            async with session.get(uri, allow_redirects=False) as response:
                if response.status not in REDIRECTS:
                    _check_answer(uri, response)
                    return await _body(uri, response, config.max_bytes)
                uri = _target(uri, response)
    raise SegmentError(
        "fetch", f"uri {shown(uri)}: more than {MAX_REDIRECTS} redirects; give the last one's target"
    )


def _target(uri: str, response: aiohttp.ClientResponse) -> str:
    target = urljoin(uri, response.headers.get("Location", ""))
    if not target.startswith(("http://", "https://")):
        raise SegmentError("fetch", f"uri {shown(uri)} redirects to {shown(target)}, which is not http")
    return target


def _check_answer(uri: str, response: aiohttp.ClientResponse) -> None:
    status = response.status
    if status >= 500 or status in PASSING:
        raise RetryableError("fetch", f"{shown(uri)}: HTTP {status} {response.reason!s:.100}")
    if status != 200:
        raise SegmentError(
            "fetch", f"uri {shown(uri)}: HTTP {status} {response.reason!s:.100}; check it, and access to it"
        )
    encoding = response.headers.get("Content-Encoding", "identity")
    if encoding != "identity":
        raise SegmentError(
            "fetch", f"uri {shown(uri)}: sent as {encoding[:100]!r}; serve media without Content-Encoding"
        )


async def _body(uri: str, response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    body = bytearray()
    if (response.content_length or 0) > max_bytes:
        raise too_large(shown(uri), response.content_length, max_bytes)
    async for chunk in response.content.iter_chunked(CHUNK_BYTES):
        body += chunk
        if len(body) > max_bytes:
            raise too_large(shown(uri), None, max_bytes)
    return bytes(body)


def described(error: Exception) -> str:
    """An error of a library on one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split()):.200}"


def too_large(what: str, size_bytes: int | None, max_bytes: int) -> SegmentError:
    """The error for media past the limit; the size is None where reading stopped at it."""
    size = "more" if size_bytes is None else f"{size_bytes} bytes, more"
    return SegmentError(
        "fetch", f"{what} holds {size} than {max_bytes} bytes; cut shorter segments, or raise media.max_bytes"
    )
