// What a person does, in words, for the stand-in and the real gateway alike.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';

const AXE = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

export const steps = (page) => ({
  /** With the development issuer: as one of its people, who has a button there. */
  async signIn(who) {
    await page.goto('/signin');
    await page.getByRole('link', { name: /continue with/i }).first().click();
    if (who) {
      await page.getByRole('button', { name: who, exact: true }).click();
      await page.waitForURL('**/');
      if (process.env.CONSOLE_FROM_DIST) await page.goto('/');
    }
    await page.getByRole('heading', { name: 'Requests', level: 1 }).waitFor();
  },
  async signOut() {
    await page.getByRole('button', { name: 'Sign out' }).first().click();
    await page.getByRole('heading', { name: /sign in/i }).waitFor();
  },
  async go(name) {
    await page.getByRole('navigation', { name: 'Pages' }).getByRole('link', { name: new RegExp(name) }).click();
    await page.getByRole('heading', { name, level: 1 }).waitFor();
  },
  async openRequest(id) {
    await page.goto(`/requests/${id}`);
    await page.locator('#request-title').waitFor();
  },
  async approve(note) {
    if (note) await page.getByRole('textbox', { name: 'Note' }).fill(note);
    await page.getByRole('button', { name: 'Approve' }).click();
  },
  async deny(note) {
    if (note) await page.getByRole('textbox', { name: 'Note' }).fill(note);
    await page.getByRole('button', { name: 'Deny' }).click();
  },
  /** What the open request is said to be. */
  async stateIs(word) {
    await page.locator('article .badge', { hasText: new RegExp(`^${word}$`) }).waitFor();
  },
  async isLive() {
    await page.getByText('Live', { exact: true }).locator('visible=true').first().waitFor();
  },
  async kill(reason) {
    await page.getByRole('button', { name: 'Kill', exact: true }).click();
    await page.getByLabel('Why').fill(reason);
    await page.getByRole('button', { name: 'Kill the session' }).click();
  },
  /** Nothing serious or critical by axe, nothing wider than the screen, nothing the browser complained of. */
  async isSound(what) {
    await page.evaluate(AXE); // by the debugger, so that the page's own policy stays as strict as it is
    const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
    const bad = violations.filter(({ impact }) => impact === 'serious' || impact === 'critical');
    const said = bad.map(({ id, nodes }) => `${id}: ${nodes.slice(0, 3).map((node) => `${node.html.slice(0, 160)} (${node.any[0]?.message ?? node.failureSummary})`).join(' | ')}`);
    assert.deepEqual(said, [], what);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    assert.equal(wide, 0, `${what} is wider than the screen`);
    assert.deepEqual(page.complaints, [], what);
  },
});
