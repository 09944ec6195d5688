from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.db import transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from bookings.tests.test_amend import confirmed
from communications import stories
from communications.catalogue import KINDS
from communications.models import Message, MessageTemplate, Outage
from communications.rendering import sms_facts
from communications.services import outbox, wording
from communications.services.answering import take_text
from communications.services.delivery import record_delivery
from communications.services.outbox import queue_message
from communications.services.wording import Draft
from foundation.models import AuditEntry

pytestmark = pytest.mark.django_db


@pytest.fixture
def template(db: None) -> MessageTemplate:
    wording.install_default_templates()
    return MessageTemplate.objects.get(kind="booking_confirmation", channel="email", language="en")


def staff(*rights: str) -> Client:
    user = get_user_model().objects.create_user("sam@example.com", "x" * 12, is_staff=True)
    user.user_permissions.set(
        Permission.objects.filter(content_type__app_label="communications", codename__in=rights)
    )
    client = Client()
    client.force_login(user)
    return client


WRITER = ("view_messagetemplate", "change_messagetemplate", "view_message", "change_message")
VIEWER = ("view_messagetemplate", "view_message")


def words(**changes: str) -> dict[str, str]:
    return {
        "subject": "Booked",
        "heading": "Hello",
        "body": "Dear {{ customer_name }},\r\n\r\nsee you.",
        "button_label": "",
        "button_variable": "",
        **changes,
    }


def test_saving_words_makes_a_version_with_who(template: MessageTemplate) -> None:
    address = reverse("admin:communications_messagetemplate_change", args=[template.pk])
    client = staff(*WRITER)
    assert client.get(address).status_code == 200
    assert client.post(address, words()).status_code == 302
    current = template.current
    assert (current.number, current.created_by.email, current.subject) == (2, "sam@example.com", "Booked")


def test_an_unknown_placeholder_is_explained_on_the_form(template: MessageTemplate) -> None:
    address = reverse("admin:communications_messagetemplate_change", args=[template.pk])
    answer = staff(*WRITER).post(address, words(body="Dear {{ custmer_name }}"))
    assert answer.status_code == 200
    assert "Did you mean" in answer.content.decode()
    assert template.current.number == 1


def page(name: str, template: MessageTemplate, *more: int) -> str:
    return reverse(f"admin:communications_messagetemplate_{name}", args=[template.pk, *more])


def test_a_viewer_may_look_but_not_write_or_send(template: MessageTemplate) -> None:
    client = staff(*VIEWER)
    for name in ("change", "preview", "versions"):
        assert client.get(page(name, template)).status_code == 200
    assert client.post(page("change", template), words()).status_code == 403
    assert client.post(page("test", template), {"send_to": "sam@example.com"}).status_code == 403
    assert client.post(page("back", template, 1), {"reason": "x"}).status_code == 403
    assert not Message.objects.exists()


def test_two_who_write_at_once_lose_nothing(template: MessageTemplate) -> None:
    sam = staff(*WRITER)
    wording.save_version(template, Draft(subject="Hers", body="Her words"), by=None)
    answer = sam.post(page("change", template), words(based_on="1"))
    assert answer.status_code == 200
    shown = answer.content.decode()
    assert "saved version 2 while you were writing" in shown
    assert "see you." in shown, "what was typed is kept"
    assert template.current.subject == "Hers"
    assert sam.post(page("change", template), words(based_on="2")).status_code == 302
    assert (template.current.number, template.current.subject) == (3, "Booked")


def test_what_is_being_written_is_shown_and_nothing_is_saved(template: MessageTemplate) -> None:
    client = staff(*WRITER)
    live = {"HX-Request": "true"}
    shown = client.post(page("preview", template), words(heading="Brand new"), headers=live).content.decode()
    assert "Brand new" in shown
    assert "<html" not in shown.split("srcdoc")[0], "only the part that stands beside the words"
    wrong = client.post(
        page("preview", template), words(body="{{ custmer_name }}"), headers=live
    ).content.decode()
    assert "Did you mean" in wrong
    assert template.versions.count() == 1


