// A whole gateway for the browser: the built program, its development issuer, and a throw-away PostgreSQL, on free ports, in a
// folder of their own. `start` gives what tests need; `close` takes everything down again.

import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chown, mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
const TENANT = '4c5a0d3e-0000-4000-8000-000000000001';
const AGENT = { id: '9f2c0000-0000-4000-8000-000000000002', secret: 'deploy-agent-test-secret' };

const DIRECTORY = `
tenant: ${TENANT}
token_lifetime: 75m
apis:
  - display_name: Portcullis
    client_id: 6b1f0f0e-0000-4000-8000-000000000002
    identifier_uris: [api://portcullis]
    requested_access_token_version: 2
    group_membership_claims: true
applications:
  - display_name: deploy-agent
    client_id: ${AGENT.id}
    object_id: 77aa0000-0000-4000-8000-000000000002
    kind: agent
    parent_application: 9f2c0000-0000-4000-8000-0000000000a0
    secret: ${AGENT.secret}
  - display_name: agents-blueprint
    client_id: 9f2c0000-0000-4000-8000-0000000000a0
    object_id: 77aa0000-0000-4000-8000-0000000000a0
    secret: agents-blueprint-test-secret
  - display_name: portcullis-console
    client_id: 9f2c0000-0000-4000-8000-0000000000f2
    object_id: 77aa0000-0000-4000-8000-0000000000f2
    public_client: true
    redirect_uris: ["https://127.0.0.1/api/v1/auth/callback"]
users:
  - { name: sam, object_id: 55aa0000-0000-4000-8000-000000000001 }
  - { name: kim, object_id: 55aa0000-0000-4000-8000-000000000002 }
  - { name: alex, object_id: 55aa0000-0000-4000-8000-000000000004 }
groups:
  - { display_name: deploy-agents, object_id: 3fa80000-0000-4000-8000-000000000002, members: [deploy-agent] }
  - { display_name: oncall, object_id: 9c020000-0000-4000-8000-000000000004, members: [sam, kim] }
  - { display_name: platform, object_id: 9c020000-0000-4000-8000-000000000006, members: [sam] }
`;
const policy = (issuer, postgres) => `
identity:
  - name: entra
    kind: entra
    tenant: ${TENANT}
    audience: [api://portcullis, 6b1f0f0e-0000-4000-8000-000000000002]
    authority: ${issuer}
    graph: ${issuer}
    users: allow
    sign_in: { client_id: 9f2c0000-0000-4000-8000-0000000000f2 }
    groups:
      deploy-agents: 3fa80000-0000-4000-8000-000000000002
      oncall: 9c020000-0000-4000-8000-000000000004
      platform: 9c020000-0000-4000-8000-000000000006
roles:
  admin: group:platform
  approver: group:oncall
connections:
  shop-db:
    description: customers, orders, payments
    protocol: postgres
    address: 127.0.0.1:${postgres}
    tls: { mode: disable }
    database: shop
    credential: { username: shop_app, password: env:SHOP_DB_PASSWORD }
  orders-db:
    description: the same, when a person says yes
    protocol: postgres
    address: 127.0.0.1:${postgres}
    tls: { mode: disable }
    database: shop
    credential: { username: shop_app, password: env:SHOP_DB_PASSWORD }
grants:
  - name: deploy-shop
    connection: shop-db
    to: group:deploy-agents
    when: always
    recorded: yes
    scope: [read:*, write:public.orders]
  - name: oncall-orders
    connection: orders-db
    to: [group:oncall, group:deploy-agents]
    when: approved
    approvers: group:oncall
    lifetime: 30m
    recorded: yes
    scope: read:*
guardrails:
  - name: unqualified writes need a person
    statements: [update, delete]
    without: where
    action: approve
    approvers: group:oncall
    preview: rows
  - name: no destructive ddl
    statements: [drop, truncate, alter]
    action: block
    message: schema changes go through migrations
masks:
  - name: e-mail
    connections: [shop-db]
    columns: [customers.email]
    with: email
`;
const TABLES = `
CREATE ROLE shop_app LOGIN PASSWORD 'shop-password';
CREATE DATABASE shop OWNER shop_app;
\\c shop
SET ROLE shop_app;
CREATE TABLE customers (id int PRIMARY KEY, email text NOT NULL);
INSERT INTO customers SELECT n, 'customer' || n || '@example.com' FROM generate_series(1, 20) n;
CREATE TABLE orders (id int PRIMARY KEY, customer int NOT NULL REFERENCES customers, state text NOT NULL, total int NOT NULL);
INSERT INTO orders SELECT n, n % 20 + 1, 'paid', n * 7 FROM generate_series(1, 500) n;
ANALYZE;
`;

