// What Vite built, made ready and put in its place at once, so that no compilation finds half of it. The licences of what the bundle holds, in the bundle; and beside every file that gains by it: the same as Brotli and gzip, so that the gateway compresses nothing at run time.

import { readFile, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';
import { fileURLToPath } from 'node:url';
import { join } from 'node:path';

const root = fileURLToPath(new URL('../dist/next', import.meta.url));
const HELD = ['svelte', '@fontsource-variable/inter', '@fontsource-variable/jetbrains-mono'];
const licences = HELD.map(async (name) => `${name}\n\n${(await readFile(new URL(`../node_modules/${name}/${name === 'svelte' ? 'LICENSE.md' : 'LICENSE'}`, import.meta.url), 'utf8')).trim()}\n`);
await writeFile(join(root, 'licences.txt'), (await Promise.all(licences)).join(`\n${'-'.repeat(80)}\n\n`));

for (const entry of await readdir(root, { recursive: true, withFileTypes: true })) {
  if (!entry.isFile() || !/\.(html|js|css|svg|txt|json)$/.test(entry.name)) continue;
  const path = join(entry.parentPath, entry.name);
  const bytes = await readFile(path);
  const brotli = brotliCompressSync(bytes, { params: { [constants.BROTLI_PARAM_QUALITY]: 11, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length } });
  const gzip = gzipSync(bytes, { level: 9 });
  if (brotli.length < bytes.length) await writeFile(`${path}.br`, brotli);
  if (gzip.length < bytes.length) await writeFile(`${path}.gz`, gzip);
}

const place = (name) => fileURLToPath(new URL(`../dist/${name}`, import.meta.url));
await rm(place('old'), { recursive: true, force: true });
await rename(place('console'), place('old')).catch(() => undefined);
await rename(root, place('console'));
await rm(place('old'), { recursive: true, force: true });
