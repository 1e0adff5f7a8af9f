with loans as (
    select * from {{ source('library', 'loans_loan') }}
),

copies as (
    select * from {{ source('library', 'catalogue_copy') }}
)

select
    loans."loan_id" as loan_id,
    loans."person_id" as person_id,
    copies."branch_id" as branch_id,
    cast(date_trunc('month', loans."lent_at") as date) as month,
    case when loans."returned_at" is null then 0 else 1 end as returned
from loans
inner join copies on copies."copy_id" = loans."copy_id"
