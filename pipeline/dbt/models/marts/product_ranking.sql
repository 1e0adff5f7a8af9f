-- Products by what they sold.

with totals as (
    select
        product_id,
        sum(quantity) as quantity,
        sum(sales) as sales
    from {{ ref('sales_lines') }}
    group by product_id
),
final as (
    select
        row_number() over (order by totals.sales desc, dim_product.product_key) as rank,
        totals.product_id,
        dim_product.category,
        totals.quantity,
        totals.sales
    from totals
    inner join {{ ref('dim_product') }} as dim_product on totals.product_id = dim_product.product_id
)
select * from final