def test_a_real_booking_is_shown_to_who_may_see_it_and_never_its_customers_links(
    template: MessageTemplate,
) -> None:
    booking = confirmed()
    booking.driver_name = "<script>alert(1)</script>"
    booking.save(update_fields=["driver_name"])
    client = staff(*WRITER)
    hidden = client.get(page("preview", template), {"reference": booking.reference}).content.decode()
    assert "no such booking that you may see" in hidden
    assert booking.reference not in hidden.split("srcdoc")[1]
    user = get_user_model().objects.get(email="sam@example.com")
    user.user_permissions.add(Permission.objects.get(codename="view_booking"))
    shown = client.get(page("preview", template), {"reference": booking.reference.lower()}).content.decode()
    assert booking.reference in shown.split("srcdoc")[1]
    assert "<script>alert" not in shown
    assert f"/b/{booking.reference}/" not in shown
    assert client.get(page("preview", template), {"reference": "nothing\x00"}).status_code == 400


def test_an_sms_preview_counts_segments_and_names_what_costs(template: MessageTemplate) -> None:
    sms = MessageTemplate.objects.get(kind="booking_confirmation", channel="sms", language="en")
    client = staff(*WRITER)
    assert "GSM-7" in client.get(page("preview", sms)).content.decode()
    shown = client.post(
        page("preview", sms), {"body": "Ж" + "x" * 80}, headers={"HX-Request": "true"}
    ).content.decode()
    assert "UCS-2" in shown
    assert "<code>Ж</code>" in shown
    assert "81 of 134" in shown
    assert client.post(page("change", sms), {"body": "Hi {{ reference }}"}).status_code == 302
    assert sms.current.body == "Hi {{ reference }}"


@pytest.mark.parametrize(
    ("text", "encoding", "length", "segments"),
    [
        ("a" * 160, "GSM-7", 160, 1), ("a" * 161, "GSM-7", 161, 2), ("€" * 80, "GSM-7", 160, 1), ("€" * 81, "GSM-7", 162, 2),
        ("ж" * 70, "UCS-2", 70, 1), ("ж" * 71, "UCS-2", 71, 2), ("😀" * 35, "UCS-2", 70, 1), ("", "GSM-7", 0, 1),
    ],
)  # fmt: skip
def test_segments_are_counted_as_networks_do(text: str, encoding: str, length: int, segments: int) -> None:
    facts = sms_facts(text)
    assert (facts.encoding, facts.length, facts.segments) == (encoding, length, segments)


def test_a_test_message_is_queued_and_marked(template: MessageTemplate, wire: Any) -> None:
    client = staff(*WRITER)
    client.post(page("test", template), {"send_to": "not an address"})
    assert not Message.objects.exists()
    client.post(page("test", template), {"send_to": "sam@example.com"})
    message = Message.objects.get()
    assert message.to == "sam@example.com"
    outbox.send(message.pk, now=message.due_at)
    assert wire.received[0]["subject"].startswith("Test: ")
    entry = AuditEntry.objects.get(action="template_tested")
    assert entry.data["to"] == "sam@example.com"


def test_a_test_shows_what_is_being_written_with_a_bookings_values_once(
    template: MessageTemplate, wire: Any
) -> None:
    booking = confirmed()
    client = staff(*WRITER)
    user = get_user_model().objects.get(email="sam@example.com")
    user.user_permissions.add(Permission.objects.get(codename="view_booking"))
    given = {
        **words(subject="Draft {{ reference }}", body="Plate {{ plate }}, dear {{ customer_name }}."),
        "send_to": "sam@example.com",
        "reference": booking.reference.lower(),
        "token": str(uuid.uuid4()),
    }
    headers = {"HX-Request": "true"}
    first = client.post(page("test", template), given, headers=headers).content.decode()
    again = client.post(page("test", template), given, headers=headers).content.decode()
    assert "on its way to sam@example.com" in first and "already" in again
    tests = Message.objects.filter(dedupe_key__startswith="test:")
    message = tests.get()
    assert template.current is not None and template.current.number == 1, "nothing was saved"
    outbox.send(message.pk, now=message.due_at)
    (mail,) = wire.received
    assert mail["subject"] == f"Test: Draft {booking.reference}"
    assert f"Plate {booking.plate}" in mail["content"][0]["value"]
    entry = AuditEntry.objects.get(action="template_tested")
    assert (entry.data["booking"], entry.data["words"]) == (booking.reference, "as written")
    nobodys = {**given, "reference": "AP-ZZZZZZ", "token": str(uuid.uuid4())}
    answer = client.post(page("test", template), nobodys, headers=headers).content.decode()
    assert "no such booking" in answer and tests.count() == 1
    bad = {**given, "body": "{{ plaet }}", "token": str(uuid.uuid4())}
    answer = client.post(page("test", template), bad, headers=headers).content.decode()
    assert "plate" in answer and tests.count() == 1
    client.post(page("test", template), {**given, "token": "nonsense"})
    assert tests.count() == 1


