-- memories: what ranking needs of these.
WITH chain AS (SELECT unnest(%(ids)s::uuid[]) AS id)
/*ranked*/
