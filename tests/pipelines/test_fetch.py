import hashlib
import http.server
import os
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fsspec
import pytest

from pipelines.deadline import Deadline
from pipelines.errors import RetryableError, SegmentError
from pipelines.fetch import fetch
from pipelines.media import MediaConfig
from pipelines.segment import Segment

MEDIA = bytes(range(256)) * 40


def segment(uri: str | None = None, **fields: Any) -> Segment:
    return Segment(stream_id="cam-7", segment_id="cam-7/0", uri=uri, **fields)


def get(uri: str, config: MediaConfig, **fields: Any) -> bytes:
    return fetch(segment(uri, **fields), None, config, Deadline.after(20))


def refusal(uri: str, config: MediaConfig, **fields: Any) -> str:
    """The one line that says why a segment's media are not fetched."""
    with pytest.raises(SegmentError) as caught:
        get(uri, config, **fields)
    assert caught.value.stage == "fetch"
    assert "\n" not in caught.value.message
    return caught.value.message


# --- files


@dataclass(frozen=True)
class Files:
    """An allowed folder with a file in it, and a secret beside it."""

    root: Path
    secret: Path
    config: MediaConfig

    def uri(self, name: str) -> str:
        return f"{self.root.as_uri()}/{name}"


@pytest.fixture
def files(tmp_path: Path) -> Files:
    root = tmp_path / "media"
    root.mkdir()
    (root / "a.mp4").write_bytes(MEDIA)
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    return Files(root, secret, MediaConfig(allowed_roots=(str(root),), max_bytes=20_000))


def test_a_file_under_an_allowed_root_is_read(files: Files) -> None:
    assert get(files.uri("a.mp4"), files.config) == MEDIA
    assert get(f"file://localhost{files.root}/a.mp4", files.config) == MEDIA
    assert get(files.uri("a.mp4"), files.config, size_bytes=len(MEDIA)) == MEDIA
    assert get(files.uri("a.mp4"), files.config, sha256=hashlib.sha256(MEDIA).hexdigest()) == MEDIA


@pytest.mark.parametrize("name", ["a b.mp4", "ü 本.mp4", "100%.mp4", "a#b?c.mp4", "%2e%2e.mp4", "..a..mp4"])
def test_any_file_name_works_when_it_is_escaped(files: Files, name: str) -> None:
    (files.root / name).write_bytes(MEDIA)
    assert get((files.root / name).as_uri(), files.config) == MEDIA


def test_blanks_and_unicode_work_unescaped(files: Files) -> None:
    (files.root / "ü b.mp4").write_bytes(MEDIA)
    assert get(f"file://{files.root}/ü b.mp4", files.config) == MEDIA


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("file:///etc/passwd", "outside the allowed folders"),
        ("file:///ROOT/../secret", "'..'"),
        ("file:///ROOT/%2e%2e/secret", "'..'"),
        ("file:///ROOT/.%2E%2fsecret", "'..'"),
        ("file:///ROOT/x/../../secret", "'..'"),
        ("file:///ROOT/..\\secret", "'..'"),
        ("file:///ROOT", "folder, pipe, socket or device"),
        ("file:///ROOT/missing.mp4", "does not exist"),
        ("file:///ROOT/a.mp4/x", "can't be read"),
        ("file:///ROOT/" + "x" * 300, "can't be"),
        ("file:///ROOT/a.mp4%00.jpg", "absolute path"),
        ("file:///ROOT/a.mp4#t=1", "%23"),
        ("file:///ROOT/a.mp4?x=1", "%3F"),
        ("file://server/ROOT/a.mp4", "host 'server'"),
        ("file://user:pw@/ROOT/a.mp4", "host"),
        ("file:ROOT/a.mp4", "absolute path"),
        ("/ROOT/a.mp4", "no scheme"),
        ("ROOT/a.mp4", "no scheme"),
        ("file:///ROOT/a.mp4\n", "control characters"),
        ("fi\nle:///etc/passwd", "control characters"),
        (" file:///ROOT/a.mp4", "blanks"),
        ("simplecache::file:///ROOT/a.mp4", "chained"),
        ("ftp://host/a.mp4", "scheme 'ftp' is not allowed (media.allowed_schemes: file)"),
        ("http://169.254.169.254/latest/meta-data", "scheme 'http' is not allowed"),
        ("data:video/mp4;base64,AAAA", "scheme 'data'"),
        ("http://[::1/x", "is no URI"),
    ],
)
def test_what_lies_elsewhere_is_refused_with_the_reason(files: Files, uri: str, reason: str) -> None:
    assert reason in refusal(uri.replace("/ROOT", str(files.root)).replace("ROOT", "media"), files.config)


