//! One case, directly and through the gateway, and what is wrong with what came back.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{Read, Seek, SeekFrom},
};

use portcullis_core::{AuditEvent, Verdict, decision::DecisionEvent};
use portcullis_dev_idp::TokenSpec;
use portcullis_testkit::PgServer;

use super::{
    answer::{Answer, Client},
    case::{Case, Direct, Expected, Mode, Policy, Setup},
    leaks::{Look, Scanner},
};
use crate::lab::Lab;

/// What a policy hides.
pub struct Hidden {
    scanners: BTreeMap<Policy, Scanner>,
}

impl Hidden {
    pub async fn new(setup: &Setup, server: &PgServer) -> Self {
        let mut scanners = BTreeMap::from([
            (Policy::Columns, Scanner::new(&setup.columns, Look::Disguised)),
            (Policy::FilterAllow, Scanner::new(&setup.cards, Look::Disguised)),
            (Policy::Opaque, Scanner::new(&setup.cards, Look::Disguised)),
            (Policy::Detect, Scanner::new(&setup.detected, Look::Plain)),
            (Policy::Except, Scanner::default()),
        ]);
        // Digests, as the server makes them.
        let mut client = Client::direct(server).await;
        for (policy, values) in [
            (Policy::Columns, &setup.columns),
            (Policy::FilterAllow, &setup.cards),
            (Policy::Opaque, &setup.cards),
        ] {
            let list = values.iter().map(|value| format!("'{value}'")).collect::<Vec<_>>().join(",");
            let ask = format!(
                "SELECT md5(v) || ' ' || encode(sha256(v::bytea), 'hex') FROM unnest(ARRAY[{list}]) v"
            );
            let answer = client.query(&ask).await;
            for (value, row) in values.iter().zip(answer.rows()) {
                let row = String::from_utf8_lossy(&row[6..]).into_owned();
                for digest in row.split(' ') {
                    scanners.get_mut(&policy).unwrap().also(value, digest);
                }
            }
        }
        Self { scanners }
    }

    pub fn in_answer(&self, policy: Policy, answer: &Answer) -> Vec<String> {
        self.scanners[&policy].find(&answer.bytes())
    }
}

/// The server without the gateway.
pub struct Directly<'a> {
    pub server: &'a PgServer,
    pub hidden: &'a Hidden,
    pub superuser: Client,
    session: Option<Client>,
}

impl<'a> Directly<'a> {
    pub async fn new(server: &'a PgServer, hidden: &'a Hidden) -> Self {
        Self { server, hidden, superuser: Client::direct(server).await, session: None }
    }

    /// What the server says, and whether the case is about something.
    pub async fn run(&mut self, case: &Case, mode: Mode) -> (Answer, Vec<String>) {
        self.aside(&case.before).await;
        let mut session = match self.session.take() {
            Some(session) if case.shares() && !session.closed => session,
            _ => Client::direct(self.server).await,
        };
        let answer = session.say(&case.rounds(mode)).await;
        self.session = case.shares().then_some(session);
        self.aside(&case.after).await;
        let wrong = self.is_vacuous(case, &answer);
        (answer, wrong)
    }

    /// Something the superuser does beside it.
    pub async fn aside(&mut self, sql: &str) {
        if !sql.is_empty() {
            let answer = self.superuser.query(sql).await;
            assert!(answer.errors().is_empty(), "{sql}: {:?}", answer.errors());
        }
    }

    fn is_vacuous(&self, case: &Case, answer: &Answer) -> Vec<String> {
        let mut wrong = Vec::new();
        let errors = answer.errors();
        let fails = matches!(case.direct, Direct::Fails | Direct::SilentFailure);
        if errors.is_empty() == fails || answer.closed {
            wrong.push(format!("directly: {errors:?}"));
        }
        if let Some(malformed) = answer.malformed() {
            wrong.push(format!("directly malformed: {malformed}"));
        }
        if case.expect == Expected::Clear {
            if case.policy != Policy::Except
                && let Some(leak) = self.hidden.in_answer(case.policy, answer).first()
            {
                wrong.push(format!("directly it is not clear: {leak}"));
            }
            return wrong;
        }
        let shows = !self.hidden.in_answer(case.policy, answer).is_empty();
        match case.direct {
            Direct::Shows | Direct::Fails if !shows && case.checks.hides.is_empty() => {
                wrong.push(format!("directly it shows nothing: {errors:?}"));
            }
            Direct::Silent | Direct::SilentFailure if shows => {
                wrong.push("directly it is not silent".to_owned())
            }
            _ => {}
        }
        let bytes = answer.bytes();
        for hides in &case.checks.hides {
            if !contains(&bytes, hides) {
                wrong.push(format!("directly there is no `{hides}` to hide"));
            }
        }
        wrong
    }
}

