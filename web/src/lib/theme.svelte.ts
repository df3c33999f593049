export type Theme = 'system' | 'light' | 'dark';

class ThemeChoice {
  choice = $state<Theme>(read());

  set(choice: Theme): void {
    this.choice = choice;
    const root = document.documentElement;
    if (choice === 'system') delete root.dataset.theme;
    else root.dataset.theme = choice;
    try {
      if (choice === 'system') localStorage.removeItem('theme');
      else localStorage.setItem('theme', choice);
    } catch {
      // a browser that keeps nothing: the choice holds for this page
    }
  }
}

function read(): Theme {
  const set = document.documentElement.dataset.theme;
  return set === 'light' || set === 'dark' ? set : 'system';
}

export const theme = new ThemeChoice();
