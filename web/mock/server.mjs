// A stand-in for the gateway: serves the built console with the gateway's own headers, and an API of made-up data that
// answers, races and ticks. `npm run mock`, then http://127.0.0.1:4180. Tests start it on a free port and steer it.

import { createServer } from 'node:http';
import { readFile } from 'node:fs/promises';
import { extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as data from './data.mjs';

export const DIST = fileURLToPath(new URL('../dist/console', import.meta.url));
export const CSP =
  "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'";
export const TYPES = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript; charset=utf-8', '.css': 'text/css; charset=utf-8', '.svg': 'image/svg+xml', '.woff2': 'font/woff2', '.txt': 'text/plain; charset=utf-8' };

export function createMock({ ticking = true } = {}) {
  const state = {
    me: data.ME(),
    requests: new Map(data.requests().map((r) => [r.id, r])),
    sessions: data.sessions(),
    audit: data.audit(),
    policy: { text: data.POLICY_TEXT, managed: 'files', etag: '"1"' },
    streams: new Set(),
    follows: new Set(),
    posts: [],
    fail: {},
    delay: 0,
    event: 0,
    log: [],
  };
  const tell = (event, body) => {
    const id = ++state.event;
    const text = `id: mock-${id}\nevent: ${event}\ndata: ${JSON.stringify(body)}\n\n`;
    state.log.push([id, text]);
    for (const stream of state.streams) stream.write(text);
  };
  const put = (request) => {
    state.requests.set(request.id, request);
    tell('request', request);
  };

  const problem = (response, status, title, detail, next) => json(response, { type: `urn:portcullis:problem:${status}`, title, status, detail, next }, status, 'application/problem+json');
  function json(response, body, status = 200, type = 'application/json') {
    response.writeHead(status, { 'Content-Type': type, 'Cache-Control': 'no-store' });
    response.end(status === 204 ? undefined : JSON.stringify(body));
  }
  const page = (list, query, size = 100) => {
    const from = Number(query.get('cursor') ?? 0);
    const limit = Math.min(Number(query.get('limit') ?? size), 1000);
    return { rows: list.slice(from, from + limit), ...(from + limit < list.length ? { next: from + limit } : {}) };
  };
  const findSession = (id) => state.sessions.find((s) => s.session === id);

  async function api(request, response, path, query) {
    const method = request.method;
    let body = '';
    for await (const chunk of request) body += chunk;
    const asked = body ? JSON.parse(body) : {};
    if (state.delay) await new Promise((resolve) => setTimeout(resolve, state.delay));
    for (const [prefix, status] of Object.entries(state.fail)) {
      if (path.startsWith(prefix)) return problem(response, status, status === 403 ? 'not allowed' : 'the gateway cannot answer now', status === 403 ? 'this needs the role `auditor`' : 'the index is being rebuilt', status === 403 ? undefined : 'try again shortly');
    }
    if (path === '/me') return json(response, state.me.signed_in ? state.me : { signed_in: false, roles: [], providers: state.me.providers, version: state.me.version });
    if (path === '/auth/login') {
      state.me = { ...data.ME(), ...state.signInAs };
      response.writeHead(303, { Location: query.get('next') ?? '/' });
      return response.end();
    }
    if (!state.me.signed_in) return problem(response, 401, 'not signed in', 'sign in first');
    if (method !== 'GET') {
      state.posts.push({ method, path, body: asked });
      if (request.headers['x-portcullis-csrf'] !== state.me.csrf) return problem(response, 403, 'the request was not accepted', 'the CSRF value is missing or old');
    }
    if (path === '/auth/logout') {
      state.me = { ...state.me, signed_in: false };
      return json(response, null, 204);
    }
    let match;
    if (path === '/events') return events(request, response);
    if (path === '/requests' && method === 'GET') {
      let list = [...state.requests.values()];
      if (query.get('state')) list = list.filter((r) => r.state === query.get('state'));
      if (query.get('needs_review')) list = list.filter((r) => r.needs_review);
      if (query.get('connection')) list = list.filter((r) => r.connection === query.get('connection'));
      list.sort((a, b) => (query.get('state') === 'pending' ? a.answer_by.localeCompare(b.answer_by) : b.filed_at.localeCompare(a.filed_at)));
      return json(response, page(list, query));
    }
    if (path === '/requests' && method === 'POST') {
      if (asked.connection === 'prod-logs') return json(response, { id: data.id('win'), connection: 'prod-logs', grant: 'oncall-logs', reason: asked.reason, opened_at: data.at(0), ends_at: data.at(900) }, 201);
      const filed = { ...[...state.requests.values()][1], id: data.id('req'), connection: asked.connection, reason: asked.reason, requester: { key: state.me.key, name: state.me.name, kind: 'user', groups: [], roles: [] }, filed_at: data.at(0), answer_by: data.at(3600), votes: [], can_answer: false, why_not: 'you asked for it yourself', break_glass: !!asked.break_glass, ...(asked.break_glass ? { state: 'approved', needs_review: true, answered_at: data.at(0) } : {}) };
      put(filed);
      return json(response, filed, 202);
    }
    if ((match = /^\/requests\/([^/]+)$/.exec(path))) {
      const found = state.requests.get(match[1]);
      return found ? json(response, found) : problem(response, 404, 'there is no such thing', 'no request has this id, or it is not yours to see');
    }
    if ((match = /^\/requests\/([^/]+)\/(approve|deny|withdraw|review)$/.exec(path))) {
      const found = state.requests.get(match[1]);
      if (!found) return problem(response, 404, 'there is no such thing', 'no request has this id');
      const act = match[2];
      if (state.race) {
        const { race } = state;
        state.race = undefined;
        put({ ...found, state: race.state, answered_at: data.at(0), can_answer: false, votes: [...found.votes, { by: 'x', name: race.name, at: data.at(0), answer: race.state === 'denied' ? 'deny' : 'approve', note: race.note, through: 'slack' }] });
      }
      const now = state.requests.get(match[1]);
      if (act === 'review') {
        put({ ...now, needs_review: false, can_answer: false, review: { by: state.me.key, name: state.me.name, at: data.at(0), note: asked.note } });
        return json(response, state.requests.get(now.id));
      }
      if (now.state !== 'pending') return problem(response, 409, 'the request has been answered', `${now.votes.at(-1)?.name ?? 'somebody'} ${now.state} it a moment ago`);
      if (act === 'deny' && !asked.note) return problem(response, 400, 'a note is needed', 'say why not');
      const given = now.needs[0].given + (act === 'approve' ? 1 : 0);
      const over = act !== 'approve' || given >= now.needs[0].approvals;
      put({
        ...now, needs: [{ ...now.needs[0], given }], can_answer: false, why_not: over ? 'it is answered' : 'you have answered it',
        ...(over ? { state: { approve: 'approved', deny: 'denied', withdraw: 'withdrawn' }[act], answered_at: data.at(0) } : {}),
        votes: act === 'withdraw' ? now.votes : [...now.votes, { by: state.me.key, name: state.me.name, at: data.at(0), answer: act, note: asked.note, lifetime_seconds: asked.lifetime_seconds, through: 'console' }],
      });
      return json(response, state.requests.get(now.id));
    }
    if (path === '/sessions') {
      let list = query.get('history') ? state.sessions : state.sessions.filter((s) => s.state === 'live' || s.state === 'ending');
      if (query.get('connection')) list = list.filter((s) => s.facts?.connection === query.get('connection'));
      if (query.get('identity')) list = list.filter((s) => s.identity === query.get('identity') || s.facts?.principal?.name.includes(query.get('identity')));
      if (query.get('state')) list = list.filter((s) => s.state === query.get('state'));
      if (query.get('text')) list = list.filter((_, n) => n % 4 === 0);
      return json(response, page(list, query));
    }
    if ((match = /^\/sessions\/([^/]+)$/.exec(path))) {
      const found = findSession(match[1]);
      if (!found) return problem(response, 404, 'there is no such thing', 'no session has this id');
      const lines = data.recording(found);
      return json(response, { ...found, recording: found.state === 'refused' ? undefined : { state: found.state === 'live' ? 'open' : found.state === 'lost' ? 'torn' : 'whole', segments: 1, events: lines.length, bytes: 8812, first_at: lines[0].at, last_at: lines.at(-1).at, proof: found.state === 'live' ? { state: 'open', detail: 'sealed when a segment is full or the session ends' } : { state: 'verified', detail: 'every segment is announced in the audit log, under a signed checkpoint', covered_by: 20_852_159 } } });
    }
    if ((match = /^\/sessions\/([^/]+)\/recording$/.exec(path))) {
      const found = findSession(match[1]);
      if (!found) return problem(response, 404, 'there is no such thing', 'there is no recording of this session');
      response.writeHead(200, { 'Content-Type': 'application/x-ndjson', 'Cache-Control': 'no-store' });
      const lines = (found.lines ??= data.recording(found)).filter((line) => line.seq >= Number(query.get('from') ?? 0));
      response.write(lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
      if (query.get('follow') !== 'true' || found.state !== 'live') return response.end();
      const follow = { session: found.session, response };
      state.follows.add(follow);
      response.on('close', () => state.follows.delete(follow));
      return undefined;
    }
    if ((match = /^\/sessions\/([^/]+)\/kill$/.exec(path))) {
      const found = findSession(match[1]);
      Object.assign(found, { state: 'ended', ended_at: data.at(0), reason: { why: 'killed', by: state.me.name, reason: asked.reason } });
      say(found.session, { event: 'ended', reason: found.reason });
      for (const follow of state.follows) if (follow.session === found.session) follow.response.end();
      tell('session', { session: found.session, state: 'ended', connection: found.facts?.connection });
      return json(response, { identity: found.identity, sessions: 1, windows: [], blocked_until: data.at(3600) });
    }
    if (path === '/connections') return json(response, data.connections(query.get('all') === 'true'));
    if (path === '/reach') return json(response, data.reach({ identity: query.get('identity'), connection: query.get('connection') }));
    if (path === '/identities') return json(response, { rows: data.IDENTITIES });
    if (path === '/policy') return json(response, { version: '5b1f0c9be2d74a10', loaded_at: data.at(-86_000), connections: 5, grants: 9, warnings: '', ...(state.rejected ? { rejected: state.rejected } : {}) });
    if (path === '/policy/documents' && method === 'GET') return json(response, { managed: state.policy.managed, etag: state.policy.etag, files: [{ name: 'policy.yaml', text: state.policy.text }, { name: 'policy.d/tests.yaml', text: 'tests:\n  - name: triage reads orders\n    identity: { provider: entra, groups: [incident-triage-agents] }\n    connection: shop-db\n    sql: SELECT count(*) FROM orders\n    expect: allow\n' }], diagnostics: data.DIAGNOSTICS });
    if (path === '/policy/check' || (path === '/policy/documents' && method === 'PUT')) {
      const found = [...data.DIAGNOSTICS];
      for (const file of asked.files ?? []) {
        for (const [n, line] of file.text.split('\n').entries()) {
          const bad = /\b(wehn|scpoe|lifetme)\b/.exec(line);
          if (bad) found.unshift({ severity: 'error', file: file.name, line: n + 1, column: bad.index + 1, message: `unknown key \`${bad[0]}\``, help: [`did you mean \`${{ wehn: 'when', scpoe: 'scope', lifetme: 'lifetime' }[bad[0]]}\`?`], text: line });
        }
      }
      const ok = !found.some((d) => d.severity === 'error');
      if (method === 'PUT') {
        if (state.policy.managed === 'files') return problem(response, 409, 'the documents come from files', 'change the files');
        if (request.headers['if-match'] !== state.policy.etag) return problem(response, 412, 'the documents have changed', 'somebody else saved them');
        if (!ok) return json(response, { type: 'x', title: 'the documents have errors', status: 422, detail: 'nothing was changed', diagnostics: found }, 422, 'application/problem+json');
        state.policy = { ...state.policy, text: asked.files[0].text, etag: `"${Date.now()}"` };
        return json(response, { version: 'c0ffee00c0ffee00', etag: state.policy.etag, diagnostics: found });
      }
      return json(response, { ok, version: ok ? '77aa0c9be2d74a10' : undefined, diagnostics: found });
    }
    if (path === '/policy/explain') {
      const holds = /^\s*(update|delete)\b(?![\s\S]*\bwhere\b)/i.test(asked.sql ?? '');
      const denies = /card_vault|\bdrop\b/i.test(asked.sql ?? '');
      const decision = denies
        ? { verdict: 'deny', rule: { kind: 'guardrail', name: 'no destructive ddl', location: 'policy.yaml:54' }, reason: 'schema changes go through migrations', obligations: [] }
        : holds
          ? { verdict: 'hold', rule: { kind: 'guardrail', name: 'unqualified writes need a person', location: 'policy.yaml:59' }, reason: 'guardrail `unqualified writes need a person` needs a person’s yes', obligations: [{ obligation: 'record' }] }
          : { verdict: 'allow', rule: { kind: 'grant', name: 'triage-shop', location: 'policy.yaml:40' }, reason: 'in scope of grant `triage-shop`', obligations: [{ obligation: 'record' }, { obligation: 'read_only' }] };
      return json(response, { outcome: decision.verdict, decision, operations: asked.sql ? [{ kind: 'select', text: asked.sql, resources: ['read public.orders'], decision }] : [], grants: [{ grant: 'triage-shop', location: 'policy.yaml:40', applies: true, why: 'it is to group:incident-triage-agents' }, { grant: 'deploy-orders', location: 'policy.yaml:44', applies: false, why: 'it is to group:deploy-agents' }], masks: [{ mask: 'card numbers', with: 'last4', location: 'policy.yaml:68', columns: ['payments.card_number'], detect: [] }], policy: '5b1f0c9be2d74a10' });
    }
    if (path === '/audit/events') {
      let list = state.audit;
      const words = (query.get('text') ?? '').toLowerCase().split(/\s+/).filter(Boolean);
      if (words.length) list = list.filter((row) => words.every((w) => JSON.stringify([row.text, row.reason]).toLowerCase().includes(w)));
      for (const key of ['decision', 'session']) if (query.get(key)) list = list.filter((row) => row[key] === query.get(key));
      if (query.get('kind')) list = list.filter((row) => row.event === query.get('kind'));
      if (query.get('rule')) list = list.filter((row) => row.rule?.name === query.get('rule') || row.rule?.kind === query.get('rule'));
      if (query.get('connection')) list = list.filter((row) => row.facts?.connection === query.get('connection'));
      if (query.get('identity')) list = list.filter((row) => row.facts?.principal?.name === query.get('identity'));
      const cursor = Number(query.get('cursor') ?? Infinity);
      const rows = list.filter((row) => row.sequence < cursor).slice(0, Number(query.get('limit') ?? 100));
      return json(response, { rows, ...(rows.length && list.at(-1) !== rows.at(-1) ? { next: rows.at(-1).sequence } : {}) });
    }
    if (path === '/audit/proof') return json(response, data.PROOF());
    if (path === '/notifications/deliveries') return json(response, { rows: data.DELIVERIES() });
    return problem(response, 404, 'there is no such thing', 'nothing answers at this address');
  }

  function events(request, response) {
    response.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' });
    const last = Number(/^mock-(\d+)$/.exec(request.headers['last-event-id'] ?? '')?.[1] ?? 0);
    state.resumed = last;
    response.write(`event: hello\ndata: {"version":"0.1.0"}\n\n`);
    if (last) for (const [id, text] of state.log) if (id > last) response.write(text);
    state.streams.add(response);
    response.on('close', () => state.streams.delete(response));
  }

  /** Adds an event to a live session's recording. */
  function say(session, event) {
    const found = findSession(session);
    found.lines ??= data.recording(found);
    const line = { seq: found.lines.length, at: data.at(0), ...event };
    found.lines.push(line);
    for (const follow of state.follows) if (follow.session === session) follow.response.write(`${JSON.stringify(line)}\n`);
  }

  const server = createServer((request, response) => {
    const { pathname, searchParams } = new URL(request.url, 'http://localhost');
    const work = pathname.startsWith('/api/v1') ? api(request, response, pathname.slice(7), searchParams) : files(pathname, response);
    Promise.resolve(work).catch((error) => {
      if (!response.headersSent) problem(response, 500, 'internal error', String(error));
    });
  });
  async function files(pathname, response) {
    const name = normalize(pathname).replace(/^\/+/, '');
    let [path, type, cache] = [join(DIST, name), TYPES[extname(name)], name.startsWith('assets/') ? 'public, max-age=31536000, immutable' : 'no-cache'];
    let bytes = extname(name) ? await readFile(path).catch(() => undefined) : undefined;
    if (!bytes && !extname(name)) [bytes, type] = [await readFile(join(DIST, 'index.html')), TYPES['.html']];
    response.writeHead(bytes ? 200 : 404, { 'Content-Type': type ?? 'application/octet-stream', 'Cache-Control': cache, 'Content-Security-Policy': CSP, 'X-Content-Type-Options': 'nosniff' });
    response.end(bytes);
  }

  const timers = [];
  if (ticking) {
    timers.push(setInterval(() => {
      const working = [...state.requests.values()].find((r) => r.blast_radius?.state === 'working');
      if (working) put({ ...working, blast_radius: { state: 'ready', estimated_rows: 51_200, qualified: true, tables: [{ table: 'public.audit_notes', columns: [], verb: 'write' }], plan: 'Delete on audit_notes  (cost=0.00..991.00 rows=51200 width=6)' } });
    }, 12_000));
    timers.push(setInterval(() => {
      const live = state.sessions[0];
      if (live.state !== 'live') return;
      say(live.session, { event: 'notice', severity: 'NOTICE', code: '00000', message: 'still held: waiting for an answer' });
    }, 5_000));
  }
  timers.push(setInterval(() => {
    for (const stream of state.streams) stream.write(':\n\n');
  }, 10_000));
  server.on('close', () => timers.forEach(clearInterval));
  return { server, state, tell, put, say, data };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { server } = createMock();
  const port = Number(process.env.PORT ?? 4180);
  server.listen(port, '127.0.0.1', () => console.log(`http://127.0.0.1:${server.address().port}`));
}
