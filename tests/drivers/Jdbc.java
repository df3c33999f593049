// The PostgreSQL JDBC driver: extended protocol, binary after some uses, batches, its own COPY and notification calls.
import java.io.*;
import java.math.BigDecimal;
import java.nio.charset.StandardCharsets;
import java.sql.*;
import java.time.OffsetDateTime;
import java.util.*;
import org.postgresql.PGConnection;
import org.postgresql.copy.CopyManager;

public class Jdbc {
    static int passed;

    static void ok(String name) {
        passed++;
        System.out.println("ok " + name);
    }

    static void check(boolean holds, Object what) {
        if (!holds) throw new AssertionError(String.valueOf(what));
    }

    interface Work {
        void run() throws Exception;
    }

    static void fails(String state, Work work) throws Exception {
        try {
            work.run();
        } catch (SQLException error) {
            SQLException last = error.getNextException() != null ? error.getNextException() : error;
            check(state.equals(last.getSQLState()), last);
            return;
        }
        throw new AssertionError("expected " + state);
    }

    static Connection connect(String... options) throws SQLException {
        Map<String, String> env = System.getenv();
        Properties properties = new Properties();
        properties.put("user", env.get("PGUSER"));
        properties.put("password", env.get("PGPASSWORD"));
        properties.put("sslmode", env.get("PGSSLMODE"));
        if (env.containsKey("PGSSLROOTCERT")) properties.put("sslrootcert", env.get("PGSSLROOTCERT"));
        for (int i = 0; i < options.length; i += 2) properties.put(options[i], options[i + 1]);
        return DriverManager.getConnection("jdbc:postgresql://" + env.get("PGHOST") + ":" + env.get("PGPORT") + "/" + env.get("PGDATABASE"), properties);
    }

    static Object one(Connection conn, String query, Object... values) throws SQLException {
        try (PreparedStatement statement = conn.prepareStatement(query)) {
            for (int i = 0; i < values.length; i++) statement.setObject(i + 1, values[i]);
            try (ResultSet rows = statement.executeQuery()) {
                rows.next();
                return rows.getObject(1);
            }
        }
    }

    static void types(Connection conn) throws SQLException {
        byte[] bytes = new byte[256];
        for (int i = 0; i < 256; i++) bytes[i] = (byte) i;
        check(one(conn, "SELECT ?::int", -7).equals(-7), "int");
        check(one(conn, "SELECT ?::bigint", 1L << 40).equals(1L << 40), "bigint");
        BigDecimal number = new BigDecimal("12345678901234567890.123456789");
        check(one(conn, "SELECT ?::numeric", number).equals(number), "numeric");
        check(one(conn, "SELECT ?::text", "naïve ☃ 'quoted'").equals("naïve ☃ 'quoted'"), "text");
        check(Arrays.equals((byte[]) one(conn, "SELECT ?::bytea", bytes), bytes), "bytea");
        OffsetDateTime time = OffsetDateTime.parse("2026-01-02T03:04:05.678901Z");
        check(((Timestamp) one(conn, "SELECT ?::timestamptz", time)).toInstant().equals(time.toInstant()), "timestamptz");
        UUID uuid = UUID.fromString("6b1f0f0e-0000-4000-8000-000000000002");
        check(one(conn, "SELECT ?::uuid", uuid).equals(uuid), "uuid");
        check(one(conn, "SELECT ?::json", "{\"a\": [1, null]}").toString().equals("{\"a\": [1, null]}"), "json");
        Array array = conn.createArrayOf("int4", new Object[] {1, null, 3});
        Object[] back = (Object[]) ((Array) one(conn, "SELECT ?::int[]", array)).getArray();
        check(Arrays.equals(back, new Object[] {1, null, 3}), Arrays.toString(back));
        check(one(conn, "SELECT ?::bool", true).equals(true), "bool");
        check(one(conn, "SELECT ?::text", (Object) null) == null, "null");
    }

