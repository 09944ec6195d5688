"""Receipts and credit notes: the ledger's amounts, numbers without gaps, one per fact, and paper that can be read."""

from __future__ import annotations

import threading
from decimal import Decimal
from io import BytesIO
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pypdf import PdfReader

from accounts.models import User
from bookings.models import Booking, Operator
from bookings.services.access import guest_token_for
from bookings.tests.world import make_product
from communications.models import Message
from communications.services.outbox import send
from payments.gateways import gateway_for
from payments.models import Document, DocumentCounter, LedgerEntry, Payment, Refund
from payments.paper import receipt
from payments.services import documents, refund, settle
from payments.tests.world import checkout, expire_hold, held_booking, pay

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def books_are_right() -> Any:
    """The oracle after every test."""
    yield
    call_command("audit_books")


@pytest.fixture
def operator() -> Operator:
    return Operator.objects.create(
        name="Runway Parking",
        legal_name="Runway Parking Ltd",
        address="1 Perimeter Road\nHounslow TW6 1AA",
        vat_number="GB123456789",
        vat_percent=Decimal(20),
    )


def paid(product: Any = None) -> Payment:
    session = checkout(held_booking(product))
    assert pay(session) == 200
    return settle.settle(session.payment.pk)


def give_back(payment: Payment, amount_minor: int) -> Refund:
    row = refund.request_refund(
        payment, amount_minor=amount_minor, reason="goodwill", requested_by=None, source="staff"
    )
    return refund.send_refund(row.pk)


def booked(kind: str) -> int:
    entries = LedgerEntry.objects.filter(transaction__kind=kind, account="provider_balance")
    return sum(abs(entry.amount_minor) for entry in entries)


def test_a_receipt_says_what_the_ledger_says_and_is_issued_once(sandbox: Any, operator: Operator) -> None:
    payment = paid()
    for _again in range(2):
        settle.settle(payment.pk)
    document = Document.objects.get()
    assert document.number == f"R-{timezone.now().year}-000001"
    assert (document.total_minor, document.currency) == (booked("capture"), payment.currency)
    assert sum(line["amount_minor"] for line in document.content["lines"]) == document.total_minor
    assert document.vat_minor == round(document.total_minor / 6)
    (line,) = document.content["vat"]
    assert line["net_minor"] + line["vat_minor"] == document.total_minor


def test_without_a_vat_rate_the_receipt_says_nothing_of_vat(sandbox: Any) -> None:
    paid()
    document = Document.objects.get()
    assert (document.vat_minor, document.content["vat"]) == (0, [])


def test_refunds_in_parts_credit_exactly_the_receipts_vat(sandbox: Any, operator: Operator) -> None:
    payment = paid()
    for amount in (1, 2, 333, 1000):
        give_back(payment, amount)
    payment.refresh_from_db()
    give_back(payment, payment.refundable.amount_minor)
    notes = Document.objects.filter(kind="credit_note")
    assert [note.number[-6:] for note in notes.order_by("serial")] == [f"{n:06d}" for n in range(1, 6)]
    assert sum(note.total_minor for note in notes) == booked("refund") == payment.captured_minor
    assert sum(note.vat_minor for note in notes) == Document.objects.get(kind="receipt").vat_minor


def test_a_new_rate_counts_for_new_receipts_only(sandbox: Any, operator: Operator) -> None:
    payment = paid()
    Operator.objects.update(vat_percent=Decimal(10))
    give_back(payment, payment.captured_minor)
    receipt_row, note = Document.objects.order_by("issued_at")
    assert receipt_row.content["vat"] == note.content["vat"]


def test_a_refund_that_the_bank_returns_cancels_its_credit_note(sandbox: Any, operator: Operator) -> None:
    payment = paid()
    row = give_back(payment, 700)
    sandbox.post(f"/stripe-refunds/{row.provider_ref}", {"status": "failed"})
    for _again in range(2):
        settle.settle(payment.pk)
    note = Document.objects.get(kind="credit_note")
    cancelled = Document.objects.get(kind="credit_note_cancellation")
    assert (cancelled.total_minor, cancelled.vat_minor) == (note.total_minor, note.vat_minor)
    assert cancelled.number.startswith("X-")
    assert note.number in text_of(cancelled)
    payment.refresh_from_db()
    assert payment.refunded_minor == 0
    give_back(payment, payment.captured_minor)
    notes = Document.objects.filter(kind="credit_note").exclude(pk=note.pk)
    assert notes.get().vat_minor == Document.objects.get(kind="receipt").vat_minor


