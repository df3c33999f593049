// What requests are called, in one place.

import type { AccessRequest } from '../api/types.ts';
import type { IconName } from '../ui/Icon.svelte';
import { duration, oneLine, plural } from '../lib/format.ts';
import { plain } from '../lib/reveal.ts';

export function iconOf(request: AccessRequest): IconName {
  if (request.break_glass) return 'flame';
  if (request.kind === 'window') return 'window';
  return request.kind === 'commit' ? 'commit' : 'play';
}

/** One line that says what would happen. */
export function titleOf(request: AccessRequest): string {
  const { operation } = request;
  if (request.kind === 'commit') return `Commit ${plural(operation?.rows ?? 0, 'changed row')}`;
  if (request.kind === 'operation') return oneLine(plain(operation?.text ?? 'an operation'), 120);
  const length = request.lifetime_seconds ? ` for ${duration(request.lifetime_seconds)}` : '';
  return `${request.break_glass ? 'Break-glass access' : 'Access'}${length}`;
}

export function kindOf(request: AccessRequest): string {
  if (request.break_glass) return 'break-glass';
  if (request.kind === 'window') return 'access';
  if (request.kind === 'commit') return 'commit held';
  return request.operation?.mode === 'ticket' ? 'ticket' : 'operation held';
}

export const STATES: Record<AccessRequest['state'], { word: string; tone: string }> = {
  pending: { word: 'waiting', tone: 'warn' },
  approved: { word: 'approved', tone: 'ok' },
  denied: { word: 'denied', tone: 'bad' },
  expired: { word: 'expired', tone: '' },
  withdrawn: { word: 'withdrawn', tone: '' },
};

/** `group:oncall` as `oncall` with its sort. */
export function subject(text: string): { sort: string; name: string } {
  const colon = text.indexOf(':');
  return colon < 0 ? { sort: '', name: text } : { sort: text.slice(0, colon), name: text.slice(colon + 1) };
}
