"""Personal data: what is found, and the numbers of textbooks that are not."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from udfs.privacy import Match, find, redact

DATA = Path(__file__).parents[3] / "shared" / "data"


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("Mail jane.doe+x@mail.example.co.uk.", "Mail <email>."),
        ("邮箱：wang_li@example.com，或寄至li@example.cn。", "邮箱：<email>，或寄至<email>。"),
        ("Call +1 202-555-0143 or (202) 555-0143.", "Call <phone> or <phone>."),
        ("Call 1-202-555-0143, 202-555-0143", "Call <phone>, <phone>"),
        ("London +44 20 7946 0958", "London <phone>"),
        ("手机13800138000。", "手机<phone>。"),
        ("手机：+86 138-0013-8000，86-13800138000", "手机：<phone>，<phone>"),
        ("电话：010-62781234", "电话：<phone>"),
        ("身份证号11010519491231002X，", "身份证号<cn_id>，"),
        ("Card 4111 1111 1111 1111 or 3782-822463-10005", "Card <credit_card> or <credit_card>"),
        ("卡号4111111111111111", "卡号<credit_card>"),
        ("SSN 219-09-9999.", "SSN <us_ssn>."),
        ("From 203.0.113.7: hello; IP:203.0.113.8", "From <ip>: hello; IP:<ip>"),
        ("Host 2001:db8::8a2e:370:7334 is up", "Host <ip> is up"),
    ],
)
def test_personal_data_are_redacted(text: str, redacted: str) -> None:
    assert redact(text)[0] == redacted


@pytest.mark.parametrize(
    "text",
    [
        "Between 1939-1945 and in 1998, 2004 and 2012",
        "On 2020-01-02 at 12:30:45, 13:45",
        "ISBN 978-7-111-40701-0, ISBN 9787111407010, ISBN 0-306-40615-2, ISSN 2049-3630",
        "pi = 3.14159265358979323846, 0.13800138000",
        "7^12 = 13841287201 and 20! = 2432902008176640000",
        r"$\frac{4111111111111111}{2}$ and $x_{13800138000}$",
        "The population grew by +12 000 000 to 13800000000",
        "It costs $13812345678 or 13,812,345,678 yuan",
        "6.02214076e23, 1.380649 × 10^-23, 299792458 m/s",
        "Section 12.1.3.4 and version 1.2.3.4, see 2.4.7.11",
        "第 12.150.3.4 节",
        "10.0.0.1, 127.0.0.1, 192.168.0.254, 255.255.255.0",
        "999.10.1.200",
        "std::vector<int>, a::b, 1:2:3:4",
        "doi:10.1000/182, arXiv 2106.09685, CAS 7732-18-5",
        "Card 4111 1111 1111 1112 and 1234567812345678",  # fails Luhn; no scheme
        "110105194912310021, 110105194913310021",  # check digit; month 13
        "SSN 000-12-3456, 666-12-3456, 900-12-3456, 123-00-4567",
        "E = mc@2, icon@2x.png, @decorator, a@b",
        "SHA 4a7d1ed414474e4033ac29ccb8653d9b4111111111111111",
        "1 + 2 = 3; 12 345 678 901; +5 -3 +2",
    ],
)
def test_textbook_numbers_stay(text: str) -> None:
    assert redact(text) == (text, ())


def test_finds_come_in_order_with_kind_and_place() -> None:
    assert find("219-09-9999 a@example.org") == [Match(0, 11, "us_ssn"), Match(12, 25, "email")]


def test_a_number_is_counted_once() -> None:
    text = "13800138000@example.com 11010519491231002X"
    assert redact(text) == ("<email> <cn_id>", ("cn_id", "email"))


def test_kinds_are_sorted_and_unique() -> None:
    assert redact("13800138000, a@example.org, 13900139000")[1] == ("email", "phone")


@settings(deadline=None)
@given(st.lists(st.sampled_from(["a@example.org", " 13800138000 ", "，", " x ", " 219-09-9999 "]), max_size=8))
def test_redacting_twice_changes_nothing(parts: list[str]) -> None:
    once, _ = redact("".join(parts))
    assert redact(once) == (once, ())


@pytest.mark.skipif(not DATA.is_dir(), reason="the shared data are not here")
def test_textbooks_have_next_to_no_finds() -> None:
    paths = [*sorted(DATA.glob("en/economics/*.md")), *sorted(DATA.glob("zh/laws/**/*.md"))]
    found = [match.kind for path in paths for match in find(path.read_text("utf-8"))]
    assert found == ["email"]  # the publisher's own
