// What is shown of a text is the text: nothing left out, nothing reordered, nothing hidden.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { load } from './load.mjs';

const { segments, stringOffsets, tokens } = await load('lib/sql.ts');
const { countHidden, isForeign, isHidden, pieces, plain } = await load('lib/reveal.ts');

const said = (text, highlights) => segments(text, highlights).map((line) => line.map((segment) => segment.text).join('')).join('\n');

test('segments put together are the text, character by character', () => {
  const texts = [
    '', ' ', '\n', '\n\n', 'SELECT 1', "SELECT 'a''b', E'\\'', $tag$ x $$ y $tag$ FROM \"a\"\"b\" -- end", '/* a /* b */ c */ SELECT 1 /* open', "'open", '"open', '$$open', "E'open\\",
    'a\tb  \n  c', '\u202eabc\u202c', 'x\u0000y', '🙂 emoji 🙂\nπ = 3', '$1::int4 + $23', '1e10 1_000 .5 a1', '--\n--', '\ud800 lonely', "SELECT $$it's$$", 'é è ﷺ',
  ];
  for (const text of texts) {
    const places = [...text].map((_, at) => ({ from: at, to: at + 2, rule: 'r' }));
    for (const highlights of [[], places, [{ from: 0, to: 1_000_000, rule: 'all' }]]) assert.equal(said(text, highlights), text, JSON.stringify(text));
  }
});

test('random texts come out as they went in', () => {
  const alphabet = ["'", '"', '$', '$$', '--', '/*', '*/', '\n', '\\', ' ', 'a', 'E', '1', '\u202e', 'й', '🙂', ';', '(', '$1', '$t$'];
  let seed = 42;
  const next = (n) => (seed = (seed * 48271) % 2147483647) % n;
  for (let round = 0; round < 3000; round++) {
    const text = Array.from({ length: next(24) }, () => alphabet[next(alphabet.length)]).join('');
    const from = next(20);
    assert.equal(said(text, [{ from, to: from + next(10), rule: 'r' }]), text, JSON.stringify(text));
  }
});

test('a line end of two characters is one line end, a lone carriage return is shown', () => {
  assert.equal(said('a\r\nb'), 'a\nb');
  const [line] = segments('a\rb');
  assert.deepEqual(line.map(({ text, hidden }) => [text, hidden]), [['a', false], ['\r', true], ['b', false]]);
  assert.equal(countHidden('a\r\nb'), 0);
});

test('highlights are offsets in bytes', () => {
  assert.deepEqual(stringOffsets('aé🙂b', [0, 1, 3, 7, 8, 99]), [0, 1, 2, 4, 5, 5]);
  const [line] = segments("é DELETE FROM t", [{ from: 3, to: 9, rule: 'no' }]);
  assert.equal(line.filter(({ rules }) => rules.length > 0).map(({ text }) => text).join(''), 'DELETE');
});

test('words are coloured as the server reads them', () => {
  const kinds = (text) => tokens(text).map(({ from, to, kind }) => [text.slice(from, to), kind]);
  assert.deepEqual(kinds("SELECT 'it''s' -- from"), [['SELECT', 'keyword'], ["'it''s'", 'string'], ['-- from', 'comment']]);
  assert.deepEqual(kinds('/* a /* b */ DROP */ x'), [['/* a /* b */ DROP */', 'comment']]);
  assert.deepEqual(kinds('$q$ DROP $q$ "drop" $1'), [['$q$ DROP $q$', 'string'], ['"drop"', 'quoted'], ['$1', 'param']]);
});

test('what hides or reorders is found, what is ordinary is not', () => {
  for (const c of ['\u202e', '\u2066', '\u200b', '\u00ad', '\ufeff', '\u0000', '\u001b', '\u007f', '\u00a0', '\u2028', '\u{e0041}', '\ufe0f', '\u3164', '\u3000', '\ud800', '\u0085', '\u180e']) {
    assert.ok(isHidden(c), c.codePointAt(0).toString(16));
  }
  for (const c of ['a', 'é', '\t', '\n', 'й', '字', '🙂', 'א', '!', '~']) assert.ok(!isHidden(c), c);
  assert.deepEqual(pieces('a\u200bb').map(({ text, hidden }) => [text, hidden]), [['a', false], ['\u200b', true], ['b', false]]);
  assert.equal(plain('a\u202eb'), 'a‹U+202E›b');
});

test('a letter of another script is marked where it could pass for a name, not in a string', () => {
  assert.ok(isForeign('а') && !isForeign('a') && !isForeign('→'));
  const marked = (text) => segments(text).flat().filter(({ foreign }) => foreign).map((segment) => segment.text);
  assert.deepEqual(marked("SELECT pаyments FROM t WHERE c = 'Москва' -- привет"), ['а']);
});