/// What became of a run through the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    Masked,
    Refused,
    Failed,
    Same,
}

/// The gateway.
pub struct Through<'a> {
    pub lab: &'a Lab,
    setup: &'a Setup,
    hidden: &'a Hidden,
    journal: portcullis_audit::Reader,
    log: File,
    tokens: BTreeMap<Policy, String>,
    sessions: BTreeMap<Policy, Client>,
    /// How many statements or lists of them were said.
    pub runs: usize,
}

impl<'a> Through<'a> {
    pub fn new(lab: &'a Lab, setup: &'a Setup, hidden: &'a Hidden) -> Self {
        let journal = lab.gate.journal.reader(portcullis_audit::Position::START);
        let log = File::open(lab.server.socket_dir().join("log")).unwrap();
        Self { lab, setup, hidden, journal, log, tokens: BTreeMap::new(), sessions: BTreeMap::new(), runs: 0 }
    }

    async fn session(&mut self, case: &Case, wrong: &mut Vec<String>) -> Client {
        if case.shares()
            && let Some(session) = self.sessions.remove(&case.policy)
            && !session.closed
        {
            return session;
        }
        let mint =
            || self.lab.mint(&TokenSpec::new(self.setup.principals.of(case.policy), "api://portcullis"));
        let token = self.tokens.entry(case.policy).or_insert_with(mint);
        let (session, greeting) = Client::through(self.lab.address, token).await;
        if !greeting.is_ready() {
            wrong.push(format!("the session was not opened: {:?}", greeting.errors()));
        }
        session
    }

    /// Ends the sessions that are kept open between cases.
    pub fn leave(&mut self) {
        self.sessions.clear();
    }

    fn decisions(&mut self) -> Vec<DecisionEvent> {
        let mut decisions = Vec::new();
        while let Some(entry) = self.journal.read().unwrap() {
            if let AuditEvent::Decision(decision) = entry.event().unwrap() {
                decisions.push(decision);
            }
        }
        decisions
    }

    /// What became of it, and what is wrong with that.
    pub async fn run(&mut self, case: &Case, mode: Mode, direct: Option<&Answer>) -> (Outcome, Vec<String>) {
        self.runs += 1;
        let mut wrong = Vec::new();
        let mut session = self.session(case, &mut wrong).await;
        let mark = self.log.seek(SeekFrom::End(0)).unwrap();
        self.decisions();
        let answer = session.say(&case.rounds(mode)).await;
        if answer.closed {
            wrong.push(format!("the session ended: {:?}", answer.errors()));
        } else if case.shares() {
            self.sessions.insert(case.policy, session);
        }
        let denied: Vec<DecisionEvent> =
            self.decisions().into_iter().filter(|decision| decision.decision == Verdict::Deny).collect();
        for leak in self.hidden.in_answer(case.policy, &answer) {
            wrong.push(format!("LEAK: {leak}"));
        }
        let bytes = answer.bytes();
        for hides in &case.checks.hides {
            if contains(&bytes, hides) {
                wrong.push(format!("LEAK: `{hides}`"));
            }
        }
        let outcome = self.judge(case, &answer, direct, &denied, mark, &mut wrong);
        if outcome != Outcome::Refused {
            for shows in &case.checks.shows {
                if !contains(&bytes, shows) && mode != Mode::CopyBinary {
                    wrong.push(format!("`{shows}` is not shown"));
                }
            }
        }
        (outcome, wrong)
    }

