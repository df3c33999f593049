// The PostgreSQL JDBC driver reads masked columns, in text and binary: every value decodes, none is raw.
import java.io.*;
import java.math.BigDecimal;
import java.nio.charset.StandardCharsets;
import java.sql.*;
import java.util.*;
import org.postgresql.PGConnection;
import org.postgresql.copy.CopyManager;

public class MaskedJdbc {
    static final String ALL = "SELECT * FROM driver_masked ORDER BY id";
    static final String[] TEXTS = "r_text r_varchar r_bpchar r_citext r_domain".split(" ");
    static final String[] NULLS = "r_int r_bigint r_numeric r_float r_bool r_date r_timestamptz r_interval r_uuid r_inet r_mood r_pair r_range r_texts r_ints r_uuids r_bytea h_int n_text".split(" ");
    static final Map<String, String> hashes = new HashMap<>();
    static int passed;

    static void ok(String name) {
        passed++;
        System.out.println("ok " + name);
    }

    static void check(boolean holds, Object what) {
        if (!holds) throw new AssertionError(String.valueOf(what));
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

    static void row(ResultSet rows) throws SQLException {
        if (rows.getInt("id") == 101) {
            for (int i = 2; i <= rows.getMetaData().getColumnCount(); i++) check(rows.getObject(i) == null, i);
            return;
        }
        check(rows.getString("c_text").equals("clear") && rows.getInt("c_int") == 7, "clear");
        check(rows.getBigDecimal("c_numeric").equals(new BigDecimal("1.50")), "clear");
        for (String name : TEXTS) check("****".equals(rows.getString(name)), name + " " + rows.getString(name));
        for (String name : NULLS) check(rows.getObject(name) == null, name);
        check(rows.getInt("r_int") == 0 && rows.wasNull() && rows.getTimestamp("r_timestamptz") == null && rows.getArray("r_texts") == null, "typed");
        check(rows.getString("r_json").equals("\"****\"") && rows.getObject("r_jsonb").toString().equals("\"****\""), "json");
        check(rows.getString("h_text").matches("[0-9a-f]{20}") && rows.getString("h_jsonb").matches("\"[0-9a-f]{20}\""), "hash");
        check(((UUID) rows.getObject("h_uuid")).version() == 8, "uuid");
        for (String name : new String[] {"h_text", "h_uuid", "h_jsonb"}) {
            String value = rows.getObject(name).toString();
            check(hashes.merge(name, value, (before, now) -> before).equals(value), name);
        }
        check(rows.getString("l_card").equals("************7259"), "last4");
        check(rows.getString("e_mail").equals("r***@mask.example") && rows.getString("p_code").equals("XXX-53"), "email, pattern");
    }

    static void whole(ResultSet rows) throws SQLException {
        int count = 0;
        for (; rows.next(); count++) row(rows);
        check(count == 101, count);
    }

    static void prepared(Connection conn) throws SQLException {
        try (PreparedStatement statement = conn.prepareStatement("SELECT * FROM driver_masked WHERE id >= ?")) {
            for (int i = 0; i < 7; i++) { // named from the fifth use on, and binary where the driver may choose
                statement.setInt(1, i % 2);
                whole(statement.executeQuery());
            }
        }
    }

    public static void main(String[] arguments) throws Exception {
        try (Connection conn = connect("binaryTransfer", "false"); Statement statement = conn.createStatement()) {
            whole(statement.executeQuery(ALL));
            prepared(conn);
            ok("masked_text");
        }
        try (Connection conn = connect("prepareThreshold", "-1"); Statement statement = conn.createStatement()) {
            whole(statement.executeQuery(ALL));
            prepared(conn);
            ok("masked_binary");

            conn.setAutoCommit(false);
            try (PreparedStatement parts = conn.prepareStatement(ALL)) {
                parts.setFetchSize(40);
                whole(parts.executeQuery());
            }
            conn.setAutoCommit(true);
            ok("masked_cursor");

            CopyManager copy = conn.unwrap(PGConnection.class).getCopyAPI();
            for (String form : new String[] {"", " (FORMAT CSV)", " (FORMAT BINARY)"}) {
                for (String what : new String[] {"driver_masked", "(" + ALL + ")"}) {
                    ByteArrayOutputStream out = new ByteArrayOutputStream();
                    check(copy.copyOut("COPY " + what + " TO STDOUT" + form, out) == 101, "rows");
                    String data = out.toString(StandardCharsets.ISO_8859_1);
                    check(data.contains("****") && data.contains("************7259"), data);
                    check(!data.contains("rawtext") && !data.contains("7755"), data);
                }
            }
            ok("masked_copy");

            DatabaseMetaData catalog = conn.getMetaData();
            try (ResultSet columns = catalog.getColumns(null, "public", "driver_masked", null)) {
                int count = 0;
                while (columns.next()) count++;
                check(count == 36, count);
            } catch (SQLException refused) {
                // A grant for one table does not read the catalog.
                check("42501".equals(refused.getSQLState()), refused);
            }

            try {
                statement.executeQuery("SELECT id FROM driver_masked WHERE r_text = 'rawtext'");
                throw new AssertionError("a filter on a masked column");
            } catch (SQLException refused) {
                check("42501".equals(refused.getSQLState()) && refused.getMessage().contains("r_text"), refused);
            }
            whole(statement.executeQuery(ALL));
            ok("masked_refused");
        }
        try (Connection conn = connect("preferQueryMode", "simple"); Statement statement = conn.createStatement()) {
            whole(statement.executeQuery(ALL));
            prepared(conn);
            ok("masked_simple");
        }
        System.out.println("done " + passed);
    }
}
