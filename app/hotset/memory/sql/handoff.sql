-- memory_handoffs: what the next agent is told.
INSERT INTO memory_handoffs (id, tenant, scope, from_agent, to_agent, summary, limits, output_format)
VALUES (%(id)s, %(tenant)s, %(scope)s, %(from)s, %(to)s, %(summary)s, %(limits)s::jsonb, %(output_format)s)
