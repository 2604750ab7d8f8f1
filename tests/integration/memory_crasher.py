"""Consolidates, demotes and restores without end, until it is killed: started by tests."""

from __future__ import annotations

import sys

from hotset import Client

with Client(tenant=sys.argv[1]) as client:
    client.memory_stats()
    print('{"ready": true}', flush=True)
    while True:
        client.consolidate()
        client.demote()
        client.memory_restore()
