// Keyboard shortcuts. None while typing, none with a dialog open, none with a modifier.

export interface Shortcut {
  key: string;
  label: string;
  run: () => void;
}

class Keys {
  list = $state.raw<Shortcut[]>([]);
  #sets = new Set<Shortcut[]>();

  constructor() {
    addEventListener('keydown', (event) => this.#press(event));
  }

  /** To be called in an effect: what it gives back takes them away again. */
  add(shortcuts: Shortcut[]): () => void {
    this.#sets.add(shortcuts);
    this.list = [...this.#sets].flat();
    return () => {
      this.#sets.delete(shortcuts);
      this.list = [...this.#sets].flat();
    };
  }

  #press(event: KeyboardEvent): void {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    const target = event.target as HTMLElement | null;
    if (target?.closest('input, textarea, select, [contenteditable]') || document.querySelector('dialog[open]')) return;
    const found = this.list.findLast((shortcut) => shortcut.key === event.key);
    if (!found) return;
    event.preventDefault();
    found.run();
  }
}

export const keys = new Keys();
