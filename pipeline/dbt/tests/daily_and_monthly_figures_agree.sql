-- Days, months and lines are three ways to the same totals; a row here is a month in which they are not.

with lines as (
    select
        cast(date_trunc('month', order_date) as date) as month,
        count(*) as lines, sum(quantity) as quantity, sum(sales) as sales, sum(profit) as profit
    from {{ ref('sales_lines') }}
    group by 1
),
days as (
    select
        cast(date_trunc('month', day) as date) as month,
        sum(lines) as lines, sum(quantity) as quantity, sum(sales) as sales, sum(profit) as profit
    from {{ ref('sales_daily') }}
    group by 1
),
months as (
    select month, sum(lines) as lines, sum(quantity) as quantity, sum(sales) as sales, sum(profit) as profit
    from {{ ref('sales_monthly') }}
    group by 1
),
both_ways as (
    select
        coalesce(lines.month, days.month, months.month) as month,
        lines.lines as lines, days.lines as lines_by_day, months.lines as lines_by_month,
        lines.quantity as quantity, days.quantity as quantity_by_day, months.quantity as quantity_by_month,
        lines.sales as sales, days.sales as sales_by_day, months.sales as sales_by_month,
        lines.profit as profit, days.profit as profit_by_day, months.profit as profit_by_month
    from lines
    full outer join days on lines.month = days.month
    full outer join months on lines.month = months.month
)
select * from both_ways
where lines is distinct from lines_by_day or lines is distinct from lines_by_month
    or quantity is distinct from quantity_by_day or quantity is distinct from quantity_by_month
    or sales is distinct from sales_by_day or sales is distinct from sales_by_month
    or profit is distinct from profit_by_day or profit is distinct from profit_by_month