def test_money_that_came_too_late_gets_a_receipt_and_a_credit_note(sandbox: Any) -> None:
    product = make_product(capacity=1)
    booking = held_booking(product)
    session = checkout(booking)
    expire_hold(booking)
    held_booking(product)
    pay(session)
    settle.settle(session.payment.pk)
    refund.send_refund(Refund.objects.get().pk)
    assert set(Document.objects.values_list("kind", "total_minor")) == {
        ("receipt", booking.total_minor),
        ("credit_note", booking.total_minor),
    }


def capture_in_parallel(sessions: list[Any], *, dies: int | None = None) -> list[BaseException]:
    """Commit captures at the same moment, one thread each; the one that `dies` rolls back at the end. Return what went wrong."""
    truths = []
    for session in sessions:
        pay(session)
        truths.append(gateway_for("stripe").fetch_payment(session.provider_ref))
    together, problems = threading.Barrier(len(sessions)), []

    def capture(position: int) -> None:
        try:
            together.wait()
            with transaction.atomic():
                settle.record(sessions[position].payment.pk, truths[position], now=timezone.now())
                if position == dies:
                    transaction.set_rollback(True)
        except BaseException as error:
            problems.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=capture, args=[number]) for number in range(len(sessions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return problems


def test_parallel_captures_and_one_that_is_rolled_back_leave_no_gap(sandbox: Any, operator: Operator) -> None:
    product = make_product(capacity=8)
    sessions = [checkout(held_booking(product)) for _number in range(6)]
    assert capture_in_parallel(sessions, dies=0) == []
    assert sorted(Document.objects.values_list("serial", flat=True)) == [1, 2, 3, 4, 5]
    settle.settle(sessions[0].payment.pk)
    assert sorted(Document.objects.values_list("serial", flat=True)) == [1, 2, 3, 4, 5, 6]


def test_without_the_lock_on_the_counter_two_want_the_same_number(
    sandbox: Any, operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control of the race above."""
    product = make_product(capacity=8)
    paid(product)
    sessions = [checkout(held_booking(product)) for _number in range(3)]
    both_have_read = threading.Barrier(3)

    def read_and_then_write(operator_id: int, kind: str, year: int) -> int:
        last = DocumentCounter.objects.get(kind=kind).last
        both_have_read.wait(20)
        DocumentCounter.objects.filter(kind=kind).update(last=last + 1)
        return last + 1

    with monkeypatch.context() as broken:
        broken.setattr(documents, "_next_serial", read_and_then_write)
        assert [type(problem) for problem in capture_in_parallel(sessions)] == [IntegrityError] * 2


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("UPDATE payments_document SET total_minor = 1", "append-only"),
        ("DELETE FROM payments_document", "append-only"),
        ("TRUNCATE payments_document", "append-only"),
        ("UPDATE payments_documentcounter SET last = last + 2", "goes up by one"),
        ("DELETE FROM payments_documentcounter", "goes up by one"),
    ],
)
def test_the_database_refuses_to_alter_documents(sandbox: Any, statement: str, says: str) -> None:
    paid()
    with pytest.raises(IntegrityError, match=says), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)


def test_the_database_refuses_a_receipt_of_another_amount_than_the_ledgers(sandbox: Any) -> None:
    payment = paid()
    first = Document.objects.get()
    with pytest.raises(IntegrityError, match="no entry of this kind and amount"), transaction.atomic():
        DocumentCounter.objects.update(last=2)
        first.pk, first.serial, first.total_minor, first._state.adding = (
            None,
            2,
            payment.captured_minor - 1,
            True,
        )
        first.save(force_insert=True)


def test_payments_older_than_documents_get_theirs_in_the_night(sandbox: Any) -> None:
    payment = paid()
    give_back(payment, 500)
    with connection.cursor() as cursor:  # as the release before left it
        cursor.execute("ALTER TABLE payments_document DISABLE TRIGGER USER; DELETE FROM payments_document")
        cursor.execute(
            "ALTER TABLE payments_documentcounter DISABLE TRIGGER USER; DELETE FROM payments_documentcounter"
        )
        cursor.execute(
            "ALTER TABLE payments_document ENABLE TRIGGER USER; ALTER TABLE payments_documentcounter ENABLE TRIGGER USER"
        )
    documents.issue_missing(now=timezone.now())
    assert documents.issue_missing(now=timezone.now()) == 0
    assert sorted(Document.objects.values_list("kind", flat=True)) == ["credit_note", "receipt"]


# --- The paper ----------------------------------------------------------------------------------------------------


def text_of(document: Document) -> str:
    """Read the PDF's text back with the fonts' own tables, as a screen reader does."""
    return pdf_text(receipt.render(document))


def pdf_text(file: bytes) -> str:
    pages = PdfReader(BytesIO(file)).pages
    return "\n".join(page.extract_text() for page in pages)


def test_the_paper_holds_number_vat_number_lines_and_local_times(sandbox: Any, operator: Operator) -> None:
    payment = paid()
    document = Document.objects.get()
    text = text_of(document)
    booking = payment.booking
    for expected in (
        document.number,
        "VAT number GB123456789",
        "Runway Parking Ltd",
        booking.reference,
        "AB12CDE",
        "LHR",
        f"{booking.local_start:%H:%M}",
        document.content["lines"][0]["label"],
        str(document.total),
        str(document.vat),
        payment.method_label,
        "20 %",
    ):
        assert expected in text, expected
    reader = PdfReader(BytesIO(receipt.render(document)))
    assert reader.metadata is not None
    assert reader.metadata.title == f"Receipt {document.number}"
    assert reader.root_object["/Lang"] == "en"


def test_a_german_customers_papers_are_german_throughout(sandbox: Any, operator: Operator) -> None:
    session = checkout(held_booking())
    Booking.objects.update(language="de")
    assert pay(session) == 200
    payment = settle.settle(session.payment.pk)
    give_back(payment, 2000)
    bill, note = (text_of(Document.objects.get(kind=kind)) for kind in ("receipt", "credit_note"))
    for german in (
        "Zahlungsbeleg",
        "Ausgestellt",
        "Betrag",
        "Gesamt bezahlt",
        "Abgabe",
        "Kennzeichen",
        "Bezahlt mit",
        "Seite 1 von 1",
        "Ortszeit London",
    ):
        assert german in bill, german
    for german in ("Gutschrift", "Zu Beleg", "Gesamt gutgeschrieben", "Erstattet auf"):
        assert german in note, german
    for english in (
        "Receipt",
        "Issued",
        "Amount",
        "Total",
        "Drop-off",
        "Plate",
        "Driver",
        "Paid with",
        "Refund",
        "Credit",
        "Page",
        "booking",
    ):
        assert english not in bill + note, english


def test_rendering_twice_gives_the_same_bytes(sandbox: Any, operator: Operator) -> None:
    paid()
    document = Document.objects.get()
    first = receipt.render(document)
    Booking.objects.update(driver_name="Somebody Else")
    Operator.objects.update(legal_name="Another Ltd", vat_percent=None)
    assert receipt.render(Document.objects.get(pk=document.pk)) == first


@pytest.mark.parametrize(
    "name",
    [
        "Ján Žižka", "Łukasz Gęś, Łódź", "Þórdís Ægisdóttir", "Ελένη Παππά", "Юрий Щёголев", "Նարեկ", "山田 太郎", "髙﨑 さくら",
        "王小明", "김민준",
    ],
)  # fmt: skip
def test_names_of_the_world_can_be_read_on_it(sandbox: Any, name: str) -> None:
    session = checkout(held_booking())
    Booking.objects.update(driver_name=name)
    pay(session)
    settle.settle(session.payment.pk)
    document = Document.objects.get()
    assert text_of(document).count(name) == 2  # on the pass, and as the one it is made out to
    with_glyphs = _glyphs_missing(receipt.render(document))
    assert with_glyphs == 0, "letters are printed as boxes"


@pytest.mark.parametrize("name", ["Ada", "山田 太郎", "Նարեկ"])
def test_a_letter_of_another_font_leaves_the_type_sizes_alone(
    sandbox: Any, operator: Operator, name: str
) -> None:
    Operator.objects.update(legal_name=name)
    paid()
    sizes: dict[str, float] = {}

    def look(text: str, _page: Any, _line: Any, _font: Any, size: float) -> None:
        for word in ("Page 1", "Total paid", "Drop-off"):
            if word in text:
                sizes[word] = size

    pdf = PdfReader(BytesIO(receipt.render(Document.objects.get())))
    pdf.pages[0].extract_text(visitor_text=look)
    assert sizes == {"Page 1": 7.5, "Total paid": 11, "Drop-off": 8}


def test_each_page_says_how_many_there_are(sandbox: Any) -> None:
    session = checkout(held_booking())
    Booking.objects.update(driver_name="{nb} Ada")
    pay(session)
    settle.settle(session.payment.pk)
    text = text_of(Document.objects.get())
    assert "Page 1 of 1" in text
    assert text.count("{nb} Ada") == 2, "a name is never taken for the number of pages"
    assert "{#" not in text


def _glyphs_missing(pdf: bytes) -> int:
    """How many different letters of the paper its fonts cannot draw: fpdf2 maps those to the glyph .notdef."""
    from fontTools.ttLib import TTFont

    missing = 0
    for page in PdfReader(BytesIO(pdf)).pages:
        for entry in page["/Resources"]["/Font"].values():  # type: ignore[index]
            descendant = entry.get_object()["/DescendantFonts"][0].get_object()
            drawn = TTFont(BytesIO(descendant["/FontDescriptor"]["/FontFile2"].get_object().get_data()))
            empty = drawn["glyf"][drawn.getGlyphOrder()[0]]
            missing += sum(
                1
                for name in drawn.getGlyphOrder()[1:]
                if empty.numberOfContours and drawn["glyf"][name] == empty
            )
    return missing


@pytest.mark.parametrize(
    ("currency", "total", "vat"), [("JPY", "¥3,000", "¥500"), ("KWD", "KWD3.000", "KWD0.500")]
)
def test_currencies_with_other_decimals_are_exact(
    sandbox: Any, operator: Operator, currency: str, total: str, vat: str
) -> None:
    paid(make_product(currency=currency, daily_minor=750))
    document = Document.objects.get()
    assert document.total_minor == 3000
    text = text_of(document).replace("\u00a0", " ")
    assert total in text
    assert vat in text


# --- The doors ----------------------------------------------------------------------------------------------------


def opened_by_guest(booking: Booking) -> Client:
    client = Client()
    token = guest_token_for(booking.reference, booking.quote_id)
    assert client.get(f"/b/{booking.reference}/{token}").status_code == 302
    return client


def test_the_guest_finds_and_downloads_the_receipt_on_the_bookings_page(sandbox: Any) -> None:
    booking = paid().booking
    client = opened_by_guest(booking)
    document = Document.objects.get()
    address = f"/bookings/{booking.reference}/documents/{document.number}.pdf"
    assert address in client.get(f"/bookings/{booking.reference}").content.decode()
    response = client.get(address)
    assert (response.status_code, response["Content-Type"]) == (200, "application/pdf")
    assert document.number in pdf_text(response.content)


def test_other_peoples_documents_do_not_exist(sandbox: Any) -> None:
    product = make_product(capacity=5)
    mine, theirs = paid(product).booking, paid(product).booking
    client = opened_by_guest(mine)
    of_theirs = Document.objects.get(payment__booking=theirs).number
    for booking, number in ((theirs, of_theirs), (mine, of_theirs), (mine, "R-1999-000001")):
        assert client.get(f"/bookings/{booking.reference}/documents/{number}.pdf").status_code == 404
    assert Client().get(f"/bookings/{mine.reference}/documents/{of_theirs}.pdf").status_code == 404


def test_staff_who_may_view_documents_open_them_and_others_may_not(sandbox: Any) -> None:
    payment = paid()
    give_back(payment, 500)
    note = Document.objects.get(kind="credit_note")
    address = reverse("admin:payments_document_pdf", args=[note.pk])
    viewer = User.objects.create_user("vic@example.com", "demo-parking", is_staff=True)
    client = Client()
    client.force_login(viewer)
    assert client.get(address).status_code == 403
    viewer.user_permissions.set(
        Permission.objects.filter(content_type__app_label="payments", codename__startswith="view_")
    )
    assert note.number in pdf_text(client.get(address).content)
    for page in (payment, note.refund):
        shown = client.get(
            reverse(f"admin:payments_{page._meta.model_name}_change", args=[page.pk])
        ).content.decode()
        assert address in shown


def test_the_mails_bring_receipt_and_credit_note_along(sandbox: Any, settings: Any) -> None:
    settings.EMAIL_BACKEND = "anymail.backends.sendgrid.EmailBackend"  # test runners put a list in its place
    payment = paid()
    give_back(payment, 500)
    for message in Message.objects.filter(
        channel="email", kind__in=["payment_confirmation", "refund_issued"]
    ):
        send(message.pk, now=timezone.now())
    mails = sandbox.get("/mail.json")["mail"]
    names = sorted(part["filename"] for mail in mails for part in mail["attachments"])
    assert names == sorted(f"{number}.pdf" for number in Document.objects.values_list("number", flat=True))
