// What the gateway's API says, as the console uses it. Times are RFC 3339. Fields are added, never renamed.

export type Role = 'viewer' | 'approver' | 'auditor' | 'admin';

export interface Provider {
  name: string;
  kind: string;
}

/** `GET /me`: who is signed in. `csrf` goes into a header of every write. */
export interface Me {
  signed_in: boolean;
  key?: string;
  name?: string;
  roles: Role[];
  csrf?: string;
  ends_at?: string;
  idle_seconds?: number;
  kind?: PrincipalKind | 'administrator';
  providers: Provider[];
  version: string;
}

/** RFC 9457. */
export interface ProblemBody {
  type: string;
  title: string;
  status: number;
  detail: string;
  next?: string;
  diagnostics?: Diagnostic[];
}

/** `next` is the cursor of the page after. */
export interface Page<T> {
  rows: T[];
  next?: number | null;
}

export type PrincipalKind = 'agent' | 'application' | 'user';

export interface GroupRef {
  id: string;
  name?: string;
}

export interface RuleRef {
  kind: string;
  name: string;
  location?: string;
}

// Requests

export type RequestKind = 'window' | 'operation' | 'commit';
export type RequestState = 'pending' | 'approved' | 'denied' | 'expired' | 'withdrawn';

export interface Requester {
  key: string;
  name: string;
  kind: PrincipalKind;
  application_id?: string;
  groups: GroupRef[];
  roles: string[];
}

export interface Need {
  rule: RuleRef;
  approvers: string[];
  approvals: number;
  given: number;
}

export interface Vote {
  by: string;
  name: string;
  at: string;
  answer: 'approve' | 'deny';
  note?: string;
  lifetime_seconds?: number;
  through: string;
}

export interface Review {
  by: string;
  name: string;
  at: string;
  note: string;
}

export interface Resource {
  verb: string;
  resource: string;
  columns: string[];
}

/** A part of the text a rule matched; `from` and `to` are offsets in UTF-8 bytes. */
export interface Highlight {
  from: number;
  to: number;
  rule: string;
}

export interface Bind {
  position: number;
  /** Empty where it is not known. */
  type: string;
  /** Empty where it is null. */
  value: string;
  cut: boolean;
  null: boolean;
}

export interface HeldOperation {
  session: string;
  mode: 'live' | 'ticket' | 'commit';
  /** Absent for who may not see it. */
  text?: string;
  text_cut_from?: number;
  statement: string;
  resources: Resource[];
  qualified?: boolean;
  highlights: Highlight[];
  binds: Bind[];
  in_transaction: boolean;
  hash: string;
  rows?: number;
  statements: { number: number; text: string; rows?: number }[];
  used_at?: string;
  good_until?: string;
}

export interface Sample {
  columns: string[];
  rows: (string | null)[][];
}

export interface BlastRadius {
  state: 'working' | 'ready' | 'unavailable';
  why?: string;
  estimated_rows?: number;
  plan?: string;
  tables: { table: string; columns: string[]; verb: string }[];
  qualified?: boolean;
  exact_rows?: number;
  /** Why they were not counted, where the guardrail asks for it. */
  not_counted?: string;
  before?: Sample;
  after?: Sample;
}

export interface AccessRequest {
  id: string;
  kind: RequestKind;
  state: RequestState;
  requester: Requester;
  connection: string;
  database?: string;
  /** The first of the rules that ask for a person. */
  rule?: RuleRef;
  needs: Need[];
  reason: string;
  source?: string;
  client?: string;
  filed_at: string;
  answer_by: string;
  answered_at?: string;
  votes: Vote[];
  note?: string;
  break_glass: boolean;
  review?: Review | null;
  needs_review: boolean;
  policy?: string;
  lifetime_seconds?: number;
  scope?: string[];
  window?: { id: string; opened_at: string; ends_at: string };
  operation?: HeldOperation;
  blast_radius?: BlastRadius;
  can_answer: boolean;
  why_not?: string;
  link?: string;
}

// Connections and windows

export interface Window {
  id: string;
  name?: string;
  grant: string;
  connection: string;
  reason: string;
  opened_at: string;
  ends_at: string;
}

export interface GrantView {
  grant: string;
  when: 'always' | 'requested' | 'approved';
  lifetime_seconds?: number;
  scope: string[];
  recorded: boolean;
  conditional: boolean;
  approvers?: string[];
  approvals?: number;
  reason_required?: boolean;
  break_glass?: boolean;
}

