-- From the order lines as they came, by the rules of pipeline/legacy/README.md and none of its SQL: neither star nor wide table.
WITH lines AS (
    SELECT DISTINCT
        btrim(order_id, ' ') AS order_id,
        btrim(order_date, ' ')::date AS order_date,
        CASE WHEN lower(btrim(ship_date, ' ')) NOT IN ('', 'n/a') THEN btrim(ship_date, ' ')::date END AS ship_date,
        CASE WHEN lower(btrim(customer_id, ' ')) NOT IN ('', 'n/a') THEN btrim(customer_id, ' ') END AS customer_id,
        btrim(product_id, ' ') AS product_id,
        nullif(btrim(category, ' '), '') AS category,
        nullif(btrim(region, ' '), '') AS region,
        nullif(btrim(country, ' '), '') AS country,
        btrim(sales, ' ')::numeric AS sales,
        btrim(quantity, ' ')::integer AS quantity,
        nullif(btrim(profit, ' '), '')::numeric AS profit
    FROM {raw_orders}
),
named AS (
    SELECT DISTINCT ON (product_id) product_id, category
    FROM lines
    WHERE category IS NOT NULL
    GROUP BY product_id, category
    ORDER BY product_id, count(*) DESC, category COLLATE "C"
),
totals AS (
    SELECT product_id, sum(quantity) AS quantity, sum(sales) AS sales
    FROM lines
    GROUP BY product_id
)
SELECT
    product_id,
    row_number() OVER (ORDER BY totals.sales DESC, product_id COLLATE "C") AS rank,
    named.category,
    totals.quantity,
    totals.sales
FROM totals
LEFT JOIN named USING (product_id)
