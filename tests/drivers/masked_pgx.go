// pgx v4 reads masked columns, in binary and text: every value decodes, none is raw.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"

	"github.com/jackc/pgconn"
	"github.com/jackc/pgx/v4"
)

const all = "SELECT * FROM driver_masked ORDER BY id"

var (
	ctx    = context.Background()
	passed int
	hashes = map[string]string{}
	texts  = strings.Fields("r_text r_varchar r_bpchar r_citext r_domain")
	nulls  = strings.Fields("r_int r_bigint r_numeric r_float r_bool r_date r_timestamptz r_interval r_uuid r_inet r_mood r_pair r_range r_texts r_ints r_uuids r_bytea h_int n_text")
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

func whole(rows pgx.Rows, err error) {
	must(err)
	count := 0
	for ; rows.Next(); count++ {
		values, err := rows.Values()
		must(err)
		row := map[string]interface{}{}
		for i, field := range rows.FieldDescriptions() {
			row[string(field.Name)] = values[i]
		}
		if row["id"] == int32(101) {
			for name, value := range row {
				check(name == "id" || value == nil, name, value)
			}
			continue
		}
		check(row["c_text"] == "clear" && row["c_int"] == int32(7), row)
		for _, name := range texts {
			check(row[name] == "****", name, " ", row[name])
		}
		for _, name := range nulls {
			check(row[name] == nil, name, " ", row[name])
		}
		check(row["r_json"] == "****" && row["r_jsonb"] == "****", row)
		twenty := regexp.MustCompile("^[0-9a-f]{20}$")
		check(twenty.MatchString(row["h_text"].(string)) && twenty.MatchString(row["h_jsonb"].(string)), row)
		check(row["h_uuid"].([16]byte)[6]>>4 == 8, row)
		for _, name := range []string{"h_text", "h_uuid", "h_jsonb"} {
			value := fmt.Sprint(row[name])
			if before, seen := hashes[name]; seen {
				check(before == value, name)
			}
			hashes[name] = value
		}
		check(row["l_card"] == "************7259" && row["e_mail"] == "r***@mask.example" && row["p_code"] == "XXX-53", row)
	}
	must(rows.Err())
	check(count == 101, count)
}

func main() {
	conn, err := pgx.Connect(ctx, "") // everything from PG*
	must(err)
	whole(conn.Query(ctx, all, pgx.QuerySimpleProtocol(true)))
	whole(conn.Query(ctx, "SELECT * FROM driver_masked WHERE id >= $1", pgx.QuerySimpleProtocol(true), 1))
	ok("masked_simple")
	whole(conn.Query(ctx, all))
	for _, start := range []int{1, 0} { // prepared on first use, then cached
		whole(conn.Query(ctx, "SELECT * FROM driver_masked WHERE id >= $1", start))
	}
	ok("masked_binary")

	batch := &pgx.Batch{}
	for i := 0; i < 20; i++ {
		batch.Queue("SELECT r_text, r_int, l_card FROM driver_masked WHERE id = $1", i+1)
	}
	results := conn.SendBatch(ctx, batch)
	for i := 0; i < 20; i++ {
		var text, card string
		var number *int
		must(results.QueryRow().Scan(&text, &number, &card))
		check(text == "****" && number == nil && card == "************7259", text, number, card)
	}
	must(results.Close())
	ok("masked_pipeline")

	must(conn.BeginFunc(ctx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, "DECLARE by_hand CURSOR FOR "+all)
		must(err)
		whole(tx.Query(ctx, "FETCH ALL FROM by_hand"))
		return nil
	}))
	ok("masked_cursor")

	for _, form := range []string{"", " (FORMAT CSV)", " (FORMAT BINARY)"} {
		for _, what := range []string{"driver_masked", "(" + all + ")"} {
			var out bytes.Buffer
			tag, err := conn.PgConn().CopyTo(ctx, &out, "COPY "+what+" TO STDOUT"+form)
			must(err)
			check(tag.RowsAffected() == 101, tag)
			data := out.String()
			check(strings.Contains(data, "************7259") && !strings.Contains(data, "rawtext") && !strings.Contains(data, "7755"), data)
		}
	}
	ok("masked_copy")

	var id int
	err = conn.QueryRow(ctx, "SELECT id FROM driver_masked WHERE r_text = $1", "rawtext").Scan(&id)
	var refused *pgconn.PgError
	check(errors.As(err, &refused) && refused.Code == "42501" && strings.Contains(refused.Message, "r_text"), err)
	whole(conn.Query(ctx, all))
	ok("masked_refused")
	must(conn.Close(ctx))
	fmt.Println("done", passed)
	os.Exit(0)
}
