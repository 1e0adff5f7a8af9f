-- sales_data → totals by day and by month. Orders are counted in two steps, so that nothing sorts every line.

INSERT INTO public.sales_daily
WITH source AS (
    SELECT
        order_date                   AS day,
        coalesce(region, '(none)')   AS region,
        coalesce(category, '(none)') AS category,
        order_id, quantity, sales, profit
    FROM public.sales_data
),
by_order AS (
    SELECT
        day, region, category,
        count(*)      AS lines,
        sum(quantity) AS quantity,
        sum(sales)    AS sales,
        sum(profit)   AS profit
    FROM source
    GROUP BY day, region, category, order_id
),
final AS (
    SELECT
        day, region, category,
        count(*)      AS orders,
        sum(lines)    AS lines,
        sum(quantity) AS quantity,
        sum(sales)    AS sales,
        sum(profit)   AS profit
    FROM by_order
    GROUP BY day, region, category
)
SELECT * FROM final ORDER BY day, region COLLATE "C", category COLLATE "C";

INSERT INTO public.sales_monthly
WITH source AS (
    SELECT
        order_date - extract(day FROM order_date)::integer + 1 AS month,
        coalesce(region, '(none)')   AS region,
        coalesce(category, '(none)') AS category,
        order_id, quantity, sales, profit
    FROM public.sales_data
),
by_order AS (
    SELECT
        month, region, category,
        count(*)      AS lines,
        sum(quantity) AS quantity,
        sum(sales)    AS sales,
        sum(profit)   AS profit
    FROM source
    GROUP BY month, region, category, order_id
),
final AS (
    SELECT
        month, region, category,
        count(*)              AS orders,
        sum(lines)            AS lines,
        sum(quantity)         AS quantity,
        sum(sales)            AS sales,
        sum(profit)           AS profit,
        sum(sales) / count(*) AS average_order
    FROM by_order
    GROUP BY month, region, category
)
SELECT * FROM final ORDER BY month, region COLLATE "C", category COLLATE "C";
