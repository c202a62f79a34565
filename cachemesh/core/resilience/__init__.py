"""What is sent again, when and where; and whether an instance is asked at all. No I/O, no clock.

- `error_classification`: which failure a reply or an exception is.
- `retry`: the retry policy: timeouts, and the delay before each attempt.
- `retry_loop`, `pipeline_part`, `steps`: the loops that retry a request, as generators of steps.
- `circuit_breaker`: whether an instance is asked.
- `lookup_throttle`, `stale_masters`: when Sentinels are asked again, and which answers are old.
"""
