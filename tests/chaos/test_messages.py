"""Messages among 131 agents while consumers are killed, and broker and cache restarted (HOTSET_TEST_MESSAGES)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from messengers import deliver_through_kills, messages_asked
from stack import Stack


@pytest.mark.timeout(7200)
def test_each_message_is_handled_once_and_in_order(stack: Stack, server_home: Path) -> None:
    figures = deliver_through_kills(stack, server_home, messages=messages_asked())
    print(json.dumps(figures))
    assert figures["handled"] == figures["messages"] // 4 * 4, figures
    assert figures["twice"] == figures["missing"] == figures["out_of_order"] == figures["dead"] == 0, figures
    # Kills that struck nobody would show nothing.
    assert figures["kills"] >= 2 and figures["restarts"] >= 1, figures
    assert figures["deliveries"] > figures["handled"], figures
