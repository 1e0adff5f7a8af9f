-- flag: BOOLEAN
coalesce(CASE `flag` WHEN TRUE THEN '1' WHEN FALSE THEN '0' END, ''), ','

-- small: SMALLINT
coalesce(CAST(`small` AS STRING), ''), ','

-- whole: INTEGER
coalesce(CAST(`whole` AS STRING), ''), ','

-- big: BIGINT
coalesce(CAST(`big` AS STRING), ''), ','

-- price: DECIMAL(12,2)
coalesce(CASE WHEN instr(CAST(`price` AS STRING), 'E') = 0 THEN CAST(`price` AS STRING) ELSE concat(CASE WHEN `price` < 0 THEN '-' ELSE '' END, '0.', repeat('0', CAST(substring_index(CAST(`price` AS STRING), 'E-', -1) AS INT) - 1), replace(replace(substring_index(CAST(`price` AS STRING), 'E', 1), '.', ''), '-', '')) END, ''), ','

-- fraction: DECIMAL(5,5)
coalesce(CASE WHEN instr(CAST(`fraction` AS STRING), 'E') = 0 THEN CAST(`fraction` AS STRING) ELSE concat(CASE WHEN `fraction` < 0 THEN '-' ELSE '' END, '0.', repeat('0', CAST(substring_index(CAST(`fraction` AS STRING), 'E-', -1) AS INT) - 1), replace(replace(substring_index(CAST(`fraction` AS STRING), 'E', 1), '.', ''), '-', '')) END, ''), ','

-- wide: DECIMAL(38,10)
coalesce(CASE WHEN instr(CAST(`wide` AS STRING), 'E') = 0 THEN CAST(`wide` AS STRING) ELSE concat(CASE WHEN `wide` < 0 THEN '-' ELSE '' END, '0.', repeat('0', CAST(substring_index(CAST(`wide` AS STRING), 'E-', -1) AS INT) - 1), replace(replace(substring_index(CAST(`wide` AS STRING), 'E', 1), '.', ''), '-', '')) END, ''), ','

-- finest: DECIMAL(38,37)
coalesce(CASE WHEN instr(CAST(`finest` AS STRING), 'E') = 0 THEN CAST(`finest` AS STRING) ELSE concat(CASE WHEN `finest` < 0 THEN '-' ELSE '' END, '0.', repeat('0', CAST(substring_index(CAST(`finest` AS STRING), 'E-', -1) AS INT) - 1), replace(replace(substring_index(CAST(`finest` AS STRING), 'E', 1), '.', ''), '-', '')) END, ''), ','

-- integral: DECIMAL(38,0)
coalesce(CASE WHEN instr(CAST(`integral` AS STRING), 'E') = 0 THEN CAST(`integral` AS STRING) ELSE concat(CASE WHEN `integral` < 0 THEN '-' ELSE '' END, '0.', repeat('0', CAST(substring_index(CAST(`integral` AS STRING), 'E-', -1) AS INT) - 1), replace(replace(substring_index(CAST(`integral` AS STRING), 'E', 1), '.', ''), '-', '')) END, ''), ','

-- single: FLOAT
coalesce(CASE WHEN isnan(`single`) THEN 'NaN' WHEN `single` = 0 THEN '0' ELSE concat(CASE WHEN `single` < 0 THEN '-' ELSE '' END, CASE WHEN abs(`single`) = double('Infinity') THEN '9218868437227405312' ELSE CAST(CASE WHEN abs(CAST(`single` AS DOUBLE)) < 2.2250738585072014e-308 THEN CAST(abs(CAST(`single` AS DOUBLE)) * power(2e0, 537) * power(2e0, 537) AS DECIMAL(18,0)) ELSE CAST((floor(ln(abs(CAST(`single` AS DOUBLE))) / ln(2e0) - 1e-9) + 1023) AS DECIMAL(18,0)) * 4503599627370496 + CAST((CASE WHEN abs(CAST(`single` AS DOUBLE)) / power(2e0, floor(ln(abs(CAST(`single` AS DOUBLE))) / ln(2e0) - 1e-9)) < 2 THEN abs(CAST(`single` AS DOUBLE)) / power(2e0, floor(ln(abs(CAST(`single` AS DOUBLE))) / ln(2e0) - 1e-9)) - 1 ELSE abs(CAST(`single` AS DOUBLE)) / power(2e0, floor(ln(abs(CAST(`single` AS DOUBLE))) / ln(2e0) - 1e-9)) / 2 END) * 4503599627370496 AS DECIMAL(18,0)) END AS STRING) END) END, ''), ','

