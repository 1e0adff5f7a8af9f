-- No line ships before it is ordered, and the days between are counted right; a row is one that does, or is not.

SELECT order_line, order_id, order_date, ship_date, days_to_ship
FROM public.sales_data
WHERE ship_date < order_date OR days_to_ship IS DISTINCT FROM ship_date - order_date
ORDER BY order_line
