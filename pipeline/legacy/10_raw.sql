-- Order lines as they come from CSV: everything is text, nothing is refused, and the line number says where it stood.

CREATE TABLE public.raw_orders (
    line_no     bigint PRIMARY KEY,
    order_id    text,
    order_date  text,
    ship_date   text,
    customer_id text,
    product_id  text,
    category    text,
    region      text,
    country     text,
    sales       text,
    quantity    text,
    profit      text
);

COMMENT ON TABLE public.raw_orders IS 'Legacy sales pipeline: order lines as they came, before cleaning';
COMMENT ON COLUMN public.raw_orders.line_no IS 'Line of the file on which the record begins; the key of the order line everywhere downstream';
COMMENT ON COLUMN public.raw_orders.ship_date IS 'Empty, or n/a, until the order ships';
COMMENT ON COLUMN public.raw_orders.sales IS 'Amount of the whole line, after discount; negative for a return';
