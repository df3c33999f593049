// What runs is what is read. Characters that hide or reorder their neighbours (CVE-2021-42574, "trojan source") are told apart
// from text and shown by their code; letters of other scripts that look like Latin ones are marked outside of strings.

/** Control, bidirectional, zero-width and other characters without a picture of their own; not tab and line feed. */
const HIDDEN =
  // eslint-disable-next-line no-control-regex
  /[\u0000-\u0008\u000b-\u001f\u007f-\u00a0\u00ad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\u{1d173}-\u{1d17a}\u{e0000}-\u{e0fff}]|[\ud800-\udfff]/u;
const HIDDEN_ALL = new RegExp(HIDDEN.source, 'gu');

const NAMES: Record<number, string> = {
  0x00: 'null', 0x07: 'bell', 0x08: 'backspace', 0x0b: 'vertical tab', 0x0c: 'form feed', 0x0d: 'carriage return', 0x1b: 'escape', 0x7f: 'delete',
  0xa0: 'no-break space', 0xad: 'soft hyphen', 0x61c: 'arabic letter mark', 0x200b: 'zero-width space', 0x200c: 'zero-width non-joiner',
  0x200d: 'zero-width joiner', 0x200e: 'left-to-right mark', 0x200f: 'right-to-left mark', 0x2028: 'line separator', 0x2029: 'paragraph separator',
  0x202a: 'left-to-right embedding', 0x202b: 'right-to-left embedding', 0x202c: 'pop directional formatting', 0x202d: 'left-to-right override',
  0x202e: 'right-to-left override', 0x2060: 'word joiner', 0x2066: 'left-to-right isolate', 0x2067: 'right-to-left isolate',
  0x2068: 'first strong isolate', 0x2069: 'pop directional isolate', 0xfeff: 'byte order mark',
};

export function codePoint(c: string): string {
  return `U+${(c.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0')}`;
}

export function nameOf(c: string): string {
  const name = NAMES[c.codePointAt(0) ?? -1];
  return name ? `${codePoint(c)} ${name}` : `${codePoint(c)} invisible character`;
}

export function isHidden(c: string): boolean {
  return HIDDEN.test(c);
}

export function countHidden(text: string): number {
  // A carriage return before a line feed is a line end.
  return text.replaceAll('\r\n', '\n').match(HIDDEN_ALL)?.length ?? 0;
}

export interface Piece {
  text: string;
  hidden: boolean;
}

/** Splits text at hidden characters. */
export function pieces(text: string): Piece[] {
  const found: Piece[] = [];
  let from = 0;
  for (const match of text.matchAll(HIDDEN_ALL)) {
    if (match.index > from) found.push({ text: text.slice(from, match.index), hidden: false });
    found.push({ text: match[0], hidden: true });
    from = match.index + match[0].length;
  }
  if (from < text.length) found.push({ text: text.slice(from), hidden: false });
  return found;
}

/** For places that take plain text only: hidden characters as `‹U+202E›`. */
export function plain(text: string): string {
  return text.replace(HIDDEN_ALL, (c) => `‹${codePoint(c)}›`);
}

const FOREIGN = /[^\u0000-\u007f]/u;

/** A letter that is not ASCII: in an identifier or keyword it may pass for another. */
export function isForeign(c: string): boolean {
  return FOREIGN.test(c) && /\p{L}|\p{M}|\p{N}/u.test(c);
}
