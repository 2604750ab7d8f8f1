"""Real Postgres and Valkey from wheels, started and stopped for you.

    with Servers("~/.hotset") as servers:      # owned: stopped on the way out, even if we are killed
        use(servers.database_url, servers.broker_url, servers.cache_url)

    Servers(home, detached=True).start()       # `hotset up`
    Servers.running(home)                      # another process asks for the addresses
    Servers(home).stop()                       # `hotset down`

They listen to this machine only: Postgres on a Unix socket in a private folder, Valkey on 127.0.0.1. Linux
only.
"""

from hotset.embedded.postgres import Postgres
from hotset.embedded.servers import Servers
from hotset.embedded.valkey import Valkey

__all__ = ["Postgres", "Servers", "Valkey"]
