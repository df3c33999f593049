//! What a text means besides its names: settings. Part of what is approved, because a ticket is used in any session of its principal.
//!
//! What the server reports of its settings is what is in force. Of what it does not report only that it has not moved since is
//! certain: an approval is then for this session, and for nothing that stands behind the next change.

use std::collections::BTreeMap;

use portcullis_core::SessionId;
use portcullis_sql::SettingChange;

use super::Judge;
use crate::session::names::Prepared;

/// Settings that the server reports, and that decide what a constant means.
const REPORTED: [&str; 3] = ["datestyle", "intervalstyle", "timezone"];

/// Settings that change nothing of what a statement does, or that are judged by themselves (`search_path`, by what names then mean).
const IDLE: [&str; 21] = [
    "application_name",
    "bytea_output",
    "check_function_bodies",
    "client_connection_check_interval",
    "client_encoding",
    "client_min_messages",
    "escape_string_warning",
    "extra_float_digits",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "jit",
    "lock_timeout",
    "maintenance_work_mem",
    "plan_cache_mode",
    "quote_all_identifiers",
    "search_path",
    "standard_conforming_strings",
    "statement_timeout",
    "synchronous_commit",
    "transaction_timeout",
    "work_mem",
];

/// What decides it, as far as it is known.
#[derive(Debug, Default)]
pub(super) struct Meaning {
    /// What the client asked for as it connected.
    began: Box<str>,
    reported: BTreeMap<Box<str>, Box<[u8]>>,
    /// How often something moved that the server does not report; zero: never.
    moved: u64,
    /// Something moved since no transaction was open: its end may take that back.
    within: bool,
    /// What is reported was changed, and the report has perhaps not come.
    unsettled: bool,
}

impl Meaning {
    /// Something moves.
    pub(super) fn moves(&mut self) {
        self.moved += 1;
        self.within = true;
    }

    fn takes(&mut self, change: &SettingChange) {
        let reset_all = change.reset && &*change.name == "all";
        self.unsettled |= reset_all || REPORTED.contains(&&*change.name);
        // Back to what the session began with, where it still is there.
        if reset_all && self.moved == 0 || REPORTED.contains(&&*change.name) {
            return;
        }
        if !IDLE.contains(&&*change.name) {
            self.moves();
        }
    }

    /// What moved may have been taken back.
    fn may_go_back(&mut self) {
        self.moved += u64::from(self.within);
    }

    fn words(&self, session: SessionId) -> String {
        let mut words = format!("{} {:?}", self.began, self.reported);
        if self.moved > 0 || self.unsettled {
            words = format!("{words} {session} {} {}", self.moved, self.unsettled);
        }
        words
    }
}

impl Judge {
    /// The client connected with these parameters.
    pub(crate) fn begins_with(&mut self, parameters: &[(String, String)]) {
        let tells = |name: &str| {
            let name = name.to_ascii_lowercase();
            !(IDLE.contains(&&*name) || REPORTED.contains(&&*name))
        };
        let told: Vec<_> = parameters.iter().filter(|(name, _)| tells(name)).collect();
        self.meaning.began = format!("{told:?}").into();
    }

    /// The server reported a setting.
    pub(in crate::inspect) fn setting_is(&mut self, name: &[u8], value: &[u8]) {
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        if REPORTED.contains(&&*name) {
            self.meaning.reported.insert(name.into(), value.into());
        }
    }

    /// What decides what a text means in this session now, besides what its names were resolved to: the same where it is the same.
    pub(in crate::inspect) fn meaning(&self, session: SessionId) -> String {
        self.meaning.words(session)
    }

    /// A text is sent: what it sets, and whether it may take back what was set.
    pub(super) fn means_from_now(&mut self, analysis: &Prepared, settings: &[SettingChange], opaque: bool) {
        if analysis.statements().iter().any(|statement| statement.transaction().is_some()) {
            self.meaning.may_go_back();
        }
        settings.iter().for_each(|change| self.meaning.takes(change));
        if opaque {
            self.means_another();
        }
    }

    /// Code runs that nobody sees into: it may have set anything.
    pub(super) fn means_another(&mut self) {
        self.meaning.unsettled = true;
        self.meaning.moves();
    }

    /// What was sent has been answered; where it failed, what it set is gone.
    pub(super) fn meaning_answered(&mut self, errored: bool) {
        if errored {
            self.meaning.may_go_back();
        }
    }

    /// Everything sent has been answered.
    pub(super) fn meaning_landed(&mut self, outside_transaction: bool) {
        self.meaning.unsettled = false;
        if outside_transaction {
            self.meaning.may_go_back();
            self.meaning.within = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use portcullis_core::Timestamp;
    use portcullis_sql::{SettingScope, SettingValue};

    use super::*;

    fn set(name: &str) -> SettingChange {
        SettingChange {
            name: name.into(),
            value: SettingValue::Known("x".into()),
            scope: SettingScope::Session,
            reset: false,
        }
    }

    #[test]
    fn sessions_mean_the_same_until_something_moves_and_never_after() {
        let [one, two] = [1, 2].map(|at| SessionId::generate(Timestamp::from_micros(at)));
        let (mut here, there) = (Meaning::default(), Meaning::default());
        assert_eq!(here.words(one), there.words(two));
        here.takes(&set("statement_timeout"));
        assert_eq!(here.words(one), there.words(two));
        here.takes(&set("datestyle"));
        assert_ne!(here.words(one), there.words(one));
        here.unsettled = false;
        here.takes(&SettingChange { reset: true, ..set("all") });
        here.unsettled = false;
        assert_eq!(here.words(one), there.words(two));
        for name in ["role", "app.tenant", "row_security", "all"] {
            let before = here.words(one);
            here.takes(&set(name));
            assert_ne!(here.words(one), before, "{name}");
            assert_ne!(here.words(one), here.words(two), "{name}");
        }
        // A transaction that ends, or goes back to a savepoint, may have taken it back.
        let before = here.words(one);
        here.may_go_back();
        assert_ne!(here.words(one), before);
    }
}
