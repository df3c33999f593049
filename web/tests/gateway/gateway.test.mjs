// The console against a whole gateway: real sign-in, real psql, real answers. PORTCULLIS names the program.

import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, test } from 'node:test';
import { launch, open } from '../browser.mjs';
import { start } from '../gateway.mjs';
import { steps } from '../steps.mjs';

let gateway, chromium, page, person;
before(async () => {
  gateway = await start(process.env.PORTCULLIS ?? 'portcullis');
  chromium = await launch();
});
after(async () => {
  await chromium?.close();
  await gateway?.close();
});
beforeEach(async () => {
  page = await open(chromium.browser, gateway.base);
  person = steps(page);
});
afterEach(() => page.context().close());

const RAISE = 'UPDATE orders SET total = total + 1';
const total = async () => Number(await gateway.direct('SELECT sum(total) FROM orders'));
const waiting = () => page.locator('.list h2:has-text("Waiting for you") + ul a', { hasText: RAISE }).first();
/** The pending one, opened by hand from the inbox as soon as it appears. */
async function openHeld() {
  await waiting().click();
  await page.waitForURL(/\/requests\/req_/);
  await page.getByRole('button', { name: 'Approve' }).waitFor();
}

test('a person signs in, and the pages of a gateway that nobody used yet are sound', async () => {
  await person.signIn('sam');
  await person.isLive();
  for (const name of ['Requests', 'Sessions', 'Connections', 'Reach', 'Policy', 'Audit']) {
    await person.go(name);
    await page.waitForFunction(() => !document.querySelector('.skeleton'));
    assert.equal(await page.locator('.failure').count(), 0, `${name}: ${await page.locator('.failure').allInnerTexts()}`);
    await person.isSound(name);
  }
  await person.signOut();
  await page.goto('/audit');
  await page.getByRole('heading', { name: /sign in/i }).waitFor();
});

test('an unqualified UPDATE waits, is seen with what it would touch, is approved, and runs once', async () => {
  await person.signIn('sam');
  await person.isLive();
  const before = await total();
  const ran = gateway.psql('shop-db', RAISE);
  await openHeld();
  const code = page.getByRole('group', { name: 'the exact operation' });
  assert.equal((await code.innerText()).trim(), RAISE);
  await page.getByText('no WHERE: every row').waitFor();
  await page.getByText('rows exactly, by a trial run that was rolled back').waitFor();
  await person.isSound('a held statement');
  assert.equal(await total(), before);
  await person.approve('go ahead');
  await person.stateIs('approved');
  const { code: exit, err } = await ran;
  assert.equal(exit, 0, err);
  assert.match(err, /req_/);
  assert.equal(await total(), before + 500);
});

test('a no reaches the client with its reason, and the database nothing', async () => {
  await person.signIn('kim');
  await person.isLive();
  const before = await total();
  const ran = gateway.psql('shop-db', RAISE);
  await openHeld();
  await person.deny('use the batch job');
  await person.stateIs('denied');
  const { err } = await ran;
  assert.match(err, /use the batch job/);
  assert.equal(await total(), before);
});

test('of two people who answer at once, one is told who was faster', async () => {
  await person.signIn('sam');
  const other = await open(chromium.browser, gateway.base);
  await steps(other).signIn('kim');
  const ran = gateway.psql('shop-db', RAISE);
  await openHeld();
  await other.goto(new URL(page.url()).pathname);
  await other.getByRole('button', { name: 'Approve' }).waitFor();
  await other.route('**/api/v1/events', (route) => route.abort());
  await Promise.all([person.approve(), steps(other).approve()]);
  await person.stateIs('approved');
  await steps(other).stateIs('approved');
  await page.waitForTimeout(300);
  assert.equal(await page.getByText('Your answer did not count').count() + (await other.getByText('Your answer did not count').count()), 1);
  assert.equal((await ran).code, 0);
  await other.context().close();
});

