-- One row a product, with the category that most of its lines carry; the first in byte order where several are as frequent.

with by_category as (
    select
        product_id,
        category,
        count(*) as lines,
        min(order_date) as first_sold,
        max(order_date) as last_sold
    from {{ ref('sales_lines') }}
    group by product_id, category
),
ranked as (
    select
        product_id,
        category,
        min(first_sold) over (partition by product_id) as first_sold,
        max(last_sold) over (partition by product_id) as last_sold,
        row_number() over (
            partition by product_id
            order by case when category is null then 1 else 0 end, lines desc, category
        ) as choice
    from by_category
),
final as (
    select
        row_number() over (order by product_id) as product_key,
        product_id,
        category,
        first_sold,
        last_sold
    from ranked
    where choice = 1
)
select * from final
