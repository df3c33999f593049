// The other pages at work: replay, watch, kill, ask, explain, check, search.

import assert from 'node:assert/strict';
import { after, afterEach, before, beforeEach, test } from 'node:test';
import { readFile } from 'node:fs/promises';
import { createMock } from '../../mock/server.mjs';
import { launch, open } from '../browser.mjs';
import { steps } from '../steps.mjs';

let mock, base, chromium, page, person;
before(async () => {
  chromium = await launch();
});
after(() => chromium?.close());
beforeEach(async () => {
  mock = createMock({ ticking: false });
  await new Promise((resolve) => mock.server.listen(0, '127.0.0.1', resolve));
  base = `http://127.0.0.1:${mock.server.address().port}`;
  page = await open(chromium.browser, base);
  person = steps(page);
});
afterEach(async () => {
  await page.context().close();
  mock.server.closeAllConnections();
  mock.server.close();
});
const live = () => mock.state.sessions[0];

test('a session is replayed: statements, answers, masked results, errors, what was cut', async () => {
  const past = mock.state.sessions.find((s) => s.state === 'ended');
  await page.goto(`/sessions/${past.session}`);
  await page.getByText('end of the session').waitFor();
  await page.getByText('schema changes go through migrations').waitFor();
  await page.getByText('************4242').waitFor();
  assert.equal(await page.getByText('masked', { exact: true }).count() >= 2, true);
  await page.getByText('relation "missing_table" does not exist').waitFor();
  await page.getByText('The recording keeps no more of this result').waitFor();
  await page.getByRole('button', { name: /^Denied/ }).click();
  assert.equal(await page.locator('.timeline .op').count(), 2);
  await page.getByRole('button', { name: /^All/ }).click();
  await page.getByPlaceholder('Search statements, values, results').fill('c_128');
  await page.waitForFunction(() => document.querySelectorAll('.timeline .op').length === 1);
  assert.equal(await page.getByRole('link', { name: 'JSON lines' }).getAttribute('href'), `/api/v1/sessions/${past.session}/recording?download=true`);
  const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: 'SQL' }).click()]);
  assert.equal(download.suggestedFilename(), `${past.session}.sql`);
  const sql = await readFile(await download.path(), 'utf8');
  assert.match(sql, /^SELECT id, customer, state, total$/m);
  assert.match(sql, /^-- DROP TABLE orders_import$/m);
  assert.doesNotMatch(sql, /^DROP/m);
});

test('a live session is watched as it goes, through a break of the stream', async () => {
  await page.goto(`/sessions/${live().session}`);
  await page.getByText('watching').waitFor();
  const rule = { kind: 'grant', name: 'deploy-shop' };
  mock.say(live().session, { event: 'statement', number: 50, text: 'SELECT 4711', decision: 'allow', rule, reason: 'in scope' });
  await page.getByText('4711').last().waitFor();
  mock.server.closeAllConnections();
  mock.say(live().session, { event: 'statement', number: 51, text: 'SELECT 4712', decision: 'allow', rule, reason: 'in scope' });
  await page.locator('.timeline .op').filter({ hasText: '4712' }).waitFor();
  assert.equal(await page.locator('.timeline .op').filter({ hasText: '4711' }).filter({ hasText: 'SELECT' }).count(), 1);
});

test('a kill needs a reason, and the page says how it ended', async () => {
  await page.goto(`/sessions/${live().session}`);
  await page.getByText('watching').waitFor();
  await page.getByRole('button', { name: 'Kill', exact: true }).click();
  assert.ok(await page.getByRole('button', { name: 'Kill the session' }).isDisabled());
  await page.keyboard.press('Escape');
  await person.kill('runaway export');
  await page.getByText('killed by sam okafor: runaway export').waitFor();
  const [{ body }] = mock.state.posts.filter(({ path }) => path.endsWith('/kill'));
  assert.deepEqual(body, { reason: 'runaway export', for_seconds: 3600 });
  await page.getByRole('button', { name: 'Kill', exact: true }).waitFor({ state: 'detached' });
});

test('who may not replay sees that a session is there, and not what it did', async () => {
  mock.state.me = { ...mock.data.ME(), roles: ['viewer'] };
  await page.goto(`/sessions/${live().session}`);
  await page.getByText('Recordings are for auditors').waitFor();
  assert.equal(await page.getByRole('button', { name: 'Kill' }).count(), 0);
  assert.equal(await page.locator('a[download]').count(), 0);
});