def test_a_test_by_sms_keeps_to_the_budget_of_messages_by_hand(
    template: MessageTemplate, settings: Any
) -> None:
    settings.SMS_LIMITS = {**settings.SMS_LIMITS, "other": (1, 9, 9, 9)}
    sms = MessageTemplate.objects.get(kind="booking_confirmation", channel="sms", language="en")
    client = staff(*WRITER)
    for phone, said in (
        ("+449098790123", "premium"),
        ("+4490987901231", "premium"),
        ("+44909879012", "premium"),
        ("+447012345678", "premium"),
        ("+8801712345678", "SMS_COUNTRIES"),
    ):
        answer = client.post(page("test", sms), {"send_to": phone}, headers={"HX-Request": "true"})
        assert said in answer.content.decode()
    long = {"body": "x" * 200, "send_to": "+447700900123"}
    answer = client.post(page("test", sms), long, headers={"HX-Request": "true"})
    assert "as many SMS today" in answer.content.decode()
    assert not Message.objects.exists()


def test_every_template_is_seen_at_a_glance(template: MessageTemplate) -> None:
    wording.save_version(template, Draft(subject="S", heading="H", body="Newer"), by=None)
    MessageTemplate.objects.create(kind="welcome", channel="email", language="fr")
    client = staff("view_messagetemplate")
    listed = client.get(reverse("admin:communications_messagetemplate_changelist"))
    text = listed.content.decode()
    assert listed.status_code == 200
    for one in MessageTemplate.objects.all():
        assert reverse("admin:communications_messagetemplate_change", args=[one.pk]) in text
    assert "Version 2" in text and "missing" in text and "German" in text and "French" in text
    assert staff_without_rights().get(listed.request["PATH_INFO"]).status_code == 403


def staff_without_rights() -> Client:
    user = get_user_model().objects.create_user("new@example.com", "x" * 12, is_staff=True)
    client = Client()
    client.force_login(user)
    return client


def test_a_text_is_shown_where_its_sender_is(template: MessageTemplate) -> None:
    booking = confirmed()
    phone = str(booking.driver_phone)
    user = get_user_model().objects.create_user("ada@texts.example", "x" * 12, phone=phone)
    queue_message(
        kind="booking_confirmation",
        channel="sms",
        to=phone,
        variables=dict(KINDS["booking_confirmation"].sample),
        dedupe_key="told:sms",
        reference=booking.reference,
    )
    take_text(
        sid="SM1", phone=phone, to="+15005550006", body="Where is the <b>shuttle</b>?", now=timezone.now()
    )
    take_text(sid="SM2", phone="+447700900999", to="+15005550006", body="Not Ada", now=timezone.now())
    admin = Client()
    admin.force_login(get_user_model().objects.create_superuser("root@example.com", "x" * 12))
    listed = admin.get(reverse("admin:communications_inboundtext_changelist")).content.decode()
    assert f"?q={booking.reference}" in listed
    offer = Message.objects.create(kind="promotion", channel="email", to=user.email, dedupe_key="offer")
    page_of_user = admin.get(reverse("admin:accounts_user_change", args=[user.pk])).content.decode()
    assert reverse("admin:communications_message_change", args=[offer.pk]) in page_of_user
    for shown in (
        reverse("admin:accounts_user_change", args=[user.pk]),
        reverse("admin:bookings_booking_change", args=[booking.pk]),
    ):
        text = admin.get(shown).content.decode()
        assert "Where is the &lt;b&gt;shuttle&lt;/b&gt;?" in text and "Not Ada" not in text, shown


