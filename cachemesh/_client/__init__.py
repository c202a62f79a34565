"""What the clients for threads and for asyncio are made of, with no I/O.

core              connections to shards, the route table, the pool; shared by `with_options`
membership_calls  what a membership calls, on all the cores that share it
base              how a client is made, its policy, miss replies, notes of writes
options           what `with_options` takes, and the policy that comes of it
pipelining        what pipelines queue, and replies finished as redis-py does
subscribing       what listeners and mailboxes of subscriptions have in common
"""
