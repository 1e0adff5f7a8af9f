-- The star and the wide table hold the same order lines; a row is one that only one of them has, or has otherwise.

WITH star AS (
    SELECT sale_id AS line, order_id, ordered.day AS order_date, shipped.day AS ship_date, customer_id, product_id, sales, quantity, profit
    FROM public.fact_sales
    JOIN public.dim_date AS ordered ON ordered.date_key = order_date_key
    LEFT JOIN public.dim_date AS shipped ON shipped.date_key = ship_date_key
    JOIN public.dim_product USING (product_key)
),
wide AS (
    SELECT order_line AS line, order_id, order_date, ship_date, customer_id, product_id, sales, quantity, profit
    FROM public.sales_data
)
SELECT line, star.order_id AS order_in_star, wide.order_id AS order_in_wide, star.sales AS sales_in_star, wide.sales AS sales_in_wide
FROM star
FULL JOIN wide USING (line)
WHERE star IS DISTINCT FROM wide
ORDER BY line
