// pgx v4: binary formats, statements prepared on first use and cached.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"time"

	"github.com/jackc/pgconn"
	"github.com/jackc/pgx/v4"
)

var (
	ctx    = context.Background()
	passed int
)

func ok(name string) {
	passed++
	fmt.Println("ok", name)
}

func check(holds bool, what ...interface{}) {
	if !holds {
		panic(fmt.Sprint(what...))
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func fails(state string, err error) {
	var answer *pgconn.PgError
	check(errors.As(err, &answer) && answer.Code == state, "expected ", state, ", got ", err)
}

func connect() *pgx.Conn {
	conn, err := pgx.Connect(ctx, "") // everything from PG*
	must(err)
	return conn
}

func types(conn *pgx.Conn, options ...interface{}) {
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	values := []struct {
		kind  string
		value interface{}
	}{
		{"int", int32(-7)}, {"bigint", int64(1) << 40}, {"text", "naïve ☃ 'quoted'"}, {"bytea", all}, {"boolean", true},
		{"timestamptz", time.Date(2026, 1, 2, 3, 4, 5, 678901000, time.UTC)}, {"float8", 0.1}, {"int[]", []int32{1, 2, 3}},
		{"text[]", []string{`a,"b`, "{}"}}, {"numeric", "12345678901234567890.123456789"}, {"uuid", "6b1f0f0e-0000-4000-8000-000000000002"},
		{"jsonb", `{"a": [1, null]}`},
	}
	for _, v := range values {
		got := reflect.New(reflect.TypeOf(v.value))
		query := "SELECT $1::" + v.kind
		if reflect.TypeOf(v.value).Kind() == reflect.String {
			query = "SELECT $1::text::" + v.kind + "::text"
		}
		must(conn.QueryRow(ctx, query, append(append([]interface{}{}, options...), v.value)...).Scan(got.Interface()))
		value := got.Elem().Interface()
		if at, is := value.(time.Time); is {
			value = at.UTC()
		}
		check(reflect.DeepEqual(value, v.value), v.kind, ": ", value)
	}
	var none *string
	must(conn.QueryRow(ctx, "SELECT $1::text", append(append([]interface{}{}, options...), nil)...).Scan(&none))
	check(none == nil, "null")
}

func main() {
	conn, other := connect(), connect()
	number := func(query string, arguments ...interface{}) (n int) {
		must(conn.QueryRow(ctx, query, arguments...).Scan(&n))
		return
	}
	exec := func(query string, arguments ...interface{}) error {
		_, err := conn.Exec(ctx, query, arguments...)
		return err
	}
	must(exec("DELETE FROM driver_scenario"))
	types(conn, pgx.QuerySimpleProtocol(true))
	ok("types_text")
	types(conn)
	ok("types_binary")

	_, err := conn.Prepare(ctx, "reused", "SELECT 10 / $1::int")
	must(err)
	for i := 1; i < 20; i++ {
		check(number("reused", i) == 10/i, i)
	}
	var n int
	fails("22012", conn.QueryRow(ctx, "reused", 0).Scan(&n))
	check(number("reused", 5) == 2)
	must(conn.Deallocate(ctx, "reused"))
	ok("prepared_reuse")

	rows := [][]interface{}{}
	for i := 0; i < 5000; i++ {
		rows = append(rows, []interface{}{i, fmt.Sprintf("row\t%d", i), []byte{0, 255}})
	}
	columns := []string{"id", "name", "payload"}
	_, err = conn.CopyFrom(ctx, pgx.Identifier{"driver_scenario"}, columns, pgx.CopyFromRows(rows)) // binary
	must(err)
	check(number("SELECT count(*) FROM driver_scenario WHERE name = E'row\\t' || id") == 5000, "copied")
	_, err = conn.PgConn().CopyFrom(ctx, strings.NewReader("9000\ttext\t\\N\n"), "COPY driver_scenario FROM STDIN")
	must(err)
	ok("copy_in")
	var out bytes.Buffer
	_, err = conn.PgConn().CopyTo(ctx, &out, "COPY (SELECT id FROM driver_scenario ORDER BY id) TO STDOUT")
	must(err)
	check(strings.HasPrefix(out.String(), "0\n1\n2\n") && strings.HasSuffix(out.String(), "\n9000\n"), "copied out")
	ok("copy_out")
	_, err = conn.CopyFrom(ctx, pgx.Identifier{"driver_scenario"}, columns, pgx.CopyFromRows([][]interface{}{{9001, "x", nil}, {7, "twice", nil}}))
	fails("23505", err)
	check(number("SELECT count(*) FROM driver_scenario") == 5001, "nothing was kept")
	ok("copy_error")

	done := make(chan error)
	go func() {
		_, err := other.PgConn().Exec(ctx, "SELECT pg_sleep(301)").ReadAll()
		done <- err
	}()
	// Not just active: a cancel that arrives between Parse and Execute is lost, by design of the server.
	for number("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()") == 0 {
	}
	must(other.PgConn().CancelRequest(ctx))
	fails("57014", <-done)
	must(other.Ping(ctx))
	ok("cancel")

	must(exec("LISTEN driver_scenario"))
	_, err = other.Exec(ctx, "SELECT pg_notify('driver_scenario', $1)", "hello")
	must(err)
	notice, err := conn.WaitForNotification(ctx)
	must(err)
	check(notice.Channel == "driver_scenario" && notice.Payload == "hello", notice)
	must(exec("UNLISTEN *"))
	ok("listen_notify")

	batch := &pgx.Batch{}
	for i := 0; i < 200; i++ {
		batch.Queue("SELECT $1::int", i)
	}
	results := conn.SendBatch(ctx, batch)
	for i := 0; i < 200; i++ {
		must(results.QueryRow().Scan(&n))
		check(n == i, n)
	}
	must(results.Close())
	batch = &pgx.Batch{}
	for _, divisor := range []int{1, 0, 1} {
		batch.Queue("SELECT 1 / $1::int", divisor)
	}
	results = conn.SendBatch(ctx, batch)
	must(results.QueryRow().Scan(&n))
	fails("22012", results.QueryRow().Scan(&n))
	check(results.QueryRow().Scan(&n) != nil, "what follows an error is skipped up to the Sync")
	results.Close()
	ok("pipelining")

	big := bytes.Repeat([]byte("0123456789abcdef"), 8<<16)
	must(exec("INSERT INTO driver_scenario VALUES (-1, 'big', $1)", big))
	var back []byte
	must(conn.QueryRow(ctx, "SELECT payload FROM driver_scenario WHERE id = -1").Scan(&back))
	check(bytes.Equal(back, big), "8 MiB")
	ok("large_values")

	must(exec("DELETE FROM driver_scenario"))
	must(conn.BeginFunc(ctx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, "INSERT INTO driver_scenario VALUES ($1, 'kept')", 1)
		must(err)
		fails("23505", tx.BeginFunc(ctx, func(inner pgx.Tx) error { // a savepoint
			_, err := inner.Exec(ctx, "INSERT INTO driver_scenario VALUES ($1, 'duplicate')", 1)
			return err
		}))
		_, err = tx.Exec(ctx, "INSERT INTO driver_scenario VALUES ($1, 'kept')", 3)
		return err
	}))
	check(number("SELECT sum(id) FROM driver_scenario") == 4, "savepoints")
	ok("savepoints")

	must(exec("BEGIN"))
	fails("22012", exec("SELECT 1 / $1::int", 0))
	fails("25P02", exec("SELECT $1::int", 1))
	check(conn.PgConn().TxStatus() == 'E', "the transaction has failed")
	must(exec("ROLLBACK"))
	check(number("SELECT 1") == 1)
	ok("error_in_transaction")

	several, err := conn.PgConn().Exec(ctx, "SELECT 1; SELECT 'two'; DELETE FROM driver_scenario WHERE id = 1").ReadAll()
	must(err)
	check(len(several) == 3 && string(several[1].Rows[0][0]) == "two" && several[2].CommandTag.RowsAffected() == 1, several)
	ok("multi_statement")
	must(other.Close(ctx))
	must(conn.Close(ctx))
	fmt.Println("done", passed)
	os.Exit(0)
}
