//! The scenario of `tests/drivers` in Rust: tokio-postgres.

use std::{
    pin::pin,
    time::{Duration, SystemTime},
};

use futures_util::{SinkExt as _, StreamExt as _, TryStreamExt as _, future::poll_fn, future::try_join_all};
use portcullis_testkit::drivers::{DriverTarget, SCHEMA};
use tokio_postgres::{
    AsyncMessage, Client, Error, SimpleQueryMessage,
    binary_copy::{BinaryCopyInWriter, BinaryCopyOutStream},
    error::SqlState,
    types::Type,
};

use super::{
    Setup, Stage, client,
    drivers::{JUDGED, VAULT, VAULT_MASKS},
};

#[tokio::test]
async fn driver_tokio_postgres_through_the_gateway() {
    let connections: &[(&str, &str)] = &[("open", "'*:*'"), ("judged", JUDGED), ("masked", JUDGED)];
    let sql = format!("{SCHEMA}\n{VAULT}");
    let stage = Stage::start(Setup { connections, sql: &sql, policy: VAULT_MASKS, ..Setup::default() }).await;
    let token = stage.token().await;
    for connection in ["open", "judged", "masked"] {
        scenario(&stage.target(connection, &token)).await;
    }
}

/// The whole scenario.
pub async fn scenario(target: &DriverTarget) {
    let mut client = client::connect(target).await.unwrap();
    client.execute("DELETE FROM driver_scenario", &[]).await.unwrap();
    types(&client).await;
    prepared(&client).await;
    copy(&client).await;
    cancel(&client, target).await;
    listen(&client, target).await;
    pipelining(&client).await;
    large_values(&client).await;
    portals(&mut client).await;
    transactions(&mut client).await;
    several(&client).await;
}

#[track_caller]
fn fails<T>(result: Result<T, Error>, state: &SqlState) {
    let error = result.err().expect("an error");
    assert_eq!(error.code(), Some(state), "{error:?}");
}

