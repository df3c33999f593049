// Approvers at work: what they see, what they send, and what happens when somebody or something else is faster.

import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, test } from 'node:test';
import { createMock } from '../../mock/server.mjs';
import { launch, open } from '../browser.mjs';
import { steps } from '../steps.mjs';

let mock, base, chromium, page, person;
before(async () => {
  chromium = await launch();
});
after(() => chromium?.close());
beforeEach(async () => start());
afterEach(async () => {
  await page.context().close();
  mock.server.closeAllConnections();
  mock.server.close();
});

async function start(options = {}) {
  mock = createMock({ ticking: false });
  await new Promise((resolve) => mock.server.listen(0, '127.0.0.1', resolve));
  base = `http://127.0.0.1:${mock.server.address().port}`;
  page = await open(chromium.browser, base, options);
  person = steps(page);
}
const find = (test) => [...mock.state.requests.values()].find(test);
const held = () => find((r) => r.kind === 'operation' && r.state === 'pending');
const sent = (act) => mock.state.posts.filter(({ path }) => path.endsWith(`/${act}`));

test('a person signs in, sees the inbox, and signs out', async () => {
  mock.state.me = { ...mock.state.me, signed_in: false };
  await page.goto('/requests/req_x');
  const link = page.getByRole('link', { name: 'Continue with Microsoft Entra ID' });
  assert.equal(await link.getAttribute('href'), '/api/v1/auth/login?provider=entra&next=%2Frequests%2Freq_x');
  await person.signIn();
  await page.getByText('Waiting for you').waitFor();
  await person.signOut();
});

test('a link that leads elsewhere after signing in is not followed', async () => {
  mock.state.me = { ...mock.state.me, signed_in: false };
  for (const next of ['//evil.example', 'https://evil.example', '/\\evil.example', '/api/v1/auth/logout', 'javascript:alert(1)']) {
    await page.goto(`/signin?next=${encodeURIComponent(next)}`);
    assert.match(await page.getByRole('link', { name: /Continue/ }).getAttribute('href'), /&next=%2F$/, next);
  }
});

test('the approver sees exactly what would run, and what it would touch', async () => {
  await person.openRequest(held().id);
  const code = page.getByRole('group', { name: 'the exact operation' });
  assert.equal((await code.innerText()).replace(/\n$/, ''), held().operation.text);
  await page.getByText('locks are held while this waits').waitFor();
  await page.getByText('12,011').waitFor();
  await page.getByRole('cell', { name: '[import 2026-11-22]' }).first().waitFor();
  assert.equal(await code.locator('.hit').allInnerTexts().then((all) => all.join('')), 'UPDATE orders');
});

test('what would hide in a statement is shown by its code', async () => {
  const id = find((r) => r.operation?.text.includes('\u202e')).id;
  await person.openRequest(id);
  const code = page.getByRole('group', { name: 'the exact operation' });
  const text = await code.innerText();
  for (const shown of ['U+202E', 'U+2066', 'U+2069', 'U+200B']) assert.ok(text.includes(shown), shown);
  assert.ok(!/[\u202e\u2066\u2069\u200b]/.test(text));
  await page.getByText('5 invisible or reordering characters').waitFor();
  await page.getByText('1 letter outside of strings is not Latin').waitFor();
  await page.getByRole('button', { name: 'Copy the exact text' }).click();
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), find((r) => r.id === id).operation.text);
});

test('a long line does not hang over the edge: all of it is on the screen', async () => {
  const request = held();
  mock.put({ ...request, operation: { ...request.operation, text: `UPDATE t SET a = 1 WHERE b = 2${' '.repeat(3000)}; DROP TABLE orders`, highlights: [] } });
  await person.openRequest(request.id);
  const code = page.getByRole('group', { name: 'the exact operation' });
  assert.ok(await code.evaluate((element) => element.scrollWidth <= element.clientWidth));
});

