-- Access requests: what people answer. The whole of each is in `body`; the columns are what is searched for.
CREATE TABLE requests (
    number INTEGER PRIMARY KEY,              -- the order of filing
    id TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL,
    connection TEXT NOT NULL,
    provider TEXT NOT NULL,
    tenant TEXT NOT NULL,
    object_id TEXT NOT NULL,
    session TEXT,
    filed_at INTEGER NOT NULL,
    ended_at INTEGER,
    open_until INTEGER,                      -- pending: the end of time; an approval not used yet: until when it is good
    needs_review INTEGER NOT NULL DEFAULT 0,
    body TEXT NOT NULL
) STRICT;
CREATE INDEX requests_open ON requests (open_until) WHERE open_until IS NOT NULL;
CREATE INDEX requests_state ON requests (state, number);
CREATE INDEX requests_review ON requests (number) WHERE needs_review = 1;
CREATE INDEX requests_requester ON requests (object_id, number);
CREATE INDEX requests_connection ON requests (connection, number);
CREATE INDEX requests_session ON requests (session, number) WHERE session IS NOT NULL;
CREATE INDEX requests_ended ON requests (ended_at) WHERE ended_at IS NOT NULL;

-- People's sessions in the console: the cookie's value is not here, only its SHA-256.
CREATE TABLE people (
    token_hash BLOB PRIMARY KEY,
    provider TEXT NOT NULL,
    tenant TEXT NOT NULL,
    object_id TEXT NOT NULL,
    body TEXT NOT NULL,
    made_at INTEGER NOT NULL,
    seen_at INTEGER NOT NULL,
    ends_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Notifications on their way, and what became of them.
CREATE TABLE deliveries (
    id TEXT PRIMARY KEY,
    request TEXT NOT NULL,
    channel TEXT NOT NULL,
    state TEXT NOT NULL,
    at INTEGER NOT NULL,
    body TEXT NOT NULL,
    notice TEXT                              -- while it is not delivered: what to send again
) STRICT, WITHOUT ROWID;
CREATE INDEX deliveries_at ON deliveries (at);
CREATE INDEX deliveries_unfinished ON deliveries (state) WHERE notice IS NOT NULL;
