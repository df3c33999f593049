// Made-up, but of the shapes and sizes of real days. Times are relative to the start.

let seed = 7;
const random = () => (seed = (seed * 16807) % 2147483647) / 2147483647;
const pick = (list) => list[Math.floor(random() * list.length)];
const hex = (n) => Array.from({ length: n }, () => Math.floor(random() * 16).toString(16)).join('');
export const id = (prefix) => `${prefix}_019aa${hex(27)}`;
export const at = (secondsFromNow) => new Date(Date.now() + secondsFromNow * 1000).toISOString();

const TENANT = '4c5a0d3e-0000-4000-8000-000000000001';
const group = (name) => ({ id: `3fa8${hex(4)}-0000-4000-8000-0000000000${hex(2)}`, name });
const G = Object.fromEntries(['incident-triage-agents', 'deploy-agents', 'sync-agents', 'refund-agents', 'oncall', 'leads', 'platform', 'audit', 'sre', 'engineering'].map((name) => [name, group(name)]));
const identity = (name, kind, groups, seen) => ({
  key: `entra/${TENANT}/77aa0000-0000-4000-8000-${name.length.toString().padStart(2, '0')}${hex(10)}`,
  name, kind, groups: groups.map((g) => G[g]), roles: [],
  ...(kind === 'user' ? {} : { application_id: `9f2c0000-0000-4000-8000-0000000000${hex(2)}` }),
  last_seen_at: at(-seen),
});
export const IDENTITIES = [
  identity('triage-agent', 'agent', ['incident-triage-agents'], 40),
  identity('deploy-agent', 'agent', ['deploy-agents'], 300),
  identity('sync-agent', 'agent', ['sync-agents'], 8),
  identity('refund-agent', 'agent', ['refund-agents'], 120),
  identity('nightly-report', 'application', ['sync-agents'], 30_000),
  identity('sam okafor', 'user', ['oncall', 'platform', 'engineering'], 4),
  identity('mia lindqvist', 'user', ['oncall', 'leads', 'engineering'], 900),
  identity('jordan reyes', 'user', ['sre', 'engineering'], 5000),
  identity('noor haddad', 'user', ['audit'], 86_000),
];
const who = (name) => IDENTITIES.find((i) => i.name.startsWith(name));
const requester = (name) => {
  const { last_seen_at: _, ...rest } = who(name);
  return rest;
};
const rule = (kind, name, line) => ({ kind, name, location: `policy.yaml:${line}` });
const need = (r, approvers, approvals = 1, given = 0) => ({ rule: r, approvers, approvals, given });

const UNQUALIFIED = rule('guardrail', 'unqualified writes need a person', 71);
const LARGE = rule('guardrail', 'large changes are looked at before commit', 80);
const DEPLOY = rule('grant', 'deploy-shop', 52);

const base = (extra) => ({
  state: 'pending', database: 'shop', connection: 'shop-db', source: '10.20.4.17:51812', client: 'psql', votes: [], break_glass: false, needs_review: false,
  review: null, policy: '5b1f0c9be2d74a10', can_answer: true, filed_at: at(-45), answer_by: at(255), ...extra,
});
const operation = (text, extra) => ({
  session: SESSION_LIVE, mode: 'live', text, statements: [], statement: 'update', resources: [], qualified: true, highlights: [], binds: [], in_transaction: false, hash: hex(64), ...extra,
});
export const SESSION_LIVE = id('ses');

const UPDATE = `UPDATE orders
   SET state = 'cancelled',
       cancelled_at = now(),
       note = coalesce(note, '') || $1
-- everything from the broken import of last night`;
const TROJAN = "DELETE FROM audit_notes\n WHERE author = 'import-job'\u202e \u2066-- only the test rows\u2069 \u2066\n    OR \u0430ctive = true\u200b;";

