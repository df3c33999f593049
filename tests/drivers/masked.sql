-- What the masked scenarios read: columns of many types, most of them masked by the first letter of their names.
CREATE EXTENSION citext;
CREATE TYPE driver_mood AS ENUM ('glad', 'sad');
CREATE TYPE driver_pair AS (a int, b text);
CREATE DOMAIN driver_code AS text CHECK (VALUE LIKE 'code-%');
CREATE TABLE driver_masked (
    id int PRIMARY KEY, c_text text, c_int int, c_numeric numeric,
    r_text text, r_varchar varchar(40), r_bpchar char(40), r_citext citext, r_domain driver_code,
    r_int int, r_bigint bigint, r_numeric numeric, r_float float8, r_bool bool, r_date date, r_timestamptz timestamptz, r_interval interval,
    r_uuid uuid, r_inet inet, r_mood driver_mood, r_pair driver_pair, r_range int4range, r_texts text[], r_ints int[], r_uuids uuid[],
    r_json json, r_jsonb jsonb, r_bytea bytea,
    h_text text, h_uuid uuid, h_jsonb jsonb, h_int int, l_card text, e_mail text, p_code text, n_text text
);
INSERT INTO driver_masked SELECT
    n, 'clear', 7, 1.50,
    'rawtext', 'rawtext', 'rawtext', 'rawtext', 'code-rawtext',
    775533, 7755338899001122, 775533.8899, 775533.5, true, '1977-05-31', '1977-05-31 07:55:33+00', '7755 days',
    '77553388-9900-4122-8344-556677889900', '77.55.33.88', 'glad', '(775533,rawtext)', '[775533,775539)', ARRAY['rawtext', NULL, 'raw,"text'], ARRAY[775533, NULL],
    ARRAY['77553388-9900-4122-8344-556677889900'::uuid], '{"raw": "rawtext"}', '{"raw": "rawtext"}', 'rawtext',
    'rawtext', '77553388-9900-4122-8344-556677889900', '{"raw": "rawtext"}', 775533, '4539577482337259', 'rawtext@mask.example', '775-53', 'rawtext'
FROM generate_series(1, 100) n;
INSERT INTO driver_masked (id) VALUES (101);
