// node-postgres: text results, parameters in text, unnamed and named statements.
const { Client } = require('pg');
const assert = require('node:assert/strict');
const fs = require('node:fs');

const ca = process.env.PGSSLROOTCERT;
const options = { ssl: ca ? { ca: fs.readFileSync(ca, 'utf8') } : false }; // the rest from PG*
const connect = async (more = {}) => {
  const client = new Client({ ...options, ...more });
  await client.connect();
  return client;
};
let passed = 0;
const ok = (name) => { passed += 1; console.log('ok', name); };
const fails = (code, promise) => assert.rejects(promise, (error) => { assert.equal(error.code, code, error.message); return true; });

(async () => {
  const client = await connect();
  const one = async (text, values) => Object.values((await client.query(text, values)).rows[0])[0];
  await client.query('DELETE FROM driver_scenario');

  const values = [
    ['int', -7], ['bigint', '1099511627776'], ['numeric', '12345678901234567890.123456789'], ['text', "naïve ☃ 'quoted'"],
    ['bytea', Buffer.from([...Array(256).keys()])], ['timestamptz', new Date('2026-01-02T03:04:05.678Z')], ['boolean', true],
    ['uuid', '6b1f0f0e-0000-4000-8000-000000000002'], ['int[]', [1, null, 3]], ['text[]', ['a,"b', '{}']], ['float8', 0.1],
    ['json', { a: [1, null] }], ['jsonb', { a: [1, null] }], ['text', null],
  ];
  for (const [kind, value] of values) assert.deepEqual(await one(`SELECT $1::${kind}`, [value]), value, kind);
  ok('types_text');
  // It reads only a few types and no byte above 127 of a number in binary format; that it asks for binary is what matters here.
  const binary = await client.query({ text: 'SELECT $1::int AS i, $2::text AS t, $3::bool AS b', values: [7, 'naïve', true], binary: true });
  assert.deepEqual(binary.rows[0], { i: 7, t: 'naïve', b: true });
  ok('types_binary');

  const reuse = (value) => client.query({ name: 'reused', text: 'SELECT 10 / $1::int AS x', values: [value] });
  for (let i = 1; i < 20; i++) assert.equal((await reuse(i)).rows[0].x, Math.floor(10 / i));
  await fails('22012', reuse(0));
  assert.equal((await reuse(5)).rows[0].x, 2);
  ok('prepared_reuse');

  const victim = await connect();
  const sleeping = fails('57014', victim.query('SELECT pg_sleep(301)'));
  // Not just active: a cancel that arrives between Parse and Execute is lost, by design of the server.
  while (await one("SELECT count(*)::int FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()") === 0);
  const canceller = new Client(options);
  const passedOn = new Promise((resolve) => canceller.connection.once('end', resolve)); // the server signals twice, then closes
  canceller.cancel(victim, victim._getActiveQuery()); // a CancelRequest, not encrypted, as in most drivers
  await sleeping;
  await passedOn;
  assert.equal((await victim.query('SELECT 1 AS x')).rows[0].x, 1);
  ok('cancel');

  await client.query('LISTEN driver_scenario');
  const heard = new Promise((resolve) => client.once('notification', resolve));
  await victim.query("NOTIFY driver_scenario, 'hello'");
  const { channel, payload } = await heard;
  assert.deepEqual([channel, payload], ['driver_scenario', 'hello']);
  await client.query('UNLISTEN *');
  ok('listen_notify');

  await victim.end();
  const piping = await connect({ pipeline: true });
  const sent = [...Array(200).keys()].map((i) => piping.query('SELECT 10 / (100 - $1::int) AS x', [i]));
  const settled = await Promise.allSettled(sent);
  assert.deepEqual(settled.map((result) => result.status === 'fulfilled'), settled.map((_, i) => i !== 100));
  assert.equal(settled[99].value.rows[0].x, 10);
  assert.equal(settled[100].reason.code, '22012');
  await piping.end();
  ok('pipelining');

  const big = Buffer.alloc(8 << 20, 0).map((_, i) => i);
  await client.query("INSERT INTO driver_scenario VALUES (-1, 'big', $1)", [big]);
  assert.ok(big.equals(await one('SELECT payload FROM driver_scenario WHERE id = -1')));
  ok('large_values');

  await client.query('BEGIN');
  await client.query('DELETE FROM driver_scenario');
  await client.query("INSERT INTO driver_scenario VALUES (1, 'kept')");
  await client.query('SAVEPOINT s');
  await fails('23505', client.query('INSERT INTO driver_scenario VALUES ($1, $2)', [1, 'duplicate']));
  await client.query('ROLLBACK TO s');
  await client.query('INSERT INTO driver_scenario VALUES ($1, $2)', [3, 'kept']);
  await client.query('COMMIT');
  assert.deepEqual((await client.query('SELECT id FROM driver_scenario ORDER BY id')).rows.map((row) => row.id), [1, 3]);
  ok('savepoints');

  await client.query('BEGIN');
  await fails('22012', client.query('SELECT 1 / $1::int', [0]));
  await fails('25P02', client.query('SELECT 1'));
  await client.query('ROLLBACK');
  assert.equal(await one('SELECT 1'), 1);
  ok('error_in_transaction');

  const results = await client.query("SELECT 1 AS x; SELECT 'two' AS y; DELETE FROM driver_scenario WHERE id = 1");
  assert.deepEqual(results.map((result) => [result.command, result.rowCount]), [['SELECT', 1], ['SELECT', 1], ['DELETE', 1]]);
  ok('multi_statement');
  await client.end();
  console.log('done', passed);
})().catch((error) => { console.error(error); process.exit(1); });
