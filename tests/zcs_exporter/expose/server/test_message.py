import asyncio

import pytest

from zcs_exporter.expose.http import _http_date
from zcs_exporter.expose.server.message import Request, Response, read_target, render_head, text
from zcs_exporter.expose.server.routes import Routes


def request(path: str = "/", query: str = "", method: str = "GET", **headers: str) -> Request:
    return Request(method, path, query, headers, asyncio.Transport())


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("a=1", "1"),
        ("b=2; a=1; a=3", "1"),
        ("aa=2;a=1", "1"),
        ("a=", ""),
        ("a=x=y ", "x=y"),
        ('a="x"', '"x"'),
        ("a", None),
        ("", None),
        ("A=1", None),
        ("b=2, a=1", None),
    ],
)
def test_a_cookie_is_found_by_its_name_and_given_as_it_is(header: str, value: str | None) -> None:
    assert request(cookie=header).cookie("a") == value
    assert request().cookie("a") is None


def test_a_query_has_every_value_of_every_name() -> None:
    found = request(query="a[]=1&b=&a[]=%C3%A4+x&c&a%5B%5D=%ff").query()

    assert found == {"a[]": ["1", "\xe4 x", "\N{REPLACEMENT CHARACTER}"], "b": [""], "c": [""]}


@pytest.mark.parametrize(
    ("target", "found"),
    [
        ("/", ("/", "")),
        ("/a%2Fb?c%20d?e", ("/a/b", "c%20d?e")),
        ("/?", ("/", "")),
        ("//x", ("//x", "")),
        ("/http://x", ("/http://x", "")),
        ("http://H:1", ("/", "")),
        ("http://h:1?a", ("/", "a")),
        ("HTTPS://h:1/a?b=http://c/", ("/a", "b=http://c/")),
    ],
)
def test_a_target_is_a_path_and_a_query(target: str, found: tuple[str, str]) -> None:
    assert read_target(target, "h:1") == found


def test_a_line_break_is_in_no_head() -> None:
    assert render_head(200, [("A", "b")]) == b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n"
    for bad in ("\r", "\n", "\r\n", "a\r\nB: c", "\r\n\r\n", "\n\r"):
        for pair in (("A", bad), (f"A{bad}", "b")):
            with pytest.raises(ValueError, match="line break"):
                render_head(200, [pair])


def test_a_route_is_a_method_and_a_whole_path() -> None:
    routes = Routes({"GET /a": lambda _: text("got"), "POST /a": lambda _: text("posted")})

    def ask(method: str, path: str) -> Response:
        answer = routes.answer(request(path, method=method))
        assert isinstance(answer, Response)
        return answer

    assert ask("GET", "/a").body == ask("HEAD", "/a").body == b"got\n"
    assert ask("POST", "/a").body == b"posted\n"
    assert (ask("PUT", "/a").status, ask("PUT", "/a").headers["Allow"]) == (405, "GET, HEAD, POST")
    for path in ("/", "/a/", "/A", "a", "/a/b"):
        assert ask("GET", path).status == 404


def test_a_date_is_written_as_http_has_it_in_any_locale() -> None:
    assert _http_date(784_111_777) == "Sun, 06 Nov 1994 08:49:37 GMT"
    assert _http_date(1_709_371_233) == "Sat, 02 Mar 2024 09:20:33 GMT"