export function requests() {
  const list = [
    base({
      id: id('req'), kind: 'operation', requester: requester('deploy'), rule: UNQUALIFIED, needs: [need(UNQUALIFIED, ['group:oncall'])],
      reason: 'cancel the orders that the broken import duplicated, INC-4711',
      operation: operation(UPDATE, {
        qualified: false, in_transaction: true, highlights: [{ from: 0, to: 13, rule: UNQUALIFIED.name }],
        resources: [{ verb: 'write', resource: 'public.orders', columns: ['state', 'cancelled_at', 'note'] }, { verb: 'read', resource: 'public.orders', columns: ['note'] }],
        binds: [{ position: 1, type: 'text', value: ' [import 2026-11-22]', cut: false, null: false }],
      }),
      blast_radius: {
        state: 'ready', estimated_rows: 12000, exact_rows: 12011, qualified: false,
        tables: [{ table: 'public.orders', columns: ['state', 'cancelled_at', 'note'], verb: 'write' }],
        plan: 'Update on orders  (cost=0.00..318.00 rows=12000 width=78)\n  ->  Seq Scan on orders  (cost=0.00..318.00 rows=12000 width=78)\n        Triggers: orders_touch (BEFORE UPDATE)',
        before: { columns: ['id', 'customer', 'state', 'total', 'note'], rows: [['4401', 'c_118', 'paid', '129.00', null], ['4402', 'c_027', 'shipped', '18.50', 'gift'], ['4403', 'c_911', 'paid', '74.20', null]] },
        after: { columns: ['id', 'customer', 'state', 'total', 'note'], rows: [['4401', 'c_118', 'cancelled', '129.00', ' [import 2026-11-22]'], ['4402', 'c_027', 'cancelled', '18.50', 'gift [import 2026-11-22]'], ['4403', 'c_911', 'cancelled', '74.20', ' [import 2026-11-22]']] },
      },
    }),
    base({
      id: id('req'), kind: 'window', requester: requester('deploy'), rule: DEPLOY, connection: 'orders-db', database: 'orders', client: 'portcullis 0.1.0', filed_at: at(-600), answer_by: at(3000),
      needs: [need(DEPLOY, ['group:oncall', 'group:leads'], 2, 1)], reason: 'roll out migration 0192: add orders.settled_at and backfill',
      lifetime_seconds: 1800, scope: ['read:*', 'write:public.orders'],
      votes: [{ by: who('mia').key, name: 'mia lindqvist', at: at(-200), answer: 'approve', note: 'reviewed the migration in PR 812', lifetime_seconds: 900, through: 'slack' }],
    }),
    base({
      id: id('req'), kind: 'commit', requester: requester('sync'), rule: LARGE, needs: [need(LARGE, ['group:oncall'])], reason: 'nightly price sync', client: 'npgsql 9.0', filed_at: at(-20), answer_by: at(100),
      operation: operation('', {
        mode: 'commit', statement: 'commit', in_transaction: true, rows: 4312,
        statements: [{ number: 11, text: "UPDATE prices SET amount = p.amount FROM staging_prices p WHERE prices.sku = p.sku AND prices.currency = 'EUR'", rows: 4300 }, { number: 12, text: 'DELETE FROM staging_prices WHERE batch = $1', rows: 12 }],
        resources: [{ verb: 'write', resource: 'public.prices', columns: [] }, { verb: 'write', resource: 'public.staging_prices', columns: [] }],
      }),
    }),
    base({
      id: id('req'), kind: 'operation', requester: requester('refund'), rule: UNQUALIFIED, needs: [need(UNQUALIFIED, ['group:oncall'])], reason: 'clean up test notes', client: 'psycopg 3.2', filed_at: at(-8), answer_by: at(292),
      operation: operation(TROJAN, { statement: 'delete', highlights: [{ from: 0, to: 23, rule: UNQUALIFIED.name }], resources: [{ verb: 'write', resource: 'public.audit_notes', columns: [] }] }),
      blast_radius: { state: 'working', tables: [] },
    }),
    base({
      id: id('req'), kind: 'window', requester: requester('triage'), rule: rule('grant', 'prod-admin', 60), connection: 'prod-logs', database: 'logs', filed_at: at(-60), answer_by: at(1500), needs: [need(rule('grant', 'prod-admin', 60), ['group:leads'])],
      reason: 'errors rise since 18:40, need the raw events of checkout', lifetime_seconds: 900, scope: ['read:*'], can_answer: false, why_not: 'only group:leads may answer it',
    }),
    base({
      id: id('req'), kind: 'window', state: 'approved', requester: requester('jordan'), rule: rule('grant', 'break-glass-orders', 66), connection: 'orders-db', database: 'orders', break_glass: true, needs_review: true, filed_at: at(-5400), answered_at: at(-5400), answer_by: at(-1800), client: 'portcullis 0.1.0',
      needs: [need(rule('grant', 'break-glass-orders', 66), ['group:oncall'])], reason: 'primary stuck in recovery, failing over by hand', lifetime_seconds: 1800, scope: ['*:*'], window: { id: id('win'), opened_at: at(-5400), ends_at: at(-3600) }, note: 'opened at once: break-glass',
    }),
  ];
  const outcomes = [['approved', 'sam okafor', 'go ahead'], ['denied', 'mia lindqvist', 'use the replica for this; the primary is at 80 % CPU'], ['expired', null, 'nobody answered in time'], ['withdrawn', null, 'the client cancelled the statement'], ['approved', 'mia lindqvist', '']];
  for (let n = 0; n < 14; n++) {
    const [state, by, note] = outcomes[n % outcomes.length];
    const requesterName = pick(['deploy', 'sync', 'triage', 'refund']);
    const done = -1800 - n * 4100;
    const isWindow = n % 3 === 0;
    list.push(base({
      id: id('req'), kind: isWindow ? 'window' : 'operation', state, requester: requester(requesterName), can_answer: false, why_not: `it is ${state}`,
      connection: pick(['shop-db', 'orders-db', 'prod-logs']), rule: isWindow ? DEPLOY : UNQUALIFIED, needs: [need(isWindow ? DEPLOY : UNQUALIFIED, ['group:oncall'], 1, state === 'approved' ? 1 : 0)],
      reason: pick(['weekly clean-up', 'INC-4699: wrong currency on 12 invoices', 'backfill settled_at', 'look into slow checkouts']), filed_at: at(done - 70), answered_at: at(done), answer_by: at(done + 200), note: by ? '' : note,
      votes: by ? [{ by: who(by).key, name: by, at: at(done), answer: state === 'denied' ? 'deny' : 'approve', note, through: pick(['console', 'cli', 'slack']) }] : [],
      ...(isWindow ? { lifetime_seconds: 1800, scope: ['read:*'], ...(state === 'approved' ? { window: { id: id('win'), opened_at: at(done), ends_at: at(done + 1800) } } : {}) } : {
        operation: operation(pick(["DELETE FROM carts", 'UPDATE invoices SET currency = $1 WHERE id = ANY($2)', 'UPDATE orders SET settled_at = paid_at']), { statement: 'update', qualified: false, binds: [{ position: 1, type: 'text', value: 'EUR', cut: false, null: false }] }),
        blast_radius: { state: 'ready', estimated_rows: Math.round(random() * 40000), qualified: false, tables: [{ table: 'public.orders', columns: [], verb: 'write' }] },
      }),
    }));
  }
  return list;
}

