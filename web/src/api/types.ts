// What the gateway's API says, as the console uses it: the types of its OpenAPI document (`npm run types`), with the words that
// the document only describes, and without the nulls that are never sent. What the document leaves open stands here whole.

import type { components } from './openapi.ts';

type Schemas = components['schemas'];
/** What is absent is left out, never null. */
type Said<T> = T extends readonly (infer U)[]
  ? Said<U>[]
  : T extends object
    ? { [K in keyof T]: object extends Pick<T, K> ? Said<Exclude<T[K], null>> : Said<T[K]> }
    : T;
type Schema<Name extends keyof Schemas> = Said<Schemas[Name]>;
/** The same with some fields said more precisely; they must be fields of it, and fit. */
type With<T, N extends { [K in keyof N]: K extends keyof T ? T[K] : never }> = Omit<T, keyof N> & N;

export type Role = 'viewer' | 'approver' | 'auditor' | 'admin';
export type PrincipalKind = 'agent' | 'application' | 'user';
export type Verdict = 'allow' | 'hold' | 'deny';

export type GroupRef = Schema<'GroupRef'>;
export type RuleRef = Schema<'RuleRef'>;
export type Provider = Schema<'ProviderView'>;
/** `GET /me`: who is signed in. `csrf` goes into a header of every write. */
export type Me = With<Schema<'MeView'>, { roles: Role[]; kind?: PrincipalKind | 'administrator' }>;
/** RFC 9457. */
export type ProblemBody = Schema<'ProblemBody'> & { diagnostics?: Diagnostic[] };
/** `next` is the cursor of the page after. */
export type Page<T> = { rows: T[]; next?: number };

// Requests

export type RequestKind = 'window' | 'operation' | 'commit';
export type RequestState = 'pending' | 'approved' | 'denied' | 'expired' | 'withdrawn';
export type Requester = With<Schema<'RequesterView'>, { kind: PrincipalKind }>;
export type Vote = With<Schema<'VoteView'>, { answer: 'approve' | 'deny' }>;
export type HeldOperation = With<Schema<'OperationView'>, { mode: 'live' | 'ticket' | 'commit' }>;
export type BlastRadius = With<Schema<'BlastView'>, { state: 'working' | 'ready' | 'unavailable' }>;
export type AccessRequest = With<
  Schema<'RequestView'>,
  { kind: RequestKind; state: RequestState; requester: Requester; votes: Vote[]; operation?: HeldOperation; blast_radius?: BlastRadius }
>;

// Connections and windows

export type Window = Schema<'Window'>;
export type GrantView = With<Schema<'GrantView'>, { when: 'always' | 'requested' | 'approved' }>;
export type ConnectionView = With<Schema<'ConnectionView'>, { grants: GrantView[]; health?: With<Schema<'HealthView'>, { state: 'up' | 'down' | 'unknown' }> }>;

// Sessions and recordings

export type SessionState = Schemas['SessionState'];
export type EndReason = Schema<'EndReason'>;
type Principal = With<Schema<'Principal'>, { kind: PrincipalKind }>;
export type SessionFacts = With<Schema<'SessionFacts'>, { principal: Principal | null }>;
export type SessionView = With<Schema<'SessionView'>, { facts?: SessionFacts }>;
export type RecordingView = Schema<'RecordingView'> & {
  proof?: { state: 'verified' | 'unverified' | 'broken' | 'open'; detail?: string; covered_by?: number };
};
export type SessionDetail = With<Schema<'SessionDetail'>, { facts?: SessionFacts; recording?: RecordingView }>;
export type KillAnswer = Schema<'KillAnswer'>;

// Who reaches what

export type Identity = With<Schema<'IdentityView'>, { kind: PrincipalKind }>;
export type ReachView = Omit<Schema<'ReachView'>, 'rows'> & {
  /** Without an identity: the ways of everybody to the connection that was asked for. */
  rows: { identity?: Identity; ways: Way[] }[];
};

// Policy

export type Diagnostic = With<Schema<'DiagnosticView'>, { severity: 'error' | 'warning' }>;
export type Rejected = With<Schema<'Rejected'>, { diagnostics?: Diagnostic[] }>;
export type PolicyView = With<Schema<'PolicyView'>, { rejected?: Rejected }>;
export type PolicyFile = Schema<'DocumentFile'>;
export type PolicyDocuments = With<Schema<'DocumentsView'>, { diagnostics: Diagnostic[]; rejected?: Rejected }>;
export type CheckAnswer = With<Schema<'PolicyChecked'>, { diagnostics: Diagnostic[] }>;

// Audit and notices

export type AuditProof = Schema<'ProofView'>;
export type Delivery = With<Schema<'DeliveryView'>, { state: 'queued' | 'delivered' | 'retrying' | 'failed' }>;

// What the document leaves open: lines of a recording, and what the commands print as JSON

export interface ColumnView {
  name: string;
  type: string;
  masked?: boolean;
}

export interface ParameterView {
  type?: string;
  value: string | null;
  cut_from?: number;
}

/** One line of a recording. `number` is the decision's, by which events of one statement belong together. */
export type RecordingEvent = { seq: number; at: string } & (
  | { event: 'began'; facts: SessionFacts }
  | {
      event: 'statement';
      number: number;
      text: string;
      text_cut_from?: number;
      decision: Verdict;
      rule: RuleRef;
      reason: string;
      parameters?: ParameterView[];
    }
  | { event: 'columns'; number: number; columns: ColumnView[] }
  | { event: 'row'; number: number; values: (string | null)[] }
  | { event: 'copy_data'; number: number; data: string }
  | { event: 'cut'; number: number }
  | { event: 'done'; number: number; tag: string; rows: number; bytes: number }
  | { event: 'failed'; number: number; code: string; message: string }
  | { event: 'notice'; severity: string; code: string; message: string }
  | { event: 'note'; text: string }
  | { event: 'ended'; reason: EndReason }
  | { event: 'error'; error: string }
);

export interface Way {
  connection: string;
  protocol: string;
  description?: string;
  grant: string;
  to: string[];
  when: 'always' | 'requested' | 'approved';
  lifetime?: string;
  scope: string[];
  condition?: string;
  recorded: boolean;
  guardrails: string[];
  masks: string[];
  location: string;
  approvers?: string[];
  approvals?: number;
}

export interface Decision {
  verdict: Verdict;
  rule: RuleRef;
  reason: string;
  obligations: { obligation: string; rule?: RuleRef; message?: string }[];
}

export interface Explanation {
  outcome: 'allow' | 'deny' | 'hold' | 'needs-request' | 'needs-approval';
  decision: Decision;
  operations: { kind: string; text: string; resources: string[]; decision: Decision }[];
  grants: { grant: string; location: string; applies: boolean; why: string }[];
  masks: { mask: string; with: string; location: string }[];
  policy: string;
}

/** One event of the audit log: the fields depend on `event`. */
export interface AuditRow {
  sequence: number;
  event: string;
  at?: string;
  started_at?: string;
  session?: string;
  facts?: SessionFacts;
  [field: string]: unknown;
}
