// Addresses. Every page and every filter has one, so that a link in a chat leads to what the sender saw.

class Router {
  path = $state(location.pathname);
  query = $state.raw(new URLSearchParams(location.search));

  constructor() {
    addEventListener('popstate', () => this.#read());
    document.addEventListener('click', (event) => this.#click(event));
  }

  #read(): void {
    this.path = location.pathname;
    this.query = new URLSearchParams(location.search);
  }

  go(address: string, how: 'push' | 'replace' = 'push'): void {
    if (how === 'push') history.pushState(null, '', address);
    else history.replaceState(null, '', address);
    const before = this.path;
    this.#read();
    if (before !== this.path && how === 'push') window.scrollTo(0, 0);
  }

  /** Changes the query in place; empty values go away. */
  filter(changes: Record<string, string | undefined>): void {
    const next = new URLSearchParams(this.query);
    for (const [key, value] of Object.entries(changes)) {
      if (value) next.set(key, value);
      else next.delete(key);
    }
    const text = next.toString();
    this.go(this.path + (text ? `?${text}` : ''), 'replace');
  }

  /** What a pattern such as `/requests/:id` finds in the path. */
  match(pattern: string): Record<string, string> | undefined {
    const want = pattern.split('/');
    const have = this.path.replace(/\/+$/, '').split('/');
    if (want.length !== have.length) return undefined;
    const found: Record<string, string> = {};
    for (const [place, part] of want.entries()) {
      const is = have[place] ?? '';
      if (part.startsWith(':')) {
        try {
          found[part.slice(1)] = decodeURIComponent(is);
        } catch {
          return undefined;
        }
      } else if (part !== is) return undefined;
    }
    return found;
  }

  #click(event: MouseEvent): void {
    if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    const link = (event.target as Element | null)?.closest?.('a');
    if (!link || link.target || link.hasAttribute('download') || link.origin !== location.origin) return;
    if (link.pathname.startsWith('/api/') || link.getAttribute('href')?.startsWith('#')) return;
    event.preventDefault();
    this.go(link.pathname + link.search);
  }
}

export const router = new Router();
