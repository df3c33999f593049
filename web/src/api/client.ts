// The one place that talks to the gateway: same origin, session cookie, every write with the CSRF value.

import type { ProblemBody } from './types.ts';

export const BASE = '/api/v1';

/** A refusal (RFC 9457) or a failure to reach the gateway (status 0). */
export class Problem extends Error {
  readonly status: number;
  readonly title: string;
  readonly detail: string;
  readonly next: string | undefined;
  readonly body: Partial<ProblemBody>;

  constructor(status: number, body: Partial<ProblemBody>) {
    super(body.detail ?? body.title ?? `status ${status}`);
    this.status = status;
    this.title = body.title ?? (status === 0 ? 'the gateway cannot be reached' : `the gateway answered ${status}`);
    this.detail = body.detail ?? '';
    this.next = body.next;
    this.body = body;
  }

  static of(error: unknown): Problem {
    if (error instanceof Problem) return error;
    const detail = error instanceof Error ? error.message : String(error);
    return new Problem(0, { title: 'the gateway cannot be reached', detail });
  }
}

type Query = Record<string, string | number | boolean | undefined | null>;

let csrf: string | undefined;
let onSignedOut: (() => void) | undefined;
let onDate: ((server: number) => void) | undefined;

/** What `GET /me` said; `undefined` once signed out. */
export function useCsrf(value: string | undefined): void {
  csrf = value;
}

export function listen(handlers: { signedOut: () => void; date: (server: number) => void }): void {
  onSignedOut = handlers.signedOut;
  onDate = handlers.date;
}

export function url(path: string, query?: Query): string {
  const params = new URLSearchParams();
  for (const [key, value] of Object.entries(query ?? {})) {
    if (value !== undefined && value !== null && value !== '') params.set(key, String(value));
  }
  const text = params.toString();
  return BASE + path + (text ? `?${text}` : '');
}

export interface Options {
  signal?: AbortSignal | undefined;
  headers?: Record<string, string>;
  body?: unknown;
}

/** Sends one request; anything but 2xx is thrown as a `Problem`. An aborted request throws `AbortError`. */
export async function send(method: string, address: string, options: Options = {}): Promise<Response> {
  const headers: Record<string, string> = { Accept: 'application/json', ...options.headers };
  const init: RequestInit = { method, headers, credentials: 'same-origin', cache: 'no-store', redirect: 'error' };
  if (options.signal) init.signal = options.signal;
  if (method !== 'GET') {
    headers['X-Portcullis-CSRF'] = csrf ?? '';
    headers['Content-Type'] = 'application/json';
    init.body = JSON.stringify(options.body ?? {});
  }
  let response: Response;
  try {
    response = await fetch(address, init);
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new Problem(0, { title: 'the gateway cannot be reached', detail: 'check your network, or the gateway is down' });
  }
  const date = Date.parse(response.headers.get('Date') ?? '');
  if (!Number.isNaN(date)) onDate?.(date);
  if (response.ok) return response;
  if (response.status === 401) onSignedOut?.();
  throw new Problem(response.status, await problemOf(response));
}

async function problemOf(response: Response): Promise<Partial<ProblemBody>> {
  try {
    const body: unknown = await response.json();
    return typeof body === 'object' && body !== null ? (body as Partial<ProblemBody>) : {};
  } catch {
    return {};
  }
}

export async function get<T>(path: string, query?: Query, signal?: AbortSignal): Promise<T> {
  const response = await send('GET', url(path, query), { signal });
  return (await response.json()) as T;
}

export async function post<T>(path: string, body: unknown, options: Options = {}): Promise<T> {
  return write<T>('POST', path, body, options);
}

export async function put<T>(path: string, body: unknown, options: Options = {}): Promise<T> {
  return write<T>('PUT', path, body, options);
}

async function write<T>(method: string, path: string, body: unknown, options: Options): Promise<T> {
  const response = await send(method, url(path), { ...options, body });
  const text = await response.text();
  return (text ? JSON.parse(text) : undefined) as T;
}

/** Lines of newline-delimited JSON as they arrive; empty lines are heartbeats. */
export async function* lines<T>(path: string, query: Query, signal: AbortSignal): AsyncGenerator<T[]> {
  const response = await send('GET', url(path, query), { signal, headers: { Accept: 'application/x-ndjson' } });
  let rest = '';
  for await (const text of chunks(response)) {
    const parts = (rest + text).split('\n');
    rest = parts.pop() ?? '';
    const batch = parts.filter((line) => line !== '').map((line) => JSON.parse(line) as T);
    if (batch.length > 0) yield batch;
  }
  if (rest.trim() !== '') yield [JSON.parse(rest) as T];
}

/** The body as text, piece by piece. */
export async function* chunks(response: Response): AsyncGenerator<string> {
  const reader = response.body?.getReader();
  if (!reader) return;
  const decoder = new TextDecoder();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield decoder.decode(value, { stream: true });
    }
  } finally {
    reader.cancel().catch(() => undefined);
  }
}
