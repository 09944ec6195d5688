"""dj-stripe's schema as plain SQL, written from the catalogue of a database that its real migrations made.

Written from the catalogue and not by pg_dump, so that PostgreSQL 15 to 18 give the same
text and any of them can run it.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from django.db.backends.utils import CursorWrapper

VERSION = version("dj-stripe")
SNAPSHOT = Path(__file__).resolve().parent.parent / "payments" / "schema" / f"djstripe-{VERSION}.sql"
HEADER = """-- dj-stripe {version}: its tables after its own migrations, and their rows in django_migrations.
-- Written by `manage.py snapshot_djstripe`; loaded by `prepare_database` into an empty database only.
"""
OURS = r"relation.relname LIKE 'djstripe\_%%' AND relation.relnamespace = 'public'::regnamespace"

COLUMNS = f"""
SELECT relation.relname, attribute.attname, format_type(attribute.atttypid, attribute.atttypmod),
       attribute.attnotnull, attribute.attidentity, pg_get_expr(adbin, adrelid)
FROM pg_attribute attribute
JOIN pg_class relation ON relation.oid = attribute.attrelid
LEFT JOIN pg_attrdef ON adrelid = relation.oid AND adnum = attribute.attnum
WHERE relation.relkind = 'r' AND attribute.attnum > 0 AND NOT attribute.attisdropped AND {OURS}
ORDER BY relation.relname COLLATE "C", attribute.attnum
"""  # noqa: S608 - constants of this module
CONSTRAINTS = f"""
SELECT relation.relname, constraints.conname, pg_get_constraintdef(constraints.oid), constraints.contype
FROM pg_constraint constraints JOIN pg_class relation ON relation.oid = constraints.conrelid
WHERE constraints.contype IN ('p', 'u', 'c', 'f') AND {OURS}
ORDER BY constraints.contype = 'f', relation.relname COLLATE "C", constraints.conname COLLATE "C"
"""  # noqa: S608 - constants of this module
INDEXES = f"""
SELECT pg_get_indexdef(indexes.indexrelid)
FROM pg_index indexes
JOIN pg_class relation ON relation.oid = indexes.indrelid
JOIN pg_class own ON own.oid = indexes.indexrelid
WHERE NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid AND contype IN ('p', 'u', 'x'))
  AND {OURS}
ORDER BY own.relname COLLATE "C"
"""  # noqa: S608 - constants of this module


def describe(cursor: CursorWrapper) -> str:
    """The SQL that makes dj-stripe's tables as they stand in this database."""
    tables: dict[str, list[str]] = {}
    cursor.execute(COLUMNS, [])
    for table, column, kind, not_null, identity, default in cursor.fetchall():
        line = f'"{column}" {kind}'
        if identity:
            line += f" GENERATED {'ALWAYS' if identity == 'a' else 'BY DEFAULT'} AS IDENTITY"
        elif default is not None:
            line += f" DEFAULT {default}"
        if not_null:
            line += " NOT NULL"
        tables.setdefault(table, []).append(line)
    parts = [
        f'CREATE TABLE "{table}" (\n  ' + ",\n  ".join(lines) + "\n);" for table, lines in tables.items()
    ]
    cursor.execute(CONSTRAINTS, [])
    parts += [
        f'ALTER TABLE "{table}" ADD CONSTRAINT "{name}" {text};' for table, name, text, _ in cursor.fetchall()
    ]
    cursor.execute(INDEXES, [])
    parts += [f"{text.replace(' ON public.', ' ON ')};" for (text,) in cursor.fetchall()]
    cursor.execute("SELECT name FROM django_migrations WHERE app = 'djstripe' ORDER BY id")
    parts += [
        f"INSERT INTO django_migrations (app, name, applied) VALUES ('djstripe', '{name}', now());"  # noqa: S608 - text for a file
        for (name,) in cursor.fetchall()
    ]
    return HEADER.format(version=VERSION) + "\n".join(parts) + "\n"
