"""psycopg 3 reads masked columns: every value decodes, none is raw."""
import decimal
import re
import uuid

import psycopg
from psycopg.rows import dict_row

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
        assert set(row.values()) == {101, None}, row  # a null stays one
        return
    assert (row["c_text"], row["c_int"], row["c_numeric"]) == ("clear", 7, decimal.Decimal("1.50")), row
    # In binary, psycopg leaves types that it does not know as bytes.
    assert [row[name] in ("****", b"****") for name in TEXTS] == [True] * len(TEXTS), row
    assert {name: row[name] for name in NULLS} == dict.fromkeys(NULLS), row
    assert (row["r_json"], row["r_jsonb"]) == ("****", "****"), row
    assert re.fullmatch("[0-9a-f]{20}", row["h_text"]) and re.fullmatch("[0-9a-f]{20}", row["h_jsonb"]), row
    assert isinstance(row["h_uuid"], uuid.UUID) and row["h_uuid"].version == 8, row
    for name in ["h_text", "h_uuid", "h_jsonb"]:  # the same in every format and way
        assert hashes.setdefault(name, row[name]) == row[name], (name, hashes, row)
    assert (row["l_card"], row["e_mail"], row["p_code"]) == ("************7259", "r***@mask.example", "XXX-53"), row


def whole(rows):
    rows = list(rows)
    assert len(rows) == 101, len(rows)
    for row in rows:
        check(row)


with psycopg.connect(autocommit=True, row_factory=dict_row) as conn:
    for binary in [False, True]:
        with conn.cursor(binary=binary) as cur:
            whole(cur.execute(ALL, prepare=False))
            whole(cur.execute("SELECT * FROM driver_masked WHERE id >= %s", (1,), prepare=True))
            whole(cur.execute("SELECT * FROM driver_masked WHERE id >= %s", (0,), prepare=True))
        ok("masked_binary" if binary else "masked_text")

    with psycopg.ClientCursor(conn) as cur:  # the simple protocol
        cur.row_factory = dict_row
        whole(cur.execute("SELECT * FROM driver_masked WHERE id >= %s", (1,)))
        cur.execute("SELECT r_text AS other FROM driver_masked AS d WHERE id = 1; SELECT d.* FROM driver_masked d JOIN driver_masked e USING (id)")
        assert cur.fetchall() == [{"other": "****"}]
        assert cur.nextset()
        whole(cur.fetchall())
    ok("masked_simple")

    for binary in [False, True]:
        for scrollable in [False, True]:
            with conn.transaction(), conn.cursor("masked_portal", scrollable=scrollable) as cur:
                cur.execute(ALL, binary=binary)
                first = cur.fetchmany(40)
                if scrollable:
                    cur.scroll(0, mode="absolute")
                    assert cur.fetchmany(40) == first
                whole(first + cur.fetchall())
    ok("masked_cursor")

    for binary in [False, True]:
        with conn.transaction():
            conn.execute("DECLARE by_hand CURSOR FOR " + ALL)
            with conn.cursor(binary=binary) as cur:
                whole(cur.execute("FETCH ALL FROM by_hand", prepare=False))
        conn.execute("PREPARE by_name(int) AS SELECT * FROM driver_masked WHERE id >= $1")
        with conn.cursor(binary=binary) as cur:
            whole(cur.execute("EXECUTE by_name(1)", prepare=False))
        conn.execute("DEALLOCATE by_name")
    ok("masked_by_name")

    described = conn.execute("SELECT * FROM driver_masked LIMIT 0").description
    names, oids = [column.name for column in described], [column.type_code for column in described]
    for form in ["", " (FORMAT BINARY)"]:
        for what in ["driver_masked", "(" + ALL + ")"]:
            with conn.cursor().copy(f"COPY {what} TO STDOUT{form}") as copy:
                copy.set_types(oids)
                whole(dict(zip(names, row)) for row in copy.rows())
    with conn.cursor().copy("COPY driver_masked TO STDOUT (FORMAT CSV, HEADER, FORCE_QUOTE *)") as copy:
        data = b"".join(copy).decode()
    assert data.count("\n") == 102 and data.startswith("id,c_text") and '"****"' in data, data[:500]
    assert "rawtext" not in data and "7755" not in data, data[:500]
    ok("masked_copy")

    with conn.pipeline():
        cursors = [conn.execute("SELECT * FROM driver_masked WHERE id = %s", (i,)) for i in range(1, 60)]
        for cur in cursors:
            check(cur.fetchone())
    ok("masked_pipeline")

    try:
        conn.execute("SELECT upper(r_text) FROM driver_masked WHERE r_text = 'rawtext'")
    except psycopg.Error as error:
        assert error.sqlstate == "42501" and "r_text" in str(error), error
    else:
        raise AssertionError("a filter on a masked column")
    whole(conn.execute(ALL))
    ok("masked_refused")
print("done", passed)
