// A recording as a list of what happened, read as it streams in and followed while the session goes on.

import { Problem, lines } from '../api/client.ts';
import type { ColumnView, EndReason, ParameterView, RecordingEvent, RuleRef, SessionFacts, Verdict } from '../api/types.ts';

export interface Operation {
  kind: 'operation';
  key: number;
  at: number;
  number: number;
  text: string;
  cutFrom: number | undefined;
  decision: Verdict;
  rule: RuleRef;
  reason: string;
  parameters: ParameterView[];
  results: { columns: ColumnView[]; rows: (string | null)[][] }[];
  /** Rows of which only the first are kept here. */
  unkept: number;
  copy: string;
  /** The recording itself kept no more. */
  cut: boolean;
  done: { tag: string; rows: number; bytes: number; ms: number } | undefined;
  failed: { code: string; message: string; ms: number } | undefined;
  /** What of it is searched, in lower case. */
  words: string;
}

export interface Aside {
  kind: 'aside';
  key: number;
  at: number;
  tone: 'plain' | 'warn' | 'bad';
  text: string;
}

export type Entry = Operation | Aside;

/** Rows of one statement kept in the page: more would only slow it down. */
const MOST_ROWS = 2000;
const MOST_COPY = 200_000;

export class Recording {
  entries = $state.raw<Entry[]>([]);
  /** Counts changes inside of entries, which are not tracked one by one. */
  version = $state(0);
  facts = $state.raw<SessionFacts>();
  ended = $state.raw<EndReason>();
  error = $state.raw<Problem>();
  state = $state<'idle' | 'reading' | 'following' | 'reconnecting' | 'whole' | 'failed'>('idle');
  began = $state(0);
  #next = 0;
  #broken = false;
  #open = new Map<number, Operation>();
  #abort: AbortController | undefined;
  #session: string;

  constructor(session: string) {
    this.#session = session;
  }

  /** Reads on from where reading stopped; with `follow` until the session ends. */
  async read(follow: boolean): Promise<void> {
    this.stop();
    const mine = (this.#abort = new AbortController());
    this.error = undefined;
    this.state = follow ? 'following' : 'reading';
    for (let failures = 0; ; ) {
      const before = this.#next;
      try {
        for await (const batch of lines<RecordingEvent>(`/sessions/${this.#session}/recording`, { from: this.#next, follow }, mine.signal)) {
          if (mine.signal.aborted) return;
          if (this.state === 'reconnecting') this.state = 'following';
          this.#take(batch);
        }
        failures = this.#next > before ? 0 : failures + 1;
        if (mine.signal.aborted) return;
        if (!follow || this.ended || this.#broken) break;
      } catch (error) {
        if (mine.signal.aborted) return;
        const problem = Problem.of(error);
        if (!follow || problem.status !== 0 || (failures += 1) > 8) {
          this.error = problem;
          this.state = 'failed';
          return;
        }
        this.state = 'reconnecting';
      }
      // A transport ends after a while even where the session does not.
      if (failures > 2 && this.state !== 'reconnecting') break;
      await new Promise((resolve) => setTimeout(resolve, 300 * 2 ** Math.min(failures, 5)));
      if (mine.signal.aborted) return;
    }
    this.state = this.#broken ? 'failed' : 'whole';
  }

  stop(): void {
    this.#abort?.abort();
  }

  #take(batch: RecordingEvent[]): void {
    const added: Entry[] = [];
    for (const event of batch) {
      if (event.event === 'error') {
        added.push(this.#aside(event, 'bad', `the recording cannot be read on: ${event.error}`));
        this.#broken = true;
        continue;
      }
      if (event.seq < this.#next) continue;
      this.#next = event.seq + 1;
      const entry = this.#one(event);
      if (entry) added.push(entry);
    }
    if (added.length > 0) this.entries = [...this.entries, ...added];
    this.version += 1;
  }

  #aside(event: { seq: number; at: string }, tone: Aside['tone'], text: string): Aside {
    return { kind: 'aside', key: event.seq, at: Date.parse(event.at), tone, text };
  }

  #one(event: Exclude<RecordingEvent, { event: 'error' }>): Entry | undefined {
    const at = Date.parse(event.at);
    if (this.began === 0) this.began = at;
    if (event.event === 'began') {
      this.facts = event.facts;
      return undefined;
    }
    if (event.event === 'statement') {
      const { number, text, decision, rule, reason } = event;
      const parameters = event.parameters ?? [];
      const words = [text, reason, rule.name, ...parameters.map(({ value }) => value ?? '')].join('\n').toLowerCase();
      const operation: Operation = {
        kind: 'operation', key: event.seq, at, number, text, cutFrom: event.text_cut_from, decision, rule, reason, parameters,
        results: [], unkept: 0, copy: '', cut: false, done: undefined, failed: undefined, words,
      };
      this.#open.set(number, operation);
      return operation;
    }
    if (event.event === 'notice') return this.#aside(event, event.severity === 'WARNING' ? 'warn' : 'plain', `${event.severity} ${event.code}: ${event.message}`);
    if (event.event === 'note') return this.#aside(event, 'plain', event.text);
    if (event.event === 'ended') {
      this.ended = event.reason;
      return undefined;
    }
    const operation = this.#open.get(event.number);
    if (!operation) return undefined;
    switch (event.event) {
      case 'columns':
        operation.results.push({ columns: event.columns, rows: [] });
        break;
      case 'row': {
        if (operation.results.length === 0) operation.results.push({ columns: [], rows: [] });
        const rows = operation.results.at(-1)?.rows;
        if (rows && rows.length < MOST_ROWS) {
          rows.push(event.values);
          if (operation.words.length < 20_000) operation.words += `\n${event.values.join(' ').toLowerCase()}`;
        } else operation.unkept += 1;
        break;
      }
      case 'copy_data':
        if (operation.copy.length < MOST_COPY) operation.copy += event.data;
        break;
      case 'cut':
        operation.cut = true;
        break;
      case 'done':
        operation.done = { tag: event.tag, rows: event.rows, bytes: event.bytes, ms: at - operation.at };
        this.#open.delete(event.number);
        break;
      case 'failed':
        operation.failed = { code: event.code, message: event.message, ms: at - operation.at };
        this.#open.delete(event.number);
        break;
    }
    return undefined;
  }
}
