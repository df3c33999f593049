// Colours for SQL. It colours only: whatever it takes for what, every character is shown, in order.

import { isForeign, isHidden } from './reveal.ts';

export type Kind = 'plain' | 'keyword' | 'string' | 'comment' | 'number' | 'param' | 'quoted';

export interface Segment {
  text: string;
  kind: Kind;
  /** An invisible character, shown by its code. */
  hidden: boolean;
  /** A letter of another script outside of a string or comment. */
  foreign: boolean;
  /** The rules whose highlight covers it. */
  rules: string[];
}

const KEYWORDS = new Set(
  `abort add all alter analyze and any as asc begin between both by call case cast check close cluster coalesce collate column commit concurrently conflict constraint copy create cross
current cursor database deallocate declare default delete desc discard distinct do domain drop else end except execute exists explain extension fetch filter first for foreign from full
function grant group grouping having if ilike in index inner insert intersect into is isolation join key last lateral left level like limit listen lock materialized merge natural not
nothing notify null nulls offset on only or order outer over partition prepare primary procedure recursive references refresh reindex release rename replace reset returning revoke right
role rollback row rows savepoint schema select sequence session set show similar some start table tablesample temp temporary then to transaction trigger true false truncate union unique
unlisten unlogged update user using vacuum values view when where window with within without work matched`.split(/\s+/),
);

const TOKEN = new RegExp(
  [
    String.raw`(?<comment>--[^\n]*|/\*)`,
    String.raw`(?<dollar>\$(?:[A-Za-z_\u0080-\uffff][\w\u0080-\uffff]*)?\$)`,
    String.raw`(?<string>[eE]'(?:[^'\\]|\\[\s\S]|'')*'?|'(?:[^']|'')*'?)`,
    String.raw`(?<quoted>"(?:[^"]|"")*"?)`,
    String.raw`(?<param>\$\d+)`,
    String.raw`(?<number>\b\d[\d_]*(?:\.\d+)?(?:[eE][+-]?\d+)?\b)`,
    String.raw`(?<word>[A-Za-z_\u0080-\uffff][\w$\u0080-\uffff]*)`,
  ].join('|'),
  'g',
);

interface Token {
  from: number;
  to: number;
  kind: Kind;
}

function commentEnd(text: string, from: number): number {
  let depth = 0;
  for (let at = from; at < text.length; at++) {
    if (text.startsWith('/*', at)) {
      depth++;
      at++;
    } else if (text.startsWith('*/', at)) {
      depth--;
      at++;
      if (depth === 0) return at + 1;
    }
  }
  return text.length;
}

export function tokens(text: string): Token[] {
  const found: Token[] = [];
  TOKEN.lastIndex = 0;
  let match: RegExpExecArray | null;
  while ((match = TOKEN.exec(text)) !== null) {
    const from = match.index;
    const { comment, dollar, string, quoted, param, number, word } = match.groups ?? {};
    let to = from + match[0].length;
    let kind: Kind = 'plain';
    if (comment === '/*') {
      to = commentEnd(text, from);
      kind = 'comment';
    } else if (comment) kind = 'comment';
    else if (dollar) {
      const close = text.indexOf(dollar, to);
      to = close < 0 ? text.length : close + dollar.length;
      kind = 'string';
    } else if (string) kind = 'string';
    else if (quoted) kind = 'quoted';
    else if (param) kind = 'param';
    else if (number) kind = 'number';
    else if (word && KEYWORDS.has(word.toLowerCase())) kind = 'keyword';
    TOKEN.lastIndex = to;
    if (kind !== 'plain') found.push({ from, to, kind });
  }
  return found;
}

/** Offsets in UTF-8 bytes as offsets in the string, for sorted or unsorted places. */
export function stringOffsets(text: string, places: number[]): number[] {
  const order = [...places.keys()].sort((a, b) => (places[a] ?? 0) - (places[b] ?? 0));
  const result = new Array<number>(places.length).fill(text.length);
  let [at, byte, next] = [0, 0, 0];
  while (next < order.length) {
    const place = order[next] ?? 0;
    if (byte >= (places[place] ?? 0) || at >= text.length) {
      result[place] = at;
      next++;
      continue;
    }
    const code = text.codePointAt(at) ?? 0;
    byte += code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    at += code < 0x10000 ? 1 : 2;
  }
  return result;
}

/** Longer texts are shown without colours: spans by the hundred thousand help nobody. */
const MAX_COLOURED = 60_000;

/** The text as segments, line by line. */
export function segments(text: string, highlights: { from: number; to: number; rule: string }[] = []): Segment[][] {
  const offsets = stringOffsets(text, highlights.flatMap(({ from, to }) => [from, to]));
  const ranges = highlights.map(({ rule }, at) => ({ rule, from: offsets[2 * at] ?? 0, to: offsets[2 * at + 1] ?? 0 }));
  const coloured = text.length <= MAX_COLOURED ? tokens(text) : [];
  const cuts = new Set<number>([0, text.length]);
  for (const { from, to } of coloured) cuts.add(from).add(to);
  for (const { from, to } of ranges) cuts.add(from).add(to);
  const sorted = [...cuts].filter((cut) => cut <= text.length).sort((a, b) => a - b);
  const lines: Segment[][] = [[]];
  let token = 0;
  const push = (segment: Segment) => lines[lines.length - 1]?.push(segment);
  for (let i = 0; i + 1 < sorted.length; i++) {
    const [from, to] = [sorted[i] ?? 0, sorted[i + 1] ?? 0];
    while (token < coloured.length && (coloured[token]?.to ?? 0) <= from) token++;
    const inside = coloured[token];
    const kind: Kind = inside && inside.from <= from ? inside.kind : 'plain';
    const rules = ranges.filter((range) => range.from <= from && to <= range.to).map(({ rule }) => rule);
    const guarded = kind !== 'string' && kind !== 'comment';
    let run = '';
    const flush = () => {
      if (run) push({ text: run, kind, hidden: false, foreign: false, rules });
      run = '';
    };
    const part = text.slice(from, to);
    let at = 0;
    for (const c of part) {
      const next = part[at + c.length] ?? text[to];
      at += c.length;
      if (c === '\n') {
        flush();
        lines.push([]);
      } else if (c === '\r' && next === '\n') {
        continue;
      } else if (isHidden(c)) {
        flush();
        push({ text: c, kind, hidden: true, foreign: false, rules });
      } else if (guarded && isForeign(c)) {
        flush();
        push({ text: c, kind, hidden: false, foreign: true, rules });
      } else run += c;
    }
    flush();
  }
  return lines;
}