def test_a_symlink_out_of_the_root_is_refused_and_one_within_it_followed(files: Files) -> None:
    (files.root / "out.mp4").symlink_to(files.secret)
    (files.root / "folder").symlink_to(files.secret.parent)
    (files.root / "in.mp4").symlink_to(files.root / "a.mp4")
    assert "outside" in refusal(files.uri("out.mp4"), files.config)
    assert "outside" in refusal(files.uri("folder/secret"), files.config)
    assert get(files.uri("in.mp4"), files.config) == MEDIA


def test_a_loop_of_symlinks_is_refused(files: Files) -> None:
    (files.root / "loop").symlink_to(files.root / "loop")
    refusal(files.uri("loop"), files.config)


def test_a_root_may_itself_be_a_symlink(files: Files, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(files.root)
    config = MediaConfig(allowed_roots=(str(tmp_path / "link"),))
    assert get(f"file://{tmp_path}/link/a.mp4", config) == MEDIA


def test_a_folder_whose_name_begins_like_the_root_is_outside(files: Files, tmp_path: Path) -> None:
    (tmp_path / "media-private").mkdir()
    (tmp_path / "media-private" / "a.mp4").write_bytes(MEDIA)
    assert "outside" in refusal(f"file://{tmp_path}/media-private/a.mp4", files.config)


def test_nothing_is_allowed_by_default(files: Files) -> None:
    assert "media.allowed_roots: none" in refusal(files.uri("a.mp4"), MediaConfig())
    assert "media.allowed_schemes: none" in refusal(files.uri("a.mp4"), MediaConfig(allowed_schemes=()))
    assert "media.allowed_hosts: none" in refusal("http://h/a", MediaConfig(allowed_schemes=("http",)))


@pytest.mark.timeout(20)
def test_pipes_sockets_and_devices_are_refused_at_once(files: Files) -> None:
    os.mkfifo(files.root / "pipe.mp4")
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(files.root / "socket.mp4"))
        for name in ("pipe.mp4", "socket.mp4"):
            assert "pipe" in refusal(files.uri(name), files.config)
    assert "device" in refusal("file:///dev/zero", MediaConfig(allowed_roots=("/dev",)))


def test_a_file_without_permission_is_refused(files: Files) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    (files.root / "a.mp4").chmod(0)
    assert "ermission" in refusal(files.uri("a.mp4"), files.config)


def test_a_large_file_is_refused_and_so_is_one_without_an_end(files: Files) -> None:
    (files.root / "large.mp4").write_bytes(bytes(20_001))
    assert "20001 bytes, more than 20000" in refusal(files.uri("large.mp4"), files.config)
    # procfs says 0 bytes of a file that has more.
    config = MediaConfig(allowed_roots=("/proc",), max_bytes=10)
    assert "more than 10 bytes" in refusal("file:///proc/version", config)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"size_bytes": len(MEDIA) - 1}, f"holds {len(MEDIA)} bytes"),
        ({"size_bytes": 10**12}, "more than 20000"),
        ({"sha256": "0" * 64}, "SHA-256"),
    ],
)
def test_media_other_than_the_segment_says_are_refused(
    files: Files, fields: dict[str, Any], reason: str
) -> None:
    assert reason in refusal(files.uri("a.mp4"), files.config, **fields)
    with pytest.raises(SegmentError, match=reason):
        fetch(segment(**fields), MEDIA, files.config, Deadline.after(9))


def test_empty_media_are_refused(files: Files) -> None:
    (files.root / "empty.mp4").touch()
    assert "empty" in refusal(files.uri("empty.mp4"), files.config)
    with pytest.raises(SegmentError, match="empty"):
        fetch(segment(), b"", files.config, Deadline.after(9))


def test_inline_media_need_no_permission_but_keep_the_limit(files: Files) -> None:
    assert fetch(segment(), MEDIA, MediaConfig(), Deadline.after(9)) == MEDIA
    with pytest.raises(SegmentError, match="20001 bytes, more than 20000"):
        fetch(segment(), bytes(20_001), files.config, Deadline.after(9))
    with pytest.raises(SegmentError, match="neither"):
        fetch(segment(), None, files.config, Deadline.after(9))


def test_nothing_is_fetched_after_the_deadline(files: Files) -> None:
    with pytest.raises(SegmentError, match="deadline"):
        fetch(segment(files.uri("a.mp4")), None, files.config, Deadline.after(0))


# --- object stores


@pytest.fixture
def bucket() -> Iterator[MediaConfig]:
    store = fsspec.filesystem("memory")
    store.pipe_file("/bucket/a b.mp4", MEDIA)
    yield MediaConfig(allowed_schemes=("memory",), allowed_hosts=("bucket",), max_bytes=20_000)
    store.rm("/bucket", recursive=True)


