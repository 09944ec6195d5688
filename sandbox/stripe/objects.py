"""The shapes of Stripe's objects, as its published fixtures show them for the pinned API version."""

from __future__ import annotations

from typing import Any

from sandbox.state import identifier
from sandbox.stripe.cards import Card, fingerprint
from sandbox.stripe.money import fee

Body = dict[str, Any]

API_VERSION = "2026-08-26.dahlia"
ACCOUNT_ID = "acct_1SandboxAirportPark"
EMPTY_ADDRESS = {
    "city": None,
    "country": None,
    "line1": None,
    "line2": None,
    "postal_code": None,
    "state": None,
}
NETWORKS = {"amex": "amex", "mastercard": "mastercard", "visa": "visa"}


def account() -> Body:
    return {
        "id": ACCOUNT_ID,
        "object": "account",
        "business_profile": {
            "annual_revenue": None, "estimated_worker_count": None, "mcc": "7523", "name": "Airport parking (sandbox)",
            "product_description": None, "support_address": None, "support_email": None, "support_phone": None,
            "support_url": None, "url": None, "minority_owned_business_designation": None,
        },
        "business_type": "company",
        "capabilities": {"card_payments": "active", "transfers": "active"},
        "charges_enabled": True,
        "controller": {"type": "account"},
        "country": "US",
        "created": 1_700_000_000,
        "default_currency": "usd",
        "details_submitted": True,
        "email": "owner@sandbox.example",
        "external_accounts": {
            "object": "list", "data": [], "has_more": False, "url": f"/v1/accounts/{ACCOUNT_ID}/external_accounts",
        },
        "future_requirements": _requirements(),
        "metadata": {},
        "payouts_enabled": True,
        "requirements": _requirements(),
        "settings": {
            "bacs_debit_payments": {"display_name": None, "service_user_number": None},
            "branding": {"icon": None, "logo": None, "primary_color": None, "secondary_color": None},
            "card_issuing": {"tos_acceptance": {"date": None, "ip": None}},
            "card_payments": {
                "decline_on": {"avs_failure": False, "cvc_failure": False}, "statement_descriptor_prefix": None,
                "statement_descriptor_prefix_kana": None, "statement_descriptor_prefix_kanji": None,
            },
            "dashboard": {"display_name": "Airport parking (sandbox)", "timezone": "Etc/UTC"},
            "invoices": {"default_account_tax_ids": None, "hosted_payment_method_save": "offer"},
            "payments": {
                "statement_descriptor": "AIRPORT PARKING", "statement_descriptor_kana": None,
                "statement_descriptor_kanji": None, "statement_descriptor_prefix_kana": None,
                "statement_descriptor_prefix_kanji": None,
            },
            "payouts": {
                "debit_negative_balances": True, "schedule": {"delay_days": 2, "interval": "daily"},
                "statement_descriptor": None,
            },
            "sepa_debit_payments": {},
        },
        "tos_acceptance": {"date": None, "ip": None, "user_agent": None},
        "type": "standard",
    }  # fmt: skip


def _requirements() -> Body:
    return {
        "alternatives": [], "current_deadline": None, "currently_due": [], "disabled_reason": None, "errors": [],
        "eventually_due": [], "past_due": [], "pending_verification": [],
    }  # fmt: skip


def customer(now: int) -> Body:
    return {
        "id": identifier("cus_", 14), "object": "customer", "address": None, "balance": 0, "created": now,
        "currency": None, "default_source": None, "delinquent": False, "description": None, "discount": None,
        "email": None, "invoice_prefix": identifier("", 8).upper(),
        "invoice_settings": {
            "custom_fields": None, "default_payment_method": None, "footer": None, "rendering_options": None,
        },
        "livemode": False, "metadata": {}, "name": None, "next_invoice_sequence": 1, "phone": None,
        "preferred_locales": [], "shipping": None, "tax_exempt": "none", "test_clock": None,
    }  # fmt: skip


