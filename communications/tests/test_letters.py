"""Every e-mail that ships, in every language, as it is sent: what a mail must have to be read anywhere."""

from __future__ import annotations

import re
from typing import Any

import pytest
from lxml import html as parser

from communications import rendering, words
from communications.catalogue import EMAIL, KINDS, PROMOTIONAL, site_variables
from communications.models import TemplateVersion
from communications.rendering import Rendered

# The only ones that send nobody anywhere: staff or we act, or there is nothing to do.
WITHOUT_LINK = {"refund_failed", "staff_message", "emergency_alert"}
LINKS = {"unsubscribe_url": "https://x.example/u?a=1&b=2", "preferences_url": "https://x.example/p"}
LETTERS = [
    pytest.param(language, kind, id=f"{kind}-{language}")
    for language, said in words.languages().items()
    for kind, channel in said
    if channel == EMAIL
]


def letter(kind: str, language: str = "en", **changes: Any) -> Rendered:
    known = KINDS[kind]
    return rendering.render(
        TemplateVersion(**vars(words.languages()[language][kind, EMAIL])),
        kind=known,
        channel=EMAIL,
        language=language,
        variables={**known.sample, **changes},
        has_qr=kind == "booking_confirmation",
        links=LINKS if known.purpose == PROMOTIONAL else None,
    )


def classed(page: Any, name: str) -> list[Any]:
    return page.xpath(f"//*[contains(concat(' ', @class, ' '), ' {name} ')]")


@pytest.mark.parametrize(("language", "kind"), LETTERS)
def test_every_letter_is_whole(language: str, kind: str) -> None:
    sent, sample = letter(kind, language), KINDS[kind].sample
    page = parser.document_fromstring(sent.html)
    assert page.get("lang") == language
    assert page.findtext(".//title") == sent.subject
    assert len(page.findall(".//h1")) == 1
    [preheader] = classed(page, "preheader")
    shown = re.sub(r"[\s\u034f\u200c]+", " ", preheader.text_content()).strip()
    assert 20 < len(shown) <= rendering.PREHEADER
    assert not shown.endswith(","), "a greeting tells nothing"
    buttons = [cell.find("a").get("href") for cell in classed(page, "button")]
    variable = words.languages()[language][kind, EMAIL].button_variable
    assert bool(variable) == (kind not in WITHOUT_LINK)
    assert buttons == ([sample[variable]] if variable else [])
    assert all(link in sent.text.splitlines() for link in buttons)
    ours = site_variables()
    for part in (sent.text, page.text_content()):
        assert ours["postal_address"] in part and ours["support_email"] in part
    assert not re.search(r"slot\d+q|\{\{|\{%", sent.html + sent.text)


@pytest.mark.parametrize(("language", "kind"), LETTERS)
def test_the_plain_part_is_plain(language: str, kind: str) -> None:
    text = letter(kind, language).text
    for line in text.splitlines():
        assert len(line) <= rendering.LINE or line.startswith("https://"), line
        assert "https://" not in line or re.fullmatch(r"https://\S+", line), line
    assert not re.search(r"<\w|&\w+;|&#", text)
    assert "\n\n\n" not in text
    assert "\n-- \n" in text


def test_a_promotion_says_how_to_stop_it() -> None:
    sent = letter("promotion", "de")
    assert LINKS["unsubscribe_url"] in sent.text.splitlines()
    assert LINKS["unsubscribe_url"] in parser.document_fromstring(sent.html).xpath("//a/@href")


def test_letters_of_one_shape_share_nothing_but_the_shape() -> None:
    ada = letter("booking_confirmation", reference="AP-AAAAAA", customer_name="<b>Ada</b>", plate="slot0q")
    ben = letter("booking_confirmation", reference="AP-BBBBBB", customer_name="Ben & Co", plate='"><i>x')
    assert "AP-BBBBBB" not in ada.html and "AP-AAAAAA" not in ben.html
    assert "<b>Ada" not in ada.html and "&lt;b&gt;Ada&lt;/b&gt;" in ada.html
    assert "slot0q" in ada.html, "a value is never filled in a second time"
    assert "Ben &amp; Co" in ben.html and "<i>x" not in ben.html and '""><i>' not in ben.html


def test_what_a_car_park_lacks_leaves_no_gap() -> None:
    bare = letter("booking_confirmation", directions="", address="")
    assert "Address" not in bare.html + bare.text
    page = parser.document_fromstring(bare.html)
    assert [cell.text_content() for cell in classed(page, "fact-label")] == ["Space", "Paid"]
    assert not [line for line in page.findall(".//p") if not line.text_content().strip()]


def test_lines_of_a_value_stay_lines() -> None:
    sent = letter("staff_message", text="Bay 4.\r\nTen minutes < earlier.")
    assert "Bay 4.<br>Ten minutes &lt; earlier." in sent.html
    assert "Bay 4.\nTen minutes < earlier." in sent.text
