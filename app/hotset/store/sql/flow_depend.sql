-- dependencies: of jobs that this transaction accepted.
INSERT INTO dependencies (job, depends_on, position)
SELECT * FROM unnest(%(jobs)s::uuid[], %(depends_on)s::uuid[], %(positions)s::integer[])