export function manyRequests(count) {
  const one = requests().find((r) => r.kind === 'window' && r.state === 'pending');
  return Array.from({ length: count }, (_, n) => ({ ...one, id: id('req'), filed_at: at(-n), answer_by: at(600 + n), reason: `load ${n}` }));
}

const CONNECTIONS = ['prod-logs', 'shop-db', 'orders-db', 'warehouse', 'billing-db'];
const facts = (session, name, connection, started, extra) => ({
  session, started_at: at(started), protocol: 'postgres', source: { address: `10.20.${Math.floor(random() * 9)}.${Math.floor(random() * 250)}:${40000 + Math.floor(random() * 20000)}` }, client: pick(['psql', 'psycopg 3.2', 'npgsql 9.0', 'pgx', 'JDBC']),
  principal: { provider: 'entra', tenant: TENANT, object_id: who(name).key.split('/')[2], kind: who(name).kind, name: who(name).name, token_id: hex(22), groups: who(name).groups, roles: [], application_id: who(name).application_id },
  connection, database: connection.replace(/-db$|^prod-/, ''), grants: [`${name}-${connection}`], ...extra,
});

export function sessions() {
  const list = [
    { session: SESSION_LIVE, started_at: at(-310), state: 'live', identity: who('deploy').key, facts: facts(SESSION_LIVE, 'deploy', 'shop-db', -310, { window: id('win'), ends_at: at(1490) }), statements: 9, bytes_in: 2210, bytes_out: 48_310 },
  ];
  const live = ['triage', 'sync', 'refund', 'sync', 'nightly'];
  for (const [n, name] of live.entries()) {
    const session = id('ses');
    const connection = CONNECTIONS[n % CONNECTIONS.length];
    list.push({ session, started_at: at(-30 - n * 700), state: 'live', identity: who(name).key, facts: facts(session, name, connection, -30 - n * 700), statements: 3 + n * 41, bytes_in: 900 + n * 7001, bytes_out: 20_000 * (n + 1) ** 3 });
  }
  const reasons = [{ why: 'client_quit' }, { why: 'client_quit' }, { why: 'window_over' }, { why: 'killed', by: 'sam okafor', reason: 'runaway export' }, { why: 'upstream_quit', detail: 'connection reset' }, { why: 'identity_revoked', detail: 'disabled in the directory' }];
  for (let n = 0; n < 140; n++) {
    const session = id('ses');
    const name = pick(['triage', 'sync', 'refund', 'deploy', 'nightly', 'jordan']);
    const start = -3600 - n * 1900 - Math.floor(random() * 900);
    const state = n % 17 === 5 ? 'refused' : n % 43 === 9 ? 'lost' : 'ended';
    const statements = state === 'refused' ? 1 : Math.floor(random() ** 3 * 900) + 1;
    list.push({ session, started_at: at(start), ended_at: at(start + (state === 'refused' ? 0 : Math.floor(random() * 1500) + 2)), state, ...(state === 'ended' ? { reason: reasons[n % reasons.length] } : {}), identity: who(name).key, facts: facts(session, name, pick(CONNECTIONS), start), statements, denied: state === 'refused' ? 1 : Math.floor(random() ** 4 * 6), bytes_in: statements * 190, bytes_out: Math.floor(statements * random() * 9000) });
  }
  return list;
}