async function freePort() {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

async function until(what, found, patience = 30_000) {
  const end = Date.now() + patience;
  for (;;) {
    const value = await found().catch(() => undefined);
    if (value) return value;
    if (Date.now() > end) throw new Error(`${what} did not come`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function postgresFolder() {
  if (process.env.PG_BIN) return process.env.PG_BIN;
  const versions = await readdir('/usr/lib/postgresql');
  return `/usr/lib/postgresql/${versions.sort((a, b) => b - a)[0]}/bin`;
}

export async function start(program) {
  const folder = await mkdtemp(join(tmpdir(), 'portcullis-gateway-'));
  const children = [];
  const begin = (name, args, env = {}, options = {}) => {
    const child = spawn(name, args, { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'], ...options });
    child.said = '';
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (bytes) => (child.said += bytes));
    children.push(child);
    return child;
  };
  const close = async () => {
    for (const child of children.reverse()) {
      if (child.exitCode === null && child.signalCode === null) {
        child.kill('SIGINT');
        await Promise.race([once(child, 'exit'), new Promise((resolve) => setTimeout(resolve, 5000))]);
        child.kill('SIGKILL');
      }
    }
    await rm(folder, { recursive: true, force: true });
  };
  try {
    // PostgreSQL does not run as root.
    const bin = await postgresFolder();
    const root = process.getuid() === 0;
    const [uid, gid] = root ? (await run('sh', ['-c', 'id -u postgres; id -g postgres'])).stdout.split('\n').map(Number) : [];
    const as = root ? { uid, gid } : {};
    const data = join(folder, 'postgres');
    await mkdir(data, { mode: 0o700 });
    await run('chmod', ['755', folder]);
    if (root) await chown(data, uid, gid);
    await run(`${bin}/initdb`, ['-D', data, '-A', 'scram-sha-256', '-U', 'postgres', '--pwfile=/dev/stdin', '-E', 'UTF8', '--no-locale', '--no-sync'], { ...as, input: 'root' }).catch(async () => {
      await writeFile(join(folder, 'password'), 'root\n', { mode: 0o644 });
      await run(`${bin}/initdb`, ['-D', data, '-A', 'scram-sha-256', '-U', 'postgres', `--pwfile=${join(folder, 'password')}`, '-E', 'UTF8', '--no-locale', '--no-sync'], as);
    });
    const [pgPort, issuerPort] = [await freePort(), await freePort()];
    begin(`${bin}/postgres`, ['-D', data, '-p', String(pgPort), '-c', 'listen_addresses=127.0.0.1', '-c', `unix_socket_directories=${data}`, '-c', 'fsync=off'], {}, as);
    const admin = { PGHOST: '127.0.0.1', PGPORT: String(pgPort), PGUSER: 'postgres', PGPASSWORD: 'root', PGDATABASE: 'postgres' };
    await writeFile(join(folder, 'tables.sql'), TABLES);
    await until('PostgreSQL', () => run('psql', ['-XAtc', 'SELECT 1'], { env: { ...process.env, ...admin } }));
    await run('psql', ['-Xqv', 'ON_ERROR_STOP=1', '-f', join(folder, 'tables.sql')], { env: { ...process.env, ...admin } });

    const issuer = `http://127.0.0.1:${issuerPort}`;
    await writeFile(join(folder, 'directory.yaml'), DIRECTORY);
    const idp = begin(program, ['dev-idp', '--listen', `127.0.0.1:${issuerPort}`, '--directory', join(folder, 'directory.yaml')]);
    await until('the issuer', async () => (await fetch(`${issuer}/${TENANT}/v2.0/.well-known/openid-configuration`)).ok).catch((error) => {
      throw new Error(`${error.message}: ${idp.said}`);
    });
    await writeFile(join(folder, 'policy.yaml'), policy(issuer, pgPort));
    await writeFile(join(folder, 'gateway.yaml'), 'listen: { web: 127.0.0.1:0, postgres: 127.0.0.1:0 }\ndata: data\npolicy: [policy.yaml]\nlimits: { drain: 1s }\n');
    const gateway = begin(program, ['gateway', '--config', join(folder, 'gateway.yaml')], { SHOP_DB_PASSWORD: 'shop-password' });
    const listeners = await until('the gateway', async () => JSON.parse(await readFile(join(folder, 'data/listeners.json'), 'utf8'))).catch((error) => {
      throw new Error(`${error.message}: ${gateway.said}`);
    });
    const postgres = String(listeners.postgres).split(':').pop();
    const token = async () => {
      const args = ['token', '--issuer', `${issuer}/${TENANT}/v2.0`, '--client-id', AGENT.id, '--client-secret', AGENT.secret];
      return (await run(program, args)).stdout.trim();
    };
    return {
      base: `https://${listeners.web}`,
      log: () => gateway.said,
      /** psql of the agent, through the gateway; what it said when it ended. */
      async psql(connection, ...statements) {
        const env = { ...process.env, PGHOST: '127.0.0.1', PGPORT: postgres, PGUSER: connection, PGPASSWORD: await token(), PGSSLMODE: 'require', PGAPPNAME: 'psql', PSQLRC: '/dev/null' };
        const child = spawn('psql', ['-XAt', ...statements.flatMap((sql) => ['-c', sql])], { env, stdio: ['ignore', 'pipe', 'pipe'] });
        children.push(child);
        let [out, err] = ['', ''];
        child.stdout.on('data', (bytes) => (out += bytes));
        child.stderr.on('data', (bytes) => (err += bytes));
        const [code] = await once(child, 'close');
        return { code, out, err };
      },
      /** What the database itself has, past the gateway. */
      async direct(sql) {
        return (await run('psql', ['-XAtc', sql], { env: { ...process.env, ...admin, PGDATABASE: 'shop' } })).stdout.trim();
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}
