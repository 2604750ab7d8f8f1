-- memories: the working set of the last hours stays warm. Once an hour for each at most: searches do not wait for it.
UPDATE memories SET used_at = now()
WHERE id IN (SELECT id FROM memories WHERE id = ANY(%(ids)s) AND used_at < now() - interval '1 hour'
             FOR UPDATE SKIP LOCKED)
