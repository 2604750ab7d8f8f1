-- dependencies, results: the answers that a step is given, in their order; no text: the result is gone, or erased.
SELECT jobs.id, jobs.agent, CASE WHEN jobs.body_hash <> '' THEN results.text END AS text
FROM dependencies JOIN jobs ON jobs.id = dependencies.depends_on LEFT JOIN results ON results.job_id = jobs.id
WHERE dependencies.job = %(id)s
ORDER BY dependencies.position
