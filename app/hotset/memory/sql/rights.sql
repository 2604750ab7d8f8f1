-- The role that all statements on the memory's tables run as, and its rights: nothing but these. Run after each
-- migration, and after a restore, which brings neither role nor rights along.
GRANT SELECT, INSERT, UPDATE, DELETE
    ON memories, memory_segments, memory_terms, memory_proposals, memory_scopes, memory_handoffs, memory_grants,
    memory_summaries, memory_sources, memory_keys, memory_key_jobs
    TO hotset_memory;
GRANT INSERT ON memory_tenants, audit TO hotset_memory;
GRANT EXECUTE ON FUNCTION memory_tenant(), memory_granted(boolean), audit_tx_offset(),
    memory_erase_job(uuid, text, text) TO hotset_memory;
