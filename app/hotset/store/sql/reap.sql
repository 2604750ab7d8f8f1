-- jobs, audit: leases that ran out: the worker died, or was away for as long.
-- The rule: a crash is counted only against a job that ran alone on its worker. When several ran there nobody knows
-- which of them it was: none is blamed, each becomes a suspect and runs alone from now on. So a job that kills its
-- worker is quarantined after exactly max_crashes lone runs (and at most one shared death before them), and a job that
-- died with it never is. What is not yet overdue on the same worker is marked as shared: its turn comes in a moment.
-- Where workers die under innocents as well (an unsteady machine), three deaths in a row are no proof. Of those that ran
-- alone as suspects and ended well within the hour the share of runs that a death ended is known (one such death may be
-- anything; twenty runs that went well are taken for granted): a job is quarantined only after so many that chance would
-- bring them to one in 100,000, and never before max_crashes or after ten times it.
-- A job that somebody asked to cancel ends as cancelled.
WITH lost AS (
    SELECT id, worker, shared FROM jobs WHERE state = 'running' AND lease_until < now()
    ORDER BY lease_until LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
), beside AS (
    SELECT worker, count(*) - 1 AS others FROM jobs
    WHERE state = 'running' AND worker IN (SELECT worker FROM lost) GROUP BY worker
), rest AS (
    -- Not waited for: a row that another upkeep holds is being judged there, with ours beside it.
    SELECT id FROM jobs
    WHERE state = 'running' AND worker IN (SELECT worker FROM lost) AND id NOT IN (SELECT id FROM lost) AND NOT shared
    FOR UPDATE SKIP LOCKED
), marked AS (
    UPDATE jobs SET shared = true FROM rest WHERE jobs.id = rest.id
), judged AS (
    SELECT lost.id, others, CASE WHEN lost.shared OR others > 0 THEN 0 ELSE 1 END AS own
    FROM lost JOIN beside USING (worker)
), weather AS (
    SELECT CASE WHEN sum(crashes) > 1 THEN sum(crashes)::float8 / (sum(crashes) + count(*) + 20) END AS deadly
    FROM jobs WHERE state = 'succeeded' AND (suspect OR crashes > 0) AND finished_at > now() - interval '1 hour'
), proof AS (
    SELECT CASE WHEN EXISTS (SELECT 1 FROM judged JOIN jobs USING (id) WHERE own = 1 AND crashes + 1 >= %(max_crashes)s)
           THEN (SELECT least(10 * %(max_crashes)s,
                              greatest(%(max_crashes)s, ceil(ln(0.00001) / ln(deadly))))
                 FROM weather) END AS deaths
), back AS (
    UPDATE jobs
    SET crashes = crashes + own, suspect = true, lease_until = NULL, published_at = NULL,
        state = CASE WHEN cancel_reason IS NOT NULL THEN 'cancelled'
                     WHEN own = 1 AND crashes + own >= deaths THEN 'quarantined' ELSE 'queued' END,
        finished_at = CASE WHEN cancel_reason IS NOT NULL OR (own = 1 AND crashes + own >= deaths)
                           THEN now() END,
        error_kind = CASE WHEN cancel_reason IS NULL AND own = 1 AND crashes + own >= deaths
                          THEN 'Crashed' END,
        error = CASE WHEN cancel_reason IS NULL AND own = 1 AND crashes + own >= deaths
                     THEN format('its worker died %%s times while it ran alone, last %%s', crashes + own, jobs.worker)
                     END
    FROM judged, proof WHERE jobs.id = judged.id
    RETURNING jobs.id, jobs.tenant, jobs.attempt, jobs.state, jobs.crashes, jobs.worker, jobs.reply_to, own, others
), logged AS (
    INSERT INTO audit (tenant, actor, action, job_id, attempt, detail)
    SELECT tenant, %(actor)s,
           CASE WHEN state <> 'queued' THEN state WHEN own = 1 THEN 'crash' ELSE 'shared-crash' END, id, attempt,
           jsonb_build_object('worker', worker, 'crashes', crashes, 'beside', others)
    FROM back
)
SELECT id, state, reply_to FROM back
