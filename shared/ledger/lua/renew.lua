-- Renews a lease. It succeeds while (worker, epoch) is unchanged, even after the lease's end: after
-- an outage of the store only a newer claim takes a job away.
-- ARGV: id, worker, epoch, lease ms, job ttl.  Returns 'go_on' | 'canceled' | 'lost'
if not holds(ARGV[1], ARGV[2], ARGV[3]) then return 'lost' end
redis.call('ZADD', RUNNING, now_ms() + tonumber(ARGV[4]), ARGV[1])
keep(RUNNING, tonumber(ARGV[5])); keep(job_key(ARGV[1]), tonumber(ARGV[5]))
if redis.call('HGET', job_key(ARGV[1]), 'cancel') == '1' then return 'canceled' end
return 'go_on'