test('sessions are filtered and paged, and the address keeps it', async () => {
  await page.goto('/sessions');
  await page.locator('[data-session]').first().waitFor();
  assert.equal(await page.locator('[data-session]').count(), 6);
  await page.getByRole('button', { name: 'All', exact: true }).click();
  await page.waitForFunction(() => document.querySelectorAll('[data-session]').length === 100);
  await page.getByRole('button', { name: 'Older ones' }).click();
  await page.waitForFunction(() => document.querySelectorAll('[data-session]').length > 100);
  await page.getByLabel('Connection').selectOption('warehouse');
  await page.waitForURL(/connection=warehouse/);
  await page.getByLabel('Identity').fill('nobody');
  await page.getByText('No session matches').waitFor();
  await page.reload();
  await page.getByText('No session matches').waitFor();
});

test('access is asked for: at once by policy, or from a person, or by breaking the glass', async () => {
  await page.goto('/connections');
  const card = (name) => page.locator('li.card').filter({ has: page.getByRole('heading', { name, exact: true }) });
  await card('shop-db').getByRole('button', { name: 'Request access' }).click();
  await page.getByLabel('Why you need it').fill('INC-4711');
  await page.getByLabel('For how long').selectOption('900');
  await page.getByRole('dialog').getByRole('button', { name: 'Request access' }).click();
  await page.waitForURL(/\/requests\/req_/);
  await page.getByText('you asked for it yourself').waitFor();
  assert.deepEqual(mock.state.posts.at(-1).body, { connection: 'shop-db', reason: 'INC-4711', lifetime_seconds: 900 });
  await page.goto('/connections');
  await card('orders-db').getByRole('button', { name: 'Request access' }).click();
  await page.getByLabel('Why you need it').fill('primary is down');
  await page.getByRole('checkbox', { name: /Break the glass/ }).check();
  await page.getByRole('button', { name: 'Open at once' }).click();
  await page.waitForURL(/\/requests\/req_/);
  assert.equal(mock.state.posts.at(-1).body.break_glass, true);
});

test('a reason is wanted only where the grant wants one', async () => {
  await page.route('**/api/v1/connections*', async (route) => {
    const response = await route.fetch();
    await route.fulfill({ response, json: (await response.json()).map((view) => ({ ...view, windows: [] })) });
  });
  await page.goto('/connections');
  const ask = (name) => page.locator('li.card').filter({ has: page.getByRole('heading', { name, exact: true }) }).getByRole('button', { name: 'Request access' });
  const send = page.getByRole('dialog').getByRole('button', { name: 'Request access' });
  await ask('shop-db').click();
  assert.ok(await send.isDisabled());
  await page.keyboard.press('Escape');
  await ask('prod-logs').click();
  await page.getByText('(optional)').waitFor();
  await send.click();
  await page.getByText('prod-logs is open to you').waitFor();
  assert.deepEqual(mock.state.posts.at(-1).body, { connection: 'prod-logs', reason: '' });
  await page.unroute('**/api/v1/connections*');
});

test('the link of a refusal leads to its connection', async () => {
  await page.goto('/connections/orders-db');
  await page.getByRole('heading', { name: 'orders-db', exact: true }).waitFor();
  assert.deepEqual(await page.locator('li.card h2').allTextContents(), ['orders-db']);
});

test('a pair of the matrix is the path through groups and rules', async () => {
  await page.goto('/reach');
  await page.getByRole('button', { name: /deploy-agent reaches orders-db/ }).click();
  const path = page.getByRole('complementary', { name: 'The chosen pair' });
  for (const text of ['deploy-agents', 'deploy-orders', 'opens when 2 people of oncall or leads approve', 'write:public.orders', 'no destructive ddl (block)']) await path.getByText(text).first().waitFor();
  await page.getByRole('button', { name: /noor haddad cannot reach shop-db/ }).click();
  await path.getByText('No way.').waitFor();
  await page.getByLabel('Scope').selectOption('admin');
  assert.equal(await page.getByRole('button', { name: / reaches / }).count(), 1);
});

test('a rule leads to its line, a finding stands at its line', async () => {
  await page.goto('/policy?file=policy.yaml&line=44');
  await page.locator('#line-44.chosen').waitFor();
  await page.locator('#line-44').getByText('leaves sessions unrecorded').waitFor();
});

