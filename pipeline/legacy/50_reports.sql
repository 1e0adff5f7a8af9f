-- What people looked at: a view, computed when it is read, and a materialized view, refreshed after every load.

CREATE VIEW public.open_orders AS
SELECT order_id, min(order_date) AS order_date, customer_id, count(*) AS lines, sum(sales) AS sales
FROM public.sales_data
WHERE ship_date IS NULL AND NOT is_return
GROUP BY order_id, customer_id;

CREATE MATERIALIZED VIEW public.product_ranking AS
WITH totals AS (
    SELECT product_key, sum(quantity) AS quantity, sum(sales) AS sales
    FROM public.fact_sales
    GROUP BY product_key
)
SELECT
    row_number() OVER (ORDER BY totals.sales DESC, product_key) AS rank,
    product_id,
    category,
    totals.quantity,
    totals.sales
FROM totals
JOIN public.dim_product USING (product_key);

CREATE UNIQUE INDEX product_ranking_product ON public.product_ranking (product_id);
CREATE INDEX fact_sales_customer ON public.fact_sales (customer_id);

COMMENT ON VIEW public.open_orders IS 'Legacy sales pipeline: orders of which at least one line has not shipped';
COMMENT ON MATERIALIZED VIEW public.product_ranking IS 'Legacy sales pipeline: products by what they sold, as of the last load';
