// Whether somebody is here. The page asks by itself now and then; a session that nobody uses must still end.

class Idle {
  #last = Date.now();
  #timer: ReturnType<typeof setInterval> | undefined;

  constructor() {
    const here = () => (this.#last = Date.now());
    for (const event of ['pointerdown', 'pointermove', 'keydown', 'wheel', 'touchstart']) addEventListener(event, here, { passive: true, capture: true });
  }

  /** On the screen, and touched within ten minutes. */
  get watched(): boolean {
    return !document.hidden && Date.now() - this.#last < 10 * 60_000;
  }

  /** Once nobody was here for so long. */
  after(seconds: number | undefined, leave: () => void): void {
    clearInterval(this.#timer);
    if (!seconds) return;
    this.#timer = setInterval(() => {
      if (Date.now() - this.#last < seconds * 1000) return;
      clearInterval(this.#timer);
      leave();
    }, 5_000);
  }
}

export const idle = new Idle();
