-- Totals by month (its first day), region and category.

with totals as (
    select
        cast(date_trunc('month', order_date) as date) as month,
        coalesce(region, '(none)') as region,
        coalesce(category, '(none)') as category,
        count(distinct order_id) as orders,
        count(*) as lines,
        sum(quantity) as quantity,
        sum(sales) as sales,
        sum(profit) as profit
    from {{ ref('sales_lines') }}
    group by 1, 2, 3
),
final as (
    select
        month,
        region,
        category,
        orders,
        lines,
        quantity,
        sales,
        profit,
        {{ ratio_to_the_cent('sales', 'orders') }} as average_order
    from totals
)
select * from final