test('a draft is checked, and changes nothing where files own the documents', async () => {
  await page.goto('/policy');
  await page.getByRole('button', { name: 'Check a draft' }).click();
  const draft = page.getByLabel('Draft of policy.yaml');
  await draft.fill((await draft.inputValue()).replace('when: approved', 'wehn: approved'));
  await page.getByRole('button', { name: 'Check', exact: true }).click();
  await page.getByText('unknown key `wehn`').waitFor();
  await page.getByText('did you mean `when`?').waitFor();
  assert.equal(await page.getByRole('button', { name: 'Save' }).count(), 0);
});

test('documents that no file owns are saved with the tag they were read with', async () => {
  mock.state.policy.managed = 'api';
  await page.goto('/policy');
  await page.getByRole('button', { name: 'Edit' }).click();
  const draft = page.getByLabel('Draft of policy.yaml');
  await draft.fill(`${await draft.inputValue()}# one more\n`);
  mock.state.policy.etag = '"2"';
  await page.getByRole('button', { name: 'Save' }).click();
  await page.getByText('somebody else saved the documents meanwhile').waitFor();
  page.once('dialog', (dialog) => dialog.accept());
  await page.getByRole('button', { name: 'Discard' }).click();
  await page.reload();
  await page.getByRole('button', { name: 'Edit' }).click();
  await draft.fill(`${await draft.inputValue()}# one more\n`);
  await page.getByRole('button', { name: 'Save' }).click();
  await page.getByText('saved and in force').waitFor();
  assert.ok(mock.state.policy.text.endsWith('# one more\n'));
});

test('a statement is explained by the code that decides', async () => {
  await page.goto('/policy');
  await page.getByLabel('Identity').selectOption({ index: 1 });
  await page.getByLabel('Connection').selectOption('shop-db');
  for (const [sql, word] of [['SELECT 1', 'Allowed'], ['DELETE FROM orders', 'Held for a person'], ['DROP TABLE orders', 'Denied']]) {
    await page.getByRole('textbox', { name: 'Statement' }).fill(sql);
    await page.getByRole('button', { name: 'Explain' }).click();
    await page.getByText(word, { exact: true }).waitFor();
  }
});

test('the audit log is searched, opened and proven', async () => {
  await page.goto('/audit');
  await page.getByText('20,852,163').waitFor();
  await page.getByText('2 undelivered').waitFor();
  await page.getByRole('combobox', { name: /^Answer/ }).selectOption('deny');
  await page.waitForURL(/decision=deny/);
  await page.waitForFunction(() => [...document.querySelectorAll('[data-event]')].every((row) => row.innerText.includes('deny')));
  await page.locator('[data-event]').first().click();
  await page.getByText('is outside the scope').first().waitFor();
  await page.getByText('The whole event').first().click();
  await page.getByText('"event": "decision"').first().waitFor();
  await page.keyboard.press('Escape');
});

test('what an agent calls itself cannot run, hide or reorder anything', async () => {
  const request = [...mock.state.requests.values()][0];
  mock.put({ ...request, reason: '<img src=x onerror="globalThis.owned=1"> \u202efdp.exe', requester: { ...request.requester, name: '<b>root\u200b</b>' } });
  await person.openRequest(request.id);
  const text = await page.locator('article').innerText();
  assert.ok(text.includes('<img src=x') && text.includes('U+202E') && text.includes('<b>root‹U+200B›</b>'));
  assert.equal(await page.evaluate(() => globalThis.owned), undefined);
});

test('the policy of the page holds: no script and no style of others', async () => {
  await page.goto('/');
  const ran = await page.evaluate(() => {
    const script = document.createElement('script');
    script.textContent = 'globalThis.owned = 1';
    document.head.append(script);
    const style = document.createElement('div');
    style.setAttribute('style', 'color: red');
    document.body.append(style);
    return [globalThis.owned, style.style.color];
  });
  assert.deepEqual(ran, [undefined, '']);
});

test('a session that nobody uses ends though the page asks by itself', async () => {
  mock.state.me = { ...mock.data.ME(), idle_seconds: 1 };
  await page.goto('/sessions');
  await page.getByText('Your sign-in has ended').waitFor();
  assert.ok(mock.state.posts.some(({ path }) => path === '/auth/logout'));
});
