select
    month,
    count(*) as loans,
    count(distinct person_id) as readers
from {{ ref('stg_loans') }}
group by month
