select
    branch_id,
    count(*) as loans,
    sum(returned) as returned
from {{ ref('stg_loans') }}
group by branch_id
