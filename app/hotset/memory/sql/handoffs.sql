-- memory_handoffs to an agent, the newest first.
SELECT id, scope, from_agent, to_agent, summary, limits, output_format, made_at FROM memory_handoffs
WHERE tenant = %(tenant)s AND to_agent = %(to)s ORDER BY made_at DESC LIMIT %(limit)s
