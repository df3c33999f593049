-- What the cases of this folder attack. Values under a column mask are A-values, values only a detector finds are B-values:
-- both are listed in `setup.yaml`, and nothing else here looks like one of them.
DROP VIEW order_totals;
DROP FUNCTION leak();
DROP FUNCTION touch();
DROP TABLE customers, orders, secrets;

CREATE TYPE tier AS ENUM ('gold', 'silver');
CREATE DOMAIN card AS text CONSTRAINT card_is_digits CHECK (VALUE ~ '^[0-9]{12,19}$');
CREATE TYPE contact AS (email text, phone text);

CREATE TABLE customers (
  id int PRIMARY KEY, name text NOT NULL, email varchar(80) UNIQUE, phone text, ssn char(11), note text, level tier,
  CONSTRAINT ssn_is_long CHECK (length(ssn) > 3), CONSTRAINT email_is_one CHECK (email LIKE '%@%'));
INSERT INTO customers VALUES
  (1, 'Ada Clearwater', 'quixzoa.wyrtk@mask.example', '+1 415 555 2671', '524-83-6917', 'call jovtrynk.shmulp@free.example or 4556819995494393', 'gold'),
  (2, 'Bo Lindqvist', 'vuntrypol.xuk@mask.example', '+44 20 7946 0958', '431-76-2958', 'ssn 372-90-1586, key AKIAZ7QXVW2LMPRT3KYN', 'silver'),
  (3, 'Cy Marrow', 'grolmiz.pyxort@mask.example', NULL, '608-17-4395', 'iban DE43129374415459465973', 'gold'),
  (4, 'Di Novak', NULL, NULL, NULL, NULL, NULL);

CREATE TABLE payments (
  id int PRIMARY KEY, customer_id int REFERENCES customers, card_number text, iban varchar(34), amount numeric(10,2) NOT NULL,
  created date, raw jsonb, tags text[], CONSTRAINT card_is_long CHECK (length(card_number) >= 12));
INSERT INTO payments VALUES
  (1, 1, '4539577482337259', 'DE11888523265839149639', 10.50, '2024-02-01', '{"to": "plimzotry.wux@free.example", "n": 1}', '{blue,snorvikult.myz@free.example,green}'),
  (2, 1, '5425232388353828', 'DE60195259636499964447', 20.00, '2024-02-02', '{"card": "5301076432894231", "n": [2, 3]}', '{red,5301076432894231}'),
  (3, 2, '371449352825244', 'DE64449861158546866242', 30.25, '2024-03-01', '{"number": 4929312255297953}', '{}'),
  (4, 2, '6011746843643570', 'GB45WEST16897939399183', 40.00, '2024-03-02', 'null', NULL),
  (5, 3, '4539577482337259', 'GB98WEST13338291699982', 50.75, '2024-04-01', '{}', '{plain}'),
  (6, 3, NULL, NULL, 60.00, '2024-04-02', NULL, NULL);

CREATE TABLE archive (id int, text text);
CREATE SCHEMA old;
CREATE TABLE old.payments (id int, card_number text, amount numeric);
INSERT INTO old.payments VALUES (1, '4716253325987990', 1);
CREATE SCHEMA "Straße";
CREATE TABLE "Straße".payments (id int, card_number text);
INSERT INTO "Straße".payments VALUES (1, '5105187654536976');
CREATE TABLE public."Payments" (id int, card_number text, plain text);
INSERT INTO public."Payments" VALUES (1, 'not-a-card', 'plain');

-- Masked columns of every kind of type.
CREATE TABLE wallets (
  id int PRIMARY KEY, number bigint, pan numeric, scan bytea, doc xml, holder card, raw jsonb, tags text[], reach contact,
  "Odd ""Name" text, level tier, flag bool, born date, label text);
INSERT INTO wallets VALUES
  (1, 4716252324372352, 5105189864868785, '\x706c756e6b7a6f726d', '<p>vrustyklon</p>', '4539575434455294', '{"a": {"b": "krumhotyx"}, "t": ["zw"]}',
   '{trobluntiks,zqorvwy}', '(yoltrimp.vus@mask.example,+1 212 555 0187)', 'hoptryglux', 'gold', true, '1961-07-19', 'first'),
  (2, 371449369326962, 6011748729743920, '\x7778697a6c756d70', '<p>glowmurtyp</p>', '5425234662487744', '{"a": {"b": "spoltruwin"}}',
   '{morplitzu}', '(zunkwort.hyp@mask.example,+1 212 555 0188)', 'wurmtolkip', 'silver', false, '1957-03-23', 'second');

