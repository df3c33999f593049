// A TypeScript module of the console as it is, without its types.

import { rmSync } from 'node:fs';
import { readFile, writeFile, mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import ts from 'typescript';

const root = fileURLToPath(new URL('../../src', import.meta.url));
let folder;
const done = new Map();

async function compile(path) {
  if (done.has(path)) return done.get(path);
  if (!folder) {
    folder = await mkdtemp(join(tmpdir(), 'portcullis-web-'));
    process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
  }
  const target = join(folder, `${done.size}-${basename(path)}.mjs`);
  done.set(path, target);
  const options = { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022, verbatimModuleSyntax: true };
  let { outputText } = ts.transpileModule(await readFile(path, 'utf8'), { compilerOptions: options });
  for (const [, name] of outputText.matchAll(/from '(\.[^']+)'/g)) {
    const other = await compile(join(dirname(path), name));
    outputText = outputText.replaceAll(`from '${name}'`, `from '${pathToFileURL(other)}'`);
  }
  await writeFile(target, outputText);
  return target;
}

export async function load(name) {
  return import(pathToFileURL(await compile(join(root, name))));
}