test('approving sends once, however often it is clicked', async () => {
  await person.openRequest(held().id);
  mock.state.delay = 300;
  await page.getByRole('textbox', { name: 'Note' }).fill('go ahead');
  await page.getByRole('button', { name: 'Approve' }).dblclick({ delay: 5 });
  await person.stateIs('approved');
  mock.state.delay = 0;
  assert.deepEqual(sent('approve').map(({ body }) => body), [{ note: 'go ahead' }]);
  assert.equal(await page.getByRole('button', { name: 'Approve' }).count(), 0);
});

test('a no needs a reason, and carries it', async () => {
  await person.openRequest(held().id);
  await person.deny();
  await page.getByText('Say why not').waitFor();
  assert.equal(sent('deny').length, 0);
  assert.ok(await page.getByRole('textbox', { name: 'Note' }).evaluate((field) => field === document.activeElement));
  await person.deny('use the replica');
  await person.stateIs('denied');
  assert.deepEqual(sent('deny').map(({ body }) => body), [{ note: 'use the replica' }]);
  await page.getByText('use the replica').first().waitFor();
});

test('a shorter lifetime is sent with the yes, and one of two people is not enough', async () => {
  const request = find((r) => r.kind === 'window' && r.needs[0].approvals === 2 && r.state === 'pending');
  mock.put({ ...request, needs: [{ ...request.needs[0], given: 0 }] });
  await person.openRequest(request.id);
  await page.getByLabel('For how long').selectOption('900');
  await person.approve('short');
  await page.getByText('1 of 2').waitFor();
  await person.stateIs('waiting');
  assert.deepEqual(sent('approve')[0].body, { note: 'short', lifetime_seconds: 900 });
  await page.getByText('You cannot answer this: you have answered it').waitFor();
});

test('somebody else was faster: that is said, and theirs is shown', async () => {
  await person.openRequest(held().id);
  mock.state.race = { state: 'denied', name: 'mia lindqvist', note: 'not now' };
  await page.route('**/api/v1/requests/*/approve', (route) => setTimeout(() => void route.continue(), 150));
  await person.approve();
  await page.getByText(/Your answer did not count: mia lindqvist denied it/).waitFor();
  await person.stateIs('denied');
});

test('a gateway that cannot be reached leaves no doubt about what is not known', async () => {
  await person.openRequest(held().id);
  await page.route('**/api/v1/requests/*/approve', (route) => route.abort());
  await person.approve();
  await page.getByText('it is not known whether your answer arrived').waitFor();
  await page.unroute('**/api/v1/requests/*/approve');
  await person.approve();
  await person.stateIs('approved');
});

test('a new request appears by itself and never takes the place of the open one', async () => {
  await page.goto('/');
  await person.isLive();
  const title = await page.locator('#request-title').innerText();
  const before = await page.locator('article .mono').first().innerText();
  const urgent = { ...held(), id: mock.data.id('req'), reason: 'very urgent', answer_by: mock.data.at(15) };
  mock.put(urgent);
  await page.getByText('very urgent').waitFor();
  assert.equal(await page.locator('#request-title').innerText(), title);
  assert.equal(await page.locator('article .mono').first().innerText(), before);
});

test('live changes arrive, a break is shown and what was missed is fetched', async () => {
  await person.openRequest(held().id);
  await person.isLive();
  const request = held();
  mock.server.closeAllConnections();
  await page.getByText('Reconnecting').locator('visible=true').first().waitFor();
  mock.state.requests.set(request.id, { ...request, state: 'expired', can_answer: false, note: 'nobody answered in time', answered_at: mock.data.at(0) });
  mock.tell('request', { id: request.id, state: 'expired' });
  await person.isLive();
  await person.stateIs('expired');
  assert.ok(mock.state.resumed >= 0);
  await page.getByText('nobody answered in time').first().waitFor();
});

test('after the deadline there is nothing left to press', async () => {
  const request = held();
  mock.put({ ...request, answer_by: mock.data.at(1) });
  await person.openRequest(request.id);
  await page.getByText('time is up').first().waitFor();
  assert.ok(await page.getByRole('button', { name: 'Approve' }).isDisabled());
});