test('who asked cannot answer, somebody else can, and the window opens', async () => {
  await person.signIn('kim');
  await person.go('Connections');
  const card = page.locator('li.card').filter({ has: page.getByRole('heading', { name: 'orders-db', exact: true }) });
  await card.getByRole('button', { name: 'Request access' }).click();
  await page.getByLabel('Why you need it').fill('INC-4711');
  await page.getByRole('dialog').getByRole('button', { name: 'Request access' }).click();
  await page.waitForURL(/\/requests\/req_/);
  await page.getByText('you asked for it yourself').waitFor();
  const address = new URL(page.url()).pathname;
  const other = await open(chromium.browser, gateway.base);
  await steps(other).signIn('sam');
  await other.goto(address);
  await other.getByLabel('For how long').selectOption('300');
  await steps(other).approve('five minutes');
  await steps(other).stateIs('approved');
  await person.stateIs('approved');
  await person.go('Connections');
  await card.getByText('Your window').waitFor();
  await other.context().close();
});

test('a live session is watched and killed, and replayed as it was, masked', async () => {
  await person.signIn('sam');
  await person.isLive();
  const ran = gateway.psql('shop-db', 'SELECT id, email FROM customers ORDER BY id LIMIT 2', 'DROP TABLE orders', RAISE);
  await waiting().waitFor();
  await person.go('Sessions');
  await page.locator('[data-session]').first().click();
  await page.getByText('watching').waitFor();
  await page.getByText('c***@example.com').first().waitFor();
  await page.getByText('schema changes go through migrations').first().waitFor();
  await person.isSound('a live session');
  await person.kill('seen enough');
  await page.getByText('seen enough').first().waitFor();
  const { err } = await ran;
  assert.match(err, /seen enough/);
  await page.reload();
  await page.getByText('end of the session').waitFor();
  await page.getByRole('button', { name: /^Denied/ }).click();
  assert.equal(await page.locator('.timeline .op').count(), 1);
  await person.go('Audit');
  await page.locator('[data-event]').filter({ hasText: 'seen enough' }).first().waitFor();
  await page.getByRole('combobox', { name: /^Answer/ }).selectOption('deny');
  await page.locator('[data-event]').filter({ hasText: 'DROP TABLE orders' }).first().waitFor();
});

test('reach, a rule\'s line and an explanation are of the policy in force', async () => {
  await person.signIn('sam');
  await person.go('Reach');
  await page.getByRole('button', { name: / reaches shop-db always/ }).first().click();
  await page.getByText('deploy-shop').first().waitFor();
  await page.locator('a[href^="/policy?file="]').first().click();
  await page.locator('li.chosen').waitFor();
  assert.match(await page.locator('li.chosen').innerText(), /deploy-shop/);
  await page.getByLabel('Identity').selectOption({ index: (await page.getByLabel('Identity').locator('option').allInnerTexts()).findIndex((text) => text.includes('deploy-agents')) });
  await page.getByLabel('Connection').selectOption('shop-db');
  for (const [sql, word] of [['SELECT id FROM orders', 'Allowed'], ['DELETE FROM orders', 'Held for a person'], ['DROP TABLE orders', 'Denied']]) {
    await page.getByRole('textbox', { name: 'Statement' }).fill(sql);
    await page.getByRole('button', { name: 'Explain' }).click();
    await page.getByText(word, { exact: true }).waitFor();
  }
  await page.getByRole('button', { name: 'Check a draft' }).click();
  const draft = page.getByLabel('Draft of policy.yaml');
  await draft.fill((await draft.inputValue()).replace('when: approved', 'wehn: approved'));
  await page.getByRole('button', { name: 'Check', exact: true }).click();
  await page.getByRole('region', { name: 'Findings' }).getByText('wehn').first().waitFor();
});

test('somebody without a role sees nothing of others', async () => {
  await person.signIn('alex');
  await page.getByRole('navigation', { name: 'Pages' }).waitFor();
  assert.equal(await page.getByRole('link', { name: 'Sessions' }).count(), 0);
  await page.goto('/audit');
  await page.getByText('Not for your roles').first().waitFor();
});