/** A recording's lines. */
export function recording(view) {
  const start = Date.parse(view.started_at);
  let seq = 0;
  let clock = start;
  const lines = [];
  const push = (step, event) => lines.push({ seq: seq++, at: new Date((clock += step)).toISOString(), ...event });
  const grant = { kind: 'grant', name: 'deploy-shop', location: 'policy.yaml:52' };
  let number = 0;
  const statement = (text, extra = {}) => push(800 + random() * 9000, { event: 'statement', number: ++number, text, decision: 'allow', rule: grant, reason: 'in scope of grant `deploy-shop`', ...extra });
  const done = (tag, rows, bytes, step = 3.2) => push(step, { event: 'done', number, tag, rows, bytes });
  push(0, { event: 'began', facts: view.facts });
  push(40, { event: 'note', text: 'the window ends with the session' });
  statement("SET application_name = 'deploy'");
  done('SET', 0, 0, 0.6);
  statement('SELECT id, customer, state, total\n  FROM orders\n WHERE state = $1\n ORDER BY id\n LIMIT 20', { parameters: [{ type: 'text', value: 'paid' }] });
  push(1.1, { event: 'columns', number, columns: [{ name: 'id', type: 'int8' }, { name: 'customer', type: 'text' }, { name: 'state', type: 'text' }, { name: 'total', type: 'numeric' }] });
  for (let n = 0; n < 20; n++) push(0.05, { event: 'row', number, values: [String(4401 + n), `c_${100 + n * 7}`, 'paid', (n * 17.35).toFixed(2)] });
  done('SELECT 20', 20, 812, 2.4);
  statement('SELECT p.id, c.email, p.card_number, p.amount FROM payments p JOIN customers c ON c.id = p.customer_id WHERE p.order_id = $1', { parameters: [{ type: 'int8', value: '4403' }] });
  push(1, { event: 'columns', number, columns: [{ name: 'id', type: 'int8' }, { name: 'email', type: 'text', masked: true }, { name: 'card_number', type: 'text', masked: true }, { name: 'amount', type: 'numeric' }] });
  push(0.1, { event: 'row', number, values: ['88', 'm***@example.com', '************4242', '74.20'] });
  push(0.1, { event: 'row', number, values: ['91', 'm***@example.com', '************0005', null] });
  done('SELECT 2', 2, 96, 3.9);
  statement('SELECT count(*) FROM card_vault', { decision: 'deny', rule: { kind: 'default-deny', name: 'scope' }, reason: 'read on `public.card_vault` is outside the scope read:public.orders, read:public.payments' });
  statement('DROP TABLE orders_import', { decision: 'deny', rule: { kind: 'guardrail', name: 'no destructive ddl', location: 'policy.yaml:63' }, reason: 'schema changes go through migrations' });
  statement("SELECT state, count(*) FROM orders GROUP BY state");
  push(1, { event: 'columns', number, columns: [{ name: 'state', type: 'text' }, { name: 'count', type: 'int8' }] });
  for (const row of [['paid', '8110'], ['shipped', '3702'], ['cancelled', '199']]) push(0.1, { event: 'row', number, values: row });
  done('SELECT 3', 3, 60, 41);
  statement("SELECT id, payload FROM events ORDER BY at DESC");
  push(1, { event: 'columns', number, columns: [{ name: 'id', type: 'int8' }, { name: 'payload', type: 'jsonb' }] });
  for (let n = 0; n < 120; n++) push(0.1, { event: 'row', number, values: [String(90_000 - n), `{"level":"error","path":"/checkout","ms":${(n * 37) % 900}}`] });
  push(0.1, { event: 'cut', number });
  done('SELECT 81234', 81_234, 9_120_443, 2210);
  statement('SELECT * FROM missing_table');
  push(1, { event: 'failed', number, code: '42P01', message: 'relation "missing_table" does not exist' });
  if (view.session === SESSION_LIVE) {
    statement(UPDATE, { decision: 'hold', rule: UNQUALIFIED, reason: 'guardrail `unqualified writes need a person` needs a person’s yes', parameters: [{ type: 'text', value: ' [import 2026-11-22]' }] });
    push(20, { event: 'notice', severity: 'NOTICE', code: '00000', message: 'held for approval: req_019aa…' });
  } else push(900, { event: 'ended', reason: view.reason ?? { why: 'client_quit' } });
  return lines;
}

