-- One row an order line: of lines that are equal in all eleven values, the first stays.

with source as (
    select * from {{ ref('stg_orders') }}
),
first_lines as (
    select min(order_line) as order_line
    from source
    group by
        order_id, order_date, ship_date, customer_id, product_id,
        category, region, country, sales, quantity, profit
),
final as (
    select
        source.order_line,
        source.order_id,
        source.order_date,
        source.ship_date,
        source.customer_id,
        source.product_id,
        source.category,
        source.region,
        source.country,
        source.sales,
        source.quantity,
        source.profit,
        case when source.quantity < 0 then 'return' else 'sale' end as kind
    from source
    inner join first_lines on source.order_line = first_lines.order_line
)
select * from final
