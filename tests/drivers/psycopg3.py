"""psycopg 3: libpq underneath, text and binary results, pipeline mode."""
import datetime as dt
import decimal
import threading
import time
import uuid

import psycopg
from psycopg import sql
from psycopg.rows import tuple_row
from psycopg.types.json import Json, Jsonb

passed = 0


def ok(name):
    global passed
    passed += 1
    print("ok", name, flush=True)


def connect(**options):
    return psycopg.connect(autocommit=True, **options)  # the rest from PG*


def fails(state, do):
    try:
        do()
    except psycopg.Error as error:
        assert error.sqlstate == state, error
    else:
        raise AssertionError(f"expected {state}")


VALUES = [
    ("int", -7), ("bigint", 1 << 40), ("numeric", decimal.Decimal("12345678901234567890.123456789")), ("text", "naïve ☃ 'quoted'"),
    ("bytea", bytes(range(256))), ("timestamptz", dt.datetime(2026, 1, 2, 3, 4, 5, 678901, dt.timezone.utc)), ("boolean", True),
    ("uuid", uuid.UUID("6b1f0f0e-0000-4000-8000-000000000002")), ("int[]", [1, None, 3]), ("text[]", ['a,"b', "{}"]), ("float8", 0.1), ("text", None),
]
# Not just active: a cancel that arrives between Parse and Execute is lost, by design of the server.
ASLEEP = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()"
JSON = {"a": [1, 2, {"b": None}]}

with connect() as conn:
    conn.execute("DELETE FROM driver_scenario")
    for name, binary in [("types_text", False), ("types_binary", True)]:
        with conn.cursor(binary=binary) as cur:
            for kind, value in VALUES:
                mark = "%b" if binary and kind not in ("numeric", "int[]", "text[]") and value is not None else "%s"
                got = cur.execute(f"SELECT {mark}::{kind}", (value,), prepare=False).fetchone()[0]
                assert got == value, (kind, got, value)
            assert cur.execute("SELECT %s::json, %s::jsonb", (Json(JSON), Jsonb(JSON))).fetchone() == (JSON, JSON)
        ok(name)

    for i in range(20):
        assert conn.execute("SELECT %s::int + 1", (i,), prepare=True).fetchone() == (i + 1,)
    fails("22012", lambda: conn.execute("SELECT 1 / %s::int", (0,), prepare=True))
    assert conn.execute("SELECT 1 / %s::int", (1,), prepare=True).fetchone() == (1,)
    ok("prepared_reuse")

    for format in ["", " (FORMAT BINARY)"]:
        conn.execute("DELETE FROM driver_scenario")
        with conn.cursor().copy("COPY driver_scenario FROM STDIN" + format) as copy:
            copy.set_types(["int4", "text", "bytea"])
            for i in range(5000):
                copy.write_row((i, f"row\t{i}\n", b"\x00\xff" * 4))
        with conn.cursor().copy("COPY (SELECT * FROM driver_scenario ORDER BY id) TO STDOUT" + format) as copy:
            copy.set_types(["int4", "text", "bytea"])
            rows = list(copy.rows())
        assert len(rows) == 5000 and rows[7] == (7, "row\t7\n", b"\x00\xff" * 4), rows[7]
    ok("copy_in")
    ok("copy_out")

    def bad_copy():
        with conn.cursor().copy("COPY driver_scenario FROM STDIN") as copy:
            copy.write("10000\tfine\t\\N\nnot a number\tx\t\\N\n")
    fails("22P02", bad_copy)
    assert conn.execute("SELECT count(*) FROM driver_scenario").fetchone() == (5000,)
    ok("copy_error")

    for cancel in [conn.cancel, conn.cancel_safe]:
        def soon():
            with connect() as other:
                while other.execute(ASLEEP).fetchone() == (0,):
                    time.sleep(0.01)
            cancel()
        thread = threading.Thread(target=soon)
        thread.start()
        fails("57014", lambda: conn.execute("SELECT pg_sleep(301)"))
        thread.join()
        assert conn.execute("SELECT 1").fetchone() == (1,)
    ok("cancel")

    conn.execute("LISTEN driver_scenario")
    with connect() as other:
        other.execute("NOTIFY driver_scenario, 'hello'")
    notice = next(conn.notifies(timeout=60))
    assert (notice.channel, notice.payload) == ("driver_scenario", "hello")
    conn.execute("UNLISTEN *")
    ok("listen_notify")

    with conn.pipeline() as pipeline:
        cursors = [conn.execute("SELECT %s::int", (i,)) for i in range(200)]
        pipeline.sync()
        assert [cur.fetchone()[0] for cur in cursors] == list(range(200))
    with connect() as other:  # one level down, where nothing depends on which answer is in first
        raw, seen = other.pgconn, []
        raw.enter_pipeline_mode()
        for query in [b"SELECT 1", b"SELECT 1 / 0", b"SELECT 2", None, b"SELECT 3", None]:
            raw.send_query_params(query, None) if query else raw.pipeline_sync()
        while seen.count("PIPELINE_SYNC") < 2:
            if result := raw.get_result():
                seen.append(psycopg.pq.ExecStatus(result.status).name)
        raw.exit_pipeline_mode()
        assert seen == ["TUPLES_OK", "FATAL_ERROR", "PIPELINE_ABORTED", "PIPELINE_SYNC", "TUPLES_OK", "PIPELINE_SYNC"], seen
    ok("pipelining")

    big = bytes(range(256)) * (8 << 12)
    conn.execute("INSERT INTO driver_scenario VALUES (-1, 'big', %b)", (big,))
    for binary in [False, True]:
        with conn.cursor(binary=binary) as cur:
            assert cur.execute("SELECT payload FROM driver_scenario WHERE id = -1").fetchone()[0] == big
    ok("large_values")

    with conn.transaction(), conn.cursor("driver_portal", row_factory=tuple_row) as cur:
        cur.execute("SELECT generate_series(1, 250)")
        parts = [cur.fetchmany(100) for _ in range(4)]
        assert [len(part) for part in parts] == [100, 100, 50, 0]
    ok("portals")

    conn.execute("DELETE FROM driver_scenario")
    with conn.transaction():
        conn.execute("INSERT INTO driver_scenario VALUES (1, 'kept')")

        def inner():
            with conn.transaction():
                conn.execute("INSERT INTO driver_scenario VALUES (2, 'lost')")
                conn.execute("INSERT INTO driver_scenario VALUES (1, 'duplicate')")
        fails("23505", inner)
        conn.execute("INSERT INTO driver_scenario VALUES (3, 'kept')")
    assert conn.execute("SELECT id FROM driver_scenario ORDER BY id").fetchall() == [(1,), (3,)]
    ok("savepoints")

    conn.execute("BEGIN")
    fails("22012", lambda: conn.execute("SELECT 1/0"))
    fails("25P02", lambda: conn.execute("SELECT 1"))
    assert conn.info.transaction_status == psycopg.pq.TransactionStatus.INERROR
    conn.execute("ROLLBACK")
    assert conn.execute("SELECT 1").fetchone() == (1,)
    ok("error_in_transaction")

    cur = conn.execute(sql.SQL("SELECT 1; SELECT 'two', 2; DELETE FROM driver_scenario WHERE id = 1"))
    results = [cur.fetchall()]
    while cur.nextset():
        results.append(cur.fetchall() if cur.description else cur.statusmessage)
    assert results == [[(1,)], [("two", 2)], "DELETE 1"], results
    ok("multi_statement")
print("done", passed)