const way = (connection, grant, to, when, extra) => ({ connection, protocol: 'postgres', grant, to, when, scope: ['read:*'], recorded: true, guardrails: ['no destructive ddl (block)', 'unqualified writes need a person (approve)'], masks: ['card numbers (last4)'], location: 'policy.yaml:40', ...extra });
const WAYS = [
  way('prod-logs', 'triage-logs', ['group:incident-triage-agents'], 'requested', { lifetime: '15m', location: 'policy.yaml:34', description: 'what the services log', masks: ['anything that looks like a secret (redact)'] }),
  way('shop-db', 'triage-shop', ['group:incident-triage-agents'], 'always', { scope: ['read:public.customers', 'read:public.orders'], location: 'policy.yaml:40' }),
  way('shop-db', 'refund-shop', ['group:refund-agents'], 'always', { scope: ['read:public.*'], location: 'policy.yaml:46' }),
  way('shop-db', 'deploy-shop', ['group:deploy-agents'], 'requested', { lifetime: '5m', scope: ['read:public.*', 'write:public.orders'], condition: 'source.ip in cidr("10.0.0.0/8")', location: 'policy.yaml:52' }),
  way('orders-db', 'deploy-orders', ['group:deploy-agents'], 'approved', { lifetime: '30m', scope: ['read:*', 'write:public.orders'], location: 'policy.yaml:58', approvers: ['group:oncall', 'group:leads'], approvals: 2 }),
  way('orders-db', 'break-glass-orders', ['group:sre'], 'approved', { lifetime: '30m', scope: ['*:*'], location: 'policy.yaml:66', approvers: ['group:oncall'], approvals: 1, masks: [] }),
  way('shop-db', 'sync-shop', ['group:sync-agents'], 'always', { scope: ['read:public.orders', 'write:public.orders'], location: 'policy.yaml:60' }),
  way('warehouse', 'reports', ['group:sync-agents', 'group:engineering'], 'always', { location: 'policy.yaml:69', masks: [] }),
  way('billing-db', 'refund-billing', ['group:refund-agents'], 'requested', { lifetime: '10m', scope: ['read:public.invoices'], location: 'policy.yaml:74' }),
];
export function reach({ identity: wanted, connection } = {}) {
  const rows = IDENTITIES.filter((i) => !wanted || i.key === wanted || i.name === wanted).map((i) => ({
    identity: i,
    ways: WAYS.filter((w) => (!connection || w.connection === connection) && w.to.some((t) => i.groups.some((g) => t === `group:${g.name}`))),
  }));
  return { rows, connections: CONNECTIONS, policy: '5b1f0c9be2d74a10' };
}

