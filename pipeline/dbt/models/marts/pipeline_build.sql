-- Which load the marts are of. dbt builds it last, and only where every mart and its tests are well:
-- {{ ref('open_orders') }} {{ ref('product_ranking') }} {{ ref('sales_daily') }} {{ ref('sales_monthly') }}

select
    cast('{{ var("load_id") }}' as varchar) as load_id,
    cast('{{ var("export") }}' as varchar) as export_id,
    cast('{{ invocation_id }}' as varchar) as invocation_id,
    cast('{{ run_started_at }}' as varchar) as started_at
