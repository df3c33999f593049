//! What a session remembers between statements, and what a statement does to it.

use std::sync::Arc;

use crate::Analysis;

/// What resolution asks about the session a statement runs in.
///
/// Each answer is a set: where it is not known which of several is in force (a statement was sent whose outcome is not yet
/// known), all of them are returned and all must be allowed. An empty answer makes the operation unclassified.
pub trait SessionState {
    /// What `EXECUTE name` can run: made by SQL `PREPARE` or by a Parse message with that name.
    fn prepared(&self, name: &str) -> Vec<Arc<Analysis>>;
    /// What the cursor or portal `name` can be reading.
    fn cursor(&self, name: &str) -> Vec<Arc<Analysis>>;
    /// Whether this session may have a temporary relation of that name: then a statement that names it needs the pair on
    /// `pg_temp.name` as well as what the name means without it. "May" stays true until it is certain to be gone.
    fn may_be_temporary(&self, _name: &str) -> bool {
        false
    }
    /// Whether this session has changed structure in a way the catalog does not show yet: its own transaction is open, or the
    /// answer has not come. What is dropped, renamed or moved no longer hides what stands later in the search path.
    fn structure_may_differ(&self) -> bool {
        false
    }
}

/// A session that remembers nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSessionState;

impl SessionState for NoSessionState {
    fn prepared(&self, _name: &str) -> Vec<Arc<Analysis>> {
        Vec::new()
    }

    fn cursor(&self, _name: &str) -> Vec<Arc<Analysis>> {
        Vec::new()
    }
}

/// What a statement does to the session's own memory when it succeeds.
#[derive(Clone, Debug)]
pub enum SessionEffect {
    /// `PREPARE name AS …`: `inner` is what `EXECUTE name` then runs.
    Prepare {
        /// The statement's name.
        name: Box<str>,
        /// What it runs.
        inner: Arc<Analysis>,
    },
    /// `EXECUTE name`.
    Execute {
        /// The statement's name.
        name: Box<str>,
    },
    /// `DEALLOCATE name`, or `ALL` where absent.
    Deallocate {
        /// The statement's name.
        name: Option<Box<str>>,
    },
    /// `DECLARE name CURSOR FOR …`.
    Declare {
        /// The cursor's name.
        name: Box<str>,
        /// What it reads.
        inner: Arc<Analysis>,
        /// `WITH HOLD`: it outlives the transaction.
        hold: bool,
    },
    /// `FETCH`, `MOVE`.
    Fetch {
        /// The cursor's name.
        name: Box<str>,
    },
    /// `CLOSE name`, or `ALL` where absent.
    Close {
        /// The cursor's name.
        name: Option<Box<str>>,
    },
    /// `CREATE TEMPORARY …`, `SELECT INTO TEMP`.
    CreateTemporary {
        /// The relation's name.
        name: Box<str>,
    },
    /// `DISCARD ALL`: settings reset, statements and cursors gone, temporary relations dropped.
    DiscardAll,
    /// `DISCARD TEMP`.
    DiscardTemporary,
}

/// Transaction control.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transaction {
    /// `BEGIN`, `START TRANSACTION`.
    Begin,
    /// `COMMIT`, `END`; `chain` starts the next one.
    Commit {
        /// `AND CHAIN`.
        chain: bool,
    },
    /// `ROLLBACK`, `ABORT`; `chain` starts the next one.
    Rollback {
        /// `AND CHAIN`.
        chain: bool,
    },
    /// `SAVEPOINT`.
    Savepoint {
        /// The savepoint's name.
        name: Box<str>,
    },
    /// `RELEASE SAVEPOINT`.
    Release {
        /// The savepoint's name.
        name: Box<str>,
    },
    /// `ROLLBACK TO SAVEPOINT`.
    RollbackTo {
        /// The savepoint's name.
        name: Box<str>,
    },
    /// `PREPARE TRANSACTION`.
    PrepareTwoPhase,
    /// `COMMIT PREPARED`.
    CommitPrepared,
    /// `ROLLBACK PREPARED`.
    RollbackPrepared,
    /// `SET TRANSACTION`, `SET SESSION CHARACTERISTICS AS TRANSACTION`.
    Characteristics,
}