export interface ConnectionView {
  connection: string;
  protocol: string;
  description?: string;
  database?: string;
  open: boolean;
  grants: GrantView[];
  windows: Window[];
  address?: string;
  via?: string;
  health?: { state: 'up' | 'down' | 'unknown'; checked_at?: string; detail?: string };
  to?: string[];
  live_sessions?: number;
}

// Sessions and recordings

export type SessionState = 'live' | 'ending' | 'ended' | 'refused' | 'lost';

export interface Principal {
  provider: string;
  tenant?: string;
  object_id: string;
  application_id?: string;
  kind: PrincipalKind;
  name: string;
  token_id: string;
  groups: GroupRef[];
  roles: string[];
}

export interface SessionFacts {
  session: string;
  started_at: string;
  protocol: string;
  source: { address: string; via?: string };
  client: string;
  principal?: Principal;
  connection?: string;
  database?: string;
  grants?: string[];
  window?: string;
  ends_at?: string;
}

export interface EndReason {
  why: string;
  detail?: string;
  by?: string;
  reason?: string;
}

export interface SessionView {
  session: string;
  started_at: string;
  state: SessionState;
  reason?: EndReason;
  ended_at?: string;
  identity?: string;
  facts?: SessionFacts;
  statements: number;
  denied?: number;
  bytes_in: number;
  bytes_out: number;
}

export interface RecordingView {
  state: string;
  segments: number;
  events: number;
  bytes: number;
  first_at?: string;
  last_at?: string;
  problem?: string;
  proof?: { state: 'verified' | 'unverified' | 'broken' | 'open'; detail?: string; covered_by?: number };
}

export interface SessionDetail extends SessionView {
  recording?: RecordingView;
}

export type Verdict = 'allow' | 'hold' | 'deny';

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

export interface KillAnswer {
  identity: string;
  sessions: number;
  windows: string[];
  blocked_until?: string;
  problems?: string[];
}

// Reach

export interface Identity {
  key: string;
  name: string;
  kind: PrincipalKind;
  application_id?: string;
  groups: GroupRef[];
  last_seen_at?: string;
  blocked_until?: string;
}

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

export interface ReachView {
  /** Without an identity: the ways of everybody to the connection that was asked for. */
  rows: { identity?: Identity; ways: Way[] }[];
  connections: string[];
  policy?: string;
}

// Policy

export interface Diagnostic {
  severity: 'error' | 'warning';
  file: string;
  line: number;
  column: number;
  message: string;
  help?: string[];
  text: string;
}

export interface PolicyView {
  version: string;
  loaded_at: string;
  connections: number;
  grants: number;
  warnings: string;
  rejected?: Rejected;
}

export interface Rejected {
  at: string;
  errors: string;
  diagnostics?: Diagnostic[];
}

export interface PolicyFile {
  name: string;
  text: string;
}

export interface PolicyDocuments {
  managed: 'files' | 'api';
  etag: string;
  files: PolicyFile[];
  diagnostics: Diagnostic[];
  rejected?: Rejected;
}

export interface CheckAnswer {
  ok: boolean;
  version?: string;
  diagnostics: Diagnostic[];
}

export interface Decision {
  verdict: Verdict;
  rule: RuleRef;
  reason: string;
  obligations: { obligation: string; rule?: RuleRef; message?: string }[];
}

export interface Explanation {
  outcome: 'allow' | 'deny' | 'hold' | 'needs-request';
  decision: Decision;
  operations: { kind: string; text: string; resources: string[]; decision: Decision }[];
  grants: { grant: string; location: string; applies: boolean; why: string }[];
  masks: { mask: string; with: string; location: string }[];
  policy: string;
}

// Audit

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

export interface AuditProof {
  key: string;
  events: number;
  checkpoint: { size: number; root: string; at?: string; note: string };
  /** Events that no checkpoint covers yet. */
  lag: number;
  /** Why signing fails, where it does. */
  failure?: string;
}

export interface Delivery {
  id: string;
  at: string;
  notification: string;
  kind: string;
  event: string;
  request: string;
  state: 'queued' | 'delivered' | 'retrying' | 'failed';
  attempts: number;
  error?: string;
  next_at?: string;
}

export interface KnownIdentities {
  rows: Identity[];
}
