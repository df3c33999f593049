import type { EndReason, SessionState, SessionView } from '../api/types.ts';
import { plain } from '../lib/reveal.ts';

export const STATES: Record<SessionState, { word: string; tone: string }> = {
  live: { word: 'live', tone: 'ok' },
  ending: { word: 'ending', tone: 'warn' },
  ended: { word: 'ended', tone: '' },
  refused: { word: 'refused', tone: 'bad' },
  lost: { word: 'lost', tone: 'warn' },
};

const WHY: Record<string, string> = {
  client_quit: 'the client disconnected',
  upstream_quit: 'the upstream closed',
  window_over: 'the access window was over',
  identity_revoked: 'the identity was revoked',
  grant_removed: 'access was removed',
  killed: 'killed',
  drained: 'the gateway was shut down',
  protocol_violation: 'protocol violation',
  not_recorded: 'it could not be recorded',
  not_masked: 'a result could not be masked',
  internal: 'internal error',
};

export function reasonOf(reason: EndReason): string {
  const by = reason.by ? ` by ${reason.by}` : '';
  const detail = reason.reason || reason.detail;
  return plain(`${WHY[reason.why] ?? reason.why}${by}${detail ? `: ${detail}` : ''}`);
}

/** Ends nobody planned. */
export function isOdd(reason: EndReason | undefined): boolean {
  return !!reason && !['client_quit', 'window_over', 'drained'].includes(reason.why);
}

export function isLive(session: SessionView): boolean {
  return session.state === 'live' || session.state === 'ending';
}

export function nameOf(session: SessionView): string {
  return session.facts?.principal?.name ?? session.identity ?? 'not identified';
}
