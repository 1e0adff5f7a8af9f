-- The star, the wide table beside it, and the aggregates. 30_star.sql and 40_aggregates.sql fill them.

CREATE TABLE public.dim_date (
    date_key   integer PRIMARY KEY,
    day        date NOT NULL UNIQUE,
    year       smallint NOT NULL,
    quarter    smallint NOT NULL,
    month      smallint NOT NULL,
    month_name text NOT NULL,
    iso_week   smallint NOT NULL,
    weekday    smallint NOT NULL,
    is_weekend boolean NOT NULL
);

CREATE TABLE public.dim_product (
    product_key integer PRIMARY KEY,
    product_id  text NOT NULL UNIQUE,
    category    text,
    first_sold  date NOT NULL,
    last_sold   date NOT NULL
);

CREATE TABLE public.fact_sales (
    sale_id        bigint PRIMARY KEY,
    order_id       text NOT NULL,
    order_date_key integer NOT NULL,
    ship_date_key  integer,
    product_key    integer NOT NULL,
    customer_id    text,
    region         text,
    country        text,
    sales          numeric NOT NULL,
    quantity       integer NOT NULL,
    profit         numeric
);

CREATE TABLE public.sales_data (
    order_line   bigint PRIMARY KEY,
    order_id     text NOT NULL,
    order_date   date NOT NULL,
    ship_date    date,
    customer_id  text,
    product_id   text NOT NULL,
    category     text,
    region       text,
    country      text,
    sales        numeric NOT NULL,
    quantity     integer NOT NULL,
    profit       numeric,
    unit_price   numeric,
    days_to_ship integer,
    is_return    boolean NOT NULL
);

CREATE TABLE public.sales_daily (
    day      date,
    region   text,
    category text,
    orders   bigint NOT NULL,
    lines    bigint NOT NULL,
    quantity bigint NOT NULL,
    sales    numeric NOT NULL,
    profit   numeric,
    PRIMARY KEY (day, region, category)
);

CREATE TABLE public.sales_monthly (
    month         date,
    region        text,
    category      text,
    orders        bigint NOT NULL,
    lines         bigint NOT NULL,
    quantity      bigint NOT NULL,
    sales         numeric NOT NULL,
    profit        numeric,
    average_order numeric NOT NULL,
    PRIMARY KEY (month, region, category)
);

COMMENT ON TABLE public.dim_date IS 'Legacy sales pipeline: calendar from the first to the last day in the orders, without gaps';
COMMENT ON COLUMN public.dim_date.date_key IS 'The day as yyyymmdd';
COMMENT ON COLUMN public.dim_date.weekday IS 'ISO: 1 is Monday, 7 is Sunday';
COMMENT ON TABLE public.dim_product IS 'Legacy sales pipeline: one row a product';
COMMENT ON COLUMN public.dim_product.category IS 'The category most of the product''s lines carry; the first in byte order where several are as frequent';
COMMENT ON TABLE public.fact_sales IS 'Legacy sales pipeline: one row an order line, at the grain of the cleaned orders';
COMMENT ON COLUMN public.fact_sales.sale_id IS 'raw_orders.line_no';
COMMENT ON COLUMN public.fact_sales.sales IS 'Without precision, as the file wrote it: 12.5 and 12.50 both occur';
COMMENT ON TABLE public.sales_data IS 'Legacy sales pipeline: the wide table that reports read, one row an order line';
COMMENT ON COLUMN public.sales_data.unit_price IS 'Empty where the quantity is 0';
COMMENT ON TABLE public.sales_daily IS 'Legacy sales pipeline: totals by day, region and category; (none) where an order had no region or category';
COMMENT ON TABLE public.sales_monthly IS 'Legacy sales pipeline: totals by month (its first day), region and category';
