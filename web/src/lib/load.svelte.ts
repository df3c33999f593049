// Something loaded from the gateway: what is there, whether more is coming, what went wrong. The last answer asked for wins.

import { Problem } from '../api/client.ts';
import type { Page } from '../api/types.ts';

export class Load<T> {
  value = $state.raw<T>();
  error = $state.raw<Problem>();
  busy = $state(false);
  #abort: AbortController | undefined;
  #fetch: (signal: AbortSignal) => Promise<T>;

  constructor(fetch: (signal: AbortSignal) => Promise<T>) {
    this.#fetch = fetch;
  }

  /** `keep`: what is there stays on the screen meanwhile. */
  run = async (how: 'keep' | 'clear' = 'keep'): Promise<void> => {
    this.#abort?.abort();
    const mine = (this.#abort = new AbortController());
    if (how === 'clear') this.value = undefined;
    this.busy = true;
    try {
      const value = await this.#fetch(mine.signal);
      if (mine.signal.aborted) return;
      this.value = value;
      this.error = undefined;
    } catch (error) {
      if (mine.signal.aborted) return;
      this.error = Problem.of(error);
    }
    this.busy = false;
  };

  stop(): void {
    this.#abort?.abort();
  }
}

/** A list that comes in pages. */
export class Pages<T> {
  rows = $state.raw<T[]>([]);
  next = $state.raw<number | undefined>();
  error = $state.raw<Problem>();
  busy = $state(false);
  /** Whether the first page has come. */
  ready = $state(false);
  #abort: AbortController | undefined;
  #fetch: (cursor: number | undefined, signal: AbortSignal) => Promise<Page<T>>;

  constructor(fetch: (cursor: number | undefined, signal: AbortSignal) => Promise<Page<T>>) {
    this.#fetch = fetch;
  }

  first = (how: 'keep' | 'clear' = 'keep'): Promise<void> => {
    if (how === 'clear') {
      this.rows = [];
      this.ready = false;
    }
    return this.#get(undefined);
  };

  more = (): Promise<void> => this.#get(this.next);

  async #get(cursor: number | undefined): Promise<void> {
    this.#abort?.abort();
    const mine = (this.#abort = new AbortController());
    this.busy = true;
    try {
      const page = await this.#fetch(cursor, mine.signal);
      if (mine.signal.aborted) return;
      this.rows = cursor === undefined ? page.rows : [...this.rows, ...page.rows];
      this.next = page.next ?? undefined;
      this.error = undefined;
      this.ready = true;
    } catch (error) {
      if (mine.signal.aborted) return;
      this.error = Problem.of(error);
    }
    this.busy = false;
  }

  stop(): void {
    this.#abort?.abort();
  }
}
