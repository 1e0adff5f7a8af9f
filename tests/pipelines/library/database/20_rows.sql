-- Rows by arithmetic, so that everybody has the same ones.

INSERT INTO catalogue.branch
SELECT n, 'Branch ' || n, time '08:30' + n * interval '10 minutes', CASE WHEN n < 4 THEN timetz '20:00+01' END,
       CASE WHEN n > 1 THEN inet '10.20.0.0' + n END, date '1962-05-01' + n * 1000
FROM generate_series(1, 5) n;

INSERT INTO catalogue.author (name, born, aliases)
SELECT 'Author ' || n, CASE WHEN n % 7 > 0 THEN date '1900-01-01' + n * 397 END,
       CASE n % 5 WHEN 0 THEN ARRAY['A. ' || n, 'Née "' || n || '"'] WHEN 1 THEN ARRAY['Æ ' || n] ELSE '{}' END
FROM generate_series(1, 60) n;

INSERT INTO catalogue.title (isbn, title, medium, subjects, details, price, cover, published)
SELECT '97800000' || to_char(n, 'FM00000'), 'Title ' || n || CASE n % 11 WHEN 0 THEN ' – a “second” part' ELSE '' END,
       (enum_range(NULL::catalogue.medium))[1 + n % 4],
       CASE n % 6 WHEN 0 THEN NULL WHEN 1 THEN '{}' ELSE ARRAY['subject ' || n % 9, NULL] END,
       jsonb_build_object('pages', n * 7 % 900, 'series', CASE WHEN n % 3 = 0 THEN 'S' || n % 12 END, 'tags', to_jsonb(ARRAY[n, n + 1])),
       CASE n % 4 WHEN 0 THEN NULL WHEN 1 THEN n * 1.5 WHEN 2 THEN n / 8.0 ELSE n + 0.001 END,
       CASE WHEN n % 10 = 0 THEN decode(md5(n::text), 'hex') END, date '1950-01-01' + n * 31
FROM generate_series(1, 300) n;

INSERT INTO catalogue.title_author
SELECT isbn, 1 + (row_number() OVER (ORDER BY isbn) * k * 13) % 60, CASE k WHEN 1 THEN 'author' ELSE 'editor' END
FROM catalogue.title, generate_series(1, 2) k
ON CONFLICT DO NOTHING;

INSERT INTO catalogue.copy (isbn, branch_id, barcode, condition, weight_grams, acquired_at)
SELECT '97800000' || to_char(1 + n % 300, 'FM00000'), 1 + n % 5, md5('copy ' || n)::uuid,
       (enum_range(NULL::catalogue.condition))[1 + n % 4], CASE WHEN n % 9 > 0 THEN 200 + n / 3.0 END,
       timestamp '2015-01-01' + n * interval '61 hours 7 minutes 0.125 seconds'
FROM generate_series(1, 900) n;

INSERT INTO catalogue.event
SELECT n, 1 + n % 5, 'Reading ' || n, daterange(date '2024-01-01' + n * 9, date '2024-01-01' + n * 9 + n % 4), CASE WHEN n % 3 > 0 THEN n END
FROM generate_series(1, 40) n;

INSERT INTO members.person (card, full_name, email, phone, street, birth_date, password_hash, joined_at, left_on)
SELECT md5('card ' || n)::uuid, 'Reader ' || n, CASE WHEN n % 10 > 0 THEN 'reader' || n || '@example.org' END,
       CASE WHEN n % 4 = 0 THEN '+351 21 ' || 1000000 + n END, n || ' Rua do Exemplo', date '1940-01-01' + n * 61,
       md5('password ' || n), timestamptz '2012-03-25 01:30+00' + n * interval '9 days 3 hours',
       CASE WHEN n % 8 = 0 THEN date '2024-01-01' + n END
FROM generate_series(1, 400) n;

INSERT INTO members.membership
SELECT person_id, (date '2022-01-01' + (y * 365 + person_id % 90)), CASE WHEN y = 1 THEN date '2022-01-01' + 2 * 365 + person_id % 90 END,
       12.50 + y, CASE WHEN person_id % 20 = 0 THEN interval '1 month 3 days' END
FROM members.person, generate_series(1, 2) y;

INSERT INTO members.desk_note (person_id, written_at, note)
SELECT 1 + n % 400, timestamptz '2025-01-01 08:00+00' + n * interval '97 minutes', 'Note ' || n
FROM generate_series(1, 150) n;

INSERT INTO loans.loan (copy_id, person_id, lent_at, due_on, returned_at)
SELECT 1 + n * 7 % 900, 1 + n * 11 % 400, lent_at, (lent_at AT TIME ZONE 'UTC')::date + 28,
       CASE WHEN n % 13 > 0 THEN lent_at + (3 + n % 40) * interval '1 day' + n % 1440 * interval '1 minute' END
FROM (SELECT n, timestamptz '2023-01-02 09:00+00' + n * interval '8 hours 37 minutes' AS lent_at FROM generate_series(1, 3000) n) l;

INSERT INTO loans.reservation
SELECT '97800000' || to_char(1 + n % 300, 'FM00000'), 1 + n * 3 % 400, 1 + n % 3, CASE WHEN n % 2 = 0 THEN date '2026-01-01' + n ELSE 'infinity' END,
       CASE WHEN n % 5 = 0 THEN timestamptz '2025-11-30 10:00+00' + n * interval '1 hour' END
FROM generate_series(1, 120) n;

INSERT INTO loans.fine
SELECT row_number() OVER (ORDER BY loan_id), loan_id, lent_at, (extract(day FROM returned_at - lent_at) - 28)::int * 0.25, loan_id % 3 > 0,
       CASE WHEN loan_id % 3 > 0 THEN nextval('loans.receipt_number') END
FROM (SELECT * FROM loans.loan WHERE returned_at - lent_at > interval '29 days' ORDER BY loan_id) late;

INSERT INTO loans.event
SELECT timestamptz '2025-06-01 00:00+02' + n / 2 * interval '5 minutes', CASE WHEN n % 4 > 0 THEN 'gate ' || n % 4 END,
       CASE n % 3 WHEN 0 THEN 'in' ELSE 'out' END, CASE WHEN n % 7 = 0 THEN json_build_object('n', n / 2) END
FROM generate_series(1, 500) n;
INSERT INTO loans.event SELECT * FROM loans.event WHERE payload IS NULL AND gate = 'gate 1';

INSERT INTO loans.import_2019 VALUES ('978;old'), (NULL);

SELECT loans.refresh_months();
REFRESH MATERIALIZED VIEW catalogue.popular;
ANALYZE;
