// node-postgres reads masked columns, in text: every value parses, none is raw.
const { Client } = require('pg');
const assert = require('node:assert/strict');
const fs = require('node:fs');

const ca = process.env.PGSSLROOTCERT;
let passed = 0;
const ok = (name) => { passed += 1; console.log('ok', name); };
const texts = 'r_text r_varchar r_bpchar r_citext r_domain'.split(' ');
const nulls = 'r_int r_bigint r_numeric r_float r_bool r_date r_timestamptz r_interval r_uuid r_inet r_mood r_pair r_range r_texts r_ints r_uuids r_bytea h_int n_text'.split(' ');
const all = 'SELECT * FROM driver_masked ORDER BY id';
const hashes = {};

const check = (row) => {
  if (row.id === 101) {
    assert.deepEqual(new Set(Object.values(row)), new Set([101, null]));
    return;
  }
  assert.deepEqual([row.c_text, row.c_int, row.c_numeric], ['clear', 7, '1.50']);
  for (const name of texts) assert.equal(row[name], '****', name);
  for (const name of nulls) assert.equal(row[name], null, name);
  assert.deepEqual([row.r_json, row.r_jsonb], ['****', '****']);
  assert.match(row.h_text, /^[0-9a-f]{20}$/);
  assert.match(row.h_jsonb, /^[0-9a-f]{20}$/);
  assert.match(row.h_uuid, /^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  for (const name of ['h_text', 'h_uuid', 'h_jsonb']) assert.equal((hashes[name] ??= row[name]), row[name], name);
  assert.deepEqual([row.l_card, row.e_mail, row.p_code], ['************7259', 'r***@mask.example', 'XXX-53']);
};
const whole = ({ rows }) => { assert.equal(rows.length, 101); rows.forEach(check); };

(async () => {
  const client = new Client({ ssl: ca ? { ca: fs.readFileSync(ca, 'utf8') } : false });
  await client.connect();
  whole(await client.query(all));
  ok('masked_simple');
  whole(await client.query('SELECT * FROM driver_masked WHERE id >= $1', [1]));
  ok('masked_text');
  for (const start of [1, 0]) whole(await client.query({ name: 'named', text: 'SELECT * FROM driver_masked WHERE id >= $1', values: [start] }));
  ok('masked_prepared');
  // It reads few types in binary format: some of those, and that nothing is raw.
  const binary = await client.query({ text: 'SELECT r_text, r_int, r_bool, h_int, l_card, c_int FROM driver_masked WHERE id = $1', values: [1], binary: true });
  assert.deepEqual(binary.rows[0], { r_text: '****', r_int: null, r_bool: null, h_int: null, l_card: '************7259', c_int: 7 });
  ok('masked_binary');
  await client.query('BEGIN');
  await client.query(`DECLARE by_hand CURSOR FOR ${all}`);
  const parts = [];
  for (let i = 0; i < 3; i++) parts.push(...(await client.query('FETCH 40 FROM by_hand')).rows);
  whole({ rows: parts });
  await client.query('COMMIT');
  ok('masked_cursor');
  const results = await client.query(`SELECT 1 AS x; ${all}; SELECT r_int AS other FROM driver_masked AS d WHERE id = 1`);
  whole(results[1]);
  assert.deepEqual(results[2].rows, [{ other: null }]);
  ok('masked_several');
  await assert.rejects(client.query('SELECT id FROM driver_masked WHERE r_text = $1', ['rawtext']), (error) => {
    assert.equal(error.code, '42501', error.message);
    assert.match(error.message, /r_text/);
    return true;
  });
  whole(await client.query(all));
  ok('masked_refused');
  await client.end();
  console.log('done', passed);
})().catch((error) => { console.error(error); process.exit(1); });
