"""What an app feels of each shard: calls, errors by class, latencies. No clock.

histogram  latencies in buckets that grow by an eighth; histograms of many clients add up
meter      what one client counts, on the path of every command
report     what a client felt of a shard in some time, to be sent, checked and merged
"""
