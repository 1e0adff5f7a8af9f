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
)
SELECT
    order_id,
    customer_id,
    min(order_date) AS order_date,
    count(*) AS lines,
    sum(sales) AS sales
FROM lines
WHERE ship_date IS NULL AND quantity >= 0
GROUP BY order_id, customer_id
