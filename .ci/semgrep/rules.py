# ruff: noqa
"""What the rules of rules.yml must find and must leave alone. Never run."""


def provider():
    with transaction.atomic():
        # ruleid: provider-call-in-transaction
        with provider_call():
            pass
        # ruleid: provider-call-in-transaction
        client.v1.refunds.create(amount=1)
    # ok: provider-call-in-transaction
    with provider_call():
        pass


def money():
    # ruleid: float-for-money
    float(payment.amount_minor)
    # ruleid: float-for-money
    price_minor / 100
    # ok: float-for-money
    float(airport.latitude)


def time():
    # ruleid: naive-now
    datetime.now()
    # ok: naive-now
    datetime.now(UTC)


def html():
    # ruleid: unescaped-html
    mark_safe(name)
    # ok: unescaped-html
    mark_safe(name)  # noqa: S308 - escaped above
    # ok: unescaped-html
    mark_safe("<br>")


# ruleid: csrf-exempt-outside-webhooks
@csrf_exempt
def door(request):
    pass


def sql():
    # ruleid: sql-by-formatting
    cursor.execute(f"SELECT {name}")
    # ruleid: sql-by-formatting
    cursor.execute("SELECT %s" % name)
    # ok: sql-by-formatting
    cursor.execute("SELECT %s", [name])


def http():
    # ruleid: http-without-timeout
    requests.get(url)
    # ok: http-without-timeout
    requests.get(url, timeout=3)


def states():
    # ruleid: money-state-outside-services
    Payment.objects.filter(pk=1).update(status="captured")
    # ok: money-state-outside-services
    Payment.objects.filter(status="captured").count()


def hosts(request):
    # ruleid: host-header
    request.get_host()


def logs():
    # ruleid: personal-data-in-log
    logger.info("Sent to %s", user.email)
    # ruleid: personal-data-in-log
    logger.warning("Refused %s", token)
    # ok: personal-data-in-log
    logger.info("Sent %s", message.pk)
