-- jobs: those that ended where nobody could tell who waits for them; whoever runs this tells.
WITH found AS (
    SELECT id FROM jobs WHERE untold ORDER BY id LIMIT %(limit)s FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE jobs SET untold = false FROM found WHERE jobs.id = found.id
RETURNING jobs.id, jobs.state, jobs.reply_to, jobs.queue
