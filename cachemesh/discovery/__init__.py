"""Discovery: where a topology comes from, and how clients learn of changes.

- `url`, `url_options`: a URL and options say which pool, which source and which Sentinels.
- `source`, `metaserver_source`, `file_source`, `sentinel_source`: documents of a pool.
- `zookeeper_source`, `zookeeper_reader`, `zookeeper_layout`: metaservers found in ZooKeeper.
- `zookeeper_options`, `zookeeper_login`: how to reach it, and how to log in.
- `metaserver`, `metaserver_request`, `metaserver_reply`, `metaserver_tls`, `bearer_token`,
  `http_reply`, `kept_connection`: the HTTP client of metaservers.
- `sentinel`, `sentinel_connection`, `sentinel_events`: masters, replicas and failovers.
- `membership`, `follower`, `topology_state`, `lookups`: what keeps clients current, as drawn below.
- `document_watch`, `lease`: new documents, and until when a client may go on without asking.
- `first_load`, `control_plane`: a start from whoever answers, and what was heard from them.
- `snapshot`, `snapshot_keeper`: the file that a start is made from while nobody does.
- `survey`: what every Sentinel and server says, for diagnosis.
- `backoff`, `wakeup`: retries and signals of the threads.

Requests of commands go down, changes come up. Neither waits for the other, except that a command
that has requested a look-up finds the change applied when its call returns::

    ShardClient         a command fails             point_to(master, replicas)
        | look_up_master, wait_for_master,              ^
        v report_master                                 | MeshCore.apply makes a RouteTable
    Membership          one for a client and those  catch_up(): one delivery at a time
        |               made from it                    ^
        v                                               |
    Follower            one for each pool           _notify: by the watch or the hear thread
        |                                               ^
        v                                               |
    MasterLookups --> poll thread --> SentinelClient --> TopologyState
                      hear thread --> SentinelEvents --> (the one present Topology)
                      watch thread -> Source ---------->
"""
