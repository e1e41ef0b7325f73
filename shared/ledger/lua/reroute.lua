-- Gives a running job to another base, with new parameters; the attempt does not count.
-- ARGV: id, worker, epoch, ttl, base, spec JSON, params JSON, its LoRAs, separated by spaces
-- Returns 'rerouted' | 'unserved' | 'lost'
local id, ttl = ARGV[1], tonumber(ARGV[4])
if not holds(id, ARGV[2], ARGV[3]) then return 'lost' end
if redis.call('EXISTS', served_key(ARGV[5])) == 0 then return 'unserved' end
redis.call('HINCRBY', job_key(id), 'attempts', -1)
redis.call('HSET', job_key(id), 'base', ARGV[5], 'spec', ARGV[6], 'params', ARGV[7], 'loras', ARGV[8])
requeue(id, ttl)
emit(id, 'state', ARGV[7], ARGV[3], ttl)
return 'rerouted'
