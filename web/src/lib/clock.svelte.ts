// The time as the gateway has it: deadlines are the gateway's, and a phone's clock may be minutes off.

class Clock {
  now = $state(Date.now());
  #offset = 0;

  constructor() {
    setInterval(() => this.#tick(), 1000);
    document.addEventListener('visibilitychange', () => this.#tick());
  }

  #tick(): void {
    if (!document.hidden) this.now = Date.now() + this.#offset;
  }

  /** An answer's `Date` header: whole seconds, and as old as the answer's way here. */
  hear(server: number): void {
    const offset = server + 500 - Date.now();
    this.#offset = Math.abs(offset) < 2000 ? 0 : offset;
  }
}

export const clock = new Clock();
