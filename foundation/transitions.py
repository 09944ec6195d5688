"""Legal state changes, said once beside the enum and enforced twice: here and by a trigger in PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from django.db import migrations

from foundation.errors import DomainError

Transitions = Mapping[str, AbstractSet[str]]


class IllegalTransition(DomainError):
    code = "illegal_transition"


def change_status(row: Any, to: str, transitions: Transitions) -> None:
    """Set row.status to `to` in memory. Raises IllegalTransition when the table does not allow it. Staying put is legal."""
    if row.status != to and to not in transitions[row.status]:
        raise IllegalTransition(f"{row._meta.verbose_name} {row.pk}: {row.status} cannot become {to}")
    row.status = to


def transition_trigger(
    table: str, transitions: Transitions, *, initial: AbstractSet[str]
) -> migrations.RunSQL:
    """Return the migration step that makes PostgreSQL refuse what `transitions` does not list, from any client.

    `initial` names the states in which a row may be born. Error code 23514 (check_violation), so Django raises IntegrityError.
    """
    function = f"{table}_status_guard"
    return migrations.RunSQL(
        _status_guard(table, transitions, initial=initial)
        + f"CREATE TRIGGER {function} BEFORE INSERT OR UPDATE OF status ON {table} FOR EACH ROW EXECUTE FUNCTION {function}();",
        f"DROP TRIGGER {function} ON {table}; DROP FUNCTION {function}();",
    )


def changed_transitions(
    table: str, *, before: Transitions, after: Transitions, initial: AbstractSet[str]
) -> migrations.RunSQL:
    """Return the migration step that gives a table with a transition_trigger() another list of legal changes."""
    return migrations.RunSQL(
        _status_guard(table, after, initial=initial), _status_guard(table, before, initial=initial)
    )


def _status_guard(table: str, transitions: Transitions, *, initial: AbstractSet[str]) -> str:
    pairs = ", ".join(f"('{old}', '{new}')" for old, news in transitions.items() for new in sorted(news))
    born = ", ".join(f"'{state}'" for state in sorted(initial))
    function = f"{table}_status_guard"
    return f"""
        CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP = 'INSERT' THEN
                IF NEW.status NOT IN ({born}) THEN
                    RAISE EXCEPTION '{table}: a row cannot be born %', NEW.status
                        USING ERRCODE = 'check_violation', CONSTRAINT = '{function}';
                END IF;
            ELSIF NEW.status IS DISTINCT FROM OLD.status
                AND NOT EXISTS (SELECT 1 FROM (VALUES {pairs}) AS legal(a, b) WHERE a = OLD.status AND b = NEW.status) THEN
                RAISE EXCEPTION '{table}: % cannot become %', OLD.status, NEW.status
                    USING ERRCODE = 'check_violation', CONSTRAINT = '{function}';
            END IF;
            RETURN NEW;
        END $$;
        """  # noqa: S608 - every name comes from a migration


def append_only_trigger(table: str) -> migrations.RunSQL:
    """Return the migration step that makes a table append-only: PostgreSQL refuses UPDATE, DELETE and TRUNCATE."""
    function = f"{table}_append_only"
    return migrations.RunSQL(
        f"""
        CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION '{table} is append-only' USING ERRCODE = 'check_violation', CONSTRAINT = '{function}';
        END $$;
        CREATE TRIGGER {function} BEFORE UPDATE OR DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION {function}();
        CREATE TRIGGER {function}_truncate BEFORE TRUNCATE ON {table} FOR EACH STATEMENT
            EXECUTE FUNCTION {function}();
        """,
        f"DROP TRIGGER {function}_truncate ON {table}; DROP TRIGGER {function} ON {table}; DROP FUNCTION {function}();",
    )


def erasable_append_only(table: str, **gone: str) -> migrations.RunSQL:
    """Return the migration step that lets one thing happen to an append-only table: a column that tells of a person takes the value
    (as SQL) that says nothing of anybody. Everything else stays refused."""
    function = f"{table}_append_only"
    kept = "".join(f" - '{column}'" for column in gone)
    harmless = " AND ".join(
        f"(NEW.{column} IS NOT DISTINCT FROM OLD.{column} OR NEW.{column} = {value})"
        for column, value in gone.items()
    )
    refuse = f"RAISE EXCEPTION '{table} is append-only' USING ERRCODE = 'check_violation', CONSTRAINT = '{function}';"
    return migrations.RunSQL(
        f"""
        CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF TG_OP = 'UPDATE' THEN
                IF to_jsonb(NEW){kept} = to_jsonb(OLD){kept} AND {harmless} THEN
                    RETURN NEW;
                END IF;
            END IF;
            {refuse}
        END $$;
        """,
        f"CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {refuse} END $$;",
    )