def test_an_object_is_read_from_an_allowed_bucket(bucket: MediaConfig) -> None:
    assert get("memory://bucket/a b.mp4", bucket) == MEDIA


def test_objects_keep_the_same_rules(bucket: MediaConfig, files: Files) -> None:
    assert "not allowed" in refusal("memory://other/a.mp4", bucket)
    assert "not allowed" in refusal("memory://BUCKET/a b.mp4", bucket)
    assert "does not exist" in refusal("memory://bucket/b.mp4", bucket)
    assert "folder" in refusal("memory://bucket", bucket)
    assert "more than 9 bytes" in refusal(
        "memory://bucket/a b.mp4", bucket.model_copy(update={"max_bytes": 9})
    )
    assert "chained" in refusal(f"memory://bucket/x::{files.secret.as_uri()}", bucket)
    assert "'..'" in refusal("memory://bucket/../other/a.mp4", bucket)


def test_a_scheme_that_nothing_serves_is_named(bucket: MediaConfig) -> None:
    config = bucket.model_copy(update={"allowed_schemes": ("nosuch",)})
    assert "'nosuch' needs a package" in refusal("nosuch://bucket/a", config)


def test_local_is_no_way_around_the_roots(files: Files) -> None:
    config = files.config.model_copy(update={"allowed_schemes": ("local",)})
    assert "outside" in refusal(f"local://{files.secret}", config)


# --- http


@dataclass
class Site:
    """A real http server and what it was asked for."""

    port: int
    asked: list[str] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)

    @property
    def host(self) -> str:
        return f"localhost:{self.port}"

    def config(self, **fields: Any) -> MediaConfig:
        return MediaConfig(allowed_schemes=("http",), allowed_hosts=(self.host,), max_bytes=20_000, **fields)

    def get(self, path: str, **fields: Any) -> bytes:
        return get(f"http://{self.host}{path}", self.config(**fields))

    def refusal(self, path: str) -> str:
        return refusal(f"http://{self.host}{path}", self.config())


class Handler(http.server.BaseHTTPRequestHandler):
    site: Site

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self.site.asked.append(self.path)
        page = self.path.split("?")[0].strip("/").split("/")
        match page:
            case ["a%20b.mp4" | "a.mp4"]:
                self.answer(200, {"Content-Length": str(len(MEDIA))}, MEDIA)
            case ["status", status]:
                self.answer(int(status), {"Content-Length": "0"})
            case ["to", *target]:
                self.answer(302, {"Location": "/".join(target).replace("+", "/"), "Content-Length": "0"})
            case ["endless"]:
                self.endless()
            case ["large"]:
                self.answer(200, {"Content-Length": str(10**12)})
            case ["short"]:
                self.answer(200, {"Content-Length": str(len(MEDIA) + 1)}, MEDIA)
            case ["long"]:
                self.answer(200, {"Content-Length": str(len(MEDIA))}, MEDIA + MEDIA)
            case ["gzip"]:
                self.answer(200, {"Content-Encoding": "gzip", "Content-Length": "1"}, b"x")
            case ["silent"]:
                self.site.released.wait(20)
            case ["drip"]:
                self.drip()
            case ["reset"]:
                self.connection.shutdown(socket.SHUT_RDWR)
            case ["babble"]:
                self.wfile.write(b"babble\r\n\r\n")
            case _:
                self.answer(404, {"Content-Length": "0"})

    def answer(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def endless(self) -> None:
        self.answer(200, {})
        try:
            while not self.site.released.is_set():
                self.wfile.write(bytes(65_536))
        except OSError:
            self.site.asked.append("hung up")

    def drip(self) -> None:
        """A byte of header now and then: each read succeeds, the answer never ends."""
        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
        try:
            while not self.site.released.wait(0.05):
                self.wfile.write(b"H")
        except OSError:
            pass


@pytest.fixture
def site() -> Iterator[Site]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Handler.site = Site(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield Handler.site
    Handler.site.released.set()
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_object_is_read_over_http(site: Site) -> None:
    assert site.get("/a.mp4") == MEDIA
    assert site.get("/a b.mp4") == MEDIA
    assert site.get("/a%20b.mp4?token=1") == MEDIA
    assert site.asked == ["/a.mp4", "/a%20b.mp4", "/a%20b.mp4?token=1"]


@pytest.mark.parametrize(
    "uri",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://localhost/a.mp4",
        "http://127.0.0.1:PORT/a.mp4",
        "http://localhost.:PORT/a.mp4",
        "http://user:hunter2@localhost:PORT/a.mp4",
        "http://localhost:PORT@169.254.169.254/a.mp4",
        "http://169.254.169.254#@localhost:PORT/a.mp4",
        "http://169.254.169.254\\@localhost:PORT/a.mp4",
        "http://localhost:PORT%2f@169.254.169.254/a.mp4",
        "http://localhost%00.evil:PORT/a.mp4",
        "http:///a.mp4",
        "http:/a.mp4",
        "http://:PORT/a.mp4",
        "http://\uff4cocalhost:PORT/a.mp4",
        "http://localhost:PORT/x/../a.mp4",
        "http://localhost:PORT/%2e%2e/a.mp4",
        "https://localhost:PORT/a.mp4",
    ],
)
def test_other_hosts_are_never_asked(site: Site, uri: str) -> None:
    message = refusal(uri.replace("PORT", str(site.port)), site.config())
    assert "hunter2" not in message
    assert site.asked == []


def test_the_scheme_s_own_port_may_be_named() -> None:
    with pytest.raises(RetryableError):  # allowed, and nobody answers there
        get("http://LOCALHOST:80/a", MediaConfig(allowed_schemes=("http",), allowed_hosts=("localhost",)))


def test_a_redirect_is_followed_on_the_allowed_hosts_only(site: Site) -> None:
    assert site.get("/to/+a.mp4") == MEDIA
    assert site.get(f"/to/http:++{site.host}+a.mp4") == MEDIA
    for target in (
        f"http:++127.0.0.1:{site.port}+a.mp4",
        f"++127.0.0.1:{site.port}+a.mp4",
        "http:++169.254.169.254+",
    ):
        assert "is not allowed" in site.refusal(f"/to/{target}")
    for target in ("file:+++etc+passwd", "ftp:++localhost+a"):
        assert "not http" in site.refusal(f"/to/{target}")
    assert site.asked.count("/a.mp4") == 2


def test_redirects_in_a_circle_end(site: Site) -> None:
    assert "redirects" in site.refusal("/to/")
    assert len(site.asked) == 6


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 416, 204])
def test_a_refusal_by_the_server_is_final(site: Site, status: int) -> None:
    assert f"HTTP {status}" in site.refusal(f"/status/{status}")


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_failure_of_the_server_may_pass(site: Site, status: int) -> None:
    with pytest.raises(RetryableError, match=f"HTTP {status}"):
        site.get(f"/status/{status}")


