-- The demo's upstream: two databases, a role for each. Passwords come as psql variables.
-- `shop_app` owns its tables: the server itself would let it drop them.
CREATE ROLE shop_app LOGIN PASSWORD :'shop_password';
CREATE ROLE logs_reader LOGIN PASSWORD :'logs_password';
CREATE DATABASE shop OWNER shop_app;
CREATE DATABASE logs;

\connect shop
SELECT setseed(0.42) \g /dev/null
GRANT CREATE ON SCHEMA public TO shop_app;
SET ROLE shop_app;

CREATE TABLE customers (
    id integer PRIMARY KEY,
    name text NOT NULL,
    email text NOT NULL,
    city text NOT NULL,
    since date NOT NULL
);
CREATE TABLE orders (
    id integer PRIMARY KEY,
    customer_id integer NOT NULL REFERENCES customers,
    placed_at timestamptz NOT NULL,
    status text NOT NULL,
    total numeric(10, 2) NOT NULL
);
CREATE TABLE payments (
    id integer PRIMARY KEY,
    order_id integer NOT NULL REFERENCES orders,
    card_number text NOT NULL,
    card_holder text NOT NULL,
    amount numeric(10, 2) NOT NULL,
    paid_at timestamptz NOT NULL,
    note text
);
CREATE VIEW receipts AS
SELECT p.id, c.name AS customer, c.email AS sent_to, p.card_number AS paid_with, p.amount
FROM payments AS p JOIN orders AS o ON o.id = p.order_id JOIN customers AS c ON c.id = o.customer_id;

INSERT INTO customers
SELECT n, first || ' ' || last, lower(first || '.' || last) || n || '@example.com', city, date '2019-03-01' + n * 5
FROM (
    SELECT n,
        (ARRAY['Ada', 'Ben', 'Chiara', 'Dmitri', 'Elif', 'Femi', 'Grace', 'Hiro', 'Ines', 'Jonas', 'Kavya', 'Luis'])[1 + n % 12] AS first,
        (ARRAY['Okafor', 'Lindqvist', 'Moreau', 'Tanaka', 'Silva', 'Novak', 'Haddad', 'Byrne', 'Castillo', 'Weber', 'Rossi'])[1 + n % 11] AS last,
        (ARRAY['Porto', 'Leeds', 'Osaka', 'Lagos', 'Lyon', 'Austin', 'Graz'])[1 + n % 7] AS city
    FROM generate_series(1, 132) AS n
) AS made;

INSERT INTO orders
SELECT n, 1 + (n * 37) % 132, now() - make_interval(hours => 2400 - n), status,
    round((8 + random() * 240)::numeric, 2)
FROM (
    SELECT n, (ARRAY['paid', 'paid', 'shipped', 'shipped', 'shipped', 'returned', 'pending'])[1 + n % 7] AS status
    FROM generate_series(1, 2400) AS n
) AS made;

-- Test numbers that card networks publish: they pass the Luhn check and belong to nobody.
INSERT INTO payments
SELECT o.id, o.id,
    (ARRAY['4111111111111111', '5555555555554444', '4242424242424242', '378282246310005', '6011111111111117',
        '4012888888881881', '5105105105105100', '4000056655665556'])[1 + o.id % 8],
    upper(c.name), o.total, o.placed_at + interval '3 minutes',
    -- What people write into free text. This number passes the Luhn check, too.
    CASE o.id % 9 WHEN 2 THEN 'by phone: 4000 0025 0000 3155, please charge that one' WHEN 5 THEN 'wants it gift-wrapped' END
FROM orders AS o JOIN customers AS c ON c.id = o.customer_id
WHERE o.status <> 'pending';
ANALYZE customers, orders, payments;

\connect logs
SELECT setseed(0.42) \g /dev/null
CREATE TABLE events (
    at timestamptz NOT NULL,
    service text NOT NULL,
    level text NOT NULL,
    message text NOT NULL,
    took_ms integer NOT NULL
);
INSERT INTO events
SELECT now() - make_interval(secs => 24000 - n), service,
    CASE WHEN n % 97 = 0 THEN 'error' WHEN n % 23 = 0 THEN 'warn' ELSE 'info' END,
    CASE WHEN n % 97 = 0 THEN 'upstream timed out after 3000 ms: POST /v1/charges'
         WHEN n % 23 = 0 THEN 'retrying, attempt ' || 1 + n % 4
         ELSE 'served ' || path || ' for customer ' || 1 + n % 132 END,
    CASE WHEN n % 97 = 0 THEN 3000 ELSE 4 + (random() * 120)::integer END
FROM (
    SELECT n, (ARRAY['checkout', 'catalogue', 'payments', 'mailer'])[1 + n % 4] AS service,
        (ARRAY['/cart', '/orders', '/items', '/login'])[1 + n / 4 % 4] AS path
    FROM generate_series(1, 24000) AS n
) AS made;
CREATE INDEX events_at ON events (at);
GRANT SELECT ON events TO logs_reader;
ANALYZE events;
