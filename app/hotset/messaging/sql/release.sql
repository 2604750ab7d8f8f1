-- messages: handed back without having been looked at, which counts as no delivery.
UPDATE messages SET visible_at = clock_timestamp(), lease = NULL, attempts = attempts - 1
FROM unnest(%(ids)s::uuid[], %(leases)s::uuid[]) AS held (id, lease)
WHERE messages.id = held.id AND messages.lease = held.lease AND messages.ended_at IS NULL
