-- After every load.

REFRESH MATERIALIZED VIEW public.product_ranking;

ANALYZE public.raw_orders, public.customers, public.dim_date, public.dim_product, public.fact_sales, public.sales_data, public.sales_daily, public.sales_monthly, public.product_ranking;
