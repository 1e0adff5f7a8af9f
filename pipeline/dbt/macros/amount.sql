{% macro amount(text) %}cast(nullif({{ text }}, '') as decimal(38, {{ var('amount_scale') }})){% endmacro %}
