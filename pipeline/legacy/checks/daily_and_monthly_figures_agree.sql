-- Order lines, days and months are three ways to the same totals; a row is a month in which they are not.

WITH lines AS (
    SELECT date_trunc('month', order_date)::date AS month,
           count(*) AS lines, sum(quantity) AS quantity, sum(sales) AS sales, sum(profit) AS profit
    FROM public.sales_data
    GROUP BY 1
),
days AS (
    SELECT date_trunc('month', day)::date AS month,
           sum(lines) AS lines, sum(quantity) AS quantity, sum(sales) AS sales, sum(profit) AS profit
    FROM public.sales_daily
    GROUP BY 1
),
months AS (
    SELECT month, sum(lines) AS lines, sum(quantity) AS quantity, sum(sales) AS sales, sum(profit) AS profit
    FROM public.sales_monthly
    GROUP BY 1
)
SELECT month, lines.sales AS by_line, days.sales AS by_day, months.sales AS by_month
FROM lines
FULL JOIN days USING (month)
FULL JOIN months USING (month)
WHERE (lines.lines, lines.quantity, lines.sales, lines.profit) IS DISTINCT FROM (days.lines, days.quantity, days.sales, days.profit)
   OR (lines.lines, lines.quantity, lines.sales, lines.profit) IS DISTINCT FROM (months.lines, months.quantity, months.sales, months.profit)
ORDER BY month
