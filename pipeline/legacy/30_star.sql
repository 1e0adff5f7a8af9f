-- clean_orders → the star and the wide table. Foreign keys go before the rows and come back after them:
-- one pass over the table instead of a check per row.

ALTER TABLE public.fact_sales DROP CONSTRAINT IF EXISTS fact_sales_order_date_fk;
ALTER TABLE public.fact_sales DROP CONSTRAINT IF EXISTS fact_sales_ship_date_fk;
ALTER TABLE public.fact_sales DROP CONSTRAINT IF EXISTS fact_sales_product_fk;
ALTER TABLE public.fact_sales DROP CONSTRAINT IF EXISTS fact_sales_customer_fk;
TRUNCATE public.dim_date, public.dim_product, public.fact_sales, public.sales_data, public.sales_daily, public.sales_monthly;

-- Customers of an earlier order file leave with it; those the shop registered itself stay.
DELETE FROM public.customers WHERE created_at IS NULL;

INSERT INTO public.customers (customer_id)
SELECT DISTINCT customer_id
FROM clean_orders
WHERE customer_id IS NOT NULL
ON CONFLICT (customer_id) DO NOTHING;

INSERT INTO public.dim_date
WITH bounds AS (
    SELECT
        least(min(order_date), min(ship_date))    AS first_day,
        greatest(max(order_date), max(ship_date)) AS last_day
    FROM clean_orders
),
days AS (
    SELECT first_day + step AS day
    FROM bounds, generate_series(0, last_day - first_day) AS step
),
final AS (
    SELECT
        to_char(day, 'YYYYMMDD')::integer AS date_key,
        day,
        extract(year FROM day)::smallint    AS year,
        extract(quarter FROM day)::smallint AS quarter,
        extract(month FROM day)::smallint   AS month,
        to_char(day, 'FMMonth')             AS month_name,
        extract(week FROM day)::smallint    AS iso_week,
        extract(isodow FROM day)::smallint  AS weekday,
        extract(isodow FROM day) >= 6       AS is_weekend
    FROM days
)
SELECT * FROM final ORDER BY date_key;

INSERT INTO public.dim_product
WITH by_category AS (
    SELECT
        product_id,
        category,
        count(*)        AS lines,
        min(order_date) AS first_sold,
        max(order_date) AS last_sold
    FROM clean_orders
    GROUP BY product_id, category
),
ranked AS (
    SELECT
        product_id,
        category,
        min(first_sold) OVER product AS first_sold,
        max(last_sold) OVER product  AS last_sold,
        row_number() OVER (
            PARTITION BY product_id
            ORDER BY category IS NULL, lines DESC, category COLLATE "C"
        ) AS choice
    FROM by_category
    WINDOW product AS (PARTITION BY product_id)
),
final AS (
    SELECT
        row_number() OVER (ORDER BY product_id COLLATE "C")::integer AS product_key,
        product_id,
        category,
        first_sold,
        last_sold
    FROM ranked
    WHERE choice = 1
)
SELECT * FROM final ORDER BY product_key;

INSERT INTO public.fact_sales
WITH final AS (
    SELECT
        line_no                                  AS sale_id,
        order_id,
        to_char(order_date, 'YYYYMMDD')::integer AS order_date_key,
        to_char(ship_date, 'YYYYMMDD')::integer  AS ship_date_key,
        product_key,
        customer_id,
        region,
        country,
        sales,
        quantity,
        profit
    FROM clean_orders
    JOIN public.dim_product USING (product_id)
)
SELECT * FROM final ORDER BY sale_id;

ALTER TABLE public.fact_sales
    ADD CONSTRAINT fact_sales_order_date_fk FOREIGN KEY (order_date_key) REFERENCES public.dim_date,
    ADD CONSTRAINT fact_sales_ship_date_fk FOREIGN KEY (ship_date_key) REFERENCES public.dim_date,
    ADD CONSTRAINT fact_sales_product_fk FOREIGN KEY (product_key) REFERENCES public.dim_product,
    ADD CONSTRAINT fact_sales_customer_fk FOREIGN KEY (customer_id) REFERENCES public.customers;

INSERT INTO public.sales_data
WITH final AS (
    SELECT
        line_no                      AS order_line,
        order_id,
        order_date,
        ship_date,
        customer_id,
        product_id,
        category,
        region,
        country,
        sales,
        quantity,
        profit,
        sales / nullif(quantity, 0)  AS unit_price,
        ship_date - order_date       AS days_to_ship,
        quantity < 0                 AS is_return
    FROM clean_orders
)
SELECT * FROM final ORDER BY order_line;
