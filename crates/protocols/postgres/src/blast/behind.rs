//! What stands behind the names of a statement, asked of the server: functions of users, and whatever else would run with it.
//!
//! Before a plan is asked for: planning runs code. Immutable functions with constant arguments are folded, stable ones are called to
//! estimate. A read-only transaction keeps such a function from writing to this database, but not from what functions can do elsewhere
//! (another database, a file, a mail), whatever volatility somebody declared it to have. So a statement that names any function of
//! users (its views included: their functions are among its pairs) gets no plan. Left out are immutable ones written in C, which only
//! a superuser can install and which compute; the analysis takes them for free too. What the owner of a table put on it (row security,
//! constraints, generated columns) is planned: every look at the table plans it, and who asks has no say in its arguments.
//!
//! Before a statement is run to be counted: everything that runs with it must be taken back by a rollback, and be the same the next
//! time. [`CHECKS`] looks at every table that is changed, the partitions of it and the tables that foreign keys lead to, and at every
//! table that is read, views and row security followed. What only a superuser can make (operator classes, types in C, tables of an
//! access method are not among it) is believed to compute.

use std::{collections::BTreeSet, sync::LazyLock};

use portcullis_core::Verb;
use portcullis_sql::{catalog::FIRST_NORMAL_OID, names::Name};

use super::{
    login::{Login, Trouble, array},
    names::Named,
};

/// Why something is not done.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Because of this.
    Why(String),
    /// The server could not be asked.
    Trouble(Trouble),
}

impl From<Trouble> for Refusal {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

impl Refusal {
    pub(super) fn words(&self) -> String {
        match self {
            Self::Why(why) => why.clone(),
            Self::Trouble(trouble) => trouble.words(),
        }
    }
}

/// Whether a function (`p`, of `pg_proc`) only computes: born with the server and not volatile, or written in C, immutable, and run
/// with the caller's rights. An aggregate's own line says nothing of what it runs.
const COMPUTES: &str = "(p.oid < 16384 AND p.provolatile <> 'v'
    OR p.oid >= 16384 AND p.provolatile = 'i' AND NOT p.prosecdef AND p.prokind IN ('f', 'w')
        AND p.prolang IN (SELECT l.oid FROM pg_language l WHERE l.lanname IN ('internal', 'c')))";

/// Names among the pairs that functions of users have.
static NAMED_FUNCTIONS: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT quote_ident(n.nspname) || '.' || quote_ident(p.proname)
         FROM unnest($1::text[], $2::text[]) AS w (schema, name)
         JOIN pg_namespace n ON n.nspname = w.schema JOIN pg_proc p ON p.pronamespace = n.oid AND p.proname = w.name
         WHERE p.oid >= {FIRST_NORMAL_OID} AND NOT {COMPUTES} LIMIT 1"
    )
});

/// Functions that are called by these names, in whatever schema where none is written, and do more than compute.
static CALLED_FUNCTIONS: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT p.proname::text, (p.oid < {FIRST_NORMAL_OID})::text
         FROM unnest($1::text[], $2::text[]) AS w (schema, name) JOIN pg_proc p ON p.proname = w.name
         JOIN pg_namespace n ON n.oid = p.pronamespace
         WHERE w.schema IN ('', n.nspname) AND NOT {COMPUTES} LIMIT 1"
    )
});