    public static void main(String[] arguments) throws Exception {
        try (Connection conn = connect("binaryTransfer", "false"); Statement statement = conn.createStatement()) {
            statement.execute("DELETE FROM driver_scenario");
            types(conn);
            ok("types_text");
        }
        // A threshold of -1 asks for binary results from the first execution on.
        try (Connection conn = connect("prepareThreshold", "-1"); Connection other = connect(); Statement statement = conn.createStatement()) {
            types(conn);
            ok("types_binary");

            try (PreparedStatement reused = other.prepareStatement("SELECT 10 / ?::int")) { // named from the fifth use on
                for (int i = 1; i < 20; i++) {
                    reused.setInt(1, i);
                    ResultSet rows = reused.executeQuery();
                    check(rows.next() && rows.getInt(1) == 10 / i, i);
                }
                reused.setInt(1, 0);
                fails("22012", reused::executeQuery);
                reused.setInt(1, 5);
                check(reused.executeQuery().next(), "after an error");
            }
            ok("prepared_reuse");

            CopyManager copy = conn.unwrap(PGConnection.class).getCopyAPI();
            StringBuilder rows = new StringBuilder();
            for (int i = 0; i < 5000; i++) rows.append(i).append("\trow\\t").append(i).append("\t\\\\x00ff\n");
            check(copy.copyIn("COPY driver_scenario FROM STDIN", new StringReader(rows.toString())) == 5000, "rows");
            ok("copy_in");
            ByteArrayOutputStream out = new ByteArrayOutputStream();
            check(copy.copyOut("COPY (SELECT * FROM driver_scenario ORDER BY id) TO STDOUT", out) == 5000, "rows");
            check(out.toString(StandardCharsets.UTF_8).equals(rows.toString()), "what came back is what was sent");
            ok("copy_out");
            fails("22P02", () -> copy.copyIn("COPY driver_scenario FROM STDIN", new StringReader("9000\tx\t\\N\nno number\tx\t\\N\n")));
            check(one(conn, "SELECT count(*) FROM driver_scenario").equals(5000L), "nothing was kept");
            ok("copy_error");

            Thread canceller = new Thread(() -> {
                try {
                    // Not just active: a cancel that arrives between Parse and Execute is lost, by design of the server.
                    while ((Long) one(other, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()") == 0);
                    statement.cancel();
                } catch (SQLException error) {
                    error.printStackTrace();
                }
            });
            canceller.start();
            fails("57014", () -> statement.execute("SELECT pg_sleep(301)"));
            canceller.join();
            check(one(conn, "SELECT 1").equals(1), "the session goes on");
            ok("cancel");

            statement.execute("LISTEN driver_scenario");
            other.createStatement().execute("NOTIFY driver_scenario, 'hello'");
            var heard = conn.unwrap(PGConnection.class).getNotifications(60_000);
            check(heard.length == 1 && heard[0].getParameter().equals("hello"), heard.length);
            statement.execute("UNLISTEN *");
            ok("listen_notify");

            try (PreparedStatement batch = conn.prepareStatement("UPDATE driver_scenario SET name = ? WHERE id = ?")) {
                for (int i = 0; i < 500; i++) {
                    batch.setString(1, "piped");
                    batch.setInt(2, i);
                    batch.addBatch();
                }
                check(Arrays.stream(batch.executeBatch()).allMatch(count -> count == 1), "one row each");
            }
            try (PreparedStatement batch = conn.prepareStatement("SELECT 1 / ?::int")) {
                for (int value : new int[] {1, 0, 1}) {
                    batch.setInt(1, value);
                    batch.addBatch();
                }
                fails("22012", batch::executeBatch);
            }
            ok("pipelining");

            byte[] big = new byte[8 << 20];
            for (int i = 0; i < big.length; i++) big[i] = (byte) i;
            try (PreparedStatement insert = conn.prepareStatement("INSERT INTO driver_scenario VALUES (-1, 'big', ?)")) {
                insert.setBytes(1, big);
                insert.executeUpdate();
            }
            check(Arrays.equals((byte[]) one(conn, "SELECT payload FROM driver_scenario WHERE id = -1"), big), "8 MiB");
            ok("large_values");

            conn.setAutoCommit(false);
            try (PreparedStatement parts = conn.prepareStatement("SELECT generate_series(1, 250)")) {
                parts.setFetchSize(100); // a named portal and three Executes
                ResultSet set = parts.executeQuery();
                int sum = 0;
                while (set.next()) sum += set.getInt(1);
                check(sum == 31375, sum);
            }
            ok("portals");

            statement.execute("DELETE FROM driver_scenario");
            statement.execute("INSERT INTO driver_scenario VALUES (1, 'kept')");
            Savepoint savepoint = conn.setSavepoint();
            statement.execute("INSERT INTO driver_scenario VALUES (2, 'lost')");
            fails("23505", () -> statement.execute("INSERT INTO driver_scenario VALUES (1, 'duplicate')"));
            conn.rollback(savepoint);
            statement.execute("INSERT INTO driver_scenario VALUES (3, 'kept')");
            conn.commit();
            check(one(conn, "SELECT array_agg(id ORDER BY id)::text FROM driver_scenario").equals("{1,3}"), "savepoints");
            ok("savepoints");

            fails("22012", () -> one(conn, "SELECT 1 / ?::int", 0));
            fails("25P02", () -> one(conn, "SELECT 1"));
            conn.rollback();
            check(one(conn, "SELECT 1").equals(1), "after rollback");
            conn.setAutoCommit(true);
            ok("error_in_transaction");

            try (Connection simple = connect("preferQueryMode", "simple"); Statement several = simple.createStatement()) {
                check(several.execute("SELECT 1; SELECT 'two'; DELETE FROM driver_scenario WHERE id = 1"), "a result set first");
                check(several.getMoreResults() && !several.getMoreResults() && several.getUpdateCount() == 1, "then one more, then a count");
            }
            ok("multi_statement");
        }
        System.out.println("done " + passed);
    }
}
