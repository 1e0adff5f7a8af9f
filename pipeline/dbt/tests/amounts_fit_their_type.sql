-- A cast of text to a decimal rounds what has too many digits after the point, in silence; here is each such line.

with amounts as (
    select "line_no" as order_line, 'sales' as what, trim("sales", ' ') as amount from {{ source('migrated', 'raw_orders') }}
    union all
    select "line_no" as order_line, 'profit' as what, trim("profit", ' ') as amount from {{ source('migrated', 'raw_orders') }}
)
select order_line, what, amount
from amounts
where length(split_part(amount, '.', 2)) > {{ var('amount_scale') }} or lower(amount) like '%e%'