def billing_details(given: Body | None = None) -> Body:
    given = given or {}
    return {
        "address": {**EMPTY_ADDRESS, **{k: v or None for k, v in (given.get("address") or {}).items()}},
        "email": given.get("email") or None, "name": given.get("name") or None, "phone": given.get("phone") or None,
        "tax_id": None,
    }  # fmt: skip


def payment_method(card: Card, *, now: int, month: int, year: int, cvc: bool, billing: Body) -> Body:
    return {
        "id": identifier("pm_1", 23), "object": "payment_method", "allow_redisplay": "unspecified",
        "billing_details": billing,
        "card": {
            "brand": card.brand,
            "checks": {
                "address_line1_check": None,
                "address_postal_code_check": "pass" if billing["address"]["postal_code"] else None,
                "cvc_check": ("fail" if card.outcome == "incorrect_cvc" else "pass") if cvc else None,
            },
            "country": card.country, "display_brand": _display_brand(card), "exp_month": month, "exp_year": year,
            "fingerprint": fingerprint(card.number), "funding": card.funding, "generated_from": None,
            "last4": card.number[-4:],
            "networks": {"available": [card.brand], "preferred": None},
            "regulated_status": "unregulated", "three_d_secure_usage": {"supported": True}, "wallet": None,
        },
        "created": now, "customer": None, "customer_account": None, "livemode": False, "metadata": {}, "type": "card",
    }  # fmt: skip


def _display_brand(card: Card) -> str:
    return {"amex": "american_express", "diners": "diners_club", "unionpay": "union_pay"}.get(
        card.brand, card.brand
    )


def payment_intent(now: int, *, amount: int, currency: str) -> Body:
    intent_id = identifier("pi_3", 23)
    return {
        "id": intent_id, "object": "payment_intent", "amount": amount, "amount_capturable": 0,
        "amount_details": {"tip": {}}, "amount_received": 0, "application": None, "application_fee_amount": None,
        "automatic_payment_methods": None, "canceled_at": None, "cancellation_reason": None,
        "capture_method": "automatic_async", "client_secret": identifier(f"{intent_id}_secret_", 25),
        "confirmation_method": "automatic", "created": now, "currency": currency, "customer": None,
        "customer_account": None, "description": None, "excluded_payment_method_types": None,
        "last_payment_error": None, "latest_charge": None, "livemode": False, "metadata": {}, "next_action": None,
        "on_behalf_of": None, "payment_method": None, "payment_method_configuration_details": None,
        "payment_method_options": {
            "card": {"installments": None, "mandate_options": None, "network": None, "request_three_d_secure": "automatic"},
        },
        "payment_method_types": ["card"], "processing": None, "receipt_email": None, "review": None,
        "setup_future_usage": None, "shipping": None, "source": None, "statement_descriptor": None,
        "statement_descriptor_suffix": None, "status": "requires_payment_method", "transfer_data": None,
        "transfer_group": None,
    }  # fmt: skip


def setup_intent(now: int) -> Body:
    intent_id = identifier("seti_1", 23)
    return {
        "id": intent_id, "object": "setup_intent", "application": None,
        "automatic_payment_methods": None, "cancellation_reason": None,
        "client_secret": identifier(f"{intent_id}_secret_", 31), "created": now, "customer": None,
        "customer_account": None, "description": None, "excluded_payment_method_types": None,
        "flow_directions": None, "last_setup_error": None, "latest_attempt": None, "livemode": False,
        "mandate": None, "metadata": {}, "next_action": None, "on_behalf_of": None, "payment_method": None,
        "payment_method_configuration_details": None,
        "payment_method_options": {"card": {"mandate_options": None, "network": None, "request_three_d_secure": "automatic"}},
        "payment_method_types": ["card"], "single_use_mandate": None, "status": "requires_payment_method",
        "usage": "off_session",
    }  # fmt: skip


