-- Times are microseconds since 1970. An absent tenant or connection in a key is the empty string: NULLs are all different.

CREATE TABLE windows (
    id         TEXT PRIMARY KEY,
    provider   TEXT NOT NULL,
    tenant     TEXT NOT NULL,
    object_id  TEXT NOT NULL,
    name       TEXT NOT NULL,
    grant_id   TEXT NOT NULL,
    connection TEXT NOT NULL,
    reason     TEXT NOT NULL,
    opened_at  INTEGER NOT NULL,
    ends_at    INTEGER NOT NULL
) STRICT;
CREATE INDEX windows_by_end ON windows (ends_at);

CREATE TABLE blocks (
    provider   TEXT NOT NULL,
    tenant     TEXT NOT NULL,
    object_id  TEXT NOT NULL,
    connection TEXT NOT NULL,
    until      INTEGER NOT NULL,
    blocked_by TEXT NOT NULL,
    reason     TEXT NOT NULL,
    PRIMARY KEY (provider, tenant, object_id, connection)
) STRICT, WITHOUT ROWID;

-- How far the journal is indexed: one row, moved in the transaction that stores the events before it.
CREATE TABLE shipped (
    only     INTEGER PRIMARY KEY CHECK (only = 1),
    sequence INTEGER NOT NULL,
    segment  INTEGER NOT NULL,
    "offset" INTEGER NOT NULL
) STRICT;
INSERT INTO shipped VALUES (1, 0, 0, 0);

-- A principal as its sessions stated it: one row per distinct key, name, application and set of groups.
CREATE TABLE principals (
    id        INTEGER PRIMARY KEY,
    signature TEXT NOT NULL UNIQUE
) STRICT;

-- Every word a principal is searched by: key, object id, name, application id, group ids and names.
CREATE TABLE identities (
    term      TEXT NOT NULL COLLATE NOCASE,
    principal INTEGER NOT NULL REFERENCES principals (id) ON DELETE CASCADE,
    PRIMARY KEY (term, principal)
) STRICT, WITHOUT ROWID;
CREATE INDEX identities_by_principal ON identities (principal);

CREATE TABLE sessions (
    id         INTEGER PRIMARY KEY,
    session    TEXT NOT NULL UNIQUE,
    started_at INTEGER NOT NULL,
    facts      TEXT,
    principal  INTEGER REFERENCES principals (id),
    connection TEXT,
    ended_at   INTEGER,
    ending     TEXT CHECK (ending IN ('ended', 'refused', 'lost')),
    end_reason TEXT,
    allowed    INTEGER NOT NULL DEFAULT 0,
    held       INTEGER NOT NULL DEFAULT 0,
    denied     INTEGER NOT NULL DEFAULT 0,
    bytes_in   INTEGER NOT NULL DEFAULT 0,
    bytes_out  INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX sessions_by_start ON sessions (started_at);
CREATE INDEX sessions_by_principal ON sessions (principal);
CREATE INDEX sessions_by_connection ON sessions (connection);
CREATE INDEX sessions_live ON sessions (id) WHERE ended_at IS NULL;

-- What repeats from event to event: the text, and as JSON everything of a decision but when, which session, number and
-- binds. A statement run a million times is here once, or a few times: the indexer looks for it in its memory only.
-- An index to look it up by would be written at random places, which measured more than all the rest together.
CREATE TABLE shapes (
    id        INTEGER PRIMARY KEY,
    text      TEXT NOT NULL,
    reason    TEXT NOT NULL,
    rule_kind TEXT,
    rule_name TEXT,
    detail    TEXT NOT NULL
) STRICT;
CREATE INDEX shapes_by_rule_name ON shapes (rule_name);
CREATE INDEX shapes_by_rule_kind ON shapes (rule_kind);

CREATE VIRTUAL TABLE search USING fts5 (text, reason, content = 'shapes', content_rowid = 'id', tokenize = 'trigram');
CREATE TRIGGER shapes_inserted AFTER INSERT ON shapes BEGIN
    INSERT INTO search (rowid, text, reason) VALUES (new.id, new.text, new.reason);
END;
CREATE TRIGGER shapes_deleted AFTER DELETE ON shapes BEGIN
    INSERT INTO search (search, rowid, text, reason) VALUES ('delete', old.id, old.text, old.reason);
END;

CREATE TABLE events (
    sequence   INTEGER PRIMARY KEY,
    at         INTEGER NOT NULL,
    kind       TEXT NOT NULL,
    session    INTEGER REFERENCES sessions (id),
    number     INTEGER,
    principal  INTEGER REFERENCES principals (id),
    connection TEXT,
    decision   TEXT,
    shape      INTEGER REFERENCES shapes (id),
    binds      TEXT
) STRICT;
CREATE INDEX events_by_time ON events (at);
CREATE INDEX events_by_session ON events (session);
CREATE INDEX events_by_principal ON events (principal) WHERE principal IS NOT NULL;
CREATE INDEX events_by_connection ON events (connection) WHERE connection IS NOT NULL;
CREATE INDEX events_by_shape ON events (shape) WHERE shape IS NOT NULL;
CREATE INDEX events_not_allowed ON events (decision) WHERE decision IN ('hold', 'deny');
