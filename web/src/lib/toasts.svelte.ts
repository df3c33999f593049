// Short words on what just happened, also for screen readers.

export interface Toast {
  id: number;
  text: string;
  tone: 'ok' | 'bad' | 'plain';
}

class Toasts {
  list = $state<Toast[]>([]);
  #next = 1;

  say(text: string, tone: Toast['tone'] = 'plain'): void {
    const id = this.#next++;
    this.list.push({ id, text, tone });
    setTimeout(() => this.drop(id), tone === 'bad' ? 9000 : 5000);
  }

  drop(id: number): void {
    this.list = this.list.filter((toast) => toast.id !== id);
  }
}

export const toasts = new Toasts();
