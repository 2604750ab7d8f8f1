-- slot_seconds: add what a GPU's slots did since the last time.
INSERT INTO slot_seconds (gpu, since, busy, loading, draining, idle)
VALUES (%(gpu)s, date_bin('5 minutes', now(), 'epoch'), %(busy)s, %(loading)s, %(draining)s, %(idle)s)
ON CONFLICT (gpu, since) DO UPDATE
SET busy = slot_seconds.busy + EXCLUDED.busy, loading = slot_seconds.loading + EXCLUDED.loading,
    draining = slot_seconds.draining + EXCLUDED.draining, idle = slot_seconds.idle + EXCLUDED.idle
