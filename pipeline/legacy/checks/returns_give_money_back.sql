-- A return is a line with a negative quantity, and its amount is not positive; a row is one that is marked or priced otherwise.

SELECT order_line, order_id, quantity, sales, is_return
FROM public.sales_data
WHERE is_return <> (quantity < 0) OR (quantity < 0 AND sales > 0)
ORDER BY order_line
