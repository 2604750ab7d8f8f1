-- messages: the leases that are still held last so long from now; those that are.
UPDATE messages SET visible_at = clock_timestamp() + make_interval(secs => %(lease_s)s)
FROM unnest(%(ids)s::uuid[], %(leases)s::uuid[]) AS held (id, lease)
WHERE messages.id = held.id AND messages.lease = held.lease AND messages.ended_at IS NULL
RETURNING messages.id
