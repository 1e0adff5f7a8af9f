-- flag: BOOLEAN
COALESCE(CASE "flag" WHEN TRUE THEN '1' WHEN FALSE THEN '0' END, '') || ','

-- small: SMALLINT
COALESCE(TO_VARCHAR("small"), '') || ','

-- whole: INTEGER
COALESCE(TO_VARCHAR("whole"), '') || ','

-- big: BIGINT
COALESCE(TO_VARCHAR("big"), '') || ','

-- price: DECIMAL(12,2)
COALESCE(TO_VARCHAR("price", 'TM9'), '') || ','

-- fraction: DECIMAL(5,5)
COALESCE(TO_VARCHAR("fraction", 'TM9'), '') || ','

-- wide: DECIMAL(38,10)
COALESCE(TO_VARCHAR("wide", 'TM9'), '') || ','

-- finest: DECIMAL(38,37)
COALESCE(TO_VARCHAR("finest", 'TM9'), '') || ','

-- integral: DECIMAL(38,0)
COALESCE(TO_VARCHAR("integral", 'TM9'), '') || ','

-- single: FLOAT
COALESCE(CASE WHEN "single" = 'NaN'::FLOAT THEN 'NaN' WHEN "single" = 0 THEN '0' ELSE IFF("single" < 0, '-', '') || CASE WHEN ABS("single") = 'inf'::FLOAT THEN '9218868437227405312' ELSE TO_VARCHAR(CASE WHEN ABS("single") < '2.2250738585072014e-308'::FLOAT THEN (ABS("single") * POWER('2e0'::FLOAT, 537) * POWER('2e0'::FLOAT, 537))::NUMBER(18,0) ELSE ((FLOOR(LN(ABS("single")) / LN('2e0'::FLOAT) - '1e-9'::FLOAT) + 1023))::NUMBER(18,0) * 4503599627370496 + ((CASE WHEN ABS("single") / POWER('2e0'::FLOAT, FLOOR(LN(ABS("single")) / LN('2e0'::FLOAT) - '1e-9'::FLOAT)) < 2 THEN ABS("single") / POWER('2e0'::FLOAT, FLOOR(LN(ABS("single")) / LN('2e0'::FLOAT) - '1e-9'::FLOAT)) - 1 ELSE ABS("single") / POWER('2e0'::FLOAT, FLOOR(LN(ABS("single")) / LN('2e0'::FLOAT) - '1e-9'::FLOAT)) / 2 END) * 4503599627370496)::NUMBER(18,0) END) END END, '') || ','

-- twice: DOUBLE
COALESCE(CASE WHEN "twice" = 'NaN'::FLOAT THEN 'NaN' WHEN "twice" = 0 THEN '0' ELSE IFF("twice" < 0, '-', '') || CASE WHEN ABS("twice") = 'inf'::FLOAT THEN '9218868437227405312' ELSE TO_VARCHAR(CASE WHEN ABS("twice") < '2.2250738585072014e-308'::FLOAT THEN (ABS("twice") * POWER('2e0'::FLOAT, 537) * POWER('2e0'::FLOAT, 537))::NUMBER(18,0) ELSE ((FLOOR(LN(ABS("twice")) / LN('2e0'::FLOAT) - '1e-9'::FLOAT) + 1023))::NUMBER(18,0) * 4503599627370496 + ((CASE WHEN ABS("twice") / POWER('2e0'::FLOAT, FLOOR(LN(ABS("twice")) / LN('2e0'::FLOAT) - '1e-9'::FLOAT)) < 2 THEN ABS("twice") / POWER('2e0'::FLOAT, FLOOR(LN(ABS("twice")) / LN('2e0'::FLOAT) - '1e-9'::FLOAT)) - 1 ELSE ABS("twice") / POWER('2e0'::FLOAT, FLOOR(LN(ABS("twice")) / LN('2e0'::FLOAT) - '1e-9'::FLOAT)) / 2 END) * 4503599627370496)::NUMBER(18,0) END) END END, '') || ','

-- body: VARCHAR
COALESCE(TO_VARCHAR(OCTET_LENGTH("body")) || ':' || "body", ':')

-- raw: BLOB
COALESCE('x' || HEX_ENCODE("raw"), '') || ','

-- day: DATE
COALESCE(TO_VARCHAR(DATEDIFF('day', '1970-01-01'::DATE, "day")), '') || ','

-- at: TIMESTAMP
COALESCE(TO_VARCHAR(DATE_PART(EPOCH_MICROSECOND, "at") - 946684800000000) || IFF(DATE_PART(NANOSECOND, "at") % 1000 = 0, '', '.' || LPAD(TO_VARCHAR(DATE_PART(NANOSECOND, "at") % 1000), 3, '0')), '') || ','

-- instant: TIMESTAMPTZ
COALESCE(TO_VARCHAR(DATE_PART(EPOCH_MICROSECOND, "instant") - 946684800000000) || IFF(DATE_PART(NANOSECOND, "instant") % 1000 = 0, '', '.' || LPAD(TO_VARCHAR(DATE_PART(NANOSECOND, "instant") % 1000), 3, '0')), '') || ','

-- clock: VARCHAR
COALESCE(TO_VARCHAR(OCTET_LENGTH(REGEXP_REPLACE(TO_VARCHAR("clock", 'HH24:MI:SS.FF9'), '[.]?0+$', ''))) || ':' || REGEXP_REPLACE(TO_VARCHAR("clock", 'HH24:MI:SS.FF9'), '[.]?0+$', ''), ':')

-- by a key of whole numbers
SELECT segment, COUNT(*) AS n, TO_VARCHAR(SUM(h)) AS total FROM (SELECT ((((COALESCE("small", 0) % 293) * 1000003 + (COALESCE("whole", 0) % 293)) % 293 * 1000003 + (COALESCE("big", 0) % 293)) % 293 + 293) % 293 AS segment, MD5_NUMBER_LOWER64((COALESCE(CASE "flag" WHEN TRUE THEN '1' WHEN FALSE THEN '0' END, '') || ',')) AS h FROM "corpus") q GROUP BY segment

-- by a key of text, some rows
SELECT segment, COUNT(*) AS n, TO_VARCHAR(SUM(h)) AS total FROM (SELECT MD5_NUMBER_LOWER64((COALESCE(TO_VARCHAR(OCTET_LENGTH("body")) || ':' || "body", ':'))) % 4294967296 % 293 AS segment, MD5_NUMBER_LOWER64((COALESCE(CASE "flag" WHEN TRUE THEN '1' WHEN FALSE THEN '0' END, '') || ',')) AS h FROM "corpus" WHERE TRUE) q GROUP BY segment
