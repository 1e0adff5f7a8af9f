-- Orders of which at least one line has not shipped.

with final as (
    select
        order_id,
        min(order_date) as order_date,
        customer_id,
        count(*) as lines,
        sum(sales) as sales
    from {{ ref('sales_lines') }}
    where ship_date is null and kind = 'sale'
    group by order_id, customer_id
)
select * from final
