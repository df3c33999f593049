// Live events (SSE), resumed after a break. Read with fetch rather than EventSource: that one forgets where it was after an
// HTTP error, cannot tell "signed out" from "gone", and never notices a silent connection.

import { Problem, chunks, send, url } from './client.ts';

export interface LiveEvent {
  event: string;
  data: unknown;
}

export type LiveState = 'off' | 'connecting' | 'live' | 'reconnecting';

/** Longer than two of the gateway's heartbeats. */
const SILENCE = 40_000;
const LONGEST_WAIT = 15_000;

class Live {
  state = $state<LiveState>('off');
  #listeners = new Set<(event: LiveEvent) => void>();
  #last: string | undefined;
  #abort: AbortController | undefined;
  #wake: (() => void) | undefined;

  on(listener: (event: LiveEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  start(): void {
    if (this.#abort) return;
    this.#abort = new AbortController();
    this.state = 'connecting';
    void this.#run(this.#abort);
  }

  stop(): void {
    this.#abort?.abort();
    this.#abort = undefined;
    this.#last = undefined;
    this.state = 'off';
  }

  /** Tries again now. */
  retry(): void {
    this.#wake?.();
  }

  async #run(mine: AbortController): Promise<void> {
    let failures = 0;
    while (!mine.signal.aborted) {
      const attempt = new AbortController();
      const stop = () => attempt.abort();
      mine.signal.addEventListener('abort', stop);
      try {
        await this.#read(attempt, () => (failures = 0));
      } catch (error) {
        const status = Problem.of(error).status;
        if (status === 401 || status === 403) {
          if (this.#abort === mine) this.stop();
          return;
        }
      } finally {
        mine.signal.removeEventListener('abort', stop);
        attempt.abort();
      }
      if (mine.signal.aborted) return;
      this.state = 'reconnecting';
      failures += 1;
      const wait = Math.min(LONGEST_WAIT, 500 * 2 ** Math.min(failures, 6)) * (0.5 + Math.random() / 2);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, wait);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  async #read(attempt: AbortController, alive: () => void): Promise<void> {
    const headers: Record<string, string> = { Accept: 'text/event-stream' };
    if (this.#last !== undefined) headers['Last-Event-ID'] = this.#last;
    const isAgain = this.state === 'reconnecting';
    const response = await send('GET', url('/events'), { signal: attempt.signal, headers });
    this.state = 'live';
    // Nothing to resume from: whatever happened meanwhile was missed.
    if (isAgain && this.#last === undefined) this.#tell('reset', '{}');
    let watchdog = setTimeout(() => attempt.abort(), SILENCE);
    const parser = new EventParser();
    try {
      for await (const text of chunks(response)) {
        alive();
        clearTimeout(watchdog);
        watchdog = setTimeout(() => attempt.abort(), SILENCE);
        for (const { id, event, data } of parser.feed(text)) {
          if (id !== undefined) this.#last = id;
          this.#tell(event, data);
        }
      }
    } finally {
      clearTimeout(watchdog);
    }
  }

  #tell(event: string, text: string): void {
    let data: unknown;
    try {
      data = JSON.parse(text);
    } catch {
      data = text;
    }
    for (const listener of this.#listeners) listener({ event, data });
  }
}

/** The event stream format of the HTML standard, section 9.2.6. */
export class EventParser {
  #rest = '';
  #id: string | undefined;
  #event = '';
  #data: string[] = [];

  feed(text: string): { id: string | undefined; event: string; data: string }[] {
    const found: { id: string | undefined; event: string; data: string }[] = [];
    const all = (this.#rest + text).split(/\r\n|\n|\r(?=[^\n])/);
    this.#rest = all.pop() ?? '';
    for (const line of all) {
      if (line === '') {
        if (this.#data.length > 0) found.push({ id: this.#id, event: this.#event || 'message', data: this.#data.join('\n') });
        this.#event = '';
        this.#data = [];
        continue;
      }
      const colon = line.indexOf(':');
      const field = colon < 0 ? line : line.slice(0, colon);
      const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
      if (field === 'data') this.#data.push(value);
      else if (field === 'event') this.#event = value;
      else if (field === 'id' && !value.includes('\0')) this.#id = value;
    }
    return found;
  }
}

export const live = new Live();
