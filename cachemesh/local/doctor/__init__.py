"""What `cachemesh doctor` checks.

examination   all checks, one after the other
machine       this machine: Python, packages, redis-server, ports, directories
pool          a running pool: URL, metaservers, token, document
shards        the pool's Sentinels, masters and replicas
              (instance_findings: what one instance says about itself)
check         the outcome of one check
"""
