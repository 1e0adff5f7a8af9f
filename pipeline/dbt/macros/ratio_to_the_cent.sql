{% macro ratio_to_the_cent(total, count) %}{{ return(adapter.dispatch('ratio_to_the_cent')(total, count)) }}{% endmacro %}

{% macro default__ratio_to_the_cent(total, count) -%}
cast(round({{ total }} / {{ count }}, 2) as decimal(38, 2))
{%- endmacro %}

{#- DuckDB divides decimals as floating point, so here whole numbers are divided: twice the cents plus one, then halved, rounds
    half away from zero, as the others do. -#}
{% macro duckdb__ratio_to_the_cent(total, count) -%}
{%- set units = "cast(abs(" ~ total ~ ") * 1" ~ "0" * var('amount_scale') ~ " as hugeint)" -%}
{%- set divisor = "(cast(" ~ count ~ " as hugeint) * 1" ~ "0" * (var('amount_scale') - 2) ~ ")" -%}
cast(
    case when {{ total }} < 0 then -1 else 1 end
    * cast((2 * {{ units }} + {{ divisor }}) // (2 * {{ divisor }}) as decimal(34, 0)) * 0.01 as decimal(38, 2)
)
{%- endmacro %}
