// Chromium, driven. The same helpers run against the stand-in and, with BASE_URL, against a real gateway.

import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { extname, join } from 'node:path';
import { chromium } from 'playwright-core';
import { CSP, DIST, TYPES } from '../mock/server.mjs';

const ARGS = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--font-render-hinting=none'];

export const SIZES = { desktop: { width: 1440, height: 900 }, phone: { width: 390, height: 844 } };

/** A browser with a profile of its own; `close` takes that away again. */
export async function launch() {
  const folder = await mkdtemp(join(tmpdir(), 'portcullis-browser-'));
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ARGS, env: { ...process.env, HOME: folder } });
  return {
    browser,
    async close() {
      await browser.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function fromDist(route) {
  const path = new URL(route.request().url()).pathname;
  const name = extname(path) ? path : '/index.html';
  const body = await readFile(join(DIST, name)).catch(() => undefined);
  if (body) await route.fulfill({ body, headers: { 'Content-Type': TYPES[extname(name)] ?? 'application/octet-stream', 'Content-Security-Policy': CSP } });
  else await route.fulfill({ status: 404 });
}

/** A page at a size and in a theme; what goes wrong on it is collected in `page.complaints`. */
export async function open(browser, base, { size = 'desktop', theme = 'light', reduced = true } = {}) {
  const context = await browser.newContext({
    baseURL: base, viewport: SIZES[size], deviceScaleFactor: Number(process.env.SCALE ?? 1), colorScheme: theme, reducedMotion: reduced ? 'reduce' : 'no-preference',
    hasTouch: size === 'phone', isMobile: size === 'phone', ignoreHTTPSErrors: true, locale: 'en-GB', timezoneId: 'UTC', permissions: ['clipboard-read', 'clipboard-write'],
  });
  const page = await context.newPage();
  // The console as it was built last, in front of a program that was compiled before.
  if (process.env.CONSOLE_FROM_DIST) await page.route((url) => url.origin === base && !url.pathname.startsWith('/api/'), fromDist);
  page.setDefaultTimeout(10_000);
  page.complaints = [];
  page.on('console', (message) => {
    // A refused request is the page's business to show, not an error of the page.
    if (['error', 'warning'].includes(message.type()) && !/Failed to load resource/.test(message.text())) page.complaints.push(message.text());
  });
  page.on('pageerror', (error) => page.complaints.push(String(error)));
  return page;
}