CREATE TABLE ledger (id int, at date, card_number text, note text) PARTITION BY RANGE (at);
CREATE TABLE ledger_old PARTITION OF ledger FOR VALUES FROM ('2000-01-01') TO ('2020-01-01');
CREATE TABLE ledger_new (note text, card_number text, at date, id int);
ALTER TABLE ledger ATTACH PARTITION ledger_new FOR VALUES FROM ('2020-01-01') TO ('2040-01-01');
INSERT INTO ledger VALUES (1, '2010-01-01', '371449298888397', 'old'), (2, '2030-01-01', '6011748253594376', 'new');

CREATE TABLE people (id int, name text, email text);
CREATE TABLE staff (badge text) INHERITS (people);
INSERT INTO people VALUES (1, 'Ed', 'trozwinkly.pum@mask.example');
INSERT INTO staff VALUES (2, 'Flo', 'humpligroz.tyk@mask.example', 'B-1');
-- Only the child's column is under a mask.
CREATE TABLE parties (id int, email text);
CREATE TABLE contractors () INHERITS (parties);
INSERT INTO parties VALUES (1, 'open@public.test');
INSERT INTO contractors VALUES (2, 'wolvitrunk.sim@mask.example');

CREATE TABLE accounts (id int, email varchar(80) REFERENCES customers (email) ON UPDATE RESTRICT);
INSERT INTO accounts VALUES (1, 'quixzoa.wyrtk@mask.example');
CREATE TABLE bookings (id int GENERATED ALWAYS AS IDENTITY, payment int, text text DEFAULT 'none', UNIQUE (payment));
INSERT INTO bookings (payment) VALUES (1);

CREATE VIEW v_plain AS SELECT id, card_number, amount FROM payments;
CREATE VIEW v_rename AS SELECT id, card_number AS c FROM payments;
CREATE VIEW v_list (a, b) AS SELECT id, card_number FROM payments;
CREATE VIEW v_of_view AS SELECT b AS z FROM v_list;
CREATE VIEW v_barrier WITH (security_barrier) AS SELECT id, card_number AS safe FROM payments WHERE amount > 0;
CREATE VIEW v_expression AS SELECT id, upper(card_number) AS u FROM payments;
CREATE VIEW v_part AS SELECT id, substr(card_number, 1, 10) AS u FROM payments;
CREATE VIEW v_min AS SELECT customer_id, min(card_number) AS lowest FROM payments GROUP BY customer_id;
CREATE VIEW v_count AS SELECT customer_id, count(*) AS n, sum(amount) AS total FROM payments GROUP BY customer_id;
CREATE VIEW v_whole AS SELECT p AS it FROM payments p;
CREATE VIEW v_json AS SELECT to_jsonb(p) AS j FROM payments p;
CREATE VIEW v_union AS SELECT id, 'x' AS c FROM payments UNION ALL SELECT id, card_number FROM payments;
CREATE VIEW v_cte AS WITH w AS (SELECT id, card_number AS k FROM payments) SELECT id, k FROM w;
CREATE VIEW v_join AS SELECT p.id, c.name, c.email AS who, p.card_number AS what FROM payments p JOIN customers c ON c.id = p.customer_id;
CREATE VIEW v_using AS SELECT card_number FROM payments a JOIN old.payments b USING (card_number);
CREATE VIEW v_lateral AS SELECT c.id, x.n FROM customers c, LATERAL (SELECT string_agg(card_number, ',') AS n FROM payments WHERE customer_id = c.id) x;
CREATE VIEW v_sublink AS SELECT c.id, (SELECT max(card_number) FROM payments) AS top FROM customers c;
CREATE VIEW v_clear AS SELECT id, amount, created FROM payments;
CREATE VIEW v_renamed AS SELECT id, card_number FROM payments;
ALTER VIEW v_renamed RENAME COLUMN card_number TO harmless;
CREATE MATERIALIZED VIEW m_cards AS SELECT id, card_number AS c FROM payments;
CREATE MATERIALIZED VIEW m_total AS SELECT customer_id, sum(amount) AS total FROM payments GROUP BY customer_id;