    fn judge(
        &mut self,
        case: &Case,
        answer: &Answer,
        direct: Option<&Answer>,
        denied: &[DecisionEvent],
        mark: u64,
        wrong: &mut Vec<String>,
    ) -> Outcome {
        if !denied.is_empty() || answer.errors().iter().any(|told| told.code == "42501") {
            self.refusal(answer, denied, mark, wrong);
            if !matches!(case.expect, Expected::Refused | Expected::Hidden) {
                let reasons: Vec<_> = denied.iter().map(|decision| &decision.reason).collect();
                wrong.push(format!("it is refused: {reasons:?}"));
            }
            return Outcome::Refused;
        }
        if case.expect == Expected::Refused {
            wrong.push("it is not refused".to_owned());
        }
        let Some(direct) = direct else { return Outcome::Failed };
        let codes = |answer: &Answer| answer.errors().into_iter().map(|told| told.code).collect::<Vec<_>>();
        if codes(answer) != codes(direct) {
            wrong.push(format!("directly {:?}, here {:?}", direct.errors(), answer.errors()));
            return Outcome::Failed;
        }
        if answer.comparable() == direct.comparable() {
            if case.expect == Expected::Masked && case.direct == Direct::Shows {
                wrong.push("it is as it is without a mask".to_owned());
            }
            return Outcome::Same;
        }
        if case.expect == Expected::Clear {
            let (here, there) = (answer.comparable(), direct.comparable());
            let first = here.iter().zip(&there).find(|(a, b)| a != b);
            let show = |(tag, body): &(char, Vec<u8>)| format!("{tag} {}", body.escape_ascii());
            let first = first.map(|(a, b)| format!("{} instead of {}", show(a), show(b)));
            wrong.push(format!(
                "it is not the same: {first:?}, {} instead of {}",
                answer.shape(),
                direct.shape()
            ));
        }
        if answer.shape() != direct.shape() {
            wrong.push(format!("the messages are {} instead of {}", answer.shape(), direct.shape()));
        }
        if answer.columns() != direct.columns() {
            wrong.push(format!("the columns are {:?} instead of {:?}", answer.columns(), direct.columns()));
        }
        if answer.tags() != direct.tags() || answer.rows().len() != direct.rows().len() {
            wrong.push("the rows are others in number".to_owned());
        }
        if let Some(malformed) = answer.malformed() {
            wrong.push(format!("malformed: {malformed}"));
        }
        if answer.errors().is_empty() { Outcome::Masked } else { Outcome::Failed }
    }

    /// A refusal: what the client saw, that the server heard nothing, what was audited.
    fn refusal(&mut self, answer: &Answer, denied: &[DecisionEvent], mark: u64, wrong: &mut Vec<String>) {
        let errors = answer.errors();
        let told = errors.iter().find(|told| told.code == "42501");
        match told {
            None => wrong.push(format!("refused, and the client saw {errors:?}")),
            Some(told) => {
                if !RULES.iter().any(|rule| told.text.contains(rule)) {
                    wrong.push(format!("the refusal names no rule: {told:?}"));
                }
                if !COLUMNS.iter().any(|column| told.text.contains(column)) {
                    wrong.push(format!("the refusal names no column: {told:?}"));
                }
            }
        }
        if denied.is_empty() {
            wrong.push("refused, and not audited".to_owned());
        }
        let mut heard = String::new();
        self.log.seek(SeekFrom::Start(mark)).unwrap();
        let mut bytes = Vec::new();
        self.log.read_to_end(&mut bytes).unwrap();
        heard.push_str(&String::from_utf8_lossy(&bytes));
        for decision in denied {
            if decision.rule.kind != "mask" {
                wrong.push(format!("denied by {}: {}", decision.rule, decision.reason));
            }
            let first = decision.text.lines().next().unwrap_or_default().trim();
            if first.len() > 12 && heard.contains(first) {
                wrong.push(format!("the server heard `{first}`"));
            }
        }
    }
}

/// The masks of `masks.yaml`, one of which every refusal names.
const RULES: [&str; 8] = [
    "card numbers",
    "addresses",
    "security numbers",
    "bank accounts",
    "wallets",
    "cards to be filtered by",
    "what looks like a secret",
    "cards, and code is trusted",
];
/// The columns they name.
const COLUMNS: [&str; 15] = [
    "card_number",
    "holder",
    "email",
    "ssn",
    "iban",
    "number",
    "pan",
    "scan",
    "doc",
    "raw",
    "tags",
    "reach",
    "Odd ",
    "born",
    "most_common_vals",
];

fn contains(haystack: &[u8], needle: &str) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle.as_bytes())
}