export function connections(all) {
  const health = { 'prod-logs': { state: 'up', checked_at: at(-12) }, 'shop-db': { state: 'up', checked_at: at(-4) }, 'orders-db': { state: 'up', checked_at: at(-9) }, warehouse: { state: 'down', checked_at: at(-30), detail: 'connection refused' }, 'billing-db': { state: 'unknown' } };
  const about = { 'prod-logs': 'what the services log', 'shop-db': 'customers, orders, payments', 'orders-db': 'the order ledger', warehouse: 'copies for reports', 'billing-db': 'invoices and dunning' };
  const grants = {
    'orders-db': [{ grant: 'break-glass-orders', when: 'approved', lifetime_seconds: 1800, scope: ['*:*'], recorded: true, conditional: false, approvers: ['group:oncall'], approvals: 1, reason_required: true, break_glass: true }],
    'prod-logs': [{ grant: 'oncall-logs', when: 'requested', lifetime_seconds: 900, scope: ['read:*'], recorded: true, conditional: false, reason_required: false }],
    warehouse: [{ grant: 'reports', when: 'always', scope: ['read:*'], recorded: true, conditional: true, reason_required: false }],
    'shop-db': [{ grant: 'oncall-shop', when: 'approved', lifetime_seconds: 3600, scope: ['read:public.*'], recorded: true, conditional: false, approvers: ['group:leads'], approvals: 1, reason_required: true }],
  };
  return CONNECTIONS.filter((name) => all || grants[name]).map((connection) => ({
    connection, protocol: 'postgres', description: about[connection], database: connection.replace(/-db$|^prod-/, ''), open: connection === 'warehouse' || connection === 'prod-logs', grants: grants[connection] ?? [],
    windows: connection === 'prod-logs' ? [{ id: id('win'), grant: 'oncall-logs', connection, reason: 'errors since 18:40', opened_at: at(-200), ends_at: at(700) }] : [],
    ...(all ? { address: `${connection}.internal:5432`, via: connection === 'warehouse' ? 'vpc-reports' : undefined, health: health[connection], to: [...new Set(WAYS.filter((w) => w.connection === connection).flatMap((w) => w.to))], live_sessions: connection === 'shop-db' ? 3 : connection === 'billing-db' ? 0 : 1 } : {}),
  }));
}

export const POLICY_TEXT = `# Who may do what.
identity:
  - name: entra
    kind: entra
    tenant: ${TENANT}
    audience: [api://portcullis]
    users: allow
    sign_in: { client_id: 9f2c0000-0000-4000-8000-0000000000f2 }
    groups:
      incident-triage-agents: 3fa80000-0000-4000-8000-000000000001
      deploy-agents: 3fa80000-0000-4000-8000-000000000002
      oncall: 9c020000-0000-4000-8000-000000000004

roles:
  admin: group:platform
  approver: group:oncall
  auditor: [group:audit]
  viewer: group:engineering

connections:
  prod-logs:
    description: what the services log
    protocol: postgres
    address: logs.internal:5432
    tls: { mode: verify-full, ca: /etc/portcullis/logs-ca.pem }
    database: logs
    credential: { username: logs_reader, password: env:LOGS_DB_PASSWORD }
  shop-db:
    description: customers, orders, payments
    protocol: postgres
    address: shop.internal:5432
    database: shop
    credential: { username: shop_app, password: env:SHOP_DB_PASSWORD }

grants:
  - name: triage-logs
    connection: prod-logs
    to: group:incident-triage-agents
    when: requested
    lifetime: 15m
    recorded: yes
    scope: read:*
  - name: deploy-orders
    connection: shop-db
    to: group:deploy-agents
    when: approved
    approvers: [group:oncall, group:leads]
    approvals: 2
    lifetime: 30m
    scope: [read:*, write:public.orders]
    condition: 'source.ip in cidr("10.0.0.0/8")'

guardrails:
  - name: no destructive ddl
    protocols: [postgres]
    statements: [drop, truncate, alter]
    action: block
    message: schema changes go through migrations
  - name: unqualified writes need a person
    statements: [update, delete]
    without: where
    action: approve
    approvers: group:oncall
    preview: rows

masks:
  - name: card numbers
    connections: [shop-db]
    columns: [payments.card_number]
    with: last4
`;
export const DIAGNOSTICS = [{ severity: 'warning', file: 'policy.yaml', line: 44, column: 5, message: 'grant `deploy-orders` leaves sessions unrecorded', help: ['add `recorded: yes`'], text: '  - name: deploy-orders' }];

