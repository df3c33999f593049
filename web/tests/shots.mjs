// Screenshots of every page, at desk and phone size, light and dark: `npm run shots [FOLDER] [NAME…]`.

import { mkdir } from 'node:fs/promises';
import { createMock } from '../mock/server.mjs';
import { launch, open } from './browser.mjs';

const [folder = 'tests/shots', ...only] = process.argv.slice(2);
await mkdir(folder, { recursive: true });
const mock = createMock({ ticking: false });
await new Promise((resolve) => mock.server.listen(0, '127.0.0.1', resolve));
const base = `http://127.0.0.1:${mock.server.address().port}`;
const live = mock.state.sessions[0].session;
const [held, , , trojan] = [...mock.state.requests.keys()];
const breakGlass = [...mock.state.requests.values()].find((r) => r.break_glass).id;
const commit = [...mock.state.requests.values()].find((r) => r.kind === 'commit').id;
const pages = {
  requests: '/', held: `/requests/${held}`, trojan: `/requests/${trojan}`, review: `/requests/${breakGlass}`, commit: `/requests/${commit}`, sessions: '/sessions', session: `/sessions/${live}`,
  history: '/sessions?when=all', connections: '/connections', reach: `/reach?identity=${encodeURIComponent(mock.data.IDENTITIES[1].key)}&connection=orders-db`, policy: '/policy?file=policy.yaml&line=44', audit: '/audit', missing: '/nowhere',
};
const { browser, close } = await launch();
for (const size of ['desktop', 'phone']) {
  for (const theme of ['light', 'dark']) {
    const page = await open(browser, base, { size, theme });
    for (const [name, path] of Object.entries(pages)) {
      if (only.length && !only.includes(name)) continue;
      await page.goto(path);
      await page.waitForSelector('h1:visible, h2:visible');
      await page.waitForTimeout(250);
      await page.screenshot({ path: `${folder}/${name}-${size}-${theme}.png` });
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      if (wide > 0) console.log(`${name} ${size}: ${wide} px too wide`);
      if (size === 'phone' && theme === 'light' && ['held', 'session', 'trojan'].includes(name)) await page.screenshot({ path: `${folder}/${name}-${size}-${theme}-full.png`, fullPage: true });
    }
    if (!only.length || only.includes('signin')) {
      mock.state.me = { ...mock.state.me, signed_in: false };
      await page.goto('/signin?error=state');
      await page.waitForSelector('h1');
      await page.screenshot({ path: `${folder}/signin-${size}-${theme}.png` });
      mock.state.me = mock.data.ME();
    }
    for (const complaint of page.complaints) console.log(size, theme, complaint);
    await page.context().close();
  }
}
await close();
mock.server.close();
mock.server.closeAllConnections();
