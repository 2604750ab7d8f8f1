-- jobs, results: what a job of a summary or of keys was told and answered goes.
SELECT memory_erase_job(%(job)s, %(actor)s, %(reason)s)
