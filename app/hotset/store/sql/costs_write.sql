-- costs: what one GPU's worker has learned. A row that knows more than ours stays: another worker of that GPU wrote it.
INSERT INTO costs (kind, name, agent, gpu, seen, sketch)
SELECT kind, name, agent, %(gpu)s, seen, sketch
FROM json_to_recordset(%(rows)s::json) AS r (kind text, name text, agent text, seen bigint, sketch jsonb)
ON CONFLICT (kind, name, agent, gpu) DO UPDATE
SET seen = EXCLUDED.seen, sketch = EXCLUDED.sketch, updated_at = now()
WHERE costs.seen <= EXCLUDED.seen
