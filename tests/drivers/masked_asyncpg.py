"""asyncpg reads masked columns, in binary throughout: every value decodes, none is raw."""
import asyncio
import decimal
import io
import os
import re
import ssl
import uuid

import asyncpg

passed = 0
TEXTS = "r_text r_varchar r_bpchar r_citext r_domain".split()
NULLS = ("r_int r_bigint r_numeric r_float r_bool r_date r_timestamptz r_interval r_uuid r_inet r_mood r_pair r_range r_texts r_ints r_uuids r_bytea h_int n_text").split()
ALL = "SELECT * FROM driver_masked ORDER BY id"
hashes = {}


def ok(name):
    global passed
    passed += 1
    print("ok", name, flush=True)


def check(row):
    if row["id"] == 101:
        assert set(row.values()) == {101, None}, row
        return
    assert (row["c_text"], row["c_int"], row["c_numeric"]) == ("clear", 7, decimal.Decimal("1.50")), row
    assert [row[name] for name in TEXTS] == ["****"] * len(TEXTS), row
    assert {name: row[name] for name in NULLS} == dict.fromkeys(NULLS), row
    assert (row["r_json"], row["r_jsonb"]) == ('"****"', '"****"'), row
    assert re.fullmatch("[0-9a-f]{20}", row["h_text"]) and re.fullmatch('"[0-9a-f]{20}"', row["h_jsonb"]), row
    assert isinstance(row["h_uuid"], uuid.UUID) and row["h_uuid"].version == 8, row
    for name in ["h_text", "h_uuid", "h_jsonb"]:
        assert hashes.setdefault(name, row[name]) == row[name], (name, hashes, row)
    assert (row["l_card"], row["e_mail"], row["p_code"]) == ("************7259", "r***@mask.example", "XXX-53"), row


def whole(rows):
    assert len(rows) == 101, len(rows)
    for row in rows:
        check(row)


async def main():
    ca = os.environ.get("PGSSLROOTCERT")
    conn = await asyncpg.connect(ssl=ssl.create_default_context(cafile=ca) if ca else False)
    whole(await conn.fetch(ALL))
    ok("masked_binary")

    statement = await conn.prepare("SELECT * FROM driver_masked WHERE id >= $1")
    for start in [1, 0]:
        whole(await statement.fetch(start))
    ok("masked_prepared")

    async with conn.transaction():
        cursor = await conn.cursor(ALL)
        parts = [await cursor.fetch(40) for _ in range(4)]
        assert [len(part) for part in parts] == [40, 40, 21, 0]
        whole([row for part in parts for row in part])
        whole([row async for row in conn.cursor(ALL, prefetch=7)])
    ok("masked_cursor")

    for form, start in [("text", b"1\tclear\t7\t1.50\t****\t****"), ("csv", b'1,clear,7,1.50,"****","****"'), ("binary", b"PGCOPY\n")]:
        for copy, what in [(conn.copy_from_table, "driver_masked"), (conn.copy_from_query, ALL)]:
            out = io.BytesIO()
            await copy(what, output=out, format=form)
            data = out.getvalue()
            assert data.startswith(start) and b"rawtext" not in data and b"7755" not in data, data[:500]
            assert uuid.UUID("77553388-9900-4122-8344-556677889900").bytes not in data
    ok("masked_copy")

    try:
        await conn.fetch("SELECT id FROM driver_masked WHERE r_text = $1", "rawtext")
    except asyncpg.PostgresError as error:
        assert error.sqlstate == "42501" and "r_text" in str(error), error
    else:
        raise AssertionError("a filter on a masked column")
    whole(await conn.fetch(ALL))
    ok("masked_refused")
    await conn.close()
    print("done", passed)


asyncio.run(main())