def charge(now: int, intent: Body, method: Body, *, authenticated: bool) -> Body:
    """An attempt to take `intent["amount"]`; the caller fills in how it went."""
    charge_id = identifier("ch_3", 23)
    card = method["card"]
    return {
        "id": charge_id, "object": "charge", "amount": intent["amount"], "amount_captured": 0, "amount_refunded": 0,
        "application": None, "application_fee": None, "application_fee_amount": None, "balance_transaction": None,
        "billing_details": method["billing_details"], "calculated_statement_descriptor": "AIRPORT PARKING",
        "captured": False, "created": now, "currency": intent["currency"], "customer": intent["customer"],
        "description": intent["description"], "disputed": False, "failure_balance_transaction": None,
        "failure_code": None, "failure_message": None, "fraud_details": {}, "livemode": False,
        "metadata": intent["metadata"], "on_behalf_of": None,
        "outcome": {
            "advice_code": None, "network_advice_code": None, "network_decline_code": None,
            "network_status": "approved_by_network", "reason": None, "risk_level": "normal",
            "seller_message": "Payment complete.", "type": "authorized",
        },
        "paid": True, "payment_intent": intent["id"], "payment_method": method["id"],
        "payment_method_details": {
            "card": {
                "amount_authorized": intent["amount"], "authorization_code": identifier("", 6).upper(),
                "brand": card["brand"], "checks": card["checks"], "country": card["country"],
                "exp_month": card["exp_month"], "exp_year": card["exp_year"],
                "extended_authorization": {"status": "disabled"}, "fingerprint": card["fingerprint"],
                "funding": card["funding"], "incremental_authorization": {"status": "unavailable"},
                "installments": None, "last4": card["last4"], "mandate": None,
                "multicapture": {"status": "unavailable"}, "network": NETWORKS.get(card["brand"], card["brand"]),
                "network_token": {"used": False}, "network_transaction_id": identifier("", 15),
                "overcapture": {"maximum_amount_capturable": intent["amount"], "status": "unavailable"},
                "regulated_status": "unregulated",
                "three_d_secure": {
                    "authentication_flow": "challenge", "electronic_commerce_indicator": "05",
                    "exemption_indicator": None, "result": "authenticated", "result_reason": None,
                    "transaction_id": identifier("", 20), "version": "2.2.0",
                } if authenticated else None,
                "transaction_link_id": None, "wallet": None,
            },
            "type": "card",
        },
        "radar_options": {}, "receipt_email": intent["receipt_email"], "receipt_number": None, "receipt_url": None,
        "refunded": False, "review": None, "shipping": intent["shipping"], "source": None, "source_transfer": None,
        "statement_descriptor": intent["statement_descriptor"],
        "statement_descriptor_suffix": intent["statement_descriptor_suffix"], "status": "succeeded",
        "transfer_data": None, "transfer_group": None,
    }  # fmt: skip


def refund(now: int, paid: Body, *, amount: int, reason: str | None, metadata: dict[str, str]) -> Body:
    return {
        "id": identifier("re_3", 23), "object": "refund", "amount": amount, "balance_transaction": None,
        "charge": paid["id"], "created": now, "currency": paid["currency"], "customer": paid["customer"],
        "customer_account": None,
        "destination_details": {
            "card": {
                "reference": identifier("", 12), "reference_status": "available",
                "reference_type": "acquirer_reference_number", "type": "refund",
            },
            "type": "card",
        },
        "metadata": metadata, "payment_intent": paid["payment_intent"], "payment_method": paid["payment_method"],
        "reason": reason, "receipt_number": None, "source_transfer_reversal": None, "status": "succeeded",
        "transfer_reversal": None,
    }  # fmt: skip


def balance_transaction(now: int, *, kind: str, source: Body, amount: int) -> Body:
    """kind: charge, refund, refund_failure or adjustment. amount is signed; only charges pay a fee here."""
    cost = fee(amount) if kind == "charge" else 0
    available = now + 2 * 86_400
    return {
        "id": identifier("txn_3", 23), "object": "balance_transaction", "amount": amount,
        "available_on": available - available % 86_400, "balance_type": "payments", "created": now,
        "currency": source["currency"], "description": source.get("description"), "exchange_rate": None, "fee": cost,
        "fee_details": [
            {
                "amount": cost, "application": None, "currency": source["currency"],
                "description": "Stripe processing fees", "type": "stripe_fee",
            }
        ] if cost else [],
        "net": amount - cost, "reporting_category": kind, "source": source["id"], "status": "pending", "type": kind,
    }  # fmt: skip