def test_versions_are_compared_and_an_old_one_is_used_again(template: MessageTemplate) -> None:
    client = staff(*WRITER)
    first = template.current
    client.post(page("change", template), words(subject="{{ reference }} is <b>booked</b>"))
    shown = client.get(page("versions", template)).content.decode()
    assert "From version 1 to version 2" in shown
    assert "<del>" in shown and "Removed:" in shown
    assert "&lt;b&gt;booked&lt;/b&gt;" in shown
    assert client.get(page("versions", template), {"from": "2", "to": "99"}).status_code == 200
    asked = client.get(page("back", template, 1)).content.decode()
    assert "which is in use" in asked
    assert client.post(page("back", template, 1), {"reason": " ", "seen": "2"}).status_code == 400
    client.post(page("back", template, 1), {"reason": "The old ones were better", "seen": "1"})
    assert template.current.number == 2, "somebody who saw another version does nothing"
    client.post(page("back", template, 1), {"reason": "The old ones were better", "seen": "2"})
    assert (template.current.number, template.current.body) == (3, first.body)
    entry = AuditEntry.objects.get(action="template_rolled_back")
    assert (entry.reason, entry.data) == ("The old ones were better", {"to the words of": 1, "version": 3})
    assert client.get(page("back", template, 77)).status_code == 404


def test_messages_are_read_only_and_can_be_sent_again(template: MessageTemplate, wire: Any) -> None:
    message = queue_message(
        kind="welcome", channel="email", to="ada@example.com", variables={}, dedupe_key="w"
    )
    assert message is not None
    wire.answers = [400]
    outbox.send(message.pk, now=message.due_at)
    client = staff(*WRITER)
    listing = reverse("admin:communications_message_changelist")
    assert "ada@example.com" in client.get(listing, {"q": "ada@"}).content.decode()
    page = client.get(reverse("admin:communications_message_change", args=[message.pk]))
    assert page.status_code == 200
    assert client.post(page.request["PATH_INFO"], {"to": "eve@example.com"}).status_code == 403
    chosen = {"action": "send_again", "_selected_action": [str(message.pk)]}
    assert "Kept in the audit log" in client.post(listing, chosen).content.decode()
    assert "required" in client.post(listing, {**chosen, "confirmed": "yes", "reason": " "}).content.decode()
    message.refresh_from_db()
    assert message.status == "failed"
    client.post(listing, {**chosen, "confirmed": "yes", "reason": "mailbox is there now"})
    message.refresh_from_db()
    assert (message.status, message.to) == ("queued", "ada@example.com")
    entry = AuditEntry.objects.get(action="message_retried")
    assert (entry.reason, entry.actor.email) == ("mailbox is there now", "sam@example.com")


def failed(key: str = "w", **changes: Any) -> Message:
    message = queue_message(
        **{
            "kind": "welcome",
            "channel": "email",
            "to": "ada@exmple.com",
            "variables": {},
            "dedupe_key": key,
            **changes,
        }
    )
    assert message is not None
    Message.objects.filter(pk=message.pk).update(status="sending", attempts=1)
    Message.objects.filter(pk=message.pk).update(
        status="failed", error_code="x", error_text="no such mailbox"
    )
    message.refresh_from_db()
    return message


def take_up(message: Message) -> str:
    return reverse("admin:communications_message_take_up", args=[message.pk])