/// Everything that would run with a change of the tables `$1`.`$2` for which `$3` says that they are written to.
static CHECKS: LazyLock<String> = LazyLock::new(|| {
    format!(
        "WITH RECURSIVE named AS MATERIALIZED (
            SELECT w.schema, w.name, w.written, c.oid, c.relkind
            FROM unnest($1::text[], $2::text[], $3::bool[]) AS w (schema, name, written)
            LEFT JOIN pg_namespace n ON n.nspname = w.schema
            LEFT JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = w.name AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
         ), written (oid) AS (
            SELECT oid FROM named WHERE written AND oid IS NOT NULL
            UNION
            SELECT x.next FROM written w CROSS JOIN LATERAL (
                SELECT i.inhrelid FROM pg_inherits i WHERE i.inhparent = w.oid
                UNION ALL
                SELECT k.conrelid FROM pg_constraint k WHERE k.confrelid = w.oid AND k.contype = 'f'
                    AND (k.confdeltype IN ('c', 'n', 'd') OR k.confupdtype IN ('c', 'n', 'd'))
            ) x (next)
         ), changed AS MATERIALIZED (SELECT oid FROM written
         ), touched (oid) AS (
            SELECT oid FROM (SELECT oid FROM named WHERE oid IS NOT NULL UNION SELECT oid FROM changed) first
            UNION
            SELECT x.next FROM touched t CROSS JOIN LATERAL (
                SELECT i.inhrelid FROM pg_inherits i WHERE i.inhparent = t.oid
                UNION ALL
                SELECT m[1]::oid FROM pg_rewrite r, regexp_matches(r.ev_action::text, ':relid ([0-9]+)', 'g') m
                    WHERE r.ev_class = t.oid AND t.oid >= 16384
                UNION ALL
                SELECT m[1]::oid FROM pg_policy y,
                    regexp_matches(concat_ws(' ', y.polqual::text, y.polwithcheck::text), ':relid ([0-9]+)', 'g') m
                    WHERE y.polrelid = t.oid
            ) x (next)
         ), seen AS MATERIALIZED (SELECT oid FROM touched
         ), domains (oid) AS (
            SELECT DISTINCT a.atttypid FROM pg_attribute a JOIN changed c ON c.oid = a.attrelid
                WHERE a.attnum > 0 AND NOT a.attisdropped AND a.atttypid >= 16384
            UNION SELECT p.part FROM domains d JOIN (
                SELECT t.oid, t.typbasetype AS part FROM pg_type t WHERE t.typbasetype <> 0
                UNION ALL SELECT t.oid, t.typelem FROM pg_type t WHERE t.typelem <> 0
                UNION ALL SELECT t.oid, a.atttypid FROM pg_type t JOIN pg_attribute a ON a.attrelid = t.typrelid
                    WHERE t.typtype = 'c' AND a.attnum > 0 AND NOT a.attisdropped
                UNION ALL SELECT g.rngtypid, g.rngsubtype FROM pg_range g
            ) p ON p.oid = d.oid
         ), trees (of, what, tree) AS (
            SELECT k.conrelid, 'a check constraint', k.conbin::text FROM pg_constraint k JOIN changed c ON c.oid = k.conrelid
                WHERE k.contype = 'c'
            UNION ALL
            SELECT f.adrelid, 'a generated column', f.adbin::text FROM pg_attrdef f JOIN changed c ON c.oid = f.adrelid
                JOIN pg_attribute a ON a.attrelid = f.adrelid AND a.attnum = f.adnum WHERE a.attgenerated <> ''
            UNION ALL
            SELECT i.indrelid, 'an index', concat_ws(' ', i.indexprs::text, i.indpred::text) FROM pg_index i
                JOIN changed c ON c.oid = i.indrelid WHERE i.indexprs IS NOT NULL OR i.indpred IS NOT NULL
            UNION ALL
            SELECT t.partrelid, 'a partition key', t.partexprs::text FROM pg_partitioned_table t
                JOIN changed c ON c.oid = t.partrelid WHERE t.partexprs IS NOT NULL
            UNION ALL
            SELECT y.polrelid, 'row security', concat_ws(' ', y.polqual::text, y.polwithcheck::text) FROM pg_policy y
                JOIN seen s ON s.oid = y.polrelid
            UNION ALL
            SELECT r.ev_class, 'a view', r.ev_action::text FROM pg_rewrite r JOIN seen s ON s.oid = r.ev_class
                WHERE r.ev_class >= 16384
            UNION ALL
            SELECT NULL, 'the domain of a column', k.conbin::text FROM pg_constraint k JOIN domains d ON d.oid = k.contypid
         ), calls (of, what, function) AS (
            SELECT t.of, t.what, m[1]::oid FROM trees t,
                regexp_matches(t.tree, ':(?:funcid|opfuncid|aggfnoid|winfnoid) ([1-9][0-9]*)', 'g') m
            UNION ALL
            SELECT t.of, t.what, o.oprcode::oid FROM trees t, regexp_matches(t.tree, ':opno ([0-9]+)', 'g') m
                JOIN pg_operator o ON o.oid = m[1]::oid
         ), problems (rank, problem, of) AS (
            SELECT 1, 'the upstream does not know it as a table', NULL::oid FROM named WHERE oid IS NULL
            UNION ALL
            SELECT 2, 'what is changed is not an ordinary table', c.oid FROM pg_class c JOIN changed w USING (oid)
                JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_am a ON a.oid = c.relam
                WHERE c.relkind NOT IN ('r', 'p') OR n.nspname IN ('pg_catalog', 'information_schema', 'pg_toast')
                    OR c.oid < 16384 OR a.amname IS DISTINCT FROM 'heap' AND c.relkind = 'r'
            UNION ALL
            SELECT 3, 'a foreign table or a sequence is looked at', c.oid FROM pg_class c JOIN seen s USING (oid)
                WHERE c.relkind NOT IN ('r', 'p', 'v', 'm')
            UNION ALL
            SELECT 4, 'a trigger runs when rows change', g.tgrelid FROM pg_trigger g JOIN changed c ON c.oid = g.tgrelid
                JOIN pg_proc p ON p.oid = g.tgfoid
                WHERE g.tgenabled <> 'D' AND NOT (p.oid < 16384 AND (p.proname LIKE 'RI\\_FKey\\_%' OR p.proname = 'unique_key_recheck'))
            UNION ALL
            SELECT 5, 'a rule stands on the table', r.ev_class FROM pg_rewrite r JOIN changed c ON c.oid = r.ev_class
            UNION ALL
            SELECT 6, 'a foreign key sets columns to their defaults', k.conrelid FROM pg_constraint k JOIN changed c ON c.oid = k.confrelid
                WHERE k.contype = 'f' AND (k.confdeltype = 'd' OR k.confupdtype = 'd')
            UNION ALL
            SELECT 7, x.what || ' calls a function that may do more than compute', x.of
                FROM calls x LEFT JOIN pg_proc p ON p.oid = x.function WHERE p.oid IS NULL OR NOT {COMPUTES}
            UNION ALL
            SELECT 8, 'a cast that users made may run without being written', NULL FROM pg_cast c JOIN pg_proc p ON p.oid = c.castfunc
                WHERE c.oid >= 16384 AND c.castcontext IN ('a', 'i') AND NOT {COMPUTES}
         )
         SELECT p.problem, coalesce(quote_ident(n.nspname) || '.' || quote_ident(c.relname), '')
         FROM problems p LEFT JOIN pg_class c ON c.oid = p.of LEFT JOIN pg_namespace n ON n.oid = c.relnamespace
         ORDER BY p.rank LIMIT 1"
    )
});