def test_nothing_is_read_past_the_limit(site: Site) -> None:
    assert "more than 20000 bytes" in site.refusal("/endless")
    assert "1000000000000 bytes, more than 20000" in site.refusal("/large")
    give_up = time.monotonic() + 10
    while "hung up" not in site.asked:
        assert time.monotonic() < give_up, "the endless answer goes on"
        time.sleep(0.01)


def test_a_length_that_lies_is_found_out(site: Site) -> None:
    with pytest.raises(RetryableError):
        site.get("/short")
    # What comes behind the promised length is dropped, or refused when it came in the same read.
    try:
        assert site.get("/long") == MEDIA
    except RetryableError as error:
        assert "/long" in str(error)  # noqa: PT017 - either is right


def test_an_encoded_answer_is_refused(site: Site) -> None:
    assert "Content-Encoding" in site.refusal("/gzip")


@pytest.mark.parametrize("path", ["/reset", "/babble"])
def test_a_connection_that_breaks_may_come_back(site: Site, path: str) -> None:
    with pytest.raises(RetryableError):
        site.get(path)


def test_a_server_that_is_not_there_may_come_back() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, so nobody else takes it, and not listening
        host = f"127.0.0.1:{unused.getsockname()[1]}"
        config = MediaConfig(allowed_schemes=("http",), allowed_hosts=(host,))
        with pytest.raises(RetryableError, match=r"127\.0\.0\.1"):
            get(f"http://{host}/a", config)


@pytest.mark.parametrize("path", ["/silent", "/drip"])
def test_a_slow_server_meets_the_time_limit(site: Site, path: str) -> None:
    started = time.monotonic()
    with pytest.raises(RetryableError, match="within"):
        site.get(path, fetch_timeout_s=0.3)
    assert time.monotonic() - started < 5


def test_a_slow_server_meets_the_deadline(site: Site) -> None:
    with pytest.raises(SegmentError, match="deadline"):
        fetch(segment(f"http://{site.host}/silent"), None, site.config(), Deadline.after(0.3))


def test_proxies_of_the_environment_are_not_asked(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    assert site.get("/a.mp4") == MEDIA


def test_http_can_be_fetched_from_within_a_loop_and_from_many_threads(site: Site) -> None:
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

    async def within() -> bytes:
        return site.get("/a.mp4")

    assert asyncio.run(within()) == MEDIA
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(site.get, ["/a.mp4"] * 32)) == {MEDIA}