-- twice: DOUBLE
coalesce(CASE WHEN isnan(`twice`) THEN 'NaN' WHEN `twice` = 0 THEN '0' ELSE concat(CASE WHEN `twice` < 0 THEN '-' ELSE '' END, CASE WHEN abs(`twice`) = double('Infinity') THEN '9218868437227405312' ELSE CAST(CASE WHEN abs(CAST(`twice` AS DOUBLE)) < 2.2250738585072014e-308 THEN CAST(abs(CAST(`twice` AS DOUBLE)) * power(2e0, 537) * power(2e0, 537) AS DECIMAL(18,0)) ELSE CAST((floor(ln(abs(CAST(`twice` AS DOUBLE))) / ln(2e0) - 1e-9) + 1023) AS DECIMAL(18,0)) * 4503599627370496 + CAST((CASE WHEN abs(CAST(`twice` AS DOUBLE)) / power(2e0, floor(ln(abs(CAST(`twice` AS DOUBLE))) / ln(2e0) - 1e-9)) < 2 THEN abs(CAST(`twice` AS DOUBLE)) / power(2e0, floor(ln(abs(CAST(`twice` AS DOUBLE))) / ln(2e0) - 1e-9)) - 1 ELSE abs(CAST(`twice` AS DOUBLE)) / power(2e0, floor(ln(abs(CAST(`twice` AS DOUBLE))) / ln(2e0) - 1e-9)) / 2 END) * 4503599627370496 AS DECIMAL(18,0)) END AS STRING) END) END, ''), ','

-- body: VARCHAR
coalesce(concat(CAST(octet_length(`body`) AS STRING), ':', `body`), ':')

-- raw: BLOB
coalesce(concat('x', hex(`raw`)), ''), ','

-- day: DATE
coalesce(CAST(datediff(`day`, DATE'1970-01-01') AS STRING), ''), ','

-- at: TIMESTAMP
coalesce(CAST(unix_micros(CAST(`at` AS TIMESTAMP)) - 946684800000000 AS STRING), ''), ','

-- instant: TIMESTAMPTZ
coalesce(CAST(unix_micros(CAST(`instant` AS TIMESTAMP)) - 946684800000000 AS STRING), ''), ','

-- clock: VARCHAR
coalesce(concat(CAST(octet_length(`clock`) AS STRING), ':', `clock`), ':')

-- by a key of whole numbers
SELECT segment, COUNT(*) AS n, CAST(SUM(h) AS STRING) AS total FROM (SELECT ((((COALESCE(CAST(`small` AS BIGINT), 0) % 293) * 1000003 + (COALESCE(CAST(`whole` AS BIGINT), 0) % 293)) % 293 * 1000003 + (COALESCE(CAST(`big` AS BIGINT), 0) % 293)) % 293 + 293) % 293 AS segment, (CAST(conv(substring(md5(concat(coalesce(CASE `flag` WHEN TRUE THEN '1' WHEN FALSE THEN '0' END, ''), ',')), 17, 8), 16, 10) AS DECIMAL(10,0)) * CAST(4294967296 AS DECIMAL(10,0)) + CAST(conv(substring(md5(concat(coalesce(CASE `flag` WHEN TRUE THEN '1' WHEN FALSE THEN '0' END, ''), ',')), 25, 8), 16, 10) AS DECIMAL(10,0))) AS h FROM `corpus`) q GROUP BY segment

-- by a key of text, some rows
SELECT segment, COUNT(*) AS n, CAST(SUM(h) AS STRING) AS total FROM (SELECT CAST(conv(substring(md5(concat(coalesce(concat(CAST(octet_length(`body`) AS STRING), ':', `body`), ':'))), 25, 8), 16, 10) AS BIGINT) % 293 AS segment, (CAST(conv(substring(md5(concat(coalesce(CASE `flag` WHEN TRUE THEN '1' WHEN FALSE THEN '0' END, ''), ',')), 17, 8), 16, 10) AS DECIMAL(10,0)) * CAST(4294967296 AS DECIMAL(10,0)) + CAST(conv(substring(md5(concat(coalesce(CASE `flag` WHEN TRUE THEN '1' WHEN FALSE THEN '0' END, ''), ',')), 25, 8), 16, 10) AS DECIMAL(10,0))) AS h FROM `corpus` WHERE TRUE) q GROUP BY segment
