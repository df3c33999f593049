import assert from 'node:assert/strict';
import { test } from 'node:test';
import { load } from './load.mjs';

const { ago, bytes, countdown, duration, oneLine, plural, shortId, took } = await load('lib/format.ts');

test('values are said as people say them', () => {
  assert.deepEqual([0, 59.2, 61, 3600, 3723].map(countdown), ['0:00', '1:00', '1:01', '1:00:00', '1:02:03']);
  assert.equal(countdown(-5), '0:00');
  assert.deepEqual([20, 900, 5400, 86_400 * 3].map(duration), ['20 s', '15 min', '1 h 30 min', '3 d']);
  assert.deepEqual([0, 1023, 2048, 9_120_443].map(bytes), ['0 B', '1023 B', '2.0 KiB', '8.7 MiB']);
  assert.deepEqual([0.25, 3.21, 210.4, 2210, 125_000].map(took), ['250 µs', '3.2 ms', '210 ms', '2.2 s', '2 min 5 s']);
  assert.deepEqual([plural(1, 'row'), plural(12_011, 'row')], ['1 row', '12,011 rows']);
  assert.equal(shortId('req_019aad0c56ec0f3a602cc3dd5744eda7'), 'req_…5744eda7');
  assert.equal(oneLine('a\n  b\t c', 4), 'a b …');
  const now = Date.parse('2026-01-31T08:00:00Z');
  assert.deepEqual(['2026-01-31T07:59:58Z', '2026-01-31T07:58:00Z', '2026-01-31T09:00:00Z'].map((at) => ago(at, now)), ['just now', '2 min. ago', 'in 1 hr.']);
});
