"""Disputes: a bank takes money back, or asks first. Not a refund: the cardholder's bank decides, and we answer by a deadline."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from foundation.money import Money
from foundation.transitions import Transitions


class DisputeStatus(models.TextChoices):
    NEEDS_RESPONSE = "needs_response", _("needs an answer")
    UNDER_REVIEW = "under_review", _("under review at the bank")
    WON = "won", _("won")
    LOST = "lost", _("lost")
    WARNING_NEEDS_RESPONSE = "warning_needs_response", _("inquiry, needs an answer")
    WARNING_UNDER_REVIEW = "warning_under_review", _("inquiry, under review")
    WARNING_CLOSED = "warning_closed", _("inquiry closed")
    REFUNDED = "refunded", _("ended by a refund")


_DECIDED = {DisputeStatus.WON, DisputeStatus.LOST, DisputeStatus.REFUNDED}
_ESCALATED = {
    DisputeStatus.NEEDS_RESPONSE,
    DisputeStatus.UNDER_REVIEW,
    *_DECIDED,
}  # an inquiry can become a dispute
DISPUTE_TRANSITIONS: Transitions = {
    DisputeStatus.NEEDS_RESPONSE: {DisputeStatus.UNDER_REVIEW, *_DECIDED},
    DisputeStatus.UNDER_REVIEW: {DisputeStatus.NEEDS_RESPONSE, *_DECIDED},  # they may want to know more
    DisputeStatus.WON: set(),
    # The bank may find for us late, or hear an appeal; a refund that ended it may show later than the end.
    DisputeStatus.LOST: {DisputeStatus.WON, DisputeStatus.UNDER_REVIEW, DisputeStatus.REFUNDED},
    DisputeStatus.REFUNDED: set(),
    DisputeStatus.WARNING_NEEDS_RESPONSE: {
        DisputeStatus.WARNING_UNDER_REVIEW,
        DisputeStatus.WARNING_CLOSED,
        *_ESCALATED,
    },
    DisputeStatus.WARNING_UNDER_REVIEW: {
        DisputeStatus.WARNING_NEEDS_RESPONSE,
        DisputeStatus.WARNING_CLOSED,
        *_ESCALATED,
    },
    DisputeStatus.WARNING_CLOSED: set(_ESCALATED),
}
ANSWERABLE = (DisputeStatus.NEEDS_RESPONSE, DisputeStatus.WARNING_NEEDS_RESPONSE)
OPEN = (*ANSWERABLE, DisputeStatus.UNDER_REVIEW, DisputeStatus.WARNING_UNDER_REVIEW)
# The money is with the bank and may come back: giving it to the customer as well would lose it twice. An inquiry has taken nothing.
MONEY_AT_STAKE = (DisputeStatus.NEEDS_RESPONSE, DisputeStatus.UNDER_REVIEW)


class Dispute(models.Model):
    """One dispute of a payment, in the provider's true state. Only payments.services.disputes writes it.

    PostgreSQL holds: legal transitions, the payment's currency, payment.disputed_minor (by trigger), no refund of ours while the
    money is at stake.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    payment = models.ForeignKey(
        "payments.Payment", on_delete=models.PROTECT, related_name="disputes", verbose_name=_("payment")
    )
    provider = models.CharField(_("provider"), max_length=16)
    provider_ref = models.CharField(_("provider reference"), max_length=255)
    status = models.CharField(_("status"), max_length=24, choices=DisputeStatus.choices)
    amount_minor = models.BigIntegerField(_("amount"))
    currency = models.CharField(_("currency"), max_length=3)
    reason = models.CharField(_("reason given to the bank"), max_length=64)
    due_by = models.DateTimeField(_("answer by"), null=True, blank=True)
    opened_at = models.DateTimeField(_("opened"), db_index=True)
    closed_at = models.DateTimeField(_("closed"), null=True, blank=True)
    answer = models.TextField(_("our answer"), blank=True)
    answered_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("answered by"),
    )
    answered_at = models.DateTimeField(_("answered"), null=True, blank=True)
    acceptance = models.TextField(_("why we gave in"), blank=True)
    accepted_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("accepted by"),
    )
    accepted_at = models.DateTimeField(_("accepted"), null=True, blank=True)
    acceptance_needs_approval = models.BooleanField(_("giving in needs a second person"), default=False)
    acceptance_approved_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("acceptance approved by"),
    )
    acceptance_approved_at = models.DateTimeField(_("acceptance approved"), null=True, blank=True)
    failure = models.CharField(_("why the answer was refused"), max_length=200, blank=True)
    provider_updated_at = models.DateTimeField(_("last change at the provider"), null=True, blank=True)

    class Meta:
        verbose_name = _("dispute")
        verbose_name_plural = _("disputes")
        ordering = ["-opened_at"]
        permissions = [
            ("answer_dispute", _("Can answer a dispute")),
            ("accept_dispute", _("Can accept a dispute, which gives the money up")),
        ]
        constraints = [
            models.UniqueConstraint(fields=["provider", "provider_ref"], name="dispute_provider_ref_unique"),
            models.CheckConstraint(condition=Q(amount_minor__gt=0), name="dispute_amount_positive"),
            models.CheckConstraint(
                condition=Q(status__in=OPEN, closed_at__isnull=True)
                | (~Q(status__in=OPEN) & Q(closed_at__isnull=False)),
                name="dispute_closed_says_when",
            ),
            models.CheckConstraint(
                condition=Q(answered_at__isnull=True, answer="")
                | (Q(answered_at__isnull=False) & ~Q(answer="")),
                name="dispute_answer_says_when",
            ),
            models.CheckConstraint(
                condition=Q(accepted_at__isnull=True, acceptance="")
                | (Q(accepted_at__isnull=False, answered_at__isnull=True) & ~Q(acceptance="")),
                name="dispute_acceptance_says_when",
            ),
            models.CheckConstraint(
                condition=Q(acceptance_approved_by__isnull=True, acceptance_approved_at__isnull=True)
                | Q(
                    acceptance_approved_by__isnull=False,
                    acceptance_approved_at__isnull=False,
                    acceptance_needs_approval=True,
                    accepted_by__isnull=False,
                )
                & ~Q(acceptance_approved_by=models.F("accepted_by")),
                name="dispute_acceptance_approver_is_another",
            ),
        ]
        indexes = [
            models.Index(fields=["due_by"], condition=Q(status__in=OPEN), name="dispute_open_by_deadline")
        ]

    def __str__(self) -> str:
        return f"{self.amount} ({self.get_status_display()})"

    @property
    def amount(self) -> Money:
        return Money(self.amount_minor, self.currency)

    @property
    def reason_words(self) -> str:
        """The reason as people read it: providers write theirs with underscores."""
        return self.reason.replace("_", " ")

    @property
    def is_open(self) -> bool:
        return self.status in OPEN

    @property
    def is_answerable(self) -> bool:
        """Whether an answer can be given: the bank waits for one, and none is on its way. Its deadline may be over all the same."""
        return self.status in ANSWERABLE and self.answered_at is None and self.accepted_at is None

    @property
    def waits_for_approval(self) -> bool:
        """Whether giving in lies still until another person than the one who asked for it approves it."""
        return (
            self.status in MONEY_AT_STAKE
            and self.accepted_at is not None
            and self.acceptance_needs_approval
            and self.acceptance_approved_by_id is None
        )

    @property
    def is_acceptable(self) -> bool:
        """Whether we can still give in. An inquiry has taken nothing: who wants to give in there refunds the payment."""
        return (
            self.status == DisputeStatus.NEEDS_RESPONSE
            and self.answered_at is None
            and self.accepted_at is None
        )
