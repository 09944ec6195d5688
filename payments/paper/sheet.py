"""An A4 sheet with the house's look: charcoal, one signal yellow, the boarding pass on top, amounts in one column.

The same calls give the same bytes: the only date in the file is the one that the caller gives.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.utils.translation import gettext as _
from fpdf import FPDF
from fpdf.enums import Align, MethodReturnValue, WrapMode, XPos, YPos
from fpdf.prefs import ViewerPreferences

from bookings.services.messages import local_date, local_time
from bookings.templatetags.stay_tags import zone_name

FONTS = Path(__file__).parent / "fonts"
CHARCOAL, YELLOW, WHITE = (28, 28, 30), (255, 199, 44), (255, 255, 255)
SOFT, SOFT_ON_DARK, RULE = (90, 90, 95), (199, 199, 204), (222, 222, 224)
LEFT, TOP, WIDTH = 16.0, 16.0, 178.0
PAD = 8.0  # inside the pass
# Chinese characters and radicals, kana, bopomofo, Hangul, and the full-width forms.
EAST_ASIAN = re.compile("[\u2e80-\u33ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\uf900-\ufaff\uff00-\uffef]")


# Stands for the number of pages; the library's own "{nb}" could be somebody's name.
PAGES = "{#number-of-pages#}"


class Sheet(FPDF):
    """A document in the making. All lengths in millimetres, type sizes in points."""

    def __init__(self, *, title: str, subject: str, language: str, dated: datetime, foot: str) -> None:
        super().__init__(format="A4")
        self.foot, self.running_head = foot, title
        self.set_title(title)
        self.set_subject(subject)
        self.set_author(settings.SITE_NAME)
        self.set_creator(settings.SITE_NAME)
        self.set_lang(language)
        self.set_creation_date(dated)
        self.viewer_preferences = ViewerPreferences(display_doc_title=True)
        self.add_font("Roboto", "", FONTS / "Roboto-Regular.ttf")
        self.add_font("Roboto", "B", FONTS / "Roboto-Bold.ttf")
        self.add_font("Mono", "", FONTS / "DejaVuSansMono-Bold.ttf")
        self.add_font("Fallback", "", FONTS / "DejaVuSans.ttf")
        self.set_fallback_fonts(["Fallback"], exact_match=False)
        self._reads_east_asian = False
        self.set_margins(LEFT, TOP, 210 - LEFT - WIDTH)
        self.set_auto_page_break(True, margin=26)
        self.c_margin = 0
        self.alias_nb_pages(PAGES)
        self.add_page()

    def normalize_text(self, text: str) -> str:
        """Every text passes here before it is measured or set: the first East Asian letter brings its font along.

        Reading that font takes 0.4 s, which documents without such letters must not pay.
        """
        if not self._reads_east_asian and EAST_ASIAN.search(text):
            self._reads_east_asian = True
            self.add_font("EastAsian", "", FONTS / "DroidSansFallback.ttf")
            self.set_fallback_fonts(["Fallback", "EastAsian"], exact_match=False)
        return super().normalize_text(text)

    def header(self) -> None:
        if self.page_no() > 1:
            self.write_at(LEFT, 10, self.running_head, size=8, colour=SOFT)
            self.set_y(TOP + 4)

    def footer(self) -> None:
        self.rule(277)
        page = _("Page %(number)d of %(total)s") % {"number": self.page_no(), "total": PAGES}
        self.write_at(LEFT, 280, self.foot, size=7.5, colour=SOFT, width=WIDTH - 32, lines=2)
        self.ink(size=7.5, colour=SOFT)
        # The number comes when all pages are written.
        width = self.get_string_width(page.replace(PAGES, "0"))
        with self._unbroken():
            self.set_xy(LEFT + WIDTH - width, 280)
            self.cell(width, 7.5 * 0.47, page)

    def ink(
        self, *, size: float, colour: Sequence[int] = CHARCOAL, style: str = "", family: str = "Roboto"
    ) -> None:
        self.set_font(family, style, size)
        # A letter of a fallback font leaves that font and its size set on the page, unnoticed by the library.
        self.current_font_is_set_on_page = False
        self.set_text_color(*colour)

    def write_at(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: float,
        colour: Sequence[int] = CHARCOAL,
        style: str = "",
        family: str = "Roboto",
        width: float = WIDTH,
        align: Align = Align.L,
        lines: int = 1,
    ) -> None:
        """Write up to `lines` lines in a box that begins at (x, y); the last one is cut with an ellipsis. Never breaks the page."""
        self.ink(size=size, colour=colour, style=style, family=family)
        wrapped = self._wrapped(text, width)
        if len(wrapped) > lines:
            last = " ".join(wrapped[lines - 1 :])
            while last and self.get_string_width(last + "…") > width:
                last = last[:-1]
            wrapped = [*wrapped[: lines - 1], last.rstrip() + "…"]
        leading = size * 0.47
        with self._unbroken():
            for number, line in enumerate(wrapped):
                self.set_xy(x, y + number * leading)
                self.cell(width, leading, line, align=align)

    @contextmanager
    def _unbroken(self) -> Iterator[None]:
        """What is placed by hand stays on its page."""
        margin, self.auto_page_break = self.b_margin, False
        yield
        self.set_auto_page_break(True, margin=margin)

    def _wrapped(self, text: str, width: float) -> list[str]:
        if not text.strip():
            return []
        lines = self.multi_cell(
            width, 1, text, dry_run=True, output=MethodReturnValue.LINES, wrapmode=WrapMode.WORD
        )
        assert isinstance(lines, list)  # that is what output= asks for
        return [str(line) for line in lines]

    def rule(self, y: float, *, colour: Sequence[int] = RULE, width: float = 0.25) -> None:
        self.set_draw_color(*colour)
        self.set_line_width(width)
        self.line(LEFT, y, LEFT + WIDTH, y)

    def heading(self, text: str) -> None:
        """Begin a section; it moves to the next page with its first lines."""
        self.keep(22)
        self.set_y(self.get_y() + 5)
        self.ink(size=12, style="B")
        self.cell(WIDTH, 7, text, new_x=XPos.LMARGIN, new_y=YPos.NEXT)
        self.rule(self.get_y())
        self.set_y(self.get_y() + 2)

    def keep(self, height: float) -> None:
        """Go to the next page unless `height` still fits on this one."""
        if self.get_y() + height > self.page_break_trigger:
            self.add_page()

    def paragraph(self, text: str, *, size: float = 9.5, colour: Sequence[int] = CHARCOAL) -> None:
        self.ink(size=size, colour=colour)
        self.multi_cell(WIDTH, size * 0.5, text, new_x=XPos.LMARGIN, new_y=YPos.NEXT, align=Align.L)

    def columns(self, blocks: Iterable[tuple[str, Iterable[str]]]) -> None:
        """Put small labelled blocks of lines side by side; the first line of each is bold."""
        blocks = list(blocks)
        gap, top, lowest = 6.0, self.get_y(), self.get_y()
        width = (WIDTH - gap * (len(blocks) - 1)) / len(blocks)
        for number, (label, lines) in enumerate(blocks):
            x, y = LEFT + number * (width + gap), top
            self.write_at(x, y, label, size=8, colour=SOFT, width=width)
            y += 5
            for position, line in enumerate(one for one in lines if one):
                self.ink(size=9.5, style="" if position else "B")
                self.set_xy(x, y)
                self.multi_cell(width, 4.7, line, align=Align.L, new_x=XPos.LMARGIN, new_y=YPos.NEXT)
                y = self.get_y()
            lowest = max(lowest, y)
        self.set_y(lowest)

    def rows(
        self,
        head: Sequence[str],
        rows: Iterable[Sequence[str]],
        *,
        widths: Sequence[float],
        right: int = 1,
        size: float = 9.5,
    ) -> None:
        """Rows between hairlines; the last `right` columns are flush right, so that amounts stand under one another."""
        self._row(head, widths, right=right, size=8, colour=SOFT)
        self.rule(self.get_y(), colour=CHARCOAL, width=0.4)
        for row in rows:
            self._row(row, widths, right=right, size=size, colour=CHARCOAL)
            self.rule(self.get_y())

    def _row(
        self, cells: Sequence[str], widths: Sequence[float], *, right: int, size: float, colour: Sequence[int]
    ) -> None:
        self.ink(size=size, colour=colour)
        leading = size * 0.5
        wrapped = [self._wrapped(cell, width - 3) for cell, width in zip(cells, widths, strict=True)]
        height = max(len(lines) for lines in wrapped) * leading
        self.keep(height + 3)
        self.ink(size=size, colour=colour)
        top, x = self.get_y() + 1.5, LEFT
        with self._unbroken():
            for number, (lines, width) in enumerate(zip(wrapped, widths, strict=True)):
                align = Align.R if number >= len(widths) - right else Align.L
                for position, line in enumerate(lines):
                    self.set_xy(x, top + position * leading)
                    self.cell(width, leading, line, align=align)
                x += width
        self.set_y(top + height + 1.5)

    def total(self, label: str, amount: str) -> None:
        """The sum, once and clear: charcoal on signal yellow."""
        self.keep(16)
        y = self.get_y() + 2
        self.set_fill_color(*YELLOW)
        self.rect(LEFT, y, WIDTH, 12, style="F", round_corners=True, corner_radius=2.5)
        self.write_at(LEFT + 5, y + 3.6, label, size=11, style="B")
        self.write_at(LEFT + 60, y + 2.3, amount, size=16, style="B", width=WIDTH - 65, align=Align.R)
        self.set_y(y + 15)

    def boarding_pass(self, stay: dict[str, Any], *, title: str, number: str, language: str) -> None:
        """Draw the pass: where, when by the airport's clock, and the stub with reference and plate."""
        zone = ZoneInfo(stay["timezone"])
        start, end = (datetime.fromisoformat(stay[name]).astimezone(zone) for name in ("start_at", "end_at"))
        x, y, height = LEFT, TOP, 76.0
        inside, half = x + PAD, (WIDTH - 2 * PAD) / 2
        self.set_fill_color(*CHARCOAL)
        self.rect(x, y, WIDTH, height, style="F", round_corners=True, corner_radius=5)
        self.write_at(inside, y + 7, stay["airport_iata"], size=40, style="B", colour=YELLOW, width=50)
        self.write_at(
            inside + half, y + 7.5, title, size=17, style="B", colour=WHITE, width=half, align=Align.R
        )
        self.write_at(
            inside + half, y + 16, number, size=13, family="Mono", colour=YELLOW, width=half, align=Align.R
        )
        place = f"{stay['airport_name']} · {stay['car_park']}"
        self.write_at(inside, y + 25.5, place, size=10.5, colour=WHITE, width=WIDTH - 2 * PAD)
        for left, label, at in ((inside, _("Drop-off"), start), (inside + half, _("Return"), end)):
            self.write_at(left, y + 34, label, size=8, colour=SOFT_ON_DARK, width=half)
            self.write_at(
                left, y + 38, local_time(at, language), size=24, style="B", colour=WHITE, width=half
            )
            self.write_at(
                left + 25, y + 38.6, local_date(at, language), size=9.5, colour=WHITE, width=half - 26
            )
            self.write_at(
                left + 25, y + 43, zone_name(at, zone), size=8, colour=SOFT_ON_DARK, width=half - 26
            )
        self.set_draw_color(110, 110, 115)
        self.set_line_width(0.4)
        self.set_dash_pattern(dash=1.6, gap=1.6)
        self.line(inside, y + 55, x + WIDTH - PAD, y + 55)
        self.set_dash_pattern()
        stub = [
            (_("Reference"), stay["reference"], "Mono"),
            (_("Plate"), stay["plate"], "Mono"),
            (_("Driver"), stay["driver"], "Roboto"),
        ]
        for position, (label, value, family) in enumerate(stub):
            left = inside + position * 48
            width = 46 if position < 2 else WIDTH - 2 * PAD - 96
            colour = YELLOW if family == "Mono" else WHITE
            self.write_at(left, y + 59, label, size=8, colour=SOFT_ON_DARK, width=width)
            self.write_at(left, y + 63.5, value, size=13, family=family, colour=colour, width=width)
        self.set_y(y + height + 8)

    def finish(self) -> bytes:
        return bytes(self.output())
