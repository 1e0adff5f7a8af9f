-- After every load.

REFRESH MATERIALIZED VIEW product_ranking;

ANALYZE raw_orders, customers, dim_date, dim_product, fact_sales, sales_data, sales_daily, sales_monthly, product_ranking;