_EVIDENCE = """
    access_activity_log billing_address cancellation_policy cancellation_policy_disclosure cancellation_rebuttal
    customer_communication customer_email_address customer_name customer_purchase_ip customer_signature
    duplicate_charge_documentation duplicate_charge_explanation duplicate_charge_id product_description receipt refund_policy
    refund_policy_disclosure refund_refusal_explanation service_date service_documentation shipping_address shipping_carrier
    shipping_date shipping_documentation shipping_tracking_number uncategorized_file uncategorized_text
"""
EVIDENCE = _EVIDENCE.split()


def dispute(now: int, paid: Body, *, amount: int, reason: str, inquiry: bool, due_by: int) -> Body:
    return {
        "id": identifier("dp_1", 23), "object": "dispute", "amount": amount, "balance_transactions": [], "charge": paid["id"],
        "created": now, "currency": paid["currency"], "enhanced_eligibility_types": [],
        "evidence": {**dict.fromkeys(EVIDENCE), "enhanced_evidence": {}},
        "evidence_details": {
            "due_by": due_by, "enhanced_eligibility": {}, "has_evidence": False, "past_due": False, "submission_count": 0,
        },
        "is_charge_refundable": inquiry, "livemode": False, "metadata": {}, "payment_intent": paid["payment_intent"],
        "payment_method_details": {
            "card": {
                "brand": paid["payment_method_details"]["card"]["brand"],
                "case_type": "inquiry" if inquiry else "chargeback",
                "network": paid["payment_method_details"]["card"]["network"], "network_reason_code": "10.4",
            },
            "type": "card",
        },
        "reason": reason, "status": "warning_needs_response" if inquiry else "needs_response",
    }  # fmt: skip


def dispute_entry(now: int, disputed: Body, *, amount: int, fee: int) -> Body:
    """The balance's line about a dispute: amount is signed, and the fee comes on top."""
    entry = balance_transaction(now, kind="adjustment", source=disputed, amount=amount)
    details = {
        "amount": fee, "application": None, "currency": disputed["currency"], "description": "Dispute fee", "type": "stripe_fee",
    }  # fmt: skip
    return {
        **entry, "fee": fee, "fee_details": [details] if fee else [], "net": amount - fee,
        "description": f"Chargeback {'withdrawal' if amount < 0 else 'reversal'} for {disputed['charge']}",
        "reporting_category": "dispute" if amount < 0 else "dispute_reversal",
    }  # fmt: skip


def file(now: int, *, filename: str, size: int, purpose: str) -> Body:
    return {
        "id": identifier("file_1", 23), "object": "file", "created": now, "expires_at": None, "filename": filename,
        "links": {"object": "list", "data": [], "has_more": False, "url": "/v1/file_links"}, "purpose": purpose, "size": size,
        "title": None, "type": filename.rpartition(".")[2].lower() or None, "url": None,
    }  # fmt: skip


def event(
    now: int, kind: str, data: Body, *, previous: Body | None, request: Body, pending_webhooks: int
) -> Body:
    return {
        "id": identifier("evt_3", 23), "object": "event", "api_version": API_VERSION, "created": now,
        "data": {"object": data, **({"previous_attributes": previous} if previous else {})}, "livemode": False,
        "pending_webhooks": pending_webhooks, "request": request, "type": kind,
    }  # fmt: skip


def webhook_endpoint(known: Body) -> Body:
    details = known["details"]
    return {
        "id": known["id"], "object": "webhook_endpoint", "api_version": details.get("api_version"),
        "application": None, "created": int(known["created"]), "description": details.get("description"),
        "enabled_events": known["enabled_events"], "livemode": False, "metadata": details.get("metadata", {}),
        "status": "enabled", "url": known["url"],
    }  # fmt: skip