async fn types(client: &Client) {
    let bytes: Vec<u8> = (0..=255).collect();
    let at = SystemTime::UNIX_EPOCH + Duration::new(1_767_323_045, 678_901_000);
    let query = "SELECT $1::int, $2::bigint, $3::text, $4::bytea, $5::timestamptz, $6::boolean, $7::float8, $8::int[], $9::text[], $10::text";
    let lists = (vec![Some(1), None, Some(3)], vec![r#"a,"b"#, "{}"]);
    let text = "naïve ☃ 'quoted'";
    let row = client
        .query_one(
            query,
            &[
                &-7_i32,
                &(1_i64 << 40),
                &text,
                &bytes,
                &at,
                &true,
                &0.1_f64,
                &lists.0,
                &lists.1,
                &None::<&str>,
            ],
        )
        .await
        .unwrap();
    assert_eq!((row.get(0), row.get(1), row.get(2)), (-7_i32, 1_i64 << 40, text));
    assert_eq!((row.get::<_, Vec<u8>>(3), row.get(4), row.get(5), row.get(6)), (bytes, at, true, 0.1_f64));
    assert_eq!((row.get(7), row.get(8)), lists);
    assert_eq!(row.get::<_, Option<&str>>(9), None);
    // The simple protocol answers in text.
    let answers = client
        .simple_query(r"SELECT -7, '\x00ff'::bytea, ARRAY[1, NULL, 3], NULL, 1.50::numeric, true")
        .await
        .unwrap();
    let row = answers.iter().find_map(|answer| match answer {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let row = row.unwrap();
    let cells: Vec<_> = (0..row.len()).map(|at| row.get(at)).collect();
    assert_eq!(cells, [Some("-7"), Some("\\x00ff"), Some("{1,NULL,3}"), None, Some("1.50"), Some("t")]);
}

async fn prepared(client: &Client) {
    let divide = client.prepare("SELECT 10 / $1::int").await.unwrap();
    for by in 1..20 {
        assert_eq!(client.query_one(&divide, &[&by]).await.unwrap().get::<_, i32>(0), 10 / by);
    }
    fails(client.query_one(&divide, &[&0]).await, &SqlState::DIVISION_BY_ZERO);
    assert_eq!(client.query_one(&divide, &[&5]).await.unwrap().get::<_, i32>(0), 2);
}

async fn copy(client: &Client) {
    let mut into = pin!(client.copy_in("COPY driver_scenario (id, name) FROM STDIN").await.unwrap());
    for id in 0..5000 {
        into.send(bytes(format!("{id}\trow\\t{id}\n"))).await.unwrap();
    }
    assert_eq!(into.finish().await.unwrap(), 5000);
    let into = client.copy_in("COPY driver_scenario FROM STDIN (FORMAT BINARY)").await.unwrap();
    let mut writer = pin!(BinaryCopyInWriter::new(into, &[Type::INT4, Type::TEXT, Type::BYTEA]));
    for id in 5000..6000 {
        writer.as_mut().write(&[&id, &"binary", &[0_u8, 255].as_slice()]).await.unwrap();
    }
    assert_eq!(writer.finish().await.unwrap(), 1000);

    let out =
        client.copy_out("COPY (SELECT id, name FROM driver_scenario ORDER BY id) TO STDOUT").await.unwrap();
    let chunks: Vec<_> = out.try_collect().await.unwrap();
    assert_eq!((chunks.len(), &*chunks[7]), (6000, b"7\trow\\t7\n".as_slice()));
    let out = client.copy_out("COPY driver_scenario TO STDOUT (FORMAT BINARY)").await.unwrap();
    let rows = BinaryCopyOutStream::new(out, &[Type::INT4, Type::TEXT, Type::BYTEA]);
    assert_eq!(rows.try_collect::<Vec<_>>().await.unwrap().len(), 6000);

    let mut into = pin!(client.copy_in("COPY driver_scenario (id, name) FROM STDIN").await.unwrap());
    into.send(bytes("10000\tfine\nnot a number\tx\n".to_owned())).await.unwrap();
    fails(into.finish().await, &SqlState::INVALID_TEXT_REPRESENTATION);
    {
        let mut given_up = pin!(client.copy_in("COPY driver_scenario (id, name) FROM STDIN").await.unwrap());
        given_up.send(bytes("10001\tx\n".to_owned())).await.unwrap();
    }
    assert_eq!(count(client).await, 6000);
}

fn bytes(text: String) -> bytes::Bytes {
    text.into()
}

async fn count(client: &Client) -> i64 {
    client.query_one("SELECT count(*) FROM driver_scenario", &[]).await.unwrap().get(0)
}

async fn cancel(client: &Client, target: &DriverTarget) {
    let token = client.cancel_token();
    let other = client::connect(target).await.unwrap();
    let stop = async {
        let asleep = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()";
        while other.query_one(asleep, &[]).await.unwrap().get::<_, i64>(0) == 0 {}
        token.cancel_query(client::tls(target)).await.unwrap();
    };
    let (slept, ()) = tokio::join!(client.execute("SELECT pg_sleep(301)", &[]), stop);
    fails(slept, &SqlState::QUERY_CANCELED);
    // The server signals a process and its group, one after the other, and this driver does not wait for the end of that.
    let mut after = client.query_one("SELECT 1", &[]).await;
    if after.as_ref().is_err_and(|error| error.code() == Some(&SqlState::QUERY_CANCELED)) {
        after = client.query_one("SELECT 1", &[]).await;
    }
    assert_eq!(after.unwrap().get::<_, i32>(0), 1);
}

async fn listen(client: &Client, target: &DriverTarget) {
    let (listener, mut connection) = client::open(target).await.unwrap();
    let heard = tokio::spawn(async move {
        while let Some(message) = poll_fn(|cx| connection.poll_message(cx)).await {
            if let AsyncMessage::Notification(heard) = message.unwrap() {
                return (heard.channel().to_owned(), heard.payload().to_owned());
            }
        }
        panic!("the session ended");
    });
    listener.batch_execute("LISTEN driver_scenario").await.unwrap();
    client.execute("SELECT pg_notify('driver_scenario', $1)", &[&"hello"]).await.unwrap();
    assert_eq!(heard.await.unwrap(), ("driver_scenario".to_owned(), "hello".to_owned()));
}

async fn pipelining(client: &Client) {
    // Futures polled together are sent together.
    let add = client.prepare("SELECT $1::int + 1").await.unwrap();
    let answers = try_join_all((0..200).map(|n| {
        let add = &add;
        async move { client.query_one(add, &[&n]).await }
    }));
    let sums: Vec<i32> = answers.await.unwrap().iter().map(|row| row.get(0)).collect();
    assert_eq!(sums, (1..=200).collect::<Vec<_>>());
    let divide = client.prepare("SELECT 1 / $1::int").await.unwrap();
    let one = async |by: i32| client.query_one(&divide, &[&by]).await;
    let (first, second, third) = tokio::join!(one(1), one(0), one(1));
    assert!(first.is_ok() && third.is_ok(), "each has a Sync of its own");
    fails(second, &SqlState::DIVISION_BY_ZERO);
}

async fn large_values(client: &Client) {
    let big: Vec<u8> = (0..8 << 20).map(|at: u32| at.to_le_bytes()[0]).collect();
    client.execute("INSERT INTO driver_scenario VALUES (-1, 'big', $1)", &[&big]).await.unwrap();
    let row = client.query_one("SELECT payload FROM driver_scenario WHERE id = -1", &[]).await.unwrap();
    assert!(row.get::<_, &[u8]>(0) == big, "8 MiB in and out");
}

async fn portals(client: &mut Client) {
    let transaction = client.transaction().await.unwrap();
    let portal = transaction.bind("SELECT generate_series(1, 250)", &[]).await.unwrap();
    let mut parts = Vec::new();
    for _ in 0..4 {
        parts.push(transaction.query_portal(&portal, 100).await.unwrap().len());
    }
    assert_eq!(parts, [100, 100, 50, 0]);
    transaction.commit().await.unwrap();
    let mut rows =
        pin!(client.query_raw("SELECT generate_series(1, 100000)", Vec::<i32>::new()).await.unwrap());
    assert!(rows.next().await.unwrap().is_ok(), "the rest is dropped unread");
}

async fn transactions(client: &mut Client) {
    client.execute("DELETE FROM driver_scenario", &[]).await.unwrap();
    let mut outer = client.transaction().await.unwrap();
    outer.execute("INSERT INTO driver_scenario VALUES (1, 'kept')", &[]).await.unwrap();
    let inner = outer.savepoint("within").await.unwrap();
    inner.execute("INSERT INTO driver_scenario VALUES (2, 'lost')", &[]).await.unwrap();
    fails(
        inner.execute("INSERT INTO driver_scenario VALUES (1, 'again')", &[]).await,
        &SqlState::UNIQUE_VIOLATION,
    );
    inner.rollback().await.unwrap();
    outer.execute("INSERT INTO driver_scenario VALUES ($1, $2)", &[&3, &"kept"]).await.unwrap();
    outer.commit().await.unwrap();
    let rows = client.query("SELECT id FROM driver_scenario ORDER BY id", &[]).await.unwrap();
    assert_eq!(rows.iter().map(|row| row.get(0)).collect::<Vec<i32>>(), [1, 3]);

    let failed = client.transaction().await.unwrap();
    fails(failed.query("SELECT 1 / $1::int", &[&0]).await, &SqlState::DIVISION_BY_ZERO);
    fails(failed.query("SELECT $1::int", &[&1]).await, &SqlState::IN_FAILED_SQL_TRANSACTION);
    failed.rollback().await.unwrap();
    assert_eq!(count(client).await, 2);
    drop(client.transaction().await.unwrap());
    assert_eq!(count(client).await, 2, "a dropped transaction is rolled back");
}

async fn several(client: &Client) {
    let answers = client
        .simple_query("SELECT 1; SELECT 'two'; DELETE FROM driver_scenario WHERE id = 1")
        .await
        .unwrap();
    let told: Vec<String> = answers
        .iter()
        .filter_map(|answer| match answer {
            SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            SimpleQueryMessage::CommandComplete(rows) => Some(format!("{rows} rows")),
            _ => None,
        })
        .collect();
    assert_eq!(told, ["1", "1 rows", "two", "1 rows", "1 rows"]);
}
