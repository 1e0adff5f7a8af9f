-- Totals by day, region and category; (none) where an order has no region or category.

with final as (
    select
        order_date as day,
        coalesce(region, '(none)') as region,
        coalesce(category, '(none)') as category,
        count(distinct order_id) as orders,
        count(*) as lines,
        sum(quantity) as quantity,
        sum(sales) as sales,
        sum(profit) as profit
    from {{ ref('sales_lines') }}
    group by 1, 2, 3
)
select * from final