export function audit() {
  const rows = [];
  let sequence = 20_852_163;
  const list = sessions();
  for (let n = 0; n < 260; n++) {
    const view = list[n % list.length];
    const time = at(-n * 47 - 3);
    sequence -= 1;
    const kind = n % 29 === 4 ? 'policy_loaded' : n % 23 === 7 ? 'request_answered' : n % 31 === 9 ? 'kill' : n % 13 === 3 ? 'recording_sealed' : n % 11 === 5 ? 'session_ended' : 'decision';
    if (kind === 'decision') {
      const decision = n % 9 === 2 ? 'deny' : n % 19 === 6 ? 'hold' : 'allow';
      rows.push({
        sequence, event: 'decision', at: time, session: view.session, number: n % 40, verb: 'read', resources: [{ verb: 'read', resource: 'public.orders', columns: ['id', 'state'] }], statement: decision === 'hold' ? 'update' : 'select',
        text: decision === 'hold' ? UPDATE : decision === 'deny' ? 'SELECT card_number FROM card_vault' : pick(['SELECT id, state FROM orders WHERE id = $1', 'SELECT count(*) FROM events', "SELECT * FROM customers WHERE country = 'SE' LIMIT 50"]),
        decision, rule: decision === 'deny' ? { kind: 'default-deny', name: 'scope' } : decision === 'hold' ? UNQUALIFIED : { kind: 'grant', name: 'triage-shop', location: 'policy.yaml:40' },
        reason: decision === 'deny' ? 'read on `public.card_vault` is outside the scope' : 'in scope', policy: '5b1f0c9be2d74a10', binds: hex(32), facts: view.facts,
      });
    } else if (kind === 'session_ended') rows.push({ sequence, event: kind, at: time, session: view.session, reason: view.reason ?? { why: 'client_quit' }, decisions: view.statements, bytes_in: view.bytes_in, bytes_out: view.bytes_out, facts: view.facts });
    else if (kind === 'recording_sealed') rows.push({ sequence, event: kind, at: time, session: view.session, segment: 1, sha256: hex(64), bytes: 8812, events: 133, first_at: time, last_at: time, last: true, facts: view.facts });
    else if (kind === 'kill') rows.push({ sequence, event: kind, at: time, by: 'sam okafor', target: view.session, reason: 'runaway export', sessions: 1 });
    else if (kind === 'request_answered') rows.push({ sequence, event: 'request', at: time, request: id('req'), step: ['approved', 'filed', 'denied', 'used', 'answer_refused'][n % 5], kind: 'operation', principal: { provider: 'entra', tenant: TENANT, object_id: 'x' }, name: 'deploy-agent', connection: 'shop-db', rule: UNQUALIFIED, by: { provider: 'entra', tenant: TENANT, object_id: 'y' }, by_name: 'mia lindqvist', through: 'console', note: 'go ahead', hash: hex(64), policy: '5b1f0c9be2d74a10' });
    else rows.push({ sequence, event: kind, at: time, policy: hex(16), warnings: 1 });
  }
  return rows;
}
export const PROOF = () => ({ key: 'portcullis/3f0c9d27', events: 20_852_163, lag: 4, checkpoint: { size: 20_852_159, root: 'CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=', at: at(-22), note: 'portcullis/3f0c9d27\n20852159\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\nprevious sFodV/vSp5O8n9a8QpW6PRY97tfOSW5b=\n\n— portcullis/3f0c9d27 Az3grlgtzPICa5OS8npVmf1M…\n' } });
export const DELIVERIES = () => [
  { id: 'not_1/oncall', at: at(-95), notification: 'oncall', kind: 'slack', event: 'held', request: id('req'), state: 'retrying', attempts: 4, error: 'the webhook answered 503', next_at: at(40) },
  { id: 'not_2/siem', at: at(-4000), notification: 'siem', kind: 'webhook', event: 'break_glass', request: id('req'), state: 'failed', attempts: 12, error: 'connection refused' },
];
export const ME = () => {
  const sam = who('sam');
  return { signed_in: true, key: sam.key, name: sam.name, roles: ['admin', 'approver'], csrf: hex(32), ends_at: at(12 * 3600), providers: [{ name: 'entra', kind: 'entra' }], version: '0.1.0' };
};
