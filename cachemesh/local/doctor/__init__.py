"""What `cachemesh doctor` checks.

examination   all checks, one after the other
machine       this machine: Python, packages, redis-server, ports, directories
pool          a running pool: URL, metaservers, token, document
shards        the pool's Sentinels, masters and replicas
              (instance_findings: what one instance says about itself)
app_rights    what the URL's user may not do, though clients do it
configuration what is configured wrong at the pool's servers, as a metaserver finds it
check         the outcome of one check
"""
