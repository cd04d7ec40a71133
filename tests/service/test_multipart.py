"""Forms as clients send them, and forms that are none."""

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from pillsnap.service.requests import MOST_PARTS, FormError, files, parameters

FORM = "multipart/form-data; boundary=XBX"
PICTURE = b"\x89PNG\r\n\x1a\n\r\n--XB\r\n--"


def form(*heads: str, content: bytes = PICTURE) -> bytes:
    """A form with the same content under each head."""
    parts = (f"--XBX\r\n{head}\r\n\r\n".encode() + content + b"\r\n" for head in heads)
    return b"".join(parts) + b"--XBX--\r\n"


def disposition(rest: str, more: str = "") -> str:
    return f"Content-Disposition: form-data; {rest}{more}"


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (disposition('name="image"; filename="a.png"'), "a.png"),
        (disposition("name=image; filename=a.png"), "a.png"),
        (disposition('filename="a.png"; name="image"'), "a.png"),
        (disposition('name="other"; filename="알약.png"'), "알약.png"),  # browsers, curl
        (disposition("name=\"image\"; filename*=utf-8''%EC%95%8C%EC%95%BD.png"), "알약.png"),
        (disposition("name=\"image\"; FileName*=UTF-8'ko'%EC%95%8C%EC%95%BD.png"), "알약.png"),
        (disposition('name="i"; filename="_.png"; filename*=utf-8\'\'%EC%95%8C.png'), "알.png"),
        (disposition('name="i"; filename*=utf-8\'\'%EC%95%8C.png; filename="_.png"'), "알.png"),
        (disposition('name="i"; filename*=broken; filename="a.png"'), "a.png"),
        (disposition('name="i"; filename="a;b=\\"c\\".png"'), 'a;b="c".png'),
        (disposition('name="i"; filename="a%22b.png"'), "a%22b.png"),
        (disposition('name="image"'), "image"),  # no file name at all
        (disposition('name="photo"', "\r\nContent-Type: image/png"), "image"),
        (disposition('name="photo"', "\r\nCONTENT-TYPE: application/octet-stream"), "image"),
        (disposition('name="i"; filename=""', "\r\nContent-Type: image/png"), "image"),
        ('content-type: image/png\r\ncontent-disposition:form-data;name="i";filename="b"', "b"),
    ],
)
def test_a_picture_is_found_in_the_forms_of_all_clients(head: str, name: str) -> None:
    assert list(files(FORM, form(head))) == [(name, PICTURE)]


def test_other_fields_and_the_empty_file_of_a_form_without_one_are_skipped() -> None:
    text = disposition('name="caption"', "\r\nContent-Type: text/plain")
    photo = disposition('name="image"; filename="a.png"')
    body = b"preamble\r\n" + form(text, photo, disposition('name="n"')) + b"epilogue --XBX"
    for content_type in (
        FORM,
        'Multipart/Form-Data; charset=utf-8; boundary="XBX"',
        "multipart/form-data;BOUNDARY=XBX",
    ):
        assert list(files(content_type, body)) == [("a.png", PICTURE)]
    empty = disposition('name="image"; filename=""', "\r\nContent-Type: application/octet-stream")
    assert list(files(FORM, form(empty, content=b""))) == []


@given(
    some.lists(some.binary(max_size=40).filter(lambda b: b"--" not in b), min_size=1, max_size=5)
)
def test_pictures_of_any_bytes_come_out_as_httpx_sent_them(contents: list[bytes]) -> None:
    sent = [("image", (f"{i}.png", content, "image/png")) for i, content in enumerate(contents)]
    request = httpx.Request("POST", "http://localhost", files=sent)
    found = list(files(request.headers["content-type"], request.read()))
    assert found == [(f"{i}.png", content) for i, content in enumerate(contents)]


@pytest.mark.parametrize(
    ("content_type", "content"),
    [
        ("multipart/form-data", form(disposition('name="image"'))),
        ("multipart/form-data; boundary=", form(disposition('name="image"'))),
        ("multipart/form-data; boundary=YBY", form(disposition('name="image"'))),
        (FORM, b""),
        (FORM, b"--XBX"),
        (FORM, form(disposition('name="image"'))[:-10]),
        (FORM, b"--XBX\r\n" + disposition('name="image"').encode() + b"\r\n--XBX--"),
        (FORM, b"--XBXY\r\n\r\nx\r\n--XBX--"),
        (FORM, form(disposition(f'name="image"; filename="{"a" * 5000}"'))),
        (FORM, form(*[disposition('name="n"')] * (MOST_PARTS + 1))),
    ],
)
def test_malformed_forms_are_refused(content_type: str, content: bytes) -> None:
    with pytest.raises(FormError):
        list(files(content_type, content))


PIECES = [
    *(b"--XBX", b"\r\n", b"--", b";", b'"', b"\\", b"\xff", b"*=", b"*0*=", b"a'b", b"utf-8''%E"),
    *(b"Content-Disposition:", b"Content-Type: image/png", b"filename", b"name=image"),
]


@settings(max_examples=300, deadline=None)
@given(some.lists(some.sampled_from(PIECES), max_size=40))
def test_any_body_is_read_or_refused_and_its_names_are_valid_utf8(pieces: list[bytes]) -> None:
    try:
        found = list(files(FORM, b"--XBX\r\n" + b"".join(pieces) + b"\r\n--XBX--"))
    except FormError:
        return
    assert all(name.encode("utf-8") for name, _ in found)


@pytest.mark.parametrize("evil", [';a="', ";a=\\", '"', ";", "; ", ';a="\\"'])
def test_parameters_are_parsed_in_linear_time(evil: str) -> None:
    assert len(parameters(evil * 200_000)) <= 1  # minutes, were it quadratic
