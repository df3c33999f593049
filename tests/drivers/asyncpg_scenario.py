"""asyncpg: binary formats and named prepared statements throughout."""
import asyncio
import datetime as dt
import decimal
import io
import os
import ssl
import uuid

import asyncpg

passed = 0


def ok(name):
    global passed
    passed += 1
    print("ok", name, flush=True)


def connect(**options):
    ca = os.environ.get("PGSSLROOTCERT")
    return asyncpg.connect(ssl=ssl.create_default_context(cafile=ca) if ca else False, **options)  # the rest from PG*


async def fails(state, awaitable):
    try:
        await awaitable
    except asyncpg.PostgresError as error:
        assert error.sqlstate == state, error
    else:
        raise AssertionError(f"expected {state}")


VALUES = [
    ("int", -7), ("bigint", 1 << 40), ("numeric", decimal.Decimal("12345678901234567890.123456789")), ("text", "naïve ☃ 'quoted'"),
    ("bytea", bytes(range(256))), ("timestamptz", dt.datetime(2026, 1, 2, 3, 4, 5, 678901, dt.timezone.utc)), ("boolean", True),
    ("uuid", uuid.UUID("6b1f0f0e-0000-4000-8000-000000000002")), ("int[]", [1, None, 3]), ("text[]", ['a,"b', "{}"]), ("float8", 0.1),
    ("json", '{"a": [1, null]}'), ("jsonb", '{"a": [1, null]}'), ("text", None),
]
# Not just active: a cancel that arrives between Parse and Execute is lost, by design of the server.
ASLEEP = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"


async def main():
    conn = await connect()
    await conn.execute("DELETE FROM driver_scenario")
    for kind, value in VALUES:
        got = await conn.fetchval(f"SELECT $1::{kind}", value)
        assert got == value, (kind, got, value)
    ok("types_binary")

    statement = await conn.prepare("SELECT 10 / $1::int")
    for i in range(1, 20):
        assert await statement.fetchval(i) == 10 // i
    await fails("22012", statement.fetchval(0))
    assert await statement.fetchval(5) == 2
    ok("prepared_reuse")

    rows = [(i, f"row\t{i}", b"\x00\xff" * 4) for i in range(5000)]
    await conn.copy_records_to_table("driver_scenario", records=rows)
    ok("copy_in")
    out = io.BytesIO()
    await conn.copy_from_query("SELECT id, name FROM driver_scenario ORDER BY id", output=out)
    assert out.getvalue().splitlines()[7] == b"7\trow\\t7"
    out = io.BytesIO()
    await conn.copy_from_query("SELECT id FROM driver_scenario", output=out, format="binary")
    assert out.getvalue().startswith(b"PGCOPY\n") and len(out.getvalue()) == 21 + 5000 * 10
    ok("copy_out")
    await fails("23505", conn.copy_records_to_table("driver_scenario", records=[(9000, "x", None), (7, "twice", None)]))
    assert await conn.fetchval("SELECT count(*) FROM driver_scenario") == 5000
    ok("copy_error")

    other = await connect()
    sleeping = asyncio.create_task(conn.execute("SELECT pg_sleep(301)"))
    while await other.fetchval(ASLEEP) == 0:
        await asyncio.sleep(0.01)
    sleeping.cancel()  # asyncpg sends a CancelRequest
    assert isinstance((await asyncio.gather(sleeping, return_exceptions=True))[0], asyncio.CancelledError)
    assert await conn.fetchval("SELECT 1") == 1
    assert await other.fetchval(ASLEEP) == 0
    ok("cancel")

    heard = asyncio.get_running_loop().create_future()
    await conn.add_listener("driver_scenario", lambda _, pid, channel, payload: heard.set_result((channel, payload)))
    await other.execute("SELECT pg_notify('driver_scenario', 'hello')")
    assert await asyncio.wait_for(heard, 60) == ("driver_scenario", "hello")
    await conn.reset()
    ok("listen_notify")

    await conn.executemany("UPDATE driver_scenario SET name = $2 WHERE id = $1", [(i, "piped") for i in range(500)])
    assert await conn.fetchval("SELECT count(*) FROM driver_scenario WHERE name = 'piped'") == 500
    await fails("22012", conn.executemany("UPDATE driver_scenario SET name = (1 / $1::int)::text WHERE id = 1", [(1,), (0,), (1,)]))
    assert await conn.fetchval("SELECT name FROM driver_scenario WHERE id = 1") == "piped"
    ok("pipelining")

    big = bytes(range(256)) * (8 << 12)
    await conn.execute("INSERT INTO driver_scenario VALUES (-1, 'big', $1)", big)
    assert await conn.fetchval("SELECT payload FROM driver_scenario WHERE id = -1") == big
    ok("large_values")

    async with conn.transaction():
        cursor = await conn.cursor("SELECT generate_series(1, 250)")
        assert [len(await cursor.fetch(100)) for _ in range(4)] == [100, 100, 50, 0]
    ok("portals")

    await conn.execute("DELETE FROM driver_scenario")

    async def inner():
        async with conn.transaction():
            await conn.execute("INSERT INTO driver_scenario VALUES (2, 'lost')")
            await conn.execute("INSERT INTO driver_scenario VALUES (1, 'duplicate')")
    async with conn.transaction():
        await conn.execute("INSERT INTO driver_scenario VALUES (1, 'kept')")
        await fails("23505", inner())
        await conn.execute("INSERT INTO driver_scenario VALUES ($1, $2)", 3, "kept")
    assert [row["id"] for row in await conn.fetch("SELECT id FROM driver_scenario ORDER BY id")] == [1, 3]
    ok("savepoints")

    transaction = conn.transaction()
    await transaction.start()
    await fails("22012", conn.fetchval("SELECT 1 / $1::int", 0))
    await fails("25P02", conn.fetchval("SELECT $1::int", 1))
    await transaction.rollback()
    assert await conn.fetchval("SELECT 1") == 1
    ok("error_in_transaction")

    assert await conn.execute("SELECT 1; SELECT 'two'; DELETE FROM driver_scenario WHERE id = 1") == "DELETE 1"
    ok("multi_statement")
    await other.close()
    await conn.close()
    print("done", passed)


asyncio.run(main())
