-- Jobs that ended at least so long ago and are not packed yet. ARGV: age ms, limit.  Returns ids
return redis.call('ZRANGEBYSCORE', FINISHED, '-inf', now_ms() - tonumber(ARGV[1]), 'LIMIT', 0, ARGV[2])
