//! People's sessions in the console. The cookie itself is never here: whoever reads the database cannot act as anybody.

use std::{collections::HashMap, sync::Arc};

use portcullis_core::{Principal, PrincipalKey, SessionFacts, Timestamp};
use rusqlite::{OptionalExtension as _, Row, params, types::Type};

use crate::{Error, Store, database::Durability, windows::tenant};

/// One person's session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// SHA-256 of the cookie's value.
    pub token_hash: [u8; 32],
    /// Who, as they signed in.
    pub principal: Principal,
    /// When they signed in.
    pub made_at: Timestamp,
    /// When they last asked for something; exact to about a minute.
    pub seen_at: Timestamp,
    /// When it ends whatever happens.
    pub ends_at: Timestamp,
}

impl Store {
    /// Keeps a new session, durably.
    ///
    /// # Errors
    /// The database failed: nobody is signed in.
    pub fn put_person(&self, person: &Person) -> Result<(), Error> {
        let Person { token_hash, principal, made_at, seen_at, ends_at } = person;
        let key = principal.key();
        let body = serde_json::to_string(principal).unwrap_or_default();
        self.write(Durability::Now, |transaction, _| {
            transaction.execute(
                "INSERT INTO people (token_hash, provider, tenant, object_id, body, made_at, seen_at, ends_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                params![
                    token_hash,
                    key.provider,
                    tenant(&key),
                    key.object_id,
                    body,
                    made_at.as_micros(),
                    seen_at.as_micros(),
                    ends_at.as_micros(),
                ],
            )
        })?;
        Ok(())
    }

    /// The session of a cookie.
    ///
    /// # Errors
    /// The database failed.
    pub fn person(&self, token_hash: &[u8; 32]) -> Result<Option<Person>, Error> {
        const SELECT: &str =
            "SELECT token_hash, body, made_at, seen_at, ends_at FROM people WHERE token_hash = ?1";
        self.read(|connection| connection.prepare_cached(SELECT)?.query_row([token_hash], person).optional())
    }

    /// Notes that it was used. A power failure may take that back.
    ///
    /// # Errors
    /// The database failed.
    pub fn saw_person(&self, token_hash: &[u8; 32], at: Timestamp) -> Result<(), Error> {
        self.write(Durability::Soon, |transaction, _| {
            transaction.execute(
                "UPDATE people SET seen_at = max(seen_at, ?2) WHERE token_hash = ?1",
                params![token_hash, at.as_micros()],
            )
        })?;
        Ok(())
    }

    /// Ends a session. Whether there was one.
    ///
    /// # Errors
    /// The database failed.
    pub fn end_person(&self, token_hash: &[u8; 32]) -> Result<bool, Error> {
        let ended = self.write(Durability::Now, |transaction, _| {
            transaction.execute("DELETE FROM people WHERE token_hash = ?1", [token_hash])
        })?;
        Ok(ended > 0)
    }

    /// Ends every session of somebody. How many there were.
    ///
    /// # Errors
    /// The database failed.
    pub fn end_people_of(&self, key: &PrincipalKey) -> Result<u64, Error> {
        let ended = self.write(Durability::Now, |transaction, _| {
            transaction.execute(
                "DELETE FROM people WHERE provider = ?1 AND tenant = ?2 AND object_id = ?3",
                params![key.provider, tenant(key), key.object_id],
            )
        })?;
        Ok(ended as u64)
    }

    /// Takes out sessions that are over at `now` or were not used since `idle_since`; gives them back, for the audit log.
    ///
    /// # Errors
    /// The database failed.
    pub fn forget_people(&self, now: Timestamp, idle_since: Timestamp) -> Result<Vec<Person>, Error> {
        self.write(Durability::Soon, |transaction, _| {
            transaction
                .prepare_cached(
                    "DELETE FROM people WHERE ends_at <= ?1 OR seen_at <= ?2
                     RETURNING token_hash, body, made_at, seen_at, ends_at",
                )?
                .query_map(params![now.as_micros(), idle_since.as_micros()], person)?
                .collect()
        })
    }
}

/// Principals looked at for a list of identities: each stands for one identity with one set of groups.
const MOST_PRINCIPALS: u32 = 5_000;

impl Store {
    /// Who came to the gateway: each identity once, as it was when it last came, the last one first. Those of sessions, as far as the
    /// journal is indexed and kept, those who are signed in, and those who asked or answered of late.
    ///
    /// # Errors
    /// The database failed.
    pub fn identities(&self) -> Result<Vec<(Arc<Principal>, Timestamp)>, Error> {
        const SELECT: &str =
            "SELECT (SELECT facts FROM sessions WHERE principal = principals.id AND facts IS NOT NULL
                                      ORDER BY id DESC LIMIT 1)
                              FROM principals ORDER BY id DESC LIMIT ?1";
        let found: Vec<Option<String>> = self.read(|connection| {
            connection.prepare_cached(SELECT)?.query_map([MOST_PRINCIPALS], |row| row.get(0))?.collect()
        })?;
        let mut known: HashMap<PrincipalKey, (Arc<Principal>, Timestamp)> = HashMap::new();
        let mut came = |principal: Arc<Principal>, when: Timestamp| {
            let entry = known.entry(principal.key());
            let (last, at) = entry.or_insert_with(|| (Arc::clone(&principal), when));
            if *at < when {
                (*last, *at) = (principal, when);
            }
        };
        for text in found.into_iter().flatten() {
            let Ok(facts) = serde_json::from_str::<SessionFacts>(&text) else { continue };
            if let Some(principal) = facts.principal {
                came(principal, facts.started_at);
            }
        }
        for person in self.people()? {
            came(Arc::new(person.principal), person.seen_at);
        }
        for request in self.latest_requests()? {
            let asked = request.asked();
            came(Arc::clone(&asked.requester), asked.filed_at);
            for vote in request.votes() {
                came(Arc::clone(&vote.by), vote.at);
            }
        }
        let mut identities: Vec<_> = known.into_values().collect();
        identities.sort_by_key(|(_, at)| std::cmp::Reverse(*at));
        Ok(identities)
    }

    /// Who is signed in.
    fn people(&self) -> Result<Vec<Person>, Error> {
        const SELECT: &str = "SELECT token_hash, body, made_at, seen_at, ends_at FROM people
                              ORDER BY seen_at DESC LIMIT ?1";
        self.read(|connection| {
            connection.prepare_cached(SELECT)?.query_map([MOST_PRINCIPALS], person)?.collect()
        })
    }
}

fn person(row: &Row<'_>) -> rusqlite::Result<Person> {
    let body: String = row.get(1)?;
    let principal = serde_json::from_str(&body)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(1, Type::Text, Box::new(error)))?;
    Ok(Person {
        token_hash: row.get(0)?,
        principal,
        made_at: Timestamp::from_micros(row.get(2)?),
        seen_at: Timestamp::from_micros(row.get(3)?),
        ends_at: Timestamp::from_micros(row.get(4)?),
    })
}
