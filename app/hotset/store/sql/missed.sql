-- jobs: by queue, jobs that arrived in the last so many wall seconds and started after their deadline.
SELECT queue, count(*) AS jobs
FROM jobs
WHERE started_at > deadline_at AND arrived_at > now() - make_interval(secs => %(within_s)s)
GROUP BY queue
