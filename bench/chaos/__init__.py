"""Break the platform on purpose and hold its books against the providers' own: `python -m bench.chaos`.

The site (gunicorn), two workers, the sandbox, PostgreSQL and, where it is installed, Redis run as real processes on ports of their
own. Seeded schedules of customers, staff, banks and thieves act on them over HTTP while providers lie, webhooks get lost and
processes are killed; after each one the oracle compares the sandbox's ledger with ours, row by row.

It stands beside the apps: it uses their doors and services, and none of them knows of it. The seed repeats what was done, not how the
threads of five processes happened to interleave.
"""
