"""Events of the audit log, posted to URLs that an operator has named.

    audit log --next_events--> sender --POST--> endpoint --2xx--> the position in the store

    target    a URL, and what of it may be told: its path may be a secret
    endpoint  one POST over HTTP or HTTPS, within a bounded time
    sender    the loop of one URL: in order, each event until it is taken; only the leader runs it
    figures   what a sender has done, for the metrics

Imports `redis_io`, `store` and what is below them; never `api`.
"""
