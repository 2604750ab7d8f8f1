-- memory_key_jobs: waits no longer; what it was asked about and neither kept nor left may be asked about again.
DELETE FROM memory_key_jobs WHERE tenant = %(tenant)s AND id = ANY(%(ids)s)