test('break-glass stays on top until it is reviewed', async () => {
  await page.goto('/');
  assert.match(await page.locator('.list h2').first().innerText(), /Break-glass, not reviewed/);
  await person.openRequest(find((r) => r.break_glass).id);
  await page.getByRole('button', { name: 'Mark as reviewed' }).click();
  await page.getByText('Say what you found.', { exact: true }).waitFor();
  await page.getByRole('textbox', { name: 'Note of the review' }).fill('right call');
  await page.getByRole('button', { name: 'Mark as reviewed' }).click();
  await page.getByText('right call').waitFor();
  assert.doesNotMatch(await page.locator('.list h2').first().innerText(), /Break-glass/);
});

test('a session that ended elsewhere is said; what is on the screen stays', async () => {
  await person.openRequest(held().id);
  mock.state.me = { ...mock.state.me, signed_in: false };
  await person.approve();
  await page.getByText('Your sign-in has ended').waitFor();
  await page.locator('#request-title').waitFor();
});

test('the inbox is driven from the keyboard', async () => {
  await page.goto('/');
  await page.locator('#request-title').waitFor();
  await page.keyboard.press('j');
  await page.waitForURL(/\/requests\/req_/);
  const second = page.url();
  await page.keyboard.press('j');
  await page.waitForURL((url) => String(url) !== second);
  await page.keyboard.press('k');
  await page.waitForURL(second);
  await page.keyboard.press('/');
  await page.keyboard.type('broken import');
  await page.waitForFunction(() => document.querySelectorAll('.list li').length === 1);
  await page.getByRole('heading', { name: 'Requests' }).click();
  await page.keyboard.press('?');
  await page.getByRole('dialog', { name: 'Keyboard shortcuts' }).waitFor();
  for (let n = 0; n < 4; n++) {
    await page.keyboard.press('Tab');
    assert.ok(await page.evaluate(() => document.activeElement === document.body || !!document.activeElement.closest('dialog')));
  }
  await page.keyboard.press('Escape');
  await page.getByRole('dialog').waitFor({ state: 'hidden' });
});

test('the theme is chosen, kept, and the only thing kept', async () => {
  await page.goto('/');
  const background = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
  const light = await background();
  await page.getByRole('button', { name: 'Dark' }).click();
  const dark = await background();
  assert.notEqual(light, dark);
  await page.reload();
  await page.locator('#request-title').waitFor();
  assert.equal(await background(), dark);
  assert.deepEqual(await page.evaluate(() => [Object.keys(localStorage), Object.keys(sessionStorage), document.cookie]), [['theme'], [], '']);
});

test('on a phone the answer is under the thumb', async () => {
  await page.context().close();
  page = await open(chromium.browser, base, { size: 'phone' });
  person = steps(page);
  await page.goto('/');
  await page.getByText('sync-agent').first().tap();
  await page.waitForURL(/\/requests\//);
  for (const name of ['Approve', 'Deny']) {
    const box = await page.getByRole('button', { name }).boundingBox();
    assert.ok(box.height >= 48 && box.width >= 120 && box.y + box.height <= 844, JSON.stringify(box));
  }
  await page.getByRole('button', { name: 'Approve' }).tap();
  await person.stateIs('approved');
  await page.getByRole('link', { name: 'Requests' }).first().tap();
  await page.getByRole('button', { name: 'Menu' }).tap();
  await page.getByRole('dialog').getByRole('link', { name: 'Audit' }).tap();
  await page.getByRole('heading', { name: 'Audit' }).waitFor();
  await page.getByRole('dialog').waitFor({ state: 'hidden' });
});

test('a thousand pending requests are paged and stay quick to move in', async () => {
  for (const request of mock.data.manyRequests(1000)) mock.state.requests.set(request.id, request);
  await page.goto('/');
  await page.getByText('Waiting for you').waitFor();
  await page.getByRole('button', { name: 'More that wait' }).click();
  await page.waitForFunction(() => document.querySelectorAll('.list li').length > 180);
  for (let n = 0; n < 20; n++) await page.keyboard.press('j');
  await page.waitForURL(/\/requests\//);
});