CREATE FUNCTION f_card(i int) RETURNS text LANGUAGE sql STABLE AS 'SELECT card_number FROM payments WHERE id = i';
CREATE FUNCTION f_lie(i int) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT card_number FROM payments WHERE id = i';
CREATE FUNCTION f_definer(i int) RETURNS text LANGUAGE sql STABLE SECURITY DEFINER AS 'SELECT card_number FROM payments WHERE id = i';
CREATE FUNCTION f_plpgsql(i int) RETURNS text LANGUAGE plpgsql STABLE AS 'BEGIN RETURN (SELECT card_number FROM payments WHERE id = i); END';
CREATE FUNCTION f_notice(i int) RETURNS int LANGUAGE plpgsql STABLE AS 'BEGIN RAISE NOTICE ''card %'', (SELECT card_number FROM payments WHERE id = i); RETURN 1; END';
CREATE FUNCTION f_error(i int) RETURNS int LANGUAGE plpgsql STABLE AS 'BEGIN RAISE EXCEPTION ''card %'', (SELECT card_number FROM payments WHERE id = i) USING HINT = ''h'', COLUMN = ''c''; END';
CREATE FUNCTION f_payments() RETURNS SETOF payments LANGUAGE sql STABLE AS 'SELECT * FROM payments';
CREATE FUNCTION f_table() RETURNS TABLE (a int, b text) LANGUAGE sql STABLE AS 'SELECT id, card_number FROM payments';
CREATE FUNCTION f_out(OUT a int, OUT b text) LANGUAGE sql STABLE AS 'SELECT id, card_number FROM payments WHERE id = 1';
CREATE FUNCTION f_of_row(payments) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT $1.card_number';
CREATE FUNCTION f_same(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT $1';
CREATE FUNCTION f_count() RETURNS bigint LANGUAGE sql STABLE AS 'SELECT count(*) FROM payments';
CREATE FUNCTION f_trusted() RETURNS bigint LANGUAGE sql STABLE AS 'SELECT count(*) FROM payments';
CREATE FUNCTION f_writes(i int) RETURNS int LANGUAGE sql VOLATILE AS 'INSERT INTO archive SELECT i, card_number FROM payments WHERE id = i; SELECT 1';
CREATE PROCEDURE p_notice() LANGUAGE plpgsql AS 'BEGIN RAISE NOTICE ''card %'', (SELECT card_number FROM payments WHERE id = 1); END';
CREATE PROCEDURE p_out(INOUT c text) LANGUAGE plpgsql AS 'BEGIN c := (SELECT card_number FROM payments WHERE id = 1); END';
CREATE FUNCTION f_op(int, int) RETURNS text LANGUAGE sql STABLE AS 'SELECT card_number FROM payments WHERE id = $1';
CREATE OPERATOR |?| (LEFTARG = int, RIGHTARG = int, FUNCTION = f_op);
CREATE FUNCTION f_same_op(text, text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT $1';
CREATE OPERATOR |=| (LEFTARG = text, RIGHTARG = text, FUNCTION = f_same_op);
CREATE FUNCTION f_cat(text, text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT concat($1, '','', $2)';
CREATE AGGREGATE f_all(text) (SFUNC = f_cat, STYPE = text);
CREATE FUNCTION f_peek(text, int) RETURNS text LANGUAGE sql STABLE AS 'SELECT string_agg(card_number, '','') FROM payments';
CREATE AGGREGATE f_peeks(int) (SFUNC = f_peek, STYPE = text);
CREATE TYPE box_of AS (v int);
CREATE FUNCTION f_cast(box_of) RETURNS xml LANGUAGE sql STABLE AS 'SELECT xmlelement(name a, card_number) FROM payments WHERE id = ($1).v';
CREATE CAST (box_of AS xml) WITH FUNCTION f_cast(box_of);

-- Triggers that tell: of a write that names no masked column.
CREATE FUNCTION t_tells() RETURNS trigger LANGUAGE plpgsql AS
  'BEGIN IF TG_OP = ''UPDATE'' AND NEW.amount = 77 THEN RAISE NOTICE ''card is %'', NEW.card_number; END IF;
   IF TG_OP = ''UPDATE'' AND NEW.amount = 78 THEN RAISE EXCEPTION ''card is %'', NEW.card_number; END IF;
   IF TG_OP = ''UPDATE'' AND NEW.amount = 79 THEN PERFORM pg_notify(''tells'', NEW.card_number); END IF; RETURN NEW; END';
CREATE TRIGGER tells BEFORE UPDATE ON payments FOR EACH ROW EXECUTE FUNCTION t_tells();
-- And one that copies.
CREATE FUNCTION t_copies() RETURNS trigger LANGUAGE plpgsql AS
  'BEGIN NEW.text := (SELECT card_number FROM payments WHERE id = NEW.payment); RETURN NEW; END';
CREATE TRIGGER copies BEFORE UPDATE ON bookings FOR EACH ROW EXECUTE FUNCTION t_copies();

SELECT lo_from_bytea(4343, '4539577482337259');
CREATE STATISTICS s_cards (mcv) ON customer_id, card_number FROM payments;
CREATE STATISTICS s_words ON (lower(card_number)) FROM payments;
INSERT INTO payments SELECT i, 2, '371449352825244', 'DE64449861158546866242', i, '2024-05-01', NULL, NULL FROM generate_series(101, 140) i;
ANALYZE payments, customers, wallets, ledger, people;
DELETE FROM payments WHERE id > 100;
REFRESH MATERIALIZED VIEW m_cards;
REFRESH MATERIALIZED VIEW m_total;