/// That planning the statement runs no code of users that it names.
pub(super) async fn may_be_planned(login: &mut Login, named: &[Named]) -> Result<(), Refusal> {
    let schemas = array(named.iter().map(|named| named.schema.as_str()));
    let names = array(named.iter().map(|named| named.name.as_str()));
    let found = login.ask(&NAMED_FUNCTIONS, &[&schemas, &names]).await?.texts()?;
    match found.first().and_then(|row| row.first()) {
        None => Ok(()),
        Some(function) => Err(Refusal::Why(format!(
            "the statement calls {function}, and planning it could run that function"
        ))),
    }
}

/// That every function a statement calls by name computes, and nothing else.
pub(super) async fn calls_compute(login: &mut Login, calls: &BTreeSet<Name>) -> Result<(), Refusal> {
    let schemas = array(calls.iter().map(|name| name.schema.as_deref().unwrap_or_default()));
    let names = array(calls.iter().map(|name| &*name.name));
    let found = login.ask(&CALLED_FUNCTIONS, &[&schemas, &names]).await?.texts()?;
    match found.first().map(Vec::as_slice) {
        None => Ok(()),
        Some([name, built_in]) if built_in == "true" => {
            let why = format!("it calls {name}, which does something or answers otherwise the next time");
            Err(Refusal::Why(why))
        }
        Some([name, ..]) => {
            Err(Refusal::Why(format!("it calls {name}, a function that may do more than compute")))
        }
        Some([]) => Err(Trouble::Odd.into()),
    }
}

/// That nothing runs with a change of these tables that a rollback does not take back.
pub(super) async fn tables_take_it_back(login: &mut Login, named: &[Named]) -> Result<(), Refusal> {
    let schemas = array(named.iter().map(|named| named.schema.as_str()));
    let names = array(named.iter().map(|named| named.name.as_str()));
    let written = array(named.iter().map(|named| if named.verb == Verb::Read { "f" } else { "t" }));
    let found = login.ask(&CHECKS, &[&schemas, &names, &written]).await?.texts()?;
    match found.first().map(Vec::as_slice) {
        None => Ok(()),
        Some([problem, relation]) if relation.is_empty() => Err(Refusal::Why(problem.clone())),
        Some([problem, relation]) => Err(Refusal::Why(format!("{problem} ({relation})"))),
        Some(_) => Err(Trouble::Odd.into()),
    }
}
