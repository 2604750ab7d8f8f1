-- memory_sources, memory_summaries: what a summary is made of.
WITH within AS (
    UPDATE memory_summaries SET part_of = %(id)s WHERE tenant = %(tenant)s AND memory = ANY(%(sources)s::uuid[])
)
INSERT INTO memory_sources (tenant, scope, summary, source)
SELECT %(tenant)s, %(scope)s, %(id)s, source FROM unnest(%(sources)s::uuid[]) AS source
