"""The message of a job is Celery's protocol 2, whatever its names hold, and carries no prompt."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from hotset.broker.messages import encode
from hotset.jobs import Priority, Routing

WHEN = datetime(2030, 1, 1, tzinfo=UTC)


@given(agent=st.text(), tenant=st.text(), queue=st.text(), priority=st.sampled_from(Priority), suspect=st.booleans())
def test_it_is_valid_json_and_says_who_and_where(
    agent: str, tenant: str, queue: str, priority: Priority, suspect: bool
) -> None:
    job = Routing(UUID(int=7), agent, queue, tenant, priority, WHEN, WHEN, suspect=suspect)
    message = json.loads(encode(job))
    headers = message["headers"]
    assert headers["id"] == headers["root_id"] == message["properties"]["correlation_id"] == str(job.id)
    assert headers["kwargsrepr"] == f"{{'agent': {agent!r}, 'tenant': {tenant!r}}}"
    said = headers["hotset"]
    assert (said["tenant"], said["agent"], said["lane"]) == (tenant, agent, job.lane)
    assert message["properties"]["delivery_info"]["routing_key"] == queue
    args, kwargs, _ = json.loads(base64.b64decode(message["body"]))
    assert (args, kwargs) == ([], {})
