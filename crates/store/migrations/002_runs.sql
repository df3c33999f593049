-- Allowed decisions, nearly all that happens: those of one session and one shape that were indexed together are one row. What
-- differs between them (sequence, time, number, binds, literals of the text) is in `events`, see runs.rs. A row and seven
-- index entries for each cost more than all that the data path does for a statement.
--
-- `last` and `first` are sequences, `since` and `until` the earliest and latest time. Where `literals` is 1, the shape's text
-- has U+0001 where each event's text has a literal of its own; what such a text holds is not in `search` as a whole.
CREATE TABLE runs (
    last       INTEGER PRIMARY KEY,
    first      INTEGER NOT NULL,
    since      INTEGER NOT NULL,
    until      INTEGER NOT NULL,
    session    INTEGER NOT NULL REFERENCES sessions (id),
    principal  INTEGER REFERENCES principals (id),
    connection TEXT,
    shape      INTEGER NOT NULL REFERENCES shapes (id),
    count      INTEGER NOT NULL,
    literals   INTEGER NOT NULL,
    events     BLOB NOT NULL
) STRICT;
CREATE INDEX runs_by_time ON runs (until, since);
CREATE INDEX runs_by_session ON runs (session);
CREATE INDEX runs_by_principal ON runs (principal) WHERE principal IS NOT NULL;
CREATE INDEX runs_by_connection ON runs (connection) WHERE connection IS NOT NULL;
CREATE INDEX runs_by_shape ON runs (shape);