def test_a_wrong_address_is_corrected_when_it_is_sent_again(template: MessageTemplate, wire: Any) -> None:
    message, client = failed(), staff(*WRITER)
    assert "ada@exmple.com" in client.get(take_up(message)).content.decode()
    for bad in ("nobody", "a@b.example\r\nBcc: eve@example.com", "a" * 300 + "@example.com", ""):
        page = client.post(take_up(message), {"how": "again", "to": bad, "reason": "typo"})
        assert page.status_code == 200 and page.context["again"].errors["to"], bad
    answer = client.post(take_up(message), {"how": "again", "to": "ada@example.com", "reason": "typo"})
    assert answer.status_code == 302
    outbox.send(message.pk, now=timezone.now() + timedelta(seconds=1))
    assert [mail["personalizations"][0]["to"][0]["email"] for mail in wire.received] == ["ada@example.com"]
    message.refresh_from_db()
    assert (message.status, message.to, message.error_code) == ("sent", "ada@example.com", "")
    assert AuditEntry.objects.get(action="message_retried").data == {
        "values": {"to": ["ada@exmple.com", "ada@example.com"]}
    }
    record_delivery(
        channel="email",
        event_id="late",
        kind="bounced",
        to_status="bounced",
        message_id=str(message.pk),
        recipient="ada@exmple.com",
    )
    message.refresh_from_db()
    assert message.status == "sent"
    again = client.post(take_up(message), {"how": "again", "to": "ada@example.com", "reason": "twice"})
    assert "can be sent again" in again.content.decode()


def test_the_list_of_what_needs_a_person_can_be_emptied(template: MessageTemplate) -> None:
    one, two, three = failed("1"), failed("2"), failed("3")
    waits = failed("4", kind="booking_amended", other_address="+442079460999")
    with transaction.atomic():
        outbox.fall_back(Message.objects.select_for_update().get(pk=waits.pk))
    client = staff(*WRITER)
    listing = reverse("admin:communications_message_changelist")

    def listed() -> set[Any]:
        return {row.pk for row in client.get(listing, {"todo": "person"}).context["cl"].result_list}

    assert listed() == {one.pk, two.pk, three.pk}
    client.post(take_up(one), {"how": "close", "reason": "told on the phone"})
    chosen = {"action": "nothing_more", "_selected_action": [str(two.pk), str(waits.pk)], "confirmed": "yes"}
    client.post(listing, {**chosen, "reason": "old"})
    assert listed() == {three.pk}
    assert AuditEntry.objects.filter(action="message_seen_to").count() == 2
    Message.objects.filter(fallback_of=waits).update(status="sending")
    Message.objects.filter(fallback_of=waits).update(status="failed")
    assert {waits.pk, three.pk} <= listed()


def test_taking_up_needs_the_permission(template: MessageTemplate) -> None:
    message, client = failed(), staff(*VIEWER)
    assert client.get(take_up(message)).status_code == 403
    assert (
        client.post(take_up(message), {"how": "again", "to": "eve@example.com", "reason": "x"}).status_code
        == 403
    )
    listing = reverse("admin:communications_message_changelist")
    client.post(
        listing,
        {"action": "send_again", "_selected_action": [str(message.pk)], "confirmed": "yes", "reason": "x"},
    )
    message.refresh_from_db()
    assert (message.status, message.to) == ("failed", "ada@exmple.com")


def test_an_outage_is_said_above_the_list(template: MessageTemplate) -> None:
    Outage.objects.create(
        channel="sms",
        failures=9,
        since=timezone.now(),
        next_try_at=timezone.now(),
        error_text="<b>Check</b> the token.",
    )
    page = (
        staff(*VIEWER)
        .get(reverse("admin:communications_message_changelist"), {"todo": "provider"})
        .content.decode()
    )
    assert "Messages by SMS wait since" in page and "<b>Check" not in page


def test_both_messages_of_a_fallback_name_each_other(template: MessageTemplate) -> None:
    first = failed("4", kind="booking_amended", other_address="+442079460999", reference="AP-7")
    with transaction.atomic():
        other = outbox.fall_back(Message.objects.select_for_update().get(pk=first.pk))
    assert other is not None
    client = staff(*VIEWER)
    for row, words in ((first, "sent by SMS instead"), (other, "queued in place of the e-mail")):
        page = client.get(reverse("admin:communications_message_change", args=[row.pk])).content.decode()
        assert words in page
        assert str(other.pk if row == first else first.pk) in page
    told = stories.about_booking("AP-7")
    assert [one.message.pk for one in told] == [first.pk, other.pk]
    assert (told[0].masked_to, told[1].masked_to) == ("a•••@exmple.com", "+44••••••999")
    assert (told[0].state_for_customer, told[1].state_for_customer) == ("not delivered", "being sent")
