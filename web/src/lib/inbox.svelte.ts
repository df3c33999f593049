// The requests on every page's mind: what waits for an answer or a review, live. Held by id; events change single ones.

import { SvelteMap } from 'svelte/reactivity';
import { Problem, get } from '../api/client.ts';
import { live, type LiveEvent } from '../api/events.svelte.ts';
import type { AccessRequest, Page } from '../api/types.ts';

/** More pending ones than this are loaded on demand. */
const PAGE = 100;
/** Pages that are loaded anew when much changed. */
const MOST_PAGES = 12;
/** So many single changes at once are cheaper as one list. */
const MANY = 8;

type Sort = (a: AccessRequest, b: AccessRequest) => number;
const byDeadline: Sort = (a, b) => a.answer_by.localeCompare(b.answer_by) || a.id.localeCompare(b.id);
const newest: Sort = (a, b) => (b.answered_at ?? b.filed_at).localeCompare(a.answered_at ?? a.filed_at);

class Inbox {
  all = new SvelteMap<string, AccessRequest>();
  ready = $state(false);
  busy = $state(false);
  error = $state.raw<Problem>();
  morePending = $state.raw<number>();
  moreDone = $state.raw<number>();
  #changed = new Set<string>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #off: (() => void) | undefined;
  #generation = 0;
  #pages = 1;
  /** The one on the screen: it may be older than every list. */
  open: string | undefined;

  mine = $derived([...this.all.values()].filter((r) => r.state === 'pending' && r.can_answer).sort(byDeadline));
  others = $derived([...this.all.values()].filter((r) => r.state === 'pending' && !r.can_answer).sort(byDeadline));
  review = $derived([...this.all.values()].filter((r) => r.needs_review).sort((a, b) => a.filed_at.localeCompare(b.filed_at)));
  done = $derived([...this.all.values()].filter((r) => r.state !== 'pending' && !r.needs_review).sort(newest));
  /** What waits for this person. */
  count = $derived(this.mine.length + this.review.filter((r) => r.can_answer).length);

  start(): void {
    if (this.#off) return;
    this.#off = live.on((event) => this.#hear(event));
    void this.load();
  }

  load = async (): Promise<void> => {
    const generation = ++this.#generation;
    this.busy = true;
    try {
      const [pending, review, recent] = await Promise.all([
        get<Page<AccessRequest>>('/requests', { state: 'pending', limit: PAGE }),
        get<Page<AccessRequest>>('/requests', { needs_review: true, limit: PAGE }),
        get<Page<AccessRequest>>('/requests', { limit: PAGE }),
      ]);
      if (generation !== this.#generation) return;
      // Who has paged on keeps as many pages.
      for (let page = 1; page < this.#pages && typeof pending.next === 'number'; page++) {
        const more: Page<AccessRequest> = await get<Page<AccessRequest>>('/requests', { state: 'pending', limit: PAGE, cursor: pending.next });
        pending.rows.push(...more.rows);
        if (more.next === undefined) delete pending.next;
        else pending.next = more.next;
      }
      if (generation !== this.#generation) return;
      const known = new Map([...recent.rows, ...review.rows, ...pending.rows].map((request) => [request.id, request]));
      for (const id of [...this.all.keys()]) if (!known.has(id) && id !== this.open) this.all.delete(id);
      for (const request of known.values()) this.put(request);
      if (this.open && !known.has(this.open)) this.fetch(this.open).catch(() => undefined);
      this.morePending = pending.next ?? undefined;
      this.moreDone = recent.next ?? undefined;
      this.error = undefined;
      this.ready = true;
    } catch (error) {
      if (generation === this.#generation) this.error = Problem.of(error);
    }
    if (generation === this.#generation) this.busy = false;
  };

  more = async (what: 'pending' | 'done'): Promise<void> => {
    const cursor = what === 'pending' ? this.morePending : this.moreDone;
    if (cursor === undefined || this.busy) return;
    this.busy = true;
    try {
      const page = await get<Page<AccessRequest>>('/requests', { state: what === 'pending' ? 'pending' : undefined, limit: PAGE, cursor });
      for (const request of page.rows) this.put(request);
      if (what === 'pending') {
        this.morePending = page.next ?? undefined;
        this.#pages = Math.min(MOST_PAGES, this.#pages + 1);
      }
      else this.moreDone = page.next ?? undefined;
    } catch (error) {
      this.error = Problem.of(error);
    }
    this.busy = false;
  };

  /** A list's row may leave out what is large; what is known of the same request stays. */
  put(request: AccessRequest): void {
    const known = this.all.get(request.id);
    const blast = request.blast_radius;
    if (known?.blast_radius && blast && blast.plan === undefined && known.blast_radius.state === blast.state) {
      request = { ...request, blast_radius: { ...known.blast_radius, ...blast } };
    }
    this.all.set(request.id, request);
  }

  async fetch(id: string, signal?: AbortSignal): Promise<AccessRequest> {
    const request = await get<AccessRequest>(`/requests/${encodeURIComponent(id)}`, {}, signal);
    this.put(request);
    return request;
  }

  #hear({ event, data }: LiveEvent): void {
    if (event === 'reset' || event === 'policy') void this.load();
    if (event !== 'request' || typeof data !== 'object' || data === null) return;
    const id = (data as { id?: unknown }).id;
    if (typeof id !== 'string') return;
    if ('requester' in data && 'can_answer' in data) {
      this.put(data as AccessRequest);
      return;
    }
    this.#changed.add(id);
    this.#timer ??= setTimeout(() => this.#refresh(), 150);
  }

  #refresh(): void {
    const ids = [...this.#changed];
    this.#changed.clear();
    this.#timer = undefined;
    if (ids.length > MANY) {
      void this.load();
      return;
    }
    for (const id of ids) {
      this.fetch(id).catch((error: unknown) => {
        if ([403, 404].includes(Problem.of(error).status)) this.all.delete(id);
      });
    }
  }
}

export const inbox = new Inbox();
