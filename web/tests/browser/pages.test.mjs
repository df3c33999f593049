// Every page, in both sizes and themes: sound by axe, no wider than the screen, no complaint of the browser, under the
// gateway's own Content-Security-Policy.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { createMock } from '../../mock/server.mjs';
import { launch, open } from '../browser.mjs';
import { steps } from '../steps.mjs';

let mock, base, chromium;
before(async () => {
  mock = createMock({ ticking: false });
  await new Promise((resolve) => mock.server.listen(0, '127.0.0.1', resolve));
  base = `http://127.0.0.1:${mock.server.address().port}`;
  chromium = await launch();
});
after(async () => {
  await chromium?.close();
  mock.server.closeAllConnections();
  mock.server.close();
});

const ids = () => [...mock.state.requests.values()];
const PAGES = {
  requests: () => '/',
  'a held statement': () => `/requests/${ids()[0].id}`,
  'a window': () => `/requests/${ids()[1].id}`,
  'a commit': () => `/requests/${ids()[2].id}`,
  'a statement that hides something': () => `/requests/${ids()[3].id}`,
  'break-glass': () => `/requests/${ids()[5].id}`,
  sessions: () => '/sessions?when=all',
  'a session': () => `/sessions/${mock.state.sessions[0].session}`,
  connections: () => '/connections',
  reach: () => `/reach?identity=${encodeURIComponent(mock.data.IDENTITIES[1].key)}&connection=orders-db`,
  policy: () => '/policy?file=policy.yaml&line=44',
  audit: () => '/audit',
  'no such page': () => '/nowhere',
};

for (const size of ['desktop', 'phone']) {
  for (const theme of ['light', 'dark']) {
    test(`every page is sound: ${size}, ${theme}`, async () => {
      const page = await open(chromium.browser, base, { size, theme });
      const person = steps(page);
      for (const [name, path] of Object.entries(PAGES)) {
        await page.goto(path());
        await page.locator('h1:visible, h2:visible').first().waitFor();
        await page.waitForLoadState('domcontentloaded');
        await page.waitForFunction(() => !document.querySelector('.skeleton'));
        await person.isSound(`${name}, ${size}, ${theme}`);
      }
      await page.context().close();
    });
  }
}

test('the sign-in page is sound and says what failed', async () => {
  mock.state.me = { ...mock.state.me, signed_in: false };
  for (const size of ['desktop', 'phone']) {
    const page = await open(chromium.browser, base, { size });
    await page.goto('/signin?error=declined&detail=Call+0900+4711');
    await page.getByText('access was denied').waitFor();
    // A link brings no words of its own onto our page, not as its error either.
    assert.equal(await page.getByText('4711').count(), 0);
    for (const error of ['Call 0900 4711', 'constructor']) {
      await page.goto(`/signin?error=${encodeURIComponent(error)}`);
      await page.getByText('The sign-in failed. Start again').waitFor();
      assert.equal(await page.getByText(/4711|native code/).count(), 0);
    }
    await steps(page).isSound(`sign-in, ${size}`);
    await page.context().close();
  }
  mock.state.me = mock.data.ME();
});

test('a page that fails says so, and tries again', async () => {
  const page = await open(chromium.browser, base);
  for (const [prefix, path] of [['/sessions', '/sessions'], ['/requests', '/'], ['/reach', '/reach'], ['/policy', '/policy'], ['/audit/events', '/audit'], ['/connections', '/connections']]) {
    mock.state.fail = { [prefix]: 503 };
    await page.goto(path);
    await page.getByText('the index is being rebuilt').first().waitFor();
    await steps(page).isSound(`${path} failing`);
    mock.state.fail = {};
    await page.getByRole('button', { name: 'Try again' }).first().click();
    await page.getByText('the index is being rebuilt').first().waitFor({ state: 'detached' });
  }
  await page.context().close();
});

test('what the roles do not show says so', async () => {
  mock.state.fail = { '/audit': 403, '/notifications': 403 };
  const page = await open(chromium.browser, base);
  await page.goto('/audit');
  await page.getByText('Not for your roles').first().waitFor();
  assert.equal(await page.getByRole('button', { name: 'Try again' }).count(), 0);
  mock.state.fail = {};
  await page.context().close();
});

test('somebody without a role sees the own requests and connections, and no other page', async () => {
  mock.state.me = { ...mock.data.ME(), roles: [] };
  const page = await open(chromium.browser, base);
  await page.goto('/');
  const links = page.getByRole('navigation', { name: 'Pages' }).getByRole('link');
  await links.first().waitFor();
  assert.deepEqual((await links.allInnerTexts()).map((text) => text.replace(/\d+/, '').trim()), ['Requests', 'Connections']);
  mock.state.me = mock.data.ME();
  await page.context().close();
});

test('a slow network shows that something is coming, never a blank page', async () => {
  mock.state.delay = 1500;
  const page = await open(chromium.browser, base);
  await page.goto('/sessions', { waitUntil: 'domcontentloaded' });
  await page.locator('.skeleton').first().waitFor();
  await page.getByText('deploy-agent').first().waitFor();
  mock.state.delay = 0;
  await page.context().close();
});
