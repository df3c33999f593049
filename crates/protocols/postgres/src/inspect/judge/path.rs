//! The search path, as far as it can be known: what a session sets, what the server reports or is asked for.

use portcullis_sql::{SearchPath, SettingChange, SettingScope, SettingValue};

use super::Judge;
use crate::session::names::Prepared;

/// What was sent since nothing was in flight. Only a `SET search_path` that is all there is, that ran and did not fail, outside
/// of a transaction, certainly sticks.
#[derive(Debug)]
pub(super) enum Alone {
    Nothing,
    /// A plain `SET search_path`; whether it was told to run (a `Bind` alone runs nothing), and by which portal.
    SearchPath {
        path: SearchPath,
        portal: Vec<u8>,
        runs: bool,
    },
    /// Anything else.
    Other,
}

impl Judge {
    /// Whether names without a schema cannot be resolved because the search path may be any.
    pub(in crate::inspect) fn misses_search_path(&self) -> bool {
        self.paths.is_unknown() && !self.needs_no_catalog()
    }

    /// The server showed its search path and whose it is while nothing was in flight and no transaction was open: it is what is in force.
    /// Whether it could be read.
    pub(in crate::inspect) fn search_path_was_shown(&mut self, value: &str, user: &str) -> bool {
        let Some(path) = SearchPath::parse(value, user) else { return false };
        self.role_moved = *user != *self.user;
        self.paths.settle(path);
        self.epoch += 1;
        true
    }

    /// Takes changes of settings into account, whether or not they stick.
    pub(super) fn take_settings(&mut self, settings: &[SettingChange]) {
        for change in settings {
            // `$user` in the path is another one then.
            if change.concerns("role") || change.concerns("session_authorization") {
                self.role_moved = true;
                self.paths.add_unknown();
                self.epoch += 1;
            }
            if self.paths.apply(change) {
                self.epoch += 1;
            }
        }
    }

    /// `SET search_path = …` and nothing else: no `set_config`, which may stand where it is never called.
    pub(super) fn plain_search_path(&self, analysis: &Prepared) -> Alone {
        let [statement] = analysis.statements() else { return Alone::Other };
        let ([change], [kind]) = (statement.settings(), statement.kinds()) else { return Alone::Other };
        let (SettingValue::Known(value), SettingScope::Session, false) =
            (&change.value, change.scope, change.reset)
        else {
            return Alone::Other;
        };
        if kind.as_str() != "set" || !change.concerns("search_path") {
            return Alone::Other;
        }
        match SearchPath::parse(value, &self.user) {
            Some(path) => Alone::SearchPath { path, portal: Vec::new(), runs: false },
            None => Alone::Other,
        }
    }

    /// What was noted last is bound to a portal.
    pub(in crate::inspect) fn bound(&mut self, name: &[u8]) {
        if let Alone::SearchPath { portal, .. } = &mut self.alone {
            *portal = name.to_vec();
        }
    }

    /// Something is told to run: this portal, or what was noted last.
    pub(in crate::inspect) fn runs(&mut self, name: Option<&[u8]>) {
        match &mut self.alone {
            Alone::SearchPath { portal, runs, .. } if name.is_none_or(|name| name == portal) => *runs = true,
            _ => self.alone = Alone::Other,
        }
    }

    /// A sync point was answered.
    pub(in crate::inspect) fn answered(&mut self, errored: bool) {
        self.errored |= errored;
        self.meaning_answered(errored);
    }

    /// Nothing is in flight any more.
    pub(in crate::inspect) fn landed(&mut self, outside_transaction: bool) {
        self.meaning_landed(outside_transaction);
        if outside_transaction && std::mem::replace(&mut self.restructured, false) {
            self.database.invalidate();
            self.epoch += 1;
        }
        let certain = !std::mem::replace(&mut self.errored, false) && outside_transaction;
        let tracked = match std::mem::replace(&mut self.alone, Alone::Nothing) {
            Alone::SearchPath { path, runs: true, .. } if certain => Some(path),
            _ => None,
        };
        let known = self.reported.clone().or(tracked);
        if let Some(path) = &known
            && self.role_moved
            && path.listed().any(|schema| *schema == *self.user)
        {
            self.paths.add_unknown();
            self.epoch += 1;
        } else if let Some(path) = known
            && (self.paths.is_unknown() || self.paths.candidates() != [path.clone()])
        {
            self.paths.settle(path);
            self.epoch += 1;
        }
    }

    /// The server reported its search path (PostgreSQL 18 and later).
    pub(in crate::inspect) fn search_path_is(&mut self, value: &[u8]) {
        let path = std::str::from_utf8(value).ok().and_then(|value| SearchPath::parse(value, &self.user));
        match path {
            Some(ref path) => self.paths.add(path.clone()),
            None => self.paths.add_unknown(),
        }
        self.reported = path;
        self.epoch += 1;
    }
}
