"""Memory: scopes, grants, memories with their vectors, and the segments that hold the texts of cold ones.

Apart from the migrations of jobs, with a version of its own: these tables need pgvector and a role, which not every
Postgres has. `hotset.memory.setup` makes both, and gives the role its rights.
Isolation is the database's: every statement on these tables runs as the role hotset_memory, which owns nothing, for the
tenant (and agent) that its transaction says; row-level security is forced, so that it holds for the owner, too.
There is no GIN index of the words: under row-level security Postgres does not use one, since its operators are not
leakproof. Names and numbers, which vectors tell apart badly, are found by equality in memory_terms instead.
"""

from alembic import op

revision = "memory_0001"
down_revision = None
branch_labels = None
depends_on = None

UP = """
-- For the upkeep, which goes from tenant to tenant; nothing but names, and not for the role.
CREATE TABLE memory_tenants (
    tenant      text PRIMARY KEY CHECK (tenant <> '' AND length(tenant) <= 200),
    drilled_at  timestamptz
);

CREATE TABLE memory_scopes (
    tenant   text NOT NULL REFERENCES memory_tenants ON DELETE CASCADE,
    scope    text NOT NULL CHECK (scope ~ '^(tenant|(project|agent|task):.{1,190})$'),
    made_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, scope)
);

CREATE TABLE memory_grants (
    tenant      text NOT NULL,
    scope       text NOT NULL,
    agent       text NOT NULL CHECK (agent <> '' AND length(agent) <= 200),
    can_write   boolean NOT NULL DEFAULT false,
    granted_at  timestamptz NOT NULL DEFAULT now(),
    granted_by  text NOT NULL,
    expires_at  timestamptz,
    PRIMARY KEY (tenant, scope, agent),
    FOREIGN KEY (tenant, scope) REFERENCES memory_scopes ON DELETE CASCADE
);

CREATE TABLE memory_handoffs (
    id             uuid PRIMARY KEY,
    tenant         text NOT NULL,
    scope          text NOT NULL,
    from_agent     text NOT NULL CHECK (length(from_agent) <= 200),
    to_agent       text NOT NULL CHECK (length(to_agent) <= 200),
    summary        text NOT NULL,
    limits         jsonb NOT NULL DEFAULT '{}',
    output_format  text,
    made_at        timestamptz NOT NULL DEFAULT now(),
    FOREIGN KEY (tenant, scope) REFERENCES memory_scopes ON DELETE CASCADE
);
CREATE INDEX memory_handoffs_to ON memory_handoffs (tenant, to_agent, made_at);

-- Texts of cold memories, compressed together (zstd of JSON lines: [id, text]). Only ids that live here are in it.
CREATE TABLE memory_segments (
    id           uuid PRIMARY KEY,
    tenant       text NOT NULL,
    scope        text NOT NULL,
    body         bytea NOT NULL,
    checksum     bytea NOT NULL,
    entries      integer NOT NULL CHECK (entries > 0),
    text_bytes   integer NOT NULL,
    made_at      timestamptz NOT NULL DEFAULT now(),
    verified_at  timestamptz,
    FOREIGN KEY (tenant, scope) REFERENCES memory_scopes ON DELETE CASCADE
);
ALTER TABLE memory_segments ALTER COLUMN body SET STORAGE EXTERNAL;
CREATE INDEX memory_segments_scope ON memory_segments (tenant, scope);

-- One row a memory, for its whole life. warm: the text is here; cold: it is in its segment. (The hot tier is a copy in
-- Redis that may vanish.) No index holds a column that a change of state touches: such updates stay on their page and
-- never reach the index of vectors.
CREATE TABLE memories (
    id           uuid PRIMARY KEY,
    tenant       text NOT NULL,
    scope        text NOT NULL,
    state        text NOT NULL DEFAULT 'warm' CHECK (state IN ('warm', 'cold')),
    ring         text NOT NULL DEFAULT 'episode' CHECK (ring IN ('core', 'episode')),
    text         text CHECK (text <> ''),
    -- no foreign key: its index would make each change of state an entry in every other index
    segment      uuid,
    -- SHA-256 of the text: duplicates are found by it, and what comes back from a segment is compared with it
    digest       bytea NOT NULL,
    -- what rules of English found: whom it is about and which property; whether the text is this one sentence
    subject      text,
    attribute    text,
    single       boolean NOT NULL DEFAULT true,
    -- names as they stand together
    runs         text[] NOT NULL DEFAULT '{}',
    -- names, numbers and codes; stems of the other words: the same search whether the text is warm or cold
    terms        text[] NOT NULL DEFAULT '{}',
    stems        text[] NOT NULL DEFAULT '{}',
    -- what was true when, and when we heard of it
    valid_from   timestamptz NOT NULL,
    valid_to     timestamptz,
    recorded_at  timestamptz NOT NULL DEFAULT now(),
    supersedes   uuid,
    superseded_by uuid,
    -- whether consolidation has compared it with what was known before
    settled      boolean NOT NULL DEFAULT false,
    said_by      text NOT NULL CHECK (length(said_by) <= 200),
    source       jsonb NOT NULL DEFAULT '{}',
    tags         text[] NOT NULL DEFAULT '{}',
    importance   real NOT NULL DEFAULT 0.5 CHECK (importance BETWEEN 0 AND 1),
    pinned       boolean NOT NULL DEFAULT false,
    expires_at   timestamptz,
    used_at      timestamptz NOT NULL DEFAULT now(),
    encoder      text,
    embedding    halfvec(384),
    -- the vector of the text without its names, where it has any: what is said, whoever it is said of
    about        halfvec(384),
    CHECK ((state = 'warm') = (text IS NOT NULL)),
    CHECK ((state = 'cold') = (segment IS NOT NULL)),
    CHECK (valid_to IS NULL OR valid_to >= valid_from),
    CHECK ((encoder IS NULL) = (embedding IS NULL)),
    FOREIGN KEY (tenant, scope) REFERENCES memory_scopes ON DELETE CASCADE
) WITH (fillfactor = 75);
-- A distance is computed from what lies in the row, not from a second table.
ALTER TABLE memories ALTER COLUMN embedding SET STORAGE PLAIN, ALTER COLUMN about SET STORAGE PLAIN;
CREATE INDEX memories_scope ON memories (tenant, scope, valid_from);
CREATE INDEX memories_facts ON memories (tenant, scope, subject, attribute) WHERE subject IS NOT NULL;
CREATE INDEX memories_digest ON memories (tenant, scope, digest);
CREATE INDEX memories_unsettled ON memories (tenant, valid_from) WHERE NOT settled;
CREATE INDEX memories_supersedes ON memories (supersedes) WHERE supersedes IS NOT NULL;
CREATE INDEX memories_vectors ON memories USING hnsw (embedding halfvec_cosine_ops)
    WITH (m = 16, ef_construction = 200);

-- Names, numbers and codes of a memory's text.
CREATE TABLE memory_terms (
    tenant  text NOT NULL,
    scope   text NOT NULL,
    term    text NOT NULL CHECK (length(term) <= 100),
    memory  uuid NOT NULL REFERENCES memories ON DELETE CASCADE,
    -- more than a capital at the beginning of a sentence
    sure    boolean NOT NULL DEFAULT true,
    PRIMARY KEY (tenant, scope, term, memory)
);
CREATE INDEX memory_terms_memory ON memory_terms (memory);

-- Near-duplicates that upkeep found; a person or an agent decides (vectors cannot tell a negation).
CREATE TABLE memory_proposals (
    tenant    text NOT NULL,
    scope     text NOT NULL,
    older     uuid NOT NULL REFERENCES memories ON DELETE CASCADE,
    newer     uuid NOT NULL REFERENCES memories ON DELETE CASCADE,
    cosine    real NOT NULL,
    found_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (older, newer)
);
CREATE INDEX memory_proposals_newer ON memory_proposals (newer);

CREATE FUNCTION memory_tenant() RETURNS text LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT current_setting('hotset.tenant', true)
$$;
-- Scopes that the transaction's agent may read, or write; an empty agent is the tenant itself and is not asked.
CREATE FUNCTION memory_granted(writing boolean) RETURNS text[] LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT array_agg(scope) || ('agent:' || current_setting('hotset.agent', true))
    FROM memory_grants
    WHERE tenant = current_setting('hotset.tenant', true) AND agent = current_setting('hotset.agent', true)
      AND (can_write OR NOT writing) AND (expires_at IS NULL OR expires_at > now())
$$;

DO $$
DECLARE
    name text;
    mine constant text := 'tenant = (SELECT memory_tenant())';
    may constant text := ' AND ((SELECT coalesce(current_setting(''hotset.agent'', true), '''')) = '''''
                         ' OR scope = ANY ((SELECT memory_granted(%s))::text[]))';
    agents constant text := ' AND (SELECT coalesce(current_setting(''hotset.agent'', true), '''')) IN (''''%s)';
BEGIN
    FOREACH name IN ARRAY ARRAY['memories', 'memory_segments', 'memory_terms', 'memory_proposals'] LOOP
        EXECUTE format('CREATE POLICY reading ON %I FOR SELECT USING (%s)', name, mine || format(may, 'false'));
        EXECUTE format('CREATE POLICY making ON %I FOR INSERT WITH CHECK (%s)', name, mine || format(may, 'true'));
        EXECUTE format('CREATE POLICY changing ON %I FOR UPDATE USING (%s)', name, mine || format(may, 'true'));
        EXECUTE format('CREATE POLICY removing ON %I FOR DELETE USING (%s)', name, mine || format(may, 'true'));
    END LOOP;
    -- A scope goes with everything in it, past all other policies: no agent removes one.
    EXECUTE format('CREATE POLICY reading ON memory_scopes FOR SELECT USING (%s)', mine || format(may, 'false'));
    EXECUTE format('CREATE POLICY making ON memory_scopes FOR INSERT WITH CHECK (%s)', mine);
    EXECUTE format('CREATE POLICY removing ON memory_scopes FOR DELETE USING (%s)', mine || format(agents, ''));
    EXECUTE format('CREATE POLICY reading ON memory_handoffs FOR SELECT USING (%s)',
                   mine || format(agents, ', from_agent, to_agent'));
    EXECUTE format('CREATE POLICY making ON memory_handoffs FOR INSERT WITH CHECK (%s)',
                   mine || format(agents, ', from_agent'));
    EXECUTE format('CREATE POLICY removing ON memory_handoffs FOR DELETE USING (%s)', mine || format(agents, ''));
    -- An agent sees what it was given, and gives nothing itself.
    EXECUTE format('CREATE POLICY reading ON memory_grants FOR SELECT USING (%s)', mine || format(agents, ', agent'));
    EXECUTE format('CREATE POLICY giving ON memory_grants USING (%s)', mine || format(agents, ''));
    FOREACH name IN ARRAY ARRAY['memories', 'memory_segments', 'memory_terms', 'memory_proposals',
                                'memory_scopes', 'memory_handoffs', 'memory_grants'] LOOP
        EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
        EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
    END LOOP;
END $$;
"""

DOWN = """
DROP TABLE memory_proposals;
DROP TABLE memory_terms;
DROP TABLE memories;
DROP TABLE memory_segments;
DROP TABLE memory_handoffs;
DROP TABLE memory_grants CASCADE;
DROP TABLE memory_scopes;
DROP TABLE memory_tenants;
DROP FUNCTION memory_granted(boolean);
DROP FUNCTION memory_tenant();
-- The role and the extension are the cluster's and the database's, and others may use them: they stay.
"""


def upgrade() -> None:
    op.get_bind().exec_driver_sql(UP, execution_options={"no_parameters": True})


def downgrade() -> None:
    op.get_bind().exec_driver_sql(DOWN, execution_options={"no_parameters": True})
