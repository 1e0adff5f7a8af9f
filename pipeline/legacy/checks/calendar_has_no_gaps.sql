-- The calendar has every day from its first to its last; a row is a day that it lacks.

SELECT missing::date AS day
FROM (SELECT min(day) AS first_day, max(day) AS last_day FROM public.dim_date) AS bounds,
     generate_series(first_day, last_day, interval '1 day') AS missing
WHERE NOT EXISTS (SELECT FROM public.dim_date WHERE day = missing::date)
ORDER BY day
