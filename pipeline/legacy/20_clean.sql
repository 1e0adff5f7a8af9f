-- raw_orders → clean_orders: typed, trimmed, and each line once. Lives until the end of the transaction.
-- Two lines are the same when all their values are: "12.5" and "12.50" do not make two sales. The earlier one stays.

CREATE TEMPORARY TABLE clean_orders ON COMMIT DROP AS
WITH source AS (
    SELECT * FROM public.raw_orders
),
renamed AS (
    SELECT
        line_no,
        btrim(order_id)                                    AS order_id,
        btrim(order_date)::date                            AS order_date,
        nullif(nullif(lower(btrim(ship_date)), ''), 'n/a')::date AS ship_date,
        CASE WHEN lower(btrim(customer_id)) NOT IN ('', 'n/a') THEN btrim(customer_id) END AS customer_id,
        btrim(product_id)                                  AS product_id,
        nullif(btrim(category), '')                        AS category,
        nullif(btrim(region), '')                          AS region,
        nullif(btrim(country), '')                         AS country,
        btrim(sales)::numeric                              AS sales,
        btrim(quantity)::integer                           AS quantity,
        nullif(btrim(profit), '')::numeric                 AS profit
    FROM source
),
first_lines AS (
    SELECT min(line_no) AS line_no
    FROM renamed
    GROUP BY
        order_id, order_date, ship_date, customer_id, product_id,
        category, region, country, sales, quantity, profit
),
final AS (
    SELECT renamed.*
    FROM renamed
    JOIN first_lines USING (line_no)
)
SELECT * FROM final ORDER BY line_no;

ANALYZE clean_orders;
