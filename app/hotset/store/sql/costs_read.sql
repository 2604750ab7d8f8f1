-- costs: rows that changed since then (null: all), of agents or not.
SELECT kind, name, agent, gpu, sketch, updated_at
FROM costs
WHERE (%(since)s::timestamptz IS NULL OR updated_at >= %(since)s) AND (%(agents)s OR agent = '')
