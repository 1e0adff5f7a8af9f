-- The rules of pipeline/legacy/20_clean.sql: blanks around a value go; an empty value, and n/a as ship date or customer,
-- is NULL. Lines that are equal in all values are still several here.

with source as (
    select * from {{ source('migrated', 'raw_orders') }}
),
trimmed as (
    select
        "line_no" as order_line,
        trim("order_id", ' ') as order_id,
        trim("order_date", ' ') as order_date,
        lower(trim("ship_date", ' ')) as ship_date,
        trim("customer_id", ' ') as customer_id,
        trim("product_id", ' ') as product_id,
        nullif(trim("category", ' '), '') as category,
        nullif(trim("region", ' '), '') as region,
        nullif(trim("country", ' '), '') as country,
        trim("sales", ' ') as sales,
        trim("quantity", ' ') as quantity,
        trim("profit", ' ') as profit
    from source
),
final as (
    select
        order_line,
        order_id,
        cast(order_date as date) as order_date,
        cast(nullif(nullif(ship_date, ''), 'n/a') as date) as ship_date,
        case when lower(customer_id) not in ('', 'n/a') then customer_id end as customer_id,
        product_id,
        category,
        region,
        country,
        {{ amount('sales') }} as sales,
        cast(quantity as integer) as quantity,
        {{ amount('profit') }} as profit
    from trimmed
)
select * from final
