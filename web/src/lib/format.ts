// Values as people read them.

const relative = new Intl.RelativeTimeFormat('en', { numeric: 'auto', style: 'short' });
const dateTime = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium', timeStyle: 'medium' });
const timeOnly = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });
const dayAndTime = new Intl.DateTimeFormat('en-GB', { day: '2-digit', month: 'short', hour: '2-digit', minute: '2-digit' });
const whole = new Intl.NumberFormat('en');
const compact = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 });

export function ago(at: string, now: number): string {
  const seconds = Math.round((Date.parse(at) - now) / 1000);
  const distance = Math.abs(seconds);
  if (distance < 5) return 'just now';
  if (distance < 60) return relative.format(seconds, 'second');
  if (distance < 3600) return relative.format(Math.round(seconds / 60), 'minute');
  if (distance < 86_400) return relative.format(Math.round(seconds / 3600), 'hour');
  return relative.format(Math.round(seconds / 86_400), 'day');
}

export function fullTime(at: string): string {
  return dateTime.format(new Date(at));
}

/** In a list of many days: today's times, other days' dates. */
export function listTime(at: string, now: number): string {
  const date = new Date(at);
  return date.toDateString() === new Date(now).toDateString() ? timeOnly.format(date) : dayAndTime.format(date);
}

/** `4:07`, `1:02:07`; never below zero. */
export function countdown(seconds: number): string {
  const left = Math.max(0, Math.ceil(seconds));
  const [h, m, s] = [Math.floor(left / 3600), Math.floor(left / 60) % 60, left % 60];
  const two = (n: number) => String(n).padStart(2, '0');
  return h > 0 ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

/** Since the beginning: `0:07`. */
export function elapsed(seconds: number): string {
  return countdown(Math.floor(seconds));
}

/** `15 min`, `1 h 30 min`, `20 s`. */
export function duration(seconds: number): string {
  const parts: string[] = [];
  const [d, h, m, s] = [Math.floor(seconds / 86_400), Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60, Math.floor(seconds % 60)];
  if (d) parts.push(`${d} d`);
  if (h) parts.push(`${h} h`);
  if (m) parts.push(`${m} min`);
  if (s || parts.length === 0) parts.push(`${s} s`);
  return parts.slice(0, 2).join(' ');
}

/** Time taken, in milliseconds. */
export function took(ms: number): string {
  if (ms < 1) return `${Math.round(ms * 1000)} µs`;
  if (ms < 1000) return `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  return duration(ms / 1000);
}

export function bytes(count: number): string {
  if (count < 1024) return `${count} B`;
  let value = count;
  for (const unit of ['KiB', 'MiB', 'GiB']) {
    value /= 1024;
    if (value < 1024) return `${value < 10 ? value.toFixed(1) : Math.round(value)} ${unit}`;
  }
  return `${Math.round(value / 1024)} TiB`;
}

export function count(n: number): string {
  return whole.format(n);
}

export function short(n: number): string {
  return n < 10_000 ? whole.format(n) : compact.format(n);
}

export function plural(n: number, one: string, many = `${one}s`): string {
  return `${whole.format(n)} ${n === 1 ? one : many}`;
}

/** A name; where a provider told none but an id in its place, the ends of that. */
export function called(name: string): string {
  return /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i.test(name) ? `${name.slice(0, 8)}…${name.slice(-4)}` : name;
}

/** The end of an id, enough to tell it from its neighbours. */
export function shortId(id: string): string {
  const cut = id.indexOf('_');
  const body = cut < 0 ? id : id.slice(cut + 1);
  return body.length <= 10 ? id : `${id.slice(0, cut + 1)}…${body.slice(-8)}`;
}

export function oneLine(text: string, most = 160): string {
  const line = text.replace(/\s+/g, ' ').trim();
  return line.length > most ? `${line.slice(0, most)}…` : line;
}
