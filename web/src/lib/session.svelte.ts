// Who is signed in.

import { Problem, get, listen, post, useCsrf } from '../api/client.ts';
import { live } from '../api/events.svelte.ts';
import type { Me, Role } from '../api/types.ts';
import { clock } from './clock.svelte.ts';
import { idle } from './idle.ts';

class Session {
  me = $state.raw<Me>();
  error = $state.raw<Problem>();
  /** The session ended under the page: what is on the screen stays until the person signs in again. */
  ended = $state(false);

  constructor() {
    listen({ signedOut: () => this.#lost(), date: (server) => clock.hear(server) });
  }

  async load(): Promise<void> {
    this.error = undefined;
    try {
      this.#take(await get<Me>('/me'));
    } catch (error) {
      this.error = Problem.of(error);
    }
  }

  #take(me: Me): void {
    this.me = me;
    this.ended = false;
    useCsrf(me.csrf);
    if (me.signed_in) {
      live.start();
      idle.after(me.idle_seconds, () => this.#leave());
    }
    else live.stop();
  }

  #lost(): void {
    if (!this.me?.signed_in) return;
    this.ended = true;
    live.stop();
  }

  /** What the page asks for by itself would keep the session alive for ever: without a hand on it, it ends. */
  #leave(): void {
    if (this.ended) return;
    post('/auth/logout', {}).catch(() => undefined);
    this.#lost();
  }

  async signOut(): Promise<void> {
    await post('/auth/logout', {});
    live.stop();
    location.assign('/signin');
  }

  has(role: Role): boolean {
    const roles = this.me?.roles ?? [];
    return roles.includes(role) || roles.includes('admin');
  }

  /** Lists of requests, sessions, connections, reach, policy. */
  get canView(): boolean {
    return (this.me?.roles.length ?? 0) > 0;
  }

  get canReplay(): boolean {
    return this.has('auditor');
  }
}

export const session = new Session();
