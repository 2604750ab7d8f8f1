-- memory_summaries of the tenant, held until the end of the transaction.
SELECT id, job FROM memory_summaries WHERE tenant = %(tenant)s ORDER BY id LIMIT %(limit)s FOR UPDATE
