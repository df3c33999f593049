// Before the first paint, so that a dark page never flashes white. The only thing the console keeps in the browser.
(function () {
  var theme = null;
  try {
    theme = localStorage.getItem('theme');
  } catch (error) {}
  if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;
})();
